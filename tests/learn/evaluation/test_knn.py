"""The vote of the nearest neighbors, against scikit-learn's."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from twist.learn import neighbors
from twist.learn.evaluation.knn import KnnSettings, knn
from twist.runs.config import ConfigError


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = torch.from_numpy(pixels), torch.from_numpy(labels)
    # Shifted rows have no two neighbors at the same distance, where any order would be right.
    pixels = pixels + 0.01 * torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return pixels[:1200], labels[:1200], pixels[1200:], labels[1200:]


def theirs(digits, k, temperature):
    known, labels, asked, _ = (each.numpy() for each in digits)
    weights = "uniform" if temperature is None else lambda distance: np.exp((1 - distance) / temperature)
    return KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights).fit(known, labels)


@pytest.mark.parametrize("temperature", [0.07, 0.1])
def test_every_figure_is_that_of_scikit_learn(digits, temperature):
    found = knn(*digits, KnnSettings((1, 10, 20, 200), temperature))
    assert [(row.k, row.temperature) for row in found.rows] == [
        (k, t) for t in (None, temperature) for k in (1, 10, 20, 200)
    ]
    _, _, asked, asked_labels = (each.numpy() for each in digits)
    for row in found.rows:
        fitted = theirs(digits, row.k, row.temperature)
        probs, answers = fitted.predict_proba(asked), fitted.predict(asked)
        assert row.scores.accuracy == pytest.approx((answers == asked_labels).mean(), abs=1e-12)
        assert row.scores.mean_label_accuracy == pytest.approx(
            balanced_accuracy_score(asked_labels, answers), abs=1e-12
        )
        # Theirs counts labels without a vote, in whatever order: asked only where five labels have one.
        among = (np.take_along_axis(probs, np.argsort(-probs, 1, kind="stable"), 1)[:, 4] > 0).all()
        if among:
            assert row.scores.top5_accuracy == pytest.approx(top_k_accuracy_score(asked_labels, probs, k=5), abs=1e-12)
    assert found.known == 1200 and found.asked == 597 and found.notes == ()


def test_float32_and_half_precision_give_nearly_the_same(digits):
    known, labels, asked, asked_labels = digits
    exact = knn(*digits).scores()
    for dtype, near in ((torch.float32, 1e-12), (torch.float16, 0.01)):
        rough = knn(known.to(dtype), labels, asked.to(dtype), asked_labels).scores()
        assert rough == pytest.approx(exact, abs=near)


def test_one_pass_serves_every_k_and_twice_gives_the_same(digits):
    together = knn(*digits, KnnSettings((5, 50, 300), 0.1))
    assert together == knn(*digits, KnnSettings((5, 50, 300), 0.1))
    alone = [row for k in (5, 50, 300) for row in knn(*digits, KnnSettings((k,), 0.1)).rows]
    assert set(together.rows) == set(alone)


def test_the_number_of_threads_changes_nothing(digits):
    rough = [each.float() if each.is_floating_point() else each for each in digits]
    before = torch.get_num_threads()
    try:
        found = [torch.set_num_threads(threads) or knn(*rough) for threads in (1, 2)]
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_pieces_change_nothing(digits, monkeypatch):
    whole = knn(*digits)
    monkeypatch.setattr(neighbors, "_MOST_SIMILARITIES", 7 * 1200)
    assert knn(*digits) == whole


def test_more_neighbors_than_there_are_known_images_all_vote_and_it_is_said(digits):
    known, labels, asked, asked_labels = digits
    found = knn(known[:50], labels[:50], asked, asked_labels, KnnSettings((10, 50, 200), None))
    assert [row.voters for row in found.rows] == [10, 50, 50]
    assert found.rows[1].scores == found.rows[2].scores
    assert found.notes == ("k of 200: all 50 known images vote, there are no more",)


def test_labels_with_gaps_and_rows_without_a_label(digits):
    known, labels, asked, asked_labels = digits
    names = torch.tensor([3, 10, 11, 40, 41, 42, 500, 501, 2**40, 2**40 + 1])
    gaps = knn(known, names[labels], asked, names[asked_labels])
    assert gaps == knn(*digits)
    without = names[labels].masked_fill(torch.arange(1200) % 3 == 0, -1)
    keep = torch.arange(1200) % 3 != 0
    assert knn(known, without, asked, asked_labels) == knn(known[keep], without[keep], asked, asked_labels)


def test_a_label_that_nobody_knows_counts_as_wrong_and_it_is_said(digits):
    known, labels, asked, asked_labels = digits
    few = labels < 7
    found = knn(known[few], labels[few], asked, asked_labels, KnnSettings((1,), None))
    strangers = int((asked_labels >= 7).sum())
    assert found.rows[0].scores.accuracy <= 1 - strangers / 597
    assert found.rows[0].scores.mean_label_accuracy <= 0.7
    assert f"{strangers} of 597 asked images have a label that no known image has" in found.notes[0]


def test_five_labels_or_fewer_have_no_top_5_and_it_is_said():
    rows = torch.eye(6)
    five = knn(rows, torch.arange(6) % 5, rows, torch.arange(6) % 5, KnnSettings((1,), None))
    assert five.scores() == {"accuracy_k1": 1, "mean_label_accuracy_k1": 1}
    assert "no top-5 accuracy: there are 5 labels" in five.notes[0]
    assert knn(rows, torch.arange(6), rows, torch.arange(6), KnnSettings((1,), None)).scores()["top5_accuracy_k1"] == 1


def test_a_label_without_a_vote_is_no_answer():
    # With one neighbor there is one answer: the first five are that one.
    generator = torch.Generator().manual_seed(0)
    known, asked = torch.randn(300, 4, generator=generator), torch.randn(200, 4, generator=generator)
    labels, asked_labels = torch.arange(300) % 10, torch.arange(200) % 10
    scores = knn(known, labels, asked, asked_labels, KnnSettings((1,), None)).rows[0].scores
    assert scores.top5_accuracy == scores.accuracy


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 1e6])
def test_no_temperature_overflows(digits, temperature):
    scores = knn(*digits, KnnSettings((1, 200), temperature)).scores()
    assert all(0 <= value <= 1 for value in scores.values())
    if temperature == 1e-3:  # the nearest one decides
        assert scores["accuracy_k200_t0.001"] == pytest.approx(scores["accuracy_k1"], abs=0.005)


@pytest.mark.parametrize("shape", ["equal", "zeros"])
def test_features_that_are_all_alike_give_the_first_rows_the_vote(shape):
    known = torch.zeros(40, 3) if shape == "zeros" else torch.ones(40, 3)
    labels = torch.tensor([2] * 6 + [1] * 34)
    scores = knn(known, labels, known[:5], labels[:5], KnnSettings((10, 40), 0.07)).scores()
    assert scores["accuracy_k10"] == scores["accuracy_k10_t0.07"] == 1
    assert scores["accuracy_k40"] == 0


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_of_rows_equally_near_the_first_are_taken(data):
    # Few different directions of exact cosines: ties everywhere.
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    picks = st.integers(0, 3)
    bank = directions[data.draw(st.lists(picks, min_size=1, max_size=30))]
    queries = directions[data.draw(st.lists(picks, min_size=1, max_size=5))]
    k = data.draw(st.integers(1, len(bank)))
    (found,) = neighbors.nearest(bank, queries, k)
    expected = (queries @ bank.T).sort(dim=1, descending=True, stable=True)
    assert torch.equal(found.indices, expected.indices[:, :k])
    assert torch.equal(found.similarities, expected.values[:, :k])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 8), st.integers(1, 70))
def test_shares_lie_between_0_and_1_and_five_answers_never_do_worse_than_one(seed, count, num_labels, k):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count + 7, 3, generator=generator)
    labels = torch.randint(0, num_labels, (count + 7,), generator=generator)
    for row in knn(rows[7:], labels[7:], rows[:7], labels[:7], KnnSettings((k,), 0.07)).rows:
        assert 0 <= row.scores.accuracy <= 1 and 0 <= row.scores.mean_label_accuracy <= 1
        assert row.scores.top5_accuracy is None or row.scores.accuracy <= row.scores.top5_accuracy <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(digits, value):
    known, labels, asked, asked_labels = digits
    spoiled = asked.clone()
    spoiled[3, 1] = value
    with pytest.raises(ConfigError, match="asked features are not finite .first in row 3"):
        knn(known, labels, spoiled, asked_labels)


def test_bad_input_is_named(digits):
    known, labels, asked, asked_labels = digits
    with pytest.raises(ConfigError, match="64 dimensions, asked ones 63"):
        knn(known, labels, asked[:, 1:], asked_labels)
    with pytest.raises(ConfigError, match="1200 known features have 1199 labels"):
        knn(known, labels[1:], asked, asked_labels)
    with pytest.raises(ConfigError, match="no asked image has a label"):
        knn(known, labels, asked, torch.full_like(asked_labels, -1))
    for wrong in ({"k": ()}, {"k": (0,)}, {"temperature": 0.0}, {"temperature": math.inf}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
            dataclasses.replace(KnnSettings(), **wrong)
