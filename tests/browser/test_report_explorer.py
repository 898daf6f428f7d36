"""The explorer in an HTML page without kernel and without network, opened from a file."""

from __future__ import annotations

import numpy as np
import pytest
from browsing import expect, hover_any_point, number_shown
from synthetic import make_run

from twist.runs.record import RunRecord
from twist.view.classes import explorer_html

pytestmark = pytest.mark.browser

HOSTILE = ["</script><script>window.bad = 1</script>", "<img src=x onerror='window.bad = 2'>", "${window.bad = 3}"]


@pytest.fixture(scope="module")
def page(tmp_path_factory, open_page):
    """Two explorers on one page: labels with hostile names, and no labels."""
    folder = tmp_path_factory.mktemp("report")
    named = make_run(folder, name="named", label_names=HOSTILE + [f"kind {i}" for i in range(3, 10)])
    plain = make_run(folder, "one-class", name="plain", labels=False)
    fragments = [explorer_html(RunRecord(path)) for path in (named, plain)]
    file = folder / "page.html"
    file.write_text("<!doctype html><meta charset='utf-8'>" + "".join(fragments), encoding="utf-8")
    page = open_page()
    page.goto(file.as_uri())
    page.wait_for_selector(".twist-explorer[data-state=ready] .twist-tile >> nth=95")
    return page


@pytest.fixture
def explorer(page):
    first = page.locator(".twist-explorer").first
    first.locator(".twist-map canvas").last.press("Escape")
    page.mouse.move(0, 0)
    return first


def test_it_says_what_it_shows(explorer):
    text = explorer.locator(":scope > header").inner_text()
    assert "named" in text
    assert "step 140 · epoch 20 · 300 images · 10 of 10 classes in use" in text


def test_hover_shows_the_image_and_what_the_network_says_of_it(page, explorer):
    row = hover_any_point(page, explorer)
    card = explorer.locator(".twist-card")
    assert card.get_attribute("data-sample") == str(row)
    assert "blob:" in card.locator(".twist-picture").evaluate("node => node.style.backgroundImage")
    assert "confidence" in card.inner_text() and "nats" in card.inner_text()
    assert card.locator(".twist-prob").count() == 3


def test_a_thumbnail_is_the_image_of_its_row(explorer):
    picture = """async (node) => {
        const image = new Image();
        image.src = node.style.backgroundImage.slice(5, -2);
        await image.decode();
        const canvas = new OffscreenCanvas(8, 8), pen = canvas.getContext('2d');
        const [x, y] = node.style.backgroundPosition.split(' ').map(parseFloat);
        const tile = parseFloat(node.style.width) / 8;
        pen.drawImage(image, -x / tile, -y / tile, 8, 8, 0, 0, 8, 8);
        return [...pen.getImageData(0, 0, 8, 8).data].filter((_, k) => k % 4 === 0);
    }"""
    for tile in explorer.locator(".twist-tile").all()[:3]:
        pixels = np.array(tile.evaluate(picture)).reshape(8, 8)
        label = int(tile.get_attribute("data-sample")) % 10  # make_run's picture: a bar whose place tells the label
        bar = np.zeros((8, 8), bool)
        bar[(label + 1, slice(None)) if label < 6 else (slice(None), label - 5)] = True
        assert pixels[bar].min() >= 200 and pixels[~bar].max() < 20


def test_selecting_a_class_fills_the_gallery_with_it_sorted_by_confidence(explorer):
    explorer.get_by_role("button", name="Class 3:").click()
    expect(explorer).to_have_attribute("data-selected-class", "3")
    names = [tile.get_attribute("aria-label") for tile in explorer.locator(".twist-tile").all()]
    assert len(names) == number_shown(explorer.locator(".twist-gallery h3").inner_text()) == 30
    assert all("class 3," in name for name in names)
    confidences = [float(name.split("confidence ")[1].split(" %")[0]) for name in names]
    assert confidences == sorted(confidences, reverse=True)
    explorer.get_by_label("Order of the images").select_option("least")
    expect(explorer.locator(".twist-tile").last).to_have_attribute("aria-label", names[0])
    explorer.get_by_label("Order of the images").select_option("most")


def test_a_tile_under_the_pointer_is_marked_on_the_map(explorer):
    tile = explorer.locator(".twist-tile").nth(7)
    tile.hover()
    assert explorer.get_attribute("data-hovered") == tile.get_attribute("data-sample")


def test_a_click_on_a_point_pins_it_and_selects_its_class_and_escape_clears(page, explorer):
    row = hover_any_point(page, explorer)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(0, 0)
    inspector = explorer.locator(".twist-inspector")
    expect(explorer).not_to_have_attribute("data-selected-class", "-1")
    expect(inspector).to_have_attribute("data-sample", str(row))
    expect(explorer.locator(".twist-card")).to_be_hidden()
    explorer.locator(".twist-map canvas").last.press("Escape")
    expect(explorer).to_have_attribute("data-selected-class", "-1")
    expect(inspector).to_contain_text("All images")


def test_arrow_keys_walk_over_the_map_and_are_spoken(page, explorer):
    canvas = explorer.locator(".twist-map canvas").last
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        canvas.press(key)
        seen.append(explorer.get_attribute("data-hovered"))
    assert "-1" not in seen and len(set(seen)) >= 3
    assert "confidence" in explorer.locator(".twist-spoken").text_content()
    canvas.press("Enter")
    expect(explorer).not_to_have_attribute("data-selected-class", "-1")


def test_the_wheel_zooms_a_drag_moves_and_a_double_click_shows_all(page, explorer):
    hover_any_point(page, explorer)
    page.mouse.wheel(0, -300)
    page.wait_for_function("node => Number(node.dataset.zoom) > 1.2", arg=explorer.element_handle())
    explorer.locator(".twist-map canvas").last.dblclick(position={"x": 300, "y": 440})
    expect(explorer).to_have_attribute("data-zoom", "1.00")


def test_near_enough_the_map_draws_the_images_themselves(page, explorer):
    expect(explorer.locator(".twist-map")).to_have_attribute("data-drawn", "dots")
    for _ in range(6):
        explorer.get_by_label("Zoom in").click()
    page.wait_for_function(
        "node => node.dataset.drawn === 'images'", arg=explorer.locator(".twist-map").element_handle()
    )
    explorer.get_by_label("Show all points").click()


def test_a_lasso_fills_the_gallery_with_what_it_holds(page, explorer):
    canvas = explorer.locator(".twist-map canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, right = box["x"] + 60, box["x"] + box["width"] / 2
    top, bottom = box["y"] + 5, box["y"] + box["height"] - 5
    page.keyboard.down("Shift")
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(explorer).not_to_have_attribute("data-shown", "300")
    assert 10 < int(explorer.get_attribute("data-shown")) < 290


def test_every_color_has_a_legend_with_units(explorer):
    expected = {"entropy": "2.30 nats · 100 %", "confidence": "10 % = 1/10", "label": "kind 5 30", "class": "class"}
    for value, words in expected.items():
        explorer.get_by_label("Color of the points").select_option(value)
        expect(explorer.locator(".twist-legend")).to_contain_text(words)


def test_hostile_names_are_shown_and_do_nothing(page, explorer):
    assert page.evaluate("() => window.bad") is None
    assert HOSTILE[1] in explorer.locator(".twist-class .twist-name").all_inner_texts()


def test_two_explorers_on_one_page_do_not_share_a_selection(page, explorer):
    explorer.get_by_role("button", name="Class 2:").click()
    expect(explorer).to_have_attribute("data-selected-class", "2")
    assert page.locator(".twist-explorer").last.get_attribute("data-selected-class") == "-1"


def test_dead_classes_and_missing_labels_are_told(page):
    second = page.locator(".twist-explorer").last
    assert "1 of 10 classes in use" in second.inner_text()
    assert second.get_by_role("button", name="Class 4: dead, no image").is_visible()
    assert second.get_by_label("Color of the points").locator("[value=label]").is_disabled()


def test_at_nine_hundred_pixels_nothing_leaves_the_page(page):
    page.set_viewport_size({"width": 900, "height": 900})
    assert page.evaluate("() => document.documentElement.scrollWidth <= 900")
    page.set_viewport_size({"width": 1400, "height": 1100})
