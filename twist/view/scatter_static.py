"""A scatter as a small PNG, drawn in Python: what a saved notebook keeps where no script runs."""

from __future__ import annotations

import io

import numpy as np

_WIDTH, _HEIGHT, _MARGIN = 840, 460, 24
_MOST_DOTS = 20_000  # evenly spread, of more; a picture is to stay below 200 kB
_NO_COLOR = "#8a8f98"


def picture(placed: np.ndarray, colors: np.ndarray, palette: list[str]) -> bytes:
    """Points on white paper.

    Parameters
    ----------
    placed
        float ``[N, 2]`` on a scale of about -1 to 1; those that are not finite are left out.
    colors
        Index into the palette for each point; others are gray.
    palette
        Colors as ``#RRGGBB``.
    """
    from PIL import Image, ImageDraw

    known = np.flatnonzero(np.isfinite(placed).all(axis=1))
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _MOST_DOTS)).astype(int))]
    spread = np.random.default_rng(0).permutation(known)  # no class hides another because it comes last
    extent = np.maximum(np.abs(placed[known]).max(axis=0, initial=0.1), 0.1)
    room = (np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN) / 2
    middle = np.array([_WIDTH, _HEIGHT])  # drawn twice as large, then halved: smooth edges
    at = middle + 2 * placed[spread] * [1, -1] * (room / extent).min()
    radius = 2 * float(np.clip(0.3 * np.sqrt(_WIDTH * _HEIGHT / max(1, len(known))), 1.15, 4.2))
    sheet = Image.new("RGB", (2 * _WIDTH, 2 * _HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    rim = 2 if radius > 4 else 0
    for (x, y), color in zip(at.tolist(), colors[spread].tolist(), strict=True):
        fill = palette[color] if 0 <= color < len(palette) else _NO_COLOR
        box = (x - radius - rim, y - radius - rim, x + radius + rim, y + radius + rim)
        pen.ellipse(box, fill=fill, outline="white" if rim else None, width=rim)
    held = io.BytesIO()
    small = sheet.resize((_WIDTH, _HEIGHT), Image.Resampling.BOX)
    small.quantize(128, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    return held.getvalue()
