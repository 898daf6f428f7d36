"""A thread that does the newest of what is asked."""

from __future__ import annotations

import threading
import time

import pytest

from twist.view.latest import Latest


def until(claim, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


@pytest.fixture
def run():
    made = []

    def start(*arguments, **keywords):
        made.append(Latest(*arguments, **keywords))
        return made[-1]

    yield start
    for latest in made:
        latest.close()


def test_what_is_asked_during_work_is_done_once_at_the_end(run):
    wish, done, go = [0], [], threading.Event()

    def work():
        seen = wish[0]
        go.wait(5)
        done.append(seen)
        return False

    latest = run(work, pytest.fail)
    latest.ask()
    until(lambda: latest._asked.is_set() is False)
    time.sleep(0.05)
    for value in range(1, 50):
        wish[0] = value
        latest.ask()
    go.set()
    until(lambda: len(done) == 2)
    time.sleep(0.1)
    assert done == [0, 49]


def test_work_goes_on_while_more_is_left(run):
    left = [5]

    def work():
        left[0] -= 1
        return left[0] > 0

    run(work, pytest.fail).ask()
    until(lambda: left[0] == 0)


def test_an_error_is_told_and_the_next_wish_is_heard(run):
    errors, calls = [], []

    def work():
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")
        return False

    latest = run(work, errors.append)
    latest.ask()
    until(lambda: errors)
    latest.ask()
    until(lambda: len(calls) == 2)
    assert [str(error) for error in errors] == ["once"] and latest.alive


def test_it_looks_by_itself_when_it_has_a_period(run):
    calls = []
    run(lambda: bool(calls.append(1)), pytest.fail, period_s=0.01)
    until(lambda: len(calls) > 3)


def test_closing_waits_for_the_piece_under_way_and_ends_the_thread():
    latest = Latest(lambda: time.sleep(0.05) or True, pytest.fail)
    latest.ask()
    time.sleep(0.02)
    latest.close()
    assert not latest.alive and latest.closed
