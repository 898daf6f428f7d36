"""Two views of one image: the same as in training, asked as a snapshot asks, and what each augmentation does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from twist.learn import datasets, information, snapshots
from twist.learn.networks import build_network
from twist.learn.two_views import Subject, pair_of_views, sensitivity
from twist.learn.views import make_views, plain_view
from twist.runs.augmentations import in_use, still
from twist.runs.config import ConfigError, with_fields
from twist.runs.recipes import recipe


@pytest.fixture(scope="module")
def digits():
    return datasets.load(recipe("digits").data)


def subject_of(tiny, name="digits", channels=1, **changes) -> Subject:
    chosen = with_fields(recipe(name), {**tiny, **changes})
    network = build_network(chosen.network, channels, seed=0)
    with torch.no_grad():  # an untrained network answers much the same to everything
        for head in (network.projection_heads,):
            head.last_linear.weight *= 30
    return Subject(network.eval(), chosen)


def test_the_plain_image_gets_the_numbers_of_a_snapshot(tiny, digits):
    subject = subject_of(tiny)
    columns, _ = snapshots.take(subject.network, digits.images[:50], subject.recipe)
    for row in range(0, 50, 7):
        pair = pair_of_views(subject, digits.images[row : row + 1], row, subject.recipe.views, draw=0)
        assert int(pair.log_probs[0].argmax()) == columns["assignment"][row]
        assert pair.log_probs[0].exp().max().item() == pytest.approx(columns["confidence"][row], abs=1e-5)
        entropy = information.sample_entropy(pair.log_probs)[0].item()
        assert entropy == pytest.approx(columns["sample_entropy"][row], abs=1e-5)


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_draw_of_the_recipe_shows_what_training_saw_in_that_epoch(tiny, digits, epoch):
    subject = subject_of(tiny, **{"seed": 5})
    views = subject.recipe.views
    pair = pair_of_views(subject, digits.images[8:9], 8, views, draw=epoch)
    trained = make_views(digits.images[:20], torch.arange(20), views, seed=5, epoch=epoch)
    for made, seen in zip(pair.pixels[1:], trained[:2], strict=True):
        shown = (seen[8] * views.std[0] + views.mean[0]).clamp(0, 1) * 255
        assert (made.float() - shown).abs().max() <= 0.51


def test_without_augmentation_both_views_are_the_plain_image(tiny, digits):
    subject = subject_of(tiny)
    pair = pair_of_views(subject, digits.images[8:9], 8, still(subject.recipe.views), draw=4)
    torch.testing.assert_close(pair.log_probs, pair.log_probs[:1].expand(3, -1), atol=1e-5, rtol=0)
    assert (pair.pixels == pair.pixels[:1]).all()
    assert pair.forward == pytest.approx(0, abs=1e-5) and pair.consistency == pytest.approx(0, abs=1e-5)


def test_the_first_view_can_be_the_plain_image(tiny, digits):
    subject = subject_of(tiny)
    pair = pair_of_views(subject, digits.images[8:9], 8, subject.recipe.views, draw=0, first_plain=True)
    assert torch.equal(pair.pixels[0], pair.pixels[1]) and not torch.equal(pair.pixels[0], pair.pixels[2])
    assert pair.drawn[0] == {} and "rotation" in pair.drawn[1]


def test_divergences_are_those_of_the_distributions(tiny, digits):
    subject = subject_of(tiny, **{"objective.eps": 0})
    pair = pair_of_views(subject, digits.images[3:4], 3, subject.recipe.views, draw=1)
    p, q = pair.log_probs[1:].double().exp().numpy()
    forward, backward = (p * np.log(p / q)).sum(), (q * np.log(q / p)).sum()
    assert pair.forward == pytest.approx(forward, rel=1e-3, abs=1e-5)
    assert pair.backward == pytest.approx(backward, rel=1e-3, abs=1e-5)
    loss = snapshots_consistency(pair.log_probs[1:2], pair.log_probs[2:3])
    assert pair.consistency == pytest.approx(loss, rel=1e-4, abs=1e-6)


def snapshots_consistency(first, second):
    from twist.learn.objective import twist_loss

    return twist_loss([first, second], eps=0).consistency.item()


def test_the_outline_of_a_crop_is_the_crop(tiny):
    subject = subject_of(tiny, **{"views.rotation_degrees": 0, "views.shift": 0, "views.zoom": "1,1"})
    views = dataclasses.replace(
        still(subject.recipe.views), crop_scale=(0.2, 0.4), crop_ratio=(0.5, 2.0), flip_probability=1.0
    )
    image = torch.randint(0, 256, (1, 1, 24, 30), dtype=torch.uint8)
    pair = pair_of_views(subject, image, 0, views, draw=2)
    for drawn, corners in zip(pair.drawn, pair.corners, strict=True):
        left, top = drawn["left"], drawn["top"]
        right, bottom = left + drawn["width"], top + drawn["height"]
        expected = [[right, top], [left, top], [left, bottom], [right, bottom]]  # flipped
        np.testing.assert_allclose(corners.numpy(), expected, atol=1e-3)


def test_what_an_outline_encloses_is_what_the_view_shows(tiny):
    subject = subject_of(tiny, **{"views.size": 32})
    views = dataclasses.replace(still(subject.recipe.views), zoom=(2.0, 2.0), rotation_degrees=0.0)
    rows = torch.arange(32, dtype=torch.uint8) * 7
    image = (rows[:, None] // 2 + rows[None] // 2)[None, None]
    pair = pair_of_views(subject, image, 0, views, draw=0)
    np.testing.assert_allclose(pair.corners[0].numpy(), [[8, 8], [24, 8], [24, 24], [8, 24]], atol=1e-3)
    inside = image[0, 0, 8:24, 8:24].float()
    assert pair.pixels[1, 0].float().mean() == pytest.approx(inside.mean().item(), abs=2)


def test_an_augmentation_that_changes_nothing_never_changes_the_class(tiny, digits):
    subject = subject_of(tiny)
    views = dataclasses.replace(subject.recipe.views, rotation_degrees=0.0)
    found = sensitivity(subject, digits.images[:1], views, "rotation", draws=20)
    assert (found.draws, found.stays, len(found.classes)) == (20, 20, 1)
    assert found.divergence == pytest.approx(0, abs=1e-5)


def test_sensitivity_counts_every_draw_once_and_grows_with_the_strength(tiny, digits):
    subject = subject_of(tiny)
    divergences = []
    for degrees in (5, 45, 180):
        views = dataclasses.replace(subject.recipe.views, rotation_degrees=float(degrees))
        found = sensitivity(subject, digits.images[:1], views, "rotation", draws=200)
        assert found.stays <= found.draws == 200 and sum(n for _, n in found.classes) <= 200
        divergences.append(found.divergence)
    assert divergences == sorted(divergences) and divergences[0] > 0


def test_what_is_the_same_in_every_draw_is_made_once(tiny):
    subject = subject_of(tiny, "images", 3, **{"views.size": 16})
    image = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    for name in in_use(subject.recipe.views):
        found = sensitivity(subject, image, subject.recipe.views, name, draws=8)
        assert found.draws == (1 if name in ("flip", "gray", "solarize") else 8)
        assert math.isfinite(found.divergence)


def test_a_persons_own_augmentation_takes_part_and_its_error_is_told(tiny, digits):
    subject = subject_of(tiny)._replace(extra=lambda view, ids, seed, epoch, number: -view)
    views = still(subject.recipe.views)
    pair = pair_of_views(subject, digits.images[:1], 0, views, draw=0)
    assert not torch.equal(pair.pixels[0], pair.pixels[1])
    broken = subject._replace(extra=lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match="views.extra failed with ZeroDivisionError"):
        pair_of_views(broken, digits.images[:1], 0, views, draw=0)


def test_pixels_are_shown_as_the_plain_view_has_them(tiny, digits):
    subject = subject_of(tiny)
    views = subject.recipe.views
    pair = pair_of_views(subject, digits.images[:1], 0, views, draw=0)
    expected = plain_view(digits.images[:1], views) * views.std[0] + views.mean[0]
    assert (pair.pixels[0].float() - 255 * expected[0].clamp(0, 1)).abs().max() <= 0.51
