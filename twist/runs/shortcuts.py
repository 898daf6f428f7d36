"""Whether the classes follow the light instead of the content: assignments against low-level image statistics."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twist.runs.columns import Stamped, assignment_path, read_assignment, stamped
from twist.runs.record import RunRecord
from twist.runs.sheets import ContactSheets
from twist.runs.store import RecordError
from twist.runs.watched import Watch

#: Boxes into which images are sorted, a power of two: at most so many, and so many images in each on the average.
MOST_BOXES, BOX_IMAGES = 128, 10
#: Classes of fewer images than this are no offenders: half of them may lie together by chance.
OFFENDER_IMAGES = 10
#: From this purity on a class is an offender, and at most this many are named.
OFFENDER_PURITY, MOST_OFFENDERS = 0.5, 10
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)  # equal to itself alone, and so a key for what was worked out from it
class ImageStatistics:
    """Low-level statistics of the watch images, from their thumbnails.

    Attributes
    ----------
    names
        ``brightness`` (mean luma, 0 to 1), ``contrast`` (its standard deviation), ``blur`` (variance of its Laplacian:
        *low* is blurred), and of color images ``red-green`` (mean of R - G, -1 to 1) and ``blue-yellow`` (mean of B
        less the mean of R and G, -1 to 1).
    values
        float32 ``[M, K]``.
    """

    names: tuple[str, ...]
    values: np.ndarray

    @functools.cached_property
    def boxes(self) -> np.ndarray:
        """Box of each image by each statistic, and in the last column by all of them, ``[M, K + 1]``.

        Of one statistic they are its quantiles: they ask nothing of its scale, and equal values stay together.
        """
        ranks = np.stack([_ranks(column) for column in self.values.T], 1)
        boxes = min(MOST_BOXES, 2 ** int(math.log2(max(2, len(ranks) // BOX_IMAGES))))
        alone = [_boxes(ranks[:, [column]], boxes) for column in range(len(self.names))]
        return np.stack([*alone, _boxes(ranks, boxes)], 1)


class Offender(NamedTuple):
    """A class whose images crowd into a narrow range of a statistic.

    Attributes
    ----------
    class_index
        The class.
    low, high
        The range of the statistic that holds half of its images and the fewest others.
    purity
        Share of the class among all images in that range, 0 to 1; its usage by chance, near 1 when the range defines
        it.
    samples
        Rows of its images in that range.
    """

    class_index: int
    low: float
    high: float
    purity: float
    samples: np.ndarray


class Shortcut(NamedTuple):
    """How much of an assignment low-level statistics explain.

    Attributes
    ----------
    explained
        By statistic, the share of the assignment's entropy that it explains: their mutual information less what chance
        gives, over the entropy less the same; 0 (chance) to 1 (the statistic alone decides the class). One class is 0.
        Images fall into at most `MOST_BOXES` quantiles, so that with C classes evenly in use it stays below
        log(128) / log C.
    together
        The same of all statistics at once, in coarser steps of each: it sees a mean color that no single one shows.
    strongest
        The statistic that explains most.
    offenders
        Classes that crowd most into a range of that statistic, purest first; those of at least `OFFENDER_IMAGES`
        images and a purity of `OFFENDER_PURITY`, at most `MOST_OFFENDERS`.
    """

    explained: dict[str, float]
    together: float
    strongest: str
    offenders: tuple[Offender, ...]


def image_statistics(watch: Watch) -> ImageStatistics:
    """Brightness, contrast, blur and mean color of the watch images, read once in the life of a process.

    Raises
    ------
    RecordError
        When a contact sheet is missing or damaged, or they are not what the manifest says.
    """
    return _statistics(ContactSheets.of(watch))


def shortcut(assignment: np.ndarray, statistics: ImageStatistics, num_classes: int) -> Shortcut:
    """How much of an assignment each statistic explains, and the classes that show it.

    Content goes with light to some degree, so a healthy run is not at 0. What the true labels share with the strongest
    statistic, and with all together: 0.14 and 0.22 on digits, 0.16 and 0.30 on Fashion-MNIST, 0.10 and 0.16 on
    CIFAR-10. What k-means on the mean color shares: 0.99 and 0.68, 0.99 and 0.69, 0.62 and 0.46 in ten classes; on
    CIFAR-10 in a hundred classes 0.44 and 0.36. Above 0.35 alone, or 0.45 together, it is a shortcut.

    Parameters
    ----------
    assignment
        Class of each image, ``[M]``; images of class -1 are left out.
    statistics
        Of the same images.
    num_classes
        Number of classes C.

    Raises
    ------
    ValueError
        When the assignment and the statistics are of different images.
    """
    classes = np.asarray(assignment)
    if classes.shape != (len(statistics.values),):
        images = len(statistics.values)
        raise ValueError(f"the assignment has shape {classes.shape}, but the statistics are of {images} images")
    known = np.flatnonzero((classes >= 0) & (classes < num_classes))
    classes = classes[known].astype(np.int64)
    *alone, together = (_explained(classes, boxes) for boxes in statistics.boxes[known].T)
    explained = dict(zip(statistics.names, alone, strict=True))
    strongest = max(explained, key=lambda name: explained[name])
    values = statistics.values[known, statistics.names.index(strongest)]
    return Shortcut(explained, together, strongest, _offenders(classes, values, known))


def shortcut_at(record: RunRecord, step: int) -> Shortcut | None:
    """The `shortcut` of one snapshot, worked out once in the life of a process.

    Returns
    -------
    Shortcut or None
        None when there is no such snapshot, or its assignment or the thumbnails cannot be read.
    """
    if step not in record.snapshot_steps():
        return None
    try:
        if (watch := record.watch()) is None:
            return None
        assigned = stamped(assignment_path(record, step))
        return _shortcut_of(assigned, image_statistics(watch), record.recipe.network.num_classes)
    except RecordError:
        return None


@functools.lru_cache(maxsize=1_000)
def _shortcut_of(assigned: Stamped, statistics: ImageStatistics, num_classes: int) -> Shortcut:
    assignment = read_assignment(assigned.path, num_classes)
    if len(assignment) != len(statistics.values):
        raise RecordError(f"{len(assignment)} images have a class, but there are {len(statistics.values)} thumbnails")
    return shortcut(assignment, statistics, num_classes)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Place of each value among all of them; equal ones share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[which]


def _boxes(ranks: np.ndarray, boxes: int) -> np.ndarray:
    """Box of each image, from ranks ``[N, K]``: halved along their widest statistic, again and again."""
    box = np.zeros(len(ranks), np.int64)
    spread = np.ptp(ranks, axis=0) if len(ranks) else np.zeros(1)
    if boxes < 2 or not spread.any():
        return box
    values = ranks[:, spread.argmax()]
    middle = np.median(values)
    upper = values > middle if values.max() > middle else values == middle
    box[~upper] = _boxes(ranks[~upper], boxes // 2)
    box[upper] = boxes // 2 + _boxes(ranks[upper], boxes // 2)
    return box


def _explained(classes: np.ndarray, boxes: np.ndarray) -> float:
    if not len(classes):
        return 0.0
    used, rows = np.unique(classes, return_inverse=True)  # of ten thousand classes most may be empty
    width = boxes.max() + 1
    table = np.bincount(rows * width + boxes, minlength=len(used) * width).reshape(len(used), width)
    shares = table / len(classes)
    entropy = _entropy(shares.sum(1))
    information = entropy + _entropy(shares.sum(0)) - _entropy(shares)
    chance = _chance(table.sum(1), table.sum(0))
    if entropy - chance < 1e-9:  # one class, or every image a class of its own: nothing is left to explain
        return 0.0
    return float(np.clip((information - chance) / (entropy - chance), 0, 1))


def _entropy(shares: np.ndarray) -> float:
    held = shares[shares > 0]
    return float(-(held * np.log(held)).sum())


def _chance(rows: np.ndarray, columns: np.ndarray) -> float:
    """Mutual information, nats, that two groupings of these sizes share on the average when they know nothing.

    A sum over all pairs of groups of what a hypergeometric overlap gives (Vinh, Epps and Bailey 2010, JMLR 11). It
    depends on the sizes alone, and boxes have few different ones: each pair of sizes is worked out once.
    """
    total, expected = int(rows.sum()), 0.0
    different, times = np.unique(rows[rows > 0], return_counts=True)
    sizes = different[:, None]
    log_factorial = np.concatenate([[0.0], np.log(np.arange(1, total + 1)).cumsum()])
    for size, many in zip(*np.unique(columns[columns > 0], return_counts=True), strict=True):
        shared = np.arange(1, min(size, sizes.max()) + 1)
        neither = total - sizes - size + shared
        possible = (shared <= sizes) & (neither >= 0)
        ways = log_factorial[size] - log_factorial[shared] - log_factorial[size - shared]
        ways = ways + log_factorial[total - size] - log_factorial[np.where(possible, sizes - shared, 0)]
        ways = ways - log_factorial[np.where(possible, neither, 0)]
        all_ways = log_factorial[total] - log_factorial[sizes] - log_factorial[total - sizes]
        chances = np.exp(np.where(possible, ways - all_ways, -np.inf))
        expected += many * (times @ (chances * shared / total * np.log(total * shared / (sizes * size))).sum(1))
    return float(expected)


def _offenders(classes: np.ndarray, values: np.ndarray, rows: np.ndarray) -> tuple[Offender, ...]:
    order = np.argsort(values, kind="stable")
    ordered, found = values[order], []
    for index in np.flatnonzero(np.bincount(classes) >= OFFENDER_IMAGES).tolist():
        members = order[classes[order] == index]
        half = math.ceil(len(members) / 2)
        own = values[members]
        lows, highs = own[: len(own) - half + 1], own[half - 1 :]
        inside = np.searchsorted(ordered, highs, side="right") - np.searchsorted(ordered, lows, side="left")
        first = int(inside.argmin())
        low, high = float(lows[first]), float(highs[first])
        samples = members[(own >= low) & (own <= high)]
        purity = len(samples) / int(inside[first])
        if purity >= OFFENDER_PURITY:
            found.append(Offender(index, low, high, purity, np.sort(rows[samples])))
    found.sort(key=lambda offender: -offender.purity)
    return tuple(found[:MOST_OFFENDERS])


@functools.lru_cache(maxsize=16)
def _statistics(sheets: ContactSheets) -> ImageStatistics:
    color, values = False, []
    for tiles in sheets.tiles():
        color = tiles.shape[-1] == 3
        values.append(_of_images(tiles / np.float32(255)))
    if len({part.shape[1] for part in values}) > 1:
        raise RecordError("some contact sheets of watch are gray and some in color: they are of several runs")
    names = ("brightness", "contrast", "blur") + (("red-green", "blue-yellow") if color else ())
    return ImageStatistics(names, np.concatenate(values) if values else np.zeros((0, len(names)), np.float32))


def _of_images(images: np.ndarray) -> np.ndarray:
    """Statistics of images ``[N, H, W, 1 or 3]``, values 0 to 1, as `ImageStatistics` lists them."""
    color = images.shape[-1] == 3
    luma = images @ _LUMA if color else images[..., 0]
    padded = np.pad(luma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:], padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    laplacian = across + down - 4 * luma
    found = [luma.mean((1, 2)), luma.std((1, 2)), laplacian.var((1, 2))]
    if color:
        red, green, blue = images.mean((1, 2)).T
        found += [red - green, blue - (red + green) / 2]
    return np.stack(found, 1)
