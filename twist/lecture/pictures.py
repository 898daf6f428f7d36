"""Small pictures for the lessons: images in a row, each with a line of text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SIDE = 72


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
