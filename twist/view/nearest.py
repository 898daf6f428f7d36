"""Nearest neighbors among features, exact, and the weighted graph that UMAP makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_BLOCK = 500
_TURNS = 48


def cosine_neighbors(
    features: np.ndarray, count: int, tell: Callable[[float], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` nearest rows of every row, itself first, and their cosine distances; exact, in blocks of rows.

    The count-th nearest among every eighth row is no nearer than the count-th nearest of all. So few rows pass that
    bound, and only those are sorted: half the time of selecting among all.

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
    total = len(features)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    indices = np.empty((total, count), np.int32)
    distances = np.empty((total, count), np.float32)
    stride = max(1, min(8, total // (4 * count)))
    for first in range(0, total, _BLOCK):
        block = np.arange(first, min(first + _BLOCK, total))
        likeness = unit[block] @ unit.T
        likeness[np.arange(len(block)), block] = 2  # the row itself comes first, also among duplicates
        sampled = np.ascontiguousarray(likeness[:, ::stride])
        bound = np.partition(sampled, sampled.shape[1] - count, axis=1)[:, sampled.shape[1] - count]
        passing = np.flatnonzero(likeness >= bound[:, None])
        rows, columns = np.divmod(passing, total)
        near = likeness.ravel()[passing]
        order = np.lexsort((columns, -near, rows))
        starts = np.searchsorted(rows, np.arange(len(block)))
        chosen = order[starts[:, None] + np.arange(count)]
        indices[block] = columns[chosen]
        distances[block] = np.maximum(1 - near[chosen], 0)
        if tell is not None:
            tell((first + len(block)) / total)
    return indices, distances


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
    said = csr_matrix((weights.ravel(), indices.ravel(), np.arange(0, total * count + 1, count)), shape=(total, total))
    said.eliminate_zeros()
    graph = (said + said.T - said.multiply(said.T)).tocsr()
    graph.sort_indices()
    return graph
