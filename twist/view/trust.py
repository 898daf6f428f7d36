"""How far a map can be trusted: whose nearest images in feature space are near on the map, too."""

from __future__ import annotations

import numpy as np


def trust_of(neighbors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Share of each image's nearest images in feature space that are among its as many nearest on the map.

    1: the map tells the truth about this image's surroundings; 0: whoever stands beside it there is no neighbor of it.
    (Points drawn at random give about ``K / M``.)

    Parameters
    ----------
    neighbors
        int32 ``[M, K]``, rows of the nearest images in feature space, without the image itself; -1 where there is none.
    places
        float ``[M, 2]``; NaN for images that are not on the map.

    Returns
    -------
    numpy.ndarray
        float32 ``[M]``; NaN where an image has no place or no neighbor.

    Examples
    --------
    >>> on_a_line = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 0.0]])
    >>> trust_of(np.array([[1], [0], [3], [0]]), on_a_line).tolist()
    [1.0, 1.0, 1.0, 0.0]
    """
    from scipy.spatial import cKDTree

    trust = np.full(len(places), np.nan, np.float32)
    placed = np.flatnonzero(np.isfinite(places).all(1))
    count = min(neighbors.shape[1], len(placed) - 1)
    if count < 1:
        return trust
    _, found = cKDTree(places[placed]).query(places[placed], count + 1)
    itself = found == np.arange(len(placed))[:, None]
    itself[~itself.any(1), -1] = True  # among many duplicates a point may not find itself
    on_map = placed[found[~itself].reshape(len(placed), count)]
    near = neighbors[placed, :count]
    known = (near >= 0).sum(1)
    common = np.zeros(len(placed), np.int64)
    for column in range(count):
        common += ((near[:, column, None] == on_map) & (near[:, column, None] >= 0)).any(1)
    trust[placed] = np.where(known > 0, common / np.maximum(known, 1), np.nan)
    return trust
