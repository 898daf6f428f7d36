import collections
import math

import golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from twist.learn import information
from twist.learn.objective import LossTerms, teacher_loss, twist_loss


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def arguments(meta):
    return {
        "temperature": meta["tau"],
        "consistency_temperature": 1,
        "sharpness_weight": 1 + meta["lam1"],
        "diversity_weight": meta["lam2"],
        "eps": meta["EPS"],
    }


@pytest.mark.parametrize("case", golden.cases("a_entloss.npz"))
def test_two_views_give_the_authors_terms_and_gradients(case):
    views = [torch.tensor(case.arrays[name], requires_grad=True) for name in ("feat1", "feat2")]
    atol = golden.FLOAT32 if case.meta["dtype"] == "float32" else golden.FLOAT64
    terms = twist_loss(views, **arguments(case.meta))
    suffixes = {"final": "grad", "kl": "grad_kl", "eh": "grad_eh", "he": "grad_he"}
    for (name, prefix), term in zip(suffixes.items(), terms, strict=True):
        np.testing.assert_allclose(term.item(), case.arrays[name], rtol=0, atol=atol)
        for number, gradient in enumerate(torch.autograd.grad(term, views, retain_graph=True), 1):
            np.testing.assert_allclose(gradient, case.arrays[f"{prefix}{number}"], rtol=0, atol=atol)


@pytest.mark.parametrize("case", golden.cases("b_multicrop.npz"))
def test_many_views_give_the_authors_terms_and_gradients(case):
    logits = torch.tensor(case.arrays["logits"], requires_grad=True)
    terms = twist_loss(list(logits), **arguments(case.meta))
    for name, term in zip(("final", "kl", "eh", "he"), terms, strict=True):
        np.testing.assert_allclose(term.item(), case.arrays[name], rtol=0, atol=golden.FLOAT64)
    (gradient,) = torch.autograd.grad(terms.total, logits)
    np.testing.assert_allclose(gradient, case.arrays["grad"], rtol=0, atol=golden.FLOAT64)


@pytest.mark.parametrize("case", golden.cases("e_momentum.npz"))
def test_a_teacher_gives_the_authors_terms_and_gradients(case):
    logits = torch.tensor(case.arrays["logits"], requires_grad=True)
    options = {name: value for name, value in arguments(case.meta).items() if name != "consistency_temperature"}
    terms = teacher_loss(list(logits), list(torch.tensor(case.arrays["teacher_logits"])), **options)
    for name, term in zip(("final", "kl", "eh", "he"), terms, strict=True):
        np.testing.assert_allclose(term.item(), case.arrays[name], rtol=0, atol=golden.FLOAT64)
    (gradient,) = torch.autograd.grad(terms.total, logits)
    np.testing.assert_allclose(gradient, case.arrays["grad"], rtol=0, atol=golden.FLOAT64)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(2, 9), st.integers(1, 9), st.integers(2, 9)),
    temperature=st.floats(0.2, 3),
    own=st.none() | st.floats(0.2, 3),
    weights=st.tuples(st.floats(0, 2), st.floats(0, 2), st.floats(0, 2)),
    eps=st.sampled_from((0, 1e-5, 1e-2)),
)
def test_the_linear_form_is_the_mean_over_explicit_pairs(seed, shape, temperature, own, weights, eps):
    logits = (3 * randn(*shape, seed=seed)).requires_grad_()
    pairs = [(i, j) for i in (0, 1) for j in range(i + 1, shape[0])]
    options = {"temperature": temperature, "consistency_temperature": own, "eps": eps}
    options |= dict(zip(("consistency_weight", "sharpness_weight", "diversity_weight"), weights, strict=True))
    linear = twist_loss(list(logits), **options)
    by_pair = [two_view_terms(logits[i], logits[j], **options) for i, j in pairs]
    for term, of_pairs in zip(linear, zip(*by_pair, strict=True), strict=True):
        torch.testing.assert_close(term, torch.stack(of_pairs).mean(), rtol=0, atol=1e-11)
        expected = torch.autograd.grad(torch.stack(of_pairs).mean(), logits, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(term, logits, retain_graph=True), expected, rtol=0, atol=1e-11)


def two_view_terms(
    a,
    b,
    *,
    temperature,
    consistency_temperature,
    consistency_weight,
    sharpness_weight,
    diversity_weight,
    eps,
):
    """The definition, written out without any rearrangement."""

    def log(p):
        return (p + eps).log()

    def entropy(p):
        return -(p * log(p)).sum(-1)

    p, q = ((x / (consistency_temperature or temperature)).softmax(1) for x in (a, b))
    consistency = ((p * (log(p) - log(q))).sum(1).mean() + (q * (log(q) - log(p))).sum(1).mean()) / 2
    p, q = ((x / temperature).softmax(1) for x in (a, b))
    sharpness = (entropy(p).mean() + entropy(q).mean()) / 2
    diversity = (entropy(p.mean(0)) + entropy(q.mean(0))) / 2
    total = consistency_weight * consistency + sharpness_weight * sharpness - diversity_weight * diversity
    return LossTerms(total, consistency, sharpness, diversity)


@pytest.mark.parametrize("num_views", [2, 3, 14])
def test_a_view_costs_one_softmax_a_sweep_and_one_logarithm_however_many_pairs_there_are(num_views):
    logits = randn(num_views, 8, 5).requires_grad_()
    with Counter() as forward:
        terms = twist_loss(logits)
    with Counter() as backward:
        terms.total.backward()
    everything = num_views * 8 * 5
    assert forward.elements["softmax"] == forward.elements["log"] - num_views * 5 == everything
    assert backward.elements["softmax"] == everything
    for counter in (forward, backward):
        assert counter.elements["exp"] == counter.elements["_log_softmax"] == 0
        del counter.elements["empty"]
        assert sum(counter.elements.values()) <= 13 * everything  # no operation is repeated for each pair
    assert backward.elements["log"] == 0  # the first backward finds them kept


class Counter(TorchDispatchMode):
    """Counts by operation the elements that operations other than views wrote or read, whichever are more."""

    def __init__(self):
        super().__init__()
        self.elements = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            tensors = [x for x in (result, *args) if isinstance(x, torch.Tensor)]
            self.elements[function.overloadpacket.__name__] += max((x.numel() for x in tensors), default=0)
        return result


def test_small_divergences_keep_their_digits_in_float32():
    base = randn(64, 4096, dtype=torch.float64)
    views = [base + 1e-3 * randn(64, 4096, seed=seed) for seed in range(6)]
    exact = twist_loss(views).consistency
    torch.testing.assert_close(
        twist_loss([view.float() for view in views]).consistency.double(), exact, rtol=1e-3, atol=0
    )


def test_more_than_two_views_are_the_mean_over_the_pairs():
    views = list(randn(5, 6, 4))
    pairs = [(i, j) for i in (0, 1) for j in range(i + 1, 5)]
    options = {"temperature": 0.5, "sharpness_weight": 0.4}
    by_pair = [twist_loss([views[i], views[j]], **options) for i, j in pairs]
    for term, of_pairs in zip(twist_loss(views, **options), zip(*by_pair, strict=True), strict=True):
        torch.testing.assert_close(term, torch.stack(of_pairs).mean())


def test_exact_terms_are_the_entropies_of_information():
    a, b = (x.log_softmax(1) for x in randn(2, 9, 5))
    terms = twist_loss([a, b], eps=0)
    mean = {f: (f(a) + f(b)) / 2 for f in (information.conditional_entropy, information.marginal_entropy)}
    torch.testing.assert_close(terms.sharpness, mean[information.conditional_entropy])
    torch.testing.assert_close(terms.diversity, mean[information.marginal_entropy])
    both = information.kl_divergence(a, b) + information.kl_divergence(b, a)
    torch.testing.assert_close(terms.consistency, both.mean() / 2)


def test_total_is_consistency_minus_mutual_information():
    view = randn(9, 5)
    terms = twist_loss([view, view], eps=0)
    assert abs(terms.consistency.item()) < 1e-12
    torch.testing.assert_close(terms.total, -information.mutual_information(view.log_softmax(1)))


def test_eps_near_zero_approaches_the_exact_form():
    views = list(randn(2, 16, 10))
    for small, exact in zip(twist_loss(views, eps=1e-12), twist_loss(views, eps=0), strict=True):
        torch.testing.assert_close(small, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("eps", [0, 1e-5])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_terms_and_gradients_are_finite_at_saturation(scale, eps):
    views = [(scale * randn(64, 32, seed=seed, dtype=torch.float32)).requires_grad_() for seed in (0, 1)]
    for term in twist_loss(views, eps=eps, temperature=0.5):
        gradients = torch.autograd.grad(term, views, retain_graph=True)
        assert term.isfinite() and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("eps", [0, 1e-5])
@pytest.mark.parametrize("row", [torch.zeros(8), 50 * torch.eye(8)[3], torch.arange(8.0)], ids=["flat", "sharp", "any"])
def test_every_collapse_is_worth_zero(row, eps):
    view = row.double().expand(16, 8)
    terms = twist_loss([view, view], eps=eps)
    assert terms.total.item() == pytest.approx(0, abs=1e-9)
    assert terms.sharpness.item() == pytest.approx(terms.diversity.item(), abs=1e-9)


def test_best_value_is_minus_the_log_of_the_smaller_of_samples_and_classes():
    for samples, classes in ((12, 4), (4, 12)):
        view = 1e3 * torch.eye(12)[torch.arange(samples) % classes, :classes]
        assert twist_loss([view, view], eps=0).total.item() == pytest.approx(-math.log(4), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 9), st.integers(2, 9), st.sampled_from((0, 1e-5)))
def test_terms_keep_their_bounds(seed, num_views, samples, classes, eps):
    terms = twist_loss(list(3 * randn(num_views, samples, classes, seed=seed)), eps=eps)
    assert terms.consistency >= -1e-12
    assert -2e-5 <= terms.sharpness <= math.log(classes) + 1e-12
    assert terms.sharpness - 2e-5 <= terms.diversity <= math.log(classes) + 1e-12
    assert terms.total >= -math.log(min(samples, classes)) - 2e-5 * classes


def test_temperature_divides_the_logits_and_the_consistency_may_have_its_own():
    a, b = randn(2, 6, 5)
    halved = twist_loss([a, b], temperature=2)
    for term, expected in zip(halved, twist_loss([a / 2, b / 2]), strict=True):
        torch.testing.assert_close(term, expected)
    own = twist_loss([a, b], temperature=2, consistency_temperature=1)
    torch.testing.assert_close(own.consistency, twist_loss([a, b]).consistency)
    torch.testing.assert_close(own.sharpness, halved.sharpness)


def test_weights_act_on_the_total_alone():
    views = list(randn(2, 6, 5))
    plain = twist_loss(views)
    weighted = twist_loss(views, consistency_weight=0.5, sharpness_weight=0.4, diversity_weight=2)
    expected = 0.5 * plain.consistency + 0.4 * plain.sharpness - 2 * plain.diversity
    assert weighted == LossTerms(weighted.total, *plain[1:])
    torch.testing.assert_close(weighted.total, expected)


def test_half_precision_is_computed_in_float32():
    views = [view.bfloat16() for view in randn(2, 32, 10)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = twist_loss(views)
    assert {term.dtype for term in terms} == {torch.float32}
    for term, expected in zip(terms, twist_loss([view.double() for view in views]), strict=True):
        torch.testing.assert_close(term.double(), expected, rtol=0, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    views = [randn(3, 4, seed=seed).requires_grad_() for seed in (0, 1, 2)]
    for eps in (0, 1e-5):
        assert torch.autograd.gradcheck(
            lambda *views, eps=eps: twist_loss(views, eps=eps, temperature=0.7).total, views
        )


@pytest.mark.parametrize(
    ("views", "options", "message"),
    [
        ([torch.zeros(4, 3)], {}, "1 view given"),
        ([torch.zeros(4, 3), torch.zeros(5, 3)], {}, r"\(4, 3\), \(5, 3\)"),
        ([torch.zeros(4, 1)] * 2, {}, "two classes or more"),
        ([torch.zeros(0, 3)] * 2, {}, "a sample and two classes"),
        ([torch.zeros(4, 3)] * 2, {"temperature": 0.0}, "temperature is 0.0"),
        ([torch.zeros(4, 3)] * 2, {"temperature": math.nan}, "temperature is nan"),
        ([torch.zeros(4, 3)] * 2, {"consistency_temperature": math.inf}, "consistency_temperature is inf"),
        ([torch.zeros(4, 3)] * 2, {"eps": -1e-5}, "eps is -1e-05"),
    ],
)
def test_bad_input_is_named(views, options, message):
    with pytest.raises(ValueError, match=message):
        twist_loss(views, **options)
