"""Files that are whole or absent: small ones by one replace, sealed folders by one rename, each with its checksums."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1


class RecordError(RuntimeError):
    """A run folder, or a part of it, that cannot be read: the message names the part and what is wrong with it."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees either the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; numbers that are not finite are refused."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file as a dictionary; empty when it is missing, torn or something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # the last of brackets in brackets, which anybody may write
        return {}
    return value if isinstance(value, dict) else {}


def write_sealed_folder(path: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    """Write a folder that appears at once and complete, with a manifest of sizes and SHA-256 sums.

    The files are written and synced in a hidden sibling, the manifest last, then the folder is renamed into place; an
    older folder of the same name is replaced. The run must be there: one that was renamed or deleted meanwhile is not
    brought back by those who still write maps for it.
    """
    path.parent.mkdir(exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    outgoing = staging.with_name(staging.name + ".old")
    staging.mkdir()
    try:
        sums = {}
        for name, content in files.items():
            (staging / name).write_bytes(content)
            sync_file(staging / name)
            sums[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        write_json(staging / "manifest.json", {"schema": SCHEMA, **facts, "files": sums})
        if path.exists():
            os.rename(path, outgoing)
        os.rename(staging, path)
        sync_folder(path.parent)
    finally:
        for leftover in (staging, outgoing):
            shutil.rmtree(leftover, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what kills left of unfinished writes in a folder; only for the one process that writes there."""
    for leftover in folder.glob(".*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def read_manifest(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """The manifest of a sealed folder; with ``verify`` every file's sum is checked.

    Raises
    ------
    RecordError
        When the manifest is missing or torn, was written by a newer schema, or a file differs from its sum.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        files = manifest["files"]
        schema = manifest["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path.name} has no readable manifest ({error}); it cannot be used") from error
    if schema > SCHEMA:
        raise RecordError(
            f"{path.name} was written by a newer twist (schema {schema}, this one reads {SCHEMA}); update"
        )
    if verify:
        for _ in _sound_files(path, files):
            pass
    return manifest


def read_sealed_folder(path: Path) -> dict[str, bytes]:
    """The files of a sealed folder but for its manifest, all in memory and each held against its checksum.

    Raises
    ------
    RecordError
        As `read_manifest` does.
    """
    return dict(_sound_files(path, read_manifest(path)["files"]))


def _sound_files(path: Path, files: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, expected in files.items():
        if name != Path(name).name:  # a manifest names nothing outside its folder
            raise RecordError(f"{path.name} lists a file {name!r}, which is not in it: its manifest is damaged")
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise RecordError(f"{path.name}/{name} cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise RecordError(f"{path.name}/{name} differs from its checksum: the file was damaged on disk")
        yield name, content


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs no read-only descriptor
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        sync_file(path)


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def load_column(folder: Path, name: str, manifest: Mapping[str, Any]) -> np.ndarray:
    """One ``.npy`` column of a sealed folder, memory-mapped; its size must be the manifest's."""
    path = folder / name
    try:
        expected = manifest["files"][name]["bytes"]
        if path.stat().st_size != expected:
            raise RecordError(f"{folder.name}/{name} has {path.stat().st_size} bytes, not {expected}: it is damaged")
        return np.load(path, mmap_mode="r" if expected > 4096 else None, allow_pickle=False)
    except RecordError:
        raise
    except Exception as error:  # a few wrong bytes of a header raise anything: TokenError, SyntaxError, TypeError …
        reason = str(error) if isinstance(error, OSError | KeyError) else "it is no column of plain numbers"
        raise RecordError(f"{folder.name}/{name} cannot be read: {reason}") from error


def step_folder(step: int) -> str:
    """Name of a snapshot's or checkpoint's folder."""
    return f"step-{step:09d}"


def steps_in(folder: Path) -> list[int]:
    """Steps of the snapshots or checkpoints in a folder, sound or not, ascending; links to elsewhere are none."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    numbers = [name.removeprefix("step-") for name in names if name.startswith("step-")]
    return sorted(
        int(number) for number in numbers if number.isdecimal() and step_folder(int(number)) == f"step-{number}"
    )
