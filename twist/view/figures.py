"""Tables in, plotly figures out: pure functions, units on every axis, a reference line wherever one is known.

Each picture is first a `Panel`, so that it can stand alone or share one figure with others: `overview` puts four into
one, because every live figure costs the browser five megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.view import curves as over_steps
from twist.view import plane as entropy
from twist.view.curves import entropy_curves
from twist.view.panels import assemble
from twist.view.plane import entropy_plane, is_magnified
from twist.view.scene import Scene
from twist.view.snapshots import class_usage, histogram_panel, sample_entropy_histogram, usage_panel
from twist.view.tables import MAX_POINTS, decimate
from twist.view.theme import escape, template

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "MAX_POINTS",
    "Scene",
    "class_usage",
    "decimate",
    "entropy_curves",
    "entropy_plane",
    "is_magnified",
    "overview",
    "sample_entropy_histogram",
    "waiting",
]


def overview(record: RunRecord, *, dark: bool = False) -> go.Figure:
    """The four pictures of a run in one figure: curves, entropy plane, class usage, sample entropies.

    Works from the first second of a run: what is not recorded yet, or cannot be read, is said in its panel.
    """
    scene = Scene.of(record)
    metrics, snapshots = record.metrics(), record.snapshot_metrics()
    usage, entropies, note, problem = np.zeros(0), np.zeros(0, np.float32), "", ""
    try:
        if record.snapshot_steps():
            snapshot = record.snapshot()
            usage, entropies = snapshot.class_usage, np.asarray(snapshot.sample_entropy)
            note = f"step {snapshot.step:,} · {len(entropies):,} of {scene.num_images:,} images, not augmented"
    except RecordError as error:
        problem = escape(error, limit=90)
    lower = usage_panel(usage, scene, note, by_size=True), histogram_panel(entropies, scene, note)
    for panel in lower if problem else ():
        panel.annotations = [mark for mark in panel.annotations if mark["text"] != "no snapshot recorded yet"]
        panel.empty(problem)
    curves = over_steps.curves_panel(metrics, snapshots, scene, over_steps.IN_GRID)
    plane = entropy.plane_panel(metrics, snapshots, scene, entropy.IN_GRID)
    curves.note = f"augmented batches of N = {scene.batch_size:,}; circles: watch images"
    plane.note = "line: augmented batches; circles: watch images"
    left, right, above, below = (0.0, 0.42), (0.59, 1.0), (0.57, 1.0), (0.0, 0.38)
    placed = [(curves, left, above), (plane, right, above), (lower[0], left, below), (lower[1], right, below)]
    figure = assemble(placed, dark=dark, height=756)
    whose = {"text": f"<span style='font-size:11px'>{scene.batches}</span>", "xref": "container", "yref": "container"}
    figure.update_layout(title={**whose, "y": 1}, margin={"t": 100, "b": 72})
    return figure


def waiting(message: str, *, dark: bool = False) -> go.Figure:
    """The place of an overview before there is a run: a sentence instead of a blank."""
    import plotly.graph_objects as go

    note = {"text": escape(message), "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    hidden = {"visible": False}
    layout = {"template": template(dark=dark), "height": 240, "xaxis": hidden, "yaxis": hidden, "annotations": [note]}
    return go.Figure(layout=layout)
