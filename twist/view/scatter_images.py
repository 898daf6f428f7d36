"""Thumbnails for a scatter, made when the browser asks: out of an array, a function, or a run's contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from twist.runs.config import ConfigError
from twist.runs.sheets import contact_sheet, encode_tiles
from twist.runs.watched import Watch

MOST_SIDE = 96  # pixels of a thumbnail; smaller images keep every pixel
_COLUMNS = 16


class Sheet(NamedTuple):
    """Thumbnails of some rows, in their order, on one picture."""

    content: bytes
    mime: str
    columns: int
    tile: int


def sheets_of(images: Any, count: int) -> Callable[[Sequence[int]], Sheet] | None:
    """What makes a sheet out of rows.

    Parameters
    ----------
    images
        uint8 ``[N, H, W]`` or ``[N, H, W, 1, 3 or 4]``; or a function from a row to one such image; or a run's `Watch`.
    count
        Number of points N.

    Raises
    ------
    ConfigError
        When it is none of these, or holds other than N images.
    """
    if images is None:
        return None
    if isinstance(images, Watch):
        if len(images) != count:
            raise ConfigError(f"images is a run's watch of {len(images):,} images, but there are {count:,} points")
        return lambda rows: Sheet(*contact_sheet(images, rows), columns=images.columns, tile=images.tile)
    if callable(images):
        return lambda rows: _sheet([_image(images(int(row)), f"images({row})") for row in rows])
    found = images if hasattr(images, "shape") and hasattr(images, "dtype") else np.asarray(images)
    shape, dtype = tuple(found.shape), np.dtype(found.dtype)
    if dtype != np.uint8:
        raise ConfigError(f"images has dtype {dtype}: pass uint8, as by (255 * images).astype('uint8')")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        raise ConfigError(f"images has shape {shape}: channels come last, as by images.transpose(0, 2, 3, 1)")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)) or not all(shape[1:]):
        raise ConfigError(f"images has shape {shape}: pass [N, H, W] or [N, H, W, 1, 3 or 4]")
    if shape[0] != count:
        raise ConfigError(f"images holds {shape[0]:,} images, but there are {count:,} points: pass one per point")
    return lambda rows: _sheet([_image(np.asarray(found[int(row)]), f"images[{row}]") for row in rows])


def _image(image: Any, name: str) -> np.ndarray:
    """One image as uint8 ``[H, W, 1 or 3]``."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ConfigError(
            f"{name} is {pixels.dtype} of shape {np.shape(image)}: expected uint8 [H, W] or [H, W, 1, 3 or 4]"
        )
    return pixels[..., :3]


def _sheet(images: list[np.ndarray]) -> Sheet:
    from PIL import Image

    side = min(MOST_SIDE, max((max(image.shape[:2]) for image in images), default=1))
    channels = max((image.shape[2] for image in images), default=1)
    tiles = np.zeros((len(images), side, side, channels), np.uint8)
    lossless = True
    for tile, image in zip(tiles, images, strict=True):
        pixels = image
        if max(image.shape[:2]) > side:
            lossless = False
            small = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            pixels = np.asarray(small).reshape(small.height, small.width, image.shape[2])
        top, left = (side - pixels.shape[0]) // 2, (side - pixels.shape[1]) // 2
        tile[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    content, mime = encode_tiles(tiles, _COLUMNS, lossless=lossless and side <= 64)
    return Sheet(content, mime, _COLUMNS, side)
