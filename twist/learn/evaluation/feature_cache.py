"""Features on disk: one folder per model and image set, which is there whole or not at all, with its checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twist.runs.folders import runs_root
from twist.runs.lock import try_flock
from twist.runs.store import SCHEMA, RecordError, load_column, read_manifest, sync_folder, write_json

_LOOK_EVERY_S = 0.2
_READ_BYTES = 2**20
#: Checksums that this process held against their files already: path, time of change and size of each.
_SOUND: set[tuple[str, int, int]] = set()


def cache_place(run_folder: Path | None) -> Path:
    """Folder of the features of a run's checkpoints, or of all models that are no run."""
    if run_folder is not None:
        return Path(run_folder) / "features"
    root = runs_root().parent
    with suppress(OSError):  # said when something is to be kept there
        root.mkdir(parents=True, exist_ok=True)
    return root / "features"


def cache_key(identity: str, fingerprint: str) -> str:
    """Name of the folder for one model and one image set: 16 hex digits."""
    return hashlib.sha256(f"{SCHEMA} {identity} {fingerprint}".encode()).hexdigest()[:16]


class FeatureFolder:
    """The folder of one model's features of one image set.

    Parameters
    ----------
    path
        The folder; its name is the `cache_key`.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def find(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The columns by name and the manifest, or None when they were not computed yet.

        The columns are mapped: the system keeps in memory what it has room for. What is written into such a tensor
        never reaches the file.

        Raises
        ------
        RecordError
            When they are there and damaged: a file differs from its checksum, or the manifest cannot be read.
        """
        if not self.path.is_dir():
            return None
        manifest = read_manifest(self.path)
        columns = {}
        for name in manifest["files"]:
            if name != Path(name).name or not name.endswith(".npy"):
                raise RecordError(f"{self.path.name} lists a file {name!r}, which is no column of it")
            _check_sum(self.path / name, manifest["files"][name])
            column = load_column(self.path, name, manifest)  # held against its size, with a message for every damage
            if isinstance(column, np.memmap):
                column = np.load(self.path / name, mmap_mode="c", allow_pickle=False)
            columns[name.removesuffix(".npy")] = torch.from_numpy(column)
        return columns, manifest

    @contextmanager
    def alone(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the right to write this folder; of several processes that ask for it, one at a time has it.

        Parameters
        ----------
        waiting
            Called now and then while another process has it; an exception in it ends the waiting.
        """
        self.path.parent.mkdir(exist_ok=True)  # the run must be there: a deleted one is not brought back
        with open(self.path.with_name(f".{self.path.name}.lock"), "ab") as file:
            while (free := try_flock(file.fileno())) is False:
                if waiting is not None:
                    waiting()
                time.sleep(_LOOK_EVERY_S)
            if free:
                self._sweep()
            yield

    def write(self, blocks: Iterator[Mapping[str, Tensor]], count: int, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Write the folder from blocks of rows, of which one is in memory at a time; it appears at once and complete.

        Parameters
        ----------
        blocks
            Rows of every column by name, in order; all blocks have the same columns.
        count
            Rows of all blocks together.
        facts
            Called after the last block: what the manifest says besides.
        """
        staging = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        staging.mkdir()
        columns: dict[str, _Column] = {}
        try:
            for block in blocks:
                for name, rows in block.items():
                    if name not in columns:
                        columns[name] = _Column(staging / f"{name}.npy", rows.numpy(), count)
                    columns[name].append(rows.numpy())
            sums = {f"{name}.npy": column.close() for name, column in columns.items()}
            write_json(staging / "manifest.json", {"schema": SCHEMA, **facts(), "files": sums})
            outgoing = staging.with_name(staging.name + ".old")
            if self.path.exists():
                os.rename(self.path, outgoing)
            os.rename(staging, self.path)
            shutil.rmtree(outgoing, ignore_errors=True)
            sync_folder(self.path.parent)
        finally:
            for column in columns.values():
                column.file.close()
            shutil.rmtree(staging, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete what killed processes left of this folder."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)


class _Column:
    """One ``.npy`` file that is written block after block: a full disk is an error there, not the process's end."""

    def __init__(self, path: Path, first: np.ndarray, count: int):
        self.file = open(path, "wb")  # noqa: SIM115  it stays open from block to block
        self._digest = hashlib.sha256()
        self._rows, self._count = 0, count
        np.lib.format.write_array_header_1_0(
            self, {"descr": first.dtype.str, "fortran_order": False, "shape": (count, *first.shape[1:])}
        )

    def write(self, content: bytes) -> int:
        """Write bytes and count them into the checksum; numpy's header comes this way too."""
        self._digest.update(content)
        return self.file.write(content)

    def append(self, rows: np.ndarray) -> None:
        self._rows += len(rows)
        self.write(np.ascontiguousarray(rows).tobytes())

    def close(self) -> dict[str, Any]:
        """Force the file to the disk; its size and SHA-256 sum."""
        assert self._rows == self._count, (self._rows, self._count)
        size = self.file.tell()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return {"bytes": size, "sha256": self._digest.hexdigest()}


def _check_sum(path: Path, expected: Mapping[str, Any]) -> None:
    """Hold a file against its checksum, once for every state of it in this process."""
    digest = hashlib.sha256()
    try:
        stat = path.stat()
        mark = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
        if mark in _SOUND:
            return
        with open(path, "rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
    except OSError as error:
        raise RecordError(f"{path.parent.name}/{path.name} cannot be read ({error.strerror})") from error
    if digest.hexdigest() != expected["sha256"]:
        raise RecordError(f"{path.parent.name}/{path.name} differs from its checksum")
    _SOUND.add(mark)
