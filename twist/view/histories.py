"""Figures of every image through time: entropies, the path of some, and the map of confidence against variability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twist.runs.bounds import log_classes, sharpness_floor
from twist.runs.histories import SampleTraits, confident_above
from twist.view.labels import spread
from twist.view.panels import Panel, single
from twist.view.scene import Scene
from twist.view.snapshots import whole_classes
from twist.view.tables import thinned
from twist.view.theme import INKS, REFERENCE, class_color

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BINS = 40
_MOST_COLUMNS = 200
_MOST_POINTS = 2_000
_DENSE = INKS["sharpness"].color
# Nothing to full ink: on either paper, what is empty is the paper.
_INK_SCALE = [[0, "rgba(213, 94, 0, 0)"], [1e-6, "rgba(213, 94, 0, 0.06)"], [1, "rgba(213, 94, 0, 1)"]]
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


class Picked(NamedTuple):
    """An image that is followed: its row among the watch images, and why it was chosen, in a few words."""

    row: int
    words: str


class Densities(NamedTuple):
    """How the entropies of all images are spread at each of T times.

    Attributes
    ----------
    steps
        ``[T]``.
    shares
        Share of the images in each of B equal bins from 0 to log C, ``[B, T]``; NaN for a bin without any.
    quantiles
        The levels, in nats, that 10 %, half and 90 % of the images are below, ``[3, T]``.
    """

    steps: np.ndarray
    shares: np.ndarray
    quantiles: np.ndarray

    @classmethod
    def of(cls, steps: np.ndarray, values: np.ndarray, num_classes: int) -> Densities:
        """Of entropies ``[T, M]`` in nats, NaN where an image has none."""
        columns = [density(entropies, num_classes) for entropies in values]
        shares = np.stack([share for share, _ in columns], 1) if columns else np.zeros((_BINS, 0), np.float32)
        quantiles = np.stack([levels for _, levels in columns], 1) if columns else np.zeros((3, 0), np.float32)
        return cls(np.asarray(steps), shares, quantiles)


def density(entropies: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares and quantiles of one time, see `Densities`."""
    shares, quantiles = np.full(_BINS, np.nan, np.float32), np.full(3, np.nan, np.float32)
    finite = entropies[np.isfinite(entropies)].astype(np.float64)
    if len(finite):
        top = log_classes(num_classes)
        counts = np.histogram(np.clip(finite, 0, top), np.linspace(0, top, _BINS + 1))[0]
        shares = np.where(counts, counts / len(finite), np.nan).astype(np.float32)
        quantiles = np.quantile(finite.astype(np.float32), (0.1, 0.5, 0.9)).astype(np.float32)
    return shares, quantiles


def entropy_history_panel(spread_of: Densities, scene: Scene, note: str, *, of_training: bool = False) -> Panel:
    """The panel of `entropy_history`."""
    top, unit = log_classes(scene.num_classes), "epoch" if of_training else "step"
    rows = thinned(len(spread_of.steps), _MOST_COLUMNS)
    steps, shares, quantiles = spread_of.steps[rows], spread_of.shares[:, rows], spread_of.quantiles[:, rows]
    panel = Panel(
        title="How sure training is of each image" if of_training else "How sure the network is of each image",
        note=note,
        xaxis={"title": {"text": unit}, "showgrid": False},
        yaxis={"title": {"text": "entropy H(Y|image), nats"}, "range": [0, 1.06 * top], "showgrid": False},
        zaxis=_classes_axis(scene, 1.06 * top),
    )
    edges = np.linspace(0, top, _BINS + 1)
    panel.traces.append(
        {
            "type": "heatmap",
            "name": "share of images",
            "x": steps.astype(np.float32),
            "y": ((edges[:-1] + edges[1:]) / 2).astype(np.float32),
            "z": np.nan_to_num(shares),  # NaN in a matrix has no JSON, which the wire of a widget is
            "colorscale": _INK_SCALE,
            # One full bin must not make all the others pale.
            "zmin": 0,
            "zmax": float(np.nanquantile(shares, 0.98)) if np.isfinite(shares).any() else 1,
            "showscale": False,
            "hovertemplate": f"{unit} %{{x:,.0f}}: %{{z:.1%}} of the images<br>near %{{y:.2f}} nats<extra></extra>",
        }
    )
    for share, line, width in zip(("10 %", "median", "90 %"), quantiles, (1, 2.2, 1), strict=True):
        words = "half of the images are" if share == "median" else f"{share} of the images are"
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": share,
                "x": steps.astype(np.float32),
                "y": line,
                "line": {"color": REFERENCE, "width": width + 0.4, "dash": "solid" if width > 2 else "dot"},
                "hovertemplate": f"{words} below %{{y:.2f}} nats<br>{unit} %{{x:,.0f}}<extra></extra>",
            }
        )
    panel.traces.append({"type": "scatter", "x": [None], "y": [None], "yaxis": "z", "hoverinfo": "skip"})
    panel.line(top, f"log C = {top:.2f}", layer="above", size=10, x=0.99, xanchor="right")
    floor = sharpness_floor(scene.num_classes, scene.temperature, scene.final_norm)
    if of_training and floor > 0.02 * top:
        panel.line(floor, f"least mean of a batch: {floor:.2f}", layer="above", yanchor="top")
    if len(steps):
        finite_ends = [float(line[np.isfinite(line)][-1]) if np.isfinite(line).any() else np.nan for line in quantiles]
        width = float(steps[-1] - steps[0]) or 1.0
        half = float(np.diff(steps).min()) / 2 if len(steps) > 1 else 0.5
        _label_ends(panel, float(steps[-1]) + half, finite_ends, ("10 %", "median", "90 %"), top)
        panel.xaxis["range"] = [float(steps[0]) - half, float(steps[-1]) + half + 0.24 * width]
    else:
        panel.empty("no epoch recorded yet" if of_training else "no snapshot recorded yet")
    return panel


def entropy_history(
    steps: np.ndarray, values: np.ndarray, scene: Scene, *, of_training: bool = False, dark: bool = False
) -> go.Figure:
    """Distribution of H(Y given this image) through time: one column per snapshot, darker where more images are.

    Healthy: the cloud starts near log C (nothing is known) and sinks, most of it together; a tail that stays up are the
    images that hesitate. All of it pressed against log C is the uniform collapse. Lines are the median and the bounds
    of the middle 80 %. The right axis says the same as a number of classes, exp of the entropy.

    Parameters
    ----------
    steps, values
        ``[T]`` and ``[T, M]`` nats, see `twist.runs.columns.column_through_time`; NaN where an image has none.
    scene
        Whose they are.
    of_training
        Whether they are entropies of augmented views out of training, by epoch, whose *mean* has a floor behind the
        final norm; else of the plain watch images by step, which have none.
    dark
        Whether to draw for a dark page.
    """
    note = scene.batches if of_training else scene.images(shown=np.shape(values)[-1])
    rows = thinned(len(steps), _MOST_COLUMNS)
    spread_of = Densities.of(np.asarray(steps)[rows], np.asarray(values)[rows], scene.num_classes)
    panel = entropy_history_panel(spread_of, scene, note, of_training=of_training)
    return single(panel, dark=dark, height=400)


def trajectories_panel(
    steps: np.ndarray, values: np.ndarray, picked: Sequence[Picked], classes: np.ndarray, scene: Scene, note: str
) -> Panel:
    """The panel of `trajectories`."""
    top = log_classes(scene.num_classes)
    steps = np.asarray(steps, np.float32)
    panel = Panel(
        title="Some images, followed",
        note=note,
        xaxis={"title": {"text": "step"}},
        yaxis={"title": {"text": "entropy H(Y|image), nats"}, "range": [-0.02 * top, 1.08 * top]},
    )
    levels = _quantiles(values, (0.05, 0.25, 0.75, 0.95))
    for low, high, name in ((0, 3, "90 % of the images"), (1, 2, "half of the images")):
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": np.concatenate([steps, steps[::-1]]),
                "y": np.concatenate([levels[low], levels[high][::-1]]),
                "fill": "toself",
                "fillcolor": "rgba(138, 143, 152, 0.20)",
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )
    ends = []
    for number, image in enumerate(picked):
        own = int(classes[image.row])
        path = np.asarray(values[:, image.row], np.float32)
        finite = path[np.isfinite(path)]
        ends.append((float(finite[-1]) if len(finite) else top, class_color(own), f"{image.words} · class {own}"))
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": image.words,
                "x": steps,
                "y": path,
                "line": {"color": class_color(own), "width": 2, "dash": _DASHES[number % len(_DASHES)]},
                "marker": {"size": 4},
                "hovertemplate": f"<b>{image.words}</b>, image {image.row}, now class {own}<br>"
                "step %{x:,.0f}: %{y:.2f} nats<extra></extra>",
            }
        )
    panel.line(top, f"log C = {top:.2f}: nothing known")
    if len(steps):
        last = float(steps[-1])
        room = 6.2 * max([0, *(len(words) + 3 for _, _, words in ends)]) / 400  # as a share of a narrow figure
        panel.xaxis["range"] = [float(steps[0]), last + room / (1 - room) * max(1.0, last - float(steps[0]))]
        heights = spread(np.array([end[0] for end in ends]), 0.075 * top, 0.03 * top, 1.0 * top)
        for (_, color, words), height in zip(ends, heights, strict=True):
            text = f"<span style='color:{color}'>●</span> {words}"
            panel.note_at(text, size=11, on_paper=True, x=last, y=float(height), xanchor="left", xshift=5)
    else:
        panel.empty("no snapshot recorded yet")
    return panel


def trajectories(
    steps: np.ndarray,
    values: np.ndarray,
    picked: Sequence[Picked],
    classes: np.ndarray,
    scene: Scene,
    *,
    dark: bool = False,
) -> go.Figure:
    """Entropies of chosen images through time, in the colors of their newest classes, over the bands of all images.

    The darker band holds the middle half of all images, the lighter one the middle 90 %.

    Parameters
    ----------
    steps, values
        As in `entropy_history`.
    picked
        The images, see `pick`.
    classes
        Newest class of each image, ``[M]``.
    scene
        Whose they are.
    dark
        Whether to draw for a dark page.
    """
    note = scene.images(shown=np.shape(values)[-1])
    return single(trajectories_panel(steps, values, picked, classes, scene, note), dark=dark, height=400)


def pick(traits: SampleTraits) -> list[Picked]:
    """A telling image of each kind that there is: settled early, settled late, most flips, never sure, forgotten."""
    if not len(traits.flips) or not np.isfinite(traits.mean_confidence).any():
        return []
    sure = np.nan_to_num(traits.mean_confidence)
    changed = traits.flips > 0
    kinds = (
        ("surest", np.ones(len(sure), bool), sure),
        ("learned late", changed & ~traits.never_confident & ~traits.forgotten, traits.settled_step + sure),
        ("most flips", changed, traits.flips - sure),
        ("never confident", traits.never_confident, -sure),
        ("forgotten", traits.forgotten, traits.variability),
    )
    found: list[Picked] = []
    for words, members, score in kinds:
        rows = np.setdiff1d(np.flatnonzero(members), [image.row for image in found])
        if len(rows):
            found.append(Picked(int(rows[np.asarray(score)[rows].argmax()]), words))
    return found


def confidence_map_panel(traits: SampleTraits, scene: Scene, note: str) -> Panel:
    """The panel of `confidence_map`."""
    chance, line = 1 / scene.num_classes, confident_above(scene.num_classes)
    known = np.flatnonzero(np.isfinite(traits.mean_confidence))
    shown = known[thinned(len(known), _MOST_POINTS)]
    if len(shown) < len(known):
        note += f" · {len(shown):,} of them drawn"
    widest = max(0.08, 1.08 * float(traits.variability[shown].max(initial=0)))
    panel = Panel(
        title="Settled, hesitating, forgotten",
        note=note,
        xaxis={
            "title": {"text": "variability: standard deviation of the confidence"},
            "range": [-0.02 * widest, widest],
        },
        yaxis={
            "title": {"text": "mean confidence over the snapshots"},
            "range": [-0.06, 1.14],
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "tickformat": ".0%",
        },
    )
    # A confidence between 1/C and 1 with mean m deviates by at most sqrt((1 - m)(m - 1/C)).
    mean = np.linspace(chance, 1, 200)
    panel.traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "most variability possible",
            "x": np.sqrt((1 - mean) * (mean - chance)).astype(np.float32),
            "y": mean.astype(np.float32),
            "line": {"color": REFERENCE, "width": 1, "dash": "4px,3px"},
            "hovertemplate": "the most variability that a mean of %{y:.0%} allows: %{x:.2f}<extra></extra>",
        }
    )
    flips = traits.flips[shown]
    most = max(2, int(np.quantile(flips, 0.98))) if len(flips) else 2
    for name, members, symbol in (
        ("images", ~traits.forgotten[shown], "circle"),
        ("forgotten", traits.forgotten[shown], "x"),
    ):
        rows = shown[members]
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": traits.variability[rows].astype(np.float32),
                "y": traits.mean_confidence[rows].astype(np.float32),
                "customdata": np.stack([rows, traits.flips[rows], traits.settled_step[rows]], 1).astype(np.int32),
                "marker": {
                    "symbol": symbol,
                    "size": 5 if symbol == "circle" else 6,
                    "color": flips[members].astype(np.int32),
                    "cmin": 0,
                    "cmax": most,
                    "colorscale": [[0, "#56B4E9"], [0.5, "#AA4499"], [1, _DENSE]],
                    "opacity": 0.7,
                    "line": {"width": 0},
                    "showscale": symbol == "circle",
                    "colorbar": {
                        "title": {"text": "changes<br>of class", "font": {"size": 11}},
                        "thickness": 8,
                        "len": 0.7,
                        "dtick": max(1, most // 4),
                    },
                },
                "hovertemplate": "image %{customdata[0]}: mean confidence %{y:.0%}, deviation %{x:.2f}<br>"
                "%{customdata[1]} changes of class; in its class since step %{customdata[2]:,}<extra></extra>",
            }
        )
    panel.line(line, f"confident above {line:.0%}")
    panel.line(chance, f"chance: 1/C = {chance:.1%}", x=0.99, xanchor="right")
    if len(shown):
        _name_regions(panel, regions(traits, scene.num_classes), int(known.size))
    else:
        panel.empty("no snapshot recorded yet")
    return panel


class Regions(NamedTuple):
    """Which images belong where on the map of confidence; every array is ``[M]``, and each image is in one at most."""

    settled: np.ndarray
    """Confident on average over all snapshots."""
    hesitating: np.ndarray
    """Confident at some snapshot, not on average."""
    never_confident: np.ndarray
    forgotten: np.ndarray
    """Once held by a class, now in another; confident on average or not."""


def regions(traits: SampleTraits, num_classes: int) -> Regions:
    """The parts of the map of confidence, see `Regions`."""
    known = np.isfinite(traits.mean_confidence)
    lost, never = known & traits.forgotten, known & traits.never_confident & ~traits.forgotten
    sure = np.nan_to_num(traits.mean_confidence) > confident_above(num_classes)
    learned = known & ~lost & ~never
    return Regions(learned & sure, learned & ~sure, never, lost)


def confidence_map(traits: SampleTraits, scene: Scene, *, dark: bool = False) -> go.Figure:
    """Mean confidence of each image over the snapshots against its standard deviation, colored by changes of class.

    Above the line: settled and sure, the sooner the farther up. To the right: learned on the way, or still hesitating.
    Lower left: never confident, the place to look for images that belong to no class, or lie between two. Crosses were
    forgotten: a class held them, and they left it. The outer dashed curve is the most variability that a mean
    confidence allows. Behind the final norm confidence cannot come near 100 % for few classes.

    Parameters
    ----------
    traits
        See `twist.runs.histories.sample_traits`. At most 2,000 images are drawn, evenly chosen; the shares are of all.
    scene
        Whose they are.
    dark
        Whether to draw for a dark page.
    """
    panel = confidence_map_panel(traits, scene, scene.images(shown=len(traits.flips)))
    return single(panel, dark=dark, height=440).update_layout(margin={"r": 92})


def _name_regions(panel: Panel, parts: Regions, count: int) -> None:
    words = ("<b>settled and sure</b>", "<b>hesitating</b>", "<b>never confident</b>", "✕ <b>forgotten</b>")
    for text, members, x, y in zip(words, parts, (0, 1, 0, 1), (1, 1, 0, 0), strict=True):
        place: dict[str, Any] = {"x": x, "xanchor": "right" if x else "left", "y": y}
        place.update(xref="x domain", yref="y domain", yanchor="top" if y else "bottom", xshift=-4 if x else 6)
        share = members.sum() / count
        panel.note_at(f"{text} {share:.1%}" if 0 < share < 0.01 else f"{text} {share:.0%}", size=11, **place)


def _classes_axis(scene: Scene, high: float) -> dict[str, Any]:
    ticks = whole_classes(scene.num_classes)
    return {
        "title": {"text": "classes it hesitates between"},
        "range": [0, high],
        "tickvals": [math.log(k) for k in ticks],
        "ticktext": [f"{k:,}" for k in ticks],
        "showgrid": False,
    }


def _quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of each row, float32 ``[K, T]``, NaN for a row without a number."""
    found = np.full((len(shares), len(values)), np.nan, np.float32)
    for number, row in enumerate(values):
        finite = row[np.isfinite(row)]
        if len(finite):
            found[:, number] = np.quantile(finite.astype(np.float32), shares)
    return found


def _label_ends(panel: Panel, last: float, heights: Sequence[float], words: Sequence[str], top: float) -> None:
    shown = [(height, text) for height, text in zip(heights, words, strict=True) if np.isfinite(height)]
    places = spread(np.array([height for height, _ in shown]), 0.065 * top, 0.02 * top, 0.98 * top)
    for (_, text), place in zip(shown, places, strict=True):
        panel.note_at(text, x=last, y=float(place), xanchor="left", xshift=5)
