"""What the comparison of runs sends to a browser: plain values, and one column of bytes per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twist.runs.comparison import Comparison, recipe_differences
from twist.runs.listing import Row
from twist.runs.record import RunRecord
from twist.runs.turns import recipe_at
from twist.runs.watched import Snapshot, Watch
from twist.view.verdicts import sign


def row_table(row: Row) -> dict[str, Any]:
    """One run in the table; what is not known is null."""
    return {
        "name": row.name,
        "state": row.state,
        "alive": row.alive,
        "message": row.message,
        "step": row.step,
        "total_steps": row.total_steps,
        "recipe": row.recipe,
        "verdict": row.verdict,
        "title": row.title,
        "sign": sign(row.verdict) if row.verdict else "",
        "matched_accuracy": row.matched_accuracy,
        "nmi": row.nmi,
        "information": row.information,
        "seconds": row.seconds,
        "bytes": row.bytes,
        "tags": list(row.tags),
        "parent": row.parent,
        "created": row.created,
        "settled": row.settled,
    }


def spell_value(value: Any) -> str:
    """The value of a field as ``--set`` takes it.

    Examples
    --------
    >>> spell_value((0.9, 1.1)), spell_value(None), spell_value(True), spell_value(1e-05)
    ('0.9,1.1', 'none', 'true', '1e-05')
    """
    if isinstance(value, tuple):
        return ",".join(map(spell_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def differences_table(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The fields in which the recipes differ, with their meaning and the value in each run."""
    return [
        {"field": found.field, "sentence": found.sentence, "values": [spell_value(value) for value in found.values]}
        for found in recipe_differences([recipe_at(record) for record in records])
    ]


def pair_table(found: Comparison, snapshots: tuple[Snapshot, Snapshot], watch: Watch) -> dict[str, Any]:
    """Two runs on the same images: their table of classes in its order, and one column of bytes per quantity."""
    rows, others = found.images.first, found.images.second
    labels = None if watch.labels is None else np.asarray(watch.labels)[rows]
    classes = [np.asarray(s.assignment)[r] for s, r in zip(snapshots, (rows, others), strict=True)]
    return {
        "names": list(found.names),
        "steps": list(found.steps),
        "sentence": found.sentence,
        "images": found.images.sentence,
        "count": len(rows),
        "order": [order.tolist() for order in found.order],
        "counts": _bytes(found.table[np.ix_(*found.order)], np.int32),
        "partners": found.partner[found.order[0]].tolist(),
        "best": [
            [_best_of(best, number) for number in order.tolist()]
            for best, order in zip(found.best, found.order, strict=True)
        ],
        "titles": [_class_titles(classes[side], order, labels, watch) for side, order in enumerate(found.order)],
        "columns": {
            "row": _bytes(rows, np.int32),
            "sample_id": _bytes(np.asarray(watch.sample_ids)[rows], np.float64),
            "label": b"" if labels is None else _bytes(labels, np.int32),
            "disagreement": _bytes(found.disagreement, np.float32),
            **{f"class{side}": _bytes(classes[side], np.int32) for side in (0, 1)},
            **{
                f"entropy{side}": _bytes(np.asarray(snapshots[side].sample_entropy)[chosen], np.float32)
                for side, chosen in enumerate((rows, others))
            },
            **{
                f"confidence{side}": _bytes(np.asarray(snapshots[side].confidence)[chosen], np.float32)
                for side, chosen in enumerate((rows, others))
            },
        },
    }


def _best_of(best: Any, number: int) -> list[float]:
    return [int(best.classes[number]), float(best.share[number]), float(best.overlap[number])]


def _class_titles(classes: np.ndarray, order: np.ndarray, labels: np.ndarray | None, watch: Watch) -> list[str]:
    """The label that most images of each class have, where there are labels."""
    if labels is None or labels.max(initial=-1) < 0:
        return [""] * len(order)
    known = labels >= 0
    width = int(labels.max()) + 1
    table = np.bincount(classes[known].astype(np.int64) * width + labels[known], minlength=(classes.max() + 1) * width)
    table = table.reshape(-1, width)
    return [watch.label_name(int(table[number].argmax())) if table[number].any() else "" for number in order.tolist()]


def _bytes(column: np.ndarray, dtype: type) -> bytes:
    return np.ascontiguousarray(column, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
