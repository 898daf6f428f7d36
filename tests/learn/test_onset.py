"""What grows near uniform: correlations of the views, and the consistency weight that balances the loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn.objective import twist_loss
from twist.learn.onset import _by_image, balance_weight, direction_correlations, views_correlation
from twist.runs.bounds import largest_weight


def pair(correlation: float, rows: int = 4000, width: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views whose rows correlate by so much, of independent directions."""
    generator = torch.Generator().manual_seed(seed)
    shared, own, others = torch.randn(3, rows, width, generator=generator, dtype=torch.float64)
    share = math.sqrt(correlation)
    noise = math.sqrt(1 - correlation)
    return share * shared + noise * own, share * shared + noise * others


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_the_correlation_that_was_drawn_is_found(correlation):
    first, other = pair(correlation)
    assert views_correlation(first, other).item() == pytest.approx(correlation, abs=0.03)
    assert direction_correlations(first, other) == pytest.approx(correlation, abs=0.08)


def test_the_best_direction_is_found_behind_any_invertible_map():
    first, other = pair(0.0)
    first[:, 0] = other[:, 0]
    mix = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 3 * torch.eye(8)
    found = direction_correlations(first @ mix, other @ mix)
    assert found[0] > 0.95 and found[1:].abs().max() < 0.15


def test_noise_does_not_look_alike_on_the_images_it_was_not_chosen_on():
    found = direction_correlations(*pair(0.0, rows=400, width=100))
    assert found.mean().abs() < 0.05  # on the images it was chosen on the greatest would be above 0.5


def test_several_pairs_of_an_image_stand_in_one_half():
    epoch_after_epoch = torch.arange(6).repeat(3).expand(2, 18)[..., None]
    halves = _by_image(epoch_after_epoch, 3)[0, :, 0].reshape(2, 9).tolist()
    assert not set(halves[0]) & set(halves[1])


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 5))
def test_neither_scale_nor_order_of_the_images_matters(scale, seed):
    first, other = pair(0.4, rows=64, seed=seed)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    expected = views_correlation(first, other)
    assert torch.isclose(views_correlation(scale * first[order], scale * other[order]), expected)
    assert -1 <= expected <= 1


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.8])
def test_small_logits_are_balanced_at_the_weight_of_their_correlation(correlation):
    views = torch.stack(pair(correlation, width=16))
    rows = views - views.mean(2, keepdim=True)
    expected = largest_weight(views_correlation(*rows).item())
    assert balance_weight(0.01 * views) == pytest.approx(expected, rel=0.02)
    assert balance_weight(views, temperature=100) == pytest.approx(expected, rel=0.02)


def test_the_balance_weight_is_where_the_loss_has_no_slope_along_the_scale():
    views = torch.stack(pair(0.5, rows=200))
    weight = balance_weight(views, temperature=0.5)
    around = [
        twist_loss(scale * views, temperature=0.5, consistency_weight=weight, eps=0).total.item()
        for scale in (0.999, 1.0, 1.001)
    ]
    assert abs(around[2] - around[0]) < 1e-4 * abs(around[1])
    assert balance_weight(views, temperature=0.5) < balance_weight(views, temperature=2)  # large logits are fined more


def test_equal_views_have_no_fine():
    views = pair(0.0, rows=50)[0]
    assert balance_weight([views, views]) == math.inf == largest_weight(1.0)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="3 images given: give four or more"):
        direction_correlations(torch.randn(3, 2), torch.randn(3, 2))
