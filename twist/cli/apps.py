"""The command ``twist app``: one view as a page of its own, served by Voilà to this machine alone."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

import twist
from twist.cli.command import USER_ERROR, add_command, add_run, number_of, print_json
from twist.runs.config import ConfigError

APPS = {
    "monitor": "watch a run train",
    "classes": "explore what it learned to tell apart",
    "compare": "put runs side by side, and keep them in order",
    "views": "ask the network about two views of an image",
    "launch": "set up a run and start it",
    "lab": "turn knobs while it trains, and see it collapse or not",
}
#: Notebooks that are called otherwise than their app.
_NOTEBOOKS = {"lab": "collapse_lab"}
#: With a run these apps open at it; the others do not take one.
OF_A_RUN = ("monitor", "classes", "views")
_LONGEST_START_S = 60.0


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add app."""
    what = "; ".join(f"{name}: {words}" for name, words in APPS.items())
    app = add_command(commands, "app", _app, "show a view as a page of its own, without a notebook")
    app.add_argument("name", choices=APPS, help=what)
    add_run(app)
    app.add_argument(
        "--data", choices=("toy", "digits"), help="lab: points in the plane, or digits in a process of their own"
    )
    app.add_argument("--port", default="0", metavar="N", help="port on 127.0.0.1; any free one when left out")
    app.add_argument("--theme", choices=("light", "dark"), default="light", help="lighting of the page")
    app.add_argument("--no-browser", action="store_true", help="print the address, open nothing")


def _app(options: argparse.Namespace) -> int:
    """Serve until interrupted, or terminated: the server is never left behind."""
    from twist.runs.folders import find_run, runs_root

    if options.run != "last":
        if options.name not in OF_A_RUN:
            raise ConfigError(f"the app {options.name} shows all runs: leave {options.run!r} out")
        options.run = str(find_run(options.run).resolve())
    if options.data and options.name != "lab":
        raise ConfigError(f"--data {options.data} is for the app lab: leave it out for {options.name}")
    port, token = port_of(options.port), secrets.token_urlsafe(24)
    notebook = notebook_of(options.name)
    with tempfile.TemporaryDirectory(prefix="twist-app-") as folder:
        # a file that only its owner reads: the arguments of a process are seen by everyone on the machine
        (Path(folder) / "voila.json").write_text(json.dumps({"Voila": {"token": token}}))
        environment = {
            **os.environ,
            "TWIST_RUNS": str(Path(runs_root()).resolve()),
            "TWIST_RUN": options.run,
            **({"TWIST_LAB": options.data} if options.data else {}),
            "JUPYTER_PATH": _before("JUPYTER_PATH", str(Path(twist.__file__).parent / "view")),  # our page's template
            "JUPYTER_CONFIG_PATH": _before("JUPYTER_CONFIG_PATH", folder),
        }
        command = voila_command(notebook, port, options.theme)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        with subprocess.Popen(command, env=environment) as server:
            try:
                return _serve(server, options, port, token)
            except KeyboardInterrupt:
                return 0
            finally:
                server.terminate()


def _serve(server: subprocess.Popen, options: argparse.Namespace, port: int, token: str) -> int:
    if not _answers(f"http://127.0.0.1:{port}/", server):
        print(f"twist: Voilà did not start on port {port}; what it said stands above", file=sys.stderr)
        return USER_ERROR
    address = f"http://127.0.0.1:{port}/?token={token}"
    print(f"{options.name} at {address}\nCtrl-C ends it; runs go on.", flush=True)
    print_json(options, {"app": options.name, "address": address})
    if not options.no_browser:
        webbrowser.open(address)
    return server.wait()


def _before(variable: str, folder: str) -> str:
    return os.pathsep.join(filter(None, [folder, os.environ.get(variable)]))


def notebook_of(name: str) -> Path:
    """The notebook of an app: beside the package where it was installed, in ``apps`` of a clone."""
    home, file = Path(twist.__file__).parent, f"{_NOTEBOOKS.get(name, name)}.ipynb"
    for folder in (home / "apps", home.parent / "apps"):
        if (found := folder / file).is_file():
            return found
    raise ConfigError(f"the notebook apps/{file} is missing: install twist again, or run it from a clone")


def voila_command(notebook: Path, port: int, theme: str) -> list[str]:
    """What serves a notebook as a page to this machine alone."""
    return [
        *(sys.executable, "-m", "voila", str(notebook), "--no-browser", "--template=twist", f"--theme={theme}"),
        *(f"--port={port}", "--Voila.ip=127.0.0.1", "--Voila.port_retries=0", "--Voila.log_level=ERROR"),
    ]


def port_of(text: str) -> int:
    """The port asked for, or with 0 a free one.

    Raises
    ------
    ConfigError
        When it is no port, or taken.
    """
    port = number_of("--port", text)
    if not 0 <= port < 65_536:
        raise ConfigError(f"--port is {port}: give one from 1024 to 65535, or leave it out for a free one")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} of 127.0.0.1 cannot be had ({error.strerror}): give another") from None
        return probe.getsockname()[1]


def _answers(address: str, server: subprocess.Popen) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not see this machine's ports
    deadline = time.monotonic() + _LONGEST_START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            direct.open(f"{address}voila/static/voila.js", timeout=2).close()
            return True
        except urllib.error.HTTPError:
            return True  # it refuses whoever has no token: it is there
        except OSError:
            time.sleep(0.1)
    return False
