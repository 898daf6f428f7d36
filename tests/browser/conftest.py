"""JupyterLab on this machine and headless Chromium; nothing outside is reached, and no error in a page is forgiven."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from browsing import Lab, Watcher, free_port, serving


def _unavailable(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; with CI set the browser tests must run")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chrome():
    """Headless Chromium, one for the session."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        _unavailable("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        # WebGL by software, the page itself without: composing it by software WebGL takes 100 ms for each frame.
        args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=program, args=args)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chrome):
    """Make pages that can reach this machine only; at the end no request had been refused and no error raised."""
    watcher = Watcher(chrome)
    yield watcher.open
    watcher.close()
    assert watcher.refused == []
    assert watcher.errors == []


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab with settings, kernels and runs of its own in a fresh folder."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    (home / "runs").mkdir()
    news = home / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')  # else a question covers the page
    port = free_port()
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
    env = dict(os.environ, **{name: str(home / name.lower()) for name in (*folders, "JUPYTERLAB_WORKSPACES_DIR")})
    env |= {
        "TWIST_RUNS": str(home / "runs"),
        "TWIST_FIRST_RUN": "first-run",
        "TWIST_FIRST_EPOCHS": "40",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    arguments = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    arguments += [f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.news_url=", "--ServerApp.port_retries=0"]
    arguments += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    command = [sys.executable, "-m", "jupyterlab", *arguments]
    with serving(command, f"http://127.0.0.1:{port}/api", env=env, log=home / "log"):
        yield Lab(f"http://127.0.0.1:{port}", home / "notebooks", home / "runs")
