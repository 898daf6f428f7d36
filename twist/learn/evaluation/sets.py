"""Labelled image sets for an evaluation: which images' labels are known, and which images are asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from twist.learn import datasets
from twist.learn.evaluation.hashes import pixel_hashes
from twist.learn.evaluation.holdout import HELD_OUT, hold_out
from twist.learn.image_files import Progress
from twist.learn.stored_images import StoredImages
from twist.runs.config import ConfigError, DataConfig
from twist.runs.sources import find_source, has_test_part

_SHOWN = 5  # labels named in a sentence


@dataclass(frozen=True)
class LabeledSet:
    """Images with their labels, in a fixed order.

    Attributes
    ----------
    images
        Pixels, 0 black and 255 white; whether a tensor or not, ``images[rows]`` gives a tensor on the CPU.
    labels
        Label of each image, from 0; -1 where unknown.
    label_names
        Name of each label; its number where the source has no names. Of the known and the asked images of one
        evaluation they are the same, and every label of them occurs among the known.
    sample_ids
        Stable index of each image in its source and split.
    name
        What the source is called in figures.
    split
        Which part of it these are, in words: ``train``, ``test``, ``80 % (seed 0)`` …
    fingerprint
        Two sets of one fingerprint are the same.
    whole
        The set that these images are part of, or None: features are computed of the whole, once for all its parts.
    rows
        Rows of these images in the whole, or None.
    """

    images: UInt8[Tensor, "N ch H W"] | StoredImages
    labels: Int64[Tensor, " N"]
    label_names: list[str]
    sample_ids: Int64[Tensor, " N"]
    name: str
    split: str
    fingerprint: str
    whole: LabeledSet | None = None
    rows: Int64[Tensor, " N"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_labels(self) -> int:
        """Number of labels that the set distinguishes, whether all occur in it or not."""
        return len(self.label_names)

    @cached_property
    def hashes(self) -> Shaped[np.ndarray, " N"]:
        """A number for each image that only its pixels decide, uint64; the first use reads all images."""
        return self.hashed()

    def hashed(self, on_progress: Progress | None = None) -> Shaped[np.ndarray, " N"]:
        """The same, telling how far it is; images that were hashed before are not read again."""
        if "hashes" not in self.__dict__:
            if self.whole is not None and self.rows is not None:
                found = self.whole.hashed(on_progress)[self.rows.numpy()]
            else:
                found = pixel_hashes(self.images, on_progress=on_progress)
            self.__dict__["hashes"] = found
        return self.__dict__["hashes"]

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of the set: name, split, count, number of labels, fingerprint, shape of an image."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "num_labels": self.num_labels,
            "fingerprint": self.fingerprint,
            "shape": list(self.images.shape[1:]),
        }

    def take(self, rows: Int64[Tensor, " n"], *, split: str) -> LabeledSet:
        """Some of the images, as a set that knows what it is part of."""
        chosen = self.images[rows] if isinstance(self.images, Tensor) else ChosenImages(self.images, rows)
        digest = hashlib.sha256(f"{self.fingerprint} {split} ".encode())
        digest.update(rows.numpy().data)
        return LabeledSet(
            images=chosen,
            labels=self.labels[rows],
            label_names=self.label_names,
            sample_ids=self.sample_ids[rows],
            name=self.name,
            split=split,
            fingerprint=digest.hexdigest()[:16],
            whole=self.whole or self,
            rows=rows if self.rows is None else self.rows[rows],
        )

    def relabeled(self, labels: Int64[Tensor, " N"], label_names: list[str]) -> LabeledSet:
        """The same images with other labels; the features stay those of the whole."""
        return replace(
            self,
            labels=labels,
            label_names=label_names,
            whole=self.whole or self,
            rows=torch.arange(len(self)) if self.rows is None else self.rows,
            fingerprint=_with_labels(self.fingerprint, labels),
        )


class ChosenImages(StoredImages):
    """Some rows of images that are read as they are asked for."""

    def __init__(self, images: StoredImages, rows: Int64[Tensor, " n"]):
        self._images, self._rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def read(self, rows: Int64[Tensor, " n"], pixels: UInt8[Tensor, "n ch H W"]) -> None:
        """Read the images of these rows of ours."""
        self._images.read(self._rows[rows], pixels)

    def reading(self) -> Any:
        """What the images need open."""
        return self._images.reading()


class EvaluationSets(NamedTuple):
    """What an evaluation works with.

    Attributes
    ----------
    known
        Images whose labels a protocol may use.
    asked
        Images that it is asked about.
    how
        How the two were made, in sentences for a person; belongs to every result.
    """

    known: LabeledSet
    asked: LabeledSet
    how: str


def labeled_set(images: datasets.ImageSet, *, split: str) -> LabeledSet:
    """An image set as it was loaded; without labels every label is -1 and there are no names."""
    labels, names = images.labels, list(images.label_names or ())
    if labels is None:
        labels = torch.full((len(images),), -1)
    if not names:
        names = [str(label) for label in range(int(labels.max()) + 1)]
    return LabeledSet(images.images, labels.long(), names, images.sample_ids, images.name, split, images.fingerprint)


def load_labeled(
    data: DataConfig, *, run_folder: Path | None = None, on_progress: Progress | None = None
) -> LabeledSet:
    """All images that a recipe's ``data`` names, labelled or not."""
    return labeled_set(datasets.load(data, run_folder=run_folder, on_progress=on_progress), split=data.split)


def evaluation_sets(
    data: DataConfig,
    *,
    test: str | DataConfig | None = None,
    seed: int = 0,
    run_folder: Path | None = None,
    max_images: int | None = None,
    on_progress: Progress | None = None,
) -> EvaluationSets:
    """Known and asked images of a source.

    A source with a test part is asked about that. Of one without, a seeded fifth of every label is asked; which images
    these are depends on their pixels and the seed, not on their order, and copies of an image stay on one side. Images
    without a label are left out, as are asked ones whose label no known image has, and labels that leave gaps are
    numbered anew: ``how`` says all of this.

    Parameters
    ----------
    data
        The ``data`` part of a recipe. Its ``max_images`` limits the known images; its ``split`` does not matter, other
        than that ``how`` says when the asked images were learned from.
    test
        Another source for the asked images: of a named set or a folder with a test part that part, else all of it.
        Labels are matched by name where both sources have names, else by number.
    seed
        Seed of the hold-out where one is needed.
    run_folder
        Folder of the run, where ``@run/images.npz`` is.
    max_images
        Largest number of known images and of asked ones, the first of each; of a set without a test part, of both
        together.
    on_progress
        Called with (images done, images) while images are decoded or hashed.

    Raises
    ------
    ConfigError
        When there is no such source, a side has no labelled image, all known images have one label, or the labels of
        two sources share no name.

    Examples
    --------
    >>> sets = evaluation_sets(DataConfig(source="digits"))
    >>> len(sets.known), len(sets.asked)
    (1438, 359)
    >>> print(sets.how)
    digits has no test part: 359 of its 1,797 images, 20 % of each label chosen by seed 0, are asked.
    """
    if seed < 0:
        raise ConfigError(f"seed is {seed}: give 0 or more")
    if max_images is not None and max_images < 2:
        raise ConfigError(f"max_images is {max_images}: give 2 or more, better thousands")
    limit = min(filter(None, (data.max_images, max_images)), default=None)
    in_parts = has_test_part(data, run_folder=run_folder)
    known_data = replace(data, split="train" if in_parts else "all", max_images=limit)
    known, said = _labeled_only(load_labeled(known_data, run_folder=run_folder, on_progress=on_progress), "known")
    if test is None and not in_parts:
        return _held_out(known, said, seed, on_progress)
    if test is None:
        asked_data = replace(data, split="test", max_images=max_images)
        if data.split in ("test", "all"):
            said.append(
                f"The recipe's data.split is {data.split!r}: the asked images were learned from, without labels."
            )
    else:
        asked_data = _other_source(test, data, run_folder, max_images)
    asked, of_asked = _labeled_only(load_labeled(asked_data, run_folder=run_folder, on_progress=on_progress), "asked")
    known, asked, matched = _match(known, asked)
    first = f"{_described(known)} known, {_described(asked)} asked."
    return EvaluationSets(known, asked, " ".join([first, *said, *of_asked, *matched]))


def _described(images: LabeledSet) -> str:
    part = "" if images.split == "all" else f"{images.split} "
    return f"{len(images):,} {part}image{'s' if len(images) != 1 else ''} of {images.name}"


def _other_source(test: str | DataConfig, data: DataConfig, run_folder: Path | None, limit: int | None) -> DataConfig:
    if isinstance(test, DataConfig):
        return replace(test, max_images=min(filter(None, (test.max_images, limit)), default=None))
    asked = DataConfig(source=test, root=data.root, download=data.download, max_images=limit)
    path = find_source(asked, run_folder=run_folder)
    if data.image_size is not None and (path is not None and path.is_dir() or test == "imagenette"):
        asked = replace(asked, image_size=data.image_size)
    return replace(asked, split="test" if has_test_part(asked, run_folder=run_folder) else "all")


# ---------------------------------------------------------------------------------------------------------------------
# Labels


def _labeled_only(images: LabeledSet, role: str) -> tuple[LabeledSet, list[str]]:
    """The images that have a label, and a sentence when some have none."""
    rows = (images.labels >= 0).nonzero()[:, 0]
    if len(rows) == len(images):
        return images, []
    if len(rows) == 0:
        raise ConfigError(
            f"{images.name} has no labels, so nothing can be scored with it: give an .npz with 'labels', a folder with "
            "a folder for each label, or another source with --data; `twist assign` and `twist label` need none"
        )
    left_out = len(images) - len(rows)
    labeled = images.take(rows, split=images.split)
    if 2 * len(rows) < len(images):  # features of the few alone cost less
        labeled = replace(labeled, whole=None, rows=None)
    return labeled, [f"{left_out:,} of the {len(images):,} {role} images have no label and are left out."]


def _held_out(whole: LabeledSet, said: list[str], seed: int, on_progress: Progress | None) -> EvaluationSets:
    rows, asked_rows = hold_out(whole.labels, whole.hashed(on_progress), seed=seed)
    if len(asked_rows) == 0:
        pictures = len(np.unique(whole.hashed(on_progress)))
        same = "" if pictures == len(whole) else f", {pictures} of them different"
        raise ConfigError(
            f"{whole.name} has no test part and {len(whole)} images{same}, for {_num_found(whole.labels)} labels, so "
            "none can be held out: give more images, or the asked ones with --test"
        )
    share = f"{100 * HELD_OUT:.0f} %"
    known = whole.take(rows, split=f"{100 - 100 * HELD_OUT:.0f} % (seed {seed})")
    asked = whole.take(asked_rows, split=f"{share} held out (seed {seed})")
    first = (
        f"{whole.name} has no test part: {len(asked):,} of its {len(whole):,} images, {share} of each label chosen by "
        f"seed {seed}, are asked."
    )
    if missing := _num_found(whole.labels) - _num_found(asked.labels):
        ones = "label has" if missing == 1 else "labels have"
        said = [
            *said,
            f"{missing} {ones} one image, which is known: {'it' if missing == 1 else 'they'} cannot be asked.",
        ]
    known, asked, matched = _match(known, asked)
    return EvaluationSets(known, asked, " ".join([first, *said, *matched]))


def _num_found(labels: Tensor) -> int:
    return len(labels.unique())


def _match(known: LabeledSet, asked: LabeledSet) -> tuple[LabeledSet, LabeledSet, list[str]]:
    """Both sides with the same labels, each of which occurs among the known, and what a person should know of that."""
    said, of_asked = [], asked.labels
    if known.label_names != asked.label_names:
        of_asked, sentences = _in_terms_of(known, asked)
        said += sentences
    found = known.labels.unique()
    if len(found) < 2:
        raise ConfigError(
            f"all known images of {known.name} have the label {known.label_names[int(found[0])]!r}: with one label "
            "there is nothing to tell apart; give images of at least two"
        )
    unknown = ~torch.isin(of_asked, found)
    if unknown.all():
        raise ConfigError(
            f"the labels of {known.name} ({_listed(known, known.labels)}) and of {asked.name} "
            f"({_listed(asked, asked.labels)}) have none in common: name a test source with the same labels"
        )
    if unknown.any():
        left_out = asked.labels[unknown]
        said.append(f"{_counted(left_out)} left out, as no known image has their label ({_listed(asked, left_out)}).")
        rows = (~unknown).nonzero()[:, 0]
        asked, of_asked = asked.take(rows, split=asked.split), of_asked[rows]
    names = [known.label_names[int(label)] for label in found]
    if len(names) < len(known.label_names):
        said.append(
            f"{len(names)} of {len(known.label_names)} labels occur among the known images: labels are numbered anew."
        )
    if names != known.label_names:
        known = known.relabeled(torch.searchsorted(found, known.labels), names)
    if names != asked.label_names or not torch.equal(of_asked, asked.labels):
        asked = asked.relabeled(torch.searchsorted(found, of_asked), names)
    return known, asked, said


def _in_terms_of(known: LabeledSet, asked: LabeledSet) -> tuple[Tensor, list[str]]:
    """The asked images' labels as the known ones number them, -1 where these have no such label."""
    if not (_has_names(known) and _has_names(asked)):
        which = asked.name if _has_names(known) else known.name
        said = [f"{which} has no names of labels, so labels are matched by number."]
        return asked.labels, said if _has_names(known) or _has_names(asked) else []
    number = {name: label for label, name in enumerate(known.label_names)}
    table = torch.tensor([number.get(name, -1) for name in asked.label_names])
    shared = int((table >= 0).sum())
    return table[asked.labels], [f"Labels are matched by name: {shared} are in both sources."]


def _counted(rows: Tensor) -> str:
    return "1 asked image is" if len(rows) == 1 else f"{len(rows):,} asked images are"


def _has_names(images: LabeledSet) -> bool:
    return images.label_names != [str(label) for label in range(images.num_labels)]


def _listed(images: LabeledSet, labels: Tensor) -> str:
    names = [images.label_names[int(label)] for label in labels.unique()]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _with_labels(fingerprint: str, labels: Sequence[int] | Tensor) -> str:
    digest = hashlib.sha256(f"{fingerprint} labels ".encode())
    digest.update(torch.as_tensor(labels).numpy().data)
    return digest.hexdigest()[:16]
