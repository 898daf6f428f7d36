"""Figures of where the objective learns, from `twist.runs.outcomes.Outcomes`; pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.bounds import largest_weight, log_classes, norm_frontier
from twist.runs.outcomes import Outcomes
from twist.view.panels import Panel, assemble, title_of
from twist.view.theme import INKS, REFERENCE, REGION, SIGNED_RAMP

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: A symbol and a dash for each temperature, in ascending order.
_MARKS = (("diamond", "dot"), ("circle", "solid"), ("square", "dash"), ("triangle-up", "dashdot"))
_INFORMATION, _CONSISTENCY = INKS["mutual_information"].color, INKS["consistency"].color
_SCALE = [[place / (len(SIGNED_RAMP) - 1), color] for place, color in enumerate(SIGNED_RAMP[::-1])]
_WASHED = "rgba(138, 143, 152, 0.16)"
_GAP = 0.045


def outcome_planes(outcomes: Outcomes, *, dark: bool = False) -> go.Figure:
    """The ends of the runs in the entropy plane, one plane for each strength of the augmentation.

    A line joins the runs of one temperature, from the smallest consistency weight at the left to the largest at the
    right; the color of a point tells how much of its answers both views of an image share. The plane alone cannot
    tell knowledge from noise, since both are sharp and diverse: the color can. Only the strip of the plane is drawn in
    which the runs lie.

    Parameters
    ----------
    outcomes
        The runs.
    dark
        Whether to draw for a dark page.
    """
    runs, num_classes = outcomes.runs, outcomes.num_classes
    top = log_classes(num_classes)
    low = float(runs.diversity.min())
    reach = top - low
    panels = []
    for place, (strength, rows) in enumerate(_by(runs, "strength")):
        panel = Panel(
            title=f"{strength} augmentation",
            note="",
            xaxis={"title": {"text": "H(Y|X), nats"}, "range": [-0.05 * top, 1.07 * top], "showgrid": False},
            yaxis={
                "title": {"text": "H(Y), nats" if place == 0 else ""},
                "range": [low - 0.22 * reach, top + 0.2 * reach],
                "showgrid": False,
            },
        )
        _add_edges(panel, num_classes, sorted(set(runs.temperature)), low - 0.22 * reach)
        panel.line(top, "", layer="below")
        panel.note_at("<b>uniform</b>", x=top, y=top, xanchor="right", yanchor="bottom", yshift=9, size=11)
        for (temperature, ends), (symbol, dash) in zip(_by(rows, "temperature"), _marks(rows, runs), strict=True):
            ends = ends.sort_values("weight")
            panel.traces.append(_line(ends.sharpness, ends.diversity, f"temperature {temperature:g}", dash))
            panel.traces.append(
                {
                    **_points(ends, ends.sharpness, ends.diversity, symbol),
                    "marker": {**_marker(ends.correlation, symbol, place == 0), "colorbar": _bar(place == 0)},
                }
            )
            if temperature == 1:
                for _, row in ends.iloc[[0, -1]].iterrows():
                    panel.note_at(f"w = {row.weight:g}", x=row.sharpness, y=row.diversity, yanchor="top", yshift=-9)
        panels.append(panel)
    return _across(
        [panels], f"Where {len(runs)} runs ended in the entropy plane", outcomes.note, dark, (380,), _legend(runs)
    )


def growth_lines(outcomes: Outcomes, *, dark: bool = False) -> go.Figure:
    """What the views share at the end of each run, against the line that it must exceed for information to grow.

    Near uniform a direction of the logits grows when its views correlate by more than 1 - 0.5 / w
    (`twist.runs.bounds.largest_weight`). Full points are runs whose loss lets information grow at their end, where the
    line is exact only for small logits; empty ones fade. The horizontal line is the best direction of the network as
    it was drawn: where it meets the line, the start alone would put the transition.

    Parameters
    ----------
    outcomes
        The runs, and what the network was at their start.
    dark
        Whether to draw for a dark page.
    """
    runs = outcomes.runs
    weights = np.array(sorted(set(runs.weight)))
    grid = np.geomspace(0.92 * weights[0], 1.09 * weights[-1], 200)
    need = 1 - 0.5 / grid
    by_strength = outcomes.starts.set_index("strength")
    panels = []
    for place, (strength, rows) in enumerate(_by(runs, "strength")):
        panel = Panel(
            title=f"{strength} augmentation",
            note="",
            xaxis=_weights_axis(weights),
            yaxis={"title": {"text": "correlation of the views" if place == 0 else ""}, "range": [-0.08, 1.0]},
        )
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "growth line 1 − 0.5 / w",
                "x": [*grid, grid[-1], grid[0]],
                "y": [*need, -1, -1],
                "fill": "toself",
                "fillcolor": _WASHED,
                "line": {"color": REFERENCE, "width": 1.5},
                "hoverinfo": "skip",
            }
        )
        best = float(by_strength.best_direction[strength])
        predicted = largest_weight(best)
        panel.line(best, f"best direction at the start, {best:.2f}", layer="below")
        if grid[0] < predicted < grid[-1]:
            panel.line(predicted, across="x", layer="below")
            panel.note_at(
                f"w = {predicted:.2f}", x=math.log10(predicted), y=-0.07, xanchor="left", yanchor="bottom", xshift=3
            )
        for (temperature, ends), (symbol, dash) in zip(_by(rows, "temperature"), _marks(rows, runs), strict=True):
            ends = ends.sort_values("weight")
            panel.traces.append(_line(ends.weight, ends.correlation, f"temperature {temperature:g}", dash))
            panel.traces.append(
                {**_points(ends, ends.weight, ends.correlation, symbol), "marker": _alive(ends, symbol, dark)}
            )
        panel.note_at("grows", xref="x domain", x=0.03, y=0.96, xanchor="left", size=11)
        panel.note_at("fades", xref="x domain", x=0.97, y=0.08, xanchor="right", size=11)
        panels.append(panel)
    return _across([panels], "Only what both views share can grow", outcomes.note, dark, (360,), _legend(runs))


def outcome_curves(outcomes: Outcomes, *, dark: bool = False) -> go.Figure:
    """Information and what of it is disagreement, and the accuracy of nearest neighbors, over the consistency weight.

    Parameters
    ----------
    outcomes
        The runs, and the accuracies that cost no training.
    dark
        Whether to draw for a dark page.
    """
    runs, baselines = outcomes.runs, outcomes.untrained
    weights = np.array(sorted(set(runs.weight)))
    most = 1.08 * float(max(runs.mutual_information.max(), runs.consistency.max()))
    scores = [*runs.knn, *baselines.values()]
    span = (min(scores) - 0.015, max(scores) + 0.02)
    upper, lower = [], []
    for place, (strength, rows) in enumerate(_by(runs, "strength")):
        nats = Panel(
            title=f"{strength} augmentation",
            note="",
            xaxis=_weights_axis(weights),
            yaxis={"title": {"text": "nats" if place == 0 else ""}, "range": [0, most]},
        )
        nats.xaxis["title"] = {"text": ""}
        share = Panel(
            title="",
            note="",
            xaxis=_weights_axis(weights),
            yaxis={"title": {"text": "kNN accuracy" if place == 0 else ""}, "range": span, "tickformat": ".0%"},
        )
        for number, (name, value) in enumerate(baselines.items()):
            share.line(value, name if place == 0 else "", yshift=-1 if number else 0)
        for (temperature, ends), (symbol, dash) in zip(_by(rows, "temperature"), _marks(rows, runs), strict=True):
            ends = ends.sort_values("weight")
            for panel, column, color, words in (
                (nats, "mutual_information", _INFORMATION, "I(X;Y)"),
                (nats, "consistency", _CONSISTENCY, "consistency"),
                (share, "knn", INKS["diversity"].color, "kNN accuracy"),
            ):
                panel.traces.append(
                    {
                        **_points(ends, ends.weight, ends[column], symbol),
                        "mode": "lines+markers",
                        "name": f"{words}, temperature {temperature:g}",
                        "line": {"color": color, "width": 1.6, "dash": dash},
                        "marker": {"symbol": symbol, "size": 7, "color": color},
                    }
                )
        if place == 0:
            for words, color, y in (("information I(X;Y)", _INFORMATION, 0.97), ("consistency", _CONSISTENCY, 0.88)):
                nats.note_at(
                    f"<b style='color:{color}'>{words}</b>",
                    xref="x domain",
                    yref="y domain",
                    x=0.97,
                    y=y,
                    xanchor="right",
                    yanchor="top",
                    size=11,
                )
        upper.append(nats)
        lower.append(share)
    title = "Between noise and nothing"
    return _across([upper, lower], title, outcomes.note, dark, (250, 210), _legend(runs))


# ---------------------------------------------------------------------------------------------------------------------


def _by(runs: pd.DataFrame, column: str) -> list[tuple[Any, pd.DataFrame]]:
    """The runs of each value of a column: strengths in their order, temperatures ascending."""
    return list(runs.groupby(column, sort=column != "strength"))


def _marks(rows: pd.DataFrame, runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Symbol and dash of each temperature of these rows, the same wherever it stands among all runs."""
    places = {value: place for place, value in enumerate(sorted(set(runs.temperature)))}
    return [_MARKS[places[value] % len(_MARKS)] for value in sorted(set(rows.temperature))]


def _legend(runs: pd.DataFrame) -> str:
    glyphs = {"diamond": "◆", "circle": "●", "square": "■", "triangle-up": "▲"}
    values = sorted(set(runs.temperature))
    return "temperature " + "   ".join(
        f"{glyphs[_MARKS[place % len(_MARKS)][0]]} {value:g}" for place, value in enumerate(values)
    )


def _points(ends: pd.DataFrame, x: pd.Series, y: pd.Series, symbol: str) -> dict[str, Any]:
    """Markers with everything that is known of their runs on hover."""
    named = ("weight", "temperature", "mutual_information", "consistency", "correlation", "knn")
    texts = [
        f"<b>weight {weight:g}, temperature {temperature:g}</b>: {verdict}<br>I {information:.2f} nats, "
        f"consistency {consistency:.2f} nats<br>views correlate by {correlation:.2f}, kNN {score:.1%}"
        for (weight, temperature, information, consistency, correlation, score), verdict in zip(
            ends[list(named)].to_numpy(float), ends.verdict, strict=True
        )
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x.to_numpy(np.float32),
        "y": y.to_numpy(np.float32),
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": symbol, "size": 9},
    }


def _line(x: pd.Series, y: pd.Series, name: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x.to_numpy(np.float32),
        "y": y.to_numpy(np.float32),
        "line": {"color": REFERENCE, "width": 1.1, "dash": dash},
        "hoverinfo": "skip",
    }


def _marker(correlations: pd.Series, symbol: str, bar: bool) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "size": 10,
        "color": correlations.clip(0, 1).to_numpy(np.float32),
        "colorscale": _SCALE,
        "cmin": 0,
        "cmax": 1,
        "showscale": bar,
        "line": {"width": 1, "color": "white"},
    }


def _bar(shown: bool) -> dict[str, Any] | None:
    if not shown:
        return None
    title = {"text": "correlation of the views", "side": "right", "font": {"size": 11}}
    return {"title": title, "thickness": 10, "len": 0.9, "outlinewidth": 0, "tickvals": [0, 0.5, 1], "x": 1.01}


def _alive(ends: pd.DataFrame, symbol: str, dark: bool) -> dict[str, Any]:
    """Full where the loss lets information grow, empty where it lets it fade."""
    grows = (ends.balance > ends.weight).to_numpy()
    return {
        "symbol": [symbol if each else f"{symbol}-open" for each in grows],
        "size": 10,
        "color": _INFORMATION,
        "line": {"width": [1 if each else 1.8 for each in grows]},
    }


def _add_edges(panel: Panel, num_classes: int, temperatures: list[float], low: float) -> None:
    """What batches can reach behind the final norm, a fainter region for each higher temperature."""
    for temperature in temperatures:
        edge = norm_frontier(num_classes, temperature)
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"in reach at temperature {temperature:g}",
                "x": edge[:, 0].astype(np.float32),
                "y": np.maximum(edge[:, 1], low).astype(np.float32),
                "fill": "toself",
                "fillcolor": REGION,
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )


def _weights_axis(weights: np.ndarray) -> dict[str, Any]:
    low, high = math.log10(0.92 * weights[0]), math.log10(1.09 * weights[-1])
    return {
        "type": "log",
        "range": [low, high],
        "title": {"text": "consistency weight w"},
        "tickvals": weights.tolist(),
        "ticktext": [f"{weight:g}" for weight in weights],
        "showgrid": False,
    }


def _across(
    rows: list[list[Panel]], title: str, note: str, dark: bool, heights: tuple[int, ...], legend: str
) -> go.Figure:
    """Panels side by side, rows of them above each other, with a title and what the symbols mean."""
    count, total, gap = len(rows[0]), sum(heights), 0.11
    width = (1 - _GAP * (count - 1)) / count
    placed, up = [], 1.0
    for panels, height in zip(rows, heights, strict=True):
        tall = (1 - gap * (len(rows) - 1)) * height / total
        for place, panel in enumerate(panels):
            left = place * (width + _GAP)
            placed.append((panel, (left, min(1.0, left + width)), (max(0.0, up - tall), up)))
        up -= tall + gap
    figure = assemble(placed, dark=dark, height=total + 60 * len(rows) + 90)
    heading = title_of(title, "   ·   ".join(part for part in (note, legend) if part))
    return figure.update_layout(title=heading, margin={"t": 92, "l": 60, "r": 30})
