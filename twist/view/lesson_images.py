"""The images of a lesson page: one contact sheet, small enough to be mailed, and what is known of each image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from twist.runs.sheets import ContactSheets, encode_tiles, thumbnails_of
from twist.runs.store import RecordError
from twist.runs.watched import Watch
from twist.view.explorer_tables import as_bytes

_COLUMNS = 40
#: Sides and qualities that are tried until the sheet is small enough; the last is taken in any case.
_SIZES = ((64, 88), (48, 85), (32, 82), (24, 78), (16, 75))
_MOST_LABELS = 254


def images_table(watch: Watch, rows: np.ndarray, budget: int) -> dict[str, Any]:
    """Thumbnails, ids and labels of some watch images as a page holds them.

    Parameters
    ----------
    watch
        The watch images.
    rows
        Which of them, ``[M]``.
    budget
        Bytes of the sheet, at most if it can be had.

    Returns
    -------
    dict
        ``sheets`` is empty, and ``said`` says why, where no picture can be read.
    """
    labels = None if watch.labels is None else np.asarray(watch.labels)[rows]
    num_labels = 0 if labels is None else int(labels.max(initial=-1)) + 1
    known = labels is not None and num_labels <= _MOST_LABELS
    said = "" if labels is None or known else f"{num_labels:,} labels are too many to be told apart by color."
    table = {
        "count": len(rows),
        "of": len(watch),
        "sample_ids": as_bytes(np.asarray(watch.sample_ids)[rows], np.float64),
        "labels": as_bytes(np.where(labels < 0, 255, labels), np.uint8) if known and labels is not None else b"",
        "label_names": [str(watch.label_name(label)) for label in range(num_labels)] if known else [],
    }
    try:
        sheet, tile, kind = _sheet(watch, rows, budget)
    except (RecordError, OSError) as error:
        said = f"{said} Pictures are missing: {error}.".strip()
        return table | {"sheets": [], "tile": 8, "columns": _COLUMNS, "per_sheet": max(1, len(rows)),
                        "sheet_type": "image/png", "said": said}  # fmt: skip
    return table | {"sheets": [sheet], "tile": tile, "columns": min(_COLUMNS, len(rows)), "per_sheet": len(rows),
                    "sheet_type": kind, "said": said}  # fmt: skip


def _sheet(watch: Watch, rows: np.ndarray, budget: int) -> tuple[bytes, int, str]:
    """The sheet, the side of a thumbnail in pixels, and its MIME type."""
    from PIL import Image

    sheets = ContactSheets.of(watch)
    images = thumbnails_of(sheets, rows)
    side = images.shape[1]
    if images.nbytes <= 4 * budget:  # what compresses less than that is a photograph
        content, kind = encode_tiles(images, _COLUMNS, lossless=True)
        if len(content) <= budget:
            return content, side, kind
    pixels = _laid_out(images)
    content = b""
    for wanted, quality in _SIZES:
        tile = min(side, wanted)
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if tile < side:
            size = round(picture.width * tile / side), round(picture.height * tile / side)
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= budget:
            break
    return content, tile, "image/jpeg"


def _laid_out(images: np.ndarray) -> np.ndarray:
    count, side, _, channels = images.shape
    columns = min(_COLUMNS, count)
    lines = -(-count // columns)
    sheet = np.zeros((lines * columns, side, side, channels), np.uint8)
    sheet[:count] = images
    return (
        sheet.reshape(lines, columns, side, side, channels)
        .swapaxes(1, 2)
        .reshape(lines * side, columns * side, channels)
    )
