"""Every alarm stands in the record: found again by whoever looks, also when it is over."""

import json

import numpy as np
import pytest
from synthetic import cut, make_run, read

from twist.runs.alarms import AlarmLog
from twist.runs.record import RunWriter
from twist.runs.verdict import timeline_of


def alarms_of(path, log=None):
    record = read(path)
    return (log or AlarmLog()).update(record, timeline_of(record))


def test_a_healthy_run_has_none(tmp_path):
    assert alarms_of(make_run(tmp_path)) == []


def test_a_collapse_is_one_alarm_that_goes_on(tmp_path):
    (alarm,) = alarms_of(make_run(tmp_path, "uniform", epochs=60))
    assert alarm.kind == "uniform collapse" and alarm.until is None and 30 <= alarm.step < 420


def test_an_alarm_that_is_over_is_kept(tmp_path):
    path = make_run(tmp_path, "uniform", epochs=60, ended=False)
    cut(path, 420)
    writer = RunWriter(path, 1)
    good = {"train/consistency": 0.1, "train/sharpness": 1.2, "train/diversity": 2.3, "train/row_std": 2.0}
    good |= {"train/agreement": 0.95, "train/dead_classes": 0, "train/largest_class_share": 0.12}
    for step in range(421, 900):
        writer.metrics(step, step / 7, good)
    writer.close()
    first, again = alarms_of(path), alarms_of(path)
    over = [alarm for alarm in first if alarm.kind == "uniform collapse"]
    assert first == again and len(over) == 1 and over[0].until is not None and over[0].until < 899


def test_looking_again_and_again_finds_what_one_look_finds(tmp_path):
    path = make_run(tmp_path, "uniform", epochs=60)
    record, log = read(path), AlarmLog()
    events = record.events
    for count in np.linspace(2, len(events), 12).astype(int):
        record._events, record._tables = events[:count], {}
        found = log.update(record, timeline_of(record))
    assert [(alarm.kind, alarm.step, alarm.until) for alarm in found] == [
        (alarm.kind, alarm.step, alarm.until) for alarm in alarms_of(path)
    ]


def test_a_step_that_a_resume_did_again_is_judged_again(tmp_path):
    path = make_run(tmp_path, "uniform", epochs=60)
    log = AlarmLog()
    assert alarms_of(path, log)
    (path / "attempts" / "0002").mkdir()
    writer = RunWriter(path, 2)
    writer.event("start", step=10, from_step=10, total_steps=420, batch_size=256, steps_per_epoch=7)
    writer.close()
    assert alarms_of(path, log) == []


@pytest.mark.parametrize("words", ["the disk is nearly full", "<b>markup</b>"])
def test_a_warning_of_the_training_is_an_alarm_said_once(tmp_path, words):
    path = make_run(tmp_path)
    writer = RunWriter(path, 1)
    for step in (20, 30):
        writer.event("warning", step=step, message=words)
    writer.close()
    (alarm,) = alarms_of(path)
    assert (alarm.kind, alarm.step, alarm.sentence) == ("warning", 20, words) and words in alarm.key


def test_a_run_without_a_usable_recipe_has_none(tmp_path):
    path = make_run(tmp_path, "uniform")
    (path / "recipe.json").write_text(json.dumps({"network": {"num_classes": -1}}))
    assert alarms_of(path) == []
