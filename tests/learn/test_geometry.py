"""Numbers of features against decompositions and distances computed another way."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from twist.learn import geometry


@pytest.fixture(autouse=True, scope="module")
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_effective_rank_is_that_of_the_singular_values(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(0.6 ** torch.arange(shape[1]))
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    share = singular / singular.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert geometry.effective_rank(x).item() == pytest.approx(expected, rel=1e-5)


def test_effective_rank_of_one_direction_is_one_in_many_dimensions():
    one_direction = torch.outer(torch.randn(500), torch.randn(300))
    assert geometry.effective_rank(one_direction).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_effective_rank_does_not_depend_on_scale(scale):
    assert geometry.effective_rank(scale * torch.eye(5)).item() == pytest.approx(5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_effective_rank_of_non_finite_features_is_nan_and_no_error(value):
    features = torch.eye(5)
    features[2, 2] = value
    assert geometry.effective_rank(features).isnan()


def test_the_spectrum_is_that_of_the_singular_values():
    x = torch.randn(30, 12) @ torch.diag(0.6 ** torch.arange(12))
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(geometry.spectrum(x), singular / singular.sum(), rtol=1e-4, atol=1e-7)


def on_the_sphere(x):
    wide = x.double().numpy()
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def test_uniformity_is_the_log_mean_over_all_pairs():
    x = torch.randn(40, 6)
    expected = np.log(np.exp(-2 * pdist(on_the_sphere(x), "sqeuclidean")).mean())
    assert geometry.uniformity(x).item() == pytest.approx(expected, rel=1e-5)


def test_uniformity_of_right_angles_is_minus_four():
    assert geometry.uniformity(7 * torch.eye(9)).item() == pytest.approx(-4)


def test_alignment_is_the_mean_squared_distance_of_unit_rows():
    x, other = torch.randn(2, 40, 6)
    expected = np.square(on_the_sphere(x) - on_the_sphere(other)).sum(1).mean()
    assert geometry.alignment(x, other).item() == pytest.approx(expected, rel=1e-5)


def test_dead_units_are_those_that_never_change():
    x = torch.randn(40, 8).relu()
    x[:, 2], x[:, 5] = 0, -3.25
    assert geometry.dead_units(x).item() == 2 / 8
