"""Curves over steps or epochs, each named beside its end, against reference lines: the picture most quantities need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from twist.view.labels import Box, along, boxes_along, free_box, spread
from twist.view.panels import Panel
from twist.view.tables import decimate

PALETTE = ("#AA4499", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9")
"""Colors of quantities that have none of their own."""
_WIDTH, _HEIGHT, _LINE = 340.0, 230.0, 16.0


class Line(NamedTuple):
    """A curve: its name, where it runs (a value that is not finite is a gap), and how it is drawn."""

    name: str
    x: np.ndarray
    y: np.ndarray
    color: str
    dash: str = "solid"

    @property
    def last(self) -> float:
        """Its newest value; NaN without one."""
        finite = self.y[np.isfinite(self.y)]
        return float(finite[-1]) if len(finite) else np.nan


class Reference(NamedTuple):
    """A line across: its value, and what it is in a few words."""

    value: float
    words: str


class Axis(NamedTuple):
    """The vertical axis: its title with the unit, its ends, and how its numbers and those of the curves are written."""

    title: str
    low: float
    high: float
    form: str = ""
    """A format of d3, such as ``.0%``; the same after the colon of Python's."""


def lines_panel(
    title: str,
    note: str,
    lines: Sequence[Line],
    axis: Axis,
    references: Sequence[Reference] = (),
    *,
    x_title: str = "step",
    empty: str = "nothing recorded yet",
) -> Panel:
    """A panel of curves that all have a trace, also those without a value; labels stand where no curve runs."""
    shown = [line for line in lines if np.isfinite(line.last)]
    last = max([1.0, *(float(line.x[-1]) for line in shown)])
    words = {line.name: f"{line.name} {format(line.last, axis.form or '.3g')}" for line in shown}
    room = min(0.55 * _WIDTH, max([0.0, *(14 + 6.2 * len(text) for text in words.values())]))
    right = last * _WIDTH / (_WIDTH - room)
    panel = Panel(
        title=title,
        note=note,
        xaxis={"title": {"text": x_title}, "range": [0, right]},
        yaxis={"title": {"text": axis.title}, "range": [axis.low, axis.high], "tickformat": axis.form},
    )
    for line in lines:
        x, y = decimate(line.x, line.y)
        number = f"%{{y:{axis.form or '.4~g'}}}"
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(x) < 60 else "lines",
                "name": line.name,
                "x": np.asarray(x, np.float32),
                "y": np.asarray(y, np.float32),
                "line": {"color": line.color, "dash": line.dash, "width": 1.8},
                "marker": {"size": 4},
                "hovertemplate": f"<b>{line.name}</b> {number}<br>{x_title} %{{x:,.0f}}<extra></extra>",
            }
        )
    scale = np.array([_WIDTH / right, _HEIGHT / (axis.high - axis.low)])
    heights = spread((np.array([line.last for line in shown]) - axis.low) * scale[1], _LINE, 10, _HEIGHT - 7)
    taken: list[Box] = []
    for line, height in zip(shown, heights, strict=True):
        start = last * scale[0] + 6
        taken.append(Box(start, start + room, height - _LINE / 2, height + _LINE / 2))
        text = f'<span style="color:{line.color}">{words[line.name]}</span>'
        panel.note_at(
            text, size=11, on_paper=True, x=last, y=axis.low + float(height) / scale[1], xanchor="left", xshift=6
        )
    drawn = (np.concatenate([np.zeros((0, 2)), *(along(line.x, line.y) for line in shown)]) - [0, axis.low]) * scale
    for reference in references:
        if not axis.low <= reference.value <= axis.high:
            continue
        panel.line(reference.value)
        height = (reference.value - axis.low) * scale[1]
        boxes = [
            box
            for box in boxes_along(height, reference.words, height < _HEIGHT - 16, _WIDTH)
            if box.low >= 0 and box.high <= _HEIGHT
        ]
        box = free_box(boxes, taken, drawn)
        taken.append(box)
        place: dict[str, Any] = {"xref": "x domain", "x": box.left / _WIDTH, "y": reference.value, "xanchor": "left"}
        panel.note_at(reference.words, yanchor="bottom" if box.low >= height else "top", **place)
    if not shown:
        panel.empty(empty)
    return panel
