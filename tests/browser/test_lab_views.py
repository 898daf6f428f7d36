"""The collapse lab in a plain page over points in the plane: no kernel, no network, no Jupyter."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from browsing import expect

from twist.runs.bounds import norm_frontier, sharpness_floor
from twist.runs.config import Recipe
from twist.runs.experiments import EXPERIMENTS
from twist.view.browser import script, style
from twist.view.plane import attainable
from twist.view.scene import Scene

pytestmark = pytest.mark.browser

PARTS = ("dom", "toy", "lab_verdict", "lab_pictures", "lab_view")
NAMES = (
    "renderLab, labToyBench, labNormFrontier, labAttainable, labSharpnessFloor, labEntropyRing, LAB_ALL_KNOBS, "
    "TOY_CLOCK"
)
# Every visible text with too little contrast to what is painted behind it, and every control that has no name.
FAINT = r"""() => {
    const rgb = (text) => {
        const parts = text.match(/[\d.]+/g).map(Number);
        return text.startsWith('color(') ? parts.slice(0, 3).map((x) => 255 * x).concat(parts[3] ?? 1)
            : parts.slice(0, 3).concat(parts[3] ?? 1);
    };
    const light = (color) => {
        const [r, g, b] = color.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const node of document.querySelectorAll('.twist-lab *')) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
        if (!own || node.disabled || !node.checkVisibility() || node.closest('.twist-spoken, option')) continue;
        let behind = [255, 255, 255, 0];
        for (let at = node; at && behind[3] < 1; at = at.parentElement) {
            const painted = rgb(getComputedStyle(at).backgroundColor);
            if (painted[3] > 0.99) behind = painted;
        }
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${node.className} ${ratio.toFixed(2)}: ${node.textContent.slice(0, 40)}`);
    }
    return found;
}"""
# Where Tab leads: the name of each control and how it shows that it is the one.
FOCUSED = """() => {
    const node = document.activeElement, style = getComputedStyle(node);
    const name = node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.[0]?.textContent || '';
    return { name, tag: node.tagName, ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 };
}"""

# A lab over two benches that note what is asked of them, as runs behind a kernel would.
NOTING = """() => {
    view.close();
    window.asked = [];
    const zeros = (size) => new Float32Array(size).fill(1 / 3);
    class Noting {
        constructor({ pane, knobs }) {
            Object.assign(this, { pane, kind: 'digits', state: 'running', message: '', defaults: {}, knobs, turns: [],
                trail: { step: [], sharpness: [], diversity: [] }, verdict: null, runVerdict: null });
            this.to(0);
        }
        to(step) {
            this.frame = { step, numClasses: 3, batchSize: 4, finalNorm: 'batch', temperature: 1, consistency: 0,
                sharpness: 1, diversity: 1, total: 0, agreement: 1, classPerplexity: 3, count: 4, probs: zeros(12),
                visited: new Int32Array(4), labels: null, labelNames: null, batch: new Int32Array([0, 1, 2, 3]),
                views: zeros(24), points: null };
            this.tell?.();
        }
        note(what, state) { asked.push(`${this.pane} ${what}`); this.state = state; this.tell?.(); }
        play() { this.note('play', 'running'); }
        pause() { this.note('pause', 'paused'); }
        stepOnce() { this.note('step', 'paused'); }
        restart() { this.to(0); }
        subscribe(tell) { this.tell = tell; return () => {}; }
        image() { return null; }
        close() {}
    }
    window.view = renderLab(document.getElementById('lab'), { benches: { digits: (options) => new Noting(options) },
        experiments: [], start: { panes: [{ knobs: {} }, { knobs: {} }] } });
}"""


def blank() -> str:
    """A page that makes labs of the toy at `window.view`."""
    experiments = json.dumps([dataclasses.asdict(each) for each in EXPERIMENTS])
    code = script(*PARTS, widget=f"{{ {NAMES} }}").replace("export default", "Object.assign(window,")
    code = re.sub(r"(Object\.assign\(window, \{[^}]*\});\s*$", r"\1);", code)
    body = "body { margin: 0; background: light-dark(#fff, #15181d); } :root { color-scheme: light dark; }"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>lab</title>
    <style>{body}{style("base", "lab")}</style><div id="lab"></div><script type="module">{code}
    window.open_lab = (options) => {{ window.view = renderLab(document.getElementById("lab"), {{ share: () => "",
      benches: {{ toy: labToyBench }}, experiments: {experiments}, ...options }}); }};</script>"""


@pytest.fixture(scope="module")
def lab_page(tmp_path_factory, open_page):
    """Pages that can make labs, one of each name, theme and motion: a lab costs less than a page."""
    file = tmp_path_factory.mktemp("lab") / "lab.html"
    file.write_text(blank(), encoding="utf-8")
    pages = {}

    def page_of(name: str, scheme: str = "light", motion: str = "no-preference"):
        key = name, scheme, motion
        if key not in pages:
            size = {"width": 1280, "height": 720}
            page = pages[key] = open_page(viewport=size, color_scheme=scheme, reduced_motion=motion, has_touch=False)
            page.goto(file.as_uri())
            page.wait_for_function("() => window.open_lab")
        return pages[key]

    return page_of


@pytest.fixture
def show(lab_page):
    """Open a lab for one test; closed, nothing of it goes on."""
    shown = []

    def open_it(*, width=1280, height=720, scheme="light", motion="no-preference", **options):
        page = lab_page("one test", scheme, motion)
        shown.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.mouse.move(0, 0)
        page.evaluate("(options) => open_lab(options)", options)
        settle(page)
        return page

    yield open_it
    for page in shown:
        page.evaluate("() => view.close()")
        assert (
            page.evaluate("() => [TOY_CLOCK.running.size, document.getElementById('lab').childElementCount]") == [0] * 2
        )


@pytest.fixture(scope="module")
def still(lab_page):
    """A lab that waits at its start, for what changes nothing."""
    page = lab_page("still")
    page.evaluate("() => open_lab({ start: { play: false } })")
    return page


def run_to(page, steps: int) -> None:
    """Take steps in every pane without waiting for frames, and see them drawn."""
    page.evaluate(
        """(steps) => new Promise((done) => {
            for (const pane of view.panes) { pane.bench.advance(steps); pane.refresh(); }
            requestAnimationFrame(() => requestAnimationFrame(done));
        })""",
        steps,
    )


def settle(page) -> None:
    """Wait until what was done is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pane(page, letter: str = "a"):
    return page.locator(f'.twist-lab-pane[data-pane="{letter}"]')


def number(page, name: str, letter: str = "a") -> float:
    return float(pane(page, letter).get_attribute(f"data-{name}"))


@pytest.mark.parametrize("num_classes", [2, 3, 10, 40])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_edge_of_the_plane_is_that_of_python(still, num_classes, temperature):
    ours = np.array(still.evaluate("([C, T]) => labNormFrontier(C, T)", [num_classes, temperature]))
    np.testing.assert_allclose(ours, norm_frontier(num_classes, temperature), atol=1e-9)
    floor = still.evaluate("([C, T]) => labSharpnessFloor(C, T)", [num_classes, temperature])
    assert floor == pytest.approx(sharpness_floor(num_classes, temperature), abs=1e-12)


@pytest.mark.parametrize(("norm", "batch"), [("batch", 100), ("batch", 5), ("none", 100), ("none", 5)])
def test_what_a_batch_cannot_tell_is_left_out_as_in_python(still, norm, batch):
    ours = still.evaluate("([norm, N]) => labAttainable(10, 0.5, norm, N)", [norm, batch])
    scene = Scene(run="", num_classes=10, batch_size=batch, temperature=0.5, final_norm=norm)
    np.testing.assert_allclose(ours, attainable(scene), atol=1e-9)


@pytest.mark.parametrize("share", [0.25, 0.95])
def test_lines_of_equal_entropy_are_that_or_the_edge(still, share):
    ring = np.array(still.evaluate("(share) => labEntropyRing(share)", share))
    angles = -np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    probs = 1 / 3 + 2 / 3 * ring @ np.stack([np.cos(angles), np.sin(angles)])
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)
    entropy = -(probs * np.log(np.maximum(probs, 1e-300))).sum(1)
    edge = probs.min(1) < 1e-6  # two classes alone reach 0.63 of the greatest entropy
    assert edge.any() == (share < 0.63) and (entropy[edge] > share * np.log(3)).all()
    np.testing.assert_allclose(entropy[~edge], share * np.log(3), atol=1e-5)


def test_the_sentences_of_the_knobs_are_those_of_the_recipe(still):
    recipe = Recipe()
    for knob in still.evaluate("() => LAB_ALL_KNOBS.map(({ field, help }) => ({ field, help }))"):
        group, name = knob["field"].split(".")
        if knob["field"] != "views.strength":  # a dial of the lab alone
            fields = {each.name: each for each in dataclasses.fields(getattr(recipe, group))}
            assert knob["help"] == fields[name].metadata["help"]


def test_it_trains_as_soon_as_it_is_open_and_says_what_it_sees(show):
    page = show()
    page.wait_for_function("() => Number(document.querySelector('.twist-lab-pane').dataset.step) > 20", timeout=10_000)
    expect(page.locator(".twist-lab-play")).to_have_text("❚❚ Pause")
    page.locator(".twist-lab-play").click()
    run_to(page, 300)
    expect(pane(page)).to_have_attribute("data-verdict", "healthy")
    expect(pane(page).locator(".twist-lab-big")).to_contain_text("Healthy")
    assert number(page, "sharpness") < 0.2 < 1.0 < number(page, "diversity")
    says = re.compile(r"300 samples; class 0 \d+ %, class 1")
    expect(page.locator('canvas[data-picture="simplex"]')).to_have_attribute("aria-label", says)


def test_a_turned_knob_moves_the_point_and_is_a_turn(show):
    page = show(start={"play": False})
    run_to(page, 300)
    before = number(page, "sharpness")
    slider = page.get_by_role("slider", name="Sharpness weight")
    slider.focus()
    slider.press("Home")
    expect(page.locator('[data-field="objective.sharpness_weight"]')).to_have_attribute("aria-valuetext", "0")
    page.get_by_role("slider", name="Learning rate").press("ArrowRight")
    run_to(page, 150)
    assert number(page, "sharpness") > before + 0.2
    turned = page.evaluate("() => view.panes[0].bench.turns")
    assert turned[0]["step"] == 300 and turned[0]["changes"]["objective.sharpness_weight"] == 0
    page.get_by_role("button", name="Rewind").click()
    expect(pane(page)).to_have_attribute("data-step", "300")
    assert number(page, "sharpness") == before
    expect(slider).to_have_attribute("aria-valuetext", "1")
    slider.press("Home")
    run_to(page, 1)
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    expect(undo).to_be_disabled()
    expect(undo).to_have_attribute("title", re.compile("every turn is taken back"))
    expect(slider).to_have_attribute("aria-valuetext", "1")


def test_what_acts_only_from_the_start_begins_anew_from_the_same_seed(show):
    page = show(start={"play": False})
    first = number(page, "diversity")
    run_to(page, 50)
    page.get_by_role("combobox", name="Norm, restarts").select_option("none")
    expect(pane(page)).to_have_attribute("data-step", "0")
    page.get_by_role("combobox", name="Norm, restarts").select_option("batch")
    settle(page)
    assert number(page, "diversity") == first
    page.get_by_role("combobox", name="Classes, restarts").select_option("6")
    run_to(page, 1)
    expect(page.locator('canvas[data-picture="simplex"]')).to_have_attribute("aria-label", re.compile("class 5"))


def test_an_experiment_asks_first_and_answers_when_it_shows(show):
    page = show(start={"play": False})
    page.get_by_role("button", name="No sharpness").click()
    headline = pane(page).locator(".twist-lab-headline")
    expect(headline).to_contain_text("Before you start")
    expect(headline).not_to_contain_text("I cannot tell")
    page.wait_for_timeout(200)
    expect(pane(page)).to_have_attribute("data-step", "0")
    headline.get_by_role("button", name="one class takes all").click()
    plane = page.locator('canvas[data-picture="plane"]')
    plane.press("ArrowUp")
    plane.press("Enter")
    assert page.evaluate("() => view.panes[0].guess.diversity > 0")
    headline.get_by_role("button", name="Start").click()
    expect(page.locator(".twist-lab-pane")).not_to_have_attribute("data-step", "0")
    run_to(page, 400)
    expect(pane(page)).to_have_attribute("data-verdict", "uniform collapse")
    answer = pane(page).locator(".twist-lab-answer")
    expect(answer).to_contain_text("You expected: one class takes all", timeout=8_000)
    expect(answer).to_contain_text("I cannot tell")
    expect(answer).to_contain_text(re.compile(r"Your mark is \d\.\d\d nats away"))


def test_a_knob_that_begins_anew_ends_the_question_and_the_guessing(show):
    page = show(start={"play": False, "panes": [{"experiment": "uniform", "knobs": {}}]})
    page.get_by_role("combobox", name="Norm, restarts").select_option("none")
    expect(pane(page).locator(".twist-lab-question")).to_be_hidden()
    page.locator('canvas[data-picture="plane"]').click()
    assert page.evaluate("() => view.panes[0].guess") is None


def test_a_step_that_starts_two_questions_is_one_step_in_both(show):
    asked = [{"experiment": name, "knobs": {}} for name in ("uniform", "healthy")]
    page = show(start={"play": False, "panes": asked})
    page.get_by_role("button", name="Step ›").click()
    settle(page)
    assert page.evaluate("() => view.panes.map(({ bench }) => [bench.step, bench.state])") == [[1, "paused"]] * 2


def test_other_points_are_no_longer_the_experiment_that_brought_its_own(show):
    page = show(start={"play": False, "panes": [{"experiment": "inconsistent", "knobs": {}}]})
    page.get_by_role("combobox", name="Data").select_option("moons")
    state = page.evaluate("() => view.state()")
    assert state["data"] == "moons" and not state["panes"][0].get("experiment")
    assert state["panes"][0]["knobs"] == {"objective.consistency_weight": 0, "views.strength": 2}


def test_two_panes_from_one_seed_are_the_same_until_a_knob_is_turned(show):
    page = show(start={"play": False})
    page.get_by_role("button", name="Side by side").click()
    page.locator(".twist-lab-play").click()
    run_to(page, 100)
    assert number(page, "step", "a") == number(page, "step", "b") >= 100
    assert number(page, "sharpness", "a") == number(page, "sharpness", "b")
    page.get_by_role("slider", name="Diversity weight, B").press("Home")
    run_to(page, 100)
    assert number(page, "sharpness", "a") != number(page, "sharpness", "b")
    assert page.evaluate("() => view.state().panes.map(({ knobs }) => knobs)") == [
        {},
        {"objective.diversity_weight": 0},
    ]
    page.get_by_role("button", name="No diversity").click()  # in the pane last touched
    expect(pane(page, "b").locator(".twist-lab-headline")).to_contain_text("Before you start")
    expect(pane(page, "a").locator(".twist-lab-question")).to_be_hidden()
    expect(pane(page, "a")).to_have_attribute("data-step", "0")


def test_of_two_runs_the_one_that_is_far_ahead_waits_for_the_other(show):
    page = show(start={"play": False})
    page.evaluate(NOTING)
    page.evaluate("() => { asked.length = 0; view.panes[0].bench.to(80); view.panes[1].bench.to(20); }")
    settle(page)
    assert page.evaluate("() => asked") == ["a pause"]
    expect(page.locator(".twist-lab-play")).to_have_text("❚❚ Pause")
    page.evaluate("() => view.panes[1].bench.to(76)")
    settle(page)
    assert page.evaluate("() => asked") == ["a pause", "a play"]


def test_slow_motion_of_runs_is_a_step_now_and_then_in_both(show):
    page = show(start={"play": False})
    page.evaluate(NOTING)
    page.get_by_role("combobox", name="Speed").select_option("slow")
    page.evaluate("() => { asked.length = 0; }")
    page.wait_for_function("() => asked.length >= 4", timeout=20_000)
    assert page.evaluate("() => asked.slice(0, 4)") == ["a step", "b step"] * 2
    page.locator(".twist-lab-play").click()
    page.evaluate("() => { asked.length = 0; }")
    page.wait_for_timeout(1000)
    assert page.evaluate("() => asked") == []


def test_one_step_at_a_time_draws_the_pulls_and_goes_back(show):
    page = show(start={"play": False})
    for _ in range(3):
        page.get_by_role("button", name="Step ›").click()
    expect(pane(page)).to_have_attribute("data-step", "3")
    expect(page.get_by_role("button", name="Pulls")).to_have_attribute("aria-pressed", "true")
    arrows = page.evaluate("""() => {
        const { terms, rows } = view.panes[0].simplex.picture.scene.arrows;
        return { count: rows.length, sums: Object.values(terms).map((each) => each.reduce((a, b) => a + b, 0)),
            reach: Object.values(terms).map((each) => Math.max(...each)) };
    }""")
    assert arrows["count"] == 6
    np.testing.assert_allclose(arrows["sums"], 0, atol=1e-5)
    assert all(reach > 0 for reach in arrows["reach"])
    pairs = page.evaluate("() => [...view.panes[0].simplex.picture.scene.arrows.pairs]")
    seen = np.array(pairs, float).reshape(6, 2, 3)
    np.testing.assert_allclose(seen[~np.isnan(seen).any((1, 2))].sum(-1), 1, atol=1e-5)  # both views of a sample
    sharpness = number(page, "sharpness")
    page.get_by_role("button", name="Step ›").click()
    page.get_by_role("button", name="‹ Back").click()
    expect(pane(page)).to_have_attribute("data-step", "3")
    assert number(page, "sharpness") == sharpness


def test_views_that_disagree_are_shown_where_the_plane_does_not(show):
    page = show(start={"play": False, "panes": [{"experiment": "inconsistent", "knobs": {}}]})
    page.evaluate("() => view.panes[0].quiz.begin()")
    page.evaluate("() => view.pause()")
    run_to(page, 300)
    expect(pane(page)).to_have_attribute("data-verdict", "inconsistent views")
    expect(page.get_by_role("button", name="Pulls")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("combobox", name="Data")).to_have_value("ring")  # points that this experiment needs
    settle(page)
    pairs = page.evaluate("() => [...view.panes[0].simplex.picture.scene.arrows.pairs]")
    seen = np.array(pairs, float).reshape(-1, 2, 3)
    seen = seen[~np.isnan(seen).any((1, 2))]
    assert len(seen) and (np.abs(seen[:, 0] - seen[:, 1]).max(-1) > 0.5).any()
    page.get_by_role("button", name="All three terms").click()
    expect(page.get_by_role("combobox", name="Data")).to_have_value("blobs")


def test_points_are_drawn_with_the_pointer_and_learned(show):
    page = show(start={"play": False})
    page.get_by_role("combobox", name="Data").select_option("drawn")
    expect(pane(page).locator(".twist-lab-big").first).to_contain_text("Draw some points")
    canvas = page.locator('canvas[data-picture="regions"]')
    canvas.press("Space")
    expect(pane(page).locator(".twist-lab-big").first).to_contain_text("One point is drawn")
    page.evaluate("""() => { // faster than they are shown
        const canvas = document.querySelector('canvas[data-picture="regions"]');
        for (let k = 0; k < 3; k++) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: ' ' }));
    }""")
    assert page.evaluate("() => view.panes[0].bench.drawn.length") == 8
    box = page.locator('canvas[data-picture="regions"]').bounding_box()
    for x, y in ((0.25, 0.3), (0.75, 0.3), (0.5, 0.8)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        for k in range(1, 12):
            page.mouse.move(box["x"] + x * box["width"] + 4 * k, box["y"] + y * box["height"] + 6 * (k % 3))
        page.mouse.up()
    page.locator(".twist-lab-play").click()
    expect(pane(page)).not_to_have_attribute("data-step", "0")
    assert page.evaluate("() => view.panes[0].bench.frame.count") >= 12
    assert len(page.evaluate("() => view.state().points")) == page.evaluate("() => view.panes[0].bench.frame.count")


def test_a_dot_tells_what_it_is_to_the_pointer_and_to_the_keys(show):
    page = show(start={"play": False})
    simplex = page.locator('canvas[data-picture="simplex"]')
    simplex.press("ArrowUp")
    card = page.locator(".twist-lab-card")
    expect(card).to_contain_text(re.compile(r"point \d+ \((top|left|right)\)class \d \d+ %.*entropy \d\.\d\d nats"))
    expect(simplex).to_have_attribute("aria-label", re.compile("Probability simplex: point"))
    row = page.evaluate("() => view.panes[0].simplex.picture.at")
    assert page.evaluate("() => view.panes[0].regions.picture.marked") == row
    simplex.press("+")
    assert page.evaluate("() => view.panes[0].simplex.picture.view.zoom") == 1.5
    simplex.press("Escape")
    expect(card).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("panes", [1, 2])
def test_it_fits_a_projector_and_every_word_is_readable(show, scheme, panes):
    asked = {"experiment": "one-class", "knobs": {}}
    page = show(scheme=scheme, start={"play": False, "panes": [{"knobs": {}}, asked][:panes]})
    run_to(page, 130)
    size = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= 1280 and size[1] <= 720
    assert page.evaluate(FAINT) == []
    page.locator(".twist-lab-play").click()
    run_to(page, 130)
    page.locator(".twist-lab-play").click()
    size = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= 1280 and size[1] <= 720
    assert page.evaluate(FAINT) == []


def test_it_works_at_900_pixels_and_in_a_narrow_column(show):
    page = show(width=900, start={"play": False})
    for width in (900, 420):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        boxes = [page.locator("canvas").nth(k).bounding_box() for k in range(3)]
        assert all(box["width"] > 200 and box["height"] > 150 for box in boxes)


def test_every_control_is_reached_by_tab_has_a_name_and_shows_focus(show):
    page = show(start={"play": False})
    found = []
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        if here["tag"] == "BODY" or (found and here == found[0]):
            break
        found.append(here)
    assert len(found) > 25
    assert [each for each in found if not each["name"]] == []
    assert [each for each in found if not each["ring"]] == []
    tags = [each["tag"] for each in found]
    assert tags.count("CANVAS") == 3 and tags.count("INPUT") >= 7


def test_every_number_can_be_read_as_a_table(show):
    page = show(start={"play": False, "panes": [{"knobs": {"objective.sharpness_weight": 0.5}}]})
    run_to(page, 30)
    page.get_by_text("All numbers as a table").click()
    table = page.locator(".twist-lab-numbers table")
    expect(table).to_contain_text("views agree")
    rows = dict(table.locator("tr").evaluate_all("rows => rows.map((row) => [...row.cells].map((c) => c.textContent))"))
    assert rows["step"] == "30" and rows["log C"] == "1.10 nats"
    assert rows["sharpness H(Y|X)"] == f"{number(page, 'sharpness'):.2f} nats"
    assert rows["knobs that differ from healthy"] == "objective.sharpness_weight = 0.5"


def test_what_a_teacher_hides_is_gone(show):
    page = show(hide=["restart", "experiments", "rate", "seed", "regions", "undo"], start={"play": False})
    for name in ("Learning rate", "Norm, restarts", "Seed", "Rewind", "No diversity"):
        expect(page.get_by_label(name).or_(page.get_by_text(name, exact=True)).first).to_be_hidden()
    expect(page.locator('canvas[data-picture="regions"]')).to_be_hidden()
    expect(page.get_by_role("slider", name="Sharpness weight")).to_be_visible()


def test_without_motion_the_point_is_at_once_where_it_stands(show):
    page = show(motion="reduce", start={"play": False})
    run_to(page, 200)
    shown = page.evaluate("() => view.panes[0].plane.picture.shown")
    assert shown["sharpness"] == pytest.approx(number(page, "sharpness"), abs=1e-12)
    gap = page.evaluate("""() => { const { places, targets } = view.panes[0].simplex.picture;
        return Math.max(...places.map((x, k) => Math.abs(x - targets[k]))); }""")
    assert gap < 1e-6


def test_two_panes_are_redrawn_several_times_a_second(show):
    page = show(start={"panes": [{"knobs": {}}, {"knobs": {}}]})
    page.wait_for_timeout(500)
    first = number(page, "redraws", "b")
    page.wait_for_timeout(1500)
    assert (number(page, "redraws", "b") - first) / 1.5 > 2  # 10 and more on two cores that have nothing else to do
