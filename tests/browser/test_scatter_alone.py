"""The scatter in a page without kernel and network: gestures, keys, names that are markup, few points, no WebGL."""

from __future__ import annotations

import numpy as np
import pytest
from browsing import expect

from twist.view.browser import script
from twist.view.scatter import TwistScatter, link

pytestmark = pytest.mark.browser

HOSTILE = ["</script><script>window.bad = 1</script>", "<img src=x onerror='window.bad = 2'>", "${window.bad = 3}"]
NO_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
    return WITHOUT.some((word) => kind.startsWith(word)) ? null : get.call(this, kind, ...more);
};
"""
# How many of the map's pixels are not the paper.
INKED = """(node) => {
    return new Promise((done) => requestAnimationFrame(() => setTimeout(async () => {
        const blob = await window.map.picture('png', '');
        const image = await createImageBitmap(blob);
        const pen = new OffscreenCanvas(image.width, image.height).getContext('2d');
        pen.drawImage(image, 0, 0);
        const pixels = pen.getImageData(0, 0, image.width, image.height).data;
        let inked = 0;
        for (let k = 0; k < pixels.length; k += 4) inked += pixels[k] + pixels[k + 1] + pixels[k + 2] < 720;
        done(inked);
    })));
}"""


def spiral(count: int) -> np.ndarray:
    at = np.sqrt(np.arange(count) + 1.0)
    return np.stack([at * np.cos(2.4 * np.arange(count)), at * np.sin(2.4 * np.arange(count))], axis=1)


def pages_of(*scatters: TwistScatter) -> str:
    """A page of scatters; the last one's map is at hand as `window.map`."""
    parts = [scatter.to_html().replace("this.on = on;", "this.on = on; window.map = this;") for scatter in scatters]
    for scatter in scatters:
        scatter.close()
    return "<!doctype html><meta charset='utf-8'>" + "".join(parts)


@pytest.fixture(scope="module")
def show(tmp_path_factory, open_page):
    """Open scatters in a fresh page; returns the page and the first scatter."""
    folder = tmp_path_factory.mktemp("scatter")

    def open_it(*scatters, without=(), **settings):
        page = open_page(**settings)
        if without:
            page.add_init_script(NO_WEBGL.replace("WITHOUT", str(list(without))))
        file = folder / f"{len(list(folder.iterdir()))}.html"
        file.write_text(pages_of(*scatters), encoding="utf-8")
        page.goto(file.as_uri())
        return page, page.locator(".twist-scatter").first

    return open_it


def test_names_that_are_markup_are_text(show):
    made = TwistScatter(
        spiral(300), color=np.arange(300) % 3, names=HOSTILE, hover={HOSTILE[1]: [HOSTILE[0]] * 300}, title=HOSTILE[1]
    )
    page, scatter = show(made)
    expect(scatter.locator(".twist-chip")).to_have_count(3)
    scatter.locator(".twist-map canvas").last.press("ArrowRight")
    expect(scatter.locator(".twist-card")).to_contain_text(HOSTILE[0])
    assert HOSTILE[1] in scatter.locator("header").first.inner_text()
    assert page.evaluate("() => window.bad") is None


def test_keys_walk_from_point_to_point_and_are_spoken(show):
    page, scatter = show(TwistScatter(spiral(500), color=np.linspace(0, 2, 500), color_name="entropy", unit="nats"))
    canvas = scatter.locator(".twist-map canvas").last
    rows = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        canvas.press(key)
        rows.append(scatter.get_attribute("data-hovered"))
    assert "-1" not in rows and len(set(rows)) >= 3
    assert "entropy" in scatter.locator(".twist-spoken").text_content()
    canvas.press("+")
    expect(scatter).to_have_attribute("data-zoom", "1.40")
    canvas.press("0")
    expect(scatter).to_have_attribute("data-zoom", "1.00")


def test_the_legend_chooses_a_category_and_the_lasso_button_draws_without_shift(show):
    page, scatter = show(TwistScatter(spiral(300), color=np.arange(300) % 3, names=["a", "b", "c"]))
    scatter.get_by_role("button", name="b 100").click()
    expect(scatter).to_have_attribute("data-selected", "100")
    scatter.get_by_role("button", name="a 0 / 100").click(modifiers=["Control"])
    expect(scatter).to_have_attribute("data-selected", "200")
    scatter.get_by_label("Choose points with a box").click()
    box = scatter.locator(".twist-map").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=3)
    page.mouse.up()
    expect(scatter).to_have_attribute("data-selected", "300")
    scatter.get_by_label("Clear the selection (Esc)").click()
    expect(scatter).to_have_attribute("data-selected", "0")


@pytest.mark.parametrize("count", [1, 3])
def test_few_points_are_drawn(show, count):
    page, scatter = show(TwistScatter(spiral(count)))
    assert scatter.locator(".twist-map").evaluate(INKED) > 20


def test_no_points_are_a_sentence(show):
    page, scatter = show(TwistScatter(np.zeros((0, 2))))
    expect(scatter).to_have_attribute("data-state", "empty")
    expect(scatter.locator(".twist-note")).to_contain_text("No points")


def test_without_webgl_an_even_part_is_drawn_and_said(show):
    page, scatter = show(TwistScatter(spiral(50_000), color=np.arange(50_000) % 4), without=["webgl"])
    node = scatter.locator(".twist-map")
    expect(node).to_have_attribute("data-renderer", "canvas")
    expect(node.locator(".twist-map-note")).to_contain_text("20,000 of 50,000 points, evenly spread")
    assert node.evaluate(INKED) > 10_000


def test_without_any_canvas_there_is_a_sentence(show):
    page, scatter = show(TwistScatter(spiral(50)), without=["webgl", "2d"])
    expect(scatter.locator(".twist-map")).to_have_attribute("data-renderer", "none")
    expect(scatter.locator(".twist-map-note")).to_contain_text("no canvas to draw on")


def test_a_lost_context_is_restored_and_one_that_stays_lost_is_drawn_on_a_canvas(show):
    page, scatter = show(TwistScatter(spiral(2000), color=np.arange(2000) % 4))
    node = scatter.locator(".twist-map")
    before = node.evaluate(INKED)
    page.evaluate("() => { window.loss = map.layer.gl.getExtension('WEBGL_lose_context'); loss.loseContext(); }")
    page.wait_for_timeout(100)
    page.evaluate("() => loss.restoreContext()")
    page.wait_for_function("() => !map.layer.lost")
    page.wait_for_timeout(100)
    assert node.evaluate(INKED) == pytest.approx(before, rel=0.02)
    expect(node).to_have_attribute("data-renderer", "webgl")
    page.evaluate("() => loss.loseContext()")
    expect(node).to_have_attribute("data-renderer", "canvas", timeout=10_000)
    assert node.evaluate(INKED) == pytest.approx(before, rel=0.25)
    page.evaluate("() => loss.restoreContext()")  # too late: nothing breaks, as no page of these tests may
    page.wait_for_timeout(200)
    expect(node).to_have_attribute("data-renderer", "canvas")


def test_a_thumbnail_that_no_answer_came_for_is_asked_for_again(open_page):
    page = open_page()
    page.add_script_tag(
        type="module",
        content=script("dom", "thumbnails", widget="null")
        + """
        const hearers = new Set(), asked = [];
        const model = { on: (event, then) => hearers.add(then), off: (event, then) => hearers.delete(then),
          send: (message) => asked.push(message) };
        const ask = tilesOf(model, 50);
        const pictures = new Thumbnails({ sheets: [], tile: 0, columns: 1, per_sheet: 1 }, ask);
        const node = document.body.appendChild(document.createElement("p"));
        const canvas = Object.assign(document.createElement("canvas"), { width: 4, height: 4 });
        const answer = () => canvas.toBlob(async (blob) => {
          const { id } = asked.at(-1);
          const bytes = new DataView(await blob.arrayBuffer());
          for (const hear of hearers) hear({ type: "tiles", id, columns: 1, tile: 4, mime: "image/png" }, [bytes]);
        });
        Object.assign(window, { asked, answer, node, show: () => pictures.show(node, 7, 32) });""",
    )
    page.wait_for_function("() => window.show")
    page.evaluate("show()")
    page.wait_for_function("() => asked.length === 1")
    page.wait_for_timeout(300)  # it gives up
    page.evaluate("show()")
    page.wait_for_function("() => asked.length === 2")
    page.evaluate("answer()")
    page.wait_for_function("() => node.dataset.shown === '7'")
    assert page.evaluate("asked.map(({ rows }) => [...rows])") == [[7], [7]]


def test_points_without_a_place_are_counted_and_not_drawn(show):
    xy = spiral(400)
    xy[::2] = np.nan
    page, scatter = show(TwistScatter(xy))
    expect(scatter.locator("header").first).to_contain_text("200 without a place")
    canvas = scatter.locator(".twist-map canvas").last
    for _ in range(5):
        canvas.press("ArrowRight")
        assert int(scatter.get_attribute("data-hovered")) % 2 == 1


def test_a_picture_is_a_png_or_an_svg_with_its_caption(show):
    page, scatter = show(TwistScatter(spiral(300), color=np.arange(300) % 2, names=["a <b>", "b"]))
    read = """async (kind) => {
        const blob = await map.picture(kind, 'run x · step 5');
        return [blob.type, await blob.text()];
    }"""
    kind, text = page.evaluate(read, "svg")
    assert kind == "image/svg+xml" and text.count("<circle") == 300
    assert "run x · step 5" in text and "a &lt;b&gt;" in text and "color-mix" not in text
    kind, text = page.evaluate(read, "png")
    assert kind == "image/png" and len(text) > 1000


def test_two_fingers_zoom(show):
    page, scatter = show(TwistScatter(spiral(300)))
    scatter.locator(".twist-map canvas").last.evaluate(
        """(canvas) => {
            canvas.setPointerCapture = () => {};
            const box = canvas.getBoundingClientRect();
            const send = (kind, id, x) => canvas.dispatchEvent(new PointerEvent(kind, { pointerId: id, button: 0,
                pointerType: 'touch', clientX: box.left + x, clientY: box.top + 200, bubbles: true }));
            send('pointerdown', 1, 200); send('pointerdown', 2, 300);
            send('pointermove', 1, 150); send('pointermove', 2, 350);
            send('pointerup', 1, 150); send('pointerup', 2, 350);
        }"""
    )
    expect(scatter).to_have_attribute("data-zoom", "2.00")
    expect(scatter).to_have_attribute("data-selected", "0")


def test_linked_scatters_on_a_page_share_what_is_chosen(show):
    one, two = TwistScatter(spiral(100)), TwistScatter(-spiral(100))
    link(one, two)
    page, scatter = show(one, two)
    scatter.locator(".twist-map canvas").last.press("ArrowRight")
    other = page.locator(".twist-scatter").nth(1)
    expect(other).to_have_attribute("data-hovered", scatter.get_attribute("data-hovered"))
    scatter.get_by_label("Zoom in").click()
    expect(other).to_have_attribute("data-zoom", "1.60")


def test_at_nine_hundred_pixels_nothing_leaves_the_page(show):
    made = TwistScatter(spiral(100), color=np.arange(100) % 30, names=[f"a rather long name {k}" for k in range(30)])
    page, scatter = show(made, viewport={"width": 900, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth <= 900")
