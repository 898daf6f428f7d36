"""Which images of a set without a test part are asked about: a seeded share of every label, by what they show."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

HELD_OUT = 0.2


def hold_out(
    labels: Int64[Tensor, " N"], hashes: Shaped[np.ndarray, " N"], *, seed: int, share: float = HELD_OUT
) -> tuple[Int64[Tensor, " known"], Int64[Tensor, " asked"]]:
    """Rows of the known and of the asked images, each ascending.

    Of every label, the images with the smallest hash of (seed, pixels) are asked until their share is reached. So the
    choice depends on the images and the seed alone, not on their order or the names of their files, and all copies of
    an image are on one side. A label of one image (or of one image with its copies) stays known.

    Parameters
    ----------
    labels
        Label of each image.
    hashes
        uint64, equal for equal images.
    seed
        Another one asks about other images.
    share
        Of the images of each label, rounded to the nearest whole number of them, at least one.

    Examples
    --------
    >>> labels = torch.tensor([0] * 10 + [1] * 5 + [2])
    >>> known, asked = hold_out(labels, np.arange(16, dtype=np.uint64), seed=0)
    >>> torch.bincount(labels[known], minlength=3).tolist(), torch.bincount(labels[asked], minlength=3).tolist()
    ([8, 4, 1], [2, 1, 0])
    """
    given = labels.numpy()
    _, firsts, picture, copies = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    # Copies that bear several labels count with the smallest, whatever their order.
    label_of = np.full(len(firsts), np.iinfo(np.int64).max)
    np.minimum.at(label_of, picture, given)
    is_asked = np.zeros(len(firsts), bool)
    drawn = _mixed(hashes[firsts], seed)
    for label in np.unique(label_of):
        pictures = np.flatnonzero(label_of == label)
        pictures = pictures[np.argsort(drawn[pictures], kind="stable")]
        wanted = max(1, round(share * copies[pictures].sum()))
        # One picture at least stays known.
        taken = np.flatnonzero(np.cumsum(copies[pictures[:-1]]) <= wanted)
        if len(taken) == 0 and len(pictures) > 1:
            taken = np.array([0])
        is_asked[pictures[taken]] = True
    return torch.from_numpy(np.flatnonzero(~is_asked[picture])), torch.from_numpy(np.flatnonzero(is_asked[picture]))


def _mixed(hashes: np.ndarray, seed: int) -> np.ndarray:
    """The hashes in another order for every seed: the finalizer of SplitMix64, a bijection of 64 bits."""
    with np.errstate(over="ignore"):
        mixed = hashes + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
