"""Batches of pixels where the network is: straight from there, or read while the steps before them are computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from twist.learn.datasets import ImageSet, free_memory
from twist.learn.stored_images import ArrayImages, StoredImages, num_threads, split_reading

AHEAD = 2  # batches that are read before they are asked for
_LEFT_BYTES = 32 * 2**30  # of a GPU's memory that is enough for a network, however large the set
_COPIED = 4096  # images in a copy to the device


class Batches:
    """The batch of any step, on the device of the network.

    Decoded images that fit live on the device. Others are read by threads, `AHEAD` batches before they are asked for;
    the threads end with `close`.

    Parameters
    ----------
    images
        The set.
    rows_of
        Rows of the batch of a step (0 is the first): a pure function, as batches are asked for early and, after a
        stop, again.
    num_steps
        Steps of the whole run: no batch is read beyond.
    device
        Where batches are wanted.

    Attributes
    ----------
    resident
        Whether all pixels are on the device.
    """

    def __init__(self, images: ImageSet, rows_of: Callable[[int], Tensor], num_steps: int, device: torch.device):
        self._rows_of, self._num_steps, self._device = rows_of, num_steps, device
        pixels = images.images
        if device.type != "cpu" and images.keep != "decode" and pixels.nbytes <= _room(device):
            pixels = _copied(pixels, device)
        self.resident = isinstance(pixels, Tensor) and pixels.device.type == device.type
        if isinstance(pixels, Tensor) and not self.resident:
            pixels = ArrayImages(pixels.numpy())
        self._pixels: Tensor | StoredImages = pixels
        self._sample_ids = images.sample_ids.to(device)
        self._reads: dict[int, tuple[Tensor, Tensor, list[Future[None]]]] = {}
        self._open = ExitStack()
        if isinstance(pixels, StoredImages):
            self._open.enter_context(pixels.reading())
            self._pool = ThreadPoolExecutor(num_threads(), thread_name_prefix="read-images")
            self._open.callback(self._pool.shutdown, cancel_futures=True)

    def batch(self, step: int) -> tuple[UInt8[Tensor, "N ch H W"], Int64[Tensor, " N"]]:
        """Pixels and sample ids of the batch of a step.

        Raises
        ------
        ConfigError
            When an image turns out to be damaged as it is decoded: names it.
        """
        if isinstance(self._pixels, Tensor):
            rows = self._send(self._rows_of(step))
            return self._pixels[rows], self._sample_ids[rows]
        wanted = (step, *range(step + 1, min(step + 1 + AHEAD, self._num_steps)))
        self._reads = {one: self._reads.get(one) or self._begin(one) for one in wanted}
        rows, pixels, parts = self._reads.pop(step)
        for part in parts:
            part.result()
        return self._send(pixels), self._sample_ids[self._send(rows)]

    def close(self) -> None:
        """End the threads, and with them what was begun for later steps."""
        self._open.close()

    def _begin(self, step: int) -> tuple[Tensor, Tensor, list[Future[None]]]:
        assert isinstance(self._pixels, StoredImages)
        rows = self._rows_of(step).cpu()
        pixels = torch.empty((len(rows), *self._pixels.shape[1:]), dtype=torch.uint8, pin_memory=self._pins)
        return rows, pixels, [self._pool.submit(self._pixels.read, *part) for part in split_reading(rows, pixels)]

    @property
    def _pins(self) -> bool:
        return self._device.type == "cuda"

    def _send(self, values: Tensor) -> Tensor:
        # From pinned memory the copy needs no waiting; torch gives that memory away again only after the copy.
        if self._pins and values.device.type == "cpu":
            return values.pin_memory().to(self._device, non_blocking=True)
        return values.to(self._device)


def _room(device: torch.device) -> int:
    """Bytes of a device's memory that pixels may take: half of what is free, more of a very large one."""
    if device.type != "cuda":  # MPS shares the memory of the host
        return free_memory() // 2
    free, _ = torch.cuda.mem_get_info(device)
    return max(free // 2, free - _LEFT_BYTES)


def _copied(images: Tensor | StoredImages, device: torch.device) -> Tensor:
    whole = torch.empty(tuple(images.shape), dtype=torch.uint8, device=device)
    for first in range(0, len(images), _COPIED):
        whole[first : first + _COPIED] = images[first : first + _COPIED].to(device)
    return whole
