"""Figures of one snapshot: the use of the classes, and how sure the images are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from twist.runs.bounds import log_classes
from twist.runs.record import Snapshot
from twist.view.panels import Panel, single
from twist.view.scene import Scene
from twist.view.theme import ALARM, INKS, class_color

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_BARS = 400
_BINS = 48


def usage_panel(usage: np.ndarray, scene: Scene, note: str, *, by_size: bool) -> Panel:
    """The panel of `class_usage`, from shares ``[C]``; none are no snapshot yet."""
    shares = np.asarray(usage, dtype=np.float64)
    order = np.argsort(-shares, kind="stable") if by_size else np.arange(len(shares))
    used, shown = int((shares > 0).sum()), order[:MAX_BARS]
    if len(order) > len(shown):
        note += f" · the {len(shown):,} {'largest' if by_size else 'first'} of {len(order):,} classes"
    ticks = np.unique(np.linspace(0, max(0, len(shown) - 1), min(len(shown), 12), dtype=int))
    panel = Panel(
        title=f"{used:,} of {scene.num_classes:,} classes are used" if len(shares) else "Which classes are used",
        note=note,
        xaxis={
            "title": {"text": "class, largest first" if by_size else "class"},
            "tickvals": ticks,
            "ticktext": [str(int(shown[tick])) for tick in ticks],
            "range": [-0.7, max(1.0, len(shown) - 0.3)],
            "showgrid": False,
        },
        yaxis={
            "title": {"text": "share of images"},
            "tickformat": ".0%",
            "range": [0, 1.2 * max([1 / scene.num_classes, *shares])],
        },
    )
    places = np.arange(len(shown), dtype=np.float32)
    panel.traces.append(
        {
            "type": "bar",
            "name": "class usage",
            "x": places,
            "y": shares[shown].astype(np.float32),
            "customdata": shown.astype(np.int32),
            "marker": {"color": [class_color(int(index)) for index in shown], "line": {"width": 0}},
            "hovertemplate": "class %{customdata}: %{y:.2%} of the images<extra></extra>",
        }
    )
    dead = np.flatnonzero(shares[shown] == 0)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "unused class",
            "x": places[dead],
            "y": np.zeros(len(dead), np.float32),
            "customdata": shown[dead].astype(np.int32),
            "marker": {"symbol": "x-thin", "size": 8, "line": {"width": 1.5, "color": ALARM}},
            "hovertemplate": "class %{customdata} has no image<extra></extra>",
            "cliponaxis": False,
        }
    )
    if len(shares):
        even = 1 / scene.num_classes
        label = f"even use: 1/C = {even:.1%}" if even >= 0.001 else f"even use: 1/C = {even:.2g}"
        panel.line(even, label, layer="above", x=0.99, xanchor="right", on_paper=True)
        if used < len(shares):
            unused = f"<span style='color:{ALARM}'>✕</span> {len(shares) - used:,} without an image"
            panel.note_at(unused, xref="x domain", yref="y domain", x=0.99, y=1, xanchor="right", size=11)
    else:
        panel.empty("no snapshot recorded yet")
    return panel


def class_usage(snapshot: Snapshot, scene: Scene, *, by_size: bool = True, dark: bool = False) -> go.Figure:
    """Share of the watch images in each class, with even use (1/C) as a line and a cross at every unused class.

    Few tall bars are a partial collapse. Under a uniform collapse the bars look fine and mean nothing: read the
    entropy plane first. Past 400 classes only the first 400 bars are drawn, and the figure says so.
    """
    note = scene.images(snapshot.step, len(snapshot.assignment))
    return single(usage_panel(snapshot.class_usage, scene, note, by_size=by_size), dark=dark, height=380)


def whole_classes(num_classes: int) -> list[int]:
    """Numbers of classes to write on an axis of entropies up to log C: round ones, far enough apart."""
    whole = [1]
    for k in (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000):
        if k <= num_classes and math.log(k / whole[-1]) > 0.11 * log_classes(num_classes):  # else the numbers touch
            whole.append(k)
    return whole


def histogram_panel(sample_entropy: np.ndarray, scene: Scene, note: str) -> Panel:
    """The panel of `sample_entropy_histogram`, from entropies ``[M]``; none are no snapshot yet."""
    top = log_classes(scene.num_classes)
    counts, edges = np.histogram(np.clip(sample_entropy, 0, top), bins=_BINS, range=(0, top))
    shares = counts / max(1, len(sample_entropy))
    whole = whole_classes(scene.num_classes)
    panel = Panel(
        title="Classes an image hesitates between",
        note=note,
        xaxis={
            "title": {"text": "H(Y|image) in nats, and below it as a number of classes"},
            "range": [-0.01 * top, 1.03 * top],
            "tickangle": 0,
            "tickvals": [math.log(k) for k in whole],
            "ticktext": [f"{math.log(k):.2f}<br>{k:,}" for k in whole],
        },
        yaxis={
            "title": {"text": "share of images"},
            "tickformat": ".0%",
            "range": [0, 1.2 * max(0.01, float(shares.max()))],
        },
    )
    centers = (edges[:-1] + edges[1:]) / 2
    panel.traces.append(
        {
            "type": "bar",
            "name": "sample entropy",
            "x": centers.astype(np.float32),
            "y": shares.astype(np.float32),
            "width": top / _BINS * 0.92,
            "customdata": np.exp(centers).astype(np.float32),
            "marker": {"color": INKS["sharpness"].color, "line": {"width": 0}},
            "hovertemplate": "%{y:.1%} of the images<br>%{x:.2f} nats: %{customdata:.1f} classes<extra></extra>",
        }
    )
    panel.line(top, f"log C = {top:.2f}", across="x", xanchor="right", xshift=-3, on_paper=True)
    if len(sample_entropy):
        mean = float(np.mean(sample_entropy))
        side = {"xanchor": "left", "xshift": 3} if mean < 0.6 * top else {"xanchor": "right", "xshift": -3}
        below = {"yshift": -14} if mean > 0.4 * top else {}  # the label of log C is near
        panel.line(mean, f"mean H(Y|X) = {mean:.2f}", across="x", layer="above", y=1, on_paper=True, **side, **below)
    else:
        panel.empty("no snapshot recorded yet")
    return panel


def sample_entropy_histogram(snapshot: Snapshot, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Distribution of H(Y given this image) over the watch images, with log C and the mean as lines.

    Mass at the left: most images are sure of their class. Mass at log C: the uniform collapse. Two humps: some images
    are sorted, others not yet; the class explorer shows which.
    """
    note = scene.images(snapshot.step, len(snapshot.sample_entropy))
    return single(histogram_panel(snapshot.sample_entropy, scene, note), dark=dark, height=380)
