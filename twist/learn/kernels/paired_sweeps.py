"""The two sweeps of `twist.learn.sweeps` as four Triton kernels, for logits of at most float32.

The first kernel reads the logits of a sample twice: for the largest and the sum of exponentials of every view, then for
the terms. The second reads them by columns, for the mean distributions: no atomic sums, so the same bits every time.
The third ends the terms. The last reads the logits twice and writes the gradient. A program of the first and the last
holds all views of a block of classes, so that what the pairs share is summed once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from twist.learn.sweeps import Terms, Weights

TILE_ELEMENTS = 4096  # eight per thread: a dozen such tiles stay in registers
#: Sums are rounded as they are written: a fused x / temperature - largest could lie above 0.
LAUNCH = {"num_warps": 16, "enable_fp_fusion": False}


class Found(NamedTuple):
    """What the first two kernels found.

    Attributes
    ----------
    consistency, sharpness
        Of every sample.
    mean_probs
        Mean distribution of every view.
    kept
        Largest scaled logit, and sum of the exponentials below it, of every row.
    """

    consistency: Float[Tensor, " N"]
    sharpness: Float[Tensor, " N"]
    mean_probs: Float[Tensor, "V C"]
    kept: Float[Tensor, "2 V N"]


def first_sweep(
    blocks: Sequence[Float[Tensor, "_ N C"]], *, temperature: int | float, eps: int | float, keep: bool
) -> Found:
    """As `twist.learn.sweeps.first_sweep`; what is kept is small, kept or not."""
    logits = _as_one(blocks)
    V, N, C = logits.shape
    consistency, sharpness, kept, mean_probs = (
        torch.empty(shape, dtype=torch.float32, device=logits.device) for shape in ((N,), (N,), (2, V, N), (V, C))
    )
    with _on(logits.device):
        _terms_of_samples[(N,)](
            logits, kept, consistency, sharpness, N, C, *logits.stride()[:2], 1 / temperature, eps, V=V, **_tile(V, eps)
        )
        block = 128
        _means_of_columns[(V, triton.cdiv(C, block))](
            logits, kept, mean_probs, N, C, *logits.stride()[:2], 1 / temperature, ROWS=32, BLOCK=block, **LAUNCH
        )
    return Found(consistency, sharpness, mean_probs, kept)


def finish(
    found: Found, mean_probs: Float[Tensor, "V C"], *, weights: Weights, eps: int | float
) -> tuple[Terms, Float[Tensor, "V C"]]:
    """As `twist.learn.sweeps.finish`."""
    (V, C), N = mean_probs.shape, len(found.consistency)
    slope = torch.empty_like(mean_probs, memory_format=torch.contiguous_format)
    terms = torch.empty(4, dtype=torch.float32, device=slope.device)
    with _on(slope.device):
        _finish[(1,)](
            found.consistency,
            found.sharpness,
            mean_probs.contiguous(),
            slope,
            terms,
            N,
            C,
            eps,
            *map(float, weights),
            V=V,
            EXACT=not eps,
            BLOCK=2048,
            **LAUNCH,
        )
    return Terms(*terms.unbind()), slope


def second_sweep(
    blocks: Sequence[Float[Tensor, "_ N C"]],
    kept: Float[Tensor, "2 V N"] | None,
    slope: Float[Tensor, "V C"],
    upstream: Sequence[Tensor | None],
    *,
    weights: Weights,
    temperature: int | float,
    eps: int | float,
) -> Float[Tensor, "V N C"]:
    """As `twist.learn.sweeps.second_sweep`."""
    logits = _as_one(blocks)
    V, N, C = logits.shape
    if kept is None:
        kept = first_sweep(blocks, temperature=temperature, eps=eps, keep=True).kept
    gradient = torch.empty((V, N, C), dtype=logits.dtype, device=logits.device)
    with _on(logits.device):
        _gradient[(N,)](
            logits,
            kept,
            slope.contiguous(),
            gradient,
            *upstream,
            N,
            C,
            *logits.stride()[:2],
            1 / temperature,
            eps,
            *map(float, weights),
            V=V,
            **_tile(V, eps),
        )
    return gradient


def _as_one(blocks: Sequence[Tensor]) -> Tensor:
    logits = blocks[0] if len(blocks) == 1 else torch.cat(list(blocks))
    return logits if logits.stride(2) == 1 else logits.contiguous()


def _tile(num_views: int, eps: int | float) -> dict[str, Any]:
    views = triton.next_power_of_2(num_views)
    return {"VIEWS": views, "BLOCK": max(TILE_ELEMENTS // views, 16), "EXACT": not eps, **LAUNCH}


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


# Type checkers that wrap functions as they are imported would hide the kernels' sources from Triton: no_type_check.


@triton.jit
@no_type_check
def _load(
    logits, row, view_stride, start, C, inverse_temperature, V: tl.constexpr, VIEWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Scaled logits of one sample: views by classes. Beyond the last class -inf, beyond the last view 0."""
    view, column = tl.arange(0, VIEWS)[:, None], start + tl.arange(0, BLOCK)[None, :]
    there = (view < V) & (column < C)
    x = tl.load(logits + row + view.to(tl.int64) * view_stride + column, mask=there, other=-float("inf"))
    return tl.where(view < V, x.to(tl.float32) * inverse_temperature, 0.0)


@triton.jit
@no_type_check
def _probs_and_logs(x, largest, total, eps, EXACT: tl.constexpr):
    """Class distributions, their logarithms, and p / (p + eps); 0, 0 and whatever beyond the last class."""
    below = x - largest[:, None]
    p = tl.exp(below) / total[:, None]
    if EXACT:
        return p, tl.where(below > -float("inf"), below - tl.log(total)[:, None], 0.0), tl.full(p.shape, 1.0, p.dtype)
    return p, tl.where(below > -float("inf"), tl.log(p + eps), 0.0), p / (p + eps)


@triton.jit
@no_type_check
def _pick(values, view, index: tl.constexpr):
    return tl.sum(tl.where(view == index, values, 0.0), 0)


@triton.jit
@no_type_check
def _terms_of_samples(
    logits, kept, consistency, sharpness, N, C, view_stride, row_stride, inverse_temperature, eps,
    V: tl.constexpr, VIEWS: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    row = sample * row_stride
    views = tl.arange(0, VIEWS)
    view = views[:, None]
    largest = tl.full([VIEWS], -3.0e38, tl.float32)
    total = tl.zeros([VIEWS], tl.float32)
    for start in range(0, C, BLOCK):
        x = _load(logits, row, view_stride, start, C, inverse_temperature, V, VIEWS, BLOCK)
        new = tl.maximum(largest, tl.max(x, 1))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new[:, None]), 1)
        largest = new
    tl.store(kept + views * N + sample, largest, mask=views < V)
    tl.store(kept + (V + views) * N + sample, total, mask=views < V)
    minus_entropy = tl.zeros([VIEWS], tl.float32)
    apart = tl.zeros([BLOCK], tl.float32)
    for start in range(0, C, BLOCK):
        x = _load(logits, row, view_stride, start, C, inverse_temperature, V, VIEWS, BLOCK)
        p, log, _ = _probs_and_logs(x, largest, total, eps, EXACT)
        minus_entropy += tl.sum(p * log, 1)
        p0, p1, l0, l1 = _pick(p, view, 0), _pick(p, view, 1), _pick(log, view, 0), _pick(log, view, 1)
        apart += (V / 2) * (p0 - p1) * (l0 - l1)
        if V > 2:
            products = (p - ((p0 + p1) / 2)[None, :]) * (log - ((l0 + l1) / 2)[None, :])
            apart += 2 * tl.sum(tl.where((view >= 2) & (view < V), products, 0.0), 0)
    share = tl.where(views < 2, V - 1, tl.where(views < V, 2, 0)) / (2.0 * (2 * V - 3))
    tl.store(consistency + sample, tl.sum(apart, 0) / (2 * (2 * V - 3)))
    tl.store(sharpness + sample, -tl.sum(share * minus_entropy, 0))


@triton.jit
@no_type_check
def _means_of_columns(
    logits, kept, mean_probs, N, C, view_stride, row_stride, inverse_temperature,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    view, views = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, ROWS):
        sample = start + tl.arange(0, ROWS)
        there = (sample < N)[:, None] & (column < C)[None, :]
        place = view * view_stride + sample.to(tl.int64)[:, None] * row_stride + column[None, :]
        x = tl.load(logits + place, mask=there, other=-float("inf")).to(tl.float32) * inverse_temperature
        largest = tl.load(kept + view * N + sample, mask=sample < N, other=0.0)
        sums = tl.load(kept + (views + view) * N + sample, mask=sample < N, other=1.0)
        total += tl.sum(tl.exp(x - largest[:, None]) / sums[:, None], 0)
    tl.store(mean_probs + view * C + column, total / N, mask=column < C)


@triton.jit
@no_type_check
def _finish(
    consistency, sharpness, mean_probs, slope, terms, N, C, eps, consistency_weight, sharpness_weight, diversity_weight,
    V: tl.constexpr, EXACT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    offset = tl.arange(0, BLOCK)
    apart = tl.zeros([BLOCK], tl.float32)
    entropy = tl.zeros([BLOCK], tl.float32)
    of_means = tl.zeros([BLOCK], tl.float32)
    for start in range(0, N, BLOCK):
        there = start + offset < N
        apart += tl.load(consistency + start + offset, mask=there, other=0.0)
        entropy += tl.load(sharpness + start + offset, mask=there, other=0.0)
    for view in range(0, V):
        share = tl.where(view < 2, V - 1, 2) / (2.0 * (2 * V - 3))
        for start in range(0, C, BLOCK):
            place, there = view * C + start + offset, start + offset < C
            m = tl.load(mean_probs + place, mask=there, other=0.0)
            shifted = tl.maximum(m, 1.1754943508222875e-38) if EXACT else m + eps
            log = tl.log(shifted)
            of_means -= share * m * log
            tl.store(slope + place, -share * (m / shifted + log), mask=there)
    a, b, c = tl.sum(apart, 0) / N, tl.sum(entropy, 0) / N, tl.sum(of_means, 0)
    tl.store(terms, consistency_weight * a + sharpness_weight * b - diversity_weight * c)
    tl.store(terms + 1, a)
    tl.store(terms + 2, b)
    tl.store(terms + 3, c)


@triton.jit
@no_type_check
def _plus(value, pointer):
    return value if pointer is None else value + tl.load(pointer)


@triton.jit
@no_type_check
def _slope_times_probs(x, largest, total, of_probs, of_pair, own, view, eps, V: tl.constexpr, EXACT: tl.constexpr):
    """Class distributions p, and h = p ∂/∂p + p / (p + eps) ∂/∂l, both 0 beyond the last class."""
    p, log, ratio = _probs_and_logs(x, largest, total, eps, EXACT)
    p0, p1, l0, l1 = _pick(p, view, 0), _pick(p, view, 1), _pick(log, view, 0), _pick(log, view, 1)
    local = (view >= 2) & (view < V)
    sum_p, sum_l = tl.sum(tl.where(local, p, 0.0), 0), tl.sum(tl.where(local, log, 0.0), 0)
    near_p = tl.where(view == 0, (sum_p + p1)[None, :], tl.where(view == 1, (sum_p + p0)[None, :], (p0 + p1)[None, :]))
    near_l = tl.where(view == 0, (sum_l + l1)[None, :], tl.where(view == 1, (sum_l + l0)[None, :], (l0 + l1)[None, :]))
    return p, p * (of_probs + own * log - of_pair * near_l) + ratio * (own * p - of_pair * near_p)


@triton.jit
@no_type_check
def _gradient(
    logits, kept, slope, gradient, of_total, of_consistency, of_sharpness, of_diversity,
    N, C, view_stride, row_stride, inverse_temperature, eps, consistency_weight, sharpness_weight, diversity_weight,
    V: tl.constexpr, VIEWS: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    row = sample * row_stride
    views = tl.arange(0, VIEWS)
    view = views[:, None]
    minimized = _plus(0.0, of_total)
    scale = inverse_temperature / N
    consistency = _plus(consistency_weight * minimized, of_consistency) * scale
    sharpness = _plus(sharpness_weight * minimized, of_sharpness) * scale
    diversity = _plus(-diversity_weight * minimized, of_diversity) * scale
    of_pair = consistency / (2 * (2 * V - 3))
    own = tl.where(view < 2, V - 1, 2) / (2.0 * (2 * V - 3)) * (consistency - sharpness)
    largest = tl.load(kept + views * N + sample, mask=views < V, other=0.0)
    total = tl.load(kept + (V + views) * N + sample, mask=views < V, other=1.0)
    sums = tl.zeros([VIEWS], tl.float32)
    for start in range(0, C, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        there = (view < V) & (column < C)
        of_probs = diversity * tl.load(slope + view * C + column, mask=there, other=0.0)
        x = _load(logits, row, view_stride, start, C, inverse_temperature, V, VIEWS, BLOCK)
        p, h = _slope_times_probs(x, largest, total, of_probs, of_pair, own, view, eps, V, EXACT)
        sums += tl.sum(h, 1)
    for start in range(0, C, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        there = (view < V) & (column < C)
        of_probs = diversity * tl.load(slope + view * C + column, mask=there, other=0.0)
        x = _load(logits, row, view_stride, start, C, inverse_temperature, V, VIEWS, BLOCK)
        p, h = _slope_times_probs(x, largest, total, of_probs, of_pair, own, view, eps, V, EXACT)
        place = (view.to(tl.int64) * N + sample) * C + column
        tl.store(gradient + place, h - p * sums[:, None], mask=there)
