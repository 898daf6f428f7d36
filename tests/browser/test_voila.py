"""The apps as ``twist app`` serves them: one view on a page, no cell to be seen, nothing asked of the network."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path

import pytest
from browsing import Watcher, expect, served
from synthetic import make_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a run that has ended."""
    home = tmp_path_factory.mktemp("voila")
    make_run(home / "runs", name="shown", num_samples=60, histories=True)
    return home


@pytest.fixture
def page(chrome, request):
    """A page of which nothing leaves this machine and in which no script fails."""
    watcher = Watcher(chrome)
    page = watcher.open(viewport={"width": 1200, "height": 900})
    yield page
    if folder := os.environ.get("TWIST_PICTURES"):  # for whoever wants to look
        page.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
    watcher.close()
    assert watcher.refused == []
    assert watcher.errors == []


def test_the_class_app_shows_the_map_and_the_images(home, page):
    with served("classes", "shown", home=home) as address:
        page.goto(address)
        explorer = page.locator(".twist-explorer")
        expect(explorer.locator(".twist-tile")).to_have_count(60, timeout=60_000)
        explorer.get_by_role("button", name="Class 3:").click()
        expect(explorer.locator(".twist-tile")).to_have_count(6)


def test_the_monitor_app_shows_the_verdict_and_the_overview_as_wide_as_the_page(home, page):
    with served("monitor", "shown", "--theme", "dark", home=home) as address:
        page.goto(address)
        expect(page.get_by_text("Healthy", exact=False).first).to_be_visible(timeout=60_000)
        plot = page.locator(".js-plotly-plot").first
        expect(plot.get_by_text("How the terms of the loss move")).to_be_visible(timeout=60_000)
        expect(plot.locator(".xy .scatterlayer .trace")).not_to_have_count(0)
        assert plot.bounding_box()["width"] > 1000
        page.wait_for_function(  # --theme dark reaches the figure, as soon as its page has said that it is dark
            """() => {
                const paper = document.querySelector('.js-plotly-plot .main-svg');
                return Math.max(...getComputedStyle(paper).background.match(/\\d+/g).slice(0, 3)) < 60;
            }""",
            timeout=30_000,
        )


def test_the_compare_app_lists_the_runs(home, page):
    with served("compare", home=home) as address:
        page.goto(address)
        expect(page.locator(".twist-compare").get_by_text("shown").first).to_be_visible(timeout=60_000)


def test_the_launch_app_shows_a_form(home, page):
    with served("launch", home=home) as address:
        page.goto(address)
        expect(page.locator(".twist-launch").get_by_role("button", name=re.compile("^Start"))).to_be_visible(
            timeout=60_000
        )


def test_the_views_app_says_what_it_cannot_show(home, page):
    with served("views", "shown", home=home) as address:  # a run without a checkpoint
        page.goto(address)
        expect(page.locator(".twist-two-views").get_by_text("no checkpoint").first).to_be_visible(timeout=60_000)


def test_who_does_not_know_the_token_is_not_let_in(home):
    with served("monitor", "shown", home=home) as address:
        stranger = address.split("?")[0]
        with urllib.request.urlopen(stranger, timeout=10) as answer:
            assert "/login" in answer.url
            assert b"rendered_cells" not in answer.read()
