"""The entropy plane: what sharpness and diversity allow, what they forbid, and the way of a run through it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twist.runs.bounds import balanced_sharpness, log_classes, mutual_information_cap, norm_frontier
from twist.view.labels import Box
from twist.view.panels import Panel, assemble, single, title_of
from twist.view.scene import Scene
from twist.view.tables import or_empty
from twist.view.theme import INKS, REFERENCE, REGION
from twist.view.way import Path, add_paths, name_paths

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_FAINT = "rgba(138, 143, 152, 0.38)"
_STRIP = 0.35  # a norm that leaves less than this share of the plane's height is also shown magnified


class Room(NamedTuple):
    """The least place a plane gets: pixels inside its axes, the ends of its axes as shares of log C, and its detail."""

    width: float
    height: float
    right: float
    upper: float
    lines: int
    """Lines of equal information, at most."""
    brief: bool


ALONE = Room(440, 370, 1.09, 1.15, 6, brief=False)
IN_GRID = Room(330, 250, 1.12, 1.14, 3, brief=True)


def plane_panel(
    metrics: pd.DataFrame, snapshots: pd.DataFrame, scene: Scene, room: Room = ALONE, *, step: int | None = None
) -> Panel:
    """The panel of `entropy_plane`; ``room`` says how much of it there is place for."""
    top = log_classes(scene.num_classes)
    panel = Panel(
        title="Where the run stands",
        note=scene.batches,
        xaxis={
            "title": {"text": "sharpness H(Y|X), nats"},
            "range": [-0.04 * top, room.right * top],
            "showgrid": False,
        },
        yaxis={"title": {"text": "diversity H(Y), nats"}, "range": [-0.05 * top, room.upper * top], "showgrid": False},
    )
    if not room.brief:
        panel.zaxis = {
            "title": {"text": "share of log C"},
            "range": [-0.05, room.upper],
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "tickformat": ".0%",
            "showgrid": False,
        }
    _add_shape(panel, np.array([(0, 0), (0, top), (top, top)]), line={"width": 1, "color": REFERENCE})
    edge = attainable(scene)
    _add_shape(panel, edge, fillcolor=REGION, line={"width": 0})
    _add_reach(panel, scene, edge)
    _add_information_lines(panel, scene, room.lines)
    _add_groups(panel, scene, few=room.brief)
    _name_corners(panel, scene, edge, room)
    paths = add_paths(panel, metrics, snapshots, step)
    if not room.brief:
        # Plotly draws the right axis only if a trace belongs to it.
        panel.traces.insert(0, {"type": "scatter", "x": [None], "y": [None], "yaxis": "z", "hoverinfo": "skip"})
        _explain(panel, scene, edge)
        words = Box(0, 0.05 / (room.right + 0.04) * room.width + 135, 0, 32)  # where the one-class collapse is named
        name_paths(panel, paths, (room.width, room.height), step, words, top)
    if not len(paths.batches.x):
        panel.note_at("no step recorded yet", x=0.03 * top, y=0.86 * top, xanchor="left", size=12)
    return panel


def strip_panel(metrics: pd.DataFrame, snapshots: pd.DataFrame, scene: Scene, *, step: int | None = None) -> Panel:
    """What the final norm leaves of the plane, magnified: with few classes all training happens in a thin strip."""
    top, edge = log_classes(scene.num_classes), attainable(scene)
    (left, low), width, height = edge.min(0), np.ptp(edge[:, 0]), np.ptp(edge[:, 1])
    panel = Panel(
        title="The strip in reach, magnified",
        note=f"H(Y) × {top / height:.0f}; the same path",
        xaxis={
            "title": {"text": "sharpness H(Y|X), nats"},
            "range": [left - 0.08 * width, top + 0.08 * width],
            "showgrid": False,
        },
        yaxis={
            "title": {"text": "diversity H(Y), nats"},
            "range": [low - 0.3 * height, top + 0.25 * height],
            "tickformat": ".3~f",
            "nticks": 6,
            "showgrid": False,
        },
    )
    _add_shape(panel, edge, fillcolor=REGION, line={"width": 1, "color": REFERENCE})
    _add_reach(panel, scene, edge)
    _add_information_lines(panel, scene, 0)
    _add_groups(panel, scene, few=False)
    add_paths(panel, metrics, snapshots, step)
    return panel


def name_ends(panel: Panel, scene: Scene) -> None:
    """Name the ends of a strip: where every image is sure of one of evenly used classes, and where all are flat."""
    top, best = log_classes(scene.num_classes), float(attainable(scene)[0, 0])
    above: dict[str, Any] = {"y": top, "yanchor": "bottom", "yshift": 19, "size": 11}
    panel.note_at("<b>healthy</b>", x=best, xanchor="left", **above)
    panel.note_at("<b>uniform</b> collapse", x=panel.xaxis["range"][1], xanchor="right", **above)


def locator_panel(metrics: pd.DataFrame, scene: Scene, *, named: bool) -> Panel:
    """The whole plane as a small picture: the triangle, the strip in reach, and the run in it."""
    top, edge = log_classes(scene.num_classes), attainable(scene)
    bare = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": False, "fixedrange": True}
    panel = Panel(
        title="",
        note="",
        xaxis={**bare, "range": [-0.06 * top, 1.08 * top]},
        yaxis={**bare, "range": [-0.06 * top, 1.12 * top]},
    )
    _add_shape(panel, np.array([(0, 0), (0, top), (top, top)]), line={"width": 1, "color": REFERENCE})
    _add_shape(panel, edge, fillcolor="rgba(64, 140, 200, 0.45)", line={"width": 0})
    path = Path.of(metrics, "train/sharpness", "train/diversity")
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "the whole plane",
            "x": path.x[-1:],
            "y": path.y[-1:],
            "marker": {"color": INKS["mutual_information"].color, "size": 7, "line": {"width": 1, "color": "white"}},
            "hoverinfo": "skip",
        }
    )
    if named:
        panel.note_at("the whole plane", x=1.06 * top, y=0.06 * top, size=10, xanchor="right")
    return panel


def entropy_plane(
    metrics: pd.DataFrame,
    scene: Scene,
    *,
    snapshots: pd.DataFrame | None = None,
    step: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """H(Y given X) against H(Y): the way of a run between the healthy corner and the collapses.

    Every state lies in the triangle, because H(Y) is never below H(Y given X), and neither is above log C. The height
    above the diagonal is the mutual information I: a run that slides along the diagonal learns nothing, whatever its
    loss says. Hatched is what training batches cannot reach: more information than N images can carry, and what the
    final norm forbids (`twist.runs.bounds.norm_frontier`), which is most of the plane for ten classes at temperature 1;
    the strip that is left is drawn again, magnified. On the upper edge the ticks say how many equally large groups
    of images the classes tell apart there. The watch images (circles, dotted) use running statistics: no norm binds
    them.

    Parameters
    ----------
    metrics
        Table indexed by step with ``train/sharpness`` and ``train/diversity``, see `RunRecord.metrics`.
    scene
        Whose path it is.
    snapshots
        Table of snapshot summaries, see `RunRecord.snapshot_metrics`.
    step
        A step to mark on the path: that of the last line at or before it.
    dark
        Whether to draw for a dark page.
    """
    snapshots = or_empty(snapshots)
    plane = plane_panel(metrics, snapshots, scene, step=step)
    if not is_magnified(scene):
        return single(plane, dark=dark, height=540).update_layout(margin={"t": 64})
    strip = strip_panel(metrics, snapshots, scene, step=step)
    note, plane.note = plane.note, ""
    figure = assemble([(plane, (0, 0.56), (0, 0.94)), (strip, (0.73, 1), (0, 0.94))], dark=dark, height=560)
    heading = "Where the run stands"
    figure.layout.annotations = [
        mark for mark in figure.layout.annotations if not mark.text.startswith(f"<b>{heading}")
    ]
    return figure.update_layout(title=title_of(heading, note), margin={"t": 70})


def is_magnified(scene: Scene) -> bool:
    """Whether so little of the plane is in reach that `entropy_plane` draws it again, magnified, at the side."""
    return bool(np.ptp(attainable(scene)[:, 1]) < _STRIP * log_classes(scene.num_classes))


def attainable(scene: Scene) -> np.ndarray:
    """Corners (H(Y|X), H(Y)) of what training batches of this scene can reach, in nats, ``[P, 2]``.

    They begin on the upper edge where the mutual information is greatest, and end in the uniform corner.
    """
    top, cap = log_classes(scene.num_classes), mutual_information_cap(scene.batch_size, scene.num_classes)
    if scene.final_norm == "none":
        edge = np.array([(0.0, top), (0.0, 0.0), (top, top)])
    else:
        edge = np.vstack([norm_frontier(scene.num_classes, scene.temperature)])
        edge[0, 1] = top
    information = edge[:, 1] - edge[:, 0]
    if information.max() <= cap + 1e-9:
        return edge
    # Leave out what the images of one batch cannot tell: the corner above the line I = cap.
    last = int(np.flatnonzero(information > cap)[-1])
    share = (information[last] - cap) / (information[last] - information[last + 1])
    crossing = edge[last] + share * (edge[last + 1] - edge[last])
    return np.vstack([(top - cap, top), crossing, edge[last + 1 :]])


# ---------------------------------------------------------------------------------------------------------------------
# What the path is held against


def _add_shape(panel: Panel, corners: np.ndarray, **style: Any) -> None:
    path = " L ".join(f"{x:.5f},{y:.5f}" for x, y in corners)
    panel.shapes.append({"type": "path", "path": f"M {path} Z", "layer": "below", "xref": "x", "yref": "y", **style})


def _add_reach(panel: Panel, scene: Scene, edge: np.ndarray) -> None:
    """Hatch the part of the triangle that batches cannot reach, and draw the line of the greatest information."""
    top, cap = log_classes(scene.num_classes), mutual_information_cap(scene.batch_size, scene.num_classes)
    beyond = np.vstack([(0, 0), (0, top), edge, (0, 0)]).astype(np.float32)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "out of reach of batches",
            "x": beyond[:, 0],
            "y": beyond[:, 1],
            "fill": "toself",
            "fillcolor": "rgba(0, 0, 0, 0)",
            "fillpattern": {"shape": "/", "size": 7, "solidity": 0.12, "fgcolor": _FAINT},
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
    )
    if cap < top - 1e-9:
        ends = {"x0": 0, "y0": cap, "x1": top - cap, "y1": top}
        dashed = {"color": REFERENCE, "width": 1.2, "dash": "4px,3px"}
        panel.shapes.append({"type": "line", "xref": "x", "yref": "y", "layer": "below", "line": dashed, **ends})


def _add_information_lines(panel: Panel, scene: Scene, at_most: int) -> None:
    """Lines of equal mutual information, their values along the way from the diagonal to the healthy corner."""
    top = log_classes(scene.num_classes)
    steps = (step * scale for scale in (0.01, 0.1, 1, 10) for step in (1, 2, 5))
    gap = next(step for step in steps if top / step < (at_most or 5) + 1)
    values = np.arange(1, math.ceil(top / gap - 0.15)) * gap
    for value in values:
        ends = {"x0": 0, "y0": value, "x1": top - value, "y1": top}
        thin = {"color": _FAINT, "width": 1}
        panel.shapes.append({"type": "line", "xref": "x", "yref": "y", "layer": "below", "line": thin, **ends})
    shown = values if at_most else values[:0]
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "text",
            "name": "lines of equal information",
            "x": ((top - shown) / 2).astype(np.float32),
            "y": ((top + shown) / 2).astype(np.float32),
            "text": [f"I = {value:g}" for value in shown],
            "textposition": "bottom right",
            "textfont": {"size": 10, "color": REFERENCE},
            "hoverinfo": "skip",
        }
    )


def _add_groups(panel: Panel, scene: Scene, *, few: bool) -> None:
    """Ticks on the upper edge: where classes stand that tell k equally large groups of images apart."""
    top, reach = log_classes(scene.num_classes), min(scene.num_classes, scene.batch_size)
    (left, right), counts, places = panel.xaxis["range"], list[int](), list[float]()
    for k in sorted(
        {reach, *(base * 10**power for power in range(5) for base in (1, 2, 5) if base * 10**power <= reach)}
    ):
        free = scene.final_norm == "none"
        place = math.log(scene.num_classes / k) if free else balanced_sharpness(k, scene.num_classes, scene.temperature)
        if not few and all(abs(place - other) > 0.06 * (right - left) for other in places):
            counts.append(k)
            places.append(place)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": "groups told apart",
            "x": np.array(places, np.float32),
            "y": np.full(len(places), top, np.float32),
            "customdata": counts,
            "marker": {"symbol": "line-ns", "size": 7, "line": {"width": 1.2, "color": REFERENCE}},
            "text": [f"{count:,}" for count in counts],
            "textposition": "top center",
            "textfont": {"size": 10, "color": REFERENCE},
            "cliponaxis": False,
            "hovertemplate": "<b>%{customdata:,} groups</b> of images told apart, all equally large"
            "<br>H(Y|X) %{x:.3f} nats, H(Y) = log C<extra></extra>",
        }
    )


def _name_corners(panel: Panel, scene: Scene, edge: np.ndarray, room: Room) -> None:
    top, best = log_classes(scene.num_classes), float(edge[0, 0])
    above: dict[str, Any] = {"y": top, "yanchor": "bottom", "yshift": 8 if room.brief else 19, "size": 11}
    place: dict[str, Any] = {"x": 0, "xanchor": "left"} if best < 0.2 * top else {"x": best, "xanchor": "center"}
    panel.note_at("<b>healthy</b>", **place, **above)
    panel.note_at("<b>uniform</b> collapse", x=room.right * top, xanchor="right", **above)
    forbidden = scene.final_norm != "none" and not room.brief
    words = "<b>one-class</b> collapse" + ("<br>the norm forbids it" if forbidden else "")
    panel.note_at(words, x=0.05 * top, y=0, xanchor="left", yanchor="middle", align="left", size=11)
    if room.brief:
        panel.note_at(
            "no information on this edge:<br>I = H(Y) − H(Y|X) = 0", x=1.11 * top, y=0.5 * top, xanchor="right"
        )


def _explain(panel: Panel, scene: Scene, edge: np.ndarray) -> None:
    """Say below the diagonal, where no run goes, what the marks mean."""
    top, cap = log_classes(scene.num_classes), mutual_information_cap(scene.batch_size, scene.num_classes)
    lines = ["below the diagonal: impossible", "ticks above: equal groups told apart"]
    if scene.final_norm != "none":
        lines.append("hatched: batches cannot get there,")
        lines.append("the final norm keeps them out")
    if cap < top - 1e-9:
        lines.append(f"dashed: {scene.batch_size:,} images tell at most")
        lines.append(f"log N = {cap:.2f} nats")
    place: dict[str, Any] = {"x": 1.07 * top, "y": 0.0, "xanchor": "right", "yanchor": "bottom", "align": "right"}
    panel.note_at("<br>".join(lines), **place)
