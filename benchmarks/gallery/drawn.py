"""Figures drawn from the numbers of runs and of the closed forms, in the theme of the views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from benchmarks.gallery.trained import OPEN_PLANE, record, records
from twist.runs.bounds import log_classes, norm_frontier, sharpness_floor
from twist.runs.columns import column_through_time
from twist.runs.histories import sample_traits
from twist.view import histories as over_images
from twist.view.curves import entropy_curves
from twist.view.overlays import RUN_INKS, run_color, running_mean
from twist.view.panels import Panel, assemble, single, title_of
from twist.view.plane import entropy_plane
from twist.view.scene import Scene
from twist.view.theme import INKS, REFERENCE, REGION

_TRIANGLE = "M 0,0 L 0,1 L 1,1 Z"


def plane(*, dark: bool) -> go.Figure:
    """The entropy plane of the first run, as the monitor draws it."""
    found = record("ten-digits")
    return entropy_plane(found.metrics(), Scene.of(found), snapshots=found.snapshot_metrics(), dark=dark)


def terms(*, dark: bool) -> go.Figure:
    """The three terms and the information of the first run."""
    found = record("ten-digits")
    return entropy_curves(found.metrics(), Scene.of(found), snapshots=found.snapshot_metrics(), dark=dark)


def images_through_time(*, dark: bool) -> go.Figure:
    """How sure the network is of every image, snapshot by snapshot."""
    found = record("ten-digits")
    entropies = column_through_time(found, "sample_entropy")
    return over_images.entropy_history(entropies.steps, entropies.values, Scene.of(found), dark=dark)


def images_followed(*, dark: bool) -> go.Figure:
    """A telling image of each kind, followed."""
    found = record("ten-digits")
    entropies, classes = column_through_time(found, "sample_entropy"), column_through_time(found, "assignment")
    chosen = over_images.pick(sample_traits(found))
    return over_images.trajectories(
        entropies.steps, entropies.values, chosen, classes.values[-1], Scene.of(found), dark=dark
    )


def ways(*, dark: bool) -> go.Figure:
    """Five runs in one open plane: all terms, and each one weakened or taken away."""
    panel = _empty_plane("Five runs without a norm before the softmax")
    found = records(list(OPEN_PLANE))
    for place, run in enumerate(found):
        top, metrics = log_classes(run.recipe.network.num_classes), run.metrics()
        x, y = (running_mean(metrics[name].to_numpy() / top) for name in ("train/sharpness", "train/diversity"))
        color, ink = run_color(place, dark=dark), RUN_INKS[place]
        line = {"color": color, "dash": ink.dash, "width": 2}
        panel.traces.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "cliponaxis": False})
        marker = {"color": color, "size": 12, "symbol": ("circle", "square", "diamond", "triangle-up", "cross")[place]}
        panel.traces.append(
            {"type": "scatter", "mode": "markers", "x": x[-1:], "y": y[-1:], "marker": marker, "cliponaxis": False}
        )
    names = [
        f"<span style='color:{run_color(place, dark=dark)}'>{'●■◆▲✚'[place]} {RUN_INKS[place].glyph}</span> "
        + run.name.replace("-", " ")
        for place, run in enumerate(found)
    ]
    panel.note = "   ".join(names[:3]) + "<br>" + "   ".join(names[3:])
    return single(panel, dark=dark, height=560).update_layout(margin={"t": 100, "l": 66, "r": 60, "b": 56})


def _empty_plane(title: str) -> Panel:
    panel = Panel(
        title=title,
        note="",
        xaxis={"title": {"text": "H(Y|X) / log C: how unsure of one image"}, "range": [-0.06, 1.08], "showgrid": False},
        yaxis={"title": {"text": "H(Y) / log C: how evenly used"}, "range": [-0.08, 1.12], "showgrid": False},
    )
    for axis in (panel.xaxis, panel.yaxis):
        axis |= {"tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%"}
    panel.shapes.append(
        {
            **{"type": "path", "path": _TRIANGLE, "xref": "x", "yref": "y", "layer": "below"},
            **{"fillcolor": REGION, "line": {"width": 1, "color": REFERENCE}},
        }
    )
    corner = {"yanchor": "bottom", "size": 12}
    panel.note_at("<b>sure, and all classes used</b>", x=-0.02, y=1.03, xanchor="left", **corner)
    panel.note_at("<b>uniform</b> collapse", x=1.07, y=1.03, xanchor="right", **corner)
    panel.note_at("<b>one-class</b> collapse", x=0.06, y=-0.01, xanchor="left", yanchor="middle", size=12)
    panel.note_at("I = 0: nothing is told apart", x=0.60, y=0.55, textangle=-38, xanchor="left", size=10)
    for share in (0.25, 0.5, 0.75):
        panel.shapes.append(
            {
                **{"type": "line", "xref": "x", "yref": "y", "layer": "below"},
                **{"x0": 0, "y0": share, "x1": 1 - share, "y1": 1},
                "line": {"color": "rgba(138, 143, 152, 0.38)", "width": 1},
            }
        )
    return panel


def norm_or_none(*, dark: bool) -> go.Figure:
    """Training without diversity: with a norm before the softmax it goes well, without one everything collapses."""
    panels = []
    for title, names, top in (
        ("How many classes are in use", ("with-norm-no-diversity", "no-diversity"), "train/diversity"),
        ("Information about the images", ("with-norm-no-diversity", "no-diversity"), "train/mutual_information"),
    ):
        usage = top == "train/diversity"
        panel = Panel(
            title=title,
            note="exp H(Y), of 10" if usage else "I = H(Y) − H(Y|X), nats",
            xaxis={"title": {"text": "step"}, "range": [0, 352]},
            yaxis={"range": [0, 11] if usage else [-0.05, 1.45]},
        )
        for place, name in enumerate(names):
            metrics = record(name).metrics()
            y = metrics[top].to_numpy()
            y = running_mean(np.exp(y) if usage else y)
            line = {"color": run_color(place, dark=dark), "dash": RUN_INKS[place].dash, "width": 2}
            panel.traces.append(
                {"type": "scatter", "mode": "lines", "x": metrics.index.to_numpy(), "y": y, "line": line}
            )
            words = ("with the norm", "without a norm")[place]
            panel.note_at(
                f"<b>{words}</b>", x=345, y=float(y[-1]), xanchor="right", yanchor="bottom", yshift=5, size=12
            )
        panels.append(panel)
    placed = [(panels[0], (0, 0.46), (0, 1)), (panels[1], (0.56, 1), (0, 1))]
    return assemble(placed, dark=dark, height=330).update_layout(margin={"t": 70, "l": 50, "r": 20, "b": 50})


def floor(*, dark: bool) -> go.Figure:
    """The sharpness floor of the norm over the number of classes, for three temperatures."""
    panel = Panel(
        title="The least mean entropy that a norm before the softmax allows",
        note="sharpness floor against log C, both in nats; closed form",
        xaxis={
            **{"title": {"text": "number of classes C"}, "type": "log", "tickvals": [2, 3, 5, 10, 20, 50, 100, 200]},
            "range": [math.log10(1.9), math.log10(330)],
        },
        yaxis={"title": {"text": "entropy of one image, nats"}, "range": [0, 2.7]},
    )
    counts = np.unique(np.round(np.geomspace(2, 200, 60)).astype(int))
    lines = [("log C", [log_classes(int(c)) for c in counts], REFERENCE, "dot")]
    for place, temperature in enumerate((1.0, 0.7, 0.5)):
        floors = [sharpness_floor(int(c), temperature) for c in counts]
        lines.append((f"temperature {temperature:g}", floors, run_color(place, dark=dark), RUN_INKS[place].dash))
    for words, y, color, dash in lines:
        style = {"color": color, "dash": dash, "width": 2}
        panel.traces.append({"type": "scatter", "mode": "lines", "x": counts, "y": y, "line": style})
        at = {"log C": 9, "temperature 1": 14, "temperature 0.7": 12, "temperature 0.5": 7}[words]
        near = int(np.argmin(abs(counts - at)))
        panel.note_at(
            f"<span style='color:{color}'><b>{words}</b></span>",
            **{"x": math.log10(counts[near]), "y": y[near], "xanchor": "left", "yanchor": "bottom", "xshift": 6},
            size=12,
        )
    return single(panel, dark=dark, height=380)


def frontier(*, dark: bool) -> go.Figure:
    """What the norm leaves of the plane for some numbers of classes and temperatures."""
    settings = ((3, 1.0), (3, 0.3), (10, 1.0), (100, 1.0))
    placed = []
    for place, (num_classes, temperature) in enumerate(settings):
        edge = norm_frontier(num_classes, temperature) / log_classes(num_classes)
        panel = Panel(
            title=f"C = {num_classes}, temperature {temperature:g}",
            note=f"floor {sharpness_floor(num_classes, temperature) / log_classes(num_classes):.0%} of log C",
            xaxis={"title": {"text": "H(Y|X) / log C"}, "range": [-0.05, 1.05], "showgrid": False},
            yaxis={"range": [-0.05, 1.05], "showgrid": False, "title": {"text": "" if place else "H(Y) / log C"}},
        )
        for axis in (panel.xaxis, panel.yaxis):
            axis |= {"tickvals": [0, 0.5, 1], "tickformat": ".0%"}
        outline = {"type": "path", "xref": "x", "yref": "y", "layer": "below"}
        panel.shapes.append({**outline, "path": _TRIANGLE, "line": {"width": 1, "color": REFERENCE}})
        corners = [(edge[0, 0], 1.0), *map(tuple, edge), (1.0, 1.0)]
        path = "M " + " L ".join(f"{x:.4f},{y:.4f}" for x, y in corners) + " Z"
        blue = {"fillcolor": "rgba(64, 140, 200, 0.45)", "line": {"width": 1, "color": INKS["consistency"].color}}
        panel.shapes.append({**outline, "path": path, **blue})
        panel.traces.append({"type": "scatter", "mode": "lines", "x": [None], "y": [None]})
        placed.append((panel, (0.26 * place, 0.26 * place + 0.22), (0, 1)))
    return assemble(placed, dark=dark, height=270).update_layout(margin={"t": 66, "l": 50, "r": 10, "b": 50})


def dots(
    title: str, note: str, rows: Sequence[tuple[str, Sequence[tuple[str, float, float]]]], *, dark: bool
) -> go.Figure:
    """Scores as dots with whiskers, a line for each question, a mark for each model."""
    marks = {"TWIST": ("circle", run_color(0, dark=dark)), "untrained": ("square", RUN_INKS[1].color)}
    marks["pixels"] = ("diamond-open", RUN_INKS[3].color)
    panel = Panel(
        title=title,
        note=note,
        xaxis={"title": {"text": "accuracy"}, "tickformat": ".0%", "range": [0, 1.02]},
        yaxis={
            **{"tickvals": list(range(len(rows))), "ticktext": [name for name, _ in rows], "showgrid": True},
            "range": [len(rows) - 0.4, -0.6],
        },
    )
    for model, (symbol, color) in marks.items():
        found = [
            (value, place, spread)
            for place, (_, scores) in enumerate(rows)
            for name, value, spread in scores
            if name == model
        ]
        if not found:
            continue
        x, y, spread = (list(part) for part in zip(*found, strict=True))
        trace: dict[str, Any] = {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": model}
        trace["marker"] = {"symbol": symbol, "size": 11, "color": color, "line": {"width": 2, "color": color}}
        trace["error_x"] = {"array": spread, "color": color, "thickness": 1.4, "width": 4}
        panel.traces.append(trace | {"cliponaxis": False})
    figure = single(panel, dark=dark, height=70 + 52 * len(rows) + 60)
    names = "   ".join(
        f"<span style='color:{color}'><b>{glyph}</b></span> {words}"
        for glyph, (words, (_, color)) in zip(
            "●■◇",
            {"trained": marks["TWIST"], "same net, untrained": marks["untrained"], "pixels": marks["pixels"]}.items(),
            strict=True,
        )
    )
    return figure.update_layout(
        title=title_of(title, f"{note}<br>{names}"), margin={"t": 96, "l": 216, "r": 30, "b": 56}, showlegend=False
    )
