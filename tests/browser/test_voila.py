"""The two apps as Voilà serves them: a page per notebook, no cell to be seen, nothing asked of the network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from browsing import Watcher, expect, free_port, serving
from synthetic import make_run

pytestmark = pytest.mark.browser

APPS = Path(__file__).parents[2] / "apps"
# Voilà's page template names this style sheet; without it only Voilà's own spinner has no picture.
FONT_AWESOME = re.compile(r"https://[\w.]+/.*font-?awesome", re.IGNORECASE)


@pytest.fixture(scope="module")
def voila(tmp_path_factory):
    """Voilà on the two apps and one run that has ended."""
    home = tmp_path_factory.mktemp("voila")
    make_run(home / "runs", name="shown", num_samples=60)
    (home / "apps").mkdir()
    for book in APPS.glob("*.ipynb"):
        shutil.copy(book, home / "apps")
    port = free_port()
    env = dict(os.environ, TWIST_RUNS=str(home / "runs"))
    env |= {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    command = [sys.executable, "-m", "voila", str(home / "apps"), "--no-browser", f"--port={port}"]
    command += ["--Voila.ip=127.0.0.1", "--Voila.root_url=/"]
    with serving(command, f"http://127.0.0.1:{port}/", env=env, log=home / "log"):
        yield f"http://127.0.0.1:{port}/voila/render"


@pytest.fixture
def page(chrome):
    """A page of which nothing leaves this machine and in which no script fails."""
    watcher = Watcher(chrome)
    page = watcher.open(viewport={"width": 1200, "height": 900})
    yield page
    keep(page)
    watcher.close()
    assert [url for url in watcher.refused if not FONT_AWESOME.match(url)] == []
    assert watcher.errors == []


def keep(page) -> None:
    """A picture for whoever wants to look: TWIST_PICTURES names a folder."""
    if folder := os.environ.get("TWIST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"voila-{page.url.rsplit('/', 1)[-1].split('.')[0]}.png"))


def test_the_class_app_shows_the_map_and_the_images(voila, page):
    page.goto(f"{voila}/classes.ipynb")
    explorer = page.locator(".twist-explorer")
    expect(explorer.locator(".twist-tile")).to_have_count(60, timeout=60_000)
    explorer.get_by_role("button", name="Class 3:").click()
    expect(explorer.locator(".twist-tile")).to_have_count(6)


def test_the_monitor_app_shows_the_verdict_and_the_overview(voila, page):
    page.goto(f"{voila}/monitor.ipynb")
    expect(page.get_by_text("Healthy", exact=False).first).to_be_visible(timeout=60_000)
    plot = page.locator(".js-plotly-plot").first
    expect(plot.get_by_text("How the terms of the loss move")).to_be_visible(timeout=60_000)
    expect(plot.locator(".xy .scatterlayer .trace")).not_to_have_count(0)
    box = plot.bounding_box()
    assert box["width"] > 1000  # as wide as the page
