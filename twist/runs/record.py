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
from twist.runs.frozen import frozen_facts
from twist.runs.growing import GrowingTable
from twist.runs.store import (
    SCHEMA,
    RecordError,
    npy_bytes,
    read_json,
    step_folder,
    sync_file,
    sync_folder,
    write_sealed_folder,
)
from twist.runs.thumbnails import TILE_COLUMNS, TILES_PER_SHEET, contact_sheets
from twist.runs.watched import Snapshot, Watch, read_snapshot, read_watch

if TYPE_CHECKING:
    import pandas as pd

#: One image of one epoch of training: entropy in nats, the mean over its two global views; class of the first; and
#: whether both fell into one class. An image that the epoch left out has NaN, -1 and `NOT_VISITED`.
EPOCH_SAMPLES = np.dtype([("sample_entropy", "<f2"), ("assignment", "<i4"), ("agreement", "u1")])
NOT_VISITED = 255


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
        self._epochs_to_sync: list[Path] = []
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

    def epoch(self, epoch: int, step: int, samples: np.ndarray) -> None:
        """Write what training saw of every image in one epoch, ended at a step; a line of the log puts it in force.

        It appears whole, and reaches the disk with the next `sync`: a loss of power may take it, as it takes the log's
        last lines, and a resume from the checkpoint before then makes it again.

        Parameters
        ----------
        epoch
            From 1.
        step
            Steps done when it was over.
        samples
            `EPOCH_SAMPLES` ``[N]``, in the order of the image set.
        """
        path = self.path / "epochs" / epoch_file(epoch)
        path.parent.mkdir(exist_ok=True)  # runs of older versions have none
        temporary = path.with_name(".epoch.npy")  # of always one name, so that a kill leaves at most one behind
        temporary.write_bytes(npy_bytes(samples.astype(EPOCH_SAMPLES, copy=False)))
        os.replace(temporary, path)
        self._epochs_to_sync.append(path)
        self.event("epoch", step=step, epoch=epoch, images=len(samples))

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
        """Force the event log, and the epochs that it names, to the disk."""
        for path in self._epochs_to_sync:
            sync_file(path)
        if self._epochs_to_sync:
            sync_folder(self.path / "epochs")
            self._epochs_to_sync.clear()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Force everything to the disk and end the attempt's segment."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1


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
    _tables: dict[str, GrowingTable] = field(default_factory=dict, repr=False)
    _newest: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

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

    @property
    def forked_from(self) -> dict[str, Any]:
        """Of a fork: id, name and step of the run that it comes from, its images and the fields that changed."""
        found = self.identity.get("forked_from")
        return found if isinstance(found, dict) else {}

    @property
    def frozen(self) -> dict[str, Any]:
        """Of a run in which nothing was trained: the model of its features, and the labeler; empty for others."""
        return frozen_facts(self.identity)

    @property
    def images_fingerprint(self) -> str | None:
        """What tells the image set that the run learned from; None where no attempt noted it."""
        for file in sorted((self.path / "attempts").glob("*/environment.json"), reverse=True):
            if isinstance(found := read_json(file).get("images"), str) and found:
                return found
        return None

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
                    self._tables.clear()
                    self._events = [e for e in self._events if e.get("step", 0) <= first or e["kind"] == "start"]
                    self._newest = {e["kind"]: e for e in self._events}
                elif event["kind"] == "rewind":  # turns at the very step to which it went back are taken back too
                    first = event.get("to", 0)
                    self._events = [e for e in self._events if e["kind"] != "turn" or e.get("step", 0) < first]
                    self._newest = {e["kind"]: e for e in self._events}
                event["attempt"] = int(segment.stem)
                self._newest[event["kind"]] = event
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
        return self._newest.get(kind)

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
        return self._tables.setdefault(kind, GrowingTable(kind)).read(self._events)

    def snapshot_steps(self) -> list[int]:
        """Steps at which a snapshot is on disk and in force, ascending."""
        folders = set(os.listdir(folder)) if (folder := self.path / "snapshots").is_dir() else set()
        return [step for step in self.snapshot_metrics().index.tolist() if step_folder(step) in folders]

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
        return read_snapshot(self.path / "snapshots" / step_folder(step), step)

    def epoch_numbers(self) -> list[int]:
        """Epochs, from 1, whose samples are on disk and in force, ascending; empty for a run that keeps none."""
        numbers = {event["epoch"] for event in self._events if event["kind"] == "epoch"}
        return sorted(number for number in numbers if (self.path / "epochs" / epoch_file(number)).is_file())

    def epoch_samples(self, epoch: int) -> np.ndarray:
        """What training saw of every image in one epoch: `EPOCH_SAMPLES` ``[N]``, memory-mapped and read-only.

        Raises
        ------
        RecordError
            When that epoch is not in force, or its file is damaged.
        """
        event = next((e for e in reversed(self._events) if e["kind"] == "epoch" and e["epoch"] == epoch), None)
        if event is None:
            numbers = self.epoch_numbers()
            have = f"it has {_spell_steps(numbers)}" if numbers else "it keeps none, or none is over yet"
            raise RecordError(f"run {self.name} has no samples of epoch {epoch}; {have}")
        name = epoch_file(epoch)
        try:
            samples = np.load(self.path / "epochs" / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RecordError(f"epochs/{name} cannot be read: {error}") from error
        if samples.dtype != EPOCH_SAMPLES or samples.shape != (event["images"],):
            raise RecordError(f"epochs/{name} holds {samples.shape} {samples.dtype}, not {event['images']} images")
        return samples

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
        return read_watch(folder)


def epoch_file(epoch: int) -> str:
    """Name of the file with the samples of an epoch, from 1."""
    return f"epoch-{epoch:06d}.npy"


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
