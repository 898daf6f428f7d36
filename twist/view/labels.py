"""Where labels go so that none covers another, and none a curve where there is room beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Pixels: a character of a small label, and the way from the axis.
_CHARACTER, _MARGIN = 5.6, 6.0


class Box(NamedTuple):
    """A rectangle, in pixels from the lower left corner of a plot."""

    left: float
    right: float
    low: float
    high: float

    def meets(self, other: Box) -> bool:
        """Whether two boxes share any area."""
        return self.left < other.right and other.left < self.right and self.low < other.high and other.low < self.high

    def cost(self, taken: Sequence[Box], points: np.ndarray) -> tuple[int, int]:
        """How many boxes it meets and how many of the points ``[K, 2]`` it covers."""
        x, y = points.T
        covered = (x >= self.left) & (x <= self.right) & (y >= self.low) & (y <= self.high)
        return sum(self.meets(box) for box in taken), int(covered.sum())


def spread(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Heights at least ``gap`` apart between ``low`` and ``high``, in the same order, moved as little as can be.

    Least squares: with ``gap`` taken off once per rank the task is isotonic regression, solved by pooling neighbors.
    Where there is too little room the gap shrinks.

    Examples
    --------
    >>> spread(np.array([1.0, 1.0, 5.0]), 0.5, 0.0, 10.0).tolist()
    [0.75, 1.25, 5.0]
    >>> spread(np.array([9.9, 9.8]), 0.5, 0.0, 10.0).tolist()
    [10.0, 9.5]
    """
    count = len(heights)
    gap = min(gap, (high - low) / max(1, count - 1))
    order = np.argsort(heights, kind="stable")
    pools: list[tuple[float, int]] = []
    for rank, value in enumerate(heights[order]):
        pool = (float(value) - rank * gap, 1)
        while pools and pools[-1][0] > pool[0]:
            mean, size = pools.pop()
            pool = ((mean * size + pool[0] * pool[1]) / (size + pool[1]), size + pool[1])
        pools.append(pool)
    flat = np.concatenate([np.full(size, mean) for mean, size in pools]) if pools else np.zeros(0)
    moved = np.empty(count)
    moved[order] = np.clip(flat, low, high - (count - 1) * gap) + np.arange(count) * gap
    return moved


def free_box(candidates: Sequence[Box], taken: Sequence[Box], points: np.ndarray) -> Box:
    """The first candidate that meets no box and covers no point, else the one that does so least."""
    return min(candidates, key=lambda box: box.cost(taken, points))


def along(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points ``[K, 2]`` so close along a curve that no label passes between them unseen."""
    known = np.isfinite(y)
    if not known.any():
        return np.zeros((0, 2))
    grid = np.linspace(x[known][0], x[known][-1], 500)
    return np.stack([np.append(grid, x[known]), np.append(np.interp(grid, x[known], y[known]), y[known])], 1)


def boxes_along(height: float, words: str, above: bool, width: float) -> list[Box]:
    """Boxes for a small label along a line at a height, on the side asked for and on the other, the best first."""
    own = _CHARACTER * len(words)
    lefts = np.linspace(_MARGIN, max(_MARGIN, width - own), 12)
    sides = [(height, height + 15), (height - 15, height)]
    return [Box(left, left + own, *side) for left in lefts for side in (sides if above else sides[::-1])]
