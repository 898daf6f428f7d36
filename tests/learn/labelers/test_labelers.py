"""Labelers: what each finds, on what, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn.labelers.head import HeadSettings, label_by_head
from twist.learn.labelers.kmeans import KMeansSettings, label_by_kmeans
from twist.learn.labelers.labeling import Labeling, check_task, normalized
from twist.learn.labelers.spaces import neighbors_of, principal_space
from twist.learn.labelers.turtle import TurtleSettings, label_by_turtle
from twist.runs.clustering import cluster_scores
from twist.runs.config import ConfigError


def kmeans(features, count=3, seed=0) -> Labeling:
    return label_by_kmeans(features, KMeansSettings(num_classes=count, seed=seed))


def turtle(features, count=3, seed=0) -> Labeling:
    return label_by_turtle(features, TurtleSettings(num_classes=count, seed=seed, outer_steps=60))


def head(features, count=3, seed=0) -> Labeling:
    return label_by_head(features, HeadSettings(num_classes=count, seed=seed, steps=60, batch_size=128, hidden_dim=32))


LABELERS = [kmeans, turtle, head]


def blobs(per_class: int = 40, classes: int = 3, width: int = 12, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Round heaps far apart, equally large."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centers = 6 * torch.eye(width)[:classes]
    return centers[labels] + torch.randn(len(labels), width, generator=generator), labels.numpy()


@pytest.mark.parametrize("labeler", LABELERS)
def test_heaps_far_apart_are_found(labeler):
    features, labels = blobs()
    found = labeler(features)
    assert cluster_scores(found.assignment.numpy(), labels, 3).matched_accuracy > 0.97
    assert found.classes_in_use == 3


@pytest.mark.parametrize("labeler", LABELERS)
def test_rows_are_finite_distributions(labeler):
    found = labeler(blobs()[0] * 1e4)
    assert found.log_probs.isfinite().all()
    torch.testing.assert_close(found.log_probs.exp().sum(1), torch.ones(len(found)))


@pytest.mark.parametrize("labeler", LABELERS)
def test_the_same_seed_gives_the_same_classes_and_leaves_the_global_generator_alone(labeler):
    features, _ = blobs(seed=1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = labeler(features, seed=2), labeler(features, seed=2)
    assert torch.equal(first.log_probs, second.log_probs)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("labeler", [turtle, head])
def test_another_seed_gives_other_distributions(labeler):
    features, _ = blobs(seed=1)
    assert not torch.equal(labeler(features, seed=2).log_probs, labeler(features, seed=3).log_probs)


@pytest.mark.parametrize("labeler", LABELERS)
def test_copies_of_an_image_get_one_distribution(labeler):
    features, _ = blobs(per_class=20)
    found = labeler(features.repeat(2, 1))
    torch.testing.assert_close(found.log_probs[:60].exp(), found.log_probs[60:].exp(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("labeler", LABELERS)
def test_fewer_different_images_than_classes_leave_classes_empty(labeler):
    features = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(6, 1)
    found = labeler(features, 5)
    assert found.log_probs.shape == (12, 5)
    assert found.log_probs.isfinite().all() and found.classes_in_use <= 2


@pytest.mark.parametrize("labeler", LABELERS)
def test_as_many_classes_as_images_are_allowed(labeler):
    found = labeler(torch.eye(4), 4)
    assert found.log_probs.shape == (4, 4) and found.log_probs.isfinite().all()


@pytest.mark.parametrize("labeler", LABELERS)
@pytest.mark.parametrize(
    ("features", "count", "words"),
    [
        (torch.eye(3), 4, "num_classes is 4 for 3 images"),
        (torch.eye(3), 1, "num_classes is 1 for 3 images"),
        (torch.ones(1, 4), 2, "1 image has features"),
        (torch.tensor([[0.0, float("nan")], [1.0, 2.0], [1.0, float("inf")]]), 2, "features of 2 of 3 images are not"),
        (torch.ones(5, 3), 2, "all 5 images have the same features"),
    ],
    ids=["too many classes", "one class", "one image", "not finite", "all alike"],
)
def test_what_cannot_be_told_apart_is_refused_in_words(labeler, features, count, words):
    with pytest.raises(ConfigError, match=words):
        labeler(features, count)


def test_kmeans_is_as_tight_as_scikit_learns_on_the_features_themselves():
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    pixels = load_digits().data[:600].astype(np.float32)
    found = kmeans(torch.from_numpy(pixels), 10).assignment.numpy()
    expected = KMeans(10, n_init=10, random_state=0).fit(pixels).inertia_
    centers = np.stack([pixels[found == each].mean(0) for each in range(10)])
    assert ((pixels - centers[found]) ** 2).sum() <= 1.02 * expected


def test_turtle_takes_several_spaces_of_the_same_images():
    (first, labels), (second, _) = blobs(width=6), blobs(width=9, seed=1)
    found = turtle([first, second])
    assert cluster_scores(found.assignment.numpy(), labels, 3).matched_accuracy > 0.97
    assert len(found.facts["spread_kept"]) == 2


def test_turtle_keeps_the_classes_even_by_gamma_alone():
    features, _ = blobs()
    even = label_by_turtle(features, TurtleSettings(num_classes=3, outer_steps=60))
    alone = label_by_turtle(features, TurtleSettings(num_classes=3, outer_steps=60, gamma=0.0))
    assert even.facts["marginal_entropy"] > 0.99 * np.log(3) > alone.facts["marginal_entropy"]


def test_turtle_refuses_spaces_of_other_images_and_settings_that_are_none():
    with pytest.raises(ConfigError, match=r"\[3, 4\] rows"):
        label_by_turtle([torch.eye(3), torch.eye(4)], TurtleSettings(num_classes=2))
    with pytest.raises(ConfigError, match="no feature space"):
        label_by_turtle([], TurtleSettings(num_classes=2))
    with pytest.raises(ConfigError, match="gamma is -1"):
        label_by_turtle(torch.eye(3), TurtleSettings(num_classes=2, gamma=-1.0))


def test_a_search_can_be_ended_from_its_progress():
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for labeler in (
        lambda: label_by_turtle(torch.eye(9), TurtleSettings(num_classes=2), on_progress=stop),
        lambda: label_by_head(torch.eye(9), HeadSettings(num_classes=2), on_progress=stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            labeler()


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 30), st.integers(1, 12), st.floats(1e-3, 1e18), st.integers(0, 2**20))
def test_the_space_keeps_distances_up_to_one_scale(count, width, scale, seed):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    space = principal_space(rows * scale)
    assert space.kept == pytest.approx(1.0, abs=1e-4)
    assert space.rows.norm(dim=1).mean().item() == pytest.approx(1.0, rel=1e-4)
    wanted, found = torch.cdist(rows, rows), torch.cdist(space.rows, space.rows)
    torch.testing.assert_close(found * (wanted.max() / found.max()), wanted, atol=2e-2, rtol=1e-2)


def test_a_sketch_of_wide_features_finds_their_directions():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 5, generator=generator) @ torch.randn(5, 1200, generator=generator)
    space = principal_space(rows, dimensions=5)
    assert space.kept == pytest.approx(1.0, abs=1e-3)


def test_neighbors_are_those_of_scikit_learn_and_never_the_image_itself():
    from sklearn.neighbors import NearestNeighbors

    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = neighbors_of(rows, 4)
    expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(rows).kneighbors(rows, return_distance=False)[:, 1:]
    assert np.array_equal(found.numpy(), expected)
    copies = neighbors_of(torch.ones(6, 2), 3)
    assert not (copies == torch.arange(6)[:, None]).any()


def test_neighbors_of_many_rows_are_those_among_evenly_spread_ones(monkeypatch):
    monkeypatch.setattr("twist.learn.labelers.spaces.MOST_CANDIDATES", 20)
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = neighbors_of(rows, 2)
    unit = torch.nn.functional.normalize(rows, dim=1)
    similar = unit @ unit[::3].T
    similar[torch.arange(0, 50, 3), torch.arange(17)] = -torch.inf
    assert torch.equal(found, similar.argsort(dim=1, descending=True)[:, :2] * 3)


def test_probabilities_of_nothing_stay_finite():
    logits = torch.tensor([[0.0, -1e30], [-1e30, 0.0]])
    assert normalized(logits).isfinite().all()
    check_task(torch.eye(2), 2)
