"""What the class explorer sends to a browser: plain values, and one column of bytes per quantity."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from twist.runs.class_names import ClassName
from twist.runs.clustering import match_classes
from twist.runs.config import ConfigError
from twist.runs.histories import SampleTraits
from twist.runs.watched import Snapshot, Watch
from twist.view.layout import Layout, pca_positions
from twist.view.theme import class_colors

# Viridis from 25 % to 95 %: its ends can hardly be seen on dark paper (contrast 1.2) and on light paper (1.3).
RAMP = "#3b528b #2f6c8d #25858d #249d87 #33b37a #5ec962 #9dd83a #dde329".split()

#: What colors the points without being added by a person.
COLOR_BY = ("class", "label", "entropy", "confidence", "margin", "flips", "settled", "agreement", "trust")
MOST_CATEGORIES = 500
#: Contact sheets beyond this are asked for thumbnail by thumbnail: a page should open in a second.
MOST_SHEET_BYTES = 12_000_000


def as_bytes(column: Any, dtype: Any) -> bytes:
    """A column as little-endian bytes."""
    return np.ascontiguousarray(column, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


def base64_of(value: bytes) -> dict[str, str]:
    """Bytes inside JSON, as ``alone.js`` reads them."""
    return {"base64": base64.b64encode(value).decode("ascii")}


def watch_table(watch: Watch, *, most_sheet_bytes: float = MOST_SHEET_BYTES) -> tuple[dict[str, Any], str]:
    """The watch images (ids, labels, contact sheets as they lie on disk), and what is wrong with the pictures.

    Sheets that are too large to send at once are left out, and the browser asks for the thumbnails that it shows. When
    one cannot be read none is sent: the map needs no picture.
    """
    labels = b"" if watch.labels is None else as_bytes(watch.labels, np.int32)
    num_labels = 0 if watch.labels is None else int(watch.labels.max(initial=-1)) + 1
    sheets, problem = [], ""
    try:
        if sum(path.stat().st_size for path in watch.sheets) <= most_sheet_bytes:
            sheets = [path.read_bytes() for path in watch.sheets]
    except OSError as error:
        name = f"watch/{error.filename.name if hasattr(error.filename, 'name') else str(error.filename).split('/')[-1]}"
        problem = f"Pictures are missing: {name} cannot be read ({error.strerror}); all else is shown."
    return {
        "count": len(watch),
        "sample_ids": as_bytes(watch.sample_ids, np.float64),  # exact up to 2^53; JavaScript has no other integers
        "labels": labels,
        "label_names": [str(watch.label_name(label)) for label in range(num_labels)],
        "tile": watch.tile,
        "columns": watch.columns,
        "per_sheet": watch.per_sheet,
        "sheet_type": "image/jpeg" if watch.sheets and watch.sheets[0].suffix == ".jpg" else "image/png",
        "sheets": sheets,
        "pictures": not problem,
    }, problem


def snapshot_table(snapshot: Snapshot, traits: SampleTraits | None = None) -> dict[str, Any]:
    """What the network says of each watch image; ``traits`` adds how often its class changed, and since when not."""
    through_time = traits is not None and len(traits.flips) == len(snapshot.assignment)
    return {
        "step": int(snapshot.step),
        "epoch": float(snapshot.epoch),
        "num_classes": int(snapshot.num_classes),
        "top_k": int(snapshot.top_classes.shape[1]),
        "assignment": as_bytes(snapshot.assignment, np.int32),
        "confidence": as_bytes(snapshot.confidence, np.float32),
        "sample_entropy": as_bytes(snapshot.sample_entropy, np.float32),
        "top_classes": as_bytes(snapshot.top_classes, np.int32),
        "top_probs": as_bytes(snapshot.top_probs, np.float32),
        "agreement": b"" if snapshot.agreement is None else as_bytes(snapshot.agreement, np.float32),
        "flips": as_bytes(traits.flips, np.uint16) if traits and through_time else b"",
        "settled": as_bytes(traits.settled_step, np.int32) if traits and through_time else b"",
    }


def palette_table(num_classes: int, num_labels: int) -> dict[str, list[str]]:
    """Colors of classes and labels, and the anchors of the ramp for numbers."""
    return {"classes": class_colors(num_classes), "labels": class_colors(num_labels), "ramp": RAMP}


def map_table(found: Layout) -> dict[str, Any]:
    """A finished map; images that were not laid out have places that are not numbers."""
    xy = np.stack([found.x, found.y], axis=1)
    trust, near = getattr(found, "trust", None), getattr(found, "neighbors", None)
    return {
        "method": found.facts["method"],
        "step": found.step,
        "made": found.caption,
        "xy": as_bytes(xy, np.float32),
        "trust": b"" if trust is None else as_bytes(trust, np.float32),
        **neighbors_table(near),
    }


def stand_in_table(snapshot: Snapshot, reason: str = "", near: np.ndarray | None = None) -> dict[str, Any]:
    """A map by PCA, there at once, to look at until the real one is made, or with the reason why there is none."""
    xy, made = pca_positions(snapshot.features), f"PCA of the features ({reason})" if reason else ""
    placed = {"method": "pca", "step": int(snapshot.step), "made": made, "xy": as_bytes(xy, np.float32), "trust": b""}
    return placed | neighbors_table(near)


def neighbors_table(near: np.ndarray | None) -> dict[str, Any]:
    """The nearest images of every image in feature space, int32 ``[M, K]``, -1 for none."""
    if near is None or near.ndim != 2:
        return {"neighbors": b"", "num_neighbors": 0}
    return {"neighbors": as_bytes(near, np.int32), "num_neighbors": near.shape[1]}


def names_table(names: Mapping[int, ClassName]) -> dict[str, dict[str, str]]:
    """Names and notes of classes; keys are text, as JSON wants them."""
    return {str(class_id): said._asdict() for class_id, said in names.items()}


def opinion_colors(theirs: np.ndarray, own: np.ndarray, num_classes: int) -> dict[int, str]:
    """Color of each class of somebody else's: that of the own class matched with it one to one, else one of the rest.

    Parameters
    ----------
    theirs
        Their class of each image, -1 where unknown.
    own
        Own class of each image.
    num_classes
        Number of own classes.
    """
    codes, compact = np.unique(theirs[theirs >= 0], return_inverse=True)
    matched = match_classes(compact, own[theirs >= 0], len(codes))
    palette = class_colors(num_classes + len(codes))
    free = iter(color for place, color in enumerate(palette) if place >= num_classes or place not in matched)
    own_colors = class_colors(num_classes)
    return {
        int(code): own_colors[partner] if partner >= 0 else next(free)
        for code, partner in zip(codes, matched.tolist(), strict=True)
    }


def column_table(name: str, values: Any, unit: str, count: int) -> dict[str, Any]:
    """A column that a person gave, one value per watch image: numbers with a unit, or categories.

    Raises
    ------
    ConfigError
        When the values are too few or too many, are all missing, or are more categories than can be told apart.
    """
    import pandas as pd

    if not isinstance(name, str) or not name.strip() or len(name) > 60:
        raise ConfigError(f"a column cannot be called {name!r}: give it a name of 1 to 60 characters")
    if name in COLOR_BY:
        raise ConfigError(f"the explorer has a column {name!r} of its own: give yours another name")
    if np.ndim(values) != 1:
        raise ConfigError(f"the column {name!r} has {np.ndim(values)} dimensions: give one value per image")
    column = pd.Series(values).reset_index(drop=True)
    if len(column) != count:
        raise ConfigError(f"the column {name!r} has {len(column):,} values for {count:,} images: give one per image")
    if column.isna().all():
        raise ConfigError(f"the column {name!r} has no value at all: there is nothing to color by")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        finite = numbers[np.isfinite(numbers)]
        if not len(finite):
            raise ConfigError(f"the column {name!r} has no finite value: there is nothing to color by")
        if max(abs(finite.min()), abs(finite.max())) > np.finfo(np.float32).max:
            raise ConfigError(f"the column {name!r} reaches {np.abs(finite).max():.3g}: scale it to at most 3e38")
        low, high = float(finite.min()), float(finite.max())
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        whole = bool((finite == np.round(finite)).all())
        return {"kind": "number", "unit": str(unit)[:24], "low": low, "high": high, "whole": whole,
                "values": as_bytes(numbers, np.float32)}  # fmt: skip
    codes, found = pd.factorize(column.map(lambda value: value if pd.isna(value) else str(value)), sort=True)
    if len(found) > MOST_CATEGORIES:
        raise ConfigError(
            f"the column {name!r} has {len(found):,} different texts: a map tells at most {MOST_CATEGORIES} apart; "
            "give fewer, or numbers"
        )
    names = [str(value)[:120] for value in found]
    return {"kind": "category", "unit": str(unit)[:24], "names": names, "colors": class_colors(len(names)),
            "values": as_bytes(codes, np.int32)}  # fmt: skip
