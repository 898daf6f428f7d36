"""The explorer's linked parts in a page without kernel: slider, ribbon, histogram, legend, inspector, exports."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from browsing import expect, hover_any_point
from synthetic import make_run

from twist.runs.class_names import name_class
from twist.runs.record import RunRecord
from twist.view.aligned import Frames
from twist.view.explorer_page import explorer_html

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror='window.bad = 1'>"


def write_page(path, *runs) -> str:
    fragments = [explorer_html(RunRecord(run)) for run in runs]
    path.write_text("<!doctype html><meta charset='utf-8'>" + "".join(fragments), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("page"), name="linked", histories=True)
    name_class(path, 3, name=HOSTILE, note="a note")
    return path


@pytest.fixture(scope="module")
def page(run, open_page):
    page = open_page(reduced_motion="reduce")
    page.goto(write_page(run.parent / "page.html", run))
    page.wait_for_selector(".twist-explorer[data-state=ready] .twist-tile >> nth=95")
    return page


@pytest.fixture
def explorer(page):
    found = page.locator(".twist-explorer").first
    found.locator(".twist-map canvas").last.press("Escape")
    found.get_by_label("Checkpoint", exact=True).fill("4")
    expect(found).to_have_attribute("data-step", "140")
    found.get_by_label("Color of the points").select_option("class")
    page.mouse.move(0, 0)
    return found


def shown(explorer) -> int:
    return int(explorer.get_attribute("data-shown"))


def drag(page, box, left: float, right: float) -> None:
    page.mouse.move(box["x"] + left * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + right * box["width"], box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()


def test_the_slider_moves_the_table_the_gallery_and_the_words(explorer):
    tools, row = explorer.locator(".twist-tools"), explorer.locator(".twist-class[data-class='4']")
    late = row.inner_text()
    first = explorer.locator(".twist-tile").first.get_attribute("aria-label")
    explorer.get_by_label("Checkpoint", exact=True).fill("0")
    expect(explorer).to_have_attribute("data-step", "0")
    expect(tools).to_contain_text("step 0 · epoch 0")
    assert row.inner_text() != late
    assert explorer.locator(".twist-tile").first.get_attribute("aria-label") != first
    slider = explorer.get_by_label("Checkpoint", exact=True)
    assert slider.get_attribute("aria-valuetext") == "checkpoint 1 of 5 · step 0 · epoch 0"
    slider.press("ArrowRight")
    expect(explorer).to_have_attribute("data-step", "35")
    expect(explorer.locator(".twist-time header")).to_contain_text("kept their class since the one before")


def test_what_the_slider_shows_is_what_the_record_holds(run, explorer):
    record = RunRecord(run)
    record.poll()
    explorer.get_by_label("Checkpoint", exact=True).fill("2")
    expect(explorer).to_have_attribute("data-step", "70")
    snapshot = record.snapshot(70)
    for class_id in (0, 5):
        mine = np.asarray(snapshot.assignment) == class_id
        words = explorer.locator(f".twist-class[data-class='{class_id}']").get_attribute("aria-label")
        entropy = float(np.asarray(snapshot.sample_entropy)[mine].mean())
        assert f"{mine.sum()} images" in words
        assert f"mean entropy {entropy:.2f} nats" in words


def test_the_play_button_runs_to_the_end_and_stops(page, explorer):
    explorer.get_by_label("Checkpoint", exact=True).fill("3")
    expect(explorer).to_have_attribute("data-step", "105")
    explorer.get_by_role("button", name="Play through the checkpoints").click()
    expect(explorer.get_by_role("button", name="Pause")).to_be_visible()
    expect(explorer).to_have_attribute("data-step", "140")
    expect(explorer.get_by_role("button", name="Play through the checkpoints")).to_be_visible()


def test_the_ribbon_names_what_is_under_the_pointer_and_a_click_goes_there(page, explorer):
    bar = explorer.locator("[data-bar^='2 ']").first
    bar.hover()
    expect(explorer.locator(".twist-ribbon-words")).to_contain_text(re.compile(r"Class .* at step 70: \d+ images"))
    explorer.locator(".twist-flow").first.hover(force=True)
    expect(explorer.locator(".twist-ribbon-words")).to_contain_text("step 0 to 35")
    bar.click()
    expect(explorer).to_have_attribute("data-step", "70")


def test_the_ribbon_counts_every_image_once(explorer):
    bars = explorer.locator("[data-bar]").evaluate_all("nodes => nodes.map(node => node.dataset.bar.split(' '))")
    for checkpoint in range(5):
        assert sum(int(n) for t, _, n in bars if int(t) == checkpoint) == 300


def test_a_drag_over_the_entropies_selects_their_images(page, explorer):
    histogram = explorer.locator(".twist-hist")
    histogram.scroll_into_view_if_needed()
    drag(page, histogram.bounding_box(), 0.02, 0.3)
    expect(explorer).not_to_have_attribute("data-shown", "300")
    chosen = shown(explorer)
    names = [tile.get_attribute("aria-label") for tile in explorer.locator(".twist-gallery .twist-tile").all()]
    entropies = [float(re.search(r"entropy ([\d.]+) nats", name)[1]) for name in names]
    low, high = re.search(
        r"([\d.]+) to ([\d.]+) nats", explorer.locator(".twist-hist-panel header").inner_text()
    ).groups()
    assert 0 < chosen < 300
    assert float(low) - 0.01 <= min(entropies) and max(entropies) <= float(high) + 0.01
    expect(explorer.locator(".twist-inspector")).to_contain_text("what these share")
    expect(explorer.locator(".twist-inspector")).to_contain_text("of all")


def test_a_range_of_entropies_is_forgotten_when_something_else_is_selected(page, explorer):
    histogram, words = explorer.locator(".twist-hist"), explorer.locator(".twist-hist-panel header")
    histogram.scroll_into_view_if_needed()
    drag(page, histogram.bounding_box(), 0.02, 0.1)
    expect(explorer).not_to_have_attribute("data-shown", "300")
    expect(words).to_contain_text("nats")
    explorer.locator(".twist-class[data-class='4']").click()
    expect(words).to_contain_text("shares of all (gray) and of the selection")
    expect(explorer.locator(".twist-brush")).to_have_attribute("visibility", "hidden")


def test_a_range_of_entropies_is_chosen_by_keyboard(explorer):
    histogram = explorer.locator(".twist-hist")
    histogram.focus()
    for key in ("ArrowRight", "ArrowRight", *["Shift+ArrowRight"] * 30, "Enter"):
        histogram.press(key)
    expect(explorer).not_to_have_attribute("data-shown", "300")
    assert shown(explorer) > 0


def test_images_torn_between_two_classes_come_by_smallest_margin(explorer):
    second = explorer.get_by_label("Torn between, class 2 of 2")
    explorer.get_by_label("Torn between, class 1 of 2").select_option("1")
    for other in range(2, 10):
        second.select_option(str(other))
        expect(explorer).to_have_attribute("data-torn", f"1,{other}")
        if shown(explorer) > 2:
            break
    names = [tile.get_attribute("aria-label") for tile in explorer.locator(".twist-gallery .twist-tile").all()]
    assert len(names) == shown(explorer) > 2
    assert all("class 1," in name or f"class {other}," in name or "onerror" in name for name in names)
    expect(explorer.locator(".twist-gallery h3")).to_contain_text("Torn between 1 and")
    expect(explorer.get_by_label("Order of the images")).to_have_value("margin")
    explorer.get_by_label("Order of the images").select_option("most")


def test_a_click_in_the_legend_hides_a_class_and_two_show_it_alone(explorer):
    chip = explorer.locator(".twist-legend [data-category='2']")
    size = int(re.search(r"(\d+)$", chip.inner_text())[1])
    chip.click()
    expect(explorer).to_have_attribute("data-shown", str(300 - size))
    expect(chip).to_have_attribute("aria-pressed", "false")
    explorer.get_by_role("button", name="show all", exact=True).click()
    expect(explorer).to_have_attribute("data-shown", "300")
    chip.dblclick()
    expect(explorer).to_have_attribute("data-shown", str(size))
    chip.dblclick()
    expect(explorer).to_have_attribute("data-shown", "300")


def test_the_inspector_leads_from_neighbor_to_neighbor(page, explorer):
    row = hover_any_point(page, explorer)
    page.mouse.down()
    page.mouse.up()
    inspector = explorer.locator(".twist-inspector")
    expect(inspector).to_have_attribute("data-sample", str(row))
    expect(inspector.locator(".twist-prob")).to_have_count(3)
    neighbors = inspector.locator(".twist-neighbors .twist-tile")
    expect(neighbors).to_have_count(12)
    following = neighbors.nth(1).get_attribute("data-sample")
    neighbors.nth(1).click()
    page.mouse.move(0, 0)
    expect(inspector).to_have_attribute("data-sample", following)
    expect(explorer.locator(".twist-card")).to_be_hidden()  # the inspector tells it all
    neighbors.nth(2).hover()
    expect(explorer.locator(".twist-card")).to_have_attribute(
        "data-sample", neighbors.nth(2).get_attribute("data-sample")
    )


def test_neighbors_are_the_nearest_in_feature_space(run, page, explorer):
    row = hover_any_point(page, explorer)
    page.mouse.down()
    page.mouse.up()
    record = RunRecord(run)
    record.poll()
    features = np.asarray(record.snapshot().features, np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = np.argsort(-(unit @ unit[row]), kind="stable")
    expected = [int(i) for i in nearest if i != row][:12]
    tiles = explorer.locator(".twist-neighbors .twist-tile")
    expect(tiles).to_have_count(12)
    assert [int(tile.get_attribute("data-sample")) for tile in tiles.all()] == expected


def test_the_history_of_an_image_is_drawn_and_leads_to_its_checkpoints(page, explorer):
    hover_any_point(page, explorer)
    page.mouse.down()
    page.mouse.up()
    history = explorer.locator(".twist-inspector[data-sample] .twist-history")
    assert len(history.locator("polyline").get_attribute("points").split()) == 5
    assert "Entropy from" in history.locator("svg").get_attribute("aria-label").capitalize()
    history.locator("rect").nth(1).click()
    expect(explorer).to_have_attribute("data-step", "35")


def test_every_column_colors_the_points_and_says_its_unit(explorer):
    expected = {"margin": "100 %", "flips": "0 changes", "settled": "step ", "agreement": "100 % of visits"}
    for value, words in expected.items():
        explorer.get_by_label("Color of the points").select_option(value)
        expect(explorer).to_have_attribute("data-color-by", value)
        expect(explorer.locator(".twist-legend")).to_contain_text(words)
    expect(explorer.locator(".twist-legend")).to_contain_text("no value 1")  # agreement of the image never visited
    trust = explorer.locator("option[value=trust]")
    assert trust.is_disabled() and trust.get_attribute("title") == "the map does not tell it"


def test_shapes_tell_images_whose_label_is_not_the_main_one(explorer):
    explorer.get_by_label("Shape of the points").select_option("odd")
    expect(explorer.locator(".twist-shapes")).to_contain_text("✕ another label")
    assert explorer.get_by_label("Shape of the points").locator("[value=label]").is_disabled()  # ten labels
    explorer.get_by_label("Shape of the points").select_option("none")


def test_a_name_is_shown_as_text_wherever_its_class_is(page, explorer):
    explorer.locator(".twist-class[data-class='3']").click()
    for place in (".twist-class[data-class='3']", ".twist-legend", ".twist-gallery h3", ".twist-inspector h3"):
        expect(explorer.locator(place)).to_contain_text(HOSTILE)
    expect(explorer.locator(".twist-class-note")).to_have_text("a note")
    assert page.evaluate("() => window.bad") is None
    assert page.locator("img").count() == 0


def test_the_rules_of_reading_the_map_are_there(explorer):
    explorer.locator(".twist-rules summary").click()
    expect(explorer.locator(".twist-rules")).to_contain_text("the two directions in which the features vary most")
    expect(explorer.locator(".twist-rules")).to_contain_text("Shift-drag draws a lasso")
    explorer.locator(".twist-rules summary").click()


def test_what_is_selected_is_exported_as_a_table(page, explorer):
    explorer.locator(".twist-class[data-class='3']").click()
    expect(explorer).to_have_attribute("data-shown", "30")
    with page.expect_download() as download:
        explorer.get_by_label("Export").select_option("csv")
    rows = list(csv.DictReader(download.value.path().read_text("utf-8").splitlines()))
    assert download.value.suggested_filename == "linked-step140-classes.csv"
    assert len(rows) == 30 and {row["assignment"] for row in rows} == {"3"}
    assert {row["label"] for row in rows} == {"kind 3"}


def test_the_picture_of_the_map_says_where_it_comes_from(page, explorer):
    with page.expect_download() as download:
        explorer.get_by_label("Export").select_option("svg")
    text = download.value.path().read_text("utf-8")
    assert text.startswith("<svg") and "run linked" in text and "step 140" in text and "seed 0" in text


def test_a_lasso_adds_and_takes_away(page, explorer):
    canvas = explorer.locator(".twist-map canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def lasso(left, right, *keys):
        for key in keys:
            page.keyboard.down(key)
        page.mouse.move(box["x"] + left, box["y"] + 4)
        page.mouse.down()
        for x, y in ((right, 4), (right, 440), (left, 440), (left, 4)):
            page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        page.mouse.up()
        for key in keys:
            page.keyboard.up(key)

    half = box["width"] / 2
    lasso(60, half, "Shift")
    expect(explorer).not_to_have_attribute("data-shown", "300")
    first = shown(explorer)
    lasso(half, box["width"] - 4, "Shift", "Control")
    expect(explorer).not_to_have_attribute("data-shown", str(first))
    both = shown(explorer)
    lasso(half, box["width"] - 4, "Shift", "Alt")
    expect(explorer).to_have_attribute("data-shown", str(first))
    assert first < both


def test_a_gallery_of_ten_thousand_images_opens_at_once(tmp_path, open_page):
    run = make_run(tmp_path, name="large", num_samples=10_000, num_classes=20, snapshots=3)
    page = open_page()
    page.goto(write_page(tmp_path / "page.html", run))
    page.wait_for_selector(".twist-explorer[data-state=ready] .twist-tile >> nth=95")
    page.wait_for_timeout(500)
    took = page.evaluate(
        """async () => {
            const root = document.querySelector('.twist-explorer'), times = [];
            for (const id of [1, 2, 3, 4, 5]) {
                const began = performance.now();
                root.querySelector(`[data-class="${id}"]`).click();
                while (!root.querySelector('.twist-gallery h3').textContent.startsWith(`Class ${id} `)) {
                    await new Promise((done) => setTimeout(done, 1));
                }
                times.push(performance.now() - began);
                await new Promise((done) => setTimeout(done, 200));
            }
            return times;
        }"""
    )
    assert min(took) <= 150, took  # the rest waits for its turn on a machine that does other things


def test_the_legend_of_many_classes_opens_whole_and_keeps_its_shapes(tmp_path, open_page):
    run = make_run(tmp_path, "uniform", num_samples=600, num_classes=30, snapshots=2)
    page = open_page()
    page.goto(write_page(tmp_path / "page.html", run))
    explorer = page.locator(".twist-explorer")
    explorer.get_by_label("Shape of the points").select_option("odd")
    chips, shapes = explorer.locator(".twist-legend [data-category]"), explorer.locator(".twist-shapes")
    expect(shapes).to_contain_text("another label")
    expect(chips).to_have_count(24)
    explorer.locator(".twist-legend").get_by_role("button", name="and 6 more").click()
    expect(chips).to_have_count(30)
    expect(shapes).to_contain_text("another label")


@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_images_is_no_blank_canvas(tmp_path, open_page, count):
    run = make_run(tmp_path, num_samples=count, snapshots=2)
    page = open_page()
    page.goto(write_page(tmp_path / "page.html", run))
    explorer = page.locator(".twist-explorer")
    expect(explorer.locator(".twist-gallery .twist-tile")).to_have_count(count)
    expect(explorer.locator(".twist-inspector")).to_contain_text("All images")
    explorer.locator(".twist-gallery .twist-tile").first.click()
    expect(explorer.locator(".twist-inspector")).to_have_attribute("data-sample", re.compile(r"\d"))


@pytest.mark.parametrize("kind", ["one-class", "uniform", "not-finite"])
def test_a_collapsed_run_is_shown_in_words_and_numbers(tmp_path, open_page, kind):
    run = make_run(tmp_path, kind, labels=False)
    page = open_page()
    page.goto(write_page(tmp_path / "page.html", run))
    explorer = page.locator(".twist-explorer")
    expect(explorer.locator(".twist-gallery .twist-tile")).to_have_count(96)
    if kind == "one-class":
        expect(explorer.locator(".twist-tools")).to_contain_text("1 of 10 classes in use")
    assert "NaN" not in explorer.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [900, 1400])
def test_nothing_leaves_the_page_or_covers_anything(run, open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page.goto((run.parent / "page.html").as_uri())
    page.wait_for_selector(".twist-explorer[data-state=ready] .twist-tile >> nth=95")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    boxes = []
    for part in page.locator(".twist-body > *").all():
        box = part.bounding_box()
        boxes.append((box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]))
    for k, one in enumerate(boxes):
        for other in boxes[k + 1 :]:
            apart = one[2] <= other[0] + 1 or other[2] <= one[0] + 1 or one[3] <= other[1] + 1 or other[3] <= one[1] + 1
            assert apart, (one, other)


@pytest.fixture
def aligned(tmp_path, open_page, monkeypatch):
    """A page whose checkpoints have maps of their own; image 0 moves from the left edge to the right."""
    run = make_run(tmp_path, name="aligned")
    record = RunRecord(run)
    record.poll()
    steps = np.array(record.snapshot_steps())
    xy = np.random.default_rng(0).uniform(-0.8, 0.8, (len(steps), 300, 2)).astype(np.float32)
    xy[:, 0] = np.stack([np.linspace(-1, 1, len(steps)), np.zeros(len(steps))], 1)
    trust = np.linspace(0, 1, 300, dtype=np.float32) * np.ones((len(steps), 1), np.float32)
    facts = {"of": len(steps), "stale": False}
    monkeypatch.setattr("twist.view.aligned.frames", lambda path: Frames(steps, xy, trust, facts))
    page = open_page(reduced_motion="reduce")
    page.goto(write_page(tmp_path / "page.html", run))
    page.wait_for_selector(".twist-explorer[data-state=ready] .twist-tile >> nth=95")
    return page


def test_the_slider_moves_the_points_of_aligned_maps(aligned):
    explorer = aligned.locator(".twist-explorer")
    explorer.locator(".twist-class[data-class='0']").click()
    expect(explorer).to_have_attribute("data-selected-class", "0")
    expect(explorer.locator(".twist-gallery h3")).to_contain_text("Class 0 ·")
    explorer.locator(".twist-gallery .twist-tile[data-sample='0']").dispatch_event("pointerenter")
    card = explorer.locator(".twist-card")
    expect(card).to_have_attribute("data-sample", "0")
    lefts = []
    for checkpoint in range(5):
        explorer.get_by_label("Checkpoint", exact=True).fill(str(checkpoint))
        expect(explorer.locator(".twist-time")).to_have_attribute("data-at", str(checkpoint))
        aligned.wait_for_timeout(100)
        box = card.bounding_box()
        lefts.append(box["x"] + box["width"] / 2)
    assert lefts[0] < lefts[2] < lefts[4] and lefts[4] - lefts[0] > 100
    expect(explorer.locator(".twist-foot")).to_contain_text("Trust here: 50 %")


def test_the_trust_of_the_map_is_a_color_and_an_overlay(aligned):
    explorer = aligned.locator(".twist-explorer")
    explorer.get_by_label("Color of the points").select_option("trust")
    expect(explorer.locator(".twist-legend")).to_contain_text("100 % of neighbors")

    def depths() -> set[str]:
        with aligned.expect_download() as download:
            explorer.get_by_label("Export").select_option("svg")
        return set(re.findall(r'opacity="([\d.]+)"', download.value.path().read_text("utf-8")))

    before = depths()
    explorer.get_by_label("trust", exact=True).check()
    expect(explorer.get_by_label("trust", exact=True)).to_be_checked()
    aligned.wait_for_timeout(200)
    assert len(before) <= 3 and len(depths()) > 20


def test_a_group_that_only_the_map_holds_together_is_told(aligned):
    explorer = aligned.locator(".twist-explorer")
    canvas = explorer.locator(".twist-map canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    # Places are random here: what lies in a corner has its nearest in feature space elsewhere.
    middle, half = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), 0.16 * box["height"]
    aligned.keyboard.down("Shift")
    aligned.mouse.move(middle[0] - half, middle[1] - half)
    aligned.mouse.down()
    for x, y in ((1, -1), (1, 1), (-1, 1), (-1, -1)):
        aligned.mouse.move(middle[0] + x * half, middle[1] + y * half, steps=3)
    aligned.mouse.up()
    aligned.keyboard.up("Shift")
    expect(explorer).not_to_have_attribute("data-shown", "300")
    assert 10 <= shown(explorer) < 120
    expect(explorer.locator(".twist-warning")).to_contain_text("may be the map, not the features")
    explorer.locator(".twist-class[data-class='3']").click()
    expect(explorer.locator(".twist-warning")).to_have_count(0)
