"""Classes through time: which are in use, which images pass between them, which are born, die, split and merge."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from twist.runs.columns import Stamped, assignment_path, column_through_time, read_assignment, read_rows, stamped
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, step_folder

#: A class lives when it holds at least this share of an even share of the images, and at least one.
LIVING_SHARE = 0.1
#: A class splits when at least this share of its images goes into each of several classes …
PART_SHARE = 0.25
#: … and at least this share of the images of each of those comes from it.
FROM_SHARE = 0.5
#: With more classes in use than this, the best matching of two snapshots would take longer than a look may: they are
#: matched greedily, the largest flow first, which keeps at least half of what the best would.
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
        chance rises with C (0.11 at 10,000 images in ten classes, 0.04 in a hundred, against 0.1 and 0.01). With more
        than `MATCHED_CLASSES` in use it is a lower bound.
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


class Moves(NamedTuple):
    """Images by the class they had and the class they have: the pairs that occur, of so many that could.

    Attributes
    ----------
    earlier, later
        Classes of each pair, ``[P]``, ascending by the earlier one, then by the later.
    counts
        Images of each pair, ``[P]``, at least 1; those without a class at either time are in none.
    """

    earlier: np.ndarray
    later: np.ndarray
    counts: np.ndarray

    @property
    def stability(self) -> float:
        """Share of the images that kept their class; NaN without images."""
        return float(self.counts[self.earlier == self.later].sum() / self.counts.sum()) if len(self.counts) else np.nan

    @property
    def matched_stability(self) -> float:
        """Share of the images that stayed together, whatever their class is called now; NaN without images.

        That of the best one-to-one matching of earlier and later classes; with more than `MATCHED_CLASSES` in use of a
        greedy one, or of none where that keeps more: a lower bound, at least half of the best.
        """
        if not len(self.counts):
            return np.nan
        return max(float(self.counts[self.matched()].sum() / self.counts.sum()), self.stability)

    def matched(self) -> np.ndarray:
        """Which pairs a one-to-one matching of earlier and later classes keeps: each class is in one of them at most.

        It keeps as many images as can be; with more than `MATCHED_CLASSES` in use it is greedy.
        """
        from scipy.optimize import linear_sum_assignment

        if not len(self.counts):
            return np.zeros(0, int)
        rows, columns = (np.unique(classes, return_inverse=True)[1] for classes in (self.earlier, self.later))
        shape = rows.max() + 1, columns.max() + 1
        if max(shape) > MATCHED_CLASSES:
            return self._greedy()
        table, pair = np.zeros(shape, int), np.full(shape, -1)
        table[rows, columns], pair[rows, columns] = self.counts, np.arange(len(self.counts))
        kept = pair[linear_sum_assignment(table, maximize=True)]
        return kept[kept >= 0]

    def _greedy(self) -> np.ndarray:
        kept, left, reached = [], set(), set()
        earlier, later = self.earlier.tolist(), self.later.tolist()
        for pair in np.argsort(-self.counts, kind="stable").tolist():
            if earlier[pair] not in left and later[pair] not in reached:
                left.add(earlier[pair])
                reached.add(later[pair])
                kept.append(pair)
        return np.array(kept, int)


class ClassFlow(NamedTuple):
    """Where the images of each class went between two snapshots.

    Attributes
    ----------
    earlier_step, later_step
        The two snapshots.
    moves
        Images by earlier and later class.
    born, died
        Classes that live later and did not earlier, and the reverse, see `living`. When another head came to speak in
        between, one number means two classes, and these say nothing: splits and merges still do.
    splits
        For each class that fell into several, those: each took at least `PART_SHARE` of its images, and has at least
        `FROM_SHARE` of its own from it. Images that join a class which is mostly others' are no split.
    merges
        For each class that several flowed into, those: the same definition with the time reversed.
    """

    earlier_step: int
    later_step: int
    moves: Moves
    born: tuple[int, ...]
    died: tuple[int, ...]
    splits: dict[int, tuple[int, ...]]
    merges: dict[int, tuple[int, ...]]


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
        if len(classes) and classes[0] >= 0:  # one that cannot be read is -1 throughout
            held = np.bincount(classes, minlength=num_classes)
            total = np.bincount(classes, entropies.values[now], minlength=num_classes)
            usage[now] = held / len(classes)
            np.divide(total, held, out=mean_entropy[now], where=held > 0)
        if now:
            moves = moves_between(assigned.values[now - 1], classes)
            stability[now], matched[now] = moves.stability, moves.matched_stability
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
    num_classes = record.recipe.network.num_classes
    for step in (earlier_step, later_step):
        if step not in record.snapshot_steps():
            raise RecordError(f"run {record.name} has no snapshot at step {step}: give one of its snapshot steps")
    earlier, later = (stamped(assignment_path(record, step)) for step in (earlier_step, later_step))
    return flow_of(_moves(earlier, later, num_classes), num_classes, earlier_step, later_step)


def flow_of(moves: Moves, num_classes: int, earlier_step: int, later_step: int) -> ClassFlow:
    """What became of the classes, from the moves of the images alone."""
    lived, lives = (
        living(np.bincount(classes, moves.counts, num_classes) / max(1, moves.counts.sum()))
        for classes in (moves.earlier, moves.later)
    )
    between = Moves(*(part[lived[moves.earlier] & lives[moves.later]] for part in moves))
    return ClassFlow(
        earlier_step,
        later_step,
        moves,
        born=tuple(np.flatnonzero(lives & ~lived).tolist()),
        died=tuple(np.flatnonzero(lived & ~lives).tolist()),
        splits=_splits(between.earlier, between.later, between.counts),
        merges=_splits(between.later, between.earlier, between.counts),
    )


def living(usage: np.ndarray) -> np.ndarray:
    """Which classes live, from the share of the images in each, ``[..., C]``: from `LIVING_SHARE` of an even share on.

    Examples
    --------
    >>> living(np.array([0.0, 0.02, 0.03, 0.95]))
    array([False, False,  True,  True])
    """
    return usage >= LIVING_SHARE / usage.shape[-1]


def stability_between(record: RunRecord, earlier_step: int, later_step: int) -> float:
    """Share of the watch images that kept their class from one snapshot to another, worked out once in a process.

    It is `Moves.stability`, and of a run with several heads `Moves.matched_stability`: a healthy one falls to chance in
    the former each time another head comes to speak. It reads the two assignments alone. NaN when one of them is
    missing or damaged.
    """
    network = record.recipe.network
    try:
        earlier, later = (stamped(assignment_path(record, step)) for step in (earlier_step, later_step))
        return _kept(earlier, later, network.num_classes, network.num_heads > 1)
    except RecordError:
        return np.nan


@functools.lru_cache(maxsize=4_000)
def _kept(earlier: Stamped, later: Stamped, num_classes: int, several_heads: bool) -> float:
    moves = _moves(earlier, later, num_classes)
    return moves.matched_stability if several_heads else moves.stability


def classes_followed(assignments: np.ndarray, num_classes: int) -> np.ndarray:
    """Assignments ``[T, M]``, each from 0 to C - 1, under names that outlast a change of the head.

    Each snapshot's classes get the names of those of the snapshot before that `Moves.matched` matches with them; what
    is left gets the names that are left.
    """
    names = names_followed(assignments, num_classes)
    return np.take_along_axis(names, assignments.astype(np.int64), 1).astype(assignments.dtype)


def names_followed(assignments: np.ndarray, num_classes: int) -> np.ndarray:
    """The name of every class at every snapshot, ``[T, C]``, each row a permutation: see `classes_followed`."""
    names = np.arange(num_classes)
    through_time = [names]
    for now in range(1, len(assignments)):
        moves = moves_between(assignments[now - 1], assignments[now])
        kept = moves.matched()
        renamed, unnamed = np.empty_like(names), np.ones(num_classes, bool)
        renamed[moves.later[kept]] = names[moves.earlier[kept]]
        unnamed[moves.later[kept]] = False
        renamed[unnamed] = np.setdiff1d(names, names[moves.earlier[kept]])
        names = renamed
        through_time.append(names)
    return np.stack(through_time)


def moves_between(before: np.ndarray, after: np.ndarray) -> Moves:
    """How images ``[M]`` moved from class to class; -1 is no class."""
    known = (before >= 0) & (after >= 0)
    width = after.max(initial=0) + 1
    pairs, counts = np.unique(before[known].astype(np.int64) * width + after[known], return_counts=True)
    return Moves(pairs // width, pairs % width, counts)


def _moves(earlier: Stamped, later: Stamped, num_classes: int) -> Moves:
    before, after = (read_assignment(file.path, num_classes) for file in (earlier, later))
    if len(before) != len(after):
        raise RecordError(f"two snapshots have classes of {len(before)} and of {len(after)} images: one is damaged")
    return moves_between(before, after)


def _splits(sources: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> dict[int, tuple[int, ...]]:
    enough = counts >= PART_SHARE * np.bincount(sources, counts)[sources]
    parts = enough & (counts >= FROM_SHARE * np.bincount(targets, counts)[targets])
    into: dict[int, list[int]] = {}
    for source, target in zip(sources[parts].tolist(), targets[parts].tolist(), strict=True):
        into.setdefault(source, []).append(target)
    return {source: tuple(several) for source, several in sorted(into.items()) if len(several) > 1}


def _class_perplexity(record: RunRecord, steps: np.ndarray, num_classes: int) -> tuple[np.ndarray, tuple[str, ...]]:
    perplexity, damaged = np.full(len(steps), np.nan), []
    for now, step in enumerate(steps.tolist()):
        path = record.path / "snapshots" / step_folder(step) / "mean_probs.npy"
        try:
            probs = read_rows(path, np.float32, count=num_classes).astype(np.float64)
        except RecordError as error:
            damaged.append(str(error))
        else:
            perplexity[now] = np.exp(-(probs * np.log(np.where(probs > 0, probs, 1))).sum())
    return perplexity, tuple(damaged)
