"""Figures of what drives the training and what it makes of the features: gradients, ranks, spectra, spreads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.kinds import STILL_ROWS, few_directions
from twist.view.labels import spread
from twist.view.lines import PALETTE, Axis, Line, Reference, lines_panel
from twist.view.panels import Panel, single
from twist.view.scene import Scene
from twist.view.tables import known, thinned
from twist.view.theme import INKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import plotly.graph_objects as go

_TERMS = ("consistency", "sharpness", "diversity")
_FALLBACK = "not recorded: runs of an older version keep no such numbers"


def gradient_panel(metrics: pd.DataFrame, scene: Scene) -> Panel:
    """The panel of `gradient_shares`."""
    norms = [known(metrics, f"train/{term}_gradient") for term in _TERMS]
    steps = norms[0][0] if all(len(steps) == len(norms[0][0]) for steps, _ in norms) else np.zeros(0, np.float32)
    values = np.stack([value for _, value in norms]) if len(steps) else np.zeros((3, 0), np.float32)
    rows = thinned(len(steps))
    steps, values = steps[rows], values[:, rows]
    total = values.sum(0)
    shares = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    panel = Panel(
        title="Which term pulls",
        note=scene.batches,
        xaxis={"title": {"text": "step"}, "showgrid": False},
        yaxis={"title": {"text": "share of the gradient at the logits"}, "range": [0, 1], "tickformat": ".0%"},
    )
    for term, share, norm in zip(_TERMS, shares, values, strict=True):
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": term,
                "x": steps,
                "y": share.astype(np.float32),
                "customdata": norm,
                "stackgroup": "terms",
                "line": {"width": 0.6, "color": INKS[term].color},
                "fillcolor": _washed(INKS[term].color),
                "hovertemplate": f"<b>{term}</b> %{{y:.0%}}, norm %{{customdata:.3g}}"
                "<br>step %{x:,.0f}<extra></extra>",
            }
        )
    for third in (1 / 3, 2 / 3):
        panel.line(third, layer="above")
    if len(steps):
        last, middles = float(steps[-1]), np.cumsum(shares[:, -1]) - shares[:, -1] / 2
        places = spread(middles, 0.08, 0.12, 0.97)
        for term, share, place in zip(_TERMS, np.median(shares[:, -5:], axis=1), places, strict=True):
            text = f"<span style='color:{INKS[term].color}'>█</span> {term} {share:.0%}"
            panel.note_at(text, x=last, y=float(place), xanchor="left", xshift=6, size=11, on_paper=True)
        panel.note_at("dashed: a third each", x=last, y=0, xanchor="left", yanchor="bottom", xshift=6, yshift=2)
        panel.xaxis["range"] = [float(steps[0]), last * 1.5]
    else:
        panel.empty(_FALLBACK)
    return panel


def gradient_shares(metrics: pd.DataFrame, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Share of each weighted term in the gradient at the logits, over the steps.

    Healthy: all three pull for a long time. One term alone for hundreds of steps decides where the run goes:
    consistency toward flat or equal distributions, sharpness without diversity toward few classes. Shares are of L2
    norms: terms that pull in opposite directions count in full.
    """
    return single(gradient_panel(metrics, scene), dark=dark, height=380)


def norms_panel(metrics: pd.DataFrame, scene: Scene, clip_norm: float | None) -> Panel:
    """The panel of `gradient_norms`."""
    line = Line("of all parameters", *known(metrics, "train/gradient_norm"), PALETTE[4])
    high = 1.15 * max([clip_norm or 0, float(np.quantile(line.y, 0.99)) if len(line.y) else 1])
    references = [Reference(clip_norm, f"clipped above {clip_norm:g}")] if clip_norm else []
    axis = Axis("L2 norm, before clipping", 0, high)
    return lines_panel("How large the gradient is", scene.batches, [line], axis, references, empty=_FALLBACK)


def gradient_norms(
    metrics: pd.DataFrame, scene: Scene, *, clip_norm: float | None = None, dark: bool = False
) -> go.Figure:
    """Norm of the gradient of all parameters over the steps, before clipping, and the norm at which it is clipped.

    Steady or slowly changing is healthy; spikes and growth come before numbers that are not finite. The axis ends at
    the 99th percentile: what leaves it was larger.
    """
    return single(norms_panel(metrics, scene, clip_norm), dark=dark, height=380)


def rank_panel(metrics: pd.DataFrame, snapshots: pd.DataFrame, scene: Scene, num_rows: int, num_features: int) -> Panel:
    """The panel of `effective_ranks`."""
    lines = [
        Line("batches", *known(metrics, "train/effective_rank"), PALETTE[0]),
        Line("watch images", *known(snapshots, "watch/effective_rank"), PALETTE[1], "dot"),
        Line("without their mean", *known(snapshots, "watch/centered_rank"), PALETTE[2], "dash"),
    ]
    cap = min(num_rows, num_features)
    top = max([cap, *(float(line.y.max()) for line in lines if len(line.y)), 1])
    references = [Reference(cap, f"most in a batch: {num_rows:,} views, {num_features:,} features")] if cap else []
    _, ranks = known(snapshots, "watch/effective_rank")
    few = few_directions(scene.num_classes, float(ranks[0]) if len(ranks) else math.inf)
    references.append(Reference(few, f"few for {scene.num_classes:,} classes"))
    axis = Axis("effective rank, directions", 0, 1.12 * top)
    return lines_panel("How many directions the features span", scene.batches, lines, axis, references)


def effective_ranks(
    metrics: pd.DataFrame,
    snapshots: pd.DataFrame,
    scene: Scene,
    num_rows: int,
    num_features: int,
    *,
    dark: bool = False,
) -> go.Figure:
    """Effective rank of the features (exp of the entropy of their singular values) against the most it can be.

    A fall toward 1 is the dimensional collapse; where only the rank with the mean falls, all images have one direction
    in common and differ as before. It need not be near its cap: features that separate C groups well span about C
    directions. The lower line is what the verdict calls too few.

    Parameters
    ----------
    metrics, snapshots
        Tables with ``train/effective_rank``, ``watch/effective_rank`` and ``watch/centered_rank``.
    scene
        Whose they are.
    num_rows, num_features
        Rows of features that a step sees, all its views, and D; 0 when not known.
    dark
        Whether to draw for a dark page.
    """
    return single(rank_panel(metrics, snapshots, scene, num_rows, num_features), dark=dark, height=380)


def spectrum_panel(spectra: Mapping[int, np.ndarray], scene: Scene, num_features: int) -> Panel:
    """The panel of `feature_spectra`."""
    panel = Panel(
        title="The spectrum of the features",
        note=scene.images(),
        xaxis={"title": {"text": "direction, strongest first"}, "type": "log", "tickvals": [1, 2, 5, 10, 20, 50]},
        yaxis={"title": {"text": "share of the singular values"}, "type": "log", "dtick": 1, "tickformat": ".3~p"},
    )
    dashes, glyphs, opacities = ("dot", "dash", "solid"), ("┅", "╍", "━"), (0.45, 0.7, 1)
    first, legend = 3 - len(spectra), []
    for number, (step, spectrum) in enumerate(spectra.items(), first):
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"step {step:,}",
                "x": np.arange(1, len(spectrum) + 1, dtype=np.float32),
                "y": np.where(spectrum > 0, spectrum, np.nan).astype(np.float32),
                "line": {"color": PALETTE[0], "width": 1.8, "dash": dashes[number]},
                "opacity": opacities[number],
                "marker": {"size": 3},
                "hovertemplate": f"step {step:,}: direction %{{x:.0f}} holds %{{y:.2%}}<extra></extra>",
            }
        )
        legend.append(f"<span style='color:{PALETTE[0]}'>{glyphs[number]}{glyphs[number]}</span> step {step:,}")
    lowest = min([1e-2, *(float(part[part > 1e-7].min()) for part in spectra.values() if (part > 1e-7).any())])
    if num_features:
        even = 1 / num_features
        lowest = min(lowest, even)
        panel.line(even, f"all {num_features:,} directions alike: {even:.2%}")
        panel.annotations[-1]["y"] = float(np.log10(even))  # of a logarithmic axis shapes take values, words exponents
    longest = max([len(spectrum) for spectrum in spectra.values()] + [10])
    panel.xaxis["range"] = [-0.03, float(np.log10(longest * 1.1))]
    panel.yaxis["range"] = [float(np.log10(lowest / 1.6)), 0.1]
    corner: dict[str, Any] = {"xref": "x domain", "yref": "y domain", "x": 1, "y": 1, "align": "right"}
    if spectra:
        panel.note_at("<br>".join(legend), size=11, xanchor="right", yanchor="top", **corner)
    else:
        panel.empty("no snapshot keeps a spectrum: runs of an older version have none")
    return panel


def feature_spectra(
    spectra: Mapping[int, np.ndarray], scene: Scene, num_features: int, *, dark: bool = False
) -> go.Figure:
    """Singular values of the watch images' features, as shares of their sum, at up to three snapshots.

    A slow fall is healthy; a cliff after the first direction is the dimensional collapse. The first direction is the
    mean, because the features are not centred.

    Parameters
    ----------
    spectra
        By step, ascending; see `twist.runs.watched.Snapshot.feature_spectrum`.
    scene
        Whose they are.
    num_features
        D, the number of features; 0 when not known.
    dark
        Whether to draw for a dark page.
    """
    return single(spectrum_panel(spectra, scene, num_features), dark=dark, height=380)


def spread_panel(metrics: pd.DataFrame, scene: Scene) -> Panel:
    """The panel of `logit_spreads`."""
    names = {
        "row_std": ("rows, after the norm", PALETTE[0], "solid"),
        "column_std": ("columns, after the norm", PALETTE[1], "solid"),
        "row_std_before_norm": ("rows, before", PALETTE[0], "dot"),
        "column_std_before_norm": ("columns, before", PALETTE[1], "dot"),
    }
    lines = [Line(words, *known(metrics, f"train/{name}"), color, dash) for name, (words, color, dash) in names.items()]
    top = 1.15 * max([1.0, *(float(np.quantile(line.y, 0.99)) for line in lines if len(line.y))])
    references = [Reference(STILL_ROWS, f"rows are flat below {STILL_ROWS:g}")]
    if scene.final_norm != "none":
        references.append(Reference(1.0, "columns, by the norm: 1"))
    axis = Axis("standard deviation of the logits", -0.08 * top, top, ".2f")
    return lines_panel("How far the logits spread", scene.batches, lines, axis, references)


def logit_spreads(metrics: pd.DataFrame, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Spread of the logits within a row (one image, all classes) and within a column (one class, all images).

    The final norm holds the columns at 1 whatever happens, so the rows are the meter: when they go to 0, every image
    gets the same flat distribution, which is the uniform collapse behind a column spread that looks healthy.
    """
    return single(spread_panel(metrics, scene), dark=dark, height=380)


def geometry_panel(metrics: pd.DataFrame, scene: Scene) -> Panel:
    """The panel of `feature_geometry`."""
    lines = [
        Line("alignment", *known(metrics, "train/alignment"), PALETTE[3]),
        Line("uniformity", *known(metrics, "train/uniformity"), PALETTE[2], "dash"),
        Line("dead units, share", *known(metrics, "train/dead_units"), PALETTE[1], "dot"),
    ]
    values = np.concatenate([line.y for line in lines])
    low, high = (float(values.min()), float(values.max())) if len(values) else (-4.0, 1.0)
    references = [Reference(0, "0: views alike; all images alike; no unit dead")]
    axis = Axis("squared distance; log of mean", 1.12 * min(low, -0.2), 1.15 * max(high, 0.5), ".2f")
    return lines_panel("Views together, images apart", scene.batches, lines, axis, references, empty=_FALLBACK)


def feature_geometry(metrics: pd.DataFrame, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Alignment of the two views and uniformity of all images on the sphere of normalized features, and dead units.

    Alignment is the mean squared distance of the views (0 the same, 2 unrelated): low is good. Uniformity is the log
    of the mean of exp(-2 d²) over pairs, 0 when all images lie in one point: the lower the better. Both near 0 are a
    collapse of the features.
    """
    return single(geometry_panel(metrics, scene), dark=dark, height=380)


def _washed(color: str) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.62)"
