"""Nearest neighbors among features, exact, and the weighted graph that UMAP makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_BLOCK = 500
_STRIDE = 8
_MOST_PASSING = 4
_TURNS = 48

Tell = Callable[[float], None]


def _nothing(share: float) -> None:
    """Tell nobody."""


def cosine_neighbors(features: np.ndarray, count: int, tell: Tell = _nothing) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` nearest rows of every row, itself first, and their cosine distances; exact, in blocks of rows.

    Parameters
    ----------
    features
        float32 ``[M, D]``, finite.
    count
        How many, 1 to M.
    tell
        Called with the share done after every block of 500 rows.

    Returns
    -------
    tuple
        int32 and float32 ``[M, count]``, nearest first; of equally near rows the first ones.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    found = _bounded(unit, count, tell) if len(unit) >= 2 * _STRIDE * count else None
    indices, likeness = _selected(unit, count, tell) if found is None else found
    return indices, np.maximum(1 - likeness, 0)


def _bounded(unit: np.ndarray, count: int, tell: Tell) -> tuple[np.ndarray, np.ndarray] | None:
    """Neighbors in 1 s where selecting among all takes 2.3 (10,000 rows of 512); None where too many are as near.

    The count-th nearest among every eighth row is no nearer than the count-th nearest of all. Few rows pass that bound,
    so that only those are sorted, and each pair of rows is compared once, for both.
    """
    total, sample = len(unit), np.ascontiguousarray(unit[::_STRIDE])
    bound, parts, passed = np.empty(total, np.float32), [], 0
    for first in range(0, total, _BLOCK):
        near = unit[first : first + _BLOCK] @ sample.T
        bound[first : first + _BLOCK] = np.partition(near, len(sample) - count, axis=1)[:, len(sample) - count]
    bound -= 1e-6  # products differ in their last digits between blocks of different shapes
    for first in range(0, total, _BLOCK):
        last = min(first + _BLOCK, total)
        block = np.arange(last - first)
        near = unit[first:last] @ unit[first:].T
        near[block, block] = 2  # the row itself comes first, also among duplicates
        passing = np.flatnonzero(near >= bound[first:last, None])
        row, column = np.divmod(passing, total - first)
        parts.append((first + row, first + column, near.ravel()[passing]))
        mirrored = near[:, len(block) :]
        row, column = np.nonzero(mirrored >= bound[None, last:])
        parts.append((last + column, first + row, mirrored[row, column]))
        passed += len(passing) + len(row)
        if passed > _MOST_PASSING * _STRIDE * count * total:
            return None
        tell(1 - (1 - last / total) ** 2)
    rows, columns, likeness = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(4.0 * rows - likeness, kind="stable")  # by row, nearest first
    starts = np.searchsorted(rows[order], np.arange(total))
    chosen = order[starts[:, None] + np.arange(count)]
    return columns[chosen].astype(np.int32), likeness[chosen]


def _selected(unit: np.ndarray, count: int, tell: Tell) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors by selection among all rows, as fast for a collapsed network whose features are nearly alike."""
    total = len(unit)
    indices, likeness = np.empty((total, count), np.int32), np.empty((total, count), np.float32)
    for first in range(0, total, _BLOCK):
        block = np.arange(first, min(first + _BLOCK, total))
        away = -(unit[block] @ unit.T)
        away[np.arange(len(block)), block] = -2
        nearest = np.sort(np.argpartition(away, count - 1, axis=1)[:, :count], axis=1)
        near = np.take_along_axis(away, nearest, 1)
        order = np.argsort(near, axis=1, kind="stable")
        indices[block] = np.take_along_axis(nearest, order, 1)
        likeness[block] = -np.take_along_axis(near, order, 1)
        tell((first + len(block)) / total)
    return indices, likeness


def fuzzy_graph(indices: np.ndarray, distances: np.ndarray) -> Any:
    """UMAP's graph of neighbors: how surely two rows are neighbors, 0 to 1, as a symmetric sparse ``[M, M]``.

    Every row measures distances on its own scale: its nearest neighbor is at 0, and the scale is such that the
    memberships of its ``K`` neighbors sum to log2 K. What one row says of the other and the other of it are joined by
    ``p + q - p q`` (McInnes, Healy and Melville 2018, algorithms 2 and 3).

    Parameters
    ----------
    indices, distances
        As `cosine_neighbors` gives them, ``[M, K]``, itself first.
    """
    from scipy.sparse import csr_matrix

    total, count = indices.shape
    gaps = distances.astype(np.float64)
    nearest = np.where(gaps > 0, gaps, np.inf).min(1)
    nearest[~np.isfinite(nearest)] = 0
    beyond = np.maximum(gaps - nearest[:, None], 0)
    low, high, scale = np.zeros(total), np.full(total, np.inf), np.ones(total)
    for _ in range(_TURNS):
        over = np.exp(-beyond[:, 1:] / scale[:, None]).sum(1) > np.log2(count)
        high, low = np.where(over, scale, high), np.where(over, low, scale)
        scale = np.where(np.isinf(high), scale * 2, (low + np.where(np.isinf(high), low, high)) / 2)
    scale = np.maximum(scale, 1e-3 * np.where(nearest > 0, gaps.mean(1), gaps.mean()))  # rows with many duplicates
    weights = np.exp(-beyond / np.maximum(scale, 1e-12)[:, None]).astype(np.float32)
    weights[:, 0] = 0
    columns = indices.flatten()  # a copy: zeros are taken out in place
    said = csr_matrix((weights.ravel(), columns, np.arange(0, total * count + 1, count)), shape=(total, total))
    said.eliminate_zeros()
    graph = (said + said.T - said.multiply(said.T)).tocsr()
    graph.sort_indices()
    return graph
