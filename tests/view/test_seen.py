"""What a monitor reads is worked out once, and old news are called old."""

import os
import shutil
import time

import numpy as np
import pytest
from synthetic import make_run

from twist.runs.record import RunWriter
from twist.runs.status import Status
from twist.view import seen as home
from twist.view.seen import Seen

TERMS = {"train/consistency": 1.0, "train/sharpness": 1.5, "train/diversity": 2.0}


def test_spreads_and_usage_agree_with_the_snapshots(tmp_path):
    seen = Seen(make_run(tmp_path))
    seen.look()
    spread, use, problem = seen.spreads()
    assert spread.steps.tolist() == use.steps.tolist() == seen.record.snapshot_steps() and not problem
    for column, step in enumerate(spread.steps.tolist()):
        snapshot = seen.record.snapshot(step)
        assert np.allclose(use.usage[column], snapshot.class_usage)
        assert spread.quantiles[1, column] == pytest.approx(np.median(snapshot.sample_entropy), rel=1e-5)
        assert np.nansum(spread.shares[:, column]) == pytest.approx(1)


def test_a_snapshot_is_read_once(tmp_path, monkeypatch):
    seen, read = Seen(make_run(tmp_path)), []
    monkeypatch.setattr(home, "read_assignment", lambda *arguments: read.append(arguments) or np.zeros(3, int))
    seen.look()
    seen.spreads()
    seen.spreads()
    assert len(read) == 5


def test_a_look_without_news_judges_nothing(tmp_path, monkeypatch):
    seen = Seen(make_run(tmp_path))
    seen.look()
    assert seen.verdict is not None
    monkeypatch.setattr(home, "timeline_of", lambda record: 1 / 0)
    assert seen.look() == 0


def test_a_living_run_is_judged_rarely_where_that_takes_long_and_once_more_at_its_end(tmp_path, monkeypatch):
    path, judged = make_run(tmp_path, ended=False), []
    status = Status("RUNNING", step=7)
    monkeypatch.setattr(home, "read_status", lambda path: status)
    real = home.timeline_of

    def slow(record):
        judged.append(len(record.events))
        time.sleep(0.05)
        return real(record)

    monkeypatch.setattr(home, "timeline_of", slow)
    seen, writer = Seen(path), RunWriter(path, 1)
    seen.look()
    for step in range(141, 146):
        writer.metrics(step, 20.0, TERMS)
        seen.look()
    assert len(judged) == 1
    status = Status("COMPLETED", step=145)
    seen.look()
    assert len(judged) == 2 and seen.verdict.step == 145
    writer.close()


def test_news_are_old_after_three_times_the_usual_time(tmp_path, monkeypatch):
    path = make_run(tmp_path)
    monkeypatch.setattr(home, "read_status", lambda path: Status("RUNNING", step=7))
    seen = Seen(path)
    seen.look()
    assert not seen.stale and seen.usual_s < 1
    (log,) = (path / "events").glob("*.jsonl")
    os.utime(log, (time.time() - 20, time.time() - 20))
    seen.look()
    assert seen.stale and seen.log_age_s > 19


def test_a_folder_that_vanishes_leaves_what_was_read(tmp_path):
    path = make_run(tmp_path)
    seen = Seen(path)
    seen.look()
    shutil.move(path, tmp_path / "elsewhere")
    assert seen.look() == 0 and seen.gone and len(seen.record.metrics()) == 140
    shutil.move(tmp_path / "elsewhere", path)
    seen.look()
    assert not seen.gone


def test_a_verdict_of_the_past_is_worked_out_once(tmp_path, monkeypatch):
    seen = Seen(make_run(tmp_path, "uniform", epochs=60))
    seen.look()
    first = seen.verdict_at(30)
    monkeypatch.setattr(home, "verdict", lambda *arguments: 1 / 0)
    assert seen.verdict_at(30) is first and first.step == 30
