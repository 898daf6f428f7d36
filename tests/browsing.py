"""What a browser test says to JupyterLab and to an explorer, in words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

try:  # without playwright the fixture `chrome` skips, or fails where CI is set
    from playwright.sync_api import expect
except ImportError:
    expect = None


@dataclass
class Lab:
    """A running JupyterLab server: its address, the folder of its notebooks, and that of its runs."""

    url: str
    root: Path
    runs: Path

    def write(self, name: str, cells: list[str]) -> None:
        """A notebook of code cells in the server's folder."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}  # else JupyterLab asks which
        nbformat.write(book, self.root / name)

    def open(self, page, name: str) -> None:
        """Show a notebook and wait until its kernel is ready."""
        page.goto(f"{self.url}/doc/tree/{name}?reset")
        wait_for_kernel(page)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(command: list[str], url: str, *, env: dict[str, str], log: Path) -> Iterator[None]:
    """A server in a process group of its own, from when it answers at the address until the block ends."""
    with open(log, "wb") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    pytest.fail(f"{' '.join(command[:3])} did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@contextlib.contextmanager
def served(name: str, *arguments: str, home: Path) -> Iterator[str]:
    """The address of an app, from when it answers until the block ends."""
    env = dict(os.environ, TWIST_RUNS=str(home / "runs"))
    env |= {variable: str(home / variable.lower()) for variable in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    command = [sys.executable, "-m", "twist", "app", name, *arguments, "--no-browser", "--json"]
    with (
        open(home / f"{name}.log", "wb") as said,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=said) as server,
    ):
        address = next((json.loads(line)["address"] for line in server.stdout or () if line.startswith(b"{")), None)
        assert address, (home / f"{name}.log").read_text(errors="replace")[-2000:]
        try:
            yield address
        finally:
            server.terminate()
        assert server.wait(20) == 0


LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:")


class Watcher:
    """Pages that can reach this machine only, and what was refused to them, or went wrong in them."""

    def __init__(self, chrome):
        self.refused: list[str] = []
        self.errors: list[str] = []
        self._chrome, self._contexts = chrome, []

    def open(self, **settings):
        """A fresh page; settings are those of a browser context."""
        context = self._chrome.new_context(**{"viewport": {"width": 1400, "height": 1100}, **settings})
        self._contexts.append(context)
        page = context.new_page()
        page.route("**/*", self._route)
        page.on("pageerror", self._note)
        return page

    def _note(self, error) -> None:
        # JupyterLab 4.6 itself stumbles now and then while a page closes; only a trace wholly its own is forgiven.
        frames = [line for line in (error.stack or "").splitlines() if "http" in line or "blob:" in line]
        its_own = bool(frames) and all("/jlab_core." in frame for frame in frames)
        if not (its_own and "removeChild" in error.message):
            self.errors.append(f"{error.message}\n{error.stack}")

    def _route(self, route) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.refused.append(route.request.url)
            route.abort()

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def wait_for_kernel(page) -> None:
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        "() => { const w = window.jupyterapp && [...window.jupyterapp.shell.widgets('main')][0];"
        " return w && w.sessionContext && w.sessionContext.isReady && w.sessionContext.session?.kernel; }",
        timeout=60_000,
    )


def command(page, name: str) -> None:
    """Run a command of JupyterLab; returns when it is done."""
    page.evaluate("name => window.jupyterapp.commands.execute(name)", name)


def start_command(page, name: str) -> None:
    """Run a command of JupyterLab without waiting for its end."""
    page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)


def ask(page, code: str) -> str:
    """What code prints in the notebook's kernel."""
    return page.evaluate(
        """async (code) => {
            const kernel = [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel;
            const future = kernel.requestExecute({ code, store_history: false });
            let text = '';
            future.onIOPub = (message) => {
                if (message.header.msg_type === 'stream') text += message.content.text;
                if (message.header.msg_type === 'error') text += message.content.traceback.join('\\n');
            };
            await future.done;
            return text;
        }""",
        code,
    ).strip()


def hover_any_point(page, explorer) -> int:
    """Move the pointer over the map until it meets a point; returns the image's row."""
    canvas = explorer.locator(".twist-map canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for y in range(20, int(box["height"]), 16):
        for x in range(60, int(box["width"]), 16):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if (row := explorer.get_attribute("data-hovered")) != "-1":
                return int(row)
    raise AssertionError("no point of the map answers to the pointer")


def number_shown(text: str) -> int:
    """The first number in a text such as ``Class 3 · 1,178 of 1,797 images`` after the dot."""
    return int(re.search(r"· ([\d,]+) of", text)[1].replace(",", ""))


__all__ = [
    "LOCAL",
    "Lab",
    "Watcher",
    "ask",
    "command",
    "expect",
    "hover_any_point",
    "number_shown",
    "served",
    "start_command",
    "wait_for_kernel",
]
