"""Two runs beside each other: where their recipes differ, and where their classes of the same images do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from twist.runs.class_histories import moves_between
from twist.runs.config import ConfigError, Recipe, field_help, field_names, field_value
from twist.runs.record import RunRecord, Snapshot
from twist.runs.sheets import ContactSheets, thumbnails_of
from twist.runs.store import RecordError
from twist.runs.watched import Watch

#: Thumbnails looked at to tell whether two runs watch the same images, where no fingerprint says so.
_LOOKED_AT = 400
#: Mean difference of two thumbnails of one image, of 255: JPEG sheets of other neighbors stay below.
_SAME_WITHIN = 8.0


class Difference(NamedTuple):
    """A field of the recipe that is not the same in all runs.

    Attributes
    ----------
    field
        Its dotted name.
    values
        Its value in each run.
    sentence
        What the field means.
    """

    field: str
    values: tuple[Any, ...]
    sentence: str


def recipe_differences(recipes: Sequence[Recipe]) -> list[Difference]:
    """The fields in which recipes differ, in reading order; empty for one recipe, or equal ones.

    Examples
    --------
    >>> one = Recipe()
    >>> [(d.field, d.values) for d in recipe_differences([one, one.replace(seed=3)])]
    [('seed', (0, 3))]
    """
    found = []
    for name in field_names():
        values = tuple(field_value(recipe, name) for recipe in recipes)
        if any(value != values[0] for value in values[1:]):
            found.append(Difference(name, values, field_help(name)))
    return found


class SharedImages(NamedTuple):
    """Images that two runs both watch.

    Attributes
    ----------
    first, second
        Row of each image among the watch images of the first and of the second run, int64 ``[M]``.
    sentence
        How many they are, and how it is known that they are the same.
    """

    first: np.ndarray
    second: np.ndarray
    sentence: str


def shared_images(first: RunRecord, second: RunRecord) -> SharedImages:
    """The images that two runs both watch: of one number in sets of one fingerprint, or with the same thumbnail.

    Raises
    ------
    RecordError
        When a run watches none, or the images are others: says why they cannot be held against each other.
    """
    watches = []
    for record in (first, second):
        watch = record.watch()
        if watch is None:
            raise RecordError(f"{record.name} has no watch images yet: nothing can be compared image by image")
        watches.append(watch)
    one, two = (np.asarray(watch.sample_ids) for watch in watches)
    ids, rows, others = np.intersect1d(one, two, return_indices=True)
    names = f"{first.name} and {second.name}"
    if not len(ids):
        raise RecordError(f"{names} have no watch image in common: they watch other parts of their sets")
    counted = f"{len(ids):,} images that both watch"
    if len(ids) < max(map(len, watches)):
        counted += f", of {len(watches[0]):,} and {len(watches[1]):,}"
    prints = [record.images_fingerprint for record in (first, second)]
    if prints[0] is not None and prints[0] == prints[1]:
        return SharedImages(rows, others, f"{counted}; both runs look at the set {prints[0]}.")
    looked_at = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _LOOKED_AT)).astype(int))
    other = _other_thumbnails(watches, [rows[looked_at], others[looked_at]])
    if other is None:
        raise RecordError(
            f"{names} learned from other sets, and their thumbnails have other sizes: "
            "whether they show the same images cannot be told"
        )
    if other > 0.01 * len(looked_at):
        raise RecordError(
            f"{names} watch other images: of {len(looked_at):,} with the same number, {other:,} look different, "
            "so their classes cannot be held against each other"
        )
    how = "their thumbnails are the same, though the sets differ in size or are not named by a fingerprint"
    return SharedImages(rows, others, f"{counted}; {how}.")


def _other_thumbnails(watches: Sequence[Watch], rows: Sequence[np.ndarray]) -> int | None:
    """How many pairs of thumbnails look different; None where their sizes do."""
    one, two = (
        thumbnails_of(ContactSheets.of(watch), chosen).astype(np.float32)
        for watch, chosen in zip(watches, rows, strict=True)
    )
    if one.shape != two.shape:
        return None
    return int((np.abs(one - two).mean((1, 2, 3)) > _SAME_WITHIN).sum())


class BestMatch(NamedTuple):
    """For each class of a run, the class of the other that shares most with it.

    Attributes
    ----------
    classes
        That class, ``[C]``; -1 for a class without images.
    share
        Share of the class's images that are in it, 0 to 1; NaN without images.
    overlap
        Images in both classes by images in either, 0 to 1: 1 where they are the same group.
    """

    classes: np.ndarray
    share: np.ndarray
    overlap: np.ndarray


class Comparison(NamedTuple):
    """What two runs say of the same images.

    Attributes
    ----------
    names, steps
        Names of the runs, and steps of the snapshots compared.
    images
        The images.
    table
        Number of images by class of the first run and class of the second, int64 ``[C, K]``.
    partner
        Class of the second run that is matched with each of the first, ``[C]``, -1 for none: found one to one, so that
        most images agree (with more than 256 classes greedily).
    agreement
        Share of the images whose two classes are matched, 0 to 1.
    nmi, ari
        Normalized mutual information (arithmetic mean) and adjusted Rand index of the two assignments: 1 for the same
        groups under whatever names; the latter is near 0 by chance.
    order
        Used classes of the first run, the largest first, and of the second, matched ones in the order of their
        partners: agreement stands on the diagonal of ``table[np.ix_(*order)]``.
    best
        Best match of each class of the first run, and of each of the second.
    disagreement
        How far the two distributions of each image lie apart, ``[M]``, 0 to 1: total variation of the likeliest classes
        after matching. 1 where both are sure, of classes that are not matched.
    """

    names: tuple[str, str]
    steps: tuple[int, int]
    images: SharedImages
    table: np.ndarray
    partner: np.ndarray
    agreement: float
    nmi: float
    ari: float
    order: tuple[np.ndarray, np.ndarray]
    best: tuple[BestMatch, BestMatch]
    disagreement: np.ndarray

    @property
    def sentence(self) -> str:
        """How far the two runs agree, in words."""
        return (
            f"{100 * self.agreement:.1f} % of the images are in matched classes (NMI {self.nmi:.3f}, "
            f"ARI {self.ari:.3f}); {len(self.order[0])} classes of {self.names[0]} and {len(self.order[1])} of "
            f"{self.names[1]} are in use."
        )


def compare(
    first: RunRecord, second: RunRecord, *, steps: tuple[int | None, int | None] = (None, None)
) -> tuple[Comparison, tuple[Snapshot, Snapshot]]:
    """Hold the classes of two runs against each other, image by image; none as a step means the newest snapshot.

    Raises
    ------
    ConfigError
        When both are one run.
    RecordError
        When one has no snapshot, or the images are others.
    """
    if first.path.resolve() == second.path.resolve():
        raise ConfigError(f"{first.name} is given twice: compare it with another run")
    snapshots = first.snapshot(steps[0]), second.snapshot(steps[1])
    images = shared_images(first, second)
    a, b = (
        np.asarray(snapshot.assignment)[rows].astype(np.int64)
        for snapshot, rows in zip(snapshots, images[:2], strict=True)
    )
    sizes = snapshots[0].num_classes, snapshots[1].num_classes
    table = np.bincount(a * sizes[1] + b, minlength=sizes[0] * sizes[1]).reshape(sizes)
    moves = moves_between(a, b)
    kept = moves.matched()
    partner = np.full(sizes[0], -1)
    partner[moves.earlier[kept]] = moves.later[kept]
    found = Comparison(
        names=(first.name, second.name),
        steps=(int(snapshots[0].step), int(snapshots[1].step)),
        images=images,
        table=table,
        partner=partner,
        agreement=float((partner[a] == b).mean()),
        nmi=normalized_mutual_information(table),
        ari=adjusted_rand_index(table),
        order=_order(table, partner),
        best=(_best(table), _best(table.T)),
        disagreement=_disagreement(snapshots, images, partner),
    )
    return found, snapshots


def normalized_mutual_information(table: np.ndarray) -> float:
    """Mutual information of two assignments by the mean of their entropies, from their counts; 1 where both are 0.

    Examples
    --------
    >>> normalized_mutual_information(np.array([[5, 0], [0, 5]]))
    1.0
    """
    joint = table / table.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    entropies = [float(-(p[p > 0] * np.log(p[p > 0])).sum()) for p in (rows, columns, joint.ravel())]
    mean = (entropies[0] + entropies[1]) / 2
    if mean < 1e-12:
        return 1.0
    return float(np.clip((entropies[0] + entropies[1] - entropies[2]) / mean, 0, 1))


def adjusted_rand_index(table: np.ndarray) -> float:
    """Adjusted Rand index of two assignments from their table of counts: 1 for the same groups, near 0 by chance.

    Examples
    --------
    >>> adjusted_rand_index(np.array([[5, 0], [0, 5]]))
    1.0
    """
    pairs = [float((n * (n - 1.0) / 2).sum()) for n in (table, table.sum(1), table.sum(0))]
    count = float(table.sum())
    every = count * (count - 1) / 2
    expected = pairs[1] * pairs[2] / every if every else 0.0
    most = (pairs[1] + pairs[2]) / 2
    return 1.0 if most == expected else (pairs[0] - expected) / (most - expected)


def _order(table: np.ndarray, partner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.argsort(-table.sum(1), kind="stable")
    rows = rows[table.sum(1)[rows] > 0]
    matched = partner[rows][partner[rows] >= 0]
    columns = np.argsort(-table.sum(0), kind="stable")
    rest = [column for column in columns if table[:, column].any() and column not in set(matched.tolist())]
    # Rows without a partner come last, so that the diagonal is that of a square.
    rows = np.concatenate([rows[partner[rows] >= 0], rows[partner[rows] < 0]])
    return rows, np.concatenate([matched, np.array(rest, matched.dtype)])


def _best(table: np.ndarray) -> BestMatch:
    held, other = table.sum(1), table.sum(0)
    classes = table.argmax(1)
    both = table[np.arange(len(table)), classes]
    with np.errstate(invalid="ignore"):
        share, overlap = both / held, both / (held + other[classes] - both)
    return BestMatch(np.where(held > 0, classes, -1), share, np.where(held > 0, overlap, np.nan))


def _disagreement(snapshots: tuple[Snapshot, Snapshot], images: SharedImages, partner: np.ndarray) -> np.ndarray:
    one, two = snapshots
    second = two.num_classes
    named = np.where(partner >= 0, partner, second + np.arange(len(partner)))  # unmatched classes meet nothing
    classes = [named[np.asarray(one.top_classes)[images.first]], np.asarray(two.top_classes)[images.second]]
    probs = [np.asarray(one.top_probs)[images.first], np.asarray(two.top_probs)[images.second]]
    shared = np.zeros(len(images.first))
    for k in range(classes[0].shape[1]):
        same = classes[1] == classes[0][:, k, None]
        shared += np.minimum(probs[0][:, k, None], probs[1] * same).max(1)
    rest = np.minimum(*(np.clip(1 - p.sum(1), 0, 1) for p in probs))  # what neither says more of may be the same
    return np.clip(1 - shared - rest, 0, 1).astype(np.float32)
