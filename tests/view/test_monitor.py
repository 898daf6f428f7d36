"""The monitor shows every state of a run, live, asks what a person asks, and nothing it shows can act."""

import gc
import html
import json
import shutil
import sys
import threading
import time
import types
import weakref
from pathlib import Path

import ipywidgets.widgets.widget as widgets
import pytest
from synthetic import make_run

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunWriter
from twist.runs.status import Status
from twist.runs.store import RecordError
from twist.runs.verdict import Evidence, Verdict
from twist.view import asking
from twist.view import monitor as home
from twist.view import seen as reading
from twist.view.board import STATES
from twist.view.monitor import RunMonitor

TERMS = {"train/consistency": 1.0, "train/sharpness": 1.5, "train/diversity": 2.0}


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
    monkeypatch.setattr(reading, "read_status", lambda path: status)
    return status


@pytest.fixture
def asked(monkeypatch):
    """What a monitor asked of its run; each request is number 1, 2, …"""
    requests = []

    class FakeRun:
        status = Status("RUNNING")

        def request(self, operation):
            requests.append(operation)
            return str(len(requests))

        def resume(self):
            requests.append("resume")

    launcher = types.ModuleType("twist.runs.launcher")
    launcher.attach = lambda name: FakeRun()
    monkeypatch.setitem(sys.modules, "twist.runs.launcher", launcher)
    return requests


def shown(monitor, section="status"):
    return monitor.board.shown[section]


def press(monitor, **message):
    """A message as the browser sends it."""
    content = {"method": "custom", "content": message}
    monitor.board._handle_msg({"content": {"comm_id": monitor.board.comm.comm_id, "data": content}, "buffers": []})


def texts(monitor) -> str:
    return "\n".join(note.text or "" for note in monitor.figure.layout.annotations)


def test_a_finished_run_shows_state_verdict_and_pictures(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path, name="first"))
    assert (shown(monitor)["name"], shown(monitor)["words"], shown(monitor)["done"]) == ("first", "completed", 1.0)
    assert shown(monitor, "verdict")["title"] == monitor.verdict.title == "Healthy"
    assert shown(monitor, "asks") == [] and "How fast it trains" in texts(monitor)


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
    assert "No run here yet" in shown(monitor)["message"] and "No run here yet" in texts(monitor)
    with pytest.raises(ValueError, match="no run yet"):
        monitor.jump(3)
    make_run(tmp_path, name="first")
    monitor.refresh()
    assert shown(monitor)["name"] == "first" and "How fast it trains" in texts(monitor)


def test_a_new_run_says_that_it_is_not_started(tmp_path, monitors):
    monitor = monitors(create_run(Recipe(), name="new", root=tmp_path))
    assert shown(monitor)["words"] == "not started" and shown(monitor, "verdict") is None
    assert "no step recorded yet" in texts(monitor)


def test_a_living_run_shows_progress_speed_time_left_and_its_buttons(tmp_path, monitors, running):
    monitor = monitors(make_run(tmp_path, name="first"))
    facts = " · ".join(shown(monitor)["facts"])
    assert shown(monitor)["glyph"] == "▶" and shown(monitor)["alive"]
    for part in ("step 7 of 140", "epoch 1.0 of 20", "4,321 images/s", "1 min 15 s left", "2 s ago"):
        assert part in facts
    assert [each["ask"] for each in shown(monitor, "asks")] == ["stop", "hold", "checkpoint"]
    assert all(each["tooltip"] and each["enabled"] for each in shown(monitor, "asks"))


@pytest.mark.parametrize(
    ("state", "asks"),
    [
        ("CREATED", []),
        ("STARTING", ["stop", "hold", "checkpoint"]),
        ("HELD", ["stop", "continue", "checkpoint"]),
        ("STALLED", ["stop", "hold", "checkpoint"]),
        ("STOPPED", ["resume"]),
        ("INTERRUPTED", ["resume"]),
        ("FAILED", ["resume"]),
        ("COMPLETED", []),
    ],
)
def test_every_state_has_a_sign_words_and_what_may_be_asked(tmp_path, monitors, monkeypatch, state, asks):
    monkeypatch.setattr(reading, "read_status", lambda path: Status(state, message="because <b>so</b>"))
    monitor = monitors(make_run(tmp_path))
    assert (shown(monitor)["glyph"], shown(monitor)["words"]) == STATES[state]
    told = shown(monitor, "failure") if state == "FAILED" else shown(monitor)
    assert told["message"] == "because <b>so</b>"
    assert [each["ask"] for each in shown(monitor, "asks")] == asks


def test_old_news_are_called_old(tmp_path, monitors, running, monkeypatch):
    monitor = monitors(make_run(tmp_path))
    assert shown(monitor)["stale"] == ""
    monkeypatch.setattr(reading.Seen, "_see_ages", lambda self: self.__dict__.update(log_age_s=40.0, usual_s=2.0))
    monitor.refresh()
    assert "data shown is 40 s old; a line comes every 2 s" in shown(monitor)["stale"]


def test_a_failed_run_shows_its_traceback_and_the_end_of_its_log(tmp_path, monitors):
    path = make_run(tmp_path, "not-finite")
    end = {
        "reason": "failed",
        "step": 9,
        "message": "a term is NaN",
        "traceback": "Traceback …\nValueError",
        "log": ["a"],
    }
    (path / "attempts" / "0001" / "end.json").write_text(json.dumps(end))
    failure = shown(monitors(path), "failure")
    assert failure == {"message": "a term is NaN", "traceback": "Traceback …\nValueError", "log": "a"}


def test_damaged_lines_are_counted(tmp_path, monitors):
    path = make_run(tmp_path)
    with open(path / "events" / "0001.jsonl", "ab") as log:
        log.write(b"torn\n")
    assert "1 damaged log line left out" in shown(monitors(path))["facts"]


def test_a_folder_that_vanishes_is_said_and_the_pictures_stay(tmp_path, monitors):
    path = make_run(tmp_path, name="first")
    monitor = monitors(path)
    shutil.rmtree(path)
    monitor.refresh()
    assert shown(monitor)["state"] == "GONE" and "not there any more" in shown(monitor)["message"]
    assert "How fast it trains" in texts(monitor) and shown(monitor, "asks") == []


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", ["stop", "hold", "checkpoint"])
def test_what_is_asked_reaches_the_run_and_its_answer_is_seen(tmp_path, monitors, running, asked, ask):
    path = make_run(tmp_path, ended=False)
    monitor = monitors(path)
    press(monitor, do="ask", ask=ask)
    assert asked == [ask] and "Asked to" in shown(monitor, "answers")[0]
    assert [each["enabled"] for each in shown(monitor, "asks") if each["ask"] == ask] == [False]
    writer = RunWriter(path, 1)
    writer.event("request", step=141, id="1", operation=ask, accepted=True)
    writer.close()
    monitor.refresh()
    assert "acknowledged at step 141" in shown(monitor, "answers")[0]
    assert all(each["enabled"] for each in shown(monitor, "asks"))


def test_a_stopped_run_is_resumed(tmp_path, monitors, asked, monkeypatch):
    state = ["STOPPED"]
    monkeypatch.setattr(reading, "read_status", lambda path: Status(state[0]))
    monitor = monitors(make_run(tmp_path))
    press(monitor, do="ask", ask="resume")
    assert asked == ["resume"] and "Asked to resume" in shown(monitor, "answers")[0]
    state[0] = "RUNNING"
    monitor.refresh()
    assert "it trains again" in shown(monitor, "answers")[0]


def test_a_resumed_run_that_ends_at_once_may_be_resumed_again(tmp_path, monitors, asked, monkeypatch):
    now = [Status("FAILED", attempt=1)]
    monkeypatch.setattr(reading, "read_status", lambda path: now[0])
    monitor = monitors(make_run(tmp_path))
    monkeypatch.setattr(monitor, "_handle", lambda: types.SimpleNamespace(status=now[0], resume=lambda: None))
    press(monitor, do="ask", ask="resume")
    assert not shown(monitor, "asks")[0]["enabled"]
    now[0] = Status("FAILED", attempt=2)
    monitor.refresh()
    assert "has ended already" in shown(monitor, "answers")[0] and shown(monitor, "asks")[0]["enabled"]


def test_a_run_that_does_not_answer_is_said(tmp_path, monitors, running, asked, monkeypatch):
    monitor = monitors(make_run(tmp_path))
    press(monitor, do="ask", ask="hold")
    monkeypatch.setattr(asking, "WORRY_S", -1.0)
    monitor.refresh()
    assert "no answer for" in shown(monitor, "answers")[0]


@pytest.mark.parametrize("message", [{"do": "ask", "ask": "explode"}, {"do": "jump", "step": 10**9}, {"do": "jump"}])
def test_what_cannot_be_done_is_said_in_the_widget(tmp_path, monitors, running, asked, message):
    monitor = monitors(make_run(tmp_path))
    press(monitor, **message)
    assert shown(monitor, "problem") and asked == []


def test_a_failing_button_shows_its_error_until_the_next_one(tmp_path, monitors, running, asked, monkeypatch):
    monitor = monitors(make_run(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(monitor, "_handle", lambda: 1 / 0)
        press(monitor, do="ask", ask="stop")
    assert "ZeroDivisionError" in shown(monitor, "problem")
    press(monitor, do="ask", ask="stop")
    assert shown(monitor, "problem") == ""


def test_nobody_is_asked_when_the_run_has_just_ended(tmp_path, monitors, running, asked, monkeypatch):
    monitor = monitors(make_run(tmp_path))
    monkeypatch.setattr(monitor, "_handle", lambda: types.SimpleNamespace(name="r", status=Status("COMPLETED")))
    press(monitor, do="ask", ask="stop")
    assert "nobody is there to stop" in shown(monitor, "problem")


# -- steps, alarms, ghosts ---------------------------------------------------------------------------------------------


def test_a_jump_marks_every_picture_and_shows_the_verdict_as_it_was(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path, "uniform", epochs=60))
    newest = monitor.verdict
    monitor.jump(70)
    assert monitor.moment.step == 70 and shown(monitor, "look")["step"] == 70
    assert shown(monitor, "verdict")["at"] == 70 and monitor.verdict.step == 70
    assert "step 70" in texts(monitor)
    press(monitor, do="jump", step=-1)
    assert monitor.verdict is newest and "step 70" not in texts(monitor) and shown(monitor, "look")["step"] is None


def test_views_of_one_run_jump_together(tmp_path, monitors):
    path = make_run(tmp_path)
    one, other, stranger = monitors(path), monitors(path), monitors(make_run(tmp_path))
    one.jump(70)
    assert shown(other, "look")["step"] == 70 and shown(stranger, "look")["step"] is None
    one.jump(None)
    assert shown(other, "look")["step"] is None


@pytest.mark.parametrize("step", [-2, 141, True])
def test_a_step_that_is_not_there_is_an_error(tmp_path, monitors, step):
    with pytest.raises(ValueError, match="give 0 to 140"):
        monitors(make_run(tmp_path)).jump(step)


def test_the_slider_has_the_steps_of_the_snapshots_and_the_newest(tmp_path, monitors):
    assert shown(monitors(make_run(tmp_path, snapshots=5)), "look")["steps"] == [0, 35, 70, 105, 140]


def test_alarms_stay_can_be_dismissed_and_come_back_with_a_new_monitor(tmp_path, monitors):
    path = make_run(tmp_path, "uniform", epochs=60, ended=False)
    writer = RunWriter(path, 1)
    writer.event("warning", step=20, message="the batch is small")
    writer.close()
    monitor = monitors(path)
    rows = shown(monitor, "alarms")["rows"]
    assert [row["title"] for row in rows] == ["Uniform collapse", "The training warned"]
    press(monitor, do="dismiss", key=rows[0]["key"])
    alarms = shown(monitor, "alarms")
    assert [row["key"] for row in alarms["rows"]] == [rows[1]["key"]] and alarms["dismissed"] == 1
    assert len(shown(monitors(path), "alarms")["rows"]) == 2
    press(monitor, do="undismiss")
    assert len(shown(monitor, "alarms")["rows"]) == 2


def test_ghosts_come_and_go(tmp_path, monitors):
    path, earlier = make_run(tmp_path, name="now"), make_run(tmp_path, "uniform", name="earlier")
    monitor = monitors(path, ghosts=[earlier])
    assert shown(monitor, "ghosts") == {"shown": [{"name": "earlier", "words": "a = earlier"}], "choices": []}
    assert "faint: a = earlier" in texts(monitor)
    press(monitor, do="unhaunt", run="earlier")
    assert shown(monitor, "ghosts")["choices"] == ["earlier"] and "faint" not in texts(monitor)
    press(monitor, do="haunt", run="earlier")
    assert "faint: a = earlier" in texts(monitor)


def test_only_runs_that_are_offered_can_be_chosen_in_the_browser(tmp_path, monitors):
    make_run(tmp_path / "elsewhere", name="other")
    monitor = monitors(make_run(tmp_path / "here", name="now"))
    press(monitor, do="haunt", run="../elsewhere/other")
    assert monitor.ghosts == []


def test_a_run_is_no_ghost_of_itself_and_six_are_enough(tmp_path, monitors):
    path = make_run(tmp_path, name="now")
    monitor = monitors(path)
    with pytest.raises(ConfigError, match="the one that is watched"):
        monitor.add_ghost(path)
    for number in range(6):
        monitor.add_ghost(make_run(tmp_path, name=f"ghost-{number}", num_samples=20))
    with pytest.raises(ConfigError, match="6 earlier runs"):
        monitor.add_ghost(make_run(tmp_path, name="one-more", num_samples=20))


# -- the page ----------------------------------------------------------------------------------------------------------


def tell_page(monitor, **facts):
    press(monitor, do="lighting", view="a", **{"seen": True, "width": 1200, "dark": False, **facts})


def test_the_pictures_follow_the_page_unless_told_otherwise(tmp_path, monitors):
    path = make_run(tmp_path)
    following, fixed = monitors(path), monitors(path, dark=False)
    for monitor in (following, fixed):
        tell_page(monitor, dark=True)
    papers = [monitor.figure.layout.template.layout.paper_bgcolor for monitor in (following, fixed)]
    assert papers == ["#15181d", "#ffffff"]
    assert following.figure.get_state()["_widget_layout"]["template"]["layout"]["paper_bgcolor"] == "#15181d"


def test_a_narrow_page_gets_one_column(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path))
    tell_page(monitor, width=1200)
    two = monitor.figure.layout.height
    tell_page(monitor, width=600)
    assert monitor.figure.layout.height > 1.5 * two
    assert monitor.figure.layout.xaxis.domain == monitor.figure.layout.xaxis2.domain


def test_nothing_is_drawn_while_nobody_can_see_it(tmp_path, monitors, running):
    path = make_run(tmp_path, ended=False)
    monitor, writer = monitors(path), RunWriter(path, 1)
    tell_page(monitor, seen=False)
    count = len(monitor.figure.data[0].x)
    writer.metrics(141, 20.1, TERMS)
    monitor._draw_again = 0.0
    monitor.refresh()
    assert len(monitor.figure.data[0].x) == count
    tell_page(monitor, seen=True)
    assert len(monitor.figure.data[0].x) == count + 1
    writer.close()


def test_looks_are_rare_when_the_run_has_ended(tmp_path):
    monitor = RunMonitor(make_run(tmp_path))
    try:
        assert monitor._tail.period_s == home.REST_S
    finally:
        monitor.close()


def test_the_monitor_follows_a_growing_run(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "read_status", lambda path: Status("RUNNING"))
    monkeypatch.setattr(home, "LOOK_EVERY_S", 0.05)
    path = create_run(Recipe(), name="growing", root=tmp_path)
    writer = RunWriter(path, 1)
    writer.event("start", step=0, from_step=0, steps_per_epoch=7, total_steps=140, batch_size=256, num_images=300)
    monitor = RunMonitor(path)
    try:
        for step in range(1, 6):
            writer.metrics(step, step / 7, TERMS)
        deadline = time.monotonic() + 15
        while monitor.figure.data[0].x is None or len(monitor.figure.data[0].x) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        monitor.close()
        writer.close()


def test_nothing_is_sent_while_nothing_is_new(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path))
    monitor.refresh()
    monitor._took = 0.0
    monitor._show()
    sent = []
    for widget in (monitor.figure, monitor.board):
        widget.comm.send = lambda *arguments, **options: sent.append(arguments)
    for _ in range(3):
        monitor.refresh()
        monitor._took = 0.0  # how long a look took is the one thing that differs
    assert [data for data in sent if "_py2js_update" in str(data)] == [] and len(sent) <= 3


def test_an_error_while_looking_is_shown_and_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "REST_S", 0.05)
    monitor = RunMonitor(make_run(tmp_path))

    def wait_for(claim):
        deadline = time.monotonic() + 10
        while not claim():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(reading, "read_status", lambda path: 1 / 0)
            wait_for(lambda: "ZeroDivisionError" in shown(monitor, "problem"))
        wait_for(lambda: shown(monitor, "problem") == "")
    finally:
        monitor.close()


def test_a_monitor_whose_first_look_fails_shows_the_error_and_all_else_empty(tmp_path, monitors, monkeypatch):
    def fail(seen, *, alarms=True):
        raise RecordError("the record of this run cannot be read")

    monkeypatch.setattr(reading.Seen, "look", fail)
    monitor = monitors(make_run(tmp_path, name="hurt"))
    assert "cannot be read" in shown(monitor, "problem")
    assert shown(monitor)["state"] == "UNREAD" and shown(monitor)["name"] == "hurt"
    assert {"asks", "answers", "alarms", "look", "ghosts"} <= monitor.board.shown.keys()


def test_twenty_monitors_opened_and_closed_leave_nothing(tmp_path):
    path, left = make_run(tmp_path, num_samples=20), []
    before = set(widgets._instances)
    for _ in range(20):
        monitor = RunMonitor(path)
        left += [weakref.ref(monitor), weakref.ref(monitor.figure), weakref.ref(monitor.board)]
        monitor.close()
    del monitor
    gc.collect()
    assert [each() for each in left if each() is not None] == []
    assert set(widgets._instances) - before == set()
    assert not any(thread.name == "twist-monitor" for thread in threading.enumerate())


HOSTILE = "<img src=x onerror=alert(1)>"


def test_hostile_text_is_inert_everywhere(tmp_path, monitors, monkeypatch):
    path = make_run(tmp_path, name="first")
    hostile = path.rename(tmp_path / HOSTILE)
    monkeypatch.setattr(reading, "read_status", lambda path: Status("FAILED", message=HOSTILE))
    verdict = Verdict("healthy", HOSTILE, HOSTILE, HOSTILE, (Evidence(HOSTILE, 1.0, None, HOSTILE),), 1)
    monkeypatch.setattr(reading, "verdict", lambda record, timeline=None: verdict)
    monitor = monitors(hostile)
    assert "&lt;img" in monitor.static_html() and "<img" not in monitor.static_html()
    assert "<img" not in json.dumps(monitor.figure.layout.to_plotly_json(), default=str)
    script = (Path(home.__file__).parent / "browser" / "board.js").read_text()  # which shows text as text
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script


def test_a_saved_notebook_keeps_a_static_copy(tmp_path, monitors, monkeypatch):
    monitor = monitors(make_run(tmp_path, name="first"))
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    monitor._ipython_display_()
    live, static = outputs
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "application/vnd.jupyter.widget-view+json" not in static
    for bundle in outputs:
        text = html.unescape(bundle["text/html"])
        assert text.count("<svg") == 2 and "RunMonitor('first')" in text and "Healthy" in text and "run first" in text
        assert 'aria-label="Loss terms of first' in text and 'aria-label="Entropy plane of first' in text
        assert "<script" not in text


def test_a_static_copy_of_an_empty_run_says_so(tmp_path, monitors):
    text = monitors(create_run(Recipe(), name="new", root=tmp_path)).static_html()
    assert "no step recorded yet" in text and "created" in text


def test_a_broken_folder_is_an_error_at_once(tmp_path):
    with pytest.raises(ConfigError, match="no run folder"):
        RunMonitor(Path(tmp_path), live=False)


def test_an_exported_file_is_named_for_run_and_step_and_no_button_leads_to_a_cloud(tmp_path, monitors):
    monitor = monitors(make_run(tmp_path, name="first"))
    assert shown(monitor, "file") == "first-step140-monitor"
    config = monitor.figure._config
    assert config["toImageButtonOptions"]["filename"] == "first-monitor"
    assert not config["showSendToCloud"] and not config["plotlyServerURL"] and not config["displaylogo"]
    assert "sendDataToCloud" in monitor.figure.layout.template.layout.modebar.remove
