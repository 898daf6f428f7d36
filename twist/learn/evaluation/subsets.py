"""A few images of every label, drawn once and stored: whose labels a semi-supervised protocol may look at."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from twist.learn.random import uniform
from twist.runs.config import ConfigError
from twist.runs.store import write_atomic

SCHEMA = 1
_LOTS = 0x10075  # a view number that no view has


@dataclass(frozen=True, kw_only=True)
class LabelSubset:
    """The images whose labels are used, by sample id.

    Attributes
    ----------
    asked
        What was asked for, in words: ``1 %``, or ``4 per label``.
    seed
        Seed of the draw; another seed is another draw of the same kind.
    of
        Fingerprint of the image set that it was drawn from; empty when none was given.
    available
        Labelled images of that set.
    counts
        Images taken of each label.
    sample_ids
        The images, ascending.
    notes
        What a reader of a figure should know: labels with fewer images than asked for, shares that were rounded up.
    """

    asked: str
    seed: int
    of: str
    available: int
    counts: dict[int, int]
    sample_ids: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the ids: two lists of one fingerprint are the same."""
        return hashlib.sha256(np.array(self.sample_ids, "<i8").tobytes()).hexdigest()[:16]

    def rows(self, sample_ids: Int64[Tensor, " N"]) -> Int64[Tensor, " S"]:
        """Rows of these images in a set with such sample ids, whatever their order there; ascending by id.

        Raises
        ------
        ConfigError
            When the set lacks one of them.
        """
        place = {sample: row for row, sample in enumerate(sample_ids.tolist())}
        missing = [sample for sample in self.sample_ids if sample not in place]
        if missing:
            raise ConfigError(
                f"the list of {self.asked} of the labels names {len(missing):,} images that this set lacks, sample "
                f"{missing[0]} first: give the images it was drawn from ({self.of or 'unknown'}), or draw anew"
            )
        return torch.tensor([place[sample] for sample in self.sample_ids], dtype=torch.int64)


def share_of_labels(
    labels: Int64[Tensor, " N"], sample_ids: Int64[Tensor, " N"], share: int | float, *, seed: int, of: str = ""
) -> LabelSubset:
    """A share of the labels, the same number of images for every label and one at least; 1 takes every labelled image.

    Drawn image by image from a hash of seed and sample id, so the order of the images means nothing, and a smaller
    share of the same seed lies within a larger one.

    Parameters
    ----------
    labels
        Label of each image, any whole numbers; below 0 where unknown, and then never taken.
    sample_ids
        Stable index of each image.
    share
        Share of the labelled images, above 0 and at most 1.
    seed
        Seed of the draw.
    of
        Fingerprint of the image set, kept with the list.

    Raises
    ------
    ConfigError
        When no image has a label, sample ids repeat, or the share is out of range.

    Examples
    --------
    >>> labels = torch.tensor([0, 1] * 50)
    >>> share_of_labels(labels, torch.arange(100), 0.1, seed=0).counts
    {0: 5, 1: 5}
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the share of labels is {share}: give a number above 0, and at most 1 for all of them")
    by_label = _drawn(labels, sample_ids, seed)
    available = sum(map(len, by_label.values()))
    asked = f"{100 * share:.4g} %"
    if share == 1:
        return _subset(by_label, available, asked, seed, of)
    exact = share * available / len(by_label)
    per_label = max(1, round(exact))
    notes = []
    if exact < 1:
        notes.append(
            f"{asked} of {available:,} labelled images is {exact:.2f} a label: one of each label is taken, "
            f"{100 * len(by_label) / available:.2g} %"
        )
    return _subset(by_label, per_label, asked, seed, of, notes)


def some_of_each_label(
    labels: Int64[Tensor, " N"], sample_ids: Int64[Tensor, " N"], per_label: int, *, seed: int, of: str = ""
) -> LabelSubset:
    """So many images of every label, and all of a label that has fewer; otherwise as `share_of_labels`.

    Examples
    --------
    >>> some_of_each_label(torch.tensor([0, 0, 0, 7]), torch.arange(4), 2, seed=0).counts
    {0: 2, 7: 1}
    """
    if per_label < 1:
        raise ConfigError(f"images per label is {per_label}: give 1 or more")
    return _subset(_drawn(labels, sample_ids, seed), per_label, f"{per_label} per label", seed, of)


def write_subset(path: Path, subset: LabelSubset) -> None:
    """Keep a list as a small JSON file, whole or absent."""
    facts = {"schema": SCHEMA, "fingerprint": subset.fingerprint, **dataclasses.asdict(subset)}
    write_atomic(path, (json.dumps(facts, separators=(",", ":")) + "\n").encode())


def read_subset(path: Path) -> LabelSubset:
    """A list as `write_subset` kept it.

    Raises
    ------
    ConfigError
        When the file is missing, damaged, no such list, or written by a newer version.
    """
    try:
        facts = json.loads(path.read_bytes())
        if facts["schema"] > SCHEMA:
            raise ConfigError(f"{path.name} was written by a newer twist (schema {facts['schema']}): update")
        subset = LabelSubset(
            asked=str(facts["asked"]),
            seed=int(facts["seed"]),
            of=str(facts["of"]),
            available=int(facts["available"]),
            counts={int(label): int(count) for label, count in facts["counts"].items()},
            sample_ids=tuple(int(sample) for sample in facts["sample_ids"]),
            notes=tuple(map(str, facts["notes"])),
        )
        stored = facts["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{str(path)!r} is no readable list of labels ({error}): draw it anew") from error
    if subset.fingerprint != stored:
        raise ConfigError(f"{str(path)!r} differs from its checksum: it was changed or damaged, draw it anew")
    return subset


def _drawn(labels: Tensor, sample_ids: Tensor, seed: int) -> dict[int, list[int]]:
    """Sample ids of every label in the order in which they are taken."""
    if labels.shape != sample_ids.shape:
        raise ConfigError(f"there are {len(labels)} labels and {len(sample_ids)} sample ids: give one of each an image")
    if len(sample_ids.unique()) != len(sample_ids):
        raise ConfigError("sample ids repeat: give every image an id of its own")
    lots = uniform(sample_ids, 1, seed=seed, epoch=0, view=_LOTS)[:, 0]
    known = [row for row, label in enumerate(labels.tolist()) if label >= 0]
    if not known:
        raise ConfigError("no image has a label: fine-tuning needs some, give a set with labels")
    # The 24 bits of a lot may be equal for two images; then the smaller id comes first.
    queue = sorted((labels[row].item(), lots[row].item(), sample_ids[row].item()) for row in known)
    by_label: dict[int, list[int]] = {}
    for label, _, sample in queue:
        by_label.setdefault(int(label), []).append(int(sample))
    return by_label


def _subset(
    by_label: dict[int, list[int]], per_label: int, asked: str, seed: int, of: str, notes: list[str] | None = None
) -> LabelSubset:
    taken = {label: samples[:per_label] for label, samples in by_label.items()}
    available = sum(map(len, by_label.values()))
    notes = list(notes or ())
    short = [label for label, samples in by_label.items() if len(samples) < per_label < available]
    if short:
        named = ", ".join(f"{label} ({len(by_label[label])})" for label in short[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        notes.append(f"labels with fewer than {per_label} images give all they have: {named}{more}")
    return LabelSubset(
        asked=asked,
        seed=seed,
        of=of,
        available=available,
        counts={label: len(samples) for label, samples in taken.items()},
        sample_ids=tuple(sorted(sample for samples in taken.values() for sample in samples)),
        notes=tuple(notes),
    )
