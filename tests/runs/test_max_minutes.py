"""A training that was given so many minutes: it stops by itself, with a checkpoint, and goes on exactly."""

import os
import time

import pytest
from loop import assert_equal_weights, attempt

from twist.cli import main
from twist.cli.looking import status_line
from twist.learn import train as training
from twist.learn.process import Requests
from twist.learn.train import train
from twist.runs.attempts import attempt_folder
from twist.runs.config import ConfigError
from twist.runs.launcher import attach, launch, prepare
from twist.runs.record import RunRecord
from twist.runs.status import end_record, read_status
from twist.runs.store import write_json

detached = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")


def timed_attempt(path, number, minutes, *, age_s=0.0, at_step=None):
    """One attempt in this process whose minutes are over at a step, or at once."""
    attempt_folder(path, number).mkdir(parents=True, exist_ok=True)
    requests = Requests(path, supervisor=None)
    requests.end_after(minutes, age_s=age_s)

    def watch(step, total, metrics):
        if step == at_step:
            requests.end_after(minutes, age_s=60 * minutes)
            requests._next_look = 0.0

    outcome = training._attempt(path, number, requests, watch)[0]
    write_json(attempt_folder(path, number) / "end.json", outcome)
    return outcome


@pytest.mark.parametrize("variant", [{}, {"teacher.enabled": True}], ids=["plain", "teacher"])
def test_a_run_stopped_by_time_and_resumed_ends_with_the_very_weights_of_one_that_was_not(runs, tiny, variant):
    changes = tiny | variant
    whole = prepare("digits", name="whole", changes=changes)
    attempt(whole, 1)
    timed = prepare("digits", name="timed", changes=changes)
    for number, step in ((1, 2), (2, 7)):
        outcome = timed_attempt(timed, number, 0.5, at_step=step)
        assert (outcome["reason"], outcome["kind"], outcome["step"]) == ("stopped", "time", step)
    assert timed_attempt(timed, 3, 60.0)["reason"] == "completed"
    assert_equal_weights(whole, timed)
    record = RunRecord(timed)
    record.poll()
    assert record.metrics().index.tolist() == list(range(1, 13))


def test_the_state_says_that_the_minutes_were_over_and_what_goes_on(runs, tiny):
    path = prepare("digits", name="timed", changes=tiny)
    timed_attempt(path, 1, 0.5, at_step=3)
    status = read_status(path)
    assert (status.state, status.step) == ("STOPPED", 3)
    assert status.message == "its 0.5 minutes were over; `resume` goes on"
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["max_minutes"] == 0.5
    assert record.last("checkpoint")["step"] == 3
    assert status_line(attach("timed")).endswith("its 0.5 minutes were over; `twist resume timed` goes on")


def test_minutes_that_end_before_the_first_step_say_so(runs, tiny):
    path = prepare("digits", name="timed", changes=tiny)
    outcome = timed_attempt(path, 1, 1.0, age_s=61.0)
    assert outcome["step"] == 0 and outcome["message"].startswith("its 1 minute was over before its first step")


def test_a_wish_to_stop_is_not_taken_for_the_end_of_the_minutes(runs, tiny):
    path = prepare("digits", name="stopped", changes=tiny)
    write_json(path / "control" / "1.json", {"id": "1", "operation": "stop"})
    outcome = timed_attempt(path, 1, 60.0)
    assert (outcome["reason"], outcome["message"]) == ("stopped", "") and "kind" not in outcome


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf"), "soon", True, [3]])
def test_minutes_that_are_none_are_refused_before_anything_is_written(runs, tiny, minutes):
    fields = {name.replace(".", "__"): value for name, value in tiny.items()}
    for verb in (launch, train) if isinstance(minutes, float) else (launch,):
        with pytest.raises(ConfigError, match="max_minutes is .*: give a number of minutes above 0"):
            verb("digits", max_minutes=minutes, **fields)
    assert not runs.exists()


def test_the_command_refuses_them_by_their_option(runs, capfd):
    assert main(["train", "digits", "--max-minutes", "soon"]) == 2
    assert "--max-minutes is 'soon': give a number of minutes above 0" in capfd.readouterr().err
    assert not runs.exists()


@detached
def test_a_detached_run_stops_by_itself_with_status_124_and_resumes_to_the_same_limit(runs, tiny, capfd):
    fields = {name.replace(".", "__"): value for name, value in tiny.items()} | {"optim__epochs": 3000}
    run = launch("digits", name="timed", max_minutes=0.25, **fields)
    deadline = time.monotonic() + 30
    while run.status.step < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    run.hold()  # the clock goes on meanwhile
    run.wait(timeout_s=90)
    first = run.status
    assert first.state == "STOPPED" and first.message.startswith("its 0.25 minutes were over")
    began = time.monotonic()
    assert main(["resume", "timed", "--max-minutes", "0.1", "--json"]) == 124
    assert 5 < time.monotonic() - began < 60
    said = capfd.readouterr().out
    assert "its 0.1 minutes were over" in said and "`twist resume timed` goes on" in said
    assert attach("timed").status.step >= first.step
    assert end_record(run.path, 2)["kind"] == "time"
