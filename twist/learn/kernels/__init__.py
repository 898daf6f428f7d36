"""Fused GPU kernels behind functions that also exist without them; Triton is imported when they are first asked for."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from twist.learn import sweeps
from twist.learn.sweeps import Weights


@functools.cache
def passes_self_test(device: torch.device, num_views: int) -> bool:
    """Whether the kernels run on this device and agree there with `twist.learn.sweeps`; asked once, in a second or two.

    For each number of views, as another one is other compiled code. A refusal is said in a warning with its reason, and
    the loss is then computed without them.
    """
    try:
        from twist.learn.kernels import paired_sweeps

        worst = max(
            _disagreement(paired_sweeps, logits.to(device), eps)
            for logits, eps in (
                (_logits(num_views, 5, 3000), 1e-5),
                (_logits(num_views, 3, 700), 0),
                (_logits(num_views, 3, 700).half(), 1e-5),
            )
        )
    # A compiler or driver can fail in any way at all; nothing of it may stop a training run.
    except Exception as error:
        return _refuse(device, f"{type(error).__name__}: {error}".splitlines()[0])
    return worst <= 1 or _refuse(device, f"they differ from the plain computation by {worst:.3g} times the tolerance")


def _logits(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _disagreement(kernels: Any, logits: Tensor, eps: int | float) -> float:
    """Largest difference in terms and gradient over its tolerance."""
    found, expected = (_terms_and_gradient(module, logits, eps) for module in (kernels, sweeps))
    rounding = (1e-5, torch.finfo(logits.dtype).eps + 1e-5)
    differences = [
        ((ours - theirs).abs().max() / (tolerance * theirs.abs().max())).item()
        for ours, theirs, tolerance in zip(found, expected, rounding, strict=True)
    ]
    return max(differences) if all(difference == difference for difference in differences) else float("inf")


def _terms_and_gradient(module: Any, logits: Tensor, eps: int | float) -> tuple[Tensor, Tensor]:
    weights, upstream = Weights(1.0, 0.4, 1.5), (logits.new_ones((), dtype=torch.float32), None, None, None)
    found = module.first_sweep([logits], temperature=0.7, eps=eps, keep=True)
    terms, slope = module.finish(found, found.mean_probs, weights=weights, eps=eps)
    gradient = module.second_sweep([logits], found.kept, slope, upstream, weights=weights, temperature=0.7, eps=eps)
    return torch.stack(list(terms)), gradient.float()


def _refuse(device: torch.device, reason: str) -> bool:
    warnings.warn(
        f"the fused kernels of the loss are not used on {device}, {reason}: it is computed without them, as exactly "
        "but more slowly",
        stacklevel=2,
    )
    return False
