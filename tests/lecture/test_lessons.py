"""What the lessons state, held against the code."""

from __future__ import annotations

import re

import numpy as np
import pytest

from twist.lecture.exploring import REAL, four_maps, noise, small_map, spread, tight_and_wide
from twist.lecture.norm_before_softmax import first_batch
from twist.lecture.per_sample_entropy import PLANTED, planted_digits
from twist.lecture.pictures import image_strip, middle, small_maps
from twist.lecture.three_terms import entropies
from twist.view.trust import trust_of


def test_entropies_by_hand_are_those_of_the_information_module():
    import torch

    from twist.learn.information import conditional_entropy, marginal_entropy

    probs = np.random.default_rng(0).dirichlet(np.ones(5), size=7)
    logs = torch.tensor(probs).log()
    assert entropies(probs) == pytest.approx((conditional_entropy(logs).item(), marginal_entropy(logs).item()))
    with pytest.raises(ValueError, match="distribution"):
        entropies([[0.5, 0.6]])


def test_the_norm_opens_the_start_as_the_lesson_says():
    normed, bare = (first_batch(final_norm) for final_norm in ("batch", "none"))
    assert normed["information"] == pytest.approx(0.37, abs=0.03) and bare["information"] == pytest.approx(
        0.05, abs=0.02
    )
    assert 4 < normed["pull"] / bare["pull"] < 8
    assert normed["consistency"] > 5 * bare["consistency"]


def test_the_planted_digits_are_what_they_are_said_to_be():
    from sklearn.datasets import load_digits

    digits, planted = load_digits(), planted_digits()
    changed = np.concatenate([planted.mislabeled, planted.torn, planted.noise])
    assert len(np.unique(changed)) == 3 * PLANTED
    assert np.flatnonzero(planted.labels != digits.target).tolist() == planted.mislabeled.tolist()
    original = (digits.images * (255 / 16)).astype(np.uint8)
    touched = np.flatnonzero((planted.images != original).any((1, 2)))
    assert touched.tolist() == sorted([*planted.torn, *planted.noise])
    assert (digits.target[planted.torn] != digits.target[planted.partners]).all()
    assert sorted(set(planted.kind)) == ["as it was", "mislabeled", "noise", "torn"]


def test_maps_of_one_set_from_other_starts_differ_and_keep_neighbors_while_sizes_vanish():
    both = tight_and_wide()
    first, again, other = (small_map(both, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    assert 0.7 < spread(first[:300]) / spread(first[300:]) < 1.4  # ten times as wide in feature space
    angles = both / np.linalg.norm(both, axis=1, keepdims=True)
    neighbors = np.argsort(-angles @ angles.T, axis=1)[:, 1:16].astype(np.int32)
    assert trust_of(neighbors, first).mean() > 5 * 15 / len(both)


def test_few_neighbors_make_clumps_of_noise():
    from sklearn.cluster import DBSCAN

    def clumps(places):
        return len(set(DBSCAN(eps=0.04 * np.ptp(places), min_samples=5).fit_predict(places)) - {-1})

    assert clumps(small_map(noise(), neighbors=5)) > 20
    assert clumps(small_map(noise(), neighbors=5)) > 2 * clumps(small_map(noise(), neighbors=100))


def test_of_four_maps_one_is_of_the_features_and_a_notebook_does_not_say_which():
    features = noise(directions=8, seed=5)
    maps = four_maps(features)
    same = [letter for letter, places in maps.items() if np.array_equal(places, small_map(features))]
    assert list(maps) == list("ABCD") and same == [REAL]


def test_a_strip_has_an_image_and_a_line_for_each_and_text_stays_text():
    shown = image_strip(np.zeros((2, 8, 8)), ["<b>", "two"])._repr_html_()
    assert shown.count("<img") == 2 and "&lt;b&gt;" in shown and "<b>" not in shown
    with pytest.raises(ValueError, match="3 images and 1 captions"):
        image_strip(np.zeros((3, 8, 8)), ["one"])


def test_small_maps_name_every_group_on_a_place_of_its_own_and_have_no_axes():
    places = np.random.default_rng(0).normal(size=(40, 2))
    groups = np.repeat(["left", "right"], 20)
    figure = small_maps({"one": places, "two": -places}, groups)
    named = [re.sub("<.?b>", "", mark.text) for mark in figure.layout.annotations]
    assert named == ["one", "two", "left", "right", "left", "right"]
    assert middle(places) in places
    assert not figure.layout.xaxis.visible and figure.layout.yaxis2.scaleanchor == "x2"
