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


def place(path, count: int, step: int = 140) -> None:
    """A map of a run of `make_run`, as UMAP would leave it."""
    angle = 2 * np.pi * (np.arange(count) % 10) / 10
    noise = np.random.default_rng(0).standard_normal((2, count)) * 0.15
    x, y = (np.stack([np.cos(angle), np.sin(angle)]) + noise).astype(np.float32)
    facts = {"method": "umap", "metric": "cosine", "n_neighbors": 15, "min_dist": 0.1, "seed": 0}
    write_sealed_folder(
        path / "layouts" / f"step-{step:09d}",
        {"umap_x.npy": npy_bytes(x), "umap_y.npy": npy_bytes(y)},
        {"step": step, "points": count, "of": count, **facts},
    )


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook with the explorer of a run whose map is made."""
    place(make_run(lab.runs, name="synthetic"), 300)
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


def test_the_slider_moves_while_the_kernel_works_and_other_views_follow(page, explorer):
    page.evaluate(
        "() => { [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel"
        ".requestExecute({ code: 'import time; time.sleep(3)' }); }"
    )
    explorer.get_by_label("Checkpoint", exact=True).fill("1")
    expect(explorer).to_have_attribute("data-step", "35", timeout=2000)
    linked = "from twist.view.moment import moment_of; moment = moment_of(explorer._record.path); "
    for _ in range(50):
        if ask(page, f"{linked}print(moment.step, explorer.shown_step)") == "35 35":
            break
        page.wait_for_timeout(200)
    ask(page, f"{linked}moment.step = 71")  # no snapshot's step: the nearest is shown
    expect(explorer).to_have_attribute("data-step", "70")
    ask(page, f"{linked}moment.step = -1")
    expect(explorer).to_have_attribute("data-step", "140")


def test_a_slider_that_loses_checkpoints_stands_at_the_last(page, explorer):
    slider, time = explorer.get_by_label("Checkpoint", exact=True), explorer.locator(".twist-time")
    expect(time).to_have_attribute("data-at", "4")
    ask(page, "explorer.history = explorer._checkpoints.table(140, most=3)")
    expect(slider).to_have_attribute("max", "2")
    expect(time).to_have_attribute("data-at", "2")
    expect(explorer).to_have_attribute("data-step", "140")
    ask(page, "explorer.refresh()")
    expect(time).to_have_attribute("data-at", "4")


def test_a_name_written_in_the_page_is_kept_with_the_run(lab, page, explorer):
    explorer.get_by_role("button", name="Class 6:").click()
    expect(explorer.locator(".twist-gallery h3")).to_contain_text("Class 6 ·")
    field = explorer.get_by_label("Name of the class")
    field.fill("<i>bars</i>")
    field.press("Enter")
    expect(explorer.locator(".twist-class[data-class='6']")).to_contain_text("<i>bars</i>")
    assert "<i>bars</i>" in (lab.runs / "synthetic" / "class_names.json").read_text()
    field.fill("")
    field.press("Enter")
    expect(explorer.locator(".twist-class[data-class='6'] b")).to_have_text("6")


def test_an_export_says_where_it_lies(lab, page, explorer):
    explorer.get_by_label("Export").select_option("parquet")
    expect(explorer.locator(".twist-told")).to_have_text(
        "Written to synthetic/exports/synthetic-step140-classes.parquet."
    )
    assert (lab.runs / "synthetic" / "exports" / "synthetic-step140-classes.parquet").is_file()


def test_images_close_to_one_are_asked_of_the_kernel(page, explorer):
    ask(page, "explorer.selected_class = -1; explorer.selected_samples = [7]")
    expect(explorer.locator(".twist-inspector")).to_have_attribute("data-sample", "7")
    neighbors = explorer.locator(".twist-neighbors .twist-tile")
    expect(neighbors).to_have_count(12)
    code = (
        "import numpy as np; f = np.asarray(explorer._snapshot.features, np.float32); "
        "f /= np.linalg.norm(f, axis=1, keepdims=True); o = np.argsort(-(f @ f[7])); print(*o[o != 7][:12])"
    )
    expected = ask(page, code).split()
    assert [tile.get_attribute("data-sample") for tile in neighbors.all()] == expected
    explorer.get_by_label("Order of the images").select_option("close")
    expect(explorer.locator(".twist-gallery .twist-tile").nth(1)).to_have_attribute("data-sample", expected[0])
    explorer.get_by_label("Order of the images").select_option("most")
    explorer.locator(".twist-map canvas").last.press("Escape")


def test_a_column_of_ones_own_colors_the_map(page, explorer):
    ask(page, "explorer.add_column('row', range(300), unit='rows'); explorer.color_by = 'row'")
    expect(explorer).to_have_attribute("data-color-by", "row")
    expect(explorer.locator(".twist-legend")).to_contain_text("299 rows")
    ask(page, "explorer.color_by = 'class'")


def test_a_reload_of_the_page_keeps_the_view(lab, page, explorer):
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
    assert "Static copy of synthetic at step 140" in (lab.root / "explorer.ipynb").read_text()
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


def test_a_lasso_around_fifty_thousand_images_reaches_python_at_once(lab, open_page, explorer):
    place(make_run(lab.runs, name="large", num_samples=50_000, snapshots=1), 50_000, step=0)
    watch = "explorer.observe(lambda change: heard.append((time.time(), len(change.new))), 'selected_samples')"
    cell = f"import time, twist\nheard = []\nexplorer = twist.ClassExplorer('large')\n{watch}\nexplorer"
    lab.write("large.ipynb", [cell])
    page = open_page()
    lab.open(page, "large.ipynb")
    command(page, "notebook:run-all-cells")
    large = page.locator(".twist-explorer")
    expect(large).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(large.locator(".twist-tile")).not_to_have_count(0)
    canvas = large.locator(".twist-map canvas").last
    box = canvas.bounding_box()
    page.evaluate("() => addEventListener('pointerup', () => { window.released = Date.now() / 1000; }, true)")
    took = []
    for far in (0.5, 0.9, 0.98):
        page.keyboard.down("Shift")
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.down()
        right, bottom = box["x"] + far * box["width"], box["y"] + 0.98 * box["height"]
        for x, y in ((right, box["y"] + 3), (right, bottom), (box["x"] + 3, bottom), (box["x"] + 3, box["y"] + 3)):
            page.mouse.move(x, y, steps=2)
        page.mouse.up()
        page.keyboard.up("Shift")
        page.wait_for_timeout(1500)
        at, rows = ask(page, "print(*heard[-1])").split()
        took.append(float(at) - page.evaluate("() => window.released"))
    assert int(rows) > 45_000
    assert min(took) <= 0.2, took
