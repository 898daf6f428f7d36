"""Features of any model: computed once, kept whole or not at all, found damaged, and the same however asked for."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from loop import attempt
from torch import nn

from twist.learn.evaluation import feature_cache
from twist.learn.evaluation.feature_arrays import features_from_file
from twist.learn.evaluation.feature_cache import cache_key, cache_place
from twist.learn.evaluation.features import batch_size, features_of
from twist.learn.evaluation.sets import LabeledSet, evaluation_sets, load_labeled
from twist.learn.image_model import ClassHead, make_model
from twist.learn.preparing import PlainView
from twist.learn.run_model import model_of_run
from twist.runs.config import ConfigError, DataConfig, ViewsConfig
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord


class Counted(nn.Module):
    """A convolution, averaged, that counts the images it saw."""

    def __init__(self, channels=1):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.seen, self.broken = 0, False

    def forward(self, views):
        self.seen += len(views)
        features = self.layers(views)
        if self.broken:  # for white images, as a division by their spread would be
            features[(views > 1.9).all(3).all(2).all(1)] = torch.nan
        return features


def tiny(seed=0, classes=5):
    torch.manual_seed(seed)
    head = ClassHead(nn.Linear(64, classes), 0.5, classes) if classes else None
    model = make_model("tiny", "file", Counted(), PlainView(ViewsConfig(size=8), 1), make={}, facts={}, head=head)
    model.net.seen = 0
    return model


def test_features_are_computed_once_for_all_parts_of_a_set(tmp_path):
    model, sets = tiny(), evaluation_sets(DataConfig(source="digits"))
    known = features_of(model, sets.known, cache=tmp_path, batch=600)
    asked = features_of(model, sets.asked, cache=tmp_path)
    assert model.net.seen == 1797 == len(known) + len(asked)
    direct = model.features(sets.asked.images)
    assert torch.allclose(asked.values, direct, atol=1e-6) and torch.equal(asked.labels, sets.asked.labels)
    assert torch.allclose(asked.log_probs, model.log_probs(direct), atol=1e-5)
    assert asked.data == sets.asked.facts and asked.model == {"name": "tiny", **model.facts}


def some(count=100, seed=0):
    """Random images with labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels, names = torch.arange(count) % 3, ["a", "b", "c"]
    return LabeledSet(images, labels, names, torch.arange(count) * 2, "some", "all", f"{count}-{seed}")


def test_asking_again_computes_nothing_and_gives_the_very_numbers(tmp_path):
    model, images = tiny(), some()
    first = features_of(model, images, cache=tmp_path)
    again = features_of(tiny(), images, cache=tmp_path)
    assert model.net.seen == 100 and torch.equal(first.values, again.values) and again.notes == ()
    assert torch.equal(first.log_probs, again.log_probs) and again.model == first.model
    other = tiny(seed=1)
    assert not torch.equal(features_of(other, images, cache=tmp_path).values, first.values)
    assert other.net.seen == 100 and len(caches(tmp_path)) == 2
    assert not torch.equal(features_of(model, some(seed=1), cache=tmp_path).values, first.values)


def test_another_labeling_of_the_same_images_uses_the_same_features(tmp_path):
    model, images = tiny(), some()
    features_of(model, images, cache=tmp_path)
    renamed = images.relabeled(1 - images.labels.clamp(max=1), ["x", "y"])
    found = features_of(model, renamed, cache=tmp_path)
    assert model.net.seen == 100 and found.label_names == ["x", "y"] and torch.equal(found.labels, renamed.labels)


def test_features_are_mapped_and_writing_into_them_never_reaches_the_file(tmp_path):
    model, images = tiny(), some(400)
    found = features_of(model, images, cache=tmp_path)
    kept = found.values.clone()
    found.values.zero_()
    assert torch.equal(features_of(model, images, cache=tmp_path).values, kept)
    in_memory = features_of(model, images, cache=None)
    assert torch.allclose(in_memory.values, kept, atol=1e-6) and in_memory.model == {"name": "tiny", **model.facts}


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_features_depend_on_the_batch_by_rounding_only(batch):
    images = some(60)
    found, usual = features_of(tiny(), images, batch=batch), features_of(tiny(), images)
    assert torch.allclose(found.values, usual.values, atol=1e-6)
    assert torch.allclose(found.log_probs, usual.log_probs, atol=1e-5)
    assert torch.allclose(found.log_probs.exp().sum(1), torch.ones(60), atol=1e-5)


def test_a_batch_is_smaller_for_larger_views_and_has_bounds():
    cpu = torch.device("cpu")
    sizes = [batch_size((3, side, side), cpu) for side in (4, 32, 64, 224, 1000)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 1024 and sizes[-1] == 16


def test_one_block_of_features_is_in_memory_at_a_time(tmp_path):
    class Watched(nn.Module):
        def forward(self, views):
            alive.append(sum(block() is not None for block in blocks))
            features = torch.ones(len(views), 3)
            blocks.append(weakref.ref(features))
            return features

    blocks, alive = [], []
    model = make_model("watched", "file", Watched(), PlainView(ViewsConfig(size=8), 1), make={}, facts={})
    features_of(model, some(300), cache=tmp_path, batch=10)
    assert len(alive) > 30 and max(alive) <= 1


def test_a_model_without_classes_has_no_log_probs(tmp_path):
    found = features_of(tiny(classes=0), some(), cache=tmp_path)
    assert found.log_probs is None and found.take(torch.tensor([1, 5])).log_probs is None


def test_the_network_is_read_in_evaluation_mode_whatever_it_was_left_in():
    model, images = tiny(classes=0), some()
    model.net.layers.append(nn.Dropout(0.9))
    model.net.eval()
    expected = features_of(model, images).values
    for ask in (lambda: features_of(model, images).values, lambda: model.features(images.images)):
        model.net.train()
        assert torch.equal(ask(), expected)


def test_rows_are_found_by_sample_id_in_the_order_asked_for(tmp_path):
    found = features_of(tiny(), some(50), cache=tmp_path)
    rows = found.rows_of(np.array([8, 0, 98]))
    assert rows.tolist() == [4, 0, 49] and found.take(rows).sample_ids.tolist() == [8, 0, 98]
    assert found.take(torch.arange(10, 20)).values.data_ptr() == found.values[10:].data_ptr()
    for missing in ([3], [100], [-2]):
        with pytest.raises(ConfigError, match=f"the first with the id {missing[0]}, are not among"):
            found.rows_of(np.array([0, *missing]))


def test_progress_counts_every_image_and_an_interrupt_leaves_nothing(tmp_path):
    seen = []
    features_of(tiny(), some(), cache=tmp_path / "a", batch=40, on_progress=lambda *at: seen.append(at))
    assert seen == [(40, 100), (80, 100), (100, 100)]

    def stop(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features_of(tiny(), some(), cache=tmp_path / "b", batch=40, on_progress=stop)
    assert caches(tmp_path / "b") == [] and staging(tmp_path / "b") == []


def test_features_that_are_no_numbers_are_refused_by_name_and_count_and_not_kept(tmp_path):
    model = tiny()
    images = some()
    images.images[10:13] = 255
    model.net.broken = True
    with pytest.raises(ConfigError, match="tiny gives features that are no finite numbers for 3 of the 100 images"):
        features_of(model, images, cache=tmp_path)
    assert caches(tmp_path) == [] and staging(tmp_path) == []


@pytest.mark.parametrize("options", [{"batch": 0}, {"device": "tpu"}, {"device": "cuda:77"}])
def test_a_batch_or_device_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError):
        features_of(tiny(), some(), **options)


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def caches(folder):
    return (
        [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if folder.exists()
        else []
    )


def staging(folder):
    return [path for path in folder.glob(".*") if path.is_dir()] if folder.exists() else []


def damage(file, at=200):
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "manifest", "no manifest", "header", "stranger"])
def test_a_damaged_cache_is_found_and_computed_anew_with_a_note(tmp_path, harm):
    model, images = tiny(), some()
    kept = features_of(model, images, cache=tmp_path).values.clone()
    (folder,) = caches(tmp_path)
    file, manifest = folder / "features.npy", folder / "manifest.json"
    if harm == "flip":
        damage(file, at=file.stat().st_size - 5)
    elif harm == "header":
        damage(file, at=20)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif harm == "gone":
        file.unlink()
    elif harm == "no manifest":
        manifest.unlink()
    elif harm == "stranger":
        told = json.loads(manifest.read_text())
        told["files"]["../x.npy"] = told["files"]["features.npy"]
        manifest.write_text(json.dumps(told))
    else:
        manifest.write_text(manifest.read_text()[:-30])
    found = features_of(model, images, cache=tmp_path)
    assert torch.equal(found.values, kept) and model.net.seen == 200
    assert len(found.notes) == 1 and found.notes[0].startswith("The cached features of tiny were damaged")
    assert features_of(model, images, cache=tmp_path).notes == () and model.net.seen == 200
    assert len(caches(tmp_path)) == 1 and staging(tmp_path) == []


def test_of_two_that_ask_at_once_one_computes_and_both_get_the_same(tmp_path):
    model, images = tiny(), some(3000)
    started = threading.Barrier(2)
    found, waited = [None, None], []

    def ask(which):
        started.wait()
        found[which] = features_of(
            model, images, cache=tmp_path, batch=50, on_progress=lambda done, count: waited.append(done)
        )

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert model.net.seen == 3000 and torch.equal(found[0].values, found[1].values)
    assert len(caches(tmp_path)) == 1 and staging(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_kill_in_between_leaves_nothing_half_and_the_next_one_sweeps(tmp_path):
    model, images = tiny(), some()
    key = cache_key(model.identity, images.fingerprint)
    script = f"""
import os, signal, torch
from pathlib import Path
from twist.learn.evaluation.feature_cache import FeatureFolder
def blocks():
    yield {{"features": torch.ones(50, 4)}}
    os.kill(os.getpid(), signal.SIGKILL)
folder = FeatureFolder(Path({str(tmp_path)!r}) / {key!r})
with folder.alone():
    folder.write(blocks(), 100, dict)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert caches(tmp_path) == [] and len(staging(tmp_path)) == 1
    found = features_of(model, images, cache=tmp_path)
    assert found.notes == () and model.net.seen == 100
    assert [path.name for path in caches(tmp_path)] == [key] and staging(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(column, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_cache._Column, "append", full)
    with pytest.raises(ConfigError, match="the features of tiny cannot be kept in .* \\(No space left on device\\)"):
        features_of(tiny(), some(), cache=tmp_path)
    assert caches(tmp_path) == [] and staging(tmp_path) == []


def test_a_run_that_was_deleted_meanwhile_is_not_brought_back(tmp_path):
    with pytest.raises(ConfigError, match="cannot be kept in"):
        features_of(tiny(), some(), cache=cache_place(tmp_path / "gone"))
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_caches_is_the_run_or_beside_all_runs(runs):
    assert cache_place(runs / "mine") == runs / "mine" / "features"
    assert cache_place(None) == runs.parent / "features" and not cache_place(None).exists()


# ---------------------------------------------------------------------------------------------------------------------
# Of arrays


def test_features_from_a_file_are_parted_by_label_or_come_in_two_parts(tmp_path):
    values, labels = np.random.default_rng(0).normal(size=(100, 6)), np.arange(100) % 4
    np.savez(tmp_path / "mine.npz", features=values, labels=labels, label_names=["p", "q", "r", "s"])
    known, asked, how = features_from_file(tmp_path / "mine.npz")
    assert (len(known), len(asked)) == (80, 20) and torch.bincount(asked.labels).tolist() == [5] * 4
    assert how.startswith("mine has no test part: 20 of its 100 rows") and known.label_names == ["p", "q", "r", "s"]
    assert np.allclose(known.values, values[known.sample_ids.numpy()], atol=1e-6)
    assert known.data["fingerprint"] != asked.data["fingerprint"] and known.model["kind"] == "features"
    np.savez(tmp_path / "two.npz", features=values, labels=labels, test_features=values[:9] + 1, test_labels=labels[:9])
    known, asked, how = features_from_file(tmp_path / "two.npz")
    assert (len(known), len(asked), how) == (100, 9, "100 features of two known, 9 asked.")


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"labels": [0, 1]}, "has no array 'features'"),
        ({"features": np.ones((2, 3))}, "has no array 'labels'"),
        ({"features": np.ones(3), "labels": [0, 1, 1]}, "expected floating point"),
        ({"features": np.ones((3, 2), int), "labels": [0, 1, 1]}, "expected floating point"),
        ({"features": np.array([[1.0, np.nan], [1, 1]]), "labels": [0, 1]}, "not finite in 1 of 2 rows"),
        ({"features": np.ones((2, 3)), "labels": [0, 1, 1]}, "expected 2 whole numbers"),
        ({"features": np.ones((2, 3)), "labels": [-1, -1]}, "no row has a label"),
        ({"features": np.ones((2, 3)), "labels": [0, 1], "test_features": np.ones((1, 3))}, "give both, or none"),
        (
            {"features": np.ones((2, 3)), "labels": [0, 1], "test_features": np.ones((1, 4)), "test_labels": [0]},
            "must come from one model",
        ),
        ({"features": np.eye(3), "labels": [0, 1, 2]}, "can be held out"),
    ],
)
def test_a_file_that_holds_no_features_is_refused_with_the_fix(tmp_path, arrays, said):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ConfigError, match=said) as caught:
        features_from_file(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value) or "held out" in said


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        features_from_file(tmp_path / "bad.npz")


# ---------------------------------------------------------------------------------------------------------------------
# Of a run


def test_an_evaluation_a_labeler_and_the_explorer_share_the_features_of_a_run(runs, tiny):
    tiny["data.max_images"] = 300
    path = prepare("digits", name="mine", changes=tiny | {"record.watch_images": 100})
    assert attempt(path, 1)["reason"] == "completed"
    model, record = model_of_run(path), RunRecord(path)
    record.poll()
    sets, cache = evaluation_sets(record.recipe.data), cache_place(path)
    asked = features_of(model, sets.asked, cache=cache)
    seen = []
    whole = features_of(model, load_labeled(record.recipe.data), cache=cache, on_progress=lambda *at: seen.append(at))
    assert seen == [] and len(whole) == 300  # what the evaluation computed is there already
    assert torch.equal(whole.values[whole.rows_of(sets.asked.sample_ids)], asked.values)
    watched = whole.take(whole.rows_of(record.watch().sample_ids))
    snapshot = record.snapshot()
    assert np.allclose(watched.values, snapshot.features, rtol=2e-3, atol=2e-3)  # kept there with 16 bits
    assert watched.log_probs.argmax(1).tolist() == snapshot.assignment.tolist()
