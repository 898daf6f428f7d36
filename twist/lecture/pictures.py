"""Small pictures for the lessons: images in a row, each with a line of text, and maps beside each other."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SIDE = 72
# Okabe and Ito's, told apart by color-blind readers; the eighth and later groups get other symbols.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#1b1f24")
_PLAIN: dict[str, Any] = {"showarrow": False, "font": {"size": 11, "color": "#1b1f24"}, "opacity": 0.85}


@dataclass(frozen=True)
class ImageStrip:
    """Images in a row, each over its caption; a notebook shows it.

    Attributes
    ----------
    images
        uint8 ``[K, H, W]`` or ``[K, H, W, 3]``.
    captions
        A line for each.
    """

    images: np.ndarray
    captions: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{len(self.captions)} images: {', '.join(self.captions)}"

    def _repr_html_(self) -> str:
        frames = "".join(
            f'<figure style="margin: 0; width: {_SIDE}px; text-align: center">'
            f'<img src="{_address(image)}" alt="{html.escape(caption)}" width="{_SIDE}" height="{_SIDE}" '
            'style="image-rendering: pixelated">'
            f'<figcaption style="font: 11px var(--jp-ui-font-family, sans-serif)">{html.escape(caption)}</figcaption>'
            "</figure>"
            for image, caption in zip(self.images, self.captions, strict=True)
        )
        return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{frames}</div>'


def image_strip(images: np.ndarray, captions: Sequence[object]) -> ImageStrip:
    """Images in a row, each over its caption.

    Raises
    ------
    ValueError
        When there are not as many captions as images.
    """
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images and {len(captions)} captions: give each image one")
    return ImageStrip(np.asarray(images, np.uint8), tuple(str(caption) for caption in captions))


def _address(image: np.ndarray) -> str:
    from PIL import Image

    page = io.BytesIO()
    Image.fromarray(image).save(page, "PNG")
    return "data:image/png;base64," + base64.b64encode(page.getvalue()).decode()


def small_maps(maps: Mapping[str, np.ndarray], groups: Sequence[Any] | np.ndarray | None = None) -> go.Figure:
    """Maps in a row, without axes, since those of a map mean nothing.

    Parameters
    ----------
    maps
        Title and places ``[M, 2]`` of each.
    groups
        Group of every row: named at its `middle`, and told when a point is hovered over.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from twist.view.theme import template

    figure = make_subplots(1, len(maps), subplot_titles=list(maps), horizontal_spacing=0.02)
    names = None if groups is None else np.asarray(groups).astype(str)
    for column, places in enumerate(maps.values(), start=1):
        for number, name in enumerate([None] if names is None else np.unique(names)):
            rows = places if name is None else places[names == name]
            color = _COLORS[number % len(_COLORS)] if name is not None else "#5b6470"
            told = {"hoverinfo": "skip"} if name is None else {"hovertemplate": f"{name}<extra></extra>"}
            dots = {"size": 4, "color": color, "symbol": number // len(_COLORS)}
            figure.add_trace(go.Scatter(x=rows[:, 0], y=rows[:, 1], mode="markers", marker=dots, **told), 1, column)
            if name is not None:
                x, y = middle(rows)
                figure.add_annotation(x=x, y=y, text=f"<b>{name}</b>", bgcolor="white", row=1, col=column, **_PLAIN)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    for number in range(len(maps)):  # a step to the right is as long as a step up
        figure.layout[f"yaxis{number + 1 if number else ''}"].scaleanchor = f"x{number + 1 if number else ''}"
    return figure.update_layout(
        template=template(), showlegend=False, height=340, margin={"t": 40, "l": 10, "r": 10, "b": 10}
    )


def middle(places: np.ndarray) -> np.ndarray:
    """The place of a group that half of the others are nearest to: one of its own, also of a group in pieces."""
    squares = ((places[:, None] - places) ** 2).sum(-1)
    return places[np.median(squares, axis=1).argmin()]
