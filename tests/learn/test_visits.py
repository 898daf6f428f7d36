"""What training saw of every image: the numbers of the forward itself, at the right image, across stops and resumes."""

import json

import numpy as np
import pytest
import torch
from loop import STEPS, attempt
from scipy.special import softmax
from scipy.stats import entropy

from twist.learn import loop as loops
from twist.learn.random import permutation
from twist.learn.visits import Visits
from twist.runs.launcher import prepare
from twist.runs.record import NOT_VISITED, RunRecord

CPU = torch.device("cpu")


def recorded(path):
    record = RunRecord(path)
    record.poll()
    return record


def test_every_image_gets_the_entropy_and_classes_of_its_own_logits():
    order, logits = (
        permutation(11, seed=0, epoch=0),
        3 * torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)),
    )
    visits = Visits(11, steps_per_epoch=2, batch_size=4, device=CPU)
    for step in range(2):
        visits.put(step, logits[:, 4 * step : 4 * step + 4], temperature=0.5)
    samples = visits.end_epoch(order)
    rows, classes = order[:8].numpy(), logits.argmax(2).numpy()
    expected = entropy(softmax(logits.double().numpy() / 0.5, axis=2), axis=2).mean(0)
    np.testing.assert_allclose(samples["sample_entropy"][rows], expected, rtol=1e-3, atol=1e-3)  # half precision
    np.testing.assert_array_equal(samples["assignment"][rows], classes[0])
    np.testing.assert_array_equal(samples["agreement"][rows], classes[0] == classes[1])
    left_out = samples[order[8:].numpy()]
    assert np.isnan(left_out["sample_entropy"]).all()
    assert left_out["assignment"].tolist() == [-1] * 3 and left_out["agreement"].tolist() == [NOT_VISITED] * 3


def test_the_next_epoch_begins_empty():
    order = permutation(4, seed=0, epoch=0)
    visits = Visits(4, steps_per_epoch=2, batch_size=2, device=CPU)
    for step in range(2):
        visits.put(step, torch.randn(2, 2, 3))
    visits.end_epoch(order)
    visits.put(2, torch.randn(2, 2, 3))
    samples = visits.end_epoch(order)
    assert (samples["agreement"][order[2:].numpy()] == NOT_VISITED).all()


@pytest.mark.parametrize("asked_every", [1, 2, 3, 5])
def test_agreement_is_the_share_of_the_visits_since_it_was_asked_for(asked_every):
    generator = torch.Generator().manual_seed(0)
    visits, seen = Visits(7, steps_per_epoch=3, batch_size=2, device=CPU), [[] for _ in range(7)]
    for step in range(15):
        logits = torch.randn(2, 2, 2, generator=generator)
        order = permutation(7, seed=0, epoch=step // 3)
        visits.put(step, logits)
        for row, agrees in zip(order[step % 3 * 2 :][:2].tolist(), logits.argmax(2).diff(dim=0)[0] == 0, strict=True):
            seen[row].append(bool(agrees))
        if (step + 1) % 3 == 0:
            visits.end_epoch(order)
        if (step + 1) % asked_every == 0:
            found = visits.take_agreement(step + 1, permutation(7, seed=0, epoch=(step + 1) // 3))
            np.testing.assert_allclose(found, [np.mean(each) if each else np.nan for each in seen])
            seen = [[] for _ in range(7)]


def test_what_is_not_finite_is_kept_as_such():
    visits = Visits(2, steps_per_epoch=1, batch_size=2, device=CPU)
    visits.put(0, torch.full((2, 2, 3), torch.nan))
    samples = visits.end_epoch(torch.arange(2))
    assert np.isnan(samples["sample_entropy"]).all() and (samples["assignment"] >= 0).all()


HALVES = {"record.snapshot_every_epochs": 0.5, "network.num_heads": 2, "data.max_images": 190}


@pytest.fixture
def whole(runs, tiny):
    path = prepare("digits", name="whole", changes={**tiny, **HALVES})
    assert attempt(path, 1)["reason"] == "completed"
    return path


@pytest.mark.parametrize("step", [1, 4, 6, 7])
def test_a_stopped_run_resumes_to_the_same_epochs_and_agreements(whole, runs, tiny, step):
    path = prepare("digits", name="stopped", changes={**tiny, **HALVES})
    attempt(path, 1, stop_at=step)
    attempt(path, 2)
    one, other = recorded(whole), recorded(path)
    assert one.epoch_numbers() == other.epoch_numbers() == [1, 2, 3]
    for epoch in one.epoch_numbers():
        assert one.epoch_samples(epoch).tobytes() == other.epoch_samples(epoch).tobytes()
    assert one.snapshot_steps() == other.snapshot_steps()
    for at in one.snapshot_steps():
        np.testing.assert_array_equal(one.snapshot(at).agreement, other.snapshot(at).agreement)


def test_a_killed_run_makes_again_what_it_lost(whole, runs, tiny):
    path = prepare("digits", name="killed", changes={**tiny, **HALVES, "record.checkpoint_every_epochs": 2})
    attempt(path, 1, break_at=5)
    assert recorded(path).epoch_numbers() == [1]
    attempt(path, 2)
    one, other = recorded(whole), recorded(path)
    assert [one.epoch_samples(n).tobytes() for n in (1, 2, 3)] == [other.epoch_samples(n).tobytes() for n in (1, 2, 3)]


def test_without_its_visits_a_resume_would_be_noticed(whole, runs, tiny, monkeypatch):
    """Negative control."""
    path = prepare("digits", name="lossy", changes={**tiny, **HALVES})
    attempt(path, 1, stop_at=5)
    monkeypatch.setattr(Visits, "load_state", lambda self, state: None)
    attempt(path, 2)
    one, other = recorded(whole), recorded(path)
    assert one.epoch_samples(2).tobytes() != other.epoch_samples(2).tobytes()


def test_the_entropies_of_an_epoch_average_to_the_sharpness_that_was_logged(runs, tiny):
    path = prepare("digits", name="run", changes={**tiny, "objective.eps": 0.0, "compute.precision": "float32"})
    attempt(path, 1)
    record = recorded(path)
    sharpness = record.metrics()["train/sharpness"]
    for epoch in record.epoch_numbers():
        mean = record.epoch_samples(epoch)["sample_entropy"].astype(float).mean()
        assert mean == pytest.approx(
            sharpness[sharpness.index.isin(range(4 * epoch - 3, 4 * epoch + 1))].mean(), abs=1e-3
        )


def test_snapshots_tell_the_agreement_of_their_own_images(runs, tiny):
    path = prepare("digits", name="run", changes={**tiny, "record.watch_images": 60})
    attempt(path, 1)
    record = recorded(path)
    ids = record.watch().sample_ids
    assert np.isnan(record.snapshot(0).agreement).all()
    for number in record.epoch_numbers():
        kept = record.epoch_samples(number)["agreement"][ids]
        np.testing.assert_array_equal(record.snapshot(4 * number).agreement, kept)
    table = record.snapshot_metrics()["watch/agreement"]
    assert table.index[table.notna()].tolist() == [4, 8, 12]
    assert table[STEPS] == pytest.approx(kept.mean())


def test_a_run_may_keep_none(runs, tiny):
    path = prepare("digits", name="none", changes={**tiny, "record.train_samples": False})
    assert attempt(path, 1)["reason"] == "completed"
    record = recorded(path)
    assert record.epoch_numbers() == [] and not (path / "epochs").exists()
    assert record.snapshot().agreement is None


def test_a_checkpoint_of_an_older_version_goes_on_with_what_is_left_of_the_epoch(runs, tiny, monkeypatch):
    path = prepare("digits", name="old", changes=tiny)
    with monkeypatch.context() as older:
        older.setattr(loops.Visits, "state", lambda self: {})
        older.setattr(loops.Loop, "_end_epoch", lambda self: None)
        attempt(path, 1, stop_at=6)
    for manifest in (path / "checkpoints").glob("*/manifest.json"):
        facts = json.loads(manifest.read_text())
        del facts["files"]["visits.safetensors"]
        manifest.write_text(json.dumps(facts))
        (manifest.parent / "visits.safetensors").unlink()
    assert attempt(path, 2)["reason"] == "completed"
    record = recorded(path)
    assert record.epoch_numbers() == [2, 3]
    assert (record.epoch_samples(2)["agreement"] == NOT_VISITED).sum() == 100
