"""The terms of paired views as one differentiable step, whose gradient is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn import sweeps as eager_sweeps
from twist.learn.kernels import passes_self_test
from twist.learn.sweeps import Terms, Weights


def paired_terms(
    logits: Sequence[Float[Tensor, "N C"]] | Float[Tensor, "V N C"],
    *,
    temperature: int | float,
    weights: Weights,
    eps: int | float,
    mean_over_processes: Callable[[Tensor], Tensor] | None,
    kernels: bool,
) -> Terms:
    """Total and terms of `twist.learn.objective.twist_loss`, for one temperature; differentiable once."""
    views = (logits,) if isinstance(logits, Tensor) else tuple(logits)
    keep = torch.is_grad_enabled() and any(view.requires_grad for view in views)
    sweeps = _choose_sweeps(views[0].device, {view.dtype for view in views}, len(logits), kernels)
    setting = _Setting(temperature, weights, eps, mean_over_processes, keep, sweeps)
    return Terms(*_PairedTerms.apply(setting, *views))


class _Setting(NamedTuple):
    temperature: int | float
    weights: Weights
    eps: int | float
    mean_over_processes: Callable[[Tensor], Tensor] | None
    keep: bool
    sweeps: Any


def _choose_sweeps(device: torch.device, dtypes: Iterable[torch.dtype], num_views: int, kernels: bool) -> Any:
    """The kernels where they are wanted, possible and found exact; else the same functions without them."""
    possible = device.type == "cuda" and all(dtype.itemsize <= 4 for dtype in dtypes)
    if kernels and possible and passes_self_test(device, num_views):
        from twist.learn.kernels import paired_sweeps

        return paired_sweeps
    return eager_sweeps


class _PairedTerms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, setting: _Setting, *views: Tensor) -> tuple[Tensor, ...]:
        temperature, weights, eps, mean_over_processes, keep, sweeps = setting
        found = sweeps.first_sweep(_blocks(views), temperature=temperature, eps=eps, keep=keep)
        means, ctx.means_of_processes = found.mean_probs, None
        if mean_over_processes is not None:
            with torch.set_grad_enabled(keep):
                own = means.requires_grad_(keep)
                joined = mean_over_processes(own)
            if joined is not own:  # else this process has the whole batch
                means, ctx.means_of_processes = joined.detach(), (joined, own)
            means = means.detach()
        terms, slope = sweeps.finish(found, means, weights=weights, eps=eps)
        ctx.setting, ctx.kept = setting, found.kept
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(slope, *views)
        return tuple(terms)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the TWIST loss has no second derivative: leave out create_graph=True")
        slope, *views = ctx.saved_tensors
        temperature, weights, eps, _, _, sweeps = ctx.setting
        if ctx.means_of_processes is not None:
            joined, own = ctx.means_of_processes
            (slope,) = torch.autograd.grad(joined, own, slope, retain_graph=True)
        # What was kept is overwritten: a second call, on a retained graph, computes it anew.
        kept, ctx.kept = ctx.kept, None
        gradient = sweeps.second_sweep(
            _blocks(views), kept, slope, upstream, weights=weights, temperature=temperature, eps=eps
        )
        of_views = (gradient,) if views[0].ndim == 3 else gradient.unbind()
        needed = ctx.needs_input_grad[1:]
        return None, *(part if wanted else None for part, wanted in zip(of_views, needed, strict=True))


def _blocks(views: Sequence[Tensor]) -> list[Tensor]:
    """The views as tensors of several views each: as one, without a copy, when they are equal slices of one tensor."""
    if views[0].ndim == 3:
        return list(views)
    first, second = views[:2]
    step = second.storage_offset() - first.storage_offset()
    equal_slices = step >= 0 and all(
        view.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and view.storage_offset() == first.storage_offset() + number * step
        and view.stride() == first.stride()
        and view.dtype == first.dtype
        for number, view in enumerate(views)
    )
    if equal_slices:
        return [first.as_strided((len(views), *first.shape), (step, *first.stride()))]
    return [view[None] for view in views]
