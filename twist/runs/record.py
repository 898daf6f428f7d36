"""The run folder: the waist between training and viewing.

Training writes it, views read it, and nothing else passes between them. Plain files only: JSON lines with a checksum
each, ``.npy`` columns, PNG or JPEG contact sheets; nothing executable, no absolute paths. What a reader can open is
complete: folders appear by one rename, small files by one replace, log lines by one write.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.config import Recipe, from_dict
from twist.runs.store import (
    SCHEMA,
    RecordError,
    load_column,
    npy_bytes,
    read_manifest,
    step_folder,
    write_sealed_folder,
)
from twist.runs.thumbnails import TILE_COLUMNS, TILES_PER_SHEET, contact_sheets

if TYPE_CHECKING:
    import pandas as pd


class RunWriter:
    """The one writer of a run's record during one attempt.

    Parameters
    ----------
    path
        The run folder.
    attempt
        Number of the attempt, from 1; each attempt writes its own segment of the event log.
    """

    def __init__(self, path: Path, attempt: int):
        self.path = Path(path)
        self.attempt = attempt
        self._began = time.monotonic()
        self._seq = 0
        self._descriptor = os.open(
            self.path / "events" / f"{attempt:04d}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line: its kind, its fields, the seconds since the attempt began, and a checksum.

        Numbers that are not finite become null, and their names stand in ``nonfinite``.
        """
        clean, nonfinite = {}, {}
        for name, value in fields.items():
            value = value.item() if isinstance(value, np.generic) else value
            if isinstance(value, float) and not math.isfinite(value):
                nonfinite[name] = repr(value)
                value = None
            clean[name] = value
        if nonfinite:
            clean["nonfinite"] = nonfinite
        self._seq += 1
        head = {"seq": self._seq, "kind": kind, "clock_s": round(time.monotonic() - self._began, 4)}
        body = json.dumps({**head, **clean}, allow_nan=False, separators=(",", ":"))[:-1].encode()
        line = body + f',"crc":"{zlib.crc32(body):08x}"}}\n'.encode()
        written = os.write(self._descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of an event reached the disk: is it full?")

    def metrics(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append one line of metrics; a key is ``<data>/<quantity>``, as in ``train/consistency``."""
        self.event("metrics", step=step, epoch=round(epoch, 6), **values)

    def snapshot(self, step: int, epoch: float, columns: Mapping[str, np.ndarray], values: Mapping[str, float]) -> None:
        """Write one snapshot: per-sample columns as a sealed folder, and its summary as an event."""
        write_sealed_folder(
            self.path / "snapshots" / step_folder(step),
            {f"{name}.npy": npy_bytes(column) for name, column in columns.items()},
            {"step": step, "epoch": epoch},
        )
        self.event("snapshot", step=step, epoch=round(epoch, 6), **values)

    def watch(
        self,
        images: np.ndarray,
        sample_ids: np.ndarray,
        labels: np.ndarray | None = None,
        label_names: list[str] | None = None,
    ) -> None:
        """Write the watch images once: ids, labels, and thumbnails on contact sheets.

        Parameters
        ----------
        images
            uint8 ``[M, C, H, W]`` with 1 or 3 channels.
        sample_ids
            int64 ``[M]``, stable index of each image in its set.
        labels
            Optional integers ``[M]``, -1 where unknown; never used by the training.
        label_names
            Optional names of the labels 0, 1, …
        """
        files = {"sample_ids.npy": npy_bytes(np.asarray(sample_ids, dtype=np.int64))}
        if labels is not None:
            files["labels.npy"] = npy_bytes(np.asarray(labels, dtype=np.int32))
        sheets, tile = contact_sheets(images)
        files.update(sheets)
        facts = {
            "count": len(images),
            "label_names": label_names,
            "tile": tile,
            "columns": TILE_COLUMNS,
            "per_sheet": TILES_PER_SHEET,
            "sheets": list(sheets),
        }
        write_sealed_folder(self.path / "watch", files, facts)

    def sync(self) -> None:
        """Force the event log to the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Force the event log to the disk and end the attempt's segment."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1


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

    @property
    def num_classes(self) -> int:
        """Number of learned classes C, used or not."""
        return len(self.mean_probs)

    @property
    def class_usage(self) -> np.ndarray:
        """Share of the images assigned to each class, float ``[C]``, sums to 1."""
        return np.bincount(self.assignment, minlength=self.num_classes) / max(1, len(self.assignment))


@dataclass
class RunRecord:
    """Reader of a run folder; `poll` it while the run goes on.

    Attributes
    ----------
    path
        The run folder.
    bad_lines
        Lines of the event log that were torn or damaged, and so were left out.
    """

    path: Path
    bad_lines: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _offsets: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.path = Path(self.path)
        if not (self.path / "run.json").is_file():
            raise RecordError(f"{self.path} is no run folder: it has no run.json")
        schema = self.identity.get("schema", 0)
        if schema > SCHEMA:
            raise RecordError(f"{self.name} was recorded by a newer twist (schema {schema}, this one reads {SCHEMA})")

    @property
    def name(self) -> str:
        """Name of the run: its folder's name."""
        return self.path.name

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Content of ``run.json``: id, name, recipe, seed, time of creation, code state."""
        return self._json("run.json")

    @functools.cached_property
    def recipe(self) -> Recipe:
        """The recipe the run was made with."""
        return from_dict(self._json("recipe.json"))

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_bytes())
            if not isinstance(value, dict):
                raise ValueError("not an object")
            return value
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.path.name}/{name} cannot be read: {error}") from error

    def poll(self) -> int:
        """Read what was appended since the last call; returns the number of new events.

        Rows of an earlier attempt past the step from which a later one resumed are superseded: they leave the list.
        """
        new = 0
        for segment in sorted((self.path / "events").glob("*.jsonl")):
            for event in self._read_segment(segment):
                new += 1
                if event["kind"] == "start":
                    first = event.get("from_step", 0)
                    self._events = [e for e in self._events if e.get("step", 0) <= first or e["kind"] == "start"]
                event["attempt"] = int(segment.stem)
                self._events.append(event)
        return new

    def _read_segment(self, segment: Path) -> Iterator[dict[str, Any]]:
        offset = self._offsets.get(segment.name, 0)
        if segment.stat().st_size <= offset:
            return
        with open(segment, "rb") as file:
            file.seek(offset)
            content = file.read()
        end = content.rfind(b"\n") + 1
        self._offsets[segment.name] = offset + end
        for line in content[:end].splitlines():
            event = parse_line(line)
            if event is None:
                self.bad_lines += 1
            else:
                yield event

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event in force, oldest first, as of the last `poll`."""
        return self._events

    def last(self, kind: str) -> dict[str, Any] | None:
        """The newest event of a kind, or None."""
        return next((event for event in reversed(self._events) if event["kind"] == kind), None)

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of one pass over the images, or None before the first start."""
        start = self.last("start")
        return start["steps_per_epoch"] if start else None

    @property
    def train_seconds(self) -> float:
        """Seconds of training over all attempts, each from its first event to its last, as of the last `poll`.

        Steps that a later attempt did again count once; the time in which images were decoded before does not count.
        """
        clocks: dict[int, list[float]] = {}
        for event in (event for event in self._events if event["kind"] != "reading"):
            clocks.setdefault(event["attempt"], []).append(event["clock_s"])
        return sum(max(times) - min(times) for times in clocks.values())

    def metrics(self) -> pd.DataFrame:
        """Training metrics as a table indexed by step; columns are glossary names such as ``train/consistency``."""
        return self._table("metrics")

    def snapshot_metrics(self) -> pd.DataFrame:
        """Summaries of the snapshots, indexed by step; columns are names such as ``watch/marginal_entropy``."""
        return self._table("snapshot")

    def _table(self, kind: str) -> pd.DataFrame:
        import pandas as pd

        rows = [event for event in self._events if event["kind"] == kind]
        table = pd.DataFrame(rows)
        if table.empty:
            return pd.DataFrame(index=pd.Index([], name="step"))
        table = table.drop(columns=["seq", "kind", "crc", "nonfinite"], errors="ignore")
        return table.drop_duplicates("step", keep="last").set_index("step").sort_index()

    def snapshot_steps(self) -> list[int]:
        """Steps at which a snapshot is on disk and in force, ascending."""
        steps = {event["step"] for event in self._events if event["kind"] == "snapshot"}
        return sorted(step for step in steps if (self.path / "snapshots" / step_folder(step)).is_dir())

    def snapshot(self, step: int | None = None) -> Snapshot:
        """One snapshot; none means the newest.

        Raises
        ------
        RecordError
            When there is no snapshot, none at that step, or it is damaged.
        """
        steps = self.snapshot_steps()
        if not steps:
            raise RecordError(f"run {self.name} has no snapshot yet")
        if step is None:
            step = steps[-1]
        if step not in steps:
            raise RecordError(f"run {self.name} has no snapshot at step {step}; it has {_spell_steps(steps)}")
        folder = self.path / "snapshots" / step_folder(step)
        manifest = read_manifest(folder)
        names = Snapshot.__dataclass_fields__.keys() - {"step", "epoch"}
        columns = {name: load_column(folder, f"{name}.npy", manifest) for name in names}
        return Snapshot(step=step, epoch=manifest["epoch"], **columns)

    def watch(self) -> Watch | None:
        """The watch images, or None while they are not written yet.

        Raises
        ------
        RecordError
            When a column is damaged, or the manifest is not one that `RunWriter.watch` writes.
        """
        folder = self.path / "watch"
        if not (folder / "manifest.json").is_file():
            return None
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


def parse_line(line: bytes) -> dict[str, Any] | None:
    """One event of the log, or None when the line is torn, damaged or no event."""
    body, mark, tail = line.rpartition(b',"crc":"')
    try:
        if not mark or int(tail[:8], 16) != zlib.crc32(body):
            return None
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _spell_steps(steps: list[int]) -> str:
    if len(steps) <= 8:
        return ", ".join(map(str, steps))
    return f"{len(steps)} from {steps[0]} to {steps[-1]}"
