"""Classes through time: which are in use, which images pass between them, which are born, die, split and merge."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twist.runs.columns import column_through_time, read_rows, steps_until, watch_count
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, step_folder

#: A class lives when it holds at least this share of an even share of the images, and at least one.
LIVING_SHARE = 0.1
#: A class splits when at least this share of its images goes into each of several classes …
PART_SHARE = 0.25
#: … and at least this share of the images of each of those comes from it.
FROM_SHARE = 0.5
#: Above this many classes the best matching of every two snapshots would take longer than a look may.
MATCHED_CLASSES = 256


class ClassHistories(NamedTuple):
    """The classes at every snapshot.

    Attributes
    ----------
    steps
        Steps of the snapshots, int64 ``[T]``, ascending.
    usage
        Share of the watch images in each class, ``[T, C]``.
    mean_entropy
        Mean entropy of the images of each class, nats, ``[T, C]``; NaN for a class without images. High in one class
        alone: it is the place for what fits nowhere.
    class_perplexity
        Number of classes in use, ``[T]``: exp of the marginal entropy of the mean distribution. C under a uniform
        collapse too, which uses every class without telling anything apart.
    dead_classes
        Number of classes that no image is assigned to, ``[T]``, NaN where nothing could be read.
    stability
        Share of the images whose class is that of the snapshot before, ``[T]``, NaN at the first. It rises to 1 in a
        healthy run; low while entropies are low, the network is sure of classes that it gives by chance (overconfident
        noise). Chance is 1/C for evenly used classes, 1 for a single one, so read it beside the perplexity.
    matched_stability
        The same after the best one-to-one matching of the classes of both snapshots, ``[T]``, never below
        ``stability``. A class is an output of the head, and keeps its number; but when another head comes to speak, all
        numbers change while the groups remain: stability then drops for one snapshot (0.09 instead of 0.86 on digits,
        four heads) and this does not: with several heads read this one. Its level by
        chance rises with C (0.11 at 10,000 images in ten classes, 0.04 in a hundred, against 0.1 and 0.01). NaN above
        `MATCHED_CLASSES` classes; `ClassFlow.matched_stability` of two snapshots has no such limit.
    agreement
        Mean share of visits in training in which both views of an image fell into one class, ``[T]``; NaN where it was
        not kept. Low: the classes follow the augmentation, not the image.
    damaged
        One sentence for each file that could not be read.
    """

    steps: np.ndarray
    usage: np.ndarray
    mean_entropy: np.ndarray
    class_perplexity: np.ndarray
    dead_classes: np.ndarray
    stability: np.ndarray
    matched_stability: np.ndarray
    agreement: np.ndarray
    damaged: tuple[str, ...]


class ClassFlow(NamedTuple):
    """Where the images of each class went between two snapshots.

    Attributes
    ----------
    earlier_step, later_step
        The two snapshots.
    counts
        Images by earlier class (row) and later class (column), ``[C, C]``.
    born, died
        Classes that live later and did not earlier, and the reverse. A class lives when it holds an image, and at least
        `LIVING_SHARE` of an even share 1/C of them. When another head came to speak in between, one number means two
        classes, and these say nothing: splits and merges still do.
    splits
        For each class that fell into several, those: each took at least `PART_SHARE` of its images, and has at least
        `FROM_SHARE` of its own from it. Images that join a class which is mostly others' are no split.
    merges
        For each class that several flowed into, those: the same definition with the time reversed.
    """

    earlier_step: int
    later_step: int
    counts: np.ndarray
    born: tuple[int, ...]
    died: tuple[int, ...]
    splits: dict[int, tuple[int, ...]]
    merges: dict[int, tuple[int, ...]]

    @property
    def stability(self) -> float:
        """Share of the images that kept their class; NaN without images."""
        return float(np.trace(self.counts) / self.counts.sum()) if self.counts.any() else np.nan

    @property
    def matched_stability(self) -> float:
        """Share of the images that stayed together, whatever their class is called now; NaN without images.

        The best one-to-one matching of earlier and later classes; about a second for 4,096 of them.
        """
        return _matched(self.counts)


def class_histories(record: RunRecord, until: int | None = None) -> ClassHistories:
    """The classes at every snapshot up to the step ``until``; none is all.

    A damaged column spoils its own values alone: they are NaN, and `ClassHistories.damaged` names the file.
    """
    num_classes = record.recipe.network.num_classes
    assigned = column_through_time(record, "assignment", until)
    entropies = column_through_time(record, "sample_entropy", until)
    agreements = column_through_time(record, "agreement", until)
    perplexity, damaged = _class_perplexity(record, assigned.steps, num_classes)
    count = len(assigned.steps)
    usage, mean_entropy = np.full((2, count, num_classes), np.nan)
    stability, matched, agreement = np.full((3, count), np.nan)
    for now, classes in enumerate(assigned.values):
        known = _known(classes, num_classes)
        if known.any():
            held = np.bincount(classes[known], minlength=num_classes)
            total = np.bincount(classes[known], entropies.values[now][known], minlength=num_classes)
            usage[now] = held / known.sum()
            np.divide(total, held, out=mean_entropy[now], where=held > 0)
        if now:
            stability[now] = _same(assigned.values[now - 1], classes, num_classes)
            if num_classes <= MATCHED_CLASSES:
                matched[now] = _matched(_counts(assigned.values[now - 1], classes, num_classes))
        visited = ~np.isnan(agreements.values[now])
        if visited.any():
            agreement[now] = agreements.values[now][visited].mean()
    dead = np.where(np.isnan(usage), np.nan, usage == 0).sum(1)
    damaged = assigned.damaged + entropies.damaged + agreements.damaged + damaged
    return ClassHistories(assigned.steps, usage, mean_entropy, perplexity, dead, stability, matched, agreement, damaged)


def class_flow(record: RunRecord, earlier_step: int, later_step: int) -> ClassFlow:
    """Where the images of each class went from one snapshot to another, and what became of the classes.

    Raises
    ------
    RecordError
        When there is no snapshot at one of the steps, or its assignment is damaged.
    """
    before, after = (_assignment(record, step) for step in (earlier_step, later_step))
    counts = _counts(before, after, record.recipe.network.num_classes)
    lived, lives = _living(counts.sum(1)), _living(counts.sum(0))
    between = counts * np.outer(lived, lives)
    return ClassFlow(
        earlier_step,
        later_step,
        counts,
        born=tuple(np.flatnonzero(lives & ~lived).tolist()),
        died=tuple(np.flatnonzero(lived & ~lives).tolist()),
        splits=_splits(between),
        merges=_splits(between.T),
    )


def stability_at(record: RunRecord, step: int) -> float:
    """Share of the watch images that kept their class since the snapshot before; NaN when one of the two is missing.

    It is `ClassHistories.stability`, and of a run with several heads `ClassHistories.matched_stability`: a healthy one
    falls to chance in the former each time another head comes to speak. It reads two columns and needs no labels.
    """
    steps = steps_until(record, step)
    if len(steps) < 2 or steps[-1] != step:
        return np.nan
    return stability_between(record, steps[-2], step)


def stability_between(record: RunRecord, earlier_step: int, later_step: int) -> float:
    """Share of the watch images that kept their class from one snapshot to another, worked out once in a process.

    As `stability_at`; NaN when one of them is missing or damaged.
    """
    network = record.recipe.network
    folders = [record.path / "snapshots" / step_folder(step) for step in (earlier_step, later_step)]
    try:
        # A run that resumes may write a snapshot again: its time of writing tells the two apart.
        written_ns = tuple((folder / "manifest.json").stat().st_mtime_ns for folder in folders)
        return _kept(record.path.resolve(), *folders, written_ns, network.num_classes, network.num_heads > 1)
    except (RecordError, OSError):
        return np.nan


@functools.lru_cache(maxsize=4_000)
def _kept(
    run: Path, earlier: Path, later: Path, written_ns: tuple[int, ...], num_classes: int, several_heads: bool
) -> float:
    count = watch_count(RunRecord(run))
    before, after = (read_rows(folder / "assignment.npy", 0, count, count) for folder in (earlier, later))
    if several_heads:
        return _matched(_counts(before, after, num_classes))
    return _same(before, after, num_classes)


def classes_followed(assignments: np.ndarray, num_classes: int) -> np.ndarray:
    """Assignments ``[T, M]`` under names that outlast a change of the head: each snapshot's classes get those of the
    classes before that share most images with them, one to one.
    """
    from scipy.optimize import linear_sum_assignment

    names, followed = np.arange(num_classes), assignments.copy()
    for now in range(1, len(assignments)):
        counts = _counts(assignments[now - 1], assignments[now], num_classes)
        before, after = linear_sum_assignment(counts, maximize=True)
        renamed = np.empty_like(names)
        renamed[after] = names[before]
        names = renamed
        followed[now] = names[assignments[now]]
    return followed


def _assignment(record: RunRecord, step: int) -> np.ndarray:
    if step not in record.snapshot_steps():
        raise RecordError(f"run {record.name} has no snapshot at step {step}: give one of its snapshot steps")
    count = watch_count(record)
    return read_rows(record.path / "snapshots" / step_folder(step) / "assignment.npy", 0, count, count)


def _known(classes: np.ndarray, num_classes: int) -> np.ndarray:
    return (classes >= 0) & (classes < num_classes)


def _same(before: np.ndarray, after: np.ndarray, num_classes: int) -> float:
    known = _known(before, num_classes) & _known(after, num_classes)
    return float((before == after)[known].mean()) if known.any() else np.nan


def _counts(before: np.ndarray, after: np.ndarray, num_classes: int) -> np.ndarray:
    known = _known(before, num_classes) & _known(after, num_classes)
    pairs = before[known].astype(np.int64) * num_classes + after[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _matched(counts: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment

    if not counts.any():
        return np.nan
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def _living(held: np.ndarray) -> np.ndarray:
    return held >= max(1, LIVING_SHARE * held.sum() / len(held))


def _splits(counts: np.ndarray) -> dict[int, tuple[int, ...]]:
    enough = counts >= PART_SHARE * counts.sum(1, keepdims=True)
    mostly = counts >= FROM_SHARE * counts.sum(0)
    parts = enough & mostly & (counts > 0)
    return {int(row): tuple(np.flatnonzero(parts[row]).tolist()) for row in np.flatnonzero(parts.sum(1) > 1)}


def _class_perplexity(record: RunRecord, steps: np.ndarray, num_classes: int) -> tuple[np.ndarray, tuple[str, ...]]:
    perplexity, damaged = np.full(len(steps), np.nan), []
    for now, step in enumerate(steps.tolist()):
        path = record.path / "snapshots" / step_folder(step) / "mean_probs.npy"
        try:
            probs = read_rows(path, 0, num_classes, num_classes).astype(np.float64)
        except RecordError as error:
            damaged.append(str(error))
        else:
            perplexity[now] = np.exp(-(probs * np.log(np.where(probs > 0, probs, 1))).sum())
    return perplexity, tuple(damaged)
