"""The quick map tells what umap-learn's tells, is the same every time, and starts where it is told."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from twist.view import placing


def blobs(count=60, dim=6):
    rng = np.random.default_rng(0)
    return (4 * np.eye(3, dim)[np.arange(count) % 3] + 0.2 * rng.standard_normal((count, dim))).astype(np.float32)


@pytest.fixture
def no_umap(monkeypatch):
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (np.zeros((0, 4)), "there are 0"),
        (blobs(3), "there are 3"),
        (np.ones((20, 4)), "all features are alike"),
        (np.zeros((20, 0)), "all features are alike"),
    ],
)
def test_what_umap_cannot_lay_out_falls_back_to_pca_and_says_why(features, reason):
    made = placing.place(features)
    assert made.facts["method"] == "pca" and reason in made.facts["reason"]
    assert len(made.xy) == len(features) and np.isfinite(made.xy).all() and made.xy.dtype == np.float32
    assert np.isnan(made.trust).all() and (made.neighbors == -1).all()
    assert made.neighbors.shape == (len(features), max(0, min(15, len(features) - 1)))


def test_a_failure_of_umap_learn_falls_back_to_the_quick_map_and_names_it(monkeypatch):
    def fail(ground, start, tell):
        raise ValueError("no luck")

    monkeypatch.setattr(placing, "_umap", fail)
    made = placing.place(blobs())
    assert made.facts["by"] == "twist" and "ValueError: no luck" in made.facts["reason"]
    assert np.array_equal(made.xy, placing.preview(blobs()))


def test_rows_that_are_not_finite_have_no_place(no_umap):
    features = blobs()
    features[5, 0] = np.nan
    made = placing.place(features)
    assert np.isnan(made.xy[5]).all() and np.isfinite(np.delete(made.xy, 5, 0)).all()
    assert np.isnan(made.trust[5]) and (made.neighbors[5] == -1).all() and not (made.neighbors == 5).any()
    assert (made.facts["points"], made.facts["of"]) == (59, 60)


def test_a_large_set_is_thinned_evenly_and_says_so(no_umap, monkeypatch):
    monkeypatch.setattr(placing, "MAX_POINTS", 10)
    made = placing.place(blobs(100))
    rows = np.linspace(0, 99, 10, dtype=int)
    assert (made.facts["points"], made.facts["of"]) == (10, 100)
    assert np.flatnonzero(np.isfinite(made.xy).all(1)).tolist() == rows.tolist()
    assert set(made.neighbors[rows].ravel()) <= {-1, *rows} and made.neighbors.shape == (100, 15)


@pytest.mark.parametrize("count", [4, 5, 15, 16, 17])
def test_a_handful_of_points_has_a_map(count):
    xy = placing.preview(np.random.default_rng(0).standard_normal((count, 5)))
    assert np.isfinite(xy).all() and np.ptp(xy) > 1


def test_duplicates_and_constant_columns_do_no_harm():
    features = np.repeat(blobs(30), 8, axis=0)
    features[:, 4] = 3
    made = placing.quick(placing.ground_of(features))
    assert np.isfinite(made.xy).all() and np.abs(made.xy).max() < 100
    copies = made.xy.reshape(30, 8, 2)
    assert np.median(copies.std(1)) < 0.3 * made.xy.std()


def test_the_neighbors_are_the_nearest_images_without_the_image_itself():
    features = blobs(50)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -2)
    made = placing.quick(placing.ground_of(features))
    assert np.array_equal(made.neighbors, np.argsort(-likeness, axis=1, kind="stable")[:, :15])


def test_groups_stay_together_and_apart():
    xy, group = placing.preview(blobs(300)), np.arange(300) % 3
    centers = np.stack([xy[group == k].mean(0) for k in range(3)])
    inside = max(np.linalg.norm(xy[group == k] - centers[k], axis=1).mean() for k in range(3))
    assert np.linalg.norm(centers[:, None] - centers, axis=2)[np.triu_indices(3, 1)].min() > 3 * inside


def test_the_same_features_give_the_same_map():
    features = load_digits().data[:500]
    assert np.array_equal(placing.preview(features), placing.preview(features))


def test_a_started_map_stays_near_its_start_where_fresh_ones_do_not():
    rng = np.random.default_rng(0)
    features = load_digits().data[:800].astype(np.float32)
    later = (features * rng.uniform(0, 2, 64)).astype(np.float32)
    before, ground = placing.quick(placing.ground_of(features)), placing.ground_of(later)
    warm, fresh = placing.quick(ground, before.xy), placing.quick(ground)
    held = placing.quick(ground, before.xy, hold=0.5)

    def moved(made):
        return np.median(np.linalg.norm(placing.onto(made.xy, before.xy) - before.xy, axis=1))

    assert moved(held) < moved(warm) < 0.5 * moved(fresh)
    assert warm.trust.mean() > fresh.trust.mean() - 0.03


def test_images_without_a_start_begin_amid_their_neighbors():
    features = blobs(300)
    ground, start = placing.ground_of(features), placing.preview(features)
    start[::7] = np.nan
    xy, group = placing.quick(ground, start).xy, np.arange(300) % 3
    assert np.isfinite(xy).all()
    centers = np.stack([xy[group == k].mean(0) for k in range(3)])
    assert (np.linalg.norm(xy[:, None] - centers, axis=2).argmin(1) == group).all()


def test_nothing_flies_away():
    assert np.abs(placing.preview(blobs(90))).max() < 60


def test_maps_are_laid_over_one_another_by_turning_mirroring_and_scaling_alone():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((40, 2)) * [3, 1]
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])  # with a mirror
    moved = 2.5 * target @ turn + [4, -9]
    moved[3] = np.nan
    laid = placing.onto(moved, target)
    assert np.isnan(laid[3]).all()
    assert np.delete(laid, 3, 0) == pytest.approx(np.delete(target, 3, 0), abs=1e-5)


def test_an_unrelated_map_is_not_shrunk():
    rng = np.random.default_rng(0)
    ours, target = rng.standard_normal((500, 2)), rng.standard_normal((500, 2))
    assert placing.onto(ours, target).std() == pytest.approx(target.std(), rel=1e-3)


def test_the_progress_tells_every_stage_and_only_rises(no_umap):
    told = []
    placing.place(load_digits().data[:600], tell=lambda share, stage: told.append((share, stage)))
    shares = [share for share, _ in told]
    assert min(np.diff(shares)) > -1e-9 and shares[0] > 0 and shares[-1] <= 1
    assert list(dict.fromkeys(stage for _, stage in told)) == ["neighbors", "preview", "loading UMAP"]


@pytest.mark.slow
def test_the_quick_map_of_digits_is_as_trustworthy_as_that_of_umap_learn():
    from sklearn.manifold import trustworthiness

    features, told = load_digits().data, []
    quick = placing.preview(features)
    made = placing.place(features, tell=lambda share, stage: told.append(stage))
    assert made.facts["by"].startswith("umap-learn") and "map" in told
    scores = [trustworthiness(features, xy, n_neighbors=15, metric="cosine") for xy in (quick, made.xy)]
    assert scores[0] > scores[1] - 0.01
    assert np.median(np.linalg.norm(quick - made.xy, axis=1)) < 0.7 * quick.std()  # no new arrangement
