"""The two-view probe in a real JupyterLab: sliders, views, sensitivity, gallery, links and reload."""

from __future__ import annotations

import re

import pytest
from browsing import ask, command, expect, wait_for_kernel
from conftest import TINY
from PIL import Image

import twist

pytestmark = pytest.mark.browser

CELL = "import twist\nprobe = twist.TwoViews('probed', image=3)\nprobe"


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook with the probe of a tiny trained run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(lab.runs))
        twist.launch("digits", name="probed", **{k.replace(".", "__"): v for k, v in TINY.items()}).wait(180)
    lab.write("two_views.ipynb", [CELL])
    page = open_page()
    lab.open(page, "two_views.ipynb")
    command(page, "notebook:run-all-cells")
    return page


@pytest.fixture
def probe(page):
    found = page.locator(".twist-two-views")
    expect(found).to_have_attribute("data-state", "ready", timeout=120_000)
    expect(found.locator(".twist-wings[data-class]").first).to_be_visible(timeout=60_000)
    return found


def pixels(probe, which: int) -> str:
    return probe.locator("canvas").nth(which).evaluate("node => node.toDataURL()")


def drag(page, slider, share: float) -> None:
    """Drag a slider's thumb to a share of its way, in steps as a hand does."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, y)
    page.mouse.down()
    for step in range(1, 21):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * share * step / 20, y)
    page.mouse.up()


def test_the_image_both_views_and_both_distributions_are_there(page, probe):
    assert [probe.locator("canvas").nth(k).get_attribute("width") for k in range(3)] == ["8", "16", "16"]
    expect(probe.locator(".twist-wings[data-class]")).to_have_count(10)
    expect(probe.locator(".twist-agree")).to_contain_text(re.compile("Both views|views disagree"))
    expect(probe.locator(".twist-figure").first).to_contain_text("✓ as recorded")
    expect(probe.locator(".twist-numbers")).to_contain_text("KL(1 ‖ 2)")


def test_dragging_a_slider_changes_the_views_and_not_the_image(page, probe):
    before = [pixels(probe, k) for k in range(3)]
    drag(page, probe.get_by_role("slider", name="noise"), 0.9)
    expect(probe.locator(".twist-dial.twist-changed")).to_have_count(1)
    page.wait_for_function(
        "before => document.querySelectorAll('.twist-two-views canvas')[1].toDataURL() !== before", arg=before[1]
    )
    assert pixels(probe, 0) == before[0] and pixels(probe, 2) != before[2]
    assert float(ask(page, "print(probe.fields['noise'])")) > 0.3
    probe.get_by_role("button", name="Reset noise to the recipe's").click()
    page.wait_for_function(
        "before => document.querySelectorAll('.twist-two-views canvas')[1].toDataURL() === before", arg=before[1]
    )
    assert ask(page, "print(probe.fields)") == "{}"


def test_without_augmentation_both_views_are_the_same_and_divergence_is_zero(page, probe):
    probe.get_by_role("button", name="None").click()
    expect(probe.locator(".twist-numbers li").first).to_contain_text("0.000")
    assert pixels(probe, 1) == pixels(probe, 2)
    probe.get_by_role("button", name="As in the recipe").click()
    expect(probe.locator(".twist-dial.twist-changed")).to_have_count(0)


def test_another_draw_draws_anew(page, probe):
    before = pixels(probe, 1)
    probe.get_by_role("button", name="Another draw").click()
    expect(probe).to_have_attribute("data-draw", "1")
    assert pixels(probe, 1) != before


def test_the_sensitivity_to_each_augmentation_appears_with_counts(page, probe):
    expect(probe).to_have_attribute("data-sensitivity", "done", timeout=60_000)
    rows = probe.locator(".twist-ranked .twist-sensitivity")
    expect(rows).to_have_count(7)
    expect(rows.first).to_contain_text(re.compile(r"\d+ of 64"))
    assert rows.last.get_attribute("data-augmentation") == "all together"
    assert "draws keep class" in rows.first.get_attribute("aria-label")


def test_the_gallery_chooses_by_search_by_click_and_by_key(page, probe):
    search = probe.get_by_label("Search the images")
    search.fill("label 7")
    expect(probe.locator(".twist-picker h3")).to_contain_text(re.compile(r"Images · \d+ of 200"))
    tiles = probe.locator(".twist-pick")
    expect(tiles.first).to_have_attribute("aria-label", re.compile("label 7"))
    tiles.nth(1).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    chosen = tiles.nth(2).get_attribute("data-row")
    expect(tiles.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(probe.locator(".twist-figure").first).to_contain_text("label 7")
    assert ask(page, "print(probe.image)") == chosen
    search.fill("nothing of this name")
    expect(probe.locator(".twist-picker")).to_contain_text("No image is found")
    search.fill("")
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 1


def test_what_is_shown_can_be_saved_as_a_picture(page, probe):
    with page.expect_download() as started:
        probe.get_by_role("button", name="Save PNG").click()
    assert started.value.suggested_filename == "probed-step12-two-views.png"
    with Image.open(started.value.path()) as picture:
        colors = picture.convert("RGB").getcolors(10**7)
        assert picture.width > 800 and len(colors) > 100


def test_what_another_view_of_the_run_selects_is_shown(page, probe):
    ask(
        page,
        "from twist.view.moment import moment_of; import twist\n"
        "moment_of(twist.attach('probed').path).selected_samples = (12,)",
    )
    expect(probe.locator("[data-row='12']")).to_have_attribute("aria-pressed", "true", timeout=10_000)
    expect(probe.locator(".twist-figure").first).to_contain_text("image 12")


def in_kernel(page, code: str, answer: str) -> None:
    """Wait until code prints an answer in the kernel."""
    for _ in range(100):
        if (said := ask(page, code)) == answer:
            return
        page.wait_for_timeout(100)
    assert said == answer


def test_a_drag_while_the_kernel_works_is_answered_for_where_it_ended(page, probe):
    page.evaluate(
        "() => { [...window.jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel"
        ".requestExecute({ code: 'import time; time.sleep(4)' }); }"
    )
    slider = probe.get_by_role("slider", name="rotation degrees")
    drag(page, slider, 0.3)
    drag(page, slider, 0.8)
    shown = probe.locator(".twist-changed .twist-dial-value").inner_text()  # at once, whatever the kernel does
    assert float(shown) > 100
    in_kernel(page, "print(probe.fields['rotation_degrees'], probe.answer['ticket'] == probe.ticket)", f"{shown} True")


def test_a_probe_that_does_not_answer_is_told(page, probe):
    ask(page, "import os, signal; os.kill(probe._probe.pid, signal.SIGSTOP)")
    probe.get_by_role("button", name="Another draw").click()
    expect(probe.locator(".twist-note")).to_contain_text("No answer yet", timeout=10_000)
    ask(page, "os.kill(probe._probe.pid, signal.SIGCONT)")
    expect(probe.locator(".twist-note")).to_be_hidden(timeout=10_000)
    in_kernel(page, "print(probe.answer['draw'] == probe.draw)", "True")


def test_a_reload_of_the_page_keeps_what_was_set(page, probe):
    command(page, "docmanager:save")
    shown = probe.locator(".twist-changed .twist-dial-value").inner_text()
    page.reload()
    wait_for_kernel(page)
    again = page.locator(".twist-two-views")
    expect(again).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(again.locator(".twist-changed .twist-dial-value")).to_have_text(shown)
    expect(again.locator("[data-row='12']")).to_have_attribute("aria-pressed", "true")
    expect(again.locator(".twist-pick[data-shown]").first).to_be_visible()


def test_a_killed_process_is_told_and_started_again(page, probe):
    ask(page, "import os, signal; os.kill(probe._probe.pid, signal.SIGKILL)")
    probe.get_by_role("button", name="Another draw").click()
    expect(probe).to_have_attribute("data-state", "error", timeout=10_000)
    expect(probe.locator(".twist-note")).to_contain_text("start it anew")
    probe.get_by_role("button", name="Start again").click()
    expect(probe).to_have_attribute("data-state", "ready", timeout=60_000)
