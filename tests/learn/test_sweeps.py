"""The loss by hand-written sweeps, against autograd of the pairs written out."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from twist.learn import sweeps
from twist.learn.objective import LossTerms, twist_loss


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def autograd_terms(logits, *, temperature=1.0, weights=(1.0, 1.0, 1.0), eps=1e-5, mean_over_processes=None):
    """Every pair written out, left to autograd."""
    num_views = len(logits)
    scaled = [view / temperature for view in logits]
    probs = [view.softmax(1) for view in scaled]
    logs = [(p + eps).log() if eps else view.log_softmax(1) for p, view in zip(probs, scaled, strict=True)]
    pairs = [(i, j) for i in (0, 1) for j in range(i + 1, num_views)]
    apart = [((probs[i] - probs[j]) * (logs[i] - logs[j])).sum(1).mean() / 2 for i, j in pairs]
    means = torch.stack([p.mean(0) for p in probs])
    if mean_over_processes is not None:
        means = mean_over_processes(means)
    tiny = torch.finfo(means.dtype).tiny
    of_means = -(means * ((means + eps).log() if eps else means.clamp(min=tiny).log())).sum(1)
    of_samples = torch.stack([-(p * log).sum(1).mean() for p, log in zip(probs, logs, strict=True)])
    share = torch.zeros(num_views, dtype=means.dtype)
    for i, j in pairs:
        share[i] += 0.5 / len(pairs)
        share[j] += 0.5 / len(pairs)
    terms = torch.stack(apart).mean(), (share * of_samples).sum(), (share * of_means).sum()
    total = weights[0] * terms[0] + weights[1] * terms[1] - weights[2] * terms[2]
    return LossTerms(total, *terms)


def named(weights):
    return dict(zip(("consistency_weight", "sharpness_weight", "diversity_weight"), weights, strict=True))


def assert_same_terms_and_gradients(found, expected, logits, atol=1e-11):
    for term, other in zip(found, expected, strict=True):
        torch.testing.assert_close(term, other, rtol=0, atol=atol)
        ours, theirs = (torch.autograd.grad(x, logits, retain_graph=True) for x in (term, other))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(2, 6), st.integers(1, 9), st.integers(2, 9)),
    temperature=st.floats(0.2, 3),
    weights=st.tuples(*[st.sampled_from((0.0, 0.4, 1.0, 2.0))] * 3),
    eps=st.sampled_from((0, 1e-5, 1e-2)),
    samples=st.integers(1, 9),
)
def test_terms_and_gradients_are_those_of_autograd_whatever_the_chunk(seed, shape, temperature, weights, eps, samples):
    logits = (3 * randn(*shape, seed=seed)).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "CHUNK_ELEMENTS", samples * shape[0] * shape[2])
        found = twist_loss(logits, temperature=temperature, eps=eps, **named(weights))
        expected = autograd_terms(logits, temperature=temperature, eps=eps, weights=weights)
        assert_same_terms_and_gradients(found, expected, logits)


LAYOUTS = {
    "one tensor": lambda z: z,
    "unbound": list,
    "slices of rows": lambda z: z.flatten(0, 1).chunk(len(z)),
    "own tensors": lambda z: [view.clone() for view in z],
    "reversed slices": lambda z: list(z.flip(0))[::-1],
    "columns first": lambda z: [view.t().contiguous().t() for view in z],
    "every other class": lambda z: torch.stack([z, z + 1], 3).flatten(2)[..., ::2],
    "first view constant": lambda z: [z[0].detach(), *z[1:]],
    "local views constant": lambda z: [z[0], z[1], *z[2:].detach()],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("eps", [0, 1e-5])
def test_the_layout_in_memory_changes_nothing(layout, eps):
    logits = randn(4, 7, 6).requires_grad_()
    views = LAYOUTS[layout](logits)
    assert_same_terms_and_gradients(twist_loss(views, eps=eps), autograd_terms(views, eps=eps), logits)


def test_one_tensor_given_as_two_views_gets_both_gradients():
    view = randn(5, 4).requires_grad_()
    assert_same_terms_and_gradients(twist_loss([view, view]), autograd_terms([view, view]), view)


@pytest.mark.parametrize("order", [1, -1])
def test_views_of_different_widths_are_computed_in_the_widest(order):
    narrow, wide = randn(5, 4).float().requires_grad_(), randn(5, 4, seed=1).requires_grad_()
    views = [narrow, wide][::order]
    of_narrow, of_wide = torch.autograd.grad(twist_loss(views).total, [narrow, wide])
    of_both = torch.autograd.grad(autograd_terms([view.double() for view in views]).total, [narrow, wide])
    assert of_narrow.dtype == torch.float32
    torch.testing.assert_close(of_narrow, of_both[0])
    torch.testing.assert_close(of_wide, of_both[1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_nothing_but_the_last_rounding_of_the_gradient(dtype):
    half = randn(3, 16, 10).to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    terms, expected = twist_loss(half), twist_loss(single)
    torch.testing.assert_close(terms, expected, rtol=0, atol=0)
    terms.total.backward(), expected.total.backward()
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, single.grad.to(dtype), rtol=1e-2, atol=1e-7)


def test_a_retained_graph_gives_the_same_gradient_again():
    logits = randn(3, 9, 5).requires_grad_()
    total = twist_loss(logits).total
    (first,) = torch.autograd.grad(total, logits, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(second, kept, rtol=0, atol=1e-15)
    assert torch.equal(first, kept)  # and the second did not write over the first


def test_a_second_derivative_is_refused():
    logits = randn(3, 9, 5).requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(twist_loss(logits).total, logits, create_graph=True)


def test_logits_changed_before_backward_are_noticed():
    logits = randn(3, 9, 5).requires_grad_()
    rows = logits * 1
    total = twist_loss(rows).total
    with torch.no_grad():
        rows.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_the_mean_over_processes_is_asked_once_and_differentiated():
    logits, other = randn(3, 9, 5).requires_grad_(), randn(3, 5, seed=1).softmax(1)
    asked = []

    def mean(means):
        asked.append(means.shape)
        return (means + 2 * other) / 3

    expected = autograd_terms(logits, mean_over_processes=mean)
    asked.clear()
    found = twist_loss(logits, mean_over_processes=mean)
    assert asked == [(3, 5)]
    assert_same_terms_and_gradients(found, expected, logits)
    with torch.no_grad():
        torch.testing.assert_close(twist_loss(logits, mean_over_processes=mean), found)
    twist_loss(logits, temperature=0.5, consistency_temperature=1.0, mean_over_processes=mean)
    assert len(asked) == 3


class Allocations(TorchDispatchMode):
    """The largest new storages by size in bytes, and how many there were of each."""

    def __init__(self):
        super().__init__()
        self.sizes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.sizes[storage.data_ptr()] = storage.nbytes()
        return result


@pytest.mark.parametrize("num_views", [2, 5])
def test_beside_the_gradient_memory_is_bounded_by_the_chunk(num_views):
    logits = randn(num_views, 64, 512, dtype=torch.float32).requires_grad_()
    whole, chunk = logits.nbytes, 4 * num_views * 512 * 4
    with pytest.MonkeyPatch.context() as patch, Allocations() as seen:
        patch.setattr(sweeps, "CHUNK_ELEMENTS", chunk // 4)
        twist_loss(logits).total.backward()
    del seen.sizes[logits.data_ptr()]
    large = [size for size in seen.sizes.values() if size > chunk]
    assert large == [whole]  # the logarithms, which become the gradient
    assert logits.grad.data_ptr() in seen.sizes


def test_without_gradient_nothing_is_kept():
    logits = randn(2, 64, 512, dtype=torch.float32).requires_grad_()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad(), Allocations() as seen:
        patch.setattr(sweeps, "CHUNK_ELEMENTS", 4096)
        terms = twist_loss(logits)
    assert not terms.total.requires_grad
    del seen.sizes[logits.data_ptr()]
    assert max(seen.sizes.values()) <= 4 * 4096


PEAK = """
import resource, sys, torch
from twist.learn.objective import twist_loss
logits = torch.randn({views}, 64, {classes}).requires_grad_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
twist_loss(logits).total.backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, logits.nbytes // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read in kilobytes, as Linux counts it")
@pytest.mark.parametrize(("views", "classes"), [(14, 4096), (2, 32768)])
def test_peak_memory_is_that_of_one_gradient_and_a_few_chunks(views, classes):
    program = PEAK.format(views=views, classes=classes)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    peak, whole = map(int, found.stdout.split())
    assert peak <= whole + 8 * 4 * sweeps.CHUNK_ELEMENTS // 1024 + 8 * 1024
