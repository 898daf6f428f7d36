"""The loop end to end on a handful of digits: what it records, how it stops, and that it goes on exactly."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loop import STEPS, assert_equal_weights, attempt, weights

from twist.learn import checkpoints
from twist.learn import step as steps
from twist.learn import train as training
from twist.learn.process import choose_device
from twist.learn.train import NotFiniteError, train
from twist.runs.config import ConfigError
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord, RunWriter
from twist.runs.status import read_status
from twist.runs.store import step_folder, write_json


@pytest.fixture
def whole(runs, tiny):
    path = prepare("digits", name="whole", changes=tiny)
    assert attempt(path, 1)["reason"] == "completed"
    return path


def test_a_run_records_every_step_snapshot_and_checkpoint(whole):
    record = RunRecord(whole)
    record.poll()
    metrics = record.metrics()
    assert metrics.index.tolist() == list(range(1, STEPS + 1))
    terms = metrics[["train/consistency", "train/sharpness", "train/diversity", "train/total"]].to_numpy()
    assert np.isfinite(terms).all()
    assert np.allclose(terms[:, 0] + terms[:, 1] - terms[:, 2], terms[:, 3], atol=1e-5)
    assert metrics["train/agreement"].notna().sum() == 5  # the first step, every third, the last
    assert record.snapshot_steps() == [0, 4, 8, 12]
    assert [event["step"] for event in record.events if event["kind"] == "checkpoint"] == [4, 8, 12]
    assert len(checkpoints.checkpoint_folders(whole)) == 2
    assert record.last("end")["reason"] == "completed"
    diagnosed = ["alignment", "uniformity", "dead_units", "row_std_before_norm", "consistency_gradient"]
    assert (metrics[[f"train/{name}" for name in diagnosed]].notna().sum() == 5).all()
    assert np.isfinite(metrics["train/gradient_norm"]).all()
    assert record.last("start")["snapshot_every_steps"] == 4
    snapshot, watch = record.snapshot(), record.watch()
    assert len(snapshot.assignment) == len(watch) == 200
    assert watch.label_names == [str(digit) for digit in range(10)]
    assert [event["seq"] for event in record.events] == list(range(1, len(record.events) + 1))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole, runs, tiny):
    again = prepare("digits", name="again", changes=tiny)
    attempt(again, 1)
    assert_equal_weights(whole, again)
    other = prepare("digits", name="other", changes={**tiny, "seed": 1})
    attempt(other, 1)
    assert not torch.equal(
        weights(whole)[0]["projection_heads.last_linear.weight"],
        weights(other)[0]["projection_heads.last_linear.weight"],
    )


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_stopped_run_resumes_to_the_weights_of_the_uninterrupted_one(whole, runs, tiny, step):
    path = prepare("digits", name="stopped", changes=tiny)
    assert attempt(path, 1, stop_at=step) == {"reason": "stopped", "step": step, "message": ""}
    assert attempt(path, 2)["reason"] == "completed"
    assert_equal_weights(whole, path)
    stitched, straight = RunRecord(path), RunRecord(whole)
    stitched.poll()
    straight.poll()
    columns = ["train/total", "train/consistency", "train/sharpness", "train/diversity", "train/learning_rate"]
    assert stitched.metrics()[columns].equals(straight.metrics()[columns])


def test_several_heads_resume_exactly_too(runs, tiny):
    tiny |= {"network.num_heads": 1}
    single = prepare("digits", name="single", changes=tiny)
    attempt(single, 1)
    tiny |= {"network.num_heads": 3}
    one, other = (prepare("digits", name=name, changes=tiny) for name in ("one", "other"))
    attempt(one, 1)
    attempt(other, 1, stop_at=7)
    attempt(other, 2)
    assert_equal_weights(one, other)
    assert len(weights(one)[0]) > len(weights(single)[0])


@pytest.mark.parametrize("step", [3, 4, 6, 11])
def test_growing_views_and_a_whitened_layer_resume_exactly(runs, tiny, step):
    tiny |= {"network.backbone": "fast_conv", "views.start_size": 8, "views.size": 16, "views.grow_epochs": 2.25}
    one, other = (prepare("digits", name=name, changes=tiny) for name in ("one", "other"))
    attempt(one, 1)
    attempt(other, 1, stop_at=step)  # the sides are 8, 12, 12 and 16, three steps each
    attempt(other, 2)
    assert_equal_weights(one, other)
    first = weights(one)[0]["backbone.first.weight"]
    assert torch.equal(first, weights(one, 8)[0]["backbone.first.weight"])  # whitened, then never trained
    assert torch.equal(first[:9], -first[9:])


def test_a_broken_attempt_goes_on_from_its_last_checkpoint(whole, runs, tiny):
    path = prepare("digits", name="broken", changes=tiny)
    assert attempt(path, 1, break_at=7)["reason"] == "failed"
    attempt(path, 2)
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["from_step"] == 4
    assert_equal_weights(whole, path)


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(whole, runs, tiny):
    path = prepare("digits", name="damaged", changes=tiny)
    attempt(path, 1, stop_at=10)
    newest = checkpoints.checkpoint_folders(path)[-1] / "network.safetensors"
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    attempt(path, 2)
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["from_step"] == 8
    said = [event["message"] for event in record.events if event["kind"] == "warning"]
    assert any("differs from its checksum" in message for message in said)
    assert_equal_weights(whole, path)


def test_a_sound_older_checkpoint_survives_a_damaged_newer_one(runs, tiny):
    path = prepare("digits", name="one", changes={**tiny, "record.keep_checkpoints": 1})
    attempt(path, 1, stop_at=4)
    damaged = checkpoints.checkpoint_folders(path)[-1]
    shutil.copytree(damaged, damaged.with_name(step_folder(10)))
    (damaged.with_name(step_folder(10)) / "state.json").write_text("{}")
    attempt(path, 2, stop_at=6)
    assert [folder.name for folder in checkpoints.checkpoint_folders(path)] == [step_folder(6)]
    attempt(path, 3, stop_at=7)
    record = RunRecord(path)
    record.poll()
    assert record.last("start")["from_step"] == 6


def test_when_no_checkpoint_is_sound_nothing_is_begun_anew_in_silence(runs, tiny):
    path = prepare("digits", name="lost", changes=tiny)
    attempt(path, 1, stop_at=10)
    for folder in checkpoints.checkpoint_folders(path):
        (folder / "network.safetensors").write_bytes(b"")
    for number in (2, 3):  # nor at the next try
        outcome = attempt(path, number)
        assert outcome["reason"] == "failed"
        assert "no checkpoint of lost is sound" in outcome["message"]


def test_a_resume_on_other_images_is_refused(runs, tiny, tmp_path):
    images = tmp_path / "images.npz"
    tiny |= {"data.source": str(images), "data.max_images": None}
    np.savez(images, images=np.arange(60 * 64, dtype=np.uint8).reshape(60, 8, 8))
    path = prepare("digits", name="swapped", changes=tiny)
    attempt(path, 1, stop_at=2)
    np.savez(images, images=np.zeros((60, 8, 8), np.uint8))
    outcome = attempt(path, 2)
    assert outcome["kind"] == "config"
    assert "holds other images than when swapped began" in outcome["message"]


def test_a_failed_attempt_records_no_path_of_this_machine(runs, tiny, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr(steps, "twist_loss", fail)
    path = prepare("digits", name="failed", changes=tiny)
    outcome = attempt(path, 1)
    assert "boom" in outcome["traceback"]
    assert str(Path(training.__file__).parents[2]) not in outcome["traceback"]
    assert sys.prefix not in outcome["traceback"]


DROPPED = ("network", "moments", "step", "norm statistics")


@pytest.mark.parametrize("part", DROPPED)
def test_a_checkpoint_without_one_of_its_parts_would_be_noticed(whole, runs, tiny, part, monkeypatch):
    """Negative control: the tests above can fail."""
    path = prepare("digits", name="lossy", changes=tiny)
    attempt(path, 1, stop_at=6)
    load = checkpoints.load

    def lossy(folder, state):
        fresh = {name: value.clone() for name, value in state.network.state_dict().items()}
        facts = load(folder, state)
        if part == "network":
            state.network.load_state_dict(fresh)
        elif part == "norm statistics":
            kept = {
                name: fresh[name] if "running" in name else value for name, value in state.network.state_dict().items()
            }
            state.network.load_state_dict(kept)
        elif part == "moments":
            state.optimizer.state.clear()
        else:
            state.step -= 1
        return facts

    monkeypatch.setattr(checkpoints, "load", lossy)
    attempt(path, 2)
    with pytest.raises(AssertionError):
        assert_equal_weights(whole, path)


@pytest.mark.parametrize("kept", [True, False])
def test_dropout_goes_on_exactly_because_the_random_state_is_kept(runs, tiny, monkeypatch, kept):
    tiny |= {"network.dropout": 0.4}
    one, other = (prepare("digits", name=name, changes=tiny) for name in ("straight", "resumed"))
    attempt(one, 1)
    attempt(other, 1, stop_at=6)
    if not kept:
        monkeypatch.setattr(checkpoints, "_restore_random_state", lambda *_: None)
    attempt(other, 2)
    if kept:
        assert_equal_weights(one, other)
    else:
        with pytest.raises(AssertionError):
            assert_equal_weights(one, other)


def test_requests_are_acknowledged_and_nonsense_is_ignored(runs, tiny):
    path = prepare("digits", name="asked", changes=tiny)
    write_json(path / "control" / "1.json", {"id": "one", "operation": "checkpoint"})
    write_json(path / "control" / "2.json", {"id": "two", "operation": "explode"})
    (path / "control" / "3.json").write_text("{ not json")
    (path / "control" / "4.json").write_text("[" * 100_000)
    assert attempt(path, 1)["reason"] == "completed"
    record = RunRecord(path)
    record.poll()
    answers = {event["id"]: event["accepted"] for event in record.events if event["kind"] == "request"}
    assert answers == {"one": True, "two": False, "3": False, "4": False}
    assert os.listdir(path / "control") == []
    assert record.last("checkpoint") is not None


def test_a_loss_that_is_no_number_ends_the_run_and_no_checkpoint_knows_of_it(runs, tiny, monkeypatch):
    path = prepare("digits", name="nan", changes={**tiny, "record.diagnose_every_steps": 1000})
    loss = steps.twist_loss
    calls = []

    def poisoned(logits, **options):
        terms = loss(logits, **options)
        calls.append(1)
        # One call more than steps: the first step is diagnosed.
        return terms._replace(sharpness=terms.sharpness * float("nan")) if len(calls) == 7 else terms

    monkeypatch.setattr(steps, "twist_loss", poisoned)
    outcome = attempt(path, 1)
    assert outcome["reason"] == "failed"
    assert outcome["type"] == "NotFiniteError"
    assert "sharpness became nan at step 6; the last checkpoint is from before it" in outcome["message"]
    newest = checkpoints.checkpoint_folders(path)[-1]
    assert newest.name == step_folder(4)
    assert all(value.isfinite().all() for value in weights(path, 4)[0].values())


def test_a_gradient_alone_that_is_no_number_ends_the_run_with_its_name_on_record(runs, tiny, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def term(logits, features):\n    return (0 * features).abs().sqrt().sum()\n")  # 0, of slope nan
    path = prepare("digits", name="nan", changes={**tiny, "objective.extra": f"{own}:term"})
    outcome = attempt(path, 1)
    assert outcome["type"] == "NotFiniteError"
    assert "the gradient's norm became nan at step 1, the loss being finite" in outcome["message"]
    record = RunRecord(path)
    record.poll()
    event = record.last("metrics")
    assert event["nonfinite"] == {"train/gradient_norm": "nan"} and event["step"] == 1
    assert np.isfinite(event["train/total"]) and event["train/extra"] == 0


def test_training_in_this_process_gives_a_run_like_any_other(runs, tiny, capfd):
    run = train("digits", name="here", **tiny)
    assert run.status.state == "COMPLETED"
    assert run.scores is not None
    assert 0 <= run.scores.matched_accuracy <= 1
    assert "12/12" in capfd.readouterr().err


def test_an_interrupt_of_this_process_checkpoints_and_stops(runs, tiny, monkeypatch):
    step = training.Loop._train_step

    def interrupt(loop):
        step(loop)
        if loop.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.Loop, "_train_step", interrupt)
    handler = signal.getsignal(signal.SIGINT)
    run = train("digits", name="here", **tiny)
    assert (run.status.state, run.status.step) == ("STOPPED", 5)
    assert checkpoints.checkpoint_folders(run.path)[-1].name == step_folder(5)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_mistake_found_in_this_process_leaves_nothing(runs, tiny):
    with pytest.raises(ConfigError, match="3 numbers"):
        train("digits", name="here", **{**tiny, "views.mean": (0.1, 0.2, 0.3)})
    assert os.listdir(runs) == []


def test_a_failure_in_this_process_is_raised_and_recorded(runs, tiny, monkeypatch):
    def fail(*_, **__):
        raise NotFiniteError("boom")

    monkeypatch.setattr(steps, "twist_loss", fail)
    with pytest.raises(NotFiniteError, match="boom"):
        train("digits", name="here", **tiny)
    status = read_status(runs / "here")
    assert (status.state, status.message) == ("FAILED", "boom")
    assert "boom" in json.loads((runs / "here" / "attempts" / "0001" / "end.json").read_text())["traceback"]


@pytest.mark.parametrize(("name", "said"), [("cuda:99", "CUDA devices were found"), ("mps", "no Metal GPU")])
def test_a_device_that_is_not_there_is_refused(name, said):
    with pytest.raises(ConfigError, match=said):
        choose_device(name)


def test_two_writers_never_share_a_segment(runs, tiny):
    path = prepare("digits", name="segments", changes=tiny)
    RunWriter(path, 1).event("start", step=0, from_step=0, steps_per_epoch=1, total_steps=1)
    RunWriter(path, 2).event("start", step=0, from_step=0, steps_per_epoch=1, total_steps=1)
    assert sorted(os.listdir(path / "events")) == ["0001.jsonl", "0002.jsonl"]
