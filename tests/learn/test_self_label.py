import golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn.self_label import choose_pseudo_labels, masked_cross_entropy, self_label_loss


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("case", golden.cases("d_self_label.npz"))
def test_parity_mode_gives_the_authors_loss_gradient_threshold_and_share(case):
    logits = torch.tensor(case.arrays["logits"], requires_grad=True)
    source = list(torch.tensor(case.arrays["teacher_logits"])) if case.meta["teacher"] else None
    options = {
        "temperature": case.meta["tau"],
        "quantile": case.meta["quantile"],
        "threshold": case.meta["fixed_threshold"],
    }
    terms = self_label_loss(list(logits), source=source, mask_temperature=1, **options)
    np.testing.assert_allclose(terms.total.item(), case.arrays["final"], rtol=0, atol=golden.FLOAT64)
    np.testing.assert_allclose(terms.threshold.item(), case.arrays["threshold"], rtol=0, atol=golden.FLOAT64)
    (gradient,) = torch.autograd.grad(terms.total, logits)
    np.testing.assert_allclose(gradient, case.arrays["grad"], rtol=0, atol=golden.FLOAT64)
    mended = self_label_loss(list(logits), source=source, **options)
    np.testing.assert_allclose(mended.share.item(), case.arrays["frac"], rtol=0, atol=golden.SHARES)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("case", golden.cases("d_self_label.npz", "ce"))
def test_the_masked_cross_entropy_is_the_authors_with_and_without_balanced_classes(case, balanced):
    arrays = case.arrays
    weak, strong = torch.tensor(arrays["weak"]), torch.tensor(arrays["strong"], requires_grad=True)
    mask = weak.softmax(1).amax(1) > torch.tensor(arrays["threshold"])
    loss = masked_cross_entropy(strong, weak.argmax(1), mask, balance_classes=balanced)
    (gradient,) = torch.autograd.grad(loss, strong)
    atol = golden.FLOAT32 if balanced else golden.FLOAT64
    prefix = f"bal{int(balanced)}_"
    np.testing.assert_allclose(loss.item(), arrays[prefix + "loss"], rtol=0, atol=atol)
    np.testing.assert_allclose(gradient, arrays[prefix + "grad_strong"], rtol=0, atol=atol)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.floats(0.05, 0.95), st.sampled_from((0.3, 1.0, 2.0)))
def test_the_most_confident_teach_as_many_as_the_quantile_says(seed, samples, quantile, temperature):
    views = list(3 * randn(2, samples, 6, seed=seed))
    chosen = choose_pseudo_labels(views, temperature=temperature, quantile=quantile)
    assert chosen.mask.sum() == min(int(quantile * samples), samples - 1)
    best = torch.stack([(view / temperature).softmax(1).amax(1) for view in views]).amax(0)
    if chosen.mask.any() and not chosen.mask.all():
        assert best[chosen.mask].min() > best[~chosen.mask].max()


def test_at_a_low_temperature_the_authors_mask_is_smaller_than_the_quantile_says():
    views = list(randn(2, 40, 8))
    mended = choose_pseudo_labels(views, temperature=0.5, quantile=0.5)
    authors = choose_pseudo_labels(views, temperature=0.5, mask_temperature=1, quantile=0.5)
    assert mended.mask.sum() == 20 and authors.mask.sum() < 10


def test_the_view_that_says_the_class_is_never_taught():
    first, second = randn(2, 8, 5).unbind()
    first, second = (10 * first).requires_grad_(), second.requires_grad_()
    terms = self_label_loss([first, second], quantile=0, threshold=0.0)
    terms.total.backward()
    from_first = first.softmax(1).amax(1) > second.softmax(1).amax(1)
    assert from_first.any() and (first.grad[from_first] == 0).all() and (second.grad[from_first] != 0).all()
    assert (second.grad[~from_first] == 0).all()


def test_an_empty_mask_is_reported_and_teaches_nothing():
    logits = randn(3, 6, 5).requires_grad_()
    terms = self_label_loss(list(logits), quantile=0, threshold=1.0)
    terms.total.backward()
    assert terms.share == 0 and terms.total == 0 and (logits.grad == 0).all()


def test_logits_at_saturation_give_finite_loss_and_gradient():
    logits = (1e4 * randn(4, 16, 6, dtype=torch.float32)).requires_grad_()
    terms = self_label_loss(list(logits), temperature=0.1)
    terms.total.backward()
    assert terms.total.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("views", "options", "words"),
    [
        (1, {}, "1 views"),
        (3, {"source": [torch.zeros(4, 3)]}, "1 in the source"),
        (2, {"quantile": 1.5}, "quantile is 1.5"),
    ],
)
def test_senseless_arguments_are_named(views, options, words):
    with pytest.raises(ValueError, match=words):
        self_label_loss([torch.zeros(4, 3)] * views, **options)
