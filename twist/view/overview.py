"""The six pictures of a run in one figure, arranged for the width of the page.

One, because every live figure costs the browser five megabytes. All pictures over steps share their horizontal axis:
a zoom in one is a zoom in all, and a marked step is one line through them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twist.view import curves as over_steps
from twist.view import plane as entropy
from twist.view.class_histories import usage_history_panel
from twist.view.diagnostics import gradient_panel
from twist.view.ghosts import Ghost
from twist.view.histories import entropy_history_panel
from twist.view.lines import PALETTE, Axis, Line, Reference, lines_panel
from twist.view.panels import Panel, assemble
from twist.view.scene import Scene
from twist.view.seen import Seen, UseOfClasses
from twist.view.tables import known
from twist.view.theme import ALARM, INKS, escape, template

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Pixels: left and right of all, between columns, above the first row, between rows, below the last.
_LEFT, _RIGHT, _GAP, _TOP, _BETWEEN, _BELOW = 62, 74, 142, 58, 108, 84
_LABELS, _BRIEF_LABELS, _BRIEF = 168, 132, 520  # right of the curves, where they are named; that in less than so much
_UNKNOWN_WIDTH = 1000
_MARK = INKS["sharpness"].color
_OVER_STEPS = ("terms", "entropies", "usage", "pulls", "speed")


class Cell(NamedTuple):
    """Where a picture stands: left, right, low and high edge, in pixels from the lower left corner of all axes."""

    left: float
    right: float
    low: float
    high: float


class Arrangement(NamedTuple):
    """Where all pictures stand on a page of a width."""

    cells: dict[str, Cell]
    width: float
    height: float
    """Of the place of all axes, without the margins."""


def arrangement(width: int) -> Arrangement:
    """Three columns on a very wide page, one on a narrow one, else two.

    Examples
    --------
    >>> [len({cell.left for cell in arrangement(width).cells.values()}) for width in (700, 900, 1400, 1800)]
    [1, 2, 2, 3]
    """
    width = width or _UNKNOWN_WIDTH
    rows: list[tuple[tuple[str, ...], int]]
    if width >= 1560:
        rows = [(("terms", "plane", "pulls"), 320), (("entropies", "usage", "speed"), 260)]
    elif width >= 860:
        rows = [(("terms", "plane"), 310), (("entropies", "usage"), 230), (("pulls", "speed"), 170)]
    else:
        heights = {"terms": 280, "plane": 300, "entropies": 200, "usage": 200, "pulls": 150, "speed": 130}
        rows = [((name,), height) for name, height in heights.items()]
    columns = len(rows[0][0])
    inner = max(240.0, width - _LEFT - _RIGHT)
    own = (inner - _GAP * (columns - 1)) / columns
    total = sum(height for _, height in rows) + _BETWEEN * (len(rows) - 1)
    cells, top = {}, float(total)
    for names, height in rows:
        for place, name in enumerate(names):
            left = place * (own + _GAP)
            cells[name] = Cell(left, left + own, top - height, top)
        top -= height + _BETWEEN
    return Arrangement(cells, inner, total)


def overview(
    seen: Seen,
    *,
    width: int = 0,
    dark: bool = False,
    paper: str = "",
    step: int | None = None,
    ghosts: Sequence[Ghost] = (),
) -> go.Figure:
    """Terms, entropy plane, entropies of the images, use of the classes, pull of the terms, and speed, in one figure.

    Works from the first second of a run: what is not recorded yet, or cannot be read, is said in its picture.

    Parameters
    ----------
    seen
        The run, as far as it was looked at.
    width
        Of the page, in pixels; 0 where it is not known.
    dark, paper
        Whether to draw for a dark page, and its color, where it is known.
    step
        A step to mark in every picture.
    ghosts
        Earlier runs, drawn faintly behind the terms and in the plane.
    """
    placed, record, scene = arrangement(width), seen.record, seen.scene()
    metrics, snapshots = record.metrics(), record.snapshot_metrics()
    cells = placed.cells
    narrowest = min(cells[name].right - cells[name].left for name in _OVER_STEPS)
    last = float(max([1.0, *metrics.index[-1:], *snapshots.index[-1:]]))
    labels = _BRIEF_LABELS if narrowest < _BRIEF else _LABELS
    right = horizon(scene.total_steps, last / (1 - min(0.6, labels / narrowest)))
    panels = {
        "terms": _terms(metrics, snapshots, scene, cells["terms"], right / last, ghosts),
        **_plane(metrics, snapshots, scene, cells["plane"], step, ghosts),
        **_of_images(seen, scene),
        "pulls": gradient_panel(metrics, scene),
        "speed": speed_panel(metrics, seen.pauses, scene),
    }
    panels["pulls"].note = "at the logits, by the L2 norms of what each term sends back"
    panels["pulls"].yaxis["title"] = {"text": "share of the gradient"}
    for name in _OVER_STEPS:
        panel = panels[name]
        panel.xaxis.update(title={"text": "step"}, range=[0, right], matches="x", constrain="domain")
        panel.xaxis["tickformat"] = "~s" if right >= 100_000 else ",d"
        if step is not None:
            _mark(panel, step, named=name in ("terms", "entropies", "usage"))
    del panels["terms"].xaxis["matches"]
    edges = {name: ((c.left / placed.width, c.right / placed.width), _upward(c, placed)) for name, c in cells.items()}
    order = [name for name in ("terms", "plane", "entropies", "usage", "pulls", "speed", "inset") if name in panels]
    (left, end), (low, high) = edges["plane"]
    edges["inset"] = (left + 0.05 * (end - left), left + 0.34 * (end - left)), (low, low + 0.36 * (high - low))
    for trace in panels["usage"].traces:
        if "colorbar" in trace:
            (_, x), (low, high) = edges["usage"]
            place = {"x": x + 10 / placed.width, "xanchor": "left", "y": (low + high) / 2, "len": high - low}
            words = ["0", "even", "2 ×", "3 ×", "≥ 4 ×"]
            own = {"ypad": 0, "xpad": 0, "title": {"text": ""}, "ticktext": words}
            trace["colorbar"] = {**trace["colorbar"], **place, **own}
    extra = 15 * len(ghosts)
    height = placed.height + _TOP + _BELOW + extra
    source: dict[str, Any] = {
        "text": escape(seen.provenance(), limit=200),
        "font": {"size": 10},
        "opacity": 0.75,
        "showarrow": False,
        **{"x": 0, "y": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"},
        **{"xshift": 4 - _LEFT, "yshift": -62},
    }
    margin = {"l": _LEFT, "r": _RIGHT, "t": _TOP + extra, "b": _BELOW}
    parts = [(panels[name], *edges[name]) for name in order]
    return assemble(parts, dark=dark, paper=paper, height=round(height), annotations=[source], margin=margin)


def horizon(total: float, least: float) -> float:
    """Where the axis of steps ends: at a half, a quarter, … of all steps, so that it seldom moves, or beyond them.

    Examples
    --------
    >>> horizon(1000, 120), horizon(1000, 260), horizon(1000, 1300), horizon(0, 1)
    (125.0, 500.0, 1300, 10.0)
    """
    end = float(total)
    while end / 2 >= max(least, 10.0):
        end /= 2
    return max(end, least, 10.0)


def waiting(message: str, *, dark: bool = False) -> go.Figure:
    """The place of an overview before there is a run: a sentence instead of a blank."""
    import plotly.graph_objects as go

    note = {"text": escape(message), "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}
    hidden = {"visible": False}
    layout = {"template": template(dark=dark), "height": 240, "xaxis": hidden, "yaxis": hidden, "annotations": [note]}
    return go.Figure(layout=layout)


def summary(seen: Seen) -> str:
    """What the pictures show, in one sentence, for whoever hears it read."""
    metrics, newest = seen.record.metrics(), seen.newest
    terms = {name: known(metrics, f"train/{name}")[1][-1:] for name in INKS}
    told = ", ".join(f"{name.replace('_', ' ')} {float(value[0]):.2f}" for name, value in terms.items() if len(value))
    use = seen.spreads()[1].usage[-1:]
    classes = f"; {int((use > 0).sum()):,} of {use.shape[1]:,} classes hold images" if len(use) else ""
    return f"Pictures of run {seen.record.name} at step {newest:,}: {told or 'nothing recorded yet'}" + (
        f", in nats{classes}." if told else "."
    )


def points_drawn(figure: go.Figure) -> int:
    """Points and cells that a figure holds."""
    total = 0
    for trace in figure.data:
        values = trace.z if trace.type == "heatmap" else trace.x
        total += 0 if values is None else int(np.size(values))
    return total


def speed_panel(metrics: pd.DataFrame, pauses: Sequence[tuple[str, int]], scene: Scene) -> Panel:
    """Images per second over the steps, its median, and where the run was held or resumed.

    A drop that stays is worth a look at the machine: another process, a throttled processor, a slower disk.
    """
    x, y = known(metrics, "train/images_per_s")
    median = float(np.median(y)) if len(y) else 0.0
    top = 1.18 * max([1.0, float(np.quantile(y, 0.99)) if len(y) else 1.0, median])
    references = [Reference(median, f"median {median:,.0f}")] if len(y) else []
    panel = lines_panel(
        "How fast it trains",
        f"an image counts once, whatever its views; N = {scene.batch_size:,} a step",
        [Line("images/s", x, y, PALETTE[5])],
        Axis("images per second", 0, top, ",.0f"),
        references,
    )
    for words, step in pauses:
        edge: dict[str, Any] = {"y": 0.02, "yanchor": "bottom"} if words == "held" else {"y": 1, "yanchor": "top"}
        panel.line(float(step), words, across="x", xanchor="left", xshift=2, **edge)
    return panel


# ---------------------------------------------------------------------------------------------------------------------


def _upward(cell: Cell, placed: Arrangement) -> tuple[float, float]:
    return max(0.0, cell.low / placed.height), min(1.0, cell.high / placed.height)


def _terms(
    metrics: pd.DataFrame,
    snapshots: pd.DataFrame,
    scene: Scene,
    cell: Cell,
    beyond: float,
    ghosts: Sequence[Ghost],
) -> Panel:
    room = over_steps.Room(cell.right - cell.left, cell.high - cell.low, beyond, brief=cell.right - cell.left < _BRIEF)
    shown = dataclasses.replace(scene, total_steps=0)  # the axis ends where all of them do, not at the last step
    panel = over_steps.curves_panel(metrics, snapshots, shown, room)
    panel.note = f"augmented batches of N = {scene.batch_size:,}; circles: watch images"
    for ghost in ghosts:
        ghost.draw_terms(panel, scene.num_classes)
        panel.note += f"<br>faint: {escape(ghost.words(scene.num_classes), limit=70)}"
    return panel


def _plane(
    metrics: pd.DataFrame,
    snapshots: pd.DataFrame,
    scene: Scene,
    cell: Cell,
    step: int | None,
    ghosts: Sequence[Ghost],
) -> dict[str, Panel]:
    """The plane; where the norm leaves only a strip of it, that strip, and in a corner where in the plane it lies."""
    width, height = cell.right - cell.left, cell.high - cell.low
    room = entropy.ALONE if width >= 430 else entropy.IN_GRID
    panels = {}
    if entropy.is_magnified(scene):
        panels["plane"] = entropy.strip_panel(metrics, snapshots, scene, step=step)
        panels["plane"].title = "Where the run stands: the strip in reach"
        entropy.name_ends(panels["plane"], scene)
        panels["inset"] = entropy.locator_panel(metrics, scene, named=width > 400)
    else:
        room = room._replace(width=width, height=height)
        panels["plane"] = entropy.plane_panel(metrics, snapshots, scene, room, step=step)
    panels["plane"].note = "line: augmented batches; circles: watch images"
    for ghost in ghosts:
        ghost.draw_way(panels["plane"], scene.num_classes)
    return panels


def _of_images(seen: Seen, scene: Scene) -> dict[str, Panel]:
    spread, use, problem = seen.spreads()
    note = f"{scene.num_watch:,} of {scene.num_images:,} images, not augmented" if scene.num_watch else "watch images"
    entropies, usage = entropy_history_panel(spread, scene, note), usage_history_panel(use, scene)
    usage.note = f"{note}; {_of_dead(use)}" if len(use.steps) else note
    usage.annotations = [mark for mark in usage.annotations if mark["text"] != "class"]  # it would meet the note
    if problem:
        for panel in (entropies, usage):
            panel.empty(escape(problem, limit=60))
    return {"entropies": entropies, "usage": usage}


def _of_dead(use: UseOfClasses) -> str:
    dead = np.flatnonzero(use.usage[-1] == 0)
    if not len(dead):
        return "none without an image"
    names = ", ".join(map(str, dead[:8])) + (" …" if len(dead) > 8 else "")
    return f"<span style='color:{ALARM}'>✕</span> {len(dead):,} without an image: {names}"


def _mark(panel: Panel, step: int, *, named: bool) -> None:
    panel.line(float(step), across="x", layer="above")
    panel.shapes[-1]["line"] = {"color": _MARK, "width": 1.6}
    if named:
        words = f"<span style='color:{_MARK}'>step {step:,}</span>"
        left = step > 0.4 * panel.xaxis["range"][1]  # the names of the curves stand at the right
        side: dict[str, Any] = {"xanchor": "right", "xshift": -3} if left else {"xanchor": "left", "xshift": 3}
        panel.note_at(words, on_paper=True, x=step, yref="y domain", y=1, yanchor="top", yshift=-2, **side)
