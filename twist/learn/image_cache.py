"""Decoded images on disk: one memory-mapped array for every folder of images, made once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from twist.learn.image_files import DECODER, ImageFiles, Progress
from twist.learn.stored_images import ArrayImages
from twist.runs.config import ConfigError
from twist.runs.lock import try_flock
from twist.runs.store import sync_folder, write_json

_LOOK_EVERY_S = 0.2
_SPARE_BYTES = 2**30  # left on the disk for checkpoints and everybody else


class ImageCache:
    """Place of the decoded images of one folder, at one size.

    The array is named by all that its pixels depend on, so that one of changed files, or of another decoder, is never
    taken for the right one; it appears under that name at once and complete. Next to it, ``about.json`` tells a person
    what it is.

    Parameters
    ----------
    root
        Folder of all caches.
    folder
        The folder of images.
    paths
        Its files, one per image.
    marks
        Size in bytes and time of change in nanoseconds of each.
    choice
        What of the folder was chosen, by the recipe's names: another choice has a cache of its own.
    """

    def __init__(
        self, root: Path, folder: Path, paths: list[Path], marks: list[tuple[int, int]], choice: dict[str, Any]
    ):
        self.about = {"folder": str(folder.resolve()), **choice}
        place = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.")[:60] or "images"
        self.root, self.folder = root, root / f"{name}-{place}"
        digest = hashlib.sha256(f"{DECODER} {PIL.__version__} {choice}".encode())
        for path, mark in zip(paths, marks, strict=True):
            digest.update(os.fsencode(path.relative_to(folder)) + f"\0{mark}\0".encode())
        self.path = self.folder / f"{digest.hexdigest()[:16]}.npy"

    def find(self) -> ArrayImages | None:
        """The images, when they were decoded before and the files are still the same.

        They are mapped, read-only: the system keeps in memory what it has room for.
        """
        try:
            return ArrayImages(np.load(self.path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError):  # absent, or no longer whole
            return None

    def lack(self, num_bytes: int) -> str | None:
        """Why so many bytes cannot be kept here, or None when they can."""
        place = next(place for place in (self.folder, *self.folder.parents) if place.is_dir())
        if not os.access(place, os.W_OK):
            return "its folder cannot be written"
        free = shutil.disk_usage(place).free
        if num_bytes + _SPARE_BYTES > free:
            return f"it takes {num_bytes / 1e9:.1f} GB, and its disk has {free / 1e9:.1f} GB left"
        return None

    def build(self, files: ImageFiles, *, on_progress: Progress | None = None) -> ArrayImages:
        """Decode all files and keep the pixels; at most 64 MB of them are in memory at a time.

        Of several processes that ask at once, one decodes and the others wait for it.

        Raises
        ------
        ConfigError
            When the disk has no room, or images are damaged.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock(len(files), on_progress) as alone:
                if (made := self.find()) is not None:
                    return made
                if alone:
                    self._sweep()
                if reason := self.lack(files.nbytes):
                    raise ConfigError(self._refusal(reason))
                self._write(files, on_progress)
        except OSError as error:
            raise ConfigError(self._refusal(error.strerror or str(error))) from error
        made = self.find()
        assert made is not None, "it was written and renamed just now"
        return made

    def _refusal(self, reason: str) -> str:
        return (
            f"the cache of decoded images cannot be kept in {str(self.root)!r} ({reason}): set TWIST_CACHE to a folder "
            "on a larger disk, or data.keep to decode"
        )

    def _write(self, files: ImageFiles, on_progress: Progress | None) -> None:
        staging = self.folder / f".{self.path.stem}.{os.getpid()}.{secrets.token_hex(4)}"
        header = {"descr": "|u1", "fortran_order": False, "shape": files.shape}
        try:
            # Written, not mapped: a disk that fills up is then an error here, and not the end of the process.
            with open(staging, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for block in files.blocks(on_progress=on_progress):
                    file.write(block.data)
                file.flush()
                os.fsync(file.fileno())
            with suppress(PermissionError):  # Windows: another process made it meanwhile, and reads it
                os.replace(staging, self.path)
        finally:
            staging.unlink(missing_ok=True)
        sync_folder(self.folder)
        write_json(self.folder / "about.json", {**self.about, "array": self.path.name, "shape": list(files.shape)})

    def _sweep(self) -> None:
        """Delete what kills left, and arrays of what the folder was before; a process that reads one keeps it."""
        for path in self.folder.iterdir():
            if path.name != "lock":
                with suppress(OSError):  # Windows deletes no file that is read
                    path.unlink()

    @contextmanager
    def _lock(self, num_images: int, on_progress: Progress | None) -> Iterator[bool]:
        """Wait until no other process builds; whether none can begin to, which takes a system with locks."""
        with open(self.folder / "lock", "w") as file:
            while (alone := try_flock(file.fileno())) is False:
                if on_progress is not None:
                    on_progress(0, num_images)
                time.sleep(_LOOK_EVERY_S)
            yield bool(alone)
