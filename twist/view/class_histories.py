"""Figures of the classes through time: usage, births and deaths, who flows where, and agreement with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from twist.runs.class_histories import ClassFlow, ClassHistories, living
from twist.view.lines import PALETTE, Axis, Line, Reference, lines_panel
from twist.view.panels import Panel, single, title_of
from twist.view.scene import Scene
from twist.view.theme import class_color, template

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

STACKED_CLASSES = 24
"""Up to this many classes are stacked in their colors; more are rows of a heat map."""
_MOST_ROWS, _MOST_MARKS = 100, 150
MOST_FLOWS = 40
_SCORES = {
    "matched_accuracy": "matched accuracy",
    "nmi": "NMI",
    "ami": "AMI",
    "ari": "ARI",
    "watch/knn_accuracy": "kNN on features",
    "watch/linear_accuracy": "linear on features",
}


class UsedClasses(Protocol):
    """What the use of the classes through time is drawn from, as `ClassHistories` has it."""

    @property
    def steps(self) -> np.ndarray:
        """Steps ``[T]``."""

    @property
    def usage(self) -> np.ndarray:
        """Share of the images in each class ``[T, C]``."""


def usage_history(histories: ClassHistories, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Share of the watch images in each class through time, stacked in the colors of the classes.

    Healthy: bands of about equal height (dotted lines), that keep it. A band that swallows the others is a collapse in
    the making. Triangles are births, crosses deaths: a class lives while it holds a tenth of an even share. More than
    24 classes become rows of a heat map, the largest at the top.
    """
    return single(usage_history_panel(histories, scene), dark=dark, height=420)


def usage_history_panel(histories: UsedClasses, scene: Scene) -> Panel:
    """The panel of `usage_history`."""
    return (_stack if scene.num_classes <= STACKED_CLASSES else _rows)(histories, scene)


def births_and_deaths(usage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where classes began and ceased to live: boolean ``[T, C]`` each, never at the first snapshot."""
    lives = living(usage)
    known = np.isfinite(usage).all(1)
    changed = np.zeros_like(lives)
    changed[1:] = (lives[1:] != lives[:-1]) & (known[1:] & known[:-1])[:, None]
    return changed & lives, changed & ~lives


def _stack(histories: UsedClasses, scene: Scene) -> Panel:
    steps, usage = histories.steps.astype(np.float32), histories.usage
    panel = _usage_panel(histories, scene, {"title": {"text": "share of images"}, "range": [0, 1], "tickformat": ".0%"})
    for index in range(scene.num_classes):
        color = class_color(index)
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"class {index}",
                "x": steps,
                "y": usage[:, index].astype(np.float32),
                "stackgroup": "classes",
                "line": {"width": 0.6, "color": color},
                "fillcolor": color,
                "hoveron": "points+fills",
                "hovertemplate": f"<b>class {index}</b>: %{{y:.1%}} of the images<br>step %{{x:,.0f}}<extra></extra>",
            }
        )
    _mark_changes(panel, histories, np.cumsum(usage, 1) - usage / 2, range(scene.num_classes))
    for k in range(1, scene.num_classes):
        panel.line(k / scene.num_classes, layer="above")
        ends = {"xref": "x", "x0": float(steps[0]), "x1": float(steps[-1])} if len(steps) else {}
        panel.shapes[-1].update(line={"color": "rgba(255, 255, 255, 0.55)", "width": 1, "dash": "dot"}, **ends)
    if len(steps) > 1:
        middles, last = np.cumsum(usage[-1]) - usage[-1] / 2, float(steps[-1])
        for shown in np.flatnonzero(usage[-1] > 0.025):
            panel.note_at(str(shown), x=last, y=float(middles[shown]), xanchor="left", xshift=4, size=11)
        panel.note_at("class", x=last, y=1, xanchor="left", yanchor="bottom", xshift=-2, yshift=2)
        panel.xaxis["range"] = [float(steps[0]), last * 1.03]
    return panel


def _rows(histories: UsedClasses, scene: Scene) -> Panel:
    usage = histories.usage
    order = np.argsort(-np.nan_to_num(usage).sum(0), kind="stable")[:_MOST_ROWS]
    title = (
        f"class, largest at the top{'' if len(order) == usage.shape[1] else f' ({_MOST_ROWS} of {usage.shape[1]:,})'}"
    )
    ticks = np.unique(np.linspace(0, len(order) - 1, 12).astype(int))
    axis = {
        "title": {"text": title},
        "range": [len(order) - 0.5, -0.5],
        "tickvals": ticks,
        "ticktext": [str(order[tick]) for tick in ticks],
    }
    panel = _usage_panel(histories, scene, {**axis, "showgrid": False})
    even = 1 / scene.num_classes
    panel.traces.append(
        {
            "type": "heatmap",
            "name": "share of images",
            "x": histories.steps.astype(np.float32),
            "y": np.arange(len(order), dtype=np.float32),
            "z": np.nan_to_num(usage[:, order] * scene.num_classes).T.astype(np.float32),
            "text": np.broadcast_to(order[:, None], (len(order), len(usage))).tolist(),
            "zmin": 0,
            "zmax": 4,
            "colorscale": [
                [0, "rgba(0, 114, 178, 0)"],  # a dead class is blank
                [1e-6, "rgba(0, 114, 178, 0.08)"],
                [0.25, "rgba(0, 114, 178, 0.55)"],
                [1, "rgba(170, 68, 153, 1)"],
            ],
            "colorbar": {
                "title": {"text": "× even<br>share", "font": {"size": 11}},
                "thickness": 8,
                "len": 0.8,
                "tickvals": [0, 1, 2, 3, 4],
                "ticktext": ["0", f"1 = {even:.2g}", "2", "3", "≥ 4"],
            },
            "hovertemplate": "<b>class %{text}</b>: %{z:.2f} of an even share<br>step %{x:,.0f}<extra></extra>",
        }
    )
    places = np.full(usage.shape, np.nan)
    places[:, order] = np.arange(len(order))
    _mark_changes(panel, histories, places, order)
    return panel


def _usage_panel(histories: UsedClasses, scene: Scene, yaxis: dict[str, Any]) -> Panel:
    born, died = births_and_deaths(histories.usage)
    alive = int(living(histories.usage[-1:]).sum())
    panel = Panel(
        title=f"{alive:,} of {scene.num_classes:,} classes live; born: {born.sum():,}, died: {died.sum():,}",
        note=scene.images(),
        xaxis={"title": {"text": "step"}, "showgrid": False},
        yaxis=yaxis,
    )
    if not len(histories.steps):
        panel.empty("no snapshot recorded yet")
    return panel


def _mark_changes(panel: Panel, histories: UsedClasses, places: np.ndarray, order: Any) -> None:
    shown = np.zeros(histories.usage.shape[1], bool)
    shown[list(order)] = True
    if sum(int(marks.sum()) for marks in births_and_deaths(histories.usage)) > _MOST_MARKS:
        shown[:] = False  # the title counts them; the picture would be nothing but marks
    for marks, symbol, verb in zip(
        births_and_deaths(histories.usage), ("triangle-up", "x"), ("born", "died"), strict=True
    ):
        times, classes = np.nonzero(marks & shown)
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": verb,
                "x": histories.steps[times].astype(np.float32),
                "y": places[times, classes].astype(np.float32),
                "customdata": classes.astype(np.int32),
                "marker": {
                    "symbol": symbol,
                    "size": 8 if len(shown) <= STACKED_CLASSES else 5,
                    "color": "white",
                    "line": {"width": 1.2, "color": "#1c2026"},
                },
                "hovertemplate": f"<b>class %{{customdata}} {verb}</b><br>by step %{{x:,.0f}}<extra></extra>",
                "cliponaxis": False,
            }
        )


def stability_panel(histories: ClassHistories, scene: Scene) -> Panel:
    """The panel of `stability_history`."""
    steps = histories.steps.astype(np.float32)
    lines = [
        Line("same class as before", steps, histories.stability, PALETTE[1]),
        Line("after matching", steps, histories.matched_stability, PALETTE[5], "dot"),
        Line("two views agree", steps, histories.agreement, PALETTE[3], "dash"),
    ]
    references = [Reference(1 / scene.num_classes, f"chance, evenly used: {1 / scene.num_classes:.1%}")]
    axis = Axis("share of images", 0, 1.1, ".0%")
    return lines_panel(
        "Do images keep their class?", scene.images(), lines, axis, references, empty="this takes two snapshots"
    )


def stability_history(histories: ClassHistories, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Share of images whose class is that of the snapshot before, and whose two augmented views agree.

    Healthy: all climb toward 100 %. Low while entropies are low: the network is sure of classes that it gives by chance
    (overconfident noise). "After matching" forgives that all numbers change when another head comes to speak. Agreement
    that stays near chance says that classes follow the augmentation.
    """
    return single(stability_panel(histories, scene), dark=dark, height=380)


def labels_panel(scores: pd.DataFrame, scene: Scene) -> Panel:
    """The panel of `label_history`."""
    steps = scores.index.to_numpy(np.float32)
    lines = [
        Line(
            words, steps, scores[name].to_numpy(float), PALETTE[number], ("solid", "dot", "dash", "dashdot")[number % 4]
        )
        for number, (name, words) in enumerate(_SCORES.items())
        if name in scores
    ]
    return lines_panel(
        "How well the classes match the labels",
        scene.images(),
        lines,
        Axis("score, 0 to 1", min(0, *(np.nanmin([0, *line.y]) for line in lines)) if lines else 0, 1.12, ".2f"),
        [Reference(1, "perfect"), Reference(0, "AMI and ARI by chance")],
        empty="no labels: nothing to compare with",
    )


def label_history(scores: pd.DataFrame, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Agreement with labels that the run never saw, through time, see `twist.runs.histories.label_scores`.

    AMI and ARI are 0 by chance; NMI is not, and grows with the number of classes. Probes on the features (kNN, linear)
    are no detector of a collapse: random features score well on small sets.
    """
    return single(labels_panel(scores, scene), dark=dark, height=380)


def flow_figure(flow: ClassFlow, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Where the images of each class went between two snapshots, the largest flows, in the colors of the classes.

    A class that feeds several is a split, one fed by several a merge; hover says how many images. The title says what
    share stayed together, whatever their class is called now: where several heads compete, another one that comes to
    speak gives all classes new numbers, and so new colors. At most 40 flows are drawn; the note says what share they
    carry.
    """
    import plotly.graph_objects as go

    largest = np.argsort(-flow.moves.counts, kind="stable")[:MOST_FLOWS]
    sources, targets, counts = (part[largest] for part in flow.moves)
    total = int(flow.moves.counts.sum())
    left, right = np.unique(sources), np.unique(targets)
    kept = f": {flow.moves.matched_stability:.0%} stayed together" if total else ""
    note = scene.images(flow.later_step, total)
    if total and counts.sum() < total:
        note += f" · the {len(counts)} largest flows, {counts.sum() / total:.0%} of the images"
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={
                "label": [str(index) for index in (*left, *right)],
                "color": [class_color(int(index)) for index in (*left, *right)],
                "customdata": [flow.earlier_step] * len(left) + [flow.later_step] * len(right),
                "hovertemplate": "class %{label} at step %{customdata:,}: %{value:,} images drawn<extra></extra>",
                "thickness": 14,
                "pad": 10,
                "line": {"width": 0},
            },
            link={
                "source": np.searchsorted(left, sources).tolist(),
                "target": (len(left) + np.searchsorted(right, targets)).tolist(),
                "value": counts.tolist(),
                "color": [_translucent(class_color(int(index))) for index in sources],
                "hovertemplate": "%{value:,} images: class %{source.label} → %{target.label}<extra></extra>",
            },
        )
    )
    title = title_of(f"Step {flow.earlier_step:,} to {flow.later_step:,}{kept}", note)
    figure.update_layout(
        template=template(dark=dark), height=460, title=title, margin={"t": 104, "l": 24, "r": 24, "b": 24}
    )
    if not total:
        figure.add_annotation(text="no image had a class at both steps", showarrow=False, x=0.5, y=0.5)
    return figure


def changes_of(flow: ClassFlow) -> str:
    """Births, deaths, splits and merges of a flow in one sentence; empty when there are none."""
    parts = []
    for verb, classes in (("born", flow.born), ("died", flow.died)):
        if classes:
            parts.append(f"{verb}: {_some(classes)}")
    parts += [f"{source} split into {_some(into)}" for source, into in list(flow.splits.items())[:6]]
    parts += [f"{_some(sources)} merged into {target}" for target, sources in list(flow.merges.items())[:6]]
    return "; ".join(parts)


def _some(classes: tuple[int, ...]) -> str:
    more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
    return ", ".join(str(index) for index in classes[:12]) + more


def _translucent(color: str) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.42)"
