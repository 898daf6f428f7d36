"""k-means on features, against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from twist.learn.evaluation.clusters import clusters
from twist.learn.evaluation.kmeans import KmeansSettings, fit_kmeans, kmeans
from twist.runs.config import ConfigError


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels).float(), torch.from_numpy(labels)


@pytest.mark.parametrize("normalized", [True, False])
def test_the_clusters_are_those_of_scikit_learn(digits, normalized):
    rows, labels = digits
    given = rows / rows.norm(dim=1, keepdim=True) if normalized else rows
    theirs = KMeans(10, n_init=3, random_state=5).fit(given.numpy())
    found = kmeans(rows, labels, settings=KmeansSettings(normalized, starts=3), seed=5)
    assert found.clusters.assignment.tolist() == theirs.labels_.tolist()
    np.testing.assert_allclose(found.clusters.centers, theirs.cluster_centers_, atol=1e-5)
    assert found.clusters.inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    assert found.scores() == clusters(found.clusters.assignment, labels, 10).scores()
    assert 0.6 < found.figures.matched_accuracy < 0.9 and found.notes == found.figures.notes


def test_a_seed_gives_the_same_clusters_and_another_seed_others(digits):
    settings = KmeansSettings(starts=1)
    first, again, other = (fit_kmeans(digits[0], 10, settings, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.assignment, again.assignment) and first.inertia == again.inertia
    assert not torch.equal(first.assignment, other.assignment)


def test_more_starts_are_never_worse(digits):
    one, more = (fit_kmeans(digits[0], 10, KmeansSettings(starts=starts)) for starts in (1, 5))
    assert more.inertia <= one.inertia


def test_normalized_features_have_no_length(digits):
    rows, labels = digits
    lengths = 2.0 ** (torch.arange(len(rows)) % 9 - 4)[:, None]  # powers of two: not even the last bit differs
    settings = KmeansSettings(starts=1)
    assert (
        kmeans(rows * lengths, labels, settings=settings).scores() == kmeans(rows, labels, settings=settings).scores()
    )


def test_labels_say_how_many_clusters_unless_it_is_said(digits):
    rows, labels = digits
    settings = KmeansSettings(starts=1)
    gaps = torch.where(labels < 4, labels * 1000, -1)
    found = kmeans(rows, gaps, settings=settings)
    assert found.figures.num_classes == found.figures.num_labels == 4
    assert len(found.clusters.assignment) == len(rows) and found.figures.asked == int((gaps >= 0).sum())
    assert kmeans(rows, labels, 20, settings).figures.num_classes == 20


def test_equal_features_are_one_cluster_and_no_error():
    found = kmeans(torch.ones(20, 3), torch.arange(20) % 4)
    assert found.figures.used_classes == 1 and found.figures.matched_accuracy == 0.25 and found.figures.nmi == 0


def test_bad_input_is_named(digits):
    rows, labels = digits
    with pytest.raises(ConfigError, match="num_clusters is 6: give 1 to 5"):
        kmeans(rows[:5], labels[:5], 6)
    with pytest.raises(ConfigError, match="1797 asked features have 1796 labels"):
        kmeans(rows, labels[1:])
    with pytest.raises(ConfigError, match="no asked image has a label"):
        kmeans(rows, labels * 0 - 1)
    with pytest.raises(ConfigError, match="starts is 0"):
        KmeansSettings(starts=0)
    spoiled = rows.clone()
    spoiled[4, 2] = math.nan
    with pytest.raises(ConfigError, match="asked features are not finite .first in row 4"):
        kmeans(spoiled, labels)
