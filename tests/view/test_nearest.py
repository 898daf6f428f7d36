"""Neighbors are exact, and UMAP's graph is umap-learn's."""

import numpy as np
import pytest

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


def test_a_row_of_zeros_is_as_far_from_everyone():
    features = np.eye(6, 4, dtype=np.float32)  # the last two rows are zeros
    indices, distances = cosine_neighbors(features, 4)
    assert indices[5, 0] == 5 and np.allclose(distances[5, 1:], 1)


@pytest.mark.slow
@pytest.mark.parametrize("duplicates", [0, 25])
def test_the_graph_is_that_of_umap_learn(duplicates):
    from umap.umap_ import fuzzy_simplicial_set

    features = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    features[:duplicates] = features[0]
    indices, distances = cosine_neighbors(features, 15)
    theirs, _, _ = fuzzy_simplicial_set(
        features, 15, np.random.RandomState(0), "cosine", knn_indices=indices, knn_dists=distances
    )
    ours = fuzzy_graph(indices, distances)
    assert np.abs((ours - theirs).toarray()).max() < 1e-3
