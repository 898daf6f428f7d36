"""What a run folder holds of its watch images: themselves, and snapshots of what the network says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from twist.runs.store import RecordError, load_column, read_manifest


@dataclass(frozen=True)
class Watch:
    """The watch images of a run, as far as views need them.

    Attributes
    ----------
    sample_ids
        int64 ``[M]``.
    labels
        int32 ``[M]``, -1 where unknown, or None when the set has no labels.
    label_names
        Names of the labels, or None.
    tile, columns, per_sheet
        Side of a thumbnail in pixels, thumbnails per row, thumbnails per sheet.
    sheets
        Paths of the contact sheets, in order.
    """

    sample_ids: np.ndarray
    labels: np.ndarray | None
    label_names: list[str] | None
    tile: int
    columns: int
    per_sheet: int
    sheets: list[Path]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def label_name(self, label: int) -> str:
        """Name of a label; its number when it has none; ``unlabeled`` for -1."""
        if label < 0:
            return "unlabeled"
        if self.label_names is not None and label < len(self.label_names):
            return self.label_names[label]
        return str(label)


@dataclass(frozen=True)
class Snapshot:
    """What the network says of every watch image at one step; arrays are memory-mapped and read-only.

    Attributes
    ----------
    assignment
        int32 ``[M]``, class of highest probability.
    confidence
        float32 ``[M]``, its probability.
    sample_entropy
        float32 ``[M]``, nats, 0 to log C.
    top_classes, top_probs
        int32 and float32 ``[M, K]``, the K likeliest classes of each image, likeliest first.
    features
        float16 ``[M, D]``, the backbone's output.
    mean_probs
        float32 ``[C]``, the mean distribution.
    agreement
        float32 ``[M]``, share of an image's visits in training since the snapshot before in which its two global views
        fell into one class; NaN where it was not visited, None where the run did not keep it.
    feature_spectrum
        float32 ``[K]``, the largest singular values of the features, uncentred, as shares that sum to 1 over all of
        them, largest first; or None.
    """

    step: int
    epoch: float
    assignment: np.ndarray
    confidence: np.ndarray
    sample_entropy: np.ndarray
    top_classes: np.ndarray
    top_probs: np.ndarray
    features: np.ndarray
    mean_probs: np.ndarray
    agreement: np.ndarray | None = None
    feature_spectrum: np.ndarray | None = None

    @property
    def num_classes(self) -> int:
        """Number of learned classes C, used or not."""
        return len(self.mean_probs)

    @property
    def class_usage(self) -> np.ndarray:
        """Share of the images assigned to each class, float ``[C]``, sums to 1."""
        return np.bincount(self.assignment, minlength=self.num_classes) / max(1, len(self.assignment))

    @property
    def margin(self) -> np.ndarray:
        """Lead of the likeliest class over the second, float32 ``[M]``, 0 (undecided) to 1; 1 where there is one."""
        if self.top_probs.shape[1] < 2:
            return np.ones(len(self.top_probs), np.float32)
        return self.top_probs[:, 0] - self.top_probs[:, 1]


def read_snapshot(folder: Path, step: int) -> Snapshot:
    """The snapshot in a sealed folder; columns that came later than the first version of the record may be missing.

    Raises
    ------
    RecordError
        When the manifest or a column is missing or damaged.
    """
    manifest = read_manifest(folder)
    columns = [column for column in fields(Snapshot) if column.name not in ("step", "epoch")]
    there = {
        column.name: load_column(folder, f"{column.name}.npy", manifest)
        for column in columns
        if column.default is MISSING or f"{column.name}.npy" in manifest["files"]
    }
    return Snapshot(step=step, epoch=manifest["epoch"], **there)


def read_watch(folder: Path) -> Watch:
    """The watch images in a sealed folder.

    Raises
    ------
    RecordError
        When a column is damaged, or the manifest is not one that `twist.runs.record.RunWriter.watch` writes.
    """
    manifest = read_manifest(folder)
    _check_watch(folder, manifest)
    return Watch(
        sample_ids=load_column(folder, "sample_ids.npy", manifest),
        labels=load_column(folder, "labels.npy", manifest) if "labels.npy" in manifest["files"] else None,
        label_names=manifest.get("label_names"),
        tile=manifest["tile"],
        columns=manifest["columns"],
        per_sheet=manifest["per_sheet"],
        sheets=[folder / name for name in manifest["sheets"]],
    )


def _check_watch(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that points out of its folder: a report embeds whatever the sheets are."""
    for name in ("tile", "columns", "per_sheet"):
        if type(manifest.get(name)) is not int or manifest[name] < 1:
            raise RecordError(f"watch/manifest.json has {name} {manifest.get(name)!r}: expected a whole number from 1")
    names, sheets, inside = manifest.get("label_names"), manifest.get("sheets"), folder.resolve()
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise RecordError(f"watch/manifest.json has label_names {names!r}: expected a list of names, or null")
    if not isinstance(manifest["files"], dict) or not isinstance(sheets, list):
        raise RecordError("watch/manifest.json lists no files, or no sheets: it cannot be used")
    for sheet in sheets:
        listed = isinstance(sheet, str) and sheet in manifest["files"] and not {"/", "\\", "\0"} & set(sheet)
        if not listed or (folder / sheet).resolve().parent != inside:
            raise RecordError(f"watch/manifest.json has the sheet {sheet!r}: it is no file of that folder")
