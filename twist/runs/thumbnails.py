"""Thumbnails of the watch images on contact sheets: one picture for a thousand images."""

from __future__ import annotations

import io
import math

import numpy as np

THUMBNAIL_SIDE = 64
TILES_PER_SHEET = 1000
TILE_COLUMNS = 40


def contact_sheets(images: np.ndarray) -> tuple[dict[str, bytes], int]:
    """Thumbnails on sheets of up to 1,000 tiles in 40 columns: file name -> bytes, and the side of a tile in pixels.

    Images up to 64 pixels keep every pixel (lossless PNG); larger ones are reduced to 64 and stored as JPEG.
    """
    from PIL import Image

    count, channels, height, width = images.shape
    longest = max(height, width)
    tile = min(longest, THUMBNAIL_SIDE)
    lossless = longest <= THUMBNAIL_SIDE and images.nbytes <= 8_000_000
    sheets = {}
    for first in range(0, count, TILES_PER_SHEET):
        batch = images[first : first + TILES_PER_SHEET]
        rows = math.ceil(len(batch) / TILE_COLUMNS)
        sheet = np.zeros((rows * tile, TILE_COLUMNS * tile, channels), dtype=np.uint8)
        for index, image in enumerate(batch):
            pixels = image.transpose(1, 2, 0)
            if longest > THUMBNAIL_SIDE:
                small = Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)
                small.thumbnail((tile, tile), Image.Resampling.LANCZOS)
                pixels = np.asarray(small).reshape(small.height, small.width, channels)
            y, x = divmod(index, TILE_COLUMNS)
            y = y * tile + (tile - pixels.shape[0]) // 2
            x = x * tile + (tile - pixels.shape[1]) // 2
            sheet[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        picture = Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)
        buffer = io.BytesIO()
        if lossless:
            picture.save(buffer, "PNG", optimize=True)
        else:
            picture.save(buffer, "JPEG", quality=90)
        name = f"sheet-{first // TILES_PER_SHEET:04d}.{'png' if lossless else 'jpg'}"
        sheets[name] = buffer.getvalue()
    return sheets, tile
