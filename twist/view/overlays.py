"""Several runs in one figure: each term in a panel of its own, and all ways through the entropy plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import twist
from twist.runs.bounds import log_classes
from twist.runs.record import RunRecord
from twist.view.labels import spread
from twist.view.panels import Panel, assemble
from twist.view.scene import Scene
from twist.view.tables import column, decimate
from twist.view.theme import DARK, LIGHT, REFERENCE, REGION, Ink, escape

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: How the runs are drawn, in their order: a letter, a hue and a dash each, so that none carries the meaning alone. The
#: hues keep away from those of the terms, and show on either paper (3:1); the first run has the color of the text.
RUN_INKS = (
    Ink("", "solid", "━━"),
    Ink("#B07A12", "dash", "╍╍"),
    Ink("#7A5FD0", "dot", "┅┅"),
    Ink("#1796A6", "dashdot", "━┅"),
    Ink("#D2558F", "longdash", "━ ━"),
    Ink("#76852B", "longdashdot", "━╌"),
)
LETTERS = "ABCDEF"
MOST_RUNS = len(RUN_INKS)
_LINE = 15.0  # pixels that a label takes
_TERMS = (
    ("train/consistency", "", "Consistency", "lower: the views of an image agree"),
    ("train/mutual_information", "watch/mutual_information", "Mutual information", "higher: more is told apart"),
    ("train/sharpness", "watch/conditional_entropy", "Sharpness H(Y|X)", "lower: surer of each image"),
    ("train/diversity", "watch/marginal_entropy", "Diversity H(Y)", "higher: more classes in use"),
)


def run_color(place: int, *, dark: bool) -> str:
    """The color of a run by its place among those compared."""
    return RUN_INKS[place].color or (DARK if dark else LIGHT).text


def overlay(
    records: Sequence[RunRecord],
    *,
    places: Sequence[int] | None = None,
    dark: bool = False,
    paper: str = "",
    width: int = 0,
) -> go.Figure:
    """The terms of up to six runs over each other, a panel for each term, and their ways through the entropy plane.

    Runs whose epochs have other numbers of steps are drawn over epochs; runs with other numbers of classes in shares of
    log C. Lines are augmented batches, circles the watch images, not augmented.

    Parameters
    ----------
    records
        The runs, polled.
    places
        Place of each among those compared, from 0, which is its letter and ink; none counts them.
    dark, paper
        Whether to draw for a dark page, and the color of it, where it is known.
    width
        Of the page in pixels, 0 where it is not known; on narrow ones the plane goes below the terms.
    """
    places = range(len(records)) if places is None else places
    runs = [_Drawn(record, place, dark) for record, place in zip(records, places, strict=True)]
    shares = len({run.scene.num_classes for run in runs}) > 1
    epochs = len({run.steps_per_epoch for run in runs}) > 1
    narrow = 0 < width < 760
    room = max(180.0, (width or 1100) * (0.86 if narrow else 0.56) / 2 - 60)
    panels = [_term_panel(runs, *term, shares=shares, epochs=epochs, room=room) for term in _TERMS]
    plane = _plane_panel(runs)
    if narrow:
        columns, rows = ((0.0, 0.46), (0.58, 1.0)), ((0.75, 1.0), (0.44, 0.66))
        across, upward, height = (0.0, 1.0), (0.0, 0.33), 960
    else:
        columns, rows = ((0.0, 0.245), (0.325, 0.57)), ((0.585, 1.0), (0.0, 0.415))
        across, upward, height = (0.665, 1.0), (0.0, 1.0), 560
    for panel in panels[:2]:  # those below say it
        del panel.xaxis["title"]
    grid = [(columns[0], rows[0]), (columns[1], rows[0]), (columns[0], rows[1]), (columns[1], rows[1])]
    placed = [(panel, *place) for panel, place in zip(panels, grid, strict=True)]
    figure = assemble([*placed, (plane, across, upward)], dark=dark, paper=paper, height=height)
    figure.add_annotation(
        text="<br>".join(_sources(runs, 2 if narrow else 3 if 0 < width < 1000 else 4)),
        **{"x": 0, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "yshift": -46},
        **{"align": "left", "showarrow": False, "bgcolor": "rgba(0, 0, 0, 0)", "font": {"size": 9, "color": REFERENCE}},
    )
    figure.update_layout(
        title=_legend(runs, narrow=narrow),
        margin={"t": 98 + 20 * (len(runs) > 4), "b": 84 if len(runs) > 4 or narrow else 72, "l": 56, "r": 20},
    )
    return figure


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of about a fiftieth of a curve around each of its points, of less near its ends: the ends stay theirs.

    Examples
    --------
    >>> running_mean(np.arange(5.0)).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    count = len(values)
    half = np.minimum(count // 100, np.minimum(np.arange(count), np.arange(count)[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(count)
    return ((sums[places + half + 1] - sums[places - half]) / (2 * half + 1)).astype(values.dtype)


class _Drawn:
    """What the panels need of one run."""

    def __init__(self, record: RunRecord, place: int, dark: bool):
        self.scene, self.identity = Scene.of(record), str(record.identity.get("id", "without id"))
        self.letter, self.ink, self.color = LETTERS[place], RUN_INKS[place], run_color(place, dark=dark)
        self.metrics, self.snapshots = record.metrics(), record.snapshot_metrics()
        self.steps_per_epoch = record.steps_per_epoch or 1
        self.top = log_classes(self.scene.num_classes)

    def curve(self, table: pd.DataFrame, name: str, *, shares: bool, epochs: bool) -> tuple[np.ndarray, np.ndarray]:
        x, y = column(table, name)
        known = np.isfinite(y)
        x, y = x[known], y[known]
        return (x / self.steps_per_epoch if epochs else x), (y / self.top if shares else y)


def _legend(runs: Sequence[_Drawn], *, narrow: bool) -> dict[str, Any]:
    names = [
        f"<b><span style='color:{run.color}'>{run.letter} {run.ink.glyph}</span></b> {escape(run.scene.run, limit=32)}"
        for run in runs
    ]
    per_line = 2 if narrow else 3 if len(names) > 4 else 4
    lines = ["   ".join(names[first : first + per_line]) for first in range(0, len(names), per_line)]
    words = "lines: augmented batches (faint) and their running mean; circles: watch images, not augmented"
    note = f"<span style='font-size:11px'>{words}</span>"
    text = "<br>".join([*(f"<span style='font-size:13px'>{line}</span>" for line in lines), note])
    return {"text": text, "xref": "container", "yref": "container", "y": 1}


def _sources(runs: Sequence[_Drawn], per_line: int) -> list[str]:
    """Where the picture comes from: id, step and seed of each run, so that an exported file can be traced."""
    words = [f"{run.letter} run {escape(run.identity)}, step {run.scene.step:,}, seed {run.scene.seed}" for run in runs]
    words.append(f"twist {twist.__version__}")
    return [" · ".join(words[first : first + per_line]) for first in range(0, len(words), per_line)]


def _term_panel(
    runs: Sequence[_Drawn],
    batches: str,
    watched: str,
    title: str,
    note: str,
    *,
    shares: bool,
    epochs: bool,
    room: float,
) -> Panel:
    """One quantity of all runs; each line is named at its end."""
    lines = [run.curve(run.metrics, batches, shares=shares, epochs=epochs) for run in runs]
    circles = [run.curve(run.snapshots, watched, shares=shares, epochs=epochs) for run in runs] if watched else []
    values = np.concatenate([y for _, y in (*lines, *circles)] or [np.zeros(0)])
    last = max((float(x[-1]) for x, _ in (*lines, *circles) if len(x)), default=0.0) or 1.0
    top = 1.0 if shares else max((run.top for run in runs), default=1.0)
    bounded = batches != "train/consistency"
    highest = max([float(values.max()) if len(values) else 0.0, top if bounded else 0.0, 1e-3]) * (
        1.14 if bounded else 1.06
    )
    unit = "share of log C" if shares else "nats"
    low = -0.04 * highest
    panel = Panel(
        title=title,
        note=note,
        xaxis={"title": {"text": "epoch" if epochs else "step"}, "range": [0, last * (1 + 24 / room)], "nticks": 5},
        yaxis={"title": {"text": unit}, "range": [low, highest], "nticks": 5, "fixedrange": True},
    )
    if shares:
        panel.yaxis["tickformat"] = ".0%"
    if bounded:
        label = "log C" if shares or not runs else f"log C = {top:.2f}"
        panel.line(top, label, x=0.0)
    for run, (x, y) in zip(runs, lines, strict=True):
        line = _line_of(run, *decimate(x, running_mean(y), 800), title, unit, "running mean of batches", epochs)
        x, y = decimate(x, y, 800)
        faint = {"color": run.color, "width": 1}
        panel.traces.append({**line, "x": x, "y": y, "line": faint, "opacity": 0.28, "hoverinfo": "skip"})
        panel.traces.append(line)
    for run, (x, y) in zip(runs, circles or [(np.zeros(0), np.zeros(0))] * len(runs), strict=True):
        x, y = decimate(x, y, 200)
        panel.traces.append(_circles_of(run, x, y, title, unit, epochs))
    _name_ends(panel, runs, lines, low, highest)
    if not len(values):
        panel.empty("nothing recorded yet")
    return panel


def _line_of(
    run: _Drawn, x: np.ndarray, y: np.ndarray, title: str, unit: str, data: str, epochs: bool
) -> dict[str, Any]:
    number = "%{y:.1%} of log C" if unit != "nats" else "%{y:.3f} nats"
    when = "epoch %{x:.1f}" if epochs else "step %{x:,.0f}"
    return {
        "type": "scatter",
        "mode": "lines" if len(x) != 1 else "markers",
        "name": f"{run.letter} {escape(run.scene.run, limit=40)}",
        "x": x,
        "y": y,
        "line": {"color": run.color, "dash": run.ink.dash, "width": 1.7},
        "hovertemplate": f"<b>{run.letter} {escape(run.scene.run, limit=40)}</b><br>"
        f"{title} {number}<br>{when}, {data}<extra></extra>",
    }


def _circles_of(run: _Drawn, x: np.ndarray, y: np.ndarray, title: str, unit: str, epochs: bool) -> dict[str, Any]:
    trace = _line_of(run, x, y, title, unit, "watch images", epochs)
    marker = {"color": run.color, "symbol": "circle-open", "size": 5, "line": {"width": 1.2}}
    del trace["line"]
    return {**trace, "mode": "markers", "marker": marker, "cliponaxis": False}


def _name_ends(panel: Panel, runs: Sequence[_Drawn], lines: Sequence[Any], low: float, high: float) -> None:
    height = 175.0
    ends = [(run, float(x[-1]), float(np.median(y[-5:]))) for run, (x, y) in zip(runs, lines, strict=True) if len(x)]
    places = spread(np.array([(y - low) / (high - low) * height for _, _, y in ends]), _LINE, 4, height)
    for (run, x, _), place in zip(ends, places, strict=True):
        panel.note_at(
            f"<b><span style='color:{run.color}'>{run.letter}</span></b>",
            x=x,
            y=low + float(place) / height * (high - low),
            xanchor="left",
            xshift=4,
            size=12,
        )


def _plane_panel(runs: Sequence[_Drawn]) -> Panel:
    """All ways through the plane; axes in shares of log C, so that runs with other numbers of classes share it."""
    panel = Panel(
        title="Entropy plane",
        note="height above the diagonal: mutual information",
        xaxis={"title": {"text": "H(Y|X) / log C: how unsure of one image"}, "range": [-0.06, 1.08], "showgrid": False},
        yaxis={
            "title": {"text": "H(Y) / log C: how evenly classes are used"},
            "range": [-0.08, 1.12],
            "showgrid": False,
        },
    )
    for axis in (panel.xaxis, panel.yaxis):
        axis |= {"tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%"}
    panel.shapes.append(
        {
            "type": "path",
            "path": "M 0,0 L 0,1 L 1,1 Z",
            "xref": "x",
            "yref": "y",
            "layer": "below",
            "fillcolor": REGION,
            "line": {"width": 1, "color": REFERENCE},
        }
    )
    panel.note_at("<b>healthy</b>", x=0, y=1.02, xanchor="left", yanchor="bottom", size=11)
    panel.note_at("<b>uniform</b> collapse", x=1.07, y=1.02, xanchor="right", yanchor="bottom", size=11)
    panel.note_at("<b>one-class</b> collapse", x=0.05, y=0, xanchor="left", yanchor="middle", size=11)
    for share in (0.25, 0.5, 0.75):
        panel.shapes.append(
            {
                **{"type": "line", "xref": "x", "yref": "y", "layer": "below"},
                **{"x0": 0, "y0": share, "x1": 1 - share, "y1": 1},
                "line": {"color": "rgba(138, 143, 152, 0.38)", "width": 1},
            }
        )
        panel.note_at(f"I = {share:.0%}", x=0.02, y=share + 0.02, size=9, xanchor="left", yanchor="top", yshift=-4)
    ends = []
    for run in runs:
        x, y = _pair(run, run.metrics, "train/sharpness", "train/diversity", 600)
        panel.traces.append(
            {
                **_plane_trace(run, x, y, "batches"),
                "mode": "lines",
                "opacity": 0.55,
                "line": {"color": run.color, "width": 1},
            }
        )
        wx, wy = _pair(run, run.snapshots, "watch/conditional_entropy", "watch/marginal_entropy", 200)
        sizes = np.full(len(wx), 5.0)
        sizes[-1:] = 11
        dashed = {"color": run.color, "width": 1.3, "dash": "dot"}
        marker = {"color": run.color, "size": sizes, "symbol": "circle"}
        way = {**_plane_trace(run, wx, wy, "watch images"), "mode": "lines+markers", "line": dashed, "marker": marker}
        panel.traces.append({**way, "cliponaxis": False})
        end = (wx, wy) if len(wx) else (x, y)
        if len(end[0]):
            ends.append((run, float(end[0][-1]), float(end[1][-1])))
    _name_stands(panel, ends)
    if runs and not ends:
        panel.empty("no step recorded yet")
    return panel


def _name_stands(panel: Panel, ends: Sequence[tuple[_Drawn, float, float]]) -> None:
    """Letters beside where the runs stand; those of runs that stand together are set side by side."""
    taken: list[tuple[float, float]] = []
    for run, x, y in ends:
        crowd = sum(math.hypot(x - other[0], y - other[1]) < 0.05 for other in taken)
        taken.append((x, y))
        below = y > 0.9
        panel.note_at(
            f"<b><span style='color:{run.color}'>{run.letter}</span></b>",
            x=x,
            y=y,
            xanchor="center",
            yanchor="top" if below else "bottom",
            xshift=15 * crowd,
            yshift=-7 if below else 7,
            size=13,
        )


def _pair(run: _Drawn, table: pd.DataFrame, first: str, second: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = column(table, first)[1] / run.top, column(table, second)[1] / run.top
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    chosen = np.unique(np.linspace(0, max(0, len(x) - 1), min(len(x), limit)).astype(int))
    return x[chosen], y[chosen]


def _plane_trace(run: _Drawn, x: np.ndarray, y: np.ndarray, data: str) -> dict[str, Any]:
    name = f"{run.letter} {escape(run.scene.run, limit=40)}"
    return {
        "type": "scatter",
        "name": name,
        "x": x,
        "y": y,
        "hovertemplate": f"<b>{name}</b>, {data}<br>H(Y|X) %{{x:.1%}}, H(Y) %{{y:.1%}} of log C<extra></extra>",
    }
