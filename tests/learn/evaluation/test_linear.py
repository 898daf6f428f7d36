"""The logistic regression, against scikit-learn's."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from twist.learn.evaluation import linear as module
from twist.learn.evaluation.linear import LinearSettings, linear
from twist.runs.config import ConfigError

EXACT = {"tolerance": 1e-10}


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = torch.from_numpy(pixels), torch.from_numpy(labels)
    return pixels[:1200], labels[:1200], pixels[1200:], labels[1200:]


def theirs(features, labels, C, standardize=False):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(*[StandardScaler()] * standardize, model).fit(features.numpy(), labels.numpy())


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_the_optimum_is_that_of_scikit_learn(digits, C, standardize):
    known, labels, asked, asked_labels = digits
    found = linear(*digits, LinearSettings(C, standardize, **EXACT))
    fitted = theirs(known, labels, C, standardize)
    assert found.converged and found.gradient <= 1e-10
    expected = fitted.decision_function(asked.numpy())
    logits = (asked @ found.weights.T + found.bias).numpy()
    centered = [each - each.mean(1, keepdims=True) for each in (logits, expected)]  # the intercepts' sum is free
    np.testing.assert_allclose(*centered, atol=1e-3 * np.abs(expected).max())
    answers, probs = fitted.predict(asked.numpy()), fitted.predict_proba(asked.numpy())
    assert found.accuracy == pytest.approx((answers == asked_labels.numpy()).mean(), abs=1e-12)
    assert found.top5_accuracy == pytest.approx(top_k_accuracy_score(asked_labels, probs, k=5), abs=1e-12)
    assert found.mean_label_accuracy == pytest.approx(balanced_accuracy_score(asked_labels, answers), abs=1e-12)
    assert found.train_accuracy == pytest.approx(fitted.score(known.numpy(), labels.numpy()), abs=1e-12)
    weights = fitted[-1].coef_
    loss = log_loss(labels, fitted.predict_proba(known.numpy())) + np.square(weights).sum() / (2 * C * 1200)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert found.loss <= loss + 1e-9


@pytest.mark.parametrize("standardize", [True, False])
def test_float32_arrives_at_the_same_accuracy(digits, standardize):
    exact = linear(*digits, LinearSettings(standardize=standardize, **EXACT))
    rough = linear(digits[0].float(), digits[1], digits[2].float(), digits[3], LinearSettings(standardize=standardize))
    assert rough.converged and not rough.notes
    assert rough.scores() == pytest.approx(exact.scores(), abs=0.005)
    assert rough.loss == pytest.approx(exact.loss, abs=1e-5)


@pytest.mark.parametrize("standardize", [True, False])
def test_with_two_labels_it_is_the_binary_regression_of_scikit_learn(digits, standardize):
    known, labels, asked, asked_labels = digits
    found = linear(known, labels % 2, asked, asked_labels % 2, LinearSettings(0.01, standardize, **EXACT))
    fitted = theirs(known, labels % 2, 0.01, standardize)
    logits = asked @ found.weights.T + found.bias
    expected = fitted.decision_function(asked.numpy())
    np.testing.assert_allclose((logits[:, 1] - logits[:, 0]).numpy(), expected, atol=1e-4 * np.abs(expected).max())
    assert found.top5_accuracy is None and "no top-5 accuracy: there are 2 labels" in found.notes[0]


def test_fewer_images_than_dimensions(digits):
    known, labels, asked, asked_labels = digits
    few = (known[:40], labels[:40], asked, asked_labels)
    found = linear(*few, LinearSettings(0.1, **EXACT))
    fitted = theirs(known[:40], labels[:40], 0.1, standardize=True)
    assert found.accuracy == pytest.approx(fitted.score(asked.numpy(), asked_labels.numpy()), abs=1e-12)
    assert found.converged


def test_more_dimensions_than_are_turned_give_the_same_optimum(digits, monkeypatch):
    found = linear(*digits, LinearSettings(0.01, tolerance=1e-7))
    monkeypatch.setattr(module, "_MOST_DIRECTIONS", 10)
    apart = linear(*digits, LinearSettings(0.01, tolerance=1e-7))
    assert apart.converged and apart.steps > found.steps  # what the turn is for
    torch.testing.assert_close(apart.weights, found.weights, rtol=0, atol=1e-5)
    assert apart.scores() == found.scores()


def test_pieces_change_nothing_but_rounding(digits, monkeypatch):
    whole = linear(*digits, LinearSettings(**EXACT))
    monkeypatch.setattr(module, "_ROWS", 100)
    pieces = linear(*digits, LinearSettings(**EXACT))
    torch.testing.assert_close(pieces.weights, whole.weights, rtol=0, atol=1e-7)


def test_twice_gives_the_same_numbers_and_other_threads_the_same_shares(digits):
    rough = [each.float() if each.is_floating_point() else each for each in digits]
    first, again = linear(*rough), linear(*rough)
    assert torch.equal(first.weights, again.weights) and first.scores() == again.scores()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(before, 2))
        assert linear(*rough).scores() == pytest.approx(first.scores(), abs=2 / 597)
    finally:
        torch.set_num_threads(before)


def correlated(seed, count=3000, dim=64, num_labels=8):
    """Features as networks give them: spreads over four decades, a mean far from zero, few labels told apart."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    labels = torch.randint(0, num_labels, (count,), generator=generator)
    turn = torch.linalg.qr(draw(dim, dim)).Q
    spread = torch.logspace(1, -3, dim, dtype=torch.float64)
    return (draw(num_labels, dim)[labels] * 0.5 + draw(count, dim)) * spread @ turn + 30, labels


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correlated_features_far_from_zero_are_no_longer_a_way(dtype, standardize):
    features, labels = correlated(0)
    found = linear(
        features[:2000].to(dtype),
        labels[:2000],
        features[2000:].to(dtype),
        labels[2000:],
        LinearSettings(standardize=standardize),
    )
    assert found.converged and found.steps < 120 and found.gradient <= 1e-5


def test_standardized_features_have_no_scale(digits):
    known, labels, asked, asked_labels = digits
    # Powers of two, so that not even the last bit differs.
    lengths = 2.0 ** torch.randint(-6, 7, (64,), generator=torch.Generator().manual_seed(1))
    found = linear(known * lengths, labels, asked * lengths, asked_labels)
    assert found.scores() == linear(*digits).scores()


def test_dimensions_that_do_not_vary_are_left_out(digits):
    known, labels, asked, asked_labels = digits
    fixed = lambda rows: torch.cat([rows, torch.full((len(rows), 3), 0.1)], 1).float()  # noqa: E731
    found = linear(fixed(known), labels, fixed(asked), asked_labels)
    assert (found.weights[:, -3:] == 0).all() and found.converged
    assert found.accuracy == pytest.approx(linear(*digits).accuracy, abs=0.005)


def test_features_that_are_all_alike_answer_with_the_commonest_label():
    rows, labels = torch.ones(30, 4), torch.tensor([3] * 20 + [8] * 10)
    found = linear(rows, labels, rows, labels)
    assert found.accuracy == found.train_accuracy == pytest.approx(2 / 3) and found.mean_label_accuracy == 0.5
    assert found.loss == pytest.approx(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))


def test_labels_with_gaps_and_a_label_of_one_image(digits):
    known, labels, asked, asked_labels = digits
    names = torch.tensor([3, 10, 11, 40, 41, 42, 500, 501, 2**40, 2**40 + 1])
    gaps = linear(known, names[labels], asked, names[asked_labels])
    assert gaps.scores() == linear(*digits).scores() and gaps.labels.tolist() == names.tolist()
    one = labels.clone()
    one[0] = 77
    found = linear(known, one, asked, asked_labels)
    assert "1 of 11 labels have one known image only" in found.notes and found.weights.shape == (11, 64)


def test_one_label_is_refused(digits):
    known, labels, asked, asked_labels = digits
    with pytest.raises(ConfigError, match="all 1,200 known images have the label 4: a linear classifier tells two"):
        linear(known, labels * 0 + 4, asked, asked_labels)


def test_a_fit_that_does_not_arrive_says_so(digits):
    short = linear(*digits, LinearSettings(max_steps=3))
    assert not short.converged and short.steps == 3
    assert "the fit did not arrive: its gradient is" in short.notes[0] and "after 3 steps" in short.notes[0]
    rough = [each.float() if each.is_floating_point() else each for each in digits]
    fine = linear(*rough, LinearSettings(tolerance=1e-15))  # beyond float32: it ends by itself
    assert not fine.converged and fine.steps < 1000 and "precision ended it" in fine.notes[0]
    assert fine.gradient < 1e-5


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32),
    st.integers(3, 30),
    st.integers(1, 12),
    st.integers(2, 4),
    st.sampled_from([0.01, 1.0, 100.0]),
    st.booleans(),
)
def test_no_other_weights_are_better(seed, count, dim, num_labels, C, standardize):
    generator = torch.Generator().manual_seed(seed)
    known = torch.randn(count, dim, generator=generator, dtype=torch.float64) * 3 + 1
    labels = torch.arange(count) % num_labels
    found = linear(known, labels, known, labels, LinearSettings(C, standardize, tolerance=1e-9))
    assert found.converged
    fitted = theirs(known, labels, C, standardize)
    np.testing.assert_allclose(
        (known @ found.weights.T + found.bias).softmax(1)[:, :num_labels].numpy(),
        fitted.predict_proba(known.numpy()),
        atol=1e-4,
    )


def test_progress_is_told(digits):
    told = []
    found = linear(*digits, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(10 * (i + 1), 1000) for i in range(found.steps // 10)]


@pytest.mark.parametrize("wrong", [{"C": 0}, {"C": math.inf}, {"tolerance": -1.0}, {"max_steps": 0}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
        dataclasses.replace(LinearSettings(), **wrong)


def test_features_that_are_not_finite_are_refused(digits):
    known, labels, asked, asked_labels = digits
    spoiled = known.clone()
    spoiled[7, 0] = math.nan
    with pytest.raises(ConfigError, match="known features are not finite"):
        linear(spoiled, labels, asked, asked_labels)
