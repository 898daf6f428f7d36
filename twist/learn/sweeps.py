"""The two sweeps of the loss of paired views over chunks of samples: terms forward, gradient backward; on any device.

For a sample, with p = softmax(logits / temperature) and l = log(p + eps) of each view, the slopes of the terms in p and
l are linear in P and L, the sums of p and l over the views that this one is paired with. So neither sweep forms a pair.
Beside the logits only the logarithms are held whole, and the gradient is written over them; all else is a chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

#: Of all views together. Measured at V=14, C=4,096 and V=2, C=32,768: 2**18 and 2**19 are the fastest, 2**16 and 2**21
#: take a fifth more, as buffers leave the caches; of the two, the larger lets threads wait for each other less often.
CHUNK_ELEMENTS = 2**19
#: On other devices, where starting an operation costs more than memory does.
DEVICE_CHUNK_ELEMENTS = 2**24


class Weights(NamedTuple):
    """Weights of the terms in the total, in which diversity is subtracted."""

    consistency: int | float
    sharpness: int | float
    diversity: int | float


class Terms(NamedTuple):
    """Scalars in nats, as in `twist.learn.objective.LossTerms`."""

    total: Float[Tensor, ""]
    consistency: Float[Tensor, ""]
    sharpness: Float[Tensor, ""]
    diversity: Float[Tensor, ""]


class Found(NamedTuple):
    """What the first sweep found on this process.

    Attributes
    ----------
    consistency, sharpness
        Means over the samples.
    mean_probs
        Mean distribution of every view.
    kept
        log(p + eps) of everything, for the second sweep; None when there will be none, or for half precision.
    """

    consistency: Float[Tensor, ""]
    sharpness: Float[Tensor, ""]
    mean_probs: Float[Tensor, "V C"]
    kept: Float[Tensor, "V N C"] | None


def first_sweep(
    blocks: Sequence[Float[Tensor, "_ N C"]], *, temperature: int | float, eps: int | float, keep: bool
) -> Found:
    """Consistency, sharpness and the mean distributions.

    Parameters
    ----------
    blocks
        Logits of the views, in one tensor or several; global views first.
    temperature, eps
        As in `twist.learn.objective.twist_loss`.
    keep
        Whether a second sweep will follow.
    """
    chunks = _Chunks(blocks, temperature, eps)
    V, N, C = chunks.shape
    kept = chunks.empty(V, N, C) if keep and chunks.logits_dtype == chunks.dtype else None
    buffers = [chunks.buffer() for _ in range(2 if kept is not None else 3)]
    sums, minus_entropy, of_globals, of_locals = (chunks.zeros(*shape) for shape in ((V, C), (V,), (), ()))
    for rows in chunks.rows():
        p, scratch, *logs = (buffer[:, : rows.stop - rows.start] for buffer in buffers)
        log = logs[0] if kept is None else kept[:, rows]
        chunks.softmax(rows, p, scratch)
        chunks.log(p, scratch, log)
        sums += p.sum(1)
        minus_entropy += torch.mul(p, log, out=scratch).sum((1, 2))
        # Products of differences: small divergences are not differences of large entropies.
        of_globals += torch.sub(p[0], p[1], out=scratch[0]).mul_(torch.sub(log[0], log[1], out=scratch[1])).sum()
        if V > 2:
            middle = [torch.lerp(x[0], x[1], 0.5, out=out) for x, out in ((p, scratch[0]), (log, scratch[1]))]
            apart = torch.sub(p[2:], middle[0], out=scratch[2:])
            of_locals += apart.mul_(torch.sub(log[2:], middle[1], out=p[2:])).sum()
    shares = _shares_in_pairs(V, sums)
    divergence = (1 + (V - 2) / 2) * of_globals + 2 * of_locals
    return Found(divergence / (2 * (2 * V - 3) * N), (shares * minus_entropy).sum() / -N, sums.div_(N), kept)


def finish(
    found: Found, mean_probs: Float[Tensor, "V C"], *, weights: Weights, eps: int | float
) -> tuple[Terms, Float[Tensor, "V C"]]:
    """The terms, and the slope of diversity in the mean distributions of the whole batch."""
    shifted = mean_probs + eps if eps else mean_probs.clamp(min=torch.finfo(mean_probs.dtype).tiny)
    logs = shifted.log()
    shares = _shares_in_pairs(len(mean_probs), mean_probs)[:, None]
    diversity = -(shares * mean_probs * logs).sum()
    total = (
        weights.consistency * found.consistency + weights.sharpness * found.sharpness - weights.diversity * diversity
    )
    return Terms(total, found.consistency, found.sharpness, diversity), -shares * (mean_probs / shifted + logs)


def second_sweep(
    blocks: Sequence[Float[Tensor, "_ N C"]],
    kept: Float[Tensor, "V N C"] | None,
    slope: Float[Tensor, "V C"],
    upstream: Sequence[Tensor | None],
    *,
    weights: Weights,
    temperature: int | float,
    eps: int | float,
) -> Float[Tensor, "V N C"]:
    """Gradient in the logits.

    Parameters
    ----------
    blocks, temperature, eps
        As in `first_sweep`.
    kept
        What that kept: it becomes the gradient. None computes the logarithms again.
    slope
        Of diversity in this process's mean distributions.
    upstream, weights
        The gradients in the four `Terms`, None where nothing arrived, and the weights that made the total.

    Notes
    -----
    With h = p ∂/∂p + p / (p + eps) ∂/∂l the gradient is (h - p Σ h) / temperature, and for N samples

        ∂/∂p = slope / N + a l - k L,    ∂/∂l = a p - k P,

    where k is the slope in one pair and a the view's share of the slope in consistency less that in sharpness: with
    equal weights a = 0, and the two terms are together a cross-entropy between the views.
    """
    chunks = _Chunks(blocks, temperature, eps)
    V, N, C = chunks.shape
    gradient = slope.new_empty((V, N, C), dtype=chunks.logits_dtype) if kept is None else kept
    of_consistency, of_sharpness, of_diversity = _slopes(upstream, weights)
    scale = 1 / (N * temperature)
    of_probs = slope[:, None] * (of_diversity * scale)
    of_pair = slope.new_full((), scale / (2 * (2 * V - 3))) * of_consistency
    of_own = (of_consistency - of_sharpness) * scale
    has_own = isinstance(of_own, Tensor) or of_own != 0
    own = _shares_in_pairs(V, slope)[:, None, None] * of_own
    alike: tuple[int | slice, ...] = (0, 1, slice(2, None))
    buffers = [chunks.buffer() for _ in range(3 if kept is not None else 4)]
    for rows in chunks.rows():
        p, shifted, g, *logs = (buffer[:, : rows.stop - rows.start] for buffer in buffers)
        log = logs[0] if kept is None else gradient[:, rows]
        chunks.softmax(rows, p, shifted)
        if kept is None:
            chunks.log(p, shifted, log)
        elif eps:
            torch.add(p, eps, out=shifted)
        for view, L, P in zip(alike, _paired_with(log), _paired_with(p), strict=False):
            near = torch.addcdiv(L, P, shifted[view], out=g[view]) if eps else L
            torch.addcmul(of_probs[view], near, of_pair, value=-1, out=g[view])
            if not eps:
                g[view].mul_(p[view]).addcmul_(P, of_pair, value=-1)
        if eps:
            if has_own:
                g.addcmul_(torch.addcdiv(log, p, shifted, out=shifted), own)
            g.mul_(p)
        elif has_own:
            g.addcmul_(torch.add(log, 1, out=shifted).mul_(p), own)
        torch.addcmul(g, p, g.sum(2, keepdim=True), value=-1, out=gradient[:, rows])
    return gradient


def _slopes(upstream: Sequence[Tensor | None], weights: Weights) -> list[Any]:
    """Slopes of what is minimized in consistency, sharpness and diversity."""
    read = (term.item() if term is not None and _is_read_for_nothing(term) else term for term in upstream)
    total, *own = (0.0 if term is None else term for term in read)
    in_total = (weights.consistency, weights.sharpness, -weights.diversity)
    return [weight * total + term for weight, term in zip(in_total, own, strict=True)]


def _is_read_for_nothing(term: Tensor) -> bool:
    return term.device.type == "cpu"  # a number spares a few operations; on a GPU it would have to be waited for


def _shares_in_pairs(num_views: int, like: Tensor) -> Tensor:
    """Share of each view in the 2V - 3 pairs: a global view stands in V - 1 of them, a local one in two."""
    pairs = 2 * num_views - 3
    shares = like.new_full((num_views,), 1 / pairs)  # filled in place: nothing is sent to a GPU
    shares[:2] = (num_views - 1) / (2 * pairs)
    return shares


def _paired_with(values: Tensor) -> list[Tensor]:
    """Sums over the views paired with the first, with the second and, if there are any, with each local one."""
    first, second = values[0], values[1]
    if len(values) == 2:
        return [second, first]
    local = values[2:].sum(0)
    return [second + local, first + local, first + second]


class _Chunks:
    """The logits of all views, a few samples at a time."""

    def __init__(self, blocks: Sequence[Tensor], temperature: int | float, eps: int | float) -> None:
        self.blocks, self.temperature, self.eps = blocks, temperature, eps
        self.logits_dtype = functools.reduce(torch.promote_types, (block.dtype for block in blocks))
        # Half precision keeps three digits: too few for differences of entropies.
        self.dtype = torch.promote_types(self.logits_dtype, torch.float32)
        _, N, C = blocks[0].shape
        V = sum(map(len, blocks))
        self.shape = V, N, C
        largest = CHUNK_ELEMENTS if blocks[0].device.type == "cpu" else DEVICE_CHUNK_ELEMENTS
        number = min(N, -(-V * N * C // largest))
        self._samples = -(-N // number)

    def rows(self) -> list[slice]:
        _, N, _ = self.shape
        return [slice(start, min(start + self._samples, N)) for start in range(0, N, self._samples)]

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.blocks[0].device)

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.blocks[0].device)

    def buffer(self) -> Tensor:
        V, _, C = self.shape
        return self.empty(V, self._samples, C)

    def softmax(self, rows: slice, probs: Tensor, scaled: Tensor) -> None:
        """Fill `probs`, and `scaled` with the logits over the temperature."""
        start = 0
        for block in self.blocks:
            scaled[start : start + len(block)].copy_(block[:, rows])
            start += len(block)
        if self.temperature != 1:
            scaled.div_(self.temperature)
        torch.softmax(scaled, 2, out=probs)

    def log(self, probs: Tensor, scaled: Tensor, logs: Tensor) -> None:
        """Fill `logs`; with eps, `scaled` becomes probs + eps."""
        if self.eps:
            torch.log(torch.add(probs, self.eps, out=scaled), out=logs)
        else:
            torch.log_softmax(scaled, 2, out=logs)
