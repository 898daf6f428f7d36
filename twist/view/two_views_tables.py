"""What the two-view probe sends to a browser: its dials, its images, and answers as plain values and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.augmentations import AUGMENTATIONS, dials, in_use, still, values_of
from twist.runs.config import Recipe, ViewsConfig, field_help, with_fields
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view.theme import class_colors

if TYPE_CHECKING:
    import pandas as pd

_COLOR_ONLY = {dial.field for one in AUGMENTATIONS.values() if one.colors for dial in one.dials}
_NEAR_STEPS = 20


def dial_table(recipe: Recipe, channels: int) -> dict[str, Any]:
    """The dials in groups, with the config's own sentences, and the fields of the two presets."""
    rows = [
        {
            "group": group,
            "field": dial.field,
            "label": dial.field.replace("_", " "),
            "help": field_help(f"views.{dial.field}"),
            "low": dial.low,
            "high": dial.high,
            "step": dial.step,
            "ends": list(dial.ends),
            "off": channels == 1 and dial.field in _COLOR_ONLY,
        }
        for group, dial in dials()
    ]
    return {
        "rows": rows,
        "recipe": plain(recipe.views),
        "none": plain(still(recipe.views)),
        "extra": recipe.views.extra,
    }


def plain(views: ViewsConfig) -> dict[str, Any]:
    """Values of the dials as JSON has them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values_of(views).items()}


def checked(recipe: Recipe, fields: dict[str, Any]) -> ViewsConfig:
    """The recipe's views with fields changed.

    Raises
    ------
    ConfigError
        For a value out of its range.
    """
    return with_fields(recipe, {f"views.{name}": value for name, value in fields.items()}).views


def unused(views: ViewsConfig, channels: int) -> list[str]:
    """Augmentations that these views leave out, and that would mean something to such images."""
    used = in_use(views, channels=channels)
    return [name for name, one in AUGMENTATIONS.items() if name not in used and not (one.colors and channels == 1)]


def image_table(watch: Watch, snapshot: Snapshot | None) -> dict[str, Any]:
    """The watch images to choose from, with what a snapshot said of them."""
    num_labels = 0 if watch.labels is None else int(watch.labels.max(initial=-1)) + 1
    return {
        "count": len(watch),
        "tile": watch.tile,
        "step": -1 if snapshot is None else int(snapshot.step),
        "sample_ids": _bytes(watch.sample_ids, np.float64),
        "labels": b"" if watch.labels is None else _bytes(watch.labels, np.int32),
        "label_names": [str(watch.label_name(label)) for label in range(num_labels)],
        "assignment": b"" if snapshot is None else _bytes(snapshot.assignment, np.int32),
        "confidence": b"" if snapshot is None else _bytes(snapshot.confidence, np.float32),
        "sample_entropy": b"" if snapshot is None else _bytes(snapshot.sample_entropy, np.float32),
        "colors": class_colors(snapshot.num_classes if snapshot is not None else num_labels),
    }


def answer_table(said: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """An answer of the probe as the browser gets it: pictures as raw pixels, distributions as float32."""
    image, pixels, probs = arrays["image"], arrays["pixels"], arrays["probs"]
    return {
        **said,
        "image": _bytes(image, np.uint8),
        "image_shape": list(image.shape),
        "pixels": _bytes(pixels, np.uint8),
        "pixels_shape": list(pixels.shape),
        "probs": _bytes(probs, np.float32),
        "num_classes": int(probs.shape[1]),
    }


def distributions_of(answer: dict[str, Any]) -> pd.DataFrame:
    """Probability of every class for the plain image and both views."""
    import pandas as pd

    columns = ["plain", "view_1", "view_2"]
    if "probs" not in answer:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="class"))
    probs = np.frombuffer(answer["probs"], "<f4").reshape(3, -1)
    return pd.DataFrame(probs.T, columns=columns).rename_axis("class")


def sensitivities_of(found: dict[str, Any]) -> pd.DataFrame:
    """What each augmentation alone does, the one that changes the class most often first."""
    import pandas as pd

    columns = ["augmentation", "draws", "stays", "divergence"]
    table = pd.DataFrame([{name: row[name] for name in columns} for row in found.get("rows", [])])
    table = table.reindex(columns=columns).set_index("augmentation")
    table.insert(2, "share", table["stays"] / table["draws"])
    return table.sort_values(["share", "divergence"], ascending=[True, False])


def snapshot_near(record: RunRecord, step: int) -> Snapshot | None:
    """The snapshot at a step, else the newest before it, else the first; None without any."""
    steps = record.snapshot_steps()
    before = [one for one in steps if one <= step]
    try:
        return record.snapshot((before or steps[:1])[-1]) if steps else None
    except RecordError:  # the probe needs none: the images are then only not sorted by it
        return None


def consistency_near(record: RunRecord, step: int) -> float | None:
    """Mean of the training batches' consistency over the last logged steps up to one; None without any."""
    found = [
        event["train/consistency"]
        for event in record.events
        if event["kind"] == "metrics" and event.get("train/consistency") is not None and event["step"] <= step
    ][-_NEAR_STEPS:]
    return float(np.mean(found)) if found else None


def _bytes(column: Any, dtype: Any) -> bytes:
    return np.ascontiguousarray(column, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
