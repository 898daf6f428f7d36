"""The monitor in JupyterLab: a live run obeys its buttons; a finished one is looked at step by step, in any light."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from browsing import ask, command, expect, start_command
from synthetic import make_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LIVE = """import twist
asked = twist.recipe('digits').replace(name='watched', optim__epochs=400, record__snapshot_every_epochs=4)
run = twist.launch(asked, name='watched')
monitor = twist.RunMonitor(run)
monitor"""
ENDED = """import twist
monitor = twist.RunMonitor('fallen', ghosts=['earlier'])
monitor"""


def keep_picture(page, name: str) -> None:
    """A screenshot for people, when TWIST_SCREENSHOTS names a folder; no test reads it."""
    if folder := os.environ.get("TWIST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def until(claim, timeout_s: float, what: str):
    deadline = time.monotonic() + timeout_s
    while not (found := claim()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.1)
    return found


def drawn(page) -> dict:
    """What the figure on the page shows: its marked steps, its paper, and how far apart its columns are."""
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')?.layout?.template", timeout=60_000)
    return page.evaluate(
        """() => {
            const { layout, data } = document.querySelector('.js-plotly-plot');
            const lines = (layout.shapes || []).filter((shape) => shape.type === 'line' && shape.x0 === shape.x1);
            return { marked: lines.map((line) => line.x0), paper: layout.template.layout.paper_bgcolor,
                columns: new Set(['xaxis', 'xaxis2'].map((axis) => layout[axis].domain[0])).size,
                points: data[0]?.x?.length ?? data[0]?.x?._inputArray?.length ?? 0,
                names: data.map((trace) => trace.name) };
        }"""
    )


@pytest.fixture(scope="module")
def finished(lab, open_page):
    """A page with a monitor of a run that collapsed and ended, and a ghost."""
    make_run(lab.runs, "uniform", name="fallen", epochs=60)
    make_run(lab.runs, name="earlier", num_samples=60)
    make_run(lab.runs, name="another", num_samples=60)
    lab.write("ended.ipynb", [ENDED])
    page = open_page(accept_downloads=True)
    lab.open(page, "ended.ipynb")
    command(page, "notebook:run-all-cells")
    expect(page.locator(".twist-board")).to_have_attribute("data-state", "completed", timeout=60_000)
    expect(page.get_by_text("How fast it trains")).to_be_visible(timeout=60_000)
    yield page
    command(page, "docmanager:save")


def test_a_live_run_is_held_goes_on_is_stopped_and_resumed_by_its_buttons(lab, open_page):
    lab.write("live.ipynb", [LIVE])
    page = open_page()
    lab.open(page, "live.ipynb")
    start_command(page, "notebook:run-all-cells")
    board = page.locator(".twist-board")
    expect(board).to_have_attribute("data-state", "running", timeout=120_000)
    until(lambda: drawn(page)["points"] > 3, 60, "the curves grow")
    keep_picture(page, "monitor-live")
    board.get_by_role("button", name="Hold").click()
    answers = board.locator(".twist-answers")  # a quick trainer has answered before anyone could read the question
    expect(answers).to_contain_text(re.compile("Asked to hold|Hold: acknowledged"), timeout=20_000)
    expect(board).to_have_attribute("data-state", "held", timeout=30_000)
    expect(answers).to_contain_text("Hold: acknowledged at step", timeout=30_000)
    board.get_by_role("button", name="Continue").click()
    expect(board).to_have_attribute("data-state", "running", timeout=30_000)
    board.get_by_role("button", name="Checkpoint").click()
    expect(answers).to_contain_text("Checkpoint: acknowledged", timeout=30_000)
    board.get_by_role("button", name="Stop").click()
    expect(board).to_have_attribute("data-state", "stopped", timeout=60_000)
    assert ask(page, "print(run.status.state)") == "STOPPED"
    board.get_by_role("button", name="Resume").click()
    expect(board).to_have_attribute("data-state", "running", timeout=90_000)

    # A kernel that is stuck is noticed by the page itself, and the run is none the worse for it.
    kernel = int(ask(page, "import os; print(os.getpid())"))
    os.kill(kernel, signal.SIGSTOP)
    try:
        silence = board.get_by_text("nothing heard from the kernel")
        expect(silence).to_be_visible(timeout=30_000)
    finally:
        os.kill(kernel, signal.SIGCONT)
    expect(silence).to_be_hidden(timeout=30_000)
    board.get_by_role("button", name="Stop").click()
    expect(board).to_have_attribute("data-state", "stopped", timeout=60_000)


def test_a_jump_from_the_verdict_the_alarms_or_the_slider_marks_every_picture(finished):
    board = finished.locator(".twist-board")
    expect(board.locator(".twist-verdict")).to_contain_text("Uniform collapse")
    assert drawn(finished)["marked"].count(70) == 0
    board.locator(".twist-alarms").get_by_role("button", name="Look at step").first.click()
    expect(board.locator(".twist-at")).to_contain_text("As of step", timeout=15_000)
    step = int(board.locator(".twist-readout").inner_text().removeprefix("step ").replace(",", ""))
    until(lambda: drawn(finished)["marked"].count(step) == 5, 15, "a line through all pictures over steps")
    assert ask(finished, "print(monitor.moment.step)") == str(step)
    keep_picture(finished, "monitor-jumped")
    slider = board.get_by_role("slider", name="Step to look at")
    slider.focus()
    slider.press("Home")
    until(lambda: ask(finished, "print(monitor.moment.step)") == "0", 15, "the slider jumps")
    slider.press("End")
    until(lambda: ask(finished, "print(monitor.moment.step)") == "-1", 15, "its end is the newest")
    expect(board.locator(".twist-at")).to_have_count(0, timeout=15_000)
    until(lambda: drawn(finished)["marked"] == [], 15, "the lines go away")


def test_an_alarm_is_dismissed_here_and_not_lost(finished):
    board = finished.locator(".twist-board")
    alarms = board.locator(".twist-alarms li")
    count = alarms.count()
    assert count >= 1
    board.get_by_role("button", name="Dismiss: Uniform").click()
    expect(alarms).to_have_count(count - 1, timeout=10_000)
    board.get_by_role("button", name="dismissed").click()
    expect(alarms).to_have_count(count, timeout=10_000)


def test_a_ghost_is_chosen_and_removed(finished):
    board = finished.locator(".twist-board")
    assert any(name == "a: diversity" for name in drawn(finished)["names"])
    board.get_by_label("Add an earlier run").select_option("another")
    until(lambda: "b: diversity" in drawn(finished)["names"], 15, "the second ghost is drawn")
    board.get_by_role("button", name="Remove earlier run another").click()
    until(lambda: "b: diversity" not in drawn(finished)["names"], 15, "it is gone")


def test_the_fold_of_numbers_stays_open_while_the_board_changes(finished):
    board = finished.locator(".twist-board")
    board.locator(".twist-verdict summary").click()
    expect(board.locator(".twist-verdict td").first).to_be_visible()
    ask(finished, "monitor.jump(70)")
    expect(board.locator(".twist-at")).to_contain_text("70", timeout=15_000)
    expect(board.locator(".twist-verdict td").first).to_be_visible()
    ask(finished, "monitor.jump(None)")
    expect(board.locator(".twist-at")).to_have_count(0, timeout=15_000)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_pictures_are_saved_with_their_provenance(finished, kind):
    with finished.expect_download(timeout=60_000) as download:
        finished.locator(".twist-board").get_by_role("button", name=f"Save {kind.upper()}").click()
    assert download.value.suggested_filename == f"fallen-step420-monitor.{kind}"
    content = Path(download.value.path()).read_bytes()
    assert content.startswith(b"\x89PNG") or b"run fallen (" in content
    # No button of the figure leads to a cloud.
    titles = finished.locator(".modebar-btn").evaluate_all("nodes => nodes.map((node) => node.dataset.title)")
    assert not [title for title in titles if title and ("loud" in title or "hare" in title)]


def test_the_pictures_follow_the_theme_and_the_width_of_the_page(finished):
    light = drawn(finished)["paper"]
    command_with = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
    finished.evaluate(command_with, "JupyterLab Dark")
    until(lambda: drawn(finished)["paper"] != light, 20, "dark paper")
    keep_picture(finished, "monitor-dark")
    finished.set_viewport_size({"width": 900, "height": 1000})
    until(lambda: drawn(finished)["columns"] == 1, 20, "one column on a narrow page")
    box = finished.locator(".js-plotly-plot").bounding_box()
    assert box["x"] + box["width"] <= 900
    overflow = finished.locator(".twist-board").evaluate("node => node.scrollWidth - node.clientWidth")
    assert overflow <= 1
    keep_picture(finished, "monitor-narrow")
    finished.set_viewport_size({"width": 1400, "height": 1100})
    finished.evaluate(command_with, "JupyterLab Light")
    until(lambda: drawn(finished)["columns"] == 2 and drawn(finished)["paper"] == light, 20, "as before")


def test_a_second_view_of_a_busy_or_reloaded_page_shows_what_there_is(finished):
    ask(finished, "monitor.jump(70)")
    until(lambda: 70 in drawn(finished)["marked"], 15, "the step is marked")
    command(finished, "docmanager:save")
    finished.reload()
    finished.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    board = finished.locator(".twist-board")
    expect(board.locator(".twist-at")).to_contain_text("70", timeout=60_000)
    expect(finished.get_by_text("How fast it trains")).to_be_visible(timeout=60_000)
    assert 70 in drawn(finished)["marked"]
    ask(finished, "monitor.jump(None)")
    until(lambda: drawn(finished)["marked"] == [], 20, "the reloaded page is live")


def test_monitors_opened_and_closed_leave_no_widget(finished):
    code = """
import gc, time, twist
import ipywidgets.widgets.widget as home
before = len(home._instances)
for _ in range(4):
    one = twist.RunMonitor('fallen')
    time.sleep(2)  # until the page has made it
    one.close()
del one
gc.collect()
print(len(home._instances) - before)"""
    assert ask(finished, code) == "0"
