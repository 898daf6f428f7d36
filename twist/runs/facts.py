"""What the verdict looks at: the numbers of a run's record up to one step, as a person would read them off."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twist.runs import bounds
from twist.runs.attempts import attempt_folder, last_attempt
from twist.runs.class_histories import stability_between
from twist.runs.config import Recipe
from twist.runs.record import EPOCH_SAMPLES, RunRecord, epoch_file
from twist.runs.shortcuts import Shortcut, image_statistics, shortcut_at
from twist.runs.store import RecordError, read_json
from twist.runs.turns import acted_by, newest_values, turns_of, with_turns

LOSS_TERMS = ("train/total", "train/consistency", "train/sharpness", "train/diversity")
ENDS_A_RUN = (*LOSS_TERMS, "train/gradient_norm", "train/extra")
# Numbers are medians over this last share of the steps: one odd batch decides nothing.
WINDOW_SHARE = 0.1
# What visits between two snapshots agreed on stands for now when they are of the last steps, this share of all of them,
# and of so many images: more than a few batches hold.
FRESH_SHARE, ENOUGH_VISITED = 0.5, 100
STABILITY_TIMES = 3
# Fewer watch images than this say nothing of classes: the numbers made from them are left out.
FEWEST_WATCHED = 10


@dataclass(frozen=True)
class Facts:
    """A run at one step; entropies in nats, NaN where nothing was recorded.

    Attributes
    ----------
    step, total_steps, warmup_steps
        Where the run is; of how many steps, None before the first start; how many of them warm up.
    end_reason
        Why the newest attempt ended; None while it goes on, and for a step before the newest.
    recipe, num_classes, batch_size, num_watch
        What was asked for: C, N, and the number of watch images.
    top, cap, floor
        Reference lines: entropy of the uniform distribution as the loss sees it, cap of the mutual information, least
        sharpness behind the final norm.
    consistency, sharpness, diversity, row_std, live_classes, largest_share
        Medians of the training batches over the last tenth of the steps.
    agreement
        Share of images whose two views fall into one class: of all their visits in training between the last two
        snapshots where those are fresh, else the median of the batches, which hold few images each.
    start_information
        Mutual information of the first batches on record.
    start
        Every number of the first snapshot, by name.
    watch
        Every number of the newest one.
    stability
        Share of the watch images that kept their class from one snapshot to the next, the mean of the last three times;
        NaN before the second time. That from the untrained network does not count.
    gradient_shares
        Share of each term in the gradient at the logits, by term; empty where it was not recorded.
    nonfinite
        Names of loss terms and watch numbers that are not finite.
    trained_snapshots
        Steps of the snapshots so far, that of the untrained network left out.
    shortcut_of
        What light explains of the assignment at such a step, worked out when a rule asks.
    turned
        Of every knob that was turned while it trained: the step, and the value before. Medians, snapshots and agreement
        are of the steps since the newest turn, and ``recipe`` is the one that was then in force.
    """

    step: int
    total_steps: int | None
    warmup_steps: float
    end_reason: str | None
    recipe: Recipe
    num_classes: int
    batch_size: int
    num_watch: int
    top: float
    cap: float
    floor: float
    consistency: float
    sharpness: float
    diversity: float
    start_information: float
    agreement: float
    row_std: float
    live_classes: float
    largest_share: float
    start: dict[str, float]
    watch: dict[str, float]
    stability: float
    gradient_shares: dict[str, float]
    nonfinite: tuple[str, ...]
    trained_snapshots: tuple[int, ...]
    shortcut_of: Callable[[int], Shortcut | None]
    turned: dict[str, tuple[int, Any]] = field(default_factory=dict)

    @property
    def information(self) -> float:
        """Mutual information of class and image in the training batches, nats."""
        return self.diversity - self.sharpness

    @property
    def best_information(self) -> float:
        """The most it can be: log min(N, C), and less where the final norm keeps samples from being sharp."""
        return min(self.cap, self.top - self.floor)

    @property
    def perplexity(self) -> float:
        """Number of classes in use, exp of the diversity."""
        return math.exp(self.diversity)

    @property
    def shortcuts(self) -> list[Shortcut]:
        """How much low-level statistics explain of the last two assignments, newest first; less where less is known."""
        found = [self.shortcut_of(step) for step in self.trained_snapshots[:-3:-1]]
        return [one for one in found if one is not None and one.explained]


class Timeline:
    """The numbers of a record in arrays, so that the facts at many steps cost little.

    Parameters
    ----------
    record
        A run's reader, as far as it was polled.
    """

    def __init__(self, record: RunRecord):
        self.record, self.recipe = record, record.recipe
        self._turns = turns_of(record)
        self._recipe_after = functools.cache(lambda count: with_turns(self.recipe, self._turns[:count]))
        table, snapshots = record.metrics(), record.snapshot_metrics()
        self.steps = table.index.to_numpy(np.int64)
        self._columns = {name: _numbers(table, name) for name in table.columns if name.startswith("train/")}
        self._snapshot_steps = snapshots.index.to_numpy(np.int64)
        self._snapshots = {name: _numbers(snapshots, name) for name in snapshots.columns if name.startswith("watch/")}
        self._start = record.last("start") or {}
        information = self._column("train/diversity") - self._column("train/sharpness")
        known = np.flatnonzero(np.isfinite(information))[:3]
        self._first = [(int(self.steps[row]), float(information[row])) for row in known]
        self._on_disk = record.snapshot_steps()
        self._shortcut_of = functools.cache(functools.partial(shortcut_at, record))
        self._num_watch, self._watch_problem = _count_watch(record)
        self._losses = _Brokenness(e for e in record.events if e["kind"] == "metrics" and _holds_a_loss(e))
        self._snapshots_logged = _Brokenness(event for event in record.events if event["kind"] == "snapshot")

    @property
    def last_step(self) -> int:
        """Newest step with numbers; 0 before the first."""
        return int(max([0, *self.steps[-1:], *self._snapshot_steps[-1:]]))

    def at(self, step: int | None = None) -> Facts:
        """The facts at a step; none means the newest."""
        newest = step is None or step >= self.last_step
        now = self.last_step if step is None else min(step, self.last_step)
        turns = acted_by(self._turns, now)
        recipe = self._recipe_after(len(turns))
        objective = recipe.objective
        num_classes = recipe.network.num_classes
        batch_size = int(self._start.get("batch_size", recipe.optim.batch_size))
        first = [value for step, value in self._first if step <= now]
        snapshots = [each for each in self._on_disk if each <= now]
        told = self._num_watch == 0 or self._num_watch >= FEWEST_WATCHED
        trained = tuple(each for each in snapshots if each > self._turned_before(now) and told)
        return Facts(
            step=now,
            total_steps=self._start.get("total_steps"),
            warmup_steps=recipe.optim.warmup_epochs * (self._start.get("steps_per_epoch") or 0),
            end_reason=_end_reason(self.record) if newest else None,
            recipe=recipe,
            num_classes=num_classes,
            batch_size=batch_size,
            num_watch=self._num_watch,
            top=bounds.marginal_entropy_top(num_classes, objective.eps),
            cap=bounds.mutual_information_cap(batch_size, num_classes),
            floor=bounds.sharpness_floor(num_classes, objective.temperature, recipe.network.final_norm),
            consistency=self._median("train/consistency", now),
            sharpness=self._median("train/sharpness", now),
            diversity=self._median("train/diversity", now),
            start_information=float(np.median(first)) if len(first) else math.nan,
            agreement=self._agreement(now),
            row_std=self._median("train/row_std", now),
            live_classes=num_classes - self._median("train/dead_classes", now),
            largest_share=self._median("train/largest_class_share", now),
            start=self._watch_at(self._snapshot_steps[0]) if snapshots and told else {},
            watch=self._watch_at(now) if told else {},
            stability=self._stability(trained),
            gradient_shares=self._gradient_shares(now),
            nonfinite=(*self._losses.broken_at(now), *self._snapshots_logged.broken_at(now)),
            trained_snapshots=trained,
            shortcut_of=self._shortcut_of,
            turned=newest_values(turns),
        )

    def _turned_before(self, now: int) -> int:
        """Step of the newest turn that acted by now; 0 without one."""
        return max((turn.step for turn in acted_by(self._turns, now)), default=0)

    def _column(self, name: str) -> np.ndarray:
        return self._columns.get(name, np.full(len(self.steps), math.nan))

    @staticmethod
    def _seen(steps: np.ndarray, now: float) -> int:
        return int(np.searchsorted(steps, now, side="right"))

    def _median(self, name: str, now: int) -> float:
        """Median over the last steps; the newest number where that window holds none, as of numbers seldom recorded."""
        first = max((1 - WINDOW_SHARE) * now, self._turned_before(now))
        begin, count = (self._seen(self.steps, step) for step in (first, now))
        values = self._column(name)[:count]
        recent = values[begin:]
        recent = recent[np.isfinite(recent)]
        if len(recent) == 0:
            recent = values[np.isfinite(values)][-1:]
        return float(np.median(recent)) if len(recent) else math.nan

    def _watch_at(self, now: int) -> dict[str, float]:
        count = self._seen(self._snapshot_steps, now)
        turned = self._turned_before(now)
        if count and turned and self._snapshot_steps[count - 1] <= turned:
            return {}
        newest = {name: values[count - 1] for name, values in self._snapshots.items()} if count else {}
        return {name: float(value) for name, value in newest.items() if np.isfinite(value)}

    def _stability(self, trained: tuple[int, ...]) -> float:
        pairs = list(itertools.pairwise(trained))[-STABILITY_TIMES:]
        found = [stability_between(self.record, *pair) for pair in pairs]
        known = [value for value in found if not math.isnan(value)]
        return sum(known) / len(known) if len(known) >= 2 else math.nan

    def _agreement(self, now: int) -> float:
        count = self._seen(self._snapshot_steps, now)
        if count > 1 and self._num_watch >= ENOUGH_VISITED:
            of_visits = self._snapshots.get("watch/agreement", np.full(count, math.nan))[count - 1]
            since = self._snapshot_steps[count - 2]
            fresh = now - since <= FRESH_SHARE * now and since >= self._turned_before(now)
            if np.isfinite(of_visits) and fresh:
                return float(of_visits)
        return self._median("train/agreement", now)

    def _gradient_shares(self, now: int) -> dict[str, float]:
        norms = {
            term: self._median(f"train/{term}_gradient", now) for term in ("consistency", "sharpness", "diversity")
        }
        total = sum(norms.values())
        return {term: norm / total for term, norm in norms.items()} if total > 0 else {}

    def missing(self, now: int) -> Iterator[str]:
        """What the record lacks of what could have been known at a step, one sentence each."""
        if not self.record.events:
            yield "The event log is empty: the run has recorded nothing yet, or its log is gone."
        elif not self._seen(self.steps, now):
            yield "No training step is recorded: the loss terms, which most of the verdict rests on, are missing."
        elif not self._is_known("train/agreement", now):
            yield "No collapse numbers of the batches are recorded (record.diagnose_every_steps): agreement is unknown."
        if self.record.bad_lines:
            lines = "1 line" if self.record.bad_lines == 1 else f"{self.record.bad_lines} lines"
            yield f"{lines} of the event log were damaged and left out."
        yield from self._missing_of_snapshots(now)
        yield from self._missing_of_epochs(now)
        if self._seen(self.steps, now) > 1 and not self._is_known("train/gradient_norm", now):
            yield "Gradients were not recorded: the run was written by an older twist."

    def _missing_of_snapshots(self, now: int) -> Iterator[str]:
        logged = self._snapshot_steps[: self._seen(self._snapshot_steps, now)].tolist()
        there = [step for step in self._on_disk if step <= now]
        if self._seen(self.steps, now) and not logged:
            yield (
                "No snapshot of the watch images by then: stability, the rank of the features and shortcuts are "
                "unknown; set record.snapshot_every_epochs lower."
            )
        if gone := [step for step in logged if step not in self._on_disk]:
            which = "the snapshot" if len(gone) == 1 else f"{len(gone)} snapshots, the newest of them"
            yield f"The files of {which} at step {gone[-1]} are gone, though the log names them."
        if self._watch_problem:
            yield self._watch_problem
        elif there and self._num_watch == 0:
            yield "The watch images are gone (the folder watch of the run): shortcuts are unknown."
        elif there and self._num_watch < FEWEST_WATCHED:
            images = "1 watch image" if self._num_watch == 1 else f"{self._num_watch} watch images"
            yield f"Only {images}: classes in use, stability, the rank of the features and shortcuts mean nothing."
        elif there and (problem := _problem_of(self.record, there[-1])):
            yield f"The newest snapshot cannot be used whole: {problem}."

    def _missing_of_epochs(self, now: int) -> Iterator[str]:
        if not self.recipe.record.train_samples:
            yield "No epochs of all images are kept (record.train_samples is false): run.epoch_history is empty."
        epochs = [event for event in self.record.events if event["kind"] == "epoch" and event["step"] <= now]
        sizes = {event["epoch"]: event["images"] for event in epochs}
        if lost := [epoch for epoch, images in sizes.items() if not _is_whole(self.record, epoch, images)]:
            yield f"{len(lost)} of {len(sizes)} epochs of all images are gone or damaged: run.epoch_history lacks them."

    def _is_known(self, name: str, now: int) -> bool:
        return bool(np.isfinite(self._column(name)[: self._seen(self.steps, now)]).any())


def _is_whole(record: RunRecord, epoch: int, images: int) -> bool:
    """Whether the file of an epoch has the size of so many images, and a header."""
    try:
        return (record.path / "epochs" / epoch_file(epoch)).stat().st_size > images * EPOCH_SAMPLES.itemsize
    except OSError:
        return False


def _problem_of(record: RunRecord, step: int) -> str:
    """What is wrong with the files of a snapshot or with the thumbnails, or nothing."""
    try:
        record.snapshot(step)
        if (watch := record.watch()) is not None:
            image_statistics(watch)
    except (RecordError, OSError) as error:
        return str(error)
    return ""


def _numbers(table: Any, name: str) -> np.ndarray:
    return table[name].to_numpy(np.float64, na_value=math.nan)


def _holds_a_loss(event: dict[str, Any]) -> bool:
    return any(name in event for name in LOSS_TERMS)


class _Brokenness:
    """What was not finite at the newest event up to a step: a step that was lost and made good says nothing."""

    def __init__(self, events: Iterable[dict[str, Any]]):
        self._events = sorted(events, key=lambda event: event["step"])  # stable: the later of equals stays behind
        self._steps = [event["step"] for event in self._events]

    def broken_at(self, now: int) -> tuple[str, ...]:
        count = bisect.bisect_right(self._steps, now)
        newest = self._events[count - 1].get("nonfinite", ()) if count else ()
        return tuple(name for name in newest if name in ENDS_A_RUN or name.startswith("watch/"))


def _count_watch(record: RunRecord) -> tuple[int, str]:
    try:
        watch = record.watch()
    except RecordError as error:
        return 0, f"The watch images cannot be read: {error}."
    return (0, "") if watch is None else (len(watch), "")


def _end_reason(record: RunRecord) -> str | None:
    newest = next((event for event in reversed(record.events) if event["kind"] in ("start", "end")), None)
    if newest is not None and newest["kind"] == "end":
        return newest["reason"]
    # The last line of a log may be lost; the supervisor writes down the end as well.
    return read_json(attempt_folder(record.path, last_attempt(record.path)) / "end.json").get("reason")
