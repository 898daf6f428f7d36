"""Hashes of pixels and of rows: two equal ones mean the same image, so that copies are found in one look at each."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from torch import Tensor

from twist.learn.image_files import Progress
from twist.learn.stored_images import StoredImages

_BLOCK_BYTES = 64 * 2**20
_DIGEST_BYTES = 8  # of SHA-256, which processors compute by themselves


def pixel_hashes(
    images: UInt8[Tensor, "N ch H W"] | StoredImages, *, on_progress: Progress | None = None
) -> Shaped[np.ndarray, " N"]:
    """A number for each image that only its pixels decide, uint64 ``[N]``.

    Images of different sizes differ. An image of three equal channels is the gray one of one channel: the same picture.
    By chance, two of a million different images share a number once in forty million such sets.

    Parameters
    ----------
    images
        The images, in memory or read as they are needed; 64 MB of them at a time.
    on_progress
        Called with (images done, images) after every block.

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([0, 7, 7], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    >>> first, second, third = pixel_hashes(images)
    >>> first == second, second == third
    (np.False_, np.True_)
    """
    channels, rows, columns = images.shape[1:]
    of_size = hashlib.sha256(f"{rows} {columns} ".encode())
    step = max(1, _BLOCK_BYTES // max(1, channels * rows * columns))
    found = []
    for first in range(0, len(images), step):
        block = images[first : first + step]
        found.append(_hashed(block, of_size))
        if on_progress is not None:
            on_progress(first + len(block), len(images))
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _hashed(block: Tensor, of_size: Any) -> np.ndarray:
    pixels = block.contiguous().numpy()
    if pixels.shape[1] == 1:
        return _digests(pixels[:, 0], of_size)
    # The first line of an image tells most colored ones apart from gray ones.
    gray = np.flatnonzero((pixels[:, :1, 0] == pixels[:, 1:, 0]).all((1, 2)))
    gray = gray[(pixels[gray, :1] == pixels[gray, 1:]).all((1, 2, 3))]
    hashes = _digests(pixels, of_size)
    hashes[gray] = _digests(np.ascontiguousarray(pixels[gray, 0]), of_size)
    return hashes


def row_hashes(rows: Shaped[Tensor, "N D"]) -> Shaped[np.ndarray, " N"]:
    """A number for each row of a table that only its values decide, uint64 ``[N]``."""
    return _digests(rows.contiguous().numpy(), hashlib.sha256())


def _digests(rows: np.ndarray, begun: Any) -> np.ndarray:
    digests = bytearray()
    for row in rows:
        one = begun.copy()
        one.update(row.data)
        digests += one.digest()[:_DIGEST_BYTES]
    return np.frombuffer(digests, np.uint64)
