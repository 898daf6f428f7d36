"""Columns of a run's snapshots through time, read by position: of a thousand files only the rows that are asked for.

Mapping each file takes ten times as long as reading a row of it, and a history of one image among 200 snapshots reads a
thousand files.
"""

from __future__ import annotations

import functools
import io
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twist.runs.record import RunRecord
from twist.runs.store import RecordError, step_folder

#: Columns with one value per image, and how each is read: file, type, what stands where nothing could be read.
COLUMNS = {
    "sample_entropy": ("sample_entropy.npy", np.float32, np.nan),
    "confidence": ("confidence.npy", np.float32, np.nan),
    "margin": ("top_probs.npy", np.float32, np.nan),
    "assignment": ("assignment.npy", np.int32, -1),
    "agreement": ("agreement.npy", np.float32, np.nan),
}
_OPTIONAL = {"agreement"}
_HEADER_BYTES = 512


class MissingColumn(RecordError):
    """A column that is not there at all."""


class Through(NamedTuple):
    """One column of every snapshot.

    Attributes
    ----------
    steps
        Steps of the snapshots, int64 ``[T]``, ascending.
    values
        ``[T, M]``, one row per snapshot and one column per watch image. A row that could not be read is NaN, of an
        assignment -1; so is one that the run did not keep.
    damaged
        One sentence for each file that could not be read; a column that older runs do not keep is none of them.
    """

    steps: np.ndarray
    values: np.ndarray
    damaged: tuple[str, ...]


def column_through_time(record: RunRecord, name: str, until: int | None = None) -> Through:
    """One column of every snapshot in force.

    Parameters
    ----------
    record
        A run's reader; `RunRecord.poll` it first.
    name
        ``sample_entropy`` (nats), ``confidence``, ``margin``, ``assignment`` or ``agreement``, as in
        `twist.runs.watched.Snapshot`.
    until
        Leave out snapshots of later steps.

    Raises
    ------
    ValueError
        When there is no such column.
    RecordError
        When the watch images are damaged. A damaged snapshot spoils its own row alone.
    """
    if name not in COLUMNS:
        raise ValueError(f"no column {name!r} can be followed through time: give one of {', '.join(COLUMNS)}")
    count = watch_count(record)
    return _through(record, name, steps_until(record, until), 0, count, count)


def columns_of_image(record: RunRecord, image: int, until: int | None = None) -> dict[str, Through]:
    """Every column of `column_through_time`, of one watch image alone: values are ``[T, 1]``.

    Raises
    ------
    ValueError
        When there is no such image.
    """
    steps, count = steps_until(record, until), watch_count(record)
    check_image(record, image, count)
    return {name: _through(record, name, steps, image, image + 1, count) for name in COLUMNS}


def _through(record: RunRecord, name: str, steps: list[int], first: int, last: int, count: int) -> Through:
    file, dtype, missing = COLUMNS[name]
    values = np.full((len(steps), last - first), missing, dtype)
    damaged = []
    for row, step in enumerate(steps):
        try:
            column = read_rows(os.path.join(record.path, "snapshots", step_folder(step), file), first, last, count)
            values[row] = _margin(column) if name == "margin" else column
        except RecordError as error:
            if not (isinstance(error, MissingColumn) and name in _OPTIONAL):
                damaged.append(str(error))
    return Through(np.array(steps, np.int64), values, tuple(damaged))


def entropies_through_time(record: RunRecord, until: int | None = None) -> Through:
    """Entropy of every watch image at every snapshot, nats, ``[T, M]``: near 0 it is sure, near log C it has no class.

    A healthy run pulls the whole band down in time while the classes stay in use; a band that falls to 0 together with
    the marginal entropy is a one-class collapse, one that rises to log C a uniform collapse. Low entropies alone do not
    say that the classes mean anything: read `twist.runs.class_histories.ClassHistories.stability` next.
    """
    return column_through_time(record, "sample_entropy", until)


def steps_until(record: RunRecord, until: int | None) -> list[int]:
    """Steps of the snapshots in force, ascending, those after ``until`` left out."""
    return [step for step in record.snapshot_steps() if until is None or step <= until]


def watch_count(record: RunRecord) -> int:
    """Number of watch images, 0 before they are written."""
    watch = record.watch()
    return 0 if watch is None else len(watch)


def check_image(record: RunRecord, image: int, count: int) -> None:
    """Refuse the row of an image that is not watched."""
    if not 0 <= image < count:
        span = f"give a row from 0 to {count - 1}" if count else "wait for its first snapshot"
        raise ValueError(f"run {record.name} watches {count} images, so there is no image {image}: {span}")


def read_rows(path: str | Path, first: int, last: int, count: int) -> np.ndarray:
    """Rows ``first`` to ``last - 1`` of an ``.npy`` file of ``count`` rows, copied into memory.

    Raises
    ------
    MissingColumn
        When there is no such file.
    RecordError
        When it cannot be read, or its size or its number of rows is another.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEADER_BYTES)
            start = 10 + int.from_bytes(head[8:10], "little")
            dtype, shape = _parse_header(head[:start])
            row = dtype.itemsize * math.prod(shape[1:])
            size, expected = os.fstat(file.fileno()).st_size, start + row * shape[0]
            if size != expected:
                raise RecordError(f"{_spell(path)} has {size} bytes, not {expected}: it is damaged")
            if shape[0] != count:
                raise RecordError(f"{_spell(path)} has {shape[0]} rows, not {count}: it is damaged")
            file.seek(start + row * first)
            content = file.read(row * (last - first))
        return np.frombuffer(content, dtype).reshape(last - first, *shape[1:])
    except FileNotFoundError as error:
        raise MissingColumn(f"{_spell(path)} is missing") from error
    except (OSError, ValueError, IndexError) as error:
        raise RecordError(f"{_spell(path)} cannot be read: {error}") from error


def _spell(path: str | Path) -> str:
    return "/".join(Path(path).parts[-2:])


@functools.lru_cache(maxsize=256)
def _parse_header(head: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape; the same header opens the same column of every snapshot, so it is parsed once."""
    stream = io.BytesIO(head)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("its header is of another version")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran_order or dtype.hasobject or not shape:
        raise ValueError(f"it holds {dtype} of shape {shape}, no rows of numbers")
    return dtype, shape


def _margin(top_probs: np.ndarray) -> np.ndarray:
    return top_probs[:, 0] - top_probs[:, 1] if top_probs.shape[1] > 1 else np.ones(len(top_probs))
