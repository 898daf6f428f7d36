"""Asked images that also stand among the known ones: what a protocol knows of them is no generalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from twist.learn.evaluation.sets import LabeledSet
from twist.learn.image_files import Progress


@dataclass(frozen=True)
class Leaks:
    """Copies between and within two image sets, by their exact pixels.

    Two images that differ in one pixel, or were resized or compressed anew, are no copies here: this count is the least
    that there are.

    Attributes
    ----------
    count
        Asked images that are also among the known ones.
    share
        The same as a share of the asked images, 0 to 1.
    rows
        Their rows among the asked images, ascending.
    known_rows
        For each of these, the first known image that it is a copy of.
    other_label
        How many of them bear a label there that no known copy of theirs has.
    known_copies
        Known images that repeat an earlier known one.
    asked_copies
        Asked images that repeat an earlier asked one.
    """

    count: int
    share: float
    rows: Int64[Tensor, " count"]
    known_rows: Int64[Tensor, " count"]
    other_label: int
    known_copies: int
    asked_copies: int

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of them: the numbers."""
        return {
            "count": self.count,
            "share": self.share,
            "other_label": self.other_label,
            "known_copies": self.known_copies,
            "asked_copies": self.asked_copies,
        }

    def __str__(self) -> str:
        if not (self.count or self.known_copies or self.asked_copies):
            return "no image stands twice, by its pixels"
        said = []
        if self.count:
            few = f"{100 * self.share:.2g} %" if self.share < 1 else "all"
            stand = _verb(self.count, "stand")
            said.append(f"{self.count:,} asked {_images(self.count)} ({few}) also {stand} among the known ones")
            if self.other_label:
                said.append(f"{self.other_label:,} of them with another label")
        if self.known_copies:
            said.append(_repeated(self.known_copies, "known"))
        if self.asked_copies:
            said.append(_repeated(self.asked_copies, "asked"))
        return ", ".join(said) + ", pixel by pixel"


def leaks_between(known: LabeledSet, asked: LabeledSet, *, on_progress: Progress | None = None) -> Leaks:
    """Copies of known images among the asked ones, found by a hash of each image's pixels.

    Parameters
    ----------
    known, asked
        The two sides of an evaluation.
    on_progress
        Called with (images done, images) of each side while it is hashed.
    """
    return copies(known.hashed(on_progress), known.labels, asked.hashed(on_progress), asked.labels)


def copies(
    known: Shaped[np.ndarray, " K"],
    known_labels: Int64[Tensor, " K"],
    asked: Shaped[np.ndarray, " A"],
    asked_labels: Int64[Tensor, " A"],
) -> Leaks:
    """The same from hashes, uint64.

    Examples
    --------
    >>> hashes, labels = np.array([5, 6, 6, 9], np.uint64), torch.tensor([0, 1, 1, 0])
    >>> found = copies(hashes[:2], labels[:2], hashes[2:], labels[2:])
    >>> found.count, found.rows.tolist(), found.known_rows.tolist()
    (1, [0], [1])
    """
    pictures, firsts = np.unique(known, return_index=True)
    place = np.searchsorted(pictures, asked).clip(max=max(0, len(pictures) - 1))
    is_copy = pictures[place] == asked if len(pictures) else np.zeros(len(asked), bool)
    rows = np.flatnonzero(is_copy)
    known_rows = firsts[place[rows]] if len(rows) else rows
    pairs = set(zip(known.tolist(), known_labels.tolist(), strict=True)) if len(rows) else set()
    labels = asked_labels.numpy()[rows]
    other = sum(
        (picture, label) not in pairs for picture, label in zip(asked[rows].tolist(), labels.tolist(), strict=True)
    )
    return Leaks(
        count=len(rows),
        share=len(rows) / max(1, len(asked)),
        rows=torch.from_numpy(rows),
        known_rows=torch.from_numpy(known_rows),
        other_label=other,
        known_copies=len(known) - len(pictures),
        asked_copies=len(asked) - len(np.unique(asked)),
    )


def _repeated(count: int, side: str) -> str:
    return f"{count:,} {side} {_images(count)} {_verb(count, 'repeat')} another {side} one"


def _images(count: int) -> str:
    return "image" if count == 1 else "images"


def _verb(count: int, verb: str) -> str:
    return f"{verb}s" if count == 1 else verb
