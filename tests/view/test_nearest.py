"""Neighbors are exact, and UMAP's graph is umap-learn's."""

import warnings

import numpy as np
import pytest

from twist.view import nearest
from twist.view.nearest import cosine_neighbors, fuzzy_graph


@pytest.mark.parametrize("total", [40, 1200, 1700])
def test_neighbors_are_the_exact_cosine_neighbors(total):
    from sklearn.neighbors import NearestNeighbors

    features = np.random.default_rng(0).standard_normal((total, 9)).astype(np.float32)
    indices, distances = cosine_neighbors(features, 16)
    expected = NearestNeighbors(n_neighbors=16, metric="cosine", algorithm="brute").fit(features).kneighbors(features)
    assert np.allclose(distances, expected[0], atol=1e-5)
    assert (indices == expected[1]).mean() > 0.999
    assert (indices[:, 0] == np.arange(total)).all()


def test_features_of_a_narrow_cone_have_exact_neighbors_too():
    features = (50 + np.random.default_rng(0).standard_normal((900, 8))).astype(np.float32)
    unit = features.astype(float) / np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    true = np.sort(((unit[:, None] - unit) ** 2).sum(2), 1)[:, 7]
    found = ((unit[:, None] - unit[cosine_neighbors(features, 8)[0]]) ** 2).sum(2).max(1)
    assert np.quantile(found / true, 0.99) < 1.05  # as far as float32 tells them apart


@pytest.mark.parametrize("total", [5, 700])
def test_duplicates_keep_themselves_as_first_neighbor(total):
    indices, distances = cosine_neighbors(np.ones((total, 3), np.float32), 3)
    assert (indices[:, 0] == np.arange(total)).all() and (distances < 1e-6).all()
    assert all(len(set(row)) == 3 for row in indices.tolist())


@pytest.mark.parametrize("spread", [0.05, 1.0])
def test_both_ways_of_searching_find_the_same(spread):
    rng = np.random.default_rng(0)
    features = 1 + spread * rng.standard_normal((1500, 12))
    unit = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    plain, bounded = (way(unit, 9, lambda share: None) for way in (nearest._selected, nearest._bounded))
    assert bounded[1] == pytest.approx(plain[1], abs=1e-6)
    assert (bounded[0] == plain[0]).mean() > (0.99 if spread == 1.0 else 0.5)


def test_where_all_are_as_near_nothing_can_be_left_out():
    assert nearest._bounded(np.ones((4000, 2), np.float32) / np.float32(2**0.5), 9, lambda share: None) is None
    assert (cosine_neighbors(np.ones((4000, 2), np.float32), 9)[1] < 1e-6).all()


def test_the_share_done_rises_to_one():
    told = []
    cosine_neighbors(np.random.default_rng(0).standard_normal((2100, 4)).astype(np.float32), 5, told.append)
    assert told == sorted(told) and told[-1] == 1 and len(told) == 5


def test_a_row_of_zeros_is_as_far_from_everyone():
    features = np.eye(6, 4, dtype=np.float32)  # the last two rows are zeros
    indices, distances = cosine_neighbors(features, 4)
    assert indices[5, 0] == 5 and np.allclose(distances[5, 1:], 1)


def test_the_graph_leaves_the_neighbors_as_they_were():
    indices, distances = cosine_neighbors(np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32), 6)
    before = indices.copy(), distances.copy()
    fuzzy_graph(indices, distances)
    assert np.array_equal(indices, before[0]) and np.array_equal(distances, before[1])


@pytest.mark.slow
@pytest.mark.parametrize("duplicates", [0, 25])
def test_the_graph_is_that_of_umap_learn(duplicates):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on packages that it can do without
        from umap.umap_ import fuzzy_simplicial_set

    features = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    features[:duplicates] = features[0]
    indices, distances = cosine_neighbors(features, 15)
    theirs, _, _ = fuzzy_simplicial_set(
        features, 15, np.random.RandomState(0), "cosine", knn_indices=indices, knn_dists=distances
    )
    ours = fuzzy_graph(indices, distances)
    assert np.abs((ours - theirs).toarray()).max() < 1e-3
