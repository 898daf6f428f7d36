"""The least of a smooth convex function by L-BFGS: few steps, each with one look at the function."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: A function's value and gradient, float64.
Objective = Callable[[Tensor], tuple[float, Tensor]]
#: Divides by about the function's curvature at a place.
Straighten = Callable[[Tensor], Tensor]
# Steps that are remembered, fewer where they would take more numbers than the second.
_REMEMBERED, _FEWEST, _MOST_NUMBERS = 20, 5, 2**25
# Values nearer than this share are equal: they are sums of terms in float32.
_LEVEL = 1e-6
# The curvature is looked at after so many steps, after so many again at least, and then whenever they have doubled.
_FIRST_LOOK, _SECOND_LOOK = 10, 40
# Steps without a smaller gradient or a smaller value after which there is none to be had.
_PATIENCE = 50


class Descent(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    at
        The place.
    value
        The function's value there.
    gradient
        Largest entry of its gradient there.
    steps
        Steps that were taken.
    """

    at: Tensor
    value: float
    gradient: float
    steps: int


def descend(
    objective: Objective,
    start: Tensor,
    tolerance: float,
    max_steps: int,
    on_progress: Callable[[int, int], object] | None = None,
    curvature: Callable[[Tensor], Straighten] | None = None,
) -> Descent:
    """Go down from a start until no entry of the gradient is larger than the tolerance.

    It ends earlier after ``max_steps``, or when no step goes down any more because values and gradients are too coarse.
    The value never rises by more than its rounding.

    Parameters
    ----------
    objective
        A convex function of a float64 tensor.
    start
        Where to begin.
    tolerance, max_steps
        When to end.
    on_progress
        Told the steps that were taken and how many there are at most, every ten.
    curvature
        What divides by about the function's curvature at a place: it is asked a few times, and saves many steps where
        the curvature at the end is not that of the start.

    Examples
    --------
    >>> bowl = torch.tensor([1.0, 100.0], dtype=torch.float64)
    >>> found = descend(lambda at: ((bowl * at * at).sum().item() / 2, bowl * at), torch.ones(2).double(), 1e-6, 50)
    >>> found.gradient <= 1e-6, found.steps < 20
    (True, True)
    """
    at, (value, slope) = start, objective(start)
    keep = max(_FEWEST, min(_REMEMBERED, _MOST_NUMBERS // (2 * at.numel())))
    memory: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=keep)
    steps, look, straighten = 0, _FIRST_LOOK, None
    best, lowest, since = math.inf, math.inf, 0
    while (steepest := slope.abs().max().item()) > tolerance and steps < max_steps:
        if steepest < best or value < lowest - _LEVEL * abs(lowest):
            best, lowest, since = min(best, steepest), min(lowest, value), steps
        elif steps - since >= _PATIENCE:
            break
        if curvature is not None and steps == look:
            straighten, look = curvature(at), max(_SECOND_LOOK, 2 * steps)
        found = _step(objective, at, value, slope, _direction(slope, memory, straighten))
        if found is None:
            if not memory:
                break
            memory.clear()  # straight down instead
            continue
        after, value, after_slope = found
        way, change = after - at, after_slope - slope
        curved = _dot(way, change)
        if curved > 1e-14 * _dot(change, change):
            memory.append((way, change, curved))
        at, slope, steps = after, after_slope, steps + 1
        if on_progress is not None and steps % 10 == 0:
            on_progress(steps, max_steps)
    return Descent(at, value, steepest, steps)


def _direction(slope: Tensor, memory: deque[tuple[Tensor, Tensor, float]], straighten: Straighten | None) -> Tensor:
    """The slope, straightened by what the last steps told of the curvature (Nocedal and Wright, algorithm 7.4)."""
    down, shares = -slope, []
    for way, change, curved in reversed(memory):
        share = _dot(way, down) / curved
        down = down.sub(change, alpha=share)
        shares.append(share)
    if straighten is not None:
        down = straighten(down)
    if memory:
        _, change, curved = memory[-1]
        down = down * (curved / _dot(change, change if straighten is None else straighten(change)))
    for (way, change, curved), share in zip(memory, reversed(shares), strict=True):
        down = down.add(way, alpha=share - _dot(change, down) / curved)
    return down


def _step(
    objective: Objective, at: Tensor, value: float, slope: Tensor, down: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """The first of ever shorter steps that goes down enough; None when none does.

    Near the end values are equal up to their rounding; there a step is good that makes the slope along it flatter.
    """
    steepness = _dot(slope, down)
    if not steepness < 0:
        return None
    length = 1.0
    for _ in range(30):
        after = at.add(down, alpha=length)
        after_value, after_slope = objective(after)
        if after_value <= value + 1e-4 * length * steepness:
            return after, after_value, after_slope
        level = after_value <= value + _LEVEL * abs(value)
        if level and abs(_dot(after_slope, down)) <= 0.9 * -steepness:
            return after, after_value, after_slope
        length /= 2
    return None


def _dot(one: Tensor, other: Tensor) -> float:
    return torch.dot(one.flatten(), other.flatten()).item()
