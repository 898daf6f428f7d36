"""Snapshots: what they hold, what they leave alone, whom they watch and how labels are asked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from twist.learn import datasets, snapshots
from twist.learn.networks import build_network
from twist.runs.config import with_fields
from twist.runs.folders import create_run
from twist.runs.recipes import recipe
from twist.runs.record import RunWriter
from twist.runs.store import step_folder


@pytest.fixture
def subject(tiny):
    """A recipe, its images and an untrained network."""
    chosen = with_fields(recipe("digits"), tiny)
    images = datasets.load(chosen.data)
    return chosen, images, build_network(chosen.network, 1, seed=0).train()


def test_a_snapshot_leaves_the_network_as_it_was(subject):
    chosen, images, network = subject
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = snapshots.take(network, images.images, chosen)
    second = snapshots.take(network, images.images, chosen)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(np.array_equal(first[0][name], second[0][name]) for name in first[0])
    assert np.allclose(first[0]["sample_entropy"].mean(), first[1]["watch/conditional_entropy"], atol=1e-5)


def test_a_snapshot_knows_labels_and_agreement_only_where_they_are_given(subject):
    chosen, images, network = subject
    columns, summary = snapshots.take(network, images.images, chosen)
    assert "agreement" not in columns
    assert not {"watch/agreement", "watch/knn_accuracy", "watch/linear_accuracy"} & set(summary)
    agreement = np.float32([1, 0, np.nan, np.nan] * 50)
    columns, summary = snapshots.take(network, images.images, chosen, labels=images.labels, agreement=agreement)
    assert summary["watch/agreement"] == 0.5
    assert 0 <= summary["watch/knn_accuracy"] <= 1 and 0 <= summary["watch/linear_accuracy"] <= 1
    assert columns["feature_spectrum"].shape == (64,) and columns["feature_spectrum"].sum() <= 1 + 1e-5


def test_a_watch_image_of_256_features_takes_at_most_600_bytes(tmp_path, tiny):
    chosen = with_fields(recipe("digits"), {**tiny, "network.widths": (16,), "network.pool_side": 4})
    network = build_network(chosen.network, 1, seed=0)
    images = datasets.load(recipe("digits").data).images
    columns, summary = snapshots.take(network, images, chosen, agreement=np.zeros(len(images), np.float32))
    assert columns["features"].shape == (len(images), 256)
    path = create_run(chosen, root=tmp_path)
    RunWriter(path, 1).snapshot(0, 0.0, columns, summary)
    files = (path / "snapshots" / step_folder(0)).iterdir()
    assert sum(file.stat().st_size for file in files) <= 600 * len(images)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8), share=st.floats(0.01, 1), seed=st.integers(0, 100))
def test_watch_images_are_spread_evenly_over_the_labels(sizes, share, seed):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) - 1  # -1 is unknown
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    limit = max(1, int(share * len(labels)))
    chosen = snapshots.watch_indices(len(labels), limit, labels)
    assert len(chosen.unique()) == min(limit, len(labels)) and chosen.diff().gt(0).all()
    for label, size in enumerate(sizes, -1):
        fair = limit * size / max(1, len(labels))
        assert abs((labels[chosen] == label).sum().item() - fair) <= 2


def test_a_small_set_is_watched_whole():
    assert snapshots.watch_indices(30, 50, None).tolist() == list(range(30))


def test_pixels_of_digits_tell_their_labels_to_neighbors_and_to_a_plane():
    features, labels = load_digits(return_X_y=True)
    found = snapshots.probe(torch.tensor(features).float(), torch.tensor(labels))
    assert found["knn_accuracy"] > 0.93 and 0.85 < found["linear_accuracy"] < 0.98


def test_unknown_labels_are_left_out_of_the_probe():
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2
    features[:, 0] += 200 * labels - 100
    labels[::4] = -1
    assert snapshots.probe(features, labels) == {"knn_accuracy": 1.0, "linear_accuracy": 1.0}
    assert snapshots.probe(features, torch.full((40,), -1)) == {}
    assert snapshots.probe(features[:2], torch.tensor([0, -1])) == {}


def test_labels_that_alternate_reach_both_halves_of_the_probe():
    labels = torch.arange(200) % 10
    features = torch.eye(10)[labels] + 0.01 * torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    assert snapshots.probe(features, labels)["knn_accuracy"] == 1
