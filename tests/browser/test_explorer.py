"""The explorer in a real JupyterLab: the page, the kernel and what passes between them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from browsing import ask, command, expect, hover_any_point, wait_for_kernel
from synthetic import make_run

from twist.runs.store import npy_bytes, write_sealed_folder

pytestmark = pytest.mark.browser

CELL = "import twist\nexplorer = twist.ClassExplorer('synthetic')\nexplorer"


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook with the explorer of a run whose map is made."""
    path = make_run(lab.runs, name="synthetic")
    angle = 2 * np.pi * (np.arange(300) % 10) / 10
    noise = np.random.default_rng(0).standard_normal((2, 300)) * 0.15
    x, y = (np.stack([np.cos(angle), np.sin(angle)]) + noise).astype(np.float32)
    facts = {"method": "umap", "metric": "cosine", "n_neighbors": 15, "min_dist": 0.1, "seed": 0}
    write_sealed_folder(
        path / "layouts" / "step-000000140",
        {"umap_x.npy": npy_bytes(x), "umap_y.npy": npy_bytes(y)},
        {"step": 140, "points": 300, "of": 300, **facts},
    )
    lab.write("explorer.ipynb", [CELL])
    page = open_page()
    lab.open(page, "explorer.ipynb")
    command(page, "notebook:run-all-cells")
    return page


@pytest.fixture
def explorer(page):
    found = page.locator(".twist-explorer")
    expect(found).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(found.locator(".twist-tile")).not_to_have_count(0)
    return found


def test_hover_shows_a_thumbnail_without_asking_the_kernel(page, explorer):
    page.evaluate(
        """() => {
            window.sent = 0;
            const kernel = [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel;
            kernel.anyMessage.connect((_, { direction }) => { window.sent += direction === 'send'; });
        }"""
    )
    row = hover_any_point(page, explorer)
    card = explorer.locator(".twist-card")
    assert card.get_attribute("data-sample") == str(row)
    assert "blob:" in card.locator(".twist-picture").evaluate("node => node.style.backgroundImage")
    assert page.evaluate("() => window.sent") == 0


def test_selecting_a_class_fills_the_gallery_and_reaches_python(page, explorer):
    explorer.get_by_role("button", name="Class 3:").click()
    expect(explorer.locator(".twist-tile")).to_have_count(30)
    said = ask(page, "print(explorer.selected_class, set(explorer.selection['label']), len(explorer.selection))")
    assert said == "3 {'kind 3'} 30"


def test_a_click_on_a_point_reaches_python(page, explorer):
    row = hover_any_point(page, explorer)
    page.mouse.down()
    page.mouse.up()
    expect(explorer).not_to_have_attribute("data-selected-class", "-1")
    assert ask(page, "print(explorer.selected_samples, list(explorer.selection.index))") == f"[{row}] [{row}]"


def test_what_python_selects_is_shown(page, explorer):
    ask(page, "explorer.selected_samples = []; explorer.selected_class = 7; explorer.color_by = 'entropy'")
    expect(explorer).to_have_attribute("data-selected-class", "7")
    expect(explorer).to_have_attribute("data-color-by", "entropy")
    expect(explorer.locator(".twist-gallery h3")).to_contain_text("Class 7 · 30 of 300 images")


def test_keys_pressed_in_the_explorer_do_not_act_on_the_notebook(page, explorer):
    canvas = explorer.locator(".twist-map canvas").last
    for key in ("d", "d", "b", "x", "ArrowDown"):
        canvas.press(key)
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 1
    expect(explorer).to_be_visible()


def test_the_explorer_answers_while_the_kernel_works(page, explorer):
    page.evaluate(
        "() => { [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel"
        ".requestExecute({ code: 'import time; time.sleep(4)' }); }"
    )
    explorer.get_by_role("button", name="Class 5:").click()
    expect(explorer.locator(".twist-gallery h3")).to_contain_text("Class 5", timeout=2000)
    expect(explorer.locator(".twist-tile").first).to_have_attribute("aria-label", re.compile("class 5,"))


def test_a_reload_of_the_page_keeps_the_view(page, explorer):
    explorer.get_by_role("button", name="Class 2:").click()
    explorer.get_by_label("Color of the points").select_option("label")
    explorer.get_by_label("Zoom in").click()
    expect(explorer).to_have_attribute("data-zoom", "1.60")
    for _ in range(50):  # a kernel that was busy hears of the last changes when it is idle
        if ask(page, "print(explorer.selected_class, explorer.color_by, *explorer.map_view)") == "2 label 0 0 1.6":
            break
        page.wait_for_timeout(200)
    command(page, "docmanager:save")
    page.reload()
    wait_for_kernel(page)
    again = page.locator(".twist-explorer")
    expect(again).to_have_attribute("data-selected-class", "2", timeout=60_000)
    expect(again).to_have_attribute("data-color-by", "label")
    expect(again).to_have_attribute("data-zoom", "1.60")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_ink_and_paper_follow_the_theme(page, explorer, theme):
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    expected = 0 if "Dark" in theme else 1
    page.wait_for_function(
        """expected => {
            const colors = getComputedStyle(document.querySelector('.twist-map')).backgroundColor.match(/[\\d.]+/g);
            return Math.round(colors.slice(0, 3).map(Number).reduce((a, b) => a + b) / 765) === expected;
        }""",
        arg=expected,
    )


def test_a_snapshot_that_is_not_there_is_told_in_the_widget(lab, open_page, explorer):
    lab.write("missing.ipynb", ["import twist\ntwist.ClassExplorer('synthetic', step=41)"])
    page = open_page()
    lab.open(page, "missing.ipynb")
    command(page, "notebook:run-all-cells")
    note = page.locator(".twist-explorer[data-state=error] .twist-note")
    expect(note).to_contain_text("no snapshot at step 41", timeout=60_000)
