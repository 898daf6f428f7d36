"""The way of a run through the entropy plane: its paths, and the names of their points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twist.view.labels import Box, free_box
from twist.view.panels import Panel
from twist.view.tables import column, thinned
from twist.view.theme import INKS, REFERENCE

if TYPE_CHECKING:
    import pandas as pd

_BATCHES, _IMAGES, _MARKED = INKS["mutual_information"].color, INKS["consistency"].color, INKS["sharpness"].color
_THROUGH_TIME = [[0, REFERENCE], [1, _BATCHES]]
_MAX_DOTS = 250  # along the path: they only show the passing of time
_NEAR = 14.0  # pixels: points closer than this share their words


class Path(NamedTuple):
    """A way through the plane: both entropies, float32, and the steps, where both are finite."""

    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame, conditional: str, marginal: str) -> Path:
        """The way that two columns of a table tell."""
        (steps, x), (_, y) = column(table, conditional), column(table, marginal)
        there = np.isfinite(x) & np.isfinite(y)
        return cls(x[there], y[there], steps[there])

    def at(self, rows: np.ndarray) -> dict[str, Any]:
        """The coordinates of some of its points, and what their hover text needs."""
        x, y = self.x[rows], self.y[rows]
        return {"x": x, "y": y, "customdata": np.stack([self.steps[rows], y - x, np.exp(y), np.exp(x)], 1)}


class Paths(NamedTuple):
    """The ways of the training batches and of the watch images."""

    batches: Path
    images: Path


def _hover(whose: str) -> str:
    return (
        f"<b>step %{{customdata[0]:,.0f}}</b>, {whose}<br>"
        "H(Y|X) %{x:.3f} nats: an image hesitates between %{customdata[3]:.1f} classes<br>"
        "H(Y) %{y:.3f} nats: %{customdata[2]:.1f} classes in use<br>"
        "I %{customdata[1]:.3f} nats<extra></extra>"
    )


def add_paths(panel: Panel, metrics: pd.DataFrame, snapshots: pd.DataFrame, step: int | None) -> Paths:
    """Draw both paths, the start, the newest point, and the marked step: always the same traces, also without data."""
    batches = Path.of(metrics, "train/sharpness", "train/diversity")
    images = Path.of(snapshots, "watch/conditional_entropy", "watch/marginal_entropy")
    count = len(batches.x)
    dots = thinned(count, _MAX_DOTS)
    marked = np.flatnonzero(batches.steps <= step)[-1:] if step is not None else np.zeros(0, int)
    common = {"type": "scatter", "hovertemplate": _hover("augmented batches")}
    panel.traces += [
        {
            **common,
            **batches.at(thinned(count)),
            "mode": "lines",
            "name": "path of the batches",
            "line": {"color": _BATCHES, "width": 1},
            "opacity": 0.45,
        },
        {
            **common,
            **batches.at(dots),
            "mode": "markers",
            "name": "time along the path",
            "marker": {"size": 4, "color": batches.steps[dots], "colorscale": _THROUGH_TIME, "line": {"width": 0}},
        },
        {
            **images.at(np.arange(len(images.x))),
            "type": "scatter",
            "mode": "lines+markers",
            "name": "path of the watch images",
            "line": {"color": _IMAGES, "width": 1.2, "dash": "dot"},
            "marker": {"symbol": "circle-open", "size": 7},
            "hovertemplate": _hover("watch images, not augmented"),
        },
        {
            **common,
            **batches.at(np.arange(count)[:1]),
            "mode": "markers",
            "name": "start of the batches",
            "marker": {"symbol": "diamond", "color": REFERENCE, "size": 9, "line": {"width": 1.5, "color": "white"}},
        },
        {
            **common,
            **batches.at(marked),
            "mode": "markers",
            "name": "marked step",
            "marker": {"symbol": "circle-open", "color": _MARKED, "size": 15, "line": {"width": 2.5}},
        },
        {
            **common,
            **batches.at(np.arange(count)[-1:]),
            "mode": "markers",
            "name": "batches now",
            "marker": {"color": _BATCHES, "size": 11, "line": {"width": 2, "color": "white"}},
        },
    ]
    return Paths(batches, images)


def name_paths(panel: Panel, paths: Paths, size: tuple[float, float], step: int | None, named: Box, top: float) -> None:
    """Words beside the first point, the newest and the marked one, and beside the newest of the watch images.

    Parameters
    ----------
    panel
        The plane, with the ranges of its axes.
    paths
        What was drawn.
    size
        Width and height inside the axes, in pixels.
    step
        The marked step.
    named
        A place that is taken, where a corner of the plane is named, in shares of its size.
    top
        Log C, above which other words stand.
    """
    (left, right), (low, high) = panel.xaxis["range"], panel.yaxis["range"]
    corner, scale = np.array([left, low]), np.array(size) / [right - left, high - low]
    edge = np.stack([np.arange(0, size[0], 6), np.full(len(np.arange(0, size[0], 6)), (top - low) * scale[1] + 12)], 1)
    drawn = [(np.stack([path.x, path.y], 1)[thinned(len(path.x), 400)] - corner) * scale for path in paths]
    obstacles, taken = np.concatenate([*drawn, edge]), [named]
    for point, marks in _together(_landmarks(paths, step), scale):
        x, y = (point - corner) * scale
        width = 6.1 * len(" · ".join(words for words, _ in marks))
        boxes = [
            Box(x + dx - width * part, x + dx + width * (1 - part), y + dy - 7, y + dy + 7)
            for far in (16, 28, 42, 60)
            for part, dx, dy in (
                (0.5, 0, -far),
                (0, far * 0.7, 0),
                (1, -far * 0.7, 0),
                (0, far / 2, -far),
                (1, -far / 2, -far),
                (0, far / 2, far),
            )
        ]
        inside = [box for box in boxes if box.left > 4 and box.right < size[0] - 4 and box.low > 4]
        box = free_box(inside or boxes, taken, obstacles)
        taken.append(box)
        text = " · ".join(f"<span style='color:{color}'>{words}</span>" for words, color in marks)
        shift = {"xshift": (box.left + box.right) / 2 - x, "yshift": (box.low + box.high) / 2 - y}
        panel.note_at(text, size=11, x=float(point[0]), y=float(point[1]), **shift)


class _Landmark(NamedTuple):
    point: np.ndarray
    words: str
    color: str


def _landmarks(paths: Paths, step: int | None) -> list[_Landmark]:
    """Points that get a name, the most important first."""
    (batches, images), found = paths, []
    if len(batches.x):
        found.append((batches, -1, "now", _BATCHES))
    if step is not None and len(rows := np.flatnonzero(batches.steps <= step)):
        found.append((batches, int(rows[-1]), f"step {batches.steps[rows[-1]]:,.0f}", _MARKED))
    if len(images.x):
        found.append((images, -1, "watch images", _IMAGES))
    if len(batches.x) > 1:
        found.append((batches, 0, "start", REFERENCE))
    return [_Landmark(np.array([path.x[row], path.y[row]], float), words, color) for path, row, words, color in found]


def _together(landmarks: list[_Landmark], scale: np.ndarray) -> list[tuple[np.ndarray, list[tuple[str, str]]]]:
    """Landmarks with the words of those that lie at nearly the same place."""
    found: list[tuple[np.ndarray, list[tuple[str, str]]]] = []
    for point, words, color in landmarks:
        near = [marks for other, marks in found if np.hypot(*((point - other) * scale)) < _NEAR]
        if near:
            near[0].append((words, color))
        else:
            found.append((point, [(words, color)]))
    return found
