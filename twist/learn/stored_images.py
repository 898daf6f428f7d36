"""Images that are read as they are asked for, whatever they are read from."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

_PART = 16  # images that a thread reads at a time


def num_threads() -> int:
    """Threads that read images: one for every core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class StoredImages(ABC):
    """Images that stand for a tensor ``[N, ch, H, W]`` of all of them: indexing reads those it asks for.

    Attributes
    ----------
    shape
        Images, channels, rows, columns.
    """

    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that all pixels would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, chosen: Any) -> UInt8[Tensor, "*n ch H W"]:
        rows = torch.arange(len(self))[chosen]
        pixels = torch.empty((*rows.shape, *self.shape[1:]), dtype=torch.uint8)
        parts = split_reading(rows.reshape(-1), pixels.reshape(-1, *self.shape[1:]))
        with self.reading(), ThreadPoolExecutor(num_threads()) as pool:
            for _ in pool.map(lambda part: self.read(*part), parts):
                pass
        return pixels

    @abstractmethod
    def read(self, rows: Int64[Tensor, " n"], pixels: UInt8[Tensor, "n ch H W"]) -> None:
        """Fill ``pixels`` with the images of these rows; several threads may do so at once."""

    def reading(self) -> AbstractContextManager[None]:
        """What must be open around calls of `read`; for the thread that starts the others."""
        return nullcontext()


class ArrayImages(StoredImages):
    """Images in an array of the host, in memory or mapped from a file."""

    def __init__(self, pixels: UInt8[np.ndarray, "N ch H W"]):
        self._pixels = pixels
        images, channels, rows, columns = pixels.shape
        self.shape = (images, channels, rows, columns)

    def read(self, rows: Int64[Tensor, " n"], pixels: UInt8[Tensor, "n ch H W"]) -> None:
        """Copy the images of these rows."""
        # NumPy, as torch would start threads of its own in each of ours. "clip" copies straight to the place, where
        # "raise" takes a detour; the rows are known to exist.
        np.take(self._pixels, rows.numpy(), axis=0, out=pixels.numpy(), mode="clip")


def split_reading(rows: Int64[Tensor, " n"], pixels: UInt8[Tensor, "n ch H W"]) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and their places in parts, each for one call of `StoredImages.read`: small, so that no thread waits long."""
    return zip(rows.split(_PART), pixels.split(_PART), strict=True)
