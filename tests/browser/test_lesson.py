"""A lesson page from disk with the network refused: slider, play, images, keys, guesses, links; and the toy's page."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from browsing import expect
from synthetic import make_run, read

from twist.runs import outputs
from twist.runs.store import npy_bytes
from twist.runs.turns import Plan, Turn, write_plan
from twist.view.browser import script
from twist.view.lesson import write_lesson, write_toy_lesson

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror='window.bad = 1'>"
LAST = 140  # the newest step of the runs
STEPS = list(range(5, LAST + 1, 5))
NOTES = f"""# {HOSTILE}

Look at [step 100](#step=100).

Q: What will happen?

A: The images part.
"""


def distributions() -> np.ndarray:
    """Images that leave the middle for the corner of their kind, ``[F, 300, 3]``."""
    share = np.linspace(0, 0.98, len(STEPS))[:, None, None]
    return (1 - share) / 3 + share * np.eye(3)[np.arange(300) % 3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with outputs and a turned knob, and one that goes flat and ends earlier."""
    root = tmp_path_factory.mktemp("lesson")
    names = ["zero", HOSTILE, *map(str, range(2, 10))]
    taught = make_run(root, name="taught", num_classes=3, label_names=names)
    folder = taught / outputs.OUTPUTS
    folder.mkdir()
    for step, frame in zip(STEPS, distributions(), strict=True):
        (folder / outputs.output_file(step)).write_bytes(npy_bytes(np.round(255 * frame).astype(np.uint8)))
    write_plan(taught, Plan((Turn(60, {"objective.sharpness_weight": 0.0}),)))
    flat = make_run(root, name="flat", num_classes=3, kind="uniform", epochs=16)
    return taught, flat


def opened(open_page, path, **settings):
    page = open_page(**{"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce", **settings})
    page.goto(path if "#" in str(path) else path.as_uri())
    page.wait_for_selector(".lesson-pane")
    return page


@pytest.fixture(scope="module")
def file(runs, tmp_path_factory):
    notes = tmp_path_factory.mktemp("notes") / "notes.md"
    notes.write_text(NOTES)
    return write_lesson(runs[0], runs[0].parent / "lesson.html", title=HOSTILE, notes=notes)


@pytest.fixture(scope="module")
def page(open_page, file):
    return opened(open_page, file)


def go(page, step: int) -> None:
    page.get_by_role("slider", name="Step").fill(str(step))
    expect(page.locator(".lesson")).to_have_attribute("data-step", str(step))


def place(page, row: int) -> list[float]:
    """Where a dot is drawn, in units of the triangle."""
    page.wait_for_timeout(50)
    return page.evaluate("(row) => [...lesson.panes[0].simplex.places.slice(2 * row, 2 * row + 2)]", row)


@pytest.fixture(scope="module", autouse=True)
def _expose(file):
    """The page's object at hand as `window.lesson`, for what is drawn on canvases only."""
    text = file.read_text("utf-8")
    assert text.count("lesson = new Lesson(") == 1
    file.write_text(text.replace("lesson = new Lesson(", "window.lesson = lesson = new Lesson("), "utf-8")


def test_the_slider_moves_the_point_the_dots_and_the_words(page, runs):
    pane, table = page.locator(".lesson-pane"), read(runs[0]).metrics()
    seen = {}
    for step in (20, 140):
        go(page, step)
        for term in ("sharpness", "diversity"):
            assert float(pane.get_attribute(f"data-{term}")) == pytest.approx(table[f"train/{term}"][step], abs=1e-4)
        seen[step] = place(page, 0)
    assert np.hypot(*seen[20]) < 0.2 and np.hypot(*seen[140]) > 0.9
    shown = page.evaluate("lesson.panes[0].plane.shown")
    assert shown["sharpness"] == pytest.approx(table["train/sharpness"][140], abs=1e-3)
    expect(pane).to_have_attribute("data-verdict", "healthy")
    expect(pane.locator("h2")).to_contain_text("Healthy")
    go(page, 10)
    expect(pane).to_have_attribute("data-verdict", "too early to say")


def test_between_two_recorded_moments_dots_lie_between(page):
    whole = distributions()
    go(page, 52)
    probs = page.evaluate("[...lesson.runs[0].probs.slice(0, 3)]")
    expected = 0.6 * whole[9, 0] + 0.4 * whole[10, 0]
    np.testing.assert_allclose(probs, expected, atol=0.004)


def test_arrow_keys_at_the_slider_go_by_recorded_moments_and_say_where(page):
    go(page, 100)
    slider = page.get_by_role("slider", name="Step")
    slider.press("ArrowRight")
    expect(page.locator(".lesson")).to_have_attribute("data-step", "105")
    assert slider.get_attribute("aria-valuetext").startswith(f"step 105 of {LAST}. ")
    slider.press("End")
    expect(page.locator(".lesson")).to_have_attribute("data-step", str(LAST))
    slider.press("PageDown")
    expect(page.locator(".lesson")).to_have_attribute("data-step", str(LAST - 50))


def test_space_plays_to_the_end_and_stops(page):
    go(page, 130)
    page.get_by_label("Speed").select_option("fast")
    page.locator(".lesson-title").click()
    page.keyboard.press("Space")
    expect(page.locator(".lesson")).to_have_attribute("data-playing", "true")
    expect(page.locator(".lesson")).to_have_attribute("data-step", str(LAST), timeout=15_000)
    expect(page.locator(".lesson")).to_have_attribute("data-playing", "false")
    expect(page.locator(".lesson-play")).to_have_text("↺ Play again")


def test_a_turned_knob_is_a_mark_with_words_and_acts_from_the_next_step(page):
    go(page, 60)
    chip = page.get_by_role("button", name="1 step 60: sharpness weight 1 → 0")
    expect(page.locator(".lesson-turned")).to_have_count(0)
    go(page, 61)
    expect(page.locator(".lesson-turned")).to_have_text("sharpness 0")
    go(page, 130)
    chip.click()
    expect(page.locator(".lesson")).to_have_attribute("data-step", "60")
    expect(chip).to_have_class(re.compile("lesson-now"))


def test_a_dot_shows_its_image_and_its_entropy_through_time(page):
    go(page, 140)
    canvas = page.locator(".lesson-pane canvas").nth(1)
    canvas.press("ArrowUp")
    expect(page.locator(".lesson-inspector")).to_contain_text("under the pointer")
    row = int(page.locator(".lesson-inspector").get_attribute("data-row"))
    words = page.locator(".lesson-inspector h3")
    expect(words).to_contain_text(f"Image {row} · ")
    bars = page.locator(".lesson-bar").all_inner_texts()
    likeliest = max(bars, key=lambda bar: int(re.search(r"(\d+) %", bar)[1]))
    assert likeliest.startswith(f"class {row % 3}")
    canvas.press("Enter")
    canvas.press("Escape")  # of the canvas: it points at none
    expect(page.locator(".lesson-inspector")).to_contain_text("chosen")
    expect(page.locator(".lesson")).to_have_attribute("data-image", str(row))
    label = page.locator(".lesson-chart").get_attribute("aria-label")
    assert label.startswith("Entropy of this image through time: ends at 0.")
    style = page.locator(".lesson-image").evaluate("(node) => getComputedStyle(node).backgroundImage")
    assert style.startswith('url("blob:')
    page.keyboard.press("Escape")
    expect(page.locator(".lesson-inspector")).to_contain_text("least sure in the end")


def test_the_gallery_holds_the_images_of_every_class_surest_first(page):
    go(page, 140)
    rows = page.locator(".lesson-row")
    expect(rows).to_have_count(4)
    for c in range(3):
        tiles = rows.nth(c).locator(".lesson-tile")
        assert {int(tile.get_attribute("data-row")) % 3 for tile in tiles.all()} == {c}
        expect(rows.nth(c)).to_contain_text("100 · 33 %")
    rows.nth(1).locator(".lesson-tile").first.click()
    chosen = rows.nth(1).locator(".lesson-tile").first.get_attribute("data-row")
    expect(page.locator(".lesson")).to_have_attribute("data-image", chosen)
    assert f"image={chosen}" in page.evaluate("location.hash")
    page.keyboard.press("Escape")


def test_a_guess_stays_in_the_plane(page):
    page.get_by_role("button", name="Guess the end").click()
    canvas = page.locator(".lesson-pane canvas").first
    canvas.focus()
    canvas.press("ArrowUp")
    canvas.press("Enter")
    expect(page.get_by_role("button", name="Guess the end")).to_have_attribute("aria-pressed", "false")
    guess = page.evaluate("lesson.panes[0].guess")
    assert 0 <= guess["sharpness"] <= guess["diversity"] <= np.log(3) + 1e-6


def test_a_link_in_the_notes_moves_the_page_and_an_answer_waits(page):
    go(page, 20)
    page.get_by_role("link", name="step 100").click()
    expect(page.locator(".lesson")).to_have_attribute("data-step", "100")
    go(page, 30)
    page.get_by_role("link", name="step 100").click()
    expect(page.locator(".lesson")).to_have_attribute("data-step", "100")
    answer = page.get_by_text("The images part.")
    expect(answer).to_be_hidden()
    page.get_by_text("What will happen?").click()
    expect(answer).to_be_visible()


def test_markup_is_text_everywhere(page):
    assert page.evaluate("window.bad") is None
    expect(page.locator(".lesson-title")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0


def test_every_control_has_a_name_and_can_be_reached_by_keys(page):
    nameless = page.evaluate(
        """() => {
          const spoken = (node) => node.getAttribute('aria-label') || node.textContent.trim()
            || node.closest('label')?.textContent.trim();
          return [...document.querySelectorAll('button, input, select, canvas, [role=img], summary, a')]
            .filter((node) => !spoken(node) && !node.closest('[aria-hidden=true]')).map((node) => node.outerHTML);
        }"""
    )
    assert nameless == []
    assert page.locator(".lesson-pane canvas").evaluate_all("(nodes) => nodes.every((node) => node.tabIndex === 0)")


def test_words_pictures_and_time_fit_a_projector_and_nothing_leaves_a_narrow_page(open_page, file):
    page = opened(open_page, f"{file.as_uri()}#step=80", color_scheme="dark")
    expect(page.locator(".lesson")).to_have_attribute("data-step", "80")
    page.wait_for_function("document.querySelector('.lesson-ticks').getBoundingClientRect().y < 700")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(21, 24, 29)"
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_function("document.documentElement.scrollWidth <= 900")  # canvases follow a frame later


def test_two_runs_go_in_lockstep_and_the_shorter_rests_at_its_end(open_page, runs):
    file = write_lesson(runs, runs[0].parent / "two.html")
    page = opened(open_page, file, reduced_motion="no-preference")
    a, b = page.locator(".lesson-pane").all()
    end = int(read(runs[1]).metrics().index[-1])
    go(page, 10)
    assert a.get_attribute("data-step") == b.get_attribute("data-step") == "10"
    before = b.get_attribute("data-sharpness")
    go(page, 140)
    assert b.get_attribute("data-sharpness") != before
    expect(b).to_have_attribute("data-verdict", re.compile("uniform"))
    expect(b.locator(".lesson-knobs")).to_contain_text(f"it ended at step {end}")
    expect(a).to_have_attribute("data-verdict", "healthy")
    assert page.locator(".lesson-bars > div").count() == 2
    go(page, 125)
    page.get_by_label("Speed").select_option("fast")
    page.get_by_role("button", name="Play", exact=False).first.click()
    expect(page.locator(".lesson")).to_have_attribute("data-step", str(LAST), timeout=15_000)
    assert a.get_attribute("data-step") == b.get_attribute("data-step") == str(LAST)
    assert page.locator(".lesson-ticks").bounding_box()["y"] < 700


def test_a_run_without_images_and_one_of_a_hundred_classes_are_shown(open_page, tmp_path):
    bare = make_run(tmp_path, name="bare", num_classes=3)
    shutil.rmtree(bare / "snapshots")
    page = opened(open_page, write_lesson(bare))
    expect(page.locator(".lesson-none")).to_contain_text("only its way is shown")
    go(page, 100)
    expect(page.locator(".lesson-inspector")).to_be_hidden()
    page = opened(open_page, write_lesson(make_run(tmp_path, name="hundred", num_classes=100)))
    go(page, 100)
    expect(page.locator("figcaption")).to_contain_text("100")
    expect(page.locator(".lesson-gallery h3")).to_contain_text("of 100 classes hold images")


def test_a_browser_that_cannot_unpack_says_so(open_page, file):
    page = open_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(file.as_uri())
    expect(page.locator("[data-state=error]")).to_contain_text("open it in a newer one")


# ---------------------------------------------------------------------------------------------------------------------
# The toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_lesson(tmp_path_factory.mktemp("toy") / "toy.html", title=HOSTILE)


def test_the_toy_trains_from_disk_and_its_address_holds_what_is_set_up(open_page, toy):
    page = open_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{toy.as_uri()}#data=moons&seed=3&sharpness=0&hide=seed,nonsense")
    pane = page.locator(".twist-lab [data-pane]")
    page.wait_for_function("() => Number(document.querySelector('[data-pane]')?.dataset.step) > 20", timeout=20_000)
    expect(page.get_by_label("Data")).to_have_value("moons")
    expect(page.get_by_label("Seed", exact=True)).to_be_hidden()
    assert page.evaluate("window.bad") is None
    page.get_by_label("Data").select_option("ring")
    page.wait_for_function("() => location.hash.includes('data=ring')")
    state = page.evaluate("location.hash")
    assert "seed=3" in state and "sharpness=0" in state and "hide=seed,nonsense" in state
    page.reload()
    expect(page.get_by_label("Data")).to_have_value("ring")
    page.evaluate("location.hash = '#2.sharpness=0'")
    expect(pane).to_have_count(2)
    expect(page.get_by_label("Data")).to_have_value("blobs")
    for odd in (
        "data=nonsense",
        "data=drawn",
        "hide=constructor,__proto__",
        "data=digits&experiment=nonsense",
        "classes=12&batch=600&temperature=0.05",
    ):
        page.evaluate("(words) => { location.hash = words; }", odd)
        expect(pane).to_have_count(1)
        expect(pane).to_be_visible()


def test_the_ranges_of_a_link_are_those_of_the_toy(open_page, toy):
    """A value that a link may have and the toy may not would leave an empty page."""
    page = open_page()
    page.add_script_tag(
        type="module",
        content=script("dom", "lab_verdict", "toy", "lab_share", widget="null")
        + "Object.assign(window, { LAB_WORDS, TOY_LIMITS });",
    )
    page.wait_for_function("() => window.LAB_WORDS")
    words, limits = page.evaluate("[LAB_WORDS, TOY_LIMITS]")
    ranges = {each["knob"]: [each["low"], each["high"]] for each in words.values() if "low" in each}
    assert ranges == {name: limits[name] for name in ranges} and len(ranges) == 8


@pytest.fixture(scope="module")
def share(open_page):
    page = open_page()
    page.add_script_tag(
        type="module", content=script("lab_share", widget="null") + "Object.assign(window, { labToHash, labFromHash });"
    )
    page.wait_for_function("() => window.labToHash")
    return page


def test_what_a_link_says_is_what_was_set_up(share):
    state = {
        "data": "drawn",
        "seed": 12,
        "hide": ["restart", "experiments"],
        "points": [[-1.2, 0.5], [1, -0.25]],
        "panes": [
            {"experiment": "one-class", "knobs": {"objective.temperature": 0.125, "network.final_norm": "none"}},
            {"knobs": {"objective.sharpness_weight": 0, "network.num_classes": 5}},
        ],
    }
    link = share.evaluate("labToHash", state)
    assert link.startswith("#data=drawn&seed=12&points=") and link.endswith("&hide=restart,experiments")
    found = share.evaluate("labFromHash", link)
    np.testing.assert_allclose(found.pop("points"), state.pop("points"), atol=0.01)
    assert found == state
    assert share.evaluate("labToHash({ panes: [{ knobs: {} }, { knobs: {} }] })") == "#panes=2"
    assert share.evaluate("labFromHash('#panes=2').panes.length") == 2
    assert share.evaluate("[2147483647, 2147483648].map((seed) => labFromHash(labToHash({ seed })).seed ?? null)") == [
        2147483647,  # the largest that the lab takes
        None,
    ]
    assert share.evaluate("labToHash({ panes: [{ knobs: {} }] })") == ""


@pytest.mark.parametrize(
    "link",
    ["#", "#%%%", "#sharpness=-1&temperature=0&rate=1e9", "#norm=layer&classes=2.5&batch=one", "#seed=-4&data=<b>",
     "#experiment=a b&hide=<b>,c d", "#points=!!&2.data=x", "#views=NaN&consistency=", "#__proto__=1&constructor=2"],
)  # fmt: skip
def test_a_link_that_says_what_cannot_be_says_nothing(share, link):
    found = share.evaluate("labFromHash", link)
    assert found["hide"] == [] and all(pane == {"knobs": {}} for pane in found["panes"])
    assert set(found) <= {"hide", "panes"}
