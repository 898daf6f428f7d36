"""Whether the classes follow the light instead of the content: assignments against low-level image statistics."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twist.runs.record import Watch

#: Fewest and most quantile bins of a statistic, and fewest images in one: as many bins as classes where images allow.
FEWEST_BINS, MOST_BINS, BIN_IMAGES = 10, 100, 10
#: Classes of fewer images than this are no offenders: half of them may lie together by chance.
OFFENDER_IMAGES = 10
#: From this purity on a class is an offender, and at most this many are named.
OFFENDER_PURITY, MOST_OFFENDERS = 0.5, 10
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ImageStatistics(NamedTuple):
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
    strongest
        The statistic that explains most.
    offenders
        Classes that crowd most into a range of that statistic, purest first; those of at least `OFFENDER_IMAGES`
        images and a purity of `OFFENDER_PURITY`, at most `MOST_OFFENDERS`.
    """

    explained: dict[str, float]
    strongest: str
    offenders: tuple[Offender, ...]


def image_statistics(watch: Watch) -> ImageStatistics:
    """Brightness, contrast, blur and mean color of the watch images, read once in the life of a process.

    Raises
    ------
    RecordError
        When a contact sheet is missing or damaged.
    """
    written_ns = tuple(path.stat().st_mtime_ns for path in watch.sheets)
    return _statistics(tuple(watch.sheets), written_ns, watch.tile, watch.columns, watch.per_sheet, len(watch))


def shortcut(assignment: np.ndarray, statistics: ImageStatistics, num_classes: int) -> Shortcut:
    """How much of an assignment each statistic explains, and the classes that show it.

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
        raise ValueError(
            f"the assignment has shape {classes.shape}, the statistics are of {len(statistics.values)} images"
        )
    known = np.flatnonzero((classes >= 0) & (classes < num_classes))
    classes = classes[known].astype(np.int64)
    explained = {
        name: _explained(classes, _binned(values, num_classes), num_classes)
        for name, values in zip(statistics.names, statistics.values[known].T, strict=True)
    }
    strongest = max(explained, key=lambda name: explained[name])
    values = statistics.values[known, statistics.names.index(strongest)]
    return Shortcut(explained, strongest, _offenders(classes, values, known, num_classes))


def _binned(values: np.ndarray, num_classes: int) -> np.ndarray:
    """Quantile bin of each value: equal bins lose least and ask nothing of the scale; equal values stay together.

    Fewer bins than classes could not tell the classes apart, and a perfect shortcut would look weak.
    """
    bins = int(np.clip(num_classes, FEWEST_BINS, MOST_BINS))
    bins = max(2, min(bins, len(values) // BIN_IMAGES))
    edges = np.quantile(values, np.arange(1, bins) / bins) if len(values) else []
    return np.searchsorted(edges, values, side="right")


def _explained(classes: np.ndarray, bins: np.ndarray, num_classes: int) -> float:
    from scipy.special import entr
    from sklearn.metrics.cluster import expected_mutual_information

    if not len(classes):
        return 0.0
    width = bins.max() + 1
    table = np.bincount(classes * width + bins, minlength=num_classes * width).reshape(num_classes, width)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    shares = table / len(classes)
    entropy = entr(shares.sum(1)).sum()
    information = entropy + entr(shares.sum(0)).sum() - entr(shares).sum()
    chance = expected_mutual_information(table, len(classes))
    if entropy - chance < 1e-9:  # one class, or every image a class of its own: nothing is left to explain
        return 0.0
    return float(np.clip((information - chance) / (entropy - chance), 0, 1))


def _offenders(classes: np.ndarray, values: np.ndarray, rows: np.ndarray, num_classes: int) -> tuple[Offender, ...]:
    order = np.argsort(values, kind="stable")
    ordered, found = values[order], []
    for index in range(num_classes):
        members = order[classes[order] == index]
        if len(members) < OFFENDER_IMAGES:
            continue
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
def _statistics(
    sheets: tuple[Path, ...], written_ns: tuple[int, ...], tile: int, columns: int, per_sheet: int, count: int
) -> ImageStatistics:
    color, values = False, []
    for tiles in _tiles(sheets, tile, columns, per_sheet, count):
        color = tiles.shape[-1] == 3
        values.append(_of_images(tiles))
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


def _tiles(sheets: tuple[Path, ...], tile: int, columns: int, per_sheet: int, count: int) -> Iterator[np.ndarray]:
    """The thumbnails of one contact sheet after the other, float32 ``[N, tile, tile, channels]``, 0 to 1."""
    from PIL import Image

    for number, path in enumerate(sheets):
        with Image.open(path) as sheet:
            pixels = np.asarray(sheet, np.float32) / 255
        grid = pixels.reshape(pixels.shape[0] // tile, tile, columns, tile, -1).swapaxes(1, 2)
        yield grid.reshape(-1, tile, tile, grid.shape[-1])[: min(per_sheet, count - number * per_sheet)]
