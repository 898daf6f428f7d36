"""A fork goes on exactly where its parent's checkpoint was, changes what may change, and leaves the parent alone."""

import hashlib
import json
import math
import warnings

import numpy as np
import pytest
import torch
from loop import assert_equal_weights, attempt, weights

from twist.runs import forking, keeping
from twist.runs.config import ConfigError
from twist.runs.forking import checkpoint_steps, prepare_fork
from twist.runs.handle import Run
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord
from twist.runs.store import step_folder


@pytest.fixture
def whole(runs, tiny):
    """A run of three epochs, four steps each, with checkpoints at 4, 8 and 12."""
    path = prepare("digits", name="whole", changes={**tiny, "record.keep_checkpoints": 5})
    assert attempt(path, 1)["reason"] == "completed"
    return path


def read(path):
    record = RunRecord(path)
    record.poll()
    return record


def contents(path):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("step", [4, 8])
def test_a_fork_without_changes_ends_with_the_weights_of_its_parent(whole, step):
    before = contents(whole)
    path = prepare_fork(whole, step, "again")
    assert attempt(path, 1)["reason"] == "completed"
    assert_equal_weights(whole, path)
    mine, theirs = read(path).metrics(), read(whole).metrics()
    columns = ["train/total", "train/consistency", "train/diversity", "train/learning_rate"]
    assert mine[columns].equals(theirs.loc[step + 1 :, columns])
    assert contents(whole) == before


def test_a_fork_that_is_stopped_resumes_exactly(whole):
    one, other = prepare_fork(whole, 4, "one"), prepare_fork(whole, 4, "other")
    attempt(one, 1)
    attempt(other, 1, stop_at=7)
    attempt(other, 2)
    assert_equal_weights(one, other)
    assert_equal_weights(one, whole)


def test_teacher_heads_and_self_labelling_fork_exactly_too(runs, tiny):
    tiny |= {"teacher.enabled": True, "self_label.epochs": 1, "optim.epochs": 2, "record.keep_checkpoints": 5}
    parent = prepare("digits", name="parent", changes=tiny)
    attempt(parent, 1)
    path = prepare_fork(parent, 4)
    attempt(path, 1)
    assert path.name == "parent-fork"
    assert len(weights(path)) == 3
    assert_equal_weights(parent, path)


def test_a_fork_says_where_it_comes_from_and_looks_at_the_images_at_once(whole):
    path = prepare_fork(whole, 8, "child", {"objective.sharpness_weight": 0, "optim.epochs": 4})
    attempt(path, 1)
    record = read(path)
    origin = record.forked_from
    assert (origin["name"], origin["step"], origin["id"]) == ("whole", 8, read(whole).identity["id"])
    assert origin["changed"] == {"objective.sharpness_weight": 0, "optim.epochs": 4}
    event = record.last("fork")
    assert (event["from_name"], event["from_step"], event["step"]) == ("whole", 8, 8)
    assert record.snapshot_steps()[0] == 8
    assert np.array_equal(record.snapshot(8).assignment, read(whole).snapshot(8).assignment)
    assert record.metrics().index.tolist() == list(range(9, 17))
    assert not [event for event in record.events if event["kind"] == "warning" and "exact" in event["message"]]
    assert read(whole).forked_from == {}


def test_the_schedule_is_that_of_the_forks_own_recipe_at_the_parents_step(whole):
    path = prepare_fork(whole, 8, "longer", {"optim.epochs": 6})
    attempt(path, 1)
    longer, rates = read(path).recipe, read(path).metrics()["train/learning_rate"]
    peak, end, warm, total = longer.optim.learning_rate, longer.optim.final_learning_rate, 4, 24
    low = end * peak
    expected = [low + (peak - low) / 2 * (1 + math.cos(math.pi * (s - warm) / (total - warm))) for s in range(8, 24)]
    assert np.allclose(rates, expected)


def test_changed_numbers_of_the_optimizer_are_in_force(whole):
    same, other = prepare_fork(whole, 8, "same"), prepare_fork(whole, 8, "other", {"optim.betas": (0.5, 0.9)})
    attempt(same, 1)
    attempt(other, 1)
    details = json.loads((other / "checkpoints" / step_folder(12) / "state.json").read_text())
    assert [group["betas"] for group in details["optimizer_groups"]] == [[0.5, 0.9]] * 2
    assert not torch.equal(*(weights(path)[0]["projection_heads.last_linear.weight"] for path in (same, other)))


@pytest.mark.parametrize(
    "changes",
    [
        {"optim.optimizer": "sgd", "optim.learning_rate": 0.1},
        {"optim.optimizer": "lars"},
        {"teacher.enabled": True},
        {"seed": 9},
        {"views.rotation_degrees": 30, "views.size": 12},
        {"record.train_samples": False},
        {"network.dropout": 0.2},
        {"self_label.epochs": 2},
    ],
)
def test_what_may_change_trains_to_its_end_and_resumes_exactly(whole, changes):
    one, other = (prepare_fork(whole, 8, name, changes) for name in ("one", "other"))
    assert attempt(one, 1)["reason"] == "completed"
    attempt(other, 1, stop_at=10)
    attempt(other, 2)
    last = max(checkpoint_steps(one))
    assert_equal_weights(one, other, last)


def test_a_fork_of_the_first_checkpoint_of_a_fork_trains_too(whole):
    child = prepare_fork(whole, 8, "child", {"optim.optimizer": "lars", "teacher.enabled": True, "seed": 9})
    attempt(child, 1, stop_at=9)
    grandchild = prepare_fork(child, 8, "grandchild")
    assert attempt(grandchild, 1)["reason"] == attempt(child, 2)["reason"] == "completed"
    assert_equal_weights(child, grandchild)


def test_another_batch_size_begins_at_the_start_of_the_checkpoints_epoch(whole):
    path = prepare_fork(whole, 8, "larger", {"optim.batch_size": 100})
    assert checkpoint_steps(path) == [4]  # two epochs of two steps
    assert attempt(path, 1)["reason"] == "completed"
    assert read(path).metrics().index.tolist() == [5, 6]


def test_another_batch_size_of_as_many_steps_begins_at_the_start_of_the_epoch_too(runs, tiny):
    parent = prepare("digits", name="parent", changes=tiny)
    attempt(parent, 1, stop_at=6)  # amid an epoch of four steps
    assert checkpoint_steps(prepare_fork(parent, 6, "same")) == [6]
    assert checkpoint_steps(prepare_fork(parent, 6, "other", {"optim.batch_size": 49})) == [4]


def test_a_cell_that_forks_can_be_run_twice(runs, whole, tiny, monkeypatch):
    started = []
    monkeypatch.setattr(forking, "start", started.append)
    first = forking.fork("whole", 8, "child", exist_ok=True, optim__epochs=4)
    for step in (8, None):
        assert forking.fork(Run(whole), step, "child", exist_ok=True, optim__epochs=4).path == first.path
    assert started == [first.path]
    with pytest.raises(ConfigError, match="exists already"):
        forking.fork("whole", 8, "child", optim__epochs=4)
    with pytest.raises(ConfigError, match="with another recipe .optim.epochs is 4 there, 5 here"):
        forking.fork("whole", 8, "child", exist_ok=True, optim__epochs=5)
    with pytest.raises(ConfigError, match="was forked from 'whole' at step 8, not at 4"):
        forking.fork("whole", 4, "child", exist_ok=True, optim__epochs=4)
    prepare("digits", name="stranger", changes=tiny)
    with pytest.raises(ConfigError, match="'stranger' exists and is no fork of 'whole'"):
        forking.fork("whole", name="stranger", exist_ok=True)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network.num_classes": 20}, "network.num_classes is 20, but a fork keeps the network"),
        ({"network.backbone": "resnet18"}, "network.backbone is 'resnet18'"),
        ({"network.final_norm": "none"}, "network.final_norm is 'none'"),
        ({"data.source": "mnist"}, "data.source is 'mnist', but a fork keeps its images"),
        ({"data.max_images": 100}, "data.max_images is 100"),
        ({"optim.epochs": 2}, "nothing is left to train: the checkpoint of whole stands at epoch 2"),
        ({"optim.epoch": 2}, "did you mean 'optim.epochs'"),
        ({"optim.epochs": "many"}, "a whole number"),
        ({"optim.batch_size": 5000}, "has only 200 images"),
        ({"device": "cuda:9"}, "CUDA devices were found"),
        ({"objective.extra": "nowhere.py:term"}, "there is no file 'nowhere.py'"),
    ],
)
def test_what_cannot_change_is_refused_with_the_reason_and_nothing_written(runs, whole, changes, said):
    with pytest.raises(ConfigError, match=said):
        prepare_fork(whole, 8, "child", changes)
    assert [path.name for path in runs.iterdir()] == ["whole"]


def test_a_step_without_a_checkpoint_or_with_a_damaged_one_is_named(runs, whole, tiny):
    with pytest.raises(ConfigError, match="no checkpoint at step 5: it has those of 4, 8, 12"):
        prepare_fork(whole, 5)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        prepare_fork(whole)  # its end
    (whole / "checkpoints" / step_folder(12) / "network.safetensors").write_bytes(b"rot")
    with pytest.raises(ConfigError, match="differs from its checksum"):
        prepare_fork(whole, 12)
    path = prepare_fork(whole)  # the newest sound one
    assert checkpoint_steps(path) == [8]
    fresh = prepare("digits", name="fresh", changes=tiny)
    with pytest.raises(ConfigError, match="fresh has no checkpoint yet"):
        prepare_fork(fresh)
    with pytest.raises(ConfigError, match="a run named 'fresh' exists already"):
        prepare_fork(whole, 8, "fresh")
    with pytest.raises(ConfigError, match="cannot name a folder"):
        prepare_fork(whole, 8, "../x")


def test_a_fork_never_begins_from_nothing(whole):
    path = prepare_fork(whole, 8, "child")
    (path / "checkpoints" / step_folder(8)).rename(path / "elsewhere")
    outcome = attempt(path, 1)
    assert outcome["reason"] == "failed" and "forked with is gone" in outcome["message"]


def test_other_images_than_the_parents_are_refused(runs, tiny, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (200, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    del tiny["data.max_images"]
    parent = prepare(str(tmp_path / "mine.npz"), name="parent", changes={**tiny, "optim.epochs": 2, "views.size": 8})
    attempt(parent, 1)
    path = prepare_fork(parent, None, "child", {"optim.epochs": 3})
    np.savez(tmp_path / "mine.npz", images=255 - images)
    outcome = attempt(path, 1)
    assert outcome["reason"] == "failed" and "other images than when child began" in outcome["message"]


def test_images_in_memory_and_own_code_travel_with_the_fork(runs, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "term.py").write_text("def term(logits, features):\n    return 0 * features.mean()\n")
    images = np.random.default_rng(0).integers(0, 255, (200, 8, 8), dtype=np.uint8)
    del tiny["data.max_images"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parent = prepare(
            images=images, name="parent", changes={**tiny, "objective.extra": "term.py:term", "views.size": 8}
        )
    attempt(parent, 1)
    (tmp_path / "term.py").unlink()  # the parent's copy is what counts
    path = prepare_fork(parent, 8, "child")
    keeping.delete(parent, confirm="parent")
    assert attempt(path, 1)["reason"] == "completed"
