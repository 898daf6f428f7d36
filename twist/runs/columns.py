"""Columns of a run's snapshots through time, read by position: of a thousand files only the rows that are asked for.

Mapping each file takes ten times as long as reading a row of it, and a history of one image among 200 snapshots reads a
thousand files.
"""

from __future__ import annotations

import functools
import io
import math
import numbers
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from twist.runs.record import RunRecord
from twist.runs.store import RecordError, step_folder


class Column(NamedTuple):
    """How a column with one row per image is kept.

    Attributes
    ----------
    file
        Its file in the folder of a snapshot.
    dtype
        Type of its values, of any width.
    ndim
        Number of its dimensions; the first is the image.
    missing
        What stands where nothing could be read.
    optional
        Whether a snapshot may lack it without being damaged.
    """

    file: str
    dtype: DTypeLike
    ndim: int = 1
    missing: float = np.nan
    optional: bool = False


#: Columns that can be followed through time.
COLUMNS = {
    "sample_entropy": Column("sample_entropy.npy", np.float32),
    "confidence": Column("confidence.npy", np.float32),
    "margin": Column("top_probs.npy", np.float32, ndim=2),
    "assignment": Column("assignment.npy", np.int32, missing=-1),
    "agreement": Column("agreement.npy", np.float32, optional=True),
}
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
        assignment -1; so is one that the run did not keep. Every other class lies from 0 to C - 1.
    damaged
        One sentence for each file that could not be read; a column that older runs do not keep is none of them.
    """

    steps: np.ndarray
    values: np.ndarray
    damaged: tuple[str, ...]


class Stamped(NamedTuple):
    """A file as it was written: a key to keep what was worked out from it.

    A run that resumes may write a file again, and a file may get lost: neither is answered from memory.
    """

    path: Path
    written_ns: int


def stamped(path: Path) -> Stamped:
    """The file as it is now.

    Raises
    ------
    MissingColumn
        When there is no such file.
    RecordError
        When it cannot be reached.
    """
    try:
        return Stamped(path.resolve(), path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise MissingColumn(f"{_spell(path)} is missing") from error
    except OSError as error:
        raise RecordError(f"{_spell(path)} cannot be read: {error}") from error


def column_through_time(record: RunRecord, name: str, until: int | None = None) -> Through:
    """One column of every snapshot in force; a damaged snapshot spoils its own row alone.

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
    """
    if name not in COLUMNS:
        raise ValueError(f"no column {name!r} can be followed through time: give one of {', '.join(COLUMNS)}")
    count = count_images(record)
    return _through(record, name, steps_until(record, until), 0, count, count)


def columns_of_image(record: RunRecord, image: int, until: int | None = None) -> dict[str, Through]:
    """Every column of `column_through_time`, of one watch image alone: values are ``[T, 1]``.

    Raises
    ------
    ValueError
        When there is no such image.
    """
    steps, count = steps_until(record, until), count_images(record)
    check_image(record, image, count)
    return {name: _through(record, name, steps, image, image + 1, count) for name in COLUMNS}


def _through(record: RunRecord, name: str, steps: list[int], first: int, last: int, count: int) -> Through:
    column, num_classes = COLUMNS[name], record.recipe.network.num_classes
    values = np.full((len(steps), last - first), column.missing, column.dtype)
    damaged = []
    for row, step in enumerate(steps):
        path = os.path.join(record.path, "snapshots", step_folder(step), column.file)
        try:
            read = read_rows(path, column.dtype, first, last, count=count, ndim=column.ndim)
            if name == "assignment":
                _check_classes(path, read, num_classes)
            values[row] = _margin(read) if name == "margin" else read
        except RecordError as error:
            if not (isinstance(error, MissingColumn) and column.optional):
                damaged.append(str(error))
    return Through(np.array(steps, np.int64), values, tuple(damaged))


def steps_until(record: RunRecord, until: int | None) -> list[int]:
    """Steps of the snapshots in force, ascending, those after ``until`` left out."""
    return [step for step in record.snapshot_steps() if until is None or step <= until]


def count_images(record: RunRecord) -> int:
    """Number of watch images; where they are gone or damaged, that of the newest snapshot that can be read, or 0."""
    try:
        if (watch := record.watch()) is not None:
            return len(watch)
    except RecordError:  # whoever needs the images themselves says so
        pass
    for step in reversed(record.snapshot_steps()):
        try:
            return len(read_assignment(assignment_path(record, step), record.recipe.network.num_classes))
        except RecordError:
            continue
    return 0


def check_image(record: RunRecord, image: int, count: int) -> None:
    """Refuse the row of an image that is not watched."""
    if not isinstance(image, numbers.Integral) or isinstance(image, bool):
        raise ValueError(f"image is {image!r}: give the row of a watched image, a whole number")
    if not 0 <= image < count:
        span = f"give a row from 0 to {count - 1}" if count else "wait for its first snapshot, or put back its files"
        raise ValueError(f"run {record.name} watches {count} images, so there is no image {image}: {span}")


def assignment_path(record: RunRecord, step: int) -> Path:
    """Where the class of each image is kept at a step."""
    return record.path / "snapshots" / step_folder(step) / COLUMNS["assignment"].file


def read_assignment(path: Path, num_classes: int) -> np.ndarray:
    """The class of each image at one snapshot, ``[M]``, each from 0 to C - 1.

    Raises
    ------
    RecordError
        When the file is missing or damaged, or names a class that the run does not have.
    """
    classes = read_rows(path, COLUMNS["assignment"].dtype)
    _check_classes(path, classes, num_classes)
    return classes


def read_rows(
    path: str | Path,
    dtype: DTypeLike,
    first: int = 0,
    last: int | None = None,
    *,
    count: int | None = None,
    ndim: int = 1,
) -> np.ndarray:
    """Rows ``first`` to ``last - 1`` of an ``.npy`` file, copied into memory; without ``last`` to its end.

    Parameters
    ----------
    path
        The file.
    dtype
        What it must hold: numbers of this kind, of any width, or records of exactly this type.
    first, last
        The rows.
    count
        Number of rows that it must have; None takes any.
    ndim
        Number of dimensions that it must have.

    Raises
    ------
    MissingColumn
        When there is no such file.
    RecordError
        When it cannot be read, or holds something else.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEADER_BYTES)
            start = 10 + int.from_bytes(head[8:10], "little")
            found, shape = _parse_header(head[:start])
            if len(shape) != ndim or not _fits(found, np.dtype(dtype)):
                wanted = f"{np.dtype(dtype)} in {ndim} {'dimension' if ndim == 1 else 'dimensions'}"
                raise RecordError(f"{_spell(path)} holds {found} of shape {shape}, not {wanted}: it is damaged")
            row = found.itemsize * math.prod(shape[1:])
            size, expected = os.fstat(file.fileno()).st_size, start + row * shape[0]
            if size != expected:
                raise RecordError(f"{_spell(path)} has {size} bytes, not {expected}: it is damaged")
            if count is not None and shape[0] != count:
                raise RecordError(f"{_spell(path)} has {shape[0]} rows, not {count}: it is damaged")
            last = shape[0] if last is None else last
            if not 0 <= first <= last <= shape[0]:
                raise RecordError(f"{_spell(path)} has {shape[0]} rows, and so none from {first} to {last - 1}")
            file.seek(start + row * first)
            content = file.read(row * (last - first))
        return np.frombuffer(content, found).reshape(last - first, *shape[1:])
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
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # a few wrong bytes raise anything here: TokenError, SyntaxError, TypeError …
        raise ValueError(f"its header is damaged ({error or type(error).__name__})") from error
    if fortran_order or dtype.hasobject or not shape or min(shape[1:], default=1) < 1:
        raise ValueError(f"it holds {dtype} of shape {shape}, no rows of numbers")
    return dtype, shape


def _fits(found: np.dtype, wanted: np.dtype) -> bool:
    return found == wanted if wanted.names else found.kind == wanted.kind


def _check_classes(path: str | Path, classes: np.ndarray, num_classes: int) -> None:
    low, high = classes.min(initial=0), classes.max(initial=0)
    if low < 0 or high >= num_classes:
        found = low if low < 0 else high
        raise RecordError(f"{_spell(path)} names class {found}, of a run with {num_classes} classes: it is damaged")


def _margin(top_probs: np.ndarray) -> np.ndarray:
    return top_probs[:, 0] - top_probs[:, 1] if top_probs.shape[1] > 1 else np.ones(len(top_probs))
