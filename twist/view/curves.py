"""The terms of the loss over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from twist.runs.bounds import log_classes, mutual_information_cap, sharpness_floor
from twist.view.labels import Box, along, boxes_along, free_box, spread
from twist.view.panels import Panel, single
from twist.view.scene import Scene
from twist.view.tables import MAX_POINTS, column, decimate, or_empty
from twist.view.theme import ALARM, INKS, REFERENCE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_LINE = 17.0  # pixels that a line of a label takes
_Curve = tuple[np.ndarray, np.ndarray]


class Room(NamedTuple):
    """The least place a panel of curves gets: pixels inside its axes, and what follows for its labels."""

    width: float
    height: float
    beyond: float
    """The x axis ends at this multiple of the last step, so that the labels stand beside the lines."""
    brief: bool


ALONE = Room(560, 280, 1.34, brief=False)
IN_GRID = Room(330, 250, 1.9, brief=True)

_CURVES = ("consistency", "sharpness", "diversity", "mutual_information")
_WORDS = {
    "consistency": "consistency",
    "sharpness": "sharpness H(Y|X)",
    "diversity": "diversity H(Y)",
    "mutual_information": "mutual information",
}


def curves_panel(metrics: pd.DataFrame, snapshots: pd.DataFrame, scene: Scene, room: Room = ALONE) -> Panel:
    """The panel of `entropy_curves`."""
    top = log_classes(scene.num_classes)
    curves = {name: column(metrics, f"train/{name}") for name in _CURVES}
    watched = column(snapshots, "watch/mutual_information")
    finite = [values[np.isfinite(values)] for _, values in (*curves.values(), watched)]
    highest = 1.1 * max([top, *(float(values.max()) for values in finite if len(values))])
    steps = curves["consistency"][0]
    last = float(max([*steps[-1:], *watched[0][-1:], 1.0]))
    panel = Panel(
        title="How the terms of the loss move",
        note=scene.batches,
        xaxis={"title": {"text": "step"}, "range": [0, max(float(scene.total_steps), last * room.beyond)]},
        yaxis={"title": {"text": "nats"}, "range": [-0.04 * highest, highest], "fixedrange": True},
        zaxis={
            "title": {"text": "share of log C"},
            "range": [-0.04 * highest / top, highest / top],
            "tickvals": np.arange(0, highest / top, 0.25 if highest < 2 * top else 0.25 * round(highest / top)),
            "tickformat": ".0%",
            "showgrid": False,
            "fixedrange": True,
        },
    )
    for name, (x, y) in curves.items():
        ink = INKS[name]
        x, y = decimate(x, y)
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines" if len(x) > 1 else "markers",
                "name": _WORDS[name],
                "x": x,
                "y": y,
                "line": {"color": ink.color, "dash": ink.dash, "width": 1.8},
                "connectgaps": False,
                "hovertemplate": f"<b>{_WORDS[name]}</b> %{{y:.3f}} nats<br>step %{{x:,.0f}}, batches<extra></extra>",
            }
        )
    x, y = decimate(*watched)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mutual information of the watch images",
            "x": x,
            "y": y,
            "marker": {"color": INKS["mutual_information"].color, "symbol": "circle-open", "size": 7},
            "cliponaxis": False,
            "hovertemplate": "<b>mutual information</b> %{y:.3f} nats<br>step %{x:,.0f}, watch images<extra></extra>",
        }
    )
    broken = _not_finite_steps(metrics)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "a term was not finite",
            "x": broken,
            "y": np.zeros(len(broken), np.float32),
            "marker": {"color": ALARM, "symbol": "x", "size": 8},
            "hovertemplate": "<b>not finite</b><br>step %{x:,.0f}<extra></extra>",
        }
    )
    # Plotly draws the right axis only if a trace belongs to it.
    panel.traces.append({"type": "scatter", "x": [None], "y": [None], "yaxis": "z", "hoverinfo": "skip"})
    labelling = np.flatnonzero(np.isfinite(column(metrics, "train/self_label_share")[1]))
    if len(labelling):
        begin = float(steps[labelling[0]])
        panel.line(begin, "self-labelling", across="x", on_paper=True, y=0.5, yanchor="middle", xanchor="right")
    _label(panel, scene, curves, watched, room)
    if not any(map(len, finite)):
        panel.empty("no step recorded yet" if len(metrics) == 0 else "no finite number recorded")
    return panel


def _not_finite_steps(metrics: pd.DataFrame) -> np.ndarray:
    broken = np.zeros(len(metrics), bool)
    for name in _CURVES[:3]:
        if f"train/{name}" in metrics:
            broken |= ~np.isfinite(column(metrics, f"train/{name}")[1])
    steps = metrics.index.to_numpy(np.float32)[broken] if len(metrics) else np.zeros(0, np.float32)
    return steps[np.linspace(0, len(steps) - 1, min(len(steps), MAX_POINTS), dtype=int)] if len(steps) else steps


def _called(name: str, room: Room) -> str:
    words = _WORDS[name].split(" H(")[0]
    return words.removeprefix("mutual ") if room.brief else words


class _Line(NamedTuple):
    """A reference line: its value, what it is in few words and in full, and whether the label rather stands above."""

    value: float
    brief: str
    full: str
    above: bool


def _references(scene: Scene, top: float) -> list[_Line]:
    cap = mutual_information_cap(scene.batch_size, scene.num_classes)
    log_c = f"log C = {top:.2f}"
    if cap < top - 1e-9:
        told = f"log N = {cap:.2f}: most that {scene.batch_size:,} images can tell"
        lines = [
            _Line(top, log_c, f"{log_c}: all {scene.num_classes:,} classes alike", True),
            _Line(cap, told.split(":")[0], told, True),
        ]
    else:
        lines = [_Line(top, log_c, f"{log_c}: most diversity and most information", True)]
    floor = sharpness_floor(scene.num_classes, scene.temperature, scene.final_norm)
    if floor > 0.01 * top:
        full = f"floor of sharpness in batches = {floor:.2f}"
        lines.append(_Line(floor, f"sharpness floor {floor:.2f}", full, False))
    return lines


def _label(panel: Panel, scene: Scene, curves: dict[str, _Curve], watched: _Curve, room: Room) -> None:
    """Name the curves beside their ends, and the reference lines where no curve runs, else in the same column."""
    (_, right), (low, high) = panel.xaxis["range"], panel.yaxis["range"]
    scale = np.array([room.width / right, room.height / (high - low)])
    last = max([1.0, *(float(x[-1]) for x, _ in (*curves.values(), watched) if len(x))])
    drawn = np.concatenate([*(along(*decimate(*curve)) for curve in curves.values()), np.stack(watched, 1)])
    drawn = (drawn - [0, low]) * scale
    column = []
    for name, (_, y) in curves.items():
        if len(known := y[np.isfinite(y)]):
            value = float(np.median(known[-5:]))
            column.append((value, INKS[name].color, INKS[name].glyph, f"{_called(name, room)} {value:.2f}"))
    lines = _references(scene, log_classes(scene.num_classes))
    for line in lines:
        panel.line(line.value)
    while True:
        heights = spread((np.array([entry[0] for entry in column]) - low) * scale[1], _LINE, _LINE / 2, room.height)
        start = last * scale[0] + 6
        taken = [
            Box(start, start + 7 * (3 + len(entry[3])), height - _LINE / 2, height + _LINE / 2)
            for entry, height in zip(column, heights, strict=True)
        ]
        placed, crowded = [], None
        for line in lines:
            words = line.brief if room.brief else line.full
            boxes = boxes_along((line.value - low) * scale[1], words, line.above, room.width)
            box = free_box(boxes, taken, drawn)
            if column and box.cost(taken, drawn) != (0, 0):
                crowded = line
                break
            taken.append(box)
            placed.append((line, words, box))
        if crowded is None:
            break
        lines.remove(crowded)
        column.append((crowded.value, REFERENCE, "╌╌", crowded.brief))
    for (_, color, glyph, words), height in zip(column, heights, strict=True):
        text = f'<span style="color:{color}">{glyph}</span> {words}'
        place = {"x": last, "y": low + float(height / scale[1]), "xanchor": "left", "xshift": 6}
        panel.note_at(text, size=11, on_paper=True, **place)
    for line, words, box in placed:
        above = box.low >= (line.value - low) * scale[1]
        place = {"xref": "x domain", "x": box.left / room.width, "y": line.value, "xanchor": "left"}
        panel.note_at(words, yanchor="bottom" if above else "top", **place)


def entropy_curves(
    metrics: pd.DataFrame, scene: Scene, *, snapshots: pd.DataFrame | None = None, dark: bool = False
) -> go.Figure:
    """Consistency, sharpness, diversity and mutual information over the steps, in nats and as shares of log C.

    Healthy: mutual information climbs toward its cap while consistency falls. The dashed lines are what is possible:
    log C bounds diversity, log min(N, C) bounds information, and the final norm keeps the sharpness of *batches* above
    its floor. The watch images (circles) are not augmented and use running statistics, so no floor holds for them.

    Parameters
    ----------
    metrics
        Table indexed by step with columns ``train/consistency`` …, see `RunRecord.metrics`. Values that are not finite
        leave gaps, and a red cross at their step.
    scene
        Whose curves these are.
    snapshots
        Table of snapshot summaries, see `RunRecord.snapshot_metrics`.
    """
    return single(curves_panel(metrics, or_empty(snapshots), scene), dark=dark, height=440)
