"""The collapse lab in a real JupyterLab and as an app: points in the page, digits in a process, knobs that act."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from browsing import ask, command, expect, served, start_command, wait_for_kernel

from twist.runs.supervisor import living_trainer

pytestmark = pytest.mark.browser

DIGITS = "import twist\nlab = twist.CollapseLab('digits')\nlab"
#: Seconds from opening to the first moving point on a busy machine; LOG.md has those of a quiet one.
TOY_S, LAB_S, APP_S = 20, 60, 60


def first_point(page, timeout_s: float) -> float:
    """Seconds until the first pane has taken a step."""
    began = time.monotonic()
    page.wait_for_function(
        "() => Number(document.querySelector('.twist-lab-pane')?.dataset.step) > 0", timeout=1000 * timeout_s
    )
    return time.monotonic() - began


@pytest.fixture(scope="module")
def page(lab, open_page):
    """A notebook with the lab over digits."""
    lab.write("lab.ipynb", [DIGITS, "lab"])
    page = open_page(viewport={"width": 1280, "height": 900})
    lab.open(page, "lab.ipynb")
    start_command(page, "notebook:run-cell")
    first_point(page, LAB_S)
    return page


@pytest.fixture
def pane(page):
    return page.locator(".twist-lab-pane").first


def number(pane, name: str) -> float:
    return float(pane.get_attribute(f"data-{name}") or "nan")


def turn(pane, label: str, value: str) -> None:
    """Set a slider to one of its values by keys, as a hand does."""
    slider = pane.get_by_role("slider", name=re.compile(label))
    slider.focus()
    slider.press("Home")
    for _ in range(30):
        if slider.get_attribute("aria-valuetext") == value:
            return
        slider.press("ArrowRight")
    raise AssertionError(f"{label} has no value {value}")


def wait_for(page, claim: str, argument=None, timeout_s: float = 40.0) -> None:
    page.wait_for_function(claim, arg=argument, timeout=1000 * timeout_s)


PANE = "document.querySelector('.twist-lab-pane')"


def test_points_in_the_plane_move_at_once_without_a_run(lab, open_page):
    lab.write("toy.ipynb", ["import twist\nlab = twist.CollapseLab(side_by_side=True)\nlab"])
    page = open_page()
    lab.open(page, "toy.ipynb")
    start_command(page, "notebook:run-all-cells")
    page.locator(".twist-lab").wait_for(timeout=60_000)
    assert first_point(page, TOY_S) < TOY_S
    expect(page.locator(".twist-lab-pane")).to_have_count(2)
    ask(page, "lab.turn(objective__sharpness_weight=0)")  # what Python turns, the page does
    expect(page.locator(".twist-lab-pane").first.get_by_role("slider", name="Sharpness weight")).to_have_attribute(
        "aria-valuetext", "0"
    )
    assert ask(page, "print(lab.run, lab.runs)") == "None []"
    page.close()


def test_digits_train_and_are_redrawn_as_they_move(page, pane):
    step, redraws = number(pane, "step"), number(pane, "redraws")
    time.sleep(2)
    assert number(pane, "step") > step and number(pane, "redraws") - redraws > 6
    run = ask(page, "print(lab.run.name)")
    assert re.fullmatch(r"lab-\d{8}-\d{6}", run)
    expect(pane.locator(".twist-lab-run")).to_contain_text(run)


def test_a_turned_knob_is_an_event_and_moves_the_point_until_the_verdict_changes(page, pane):
    wait_for(page, f"() => {PANE}.dataset.verdict === 'healthy'")
    before = number(pane, "sharpness")
    turn(pane, "Sharpness weight", "0")
    wait_for(page, f"sharpness => Number({PANE}.dataset.sharpness) > sharpness + 0.3", before)
    wait_for(page, f"() => {PANE}.dataset.verdict === 'uniform collapse'")
    wait_for(page, f"() => {PANE}.querySelector('.twist-lab-run').dataset.verdict === 'uniform collapse'")
    turned = ask(page, "print([turn.changes for turn in lab.run.turns][-1:], lab.turns[-1]['changes'])")
    assert turned == "[{'objective.sharpness_weight': 0.0}] {'objective.sharpness_weight': 0.0}"


def test_rewind_brings_back_the_state_before_the_knob_was_turned(page, pane):
    step = int(ask(page, "print(lab.turns[0]['step'])"))
    page.get_by_role("button", name="Rewind").click()
    wait_for(page, f"step => {PANE}.dataset.state === 'paused' && Number({PANE}.dataset.step) === step", step)
    expect(pane.get_by_role("slider", name="Sharpness weight")).to_have_attribute("aria-valuetext", "1")
    page.get_by_role("button", name="Step ›").click()
    wait_for(page, f"step => Number({PANE}.dataset.step) === step + 1", step)


def test_a_second_view_and_a_reloaded_page_show_the_same_run(page, pane):
    run = ask(page, "print(lab.run.name)")
    command(page, "notebook:move-cursor-down")
    start_command(page, "notebook:run-cell")
    expect(page.locator(".twist-lab-pane")).to_have_count(2, timeout=20_000)
    wait_for(page, "() => document.querySelectorAll('.twist-lab-pane')[1].dataset.step > 0")
    steps = page.locator(".twist-lab-pane").evaluate_all("panes => panes.map(pane => pane.dataset.step)")
    assert steps[0] == steps[1]
    command(page, "docmanager:save")
    page.reload()
    wait_for_kernel(page)
    page.locator(".twist-lab-pane").first.wait_for(timeout=60_000)
    wait_for(page, f"step => {PANE}.dataset.step === step && {PANE}.dataset.state === 'paused'", steps[0])
    assert ask(page, "print(lab.run.name, len(lab.runs))") == f"{run} 1"


def test_a_killed_trainer_is_told_and_play_goes_on(lab, page, pane):
    os.kill(living_trainer(lab.runs / ask(page, "print(lab.run.name)")), signal.SIGKILL)
    expect(pane.locator(".twist-lab-message")).to_contain_text("killed", timeout=20_000)
    page.get_by_role("button", name="Play").first.click()
    wait_for(page, f"() => {PANE}.dataset.state === 'running'")


def test_a_kernel_that_is_gone_is_told_with_what_to_do(page, pane):
    ask(page, "lab.keep('kept-in-class')")
    expect(pane.locator(".twist-lab-run")).to_contain_text("lab-")
    page.evaluate("() => [...window.jupyterapp.shell.widgets('main')][0].sessionContext.restartKernel()")
    expect(pane.locator(".twist-lab-message")).to_contain_text("run this cell again", timeout=30_000)
    page.close()


def test_the_app_trains_digits_and_shows_an_experiment(tmp_path, open_page):
    page = open_page(viewport={"width": 1280, "height": 720})
    with served("lab", "--data", "digits", home=tmp_path) as address:
        page.goto(address)
        assert first_point(page, APP_S) < APP_S
        page.locator("[data-experiment='one-class']").click()
        page.locator(".twist-lab-begin").click()
        wait_for(page, f"() => {PANE}.dataset.verdict === 'one-class collapse'")
        assert number(page.locator(".twist-lab-pane").first, "diversity") < 0.3
        page.close()
    assert len(list((tmp_path / "runs").glob("lab-*/run.json"))) == 2
