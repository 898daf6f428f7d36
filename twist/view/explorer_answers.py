"""What an explorer in a browser asks of the kernel: what is too much to send, or belongs on the disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from twist.runs.histories import sample_history
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view.explorer_tables import as_bytes


class Features:
    """The features of one snapshot, of length one, kept for the questions about it that follow."""

    def __init__(self) -> None:
        self._step = -1
        self._unit = np.zeros((0, 0), np.float32)

    def closeness(self, snapshot: Snapshot, row: int) -> np.ndarray:
        """Cosine of the features of every image with those of one, float32 ``[M]``; -1 for features without length."""
        if self._step != snapshot.step or len(self._unit) != len(snapshot.features):
            self._unit = unit_features(snapshot.features)
            self._step = snapshot.step
        return np.where(self._unit.any(1), self._unit @ self._unit[row], -1).astype(np.float32)


def unit_features(features: np.ndarray) -> np.ndarray:
    """Features of length one; those without a length, or not finite, are zero."""
    table = np.nan_to_num(np.asarray(features, np.float32), posinf=0, neginf=0)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(length > 1e-12, length, np.inf)


def neighbor_distances(features: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Cosine distances of every image to its listed neighbors ``[M, K]``; NaN where -1 says that there is none."""
    unit = unit_features(features)
    distances = np.full(ids.shape, np.nan, np.float32)
    for first in range(0, len(ids), 500):
        block = slice(first, first + 500)
        near = np.where(ids[block] >= 0, ids[block], 0)
        cosine = np.einsum("md,mkd->mk", unit[block], unit[near])
        distances[block] = np.where(ids[block] >= 0, np.maximum(0, 1 - cosine), np.nan)
    return distances


def history_answer(record: RunRecord, row: int) -> dict[str, Any]:
    """What every snapshot says of one image, as plain lists: for the curves of the inspector."""
    try:
        table = sample_history(record, row)
    except ValueError as error:
        return {"problem": str(error)}
    entropy = [round(float(value), 4) if np.isfinite(value) else None for value in table["sample_entropy"]]
    return {"steps": table.index.tolist(), "entropy": entropy, "assignment": table["assignment"].tolist()}


def tiles_answer(watch: Watch, rows: list[int]) -> tuple[dict[str, Any], list[bytes]]:
    """The thumbnails of some images as one contact sheet, and what the browser must know to cut it."""
    from twist.runs.sheets import contact_sheet

    chosen = [row for row in rows if 0 <= row < len(watch)][:1000]
    try:
        content, mime = contact_sheet(watch, chosen)
    except RecordError as error:
        return {"problem": str(error)}, []
    return {"rows": chosen, "columns": max(1, min(len(chosen), watch.columns)), "tile": watch.tile, "mime": mime}, [
        content
    ]


def closest_answer(found: np.ndarray) -> list[bytes]:
    """Closeness as one buffer."""
    return [as_bytes(found, np.float32)]
