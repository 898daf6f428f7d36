"""Places of images on a map, from their features: principal components, a quick UMAP of our own, and umap-learn's.

The quick one minimizes what UMAP minimizes, on the same exact neighbors, without compiling anything: ten thousand
images take two seconds, where umap-learn's import and compilation alone take ten. It draws the preview that
umap-learn then starts from, the maps of a run under way, and the frames of the time slider; ``benchmarks/maps.py``
holds its trustworthiness beside umap-learn's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twist.view.nearest import cosine_neighbors, fuzzy_graph
from twist.view.trust import trust_of

MAX_POINTS = 10_000
"""Most images that are laid out; of a larger set, evenly spaced ones."""
NEIGHBORS = 15
MIN_DIST = 0.1
SEED = 0
EPOCHS = 200
WARM_EPOCHS = 100
_CURVE = np.float32(1.5769), np.float32(0.8951)  # a and b of 1 / (1 + a d^2b) that fit min_dist 0.1, spread 1
_REPULSIONS, _DRAWS = 5, 16
_HALF_WIDTH = 10.0
_PCA_ROWS = 1000
_PCA_TURNS = 30

Tell = Callable[[float, str], None]


class Placed(NamedTuple):
    """A map before it is kept.

    Attributes
    ----------
    xy
        float32 ``[M, 2]``; NaN for images without a place.
    trust
        float32 ``[M]``, see `twist.view.trust.trust_of`.
    neighbors
        int32 ``[M, K]`` with K = min(15, M - 1): nearest images in feature space, nearest first; -1 for none.
    facts
        How it was made, see `twist.view.layout.Layout`.
    """

    xy: np.ndarray
    trust: np.ndarray
    neighbors: np.ndarray
    facts: dict[str, Any]


class Ground(NamedTuple):
    """What every map of the same features stands on: the rows that can be placed, their neighbors, UMAP's graph.

    ``reason`` says why there is no graph.
    """

    total: int
    rows: np.ndarray
    features: np.ndarray
    neighbors: np.ndarray
    graph: Any
    reason: str = ""

    def placed(self, positions: np.ndarray, **facts: Any) -> Placed:
        """A map of all images from positions of the rows, with its trust."""
        xy = np.full((self.total, 2), np.nan, np.float32)
        xy[self.rows] = positions
        trust = np.full(self.total, np.nan, np.float32) if self.graph is None else trust_of(self.neighbors, xy)
        how = {"seed": SEED, "points": len(self.rows), "of": self.total, **facts}
        if facts["method"] == "umap":
            count = min(NEIGHBORS, len(self.rows) - 1)
            how = {**how, "n_neighbors": count, "min_dist": MIN_DIST, "metric": "cosine"}
        return Placed(xy, trust, self.neighbors, how)


def _nothing(share: float, stage: str) -> None:
    """Tell nobody."""


def ground_of(features: np.ndarray, tell: Tell = _nothing) -> Ground:
    """Choose the rows that can be placed (finite ones, of a large set evenly spaced ones) and find their neighbors."""
    total = len(features)
    rows = np.unique(np.linspace(0, total - 1, min(total, MAX_POINTS), dtype=int)) if total else np.zeros(0, int)
    chosen = np.asarray(features[rows], np.float32)
    finite = np.isfinite(chosen).all(1)
    rows, chosen = rows[finite], chosen[finite]
    neighbors = np.full((total, max(0, min(NEIGHBORS, total - 1))), -1, np.int32)
    if reason := _unfit(chosen):
        return Ground(total, rows, chosen, neighbors, None, reason)
    count = min(NEIGHBORS, len(rows) - 1)
    indices, distances = cosine_neighbors(chosen, count + 1, lambda share: tell(share, "neighbors"))
    neighbors[rows, :count] = rows[indices[:, 1:]]
    return Ground(total, rows, chosen, neighbors, fuzzy_graph(indices[:, :count], distances[:, :count]))


def _unfit(features: np.ndarray) -> str:
    if len(features) < 4:
        return f"UMAP needs 4 points, there are {len(features)}"
    if float(features.std(0).max(initial=0)) < 1e-6:
        return "all features are alike: dimensional collapse"
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# The quick map


def preview(features: np.ndarray) -> np.ndarray:
    """A map within seconds, float32 ``[M, 2]``: UMAP started from the principal components, NaN for rows without place.

    Fewer than 4 points, or features that are all alike, stay where the principal components put them.
    """
    return quick(ground_of(features)).xy


def quick(ground: Ground, start: np.ndarray | None = None, *, hold: float = 0.0, tell: Tell = _nothing) -> Placed:
    """The quick map.

    Parameters
    ----------
    ground
        What it stands on.
    start
        float ``[M, 2]``, places to start from, NaN where there are none; none starts from the principal components.
        A started map takes half the turns, at half the pace.
    hold
        How firmly images are drawn to where they started; a neighbor close by pulls with about 5.
    """
    if ground.graph is None:
        return ground.placed(pca_positions(ground.features), method="pca", reason=ground.reason)
    if start is None or not np.isfinite(start[ground.rows]).all(1).any():
        began, epochs, pace = _spread(pca_positions(ground.features)), EPOCHS, 1.0
    else:
        began, epochs, pace = _fill(start[ground.rows], ground), WARM_EPOCHS, 0.5
    places = settle(ground.graph, began, epochs, pace=pace, hold=hold, tell=lambda share: tell(share, "preview"))
    return ground.placed(places, method="umap", by="twist")


def settle(
    graph: Any,
    start: np.ndarray,
    epochs: int,
    *,
    pace: float = 1.0,
    hold: float = 0.0,
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Minimize UMAP's cross entropy between the graph and the map, all points at once.

    Where umap-learn visits one edge after the other, every turn here sums the pull of all neighbors, weighted by their
    membership, and the push of 16 points drawn at random, weighted to five per neighbor. The pull is taken implicitly:
    a point moves toward the mean of its neighbors and never past it, so that whole turns are stable at full pace. The
    same graph and start give the same map.

    Parameters
    ----------
    graph
        As `twist.view.nearest.fuzzy_graph` gives it, ``[M, M]``.
    start
        float ``[M, 2]``, finite.
    epochs
        Number of turns.
    pace
        Step at the first turn; it falls to 0 with the last.
    hold
        How firmly points are drawn to where they started.
    tell
        Called with the share done, ten times.
    """
    a, b = _CURVE
    keep = graph.copy()
    keep.data[keep.data < keep.data.max() / max(epochs, EPOCHS)] = 0
    keep.eliminate_zeros()
    weights = (keep.data / keep.data.max()).astype(np.float32)
    columns, counts, starts = keep.indices, np.diff(keep.indptr), keep.indptr[:-1]
    rows = np.repeat(np.arange(len(counts)), counts)
    total = len(counts)
    pushes = (_REPULSIONS / _DRAWS * np.add.reduceat(weights, starts)).astype(np.float32)
    x, y = np.array(start, np.float32).T.copy()
    home_x, home_y = x.copy(), y.copy()
    random = np.random.default_rng(SEED)
    for epoch in range(epochs):
        step = np.float32(pace * (1 - epoch / epochs) ** 2)  # small at the end: draws are noise
        gap_x, gap_y = x[columns] - x[rows], y[columns] - y[rows]
        square = np.maximum(gap_x * gap_x + gap_y * gap_y, np.float32(1e-12))
        power = square**b
        pull = weights * (4 * a * b) * power / (square * (1 + a * power))  # each edge moves both its ends
        stiff = np.add.reduceat(pull, starts) + np.float32(hold)
        move_x = np.add.reduceat(pull * gap_x, starts) + np.float32(hold) * (home_x - x)
        move_y = np.add.reduceat(pull * gap_y, starts) + np.float32(hold) * (home_y - y)
        others = random.integers(0, total, (total, _DRAWS), dtype=np.int32)
        gap_x, gap_y = x[:, None] - x[others], y[:, None] - y[others]
        square = gap_x * gap_x + gap_y * gap_y
        push = 2 * b / ((np.float32(0.001) + square) * (1 + a * np.maximum(square, np.float32(1e-12)) ** b))
        move_x += pushes * np.clip(push * gap_x, -4, 4).sum(1)
        move_y += pushes * np.clip(push * gap_y, -4, 4).sum(1)
        damping = step / (1 + step * stiff)
        x += damping * move_x
        y += damping * move_y
        if tell is not None and (epoch + 1) % max(1, epochs // 10) == 0:
            tell((epoch + 1) / epochs)
    return np.stack([x, y], 1)


def _spread(positions: np.ndarray) -> np.ndarray:
    """Positions on the scale of a map, no two alike."""
    scaled = positions * (_HALF_WIDTH / max(float(np.abs(positions).max()), 1e-12))
    return scaled + np.random.default_rng(SEED).normal(0, 1e-3, scaled.shape).astype(np.float32)


def _fill(start: np.ndarray, ground: Ground) -> np.ndarray:
    """Places to start from; images without one start amid their neighbors, or in the middle."""
    known = np.isfinite(start).all(1)
    filled = np.where(known[:, None], start, 0)
    share = ground.graph @ known.astype(np.float32)
    amid = (ground.graph @ filled) / np.maximum(share, 1e-12)[:, None]
    amid[share == 0] = start[known].mean(0)
    began = np.where(known[:, None], filled, amid).astype(np.float32)
    return began + np.random.default_rng(SEED).normal(0, 1e-3, began.shape).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# The reference


def place(
    features: np.ndarray,
    start: np.ndarray | None = None,
    *,
    tell: Tell = _nothing,
    show: Callable[[Placed], None] | None = None,
) -> Placed:
    """The map by umap-learn, started from the quick one; the same features and start give the same map.

    Fewer than 4 points or features that are all alike fall back to the two first principal components, a failure of
    umap-learn to the quick map, and the facts say why. Rows that are not finite stay without a place.

    Parameters
    ----------
    features
        ``[M, D]``, any float.
    start
        Places that the quick map starts from, see `quick`.
    tell
        Called with the share done, 0 to 1, and the name of the stage.
    show
        Called with the quick map as soon as there is one.
    """
    ground = ground_of(features, lambda share, stage: tell(0.2 * share, stage))
    draft = quick(ground, start, tell=lambda share, stage: tell(0.2 + 0.1 * share, stage))
    if ground.graph is None:
        return draft
    if show is not None:
        show(draft)
    tell(0.3, "loading UMAP")
    try:
        positions = _umap(ground, draft.xy[ground.rows], lambda share: tell(0.5 + 0.5 * share, "map"))
    except Exception as error:  # any failure of a large foreign library: the person still gets a map, and is told
        reason = f"umap-learn failed: {type(error).__name__}: {error}"[:300]
        return draft._replace(facts={**draft.facts, "reason": reason})
    return ground.placed(positions, method="umap", by=f"umap-learn {_version()}", umap=_version())


def _umap(ground: Ground, start: np.ndarray, tell: Callable[[float], None]) -> np.ndarray:
    """Positions by umap-learn from our exact graph: its own search and its graph take longer to compile than to run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on packages that it can do without, and on scikit-learn's coming changes
        from umap.umap_ import find_ab_params, simplicial_set_embedding

        a, b = find_ab_params(1.0, MIN_DIST)
        positions, _ = simplicial_set_embedding(
            data=ground.features,
            graph=ground.graph.copy(),
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=_REPULSIONS,
            n_epochs=EPOCHS,
            init=start,
            random_state=np.random.RandomState(SEED),
            metric="cosine",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            tqdm_kwds={"disable": False, "file": _Ticks(tell), "bar_format": "{n}", "mininterval": 0.25},
        )
    if not np.isfinite(positions).all():
        raise ValueError("positions are not finite")
    return onto(positions, start)


class _Ticks:
    """The file that umap-learn's progress bar writes to: the number of turns done."""

    def __init__(self, tell: Callable[[float], None]):
        self._tell = tell

    def write(self, text: str) -> None:
        if text.strip().isdigit():
            self._tell(int(text.strip()) / EPOCHS)

    def flush(self) -> None:
        pass


def onto(places: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Places turned, mirrored and moved as a whole to come nearest to the target, at its size (Procrustes).

    The size is that of equal spread, not that of least squares: this would shrink a map the more, the less it has to do
    with the target. Rows that are NaN in either have no say; those of ``places`` stay NaN.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> turned = 3 * square[:, ::-1] + 7
    >>> np.abs(onto(turned, square) - square).max() < 1e-6
    np.True_
    """
    both = np.isfinite(places).all(1) & np.isfinite(target).all(1)
    if both.sum() < 2:
        return places
    ours, theirs = places[both].astype(np.float64), target[both].astype(np.float64)
    center, goal = ours.mean(0), theirs.mean(0)
    left, _, right = np.linalg.svd((ours - center).T @ (theirs - goal))
    spread, wanted = ((ours - center) ** 2).sum(), ((theirs - goal) ** 2).sum()
    factor = float(np.sqrt(wanted / spread)) if spread > 0 else 1.0
    return ((places - center) @ (left @ right) * factor + goal).astype(np.float32)


def _version() -> str:
    from importlib.metadata import version

    return version("umap-learn")


def warm_up() -> None:
    """Import UMAP and compile what `place` needs, on a toy."""
    place(np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32))


# ---------------------------------------------------------------------------------------------------------------------
# Principal components


def pca_positions(features: np.ndarray) -> np.ndarray:
    """Places along the two directions of largest variance, float32 ``[M, 2]``; a stand-in until UMAP is done.

    The directions come from at most 1,000 evenly spaced rows by orthogonal iteration, and their signs are fixed: the
    same features give the same map. (An eigensolver took 3.4 s instead of 0.02 s beside a training run that holds all
    cores; matrix products do not mind.)

    Parameters
    ----------
    features
        ``[M, D]``, any float; numbers that are not finite count as 0.

    Examples
    --------
    >>> pca_positions(np.array([[-2.0, 0.0, 7.0], [0.0, 0.0, 7.0], [2.0, 0.0, 7.0]])).round(3).tolist()
    [[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]
    """
    table = np.nan_to_num(np.asarray(features, dtype=np.float32), posinf=0, neginf=0)
    if table.size == 0:
        return np.zeros((len(table), 2), dtype=np.float32)
    table = table - table.mean(0)
    rows = table[np.linspace(0, len(table) - 1, min(len(table), _PCA_ROWS)).astype(int)].astype(np.float64)
    directions = np.random.default_rng(0).standard_normal((table.shape[1], 2))
    for _ in range(_PCA_TURNS):
        directions, _ = np.linalg.qr(rows.T @ (rows @ directions))
    signs = np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    places = np.zeros((len(table), 2), dtype=np.float32)
    places[:, : directions.shape[1]] = table @ (directions * signs).astype(np.float32)
    return places
