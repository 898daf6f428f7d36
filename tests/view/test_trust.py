"""Trust is the share of true neighbors among those on the map."""

import numpy as np
import pytest

from twist.view.nearest import cosine_neighbors
from twist.view.trust import trust_of


def brute_force(neighbors, places):
    trust = np.full(len(places), np.nan)
    placed = [i for i in range(len(places)) if np.isfinite(places[i]).all()]
    for i in placed:
        near = [j for j in neighbors[i] if j >= 0]
        others = sorted((j for j in placed if j != i), key=lambda j: ((places[i] - places[j]) ** 2).sum())
        trust[i] = len(set(near) & set(others[: neighbors.shape[1]])) / len(near) if near else np.nan
    return trust


def test_trust_is_what_counting_gives():
    rng = np.random.default_rng(0)
    features, places = rng.standard_normal((120, 4)).astype(np.float32), rng.standard_normal((120, 2))
    places[:40] = features[:40, :2]
    neighbors = cosine_neighbors(features, 9)[0][:, 1:]
    trust = trust_of(neighbors, places)
    assert trust.dtype == np.float32
    assert trust == pytest.approx(brute_force(neighbors, places), abs=1e-6)


def test_images_without_a_place_have_no_trust_and_spoil_no_other():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((50, 2))
    places[[3, 17]] = np.nan
    kept = np.delete(np.arange(50), [3, 17])
    neighbors = np.full((50, 6), -1, np.int32)
    neighbors[kept] = kept[cosine_neighbors(rng.standard_normal((48, 3)).astype(np.float32), 7)[0][:, 1:]]
    trust = trust_of(neighbors, places)
    assert np.flatnonzero(np.isnan(trust)).tolist() == [3, 17]
    assert trust == pytest.approx(brute_force(neighbors, places), abs=1e-6, nan_ok=True)


def test_a_map_of_the_plane_itself_is_fully_trusted_and_a_shuffled_one_is_not():
    angles = np.random.default_rng(0).uniform(0, 1.5, 400)
    plane = np.stack([np.cos(angles), np.sin(angles)], 1)  # cosine neighbors are neighbors on the circle
    neighbors = cosine_neighbors(plane.astype(np.float32), 11)[0][:, 1:]
    assert np.mean(trust_of(neighbors, plane)) > 0.99
    assert np.mean(trust_of(neighbors, np.random.default_rng(1).permutation(plane))) == pytest.approx(
        10 / 399, abs=0.02
    )


def test_many_points_on_one_spot_do_not_count_themselves():
    neighbors = np.array([[(i + 1) % 30, (i + 2) % 30] for i in range(30)], np.int32)
    trust = trust_of(neighbors, np.zeros((30, 2)))
    assert np.isfinite(trust).all() and trust.min() >= 0 and trust.max() <= 1


@pytest.mark.parametrize("total", [0, 1])
def test_fewer_than_two_points_have_no_neighbors(total):
    assert np.isnan(trust_of(np.zeros((total, 0), np.int32), np.zeros((total, 2)))).all()
