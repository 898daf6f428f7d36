"""Tables in, plotly figures out: pure functions, units on every axis, a reference line wherever one is known.

Each picture is first a `Panel`, so that it can stand alone or share one figure with others, as in
`twist.view.overview`.
"""

from __future__ import annotations

from twist.view.curves import entropy_curves
from twist.view.plane import entropy_plane, is_magnified
from twist.view.scene import Scene
from twist.view.snapshots import class_usage, sample_entropy_histogram
from twist.view.tables import MAX_POINTS, decimate

__all__ = [
    "MAX_POINTS",
    "Scene",
    "class_usage",
    "decimate",
    "entropy_curves",
    "entropy_plane",
    "is_magnified",
    "sample_entropy_histogram",
]
