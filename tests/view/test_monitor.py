"""The monitor shows every state of a run, live, and nothing it shows can act."""

import gc
import html
import json
import sys
import threading
import time
import types
import weakref
from pathlib import Path

import pytest
from synthetic import make_run

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunWriter
from twist.runs.status import Status
from twist.runs.verdict import Evidence, Verdict
from twist.view import monitor as home
from twist.view.monitor import RunMonitor


def words(widget) -> str:
    return html.unescape(widget.value)


@pytest.fixture
def monitors():
    made = []

    def make(*arguments, **options):
        made.append(RunMonitor(*arguments, **{"live": False, **options}))
        return made[-1]

    yield make
    for monitor in made:
        monitor.close()


@pytest.fixture
def running(monkeypatch):
    """The status of a run at work, as the launcher would report it."""
    status = Status(
        "RUNNING", step=7, total_steps=140, epoch=1.0, epochs=20, images_per_s=4321.0, eta_s=75, heartbeat_age_s=2.0
    )
    monkeypatch.setattr(home, "read_status", lambda path: status)
    return status


@pytest.fixture
def asked(monkeypatch):
    """What a monitor asked of its run."""
    requests = []

    class FakeRun:
        def stop(self, *, wait):
            requests.append(("stop", wait))

        def checkpoint(self):
            requests.append(("checkpoint",))

    launcher = types.ModuleType("twist.runs.launcher")
    launcher.attach = lambda name: FakeRun()
    monkeypatch.setitem(sys.modules, "twist.runs.launcher", launcher)
    return requests


def test_a_finished_run_shows_state_verdict_and_figure(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path, name="first"))
    assert "first" in words(monitor._head) and "completed" in words(monitor._head)
    assert monitor.verdict.title in words(monitor._verdict_line)
    assert len(monitor.figure.data) == 19
    assert monitor._buttons.layout.display == "none"


def test_a_run_is_found_by_handle_name_path_or_last(tmp_path, monitors, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    path = make_run(tmp_path, name="first")
    for run in ("first", "last", path, str(path), types.SimpleNamespace(path=path)):
        assert monitors(run).record.path == path


def test_an_unknown_run_is_an_error_that_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    make_run(tmp_path, name="first")
    with pytest.raises(ConfigError, match="did you mean 'first'"):
        RunMonitor("fist", live=False)


def test_waiting_for_the_first_run_says_so_and_shows_it_when_it_comes(tmp_path, monitors, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    monitor = monitors("last")
    assert "No run here yet" in words(monitor._head) and "No run here yet" in monitor.figure.layout.annotations[0].text
    make_run(tmp_path, name="first")
    monitor.refresh()
    assert "first" in words(monitor._head) and len(monitor.figure.data) == 19


def test_a_new_run_says_that_it_is_not_started(tmp_path, monitors):
    monitor = monitors(create_run(Recipe(), name="new", root=tmp_path))
    assert "not started" in words(monitor._head)
    assert "no step recorded yet" in "".join(note.text for note in monitor.figure.layout.annotations)


def test_a_living_run_shows_progress_speed_time_left_and_its_buttons(tmp_path, monitors, running):
    monitor = monitors(make_run(tmp_path, name="first"))
    text = words(monitor._head)
    for part in ("▶ running", "step 7 of 140", "epoch 1.0 of 20", "4,321 images/s", "1 min 15 s left", "2 s ago"):
        assert part in text
    assert monitor._buttons.layout.display == "flex"


@pytest.mark.parametrize("state", ["STARTING", "HELD", "STALLED", "STOPPED", "FAILED", "INTERRUPTED", "CREATED"])
def test_every_state_has_a_sign_words_and_its_message(tmp_path, monitors, monkeypatch, state):
    monkeypatch.setattr(home, "read_status", lambda path: Status(state, message="because <b>so</b>"))
    monitor = monitors(make_run(tmp_path))
    glyph, said = home._STATES[state]
    assert f"{glyph} {said}" in words(monitor._head) and "because <b>so</b>" in words(monitor._head)
    assert "<b>so" not in monitor._head.value


def test_stop_and_checkpoint_reach_the_run_and_are_confirmed(tmp_path, monitors, running, asked):
    monitor = monitors(make_run(tmp_path))
    monitor._checkpoint.click()
    monitor._stop.click()
    assert asked == [("checkpoint",), ("stop", False)]
    assert monitor._stop.disabled and "Asked to stop" in words(monitor._head)


def test_a_failing_button_shows_its_error(tmp_path, monitors, running, asked, monkeypatch):
    monitor = monitors(make_run(tmp_path))
    monkeypatch.setattr(monitor, "_handle", lambda: 1 / 0)
    monitor._stop.click()
    assert "ZeroDivisionError" in words(monitor._problem) and monitor._problem.layout.display == "block"


def test_the_monitor_follows_a_growing_run(tmp_path):
    path = create_run(Recipe(), name="growing", root=tmp_path)
    writer = RunWriter(path, 1)
    writer.event("start", step=0, from_step=0, steps_per_epoch=7, total_steps=140, batch_size=256, num_images=300)
    monitor = RunMonitor(path)
    monitor._tail.period_s = 0.05
    try:
        for step in range(1, 6):
            writer.metrics(step, step / 7, {"train/consistency": 1.0, "train/sharpness": 1.5, "train/diversity": 2.0})
        deadline = time.monotonic() + 10
        while monitor.figure.data[0].x is None or len(monitor.figure.data[0].x) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        monitor.close()
        writer.close()


def test_nothing_is_sent_while_nothing_is_new(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path))
    sent = []
    for widget in (monitor.figure, monitor._head, monitor._verdict_line, monitor._problem):
        widget.comm.send = lambda *arguments, **options: sent.append(arguments)
    monitor.refresh()
    monitor.refresh()
    assert sent == []


def test_an_error_while_looking_is_shown_and_goes_away(tmp_path, monkeypatch):
    monitor = RunMonitor(make_run(tmp_path))
    monitor._tail.period_s = 0.05

    def wait_for(display):
        deadline = time.monotonic() + 10
        while monitor._problem.layout.display != display:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(home, "read_status", lambda path: 1 / 0)
            wait_for("block")
            assert "ZeroDivisionError" in words(monitor._problem)
        wait_for("none")
    finally:
        monitor.close()


def test_closing_ends_the_thread_and_frees_the_figure(tmp_path):
    monitor = RunMonitor(make_run(tmp_path))
    figure = weakref.ref(monitor.figure)
    monitor.close()
    assert not any(thread.name == "twist-monitor" for thread in threading.enumerate())
    del monitor
    gc.collect()
    assert figure() is None


HOSTILE = "<img src=x onerror=alert(1)>"


def test_hostile_text_is_inert_everywhere(tmp_path, monitors, monkeypatch):
    path = make_run(tmp_path, name="first")
    hostile = path.rename(tmp_path / HOSTILE)
    monkeypatch.setattr(home, "read_status", lambda path: Status("FAILED", message=HOSTILE))
    verdict = Verdict("healthy", HOSTILE, HOSTILE, HOSTILE, (Evidence(HOSTILE, 1.0, None, HOSTILE),), 1)
    monkeypatch.setattr(home, "judge", lambda record: verdict)
    monitor = monitors(hostile)
    monitor._show_problem(ValueError(HOSTILE))
    shown = [monitor._head.value, monitor._verdict_line.value, monitor._problem.value, monitor.static_html()]
    assert all("&lt;img" in text and "<img" not in text for text in shown)
    assert "<img" not in json.dumps(monitor.figure.layout.to_plotly_json(), default=str)


def test_a_saved_notebook_keeps_a_static_copy(tmp_path, monitors, monkeypatch):
    monitor = monitors(make_run(tmp_path, name="first"))
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    monitor._ipython_display_()
    live, static = outputs
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "application/vnd.jupyter.widget-view+json" not in static
    for bundle in outputs:
        assert "<svg" in bundle["text/html"] and "RunMonitor('first')" in html.unescape(bundle["text/html"])
        assert "<script" not in bundle["text/html"]


def test_a_broken_folder_is_an_error_at_once(tmp_path):
    with pytest.raises(ConfigError, match="no run folder"):
        RunMonitor(Path(tmp_path), live=False)
