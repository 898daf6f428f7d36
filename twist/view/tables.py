"""Columns out of tables, ready to be drawn: gaps where nothing is known, and no more points than can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 2_000
"""Points kept of a curve: more cannot be seen, and every update of a live figure sends them all."""


def column(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one column, float32; a column that is not there is all gaps."""
    steps = table.index.to_numpy(np.float32)
    if name not in table:
        return steps, np.full(len(steps), np.nan, np.float32)
    values = table[name].to_numpy(np.float64, na_value=np.nan)
    return steps, np.where(np.isfinite(values), values, np.nan).astype(np.float32)


def known(table: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one column where it has any: a quantity that is recorded more rarely than others."""
    steps, values = column(table, name)
    there = np.isfinite(values)
    return steps[there], values[there]


def or_empty(table: pd.DataFrame | None) -> pd.DataFrame:
    """The table, or one without rows."""
    import pandas as pd

    return pd.DataFrame(index=pd.Index([], name="step")) if table is None else table


def decimate(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` points of a curve that keep its ends, its smallest and its largest value in every stretch.

    Examples
    --------
    >>> x = np.arange(100_000)
    >>> len(decimate(x, np.sin(x / 50))[0]) <= 2_000
    True
    """
    if len(x) <= limit:
        return x, y
    size = -(-len(x) // max(1, limit // 2 - 1))  # points of a stretch
    count = -(-len(x) // size)
    low, high = np.full((2, count * size), np.inf)
    finite = np.isfinite(y)
    low[: len(y)], high[: len(y)] = np.where(finite, y, np.inf), np.where(finite, -y, np.inf)
    starts = size * np.arange(count)
    ends = [stretch.reshape(count, size).argmin(1) + starts for stretch in (low, high)]
    chosen = np.unique(np.concatenate([*ends, [0, len(x) - 1]]))
    return x[chosen], y[chosen]


def thinned(count: int, limit: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most ``limit`` evenly spaced rows out of ``count``, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, limit)).astype(int))
