"""The checkpoints that the explorer's slider runs through: compact columns of each, and what became of the classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from twist.runs.class_histories import classes_followed, flow_of, moves_between
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot
from twist.view.explorer_tables import as_bytes

#: Most checkpoints that the slider stops at, and most values (checkpoints x images) of one column that are sent.
MOST_CHECKPOINTS = 24
MOST_VALUES = 1_200_000
_TOP = 65_534  # 65,535 says that there is no number


class Checkpoint(NamedTuple):
    """What is kept of one snapshot; arrays are ``[M]``."""

    step: int
    epoch: float
    assignment: np.ndarray
    second: np.ndarray
    entropy: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray


class Checkpoints:
    """The checkpoints of a run; those of the newest table are kept, so that the next one reads what is new.

    Parameters
    ----------
    record
        The run's reader; the caller polls it.
    """

    def __init__(self, record: RunRecord):
        self._record = record
        self._kept: dict[int, Checkpoint | str] = {}

    def table(
        self,
        home: int | None = None,
        *,
        prefer: np.ndarray | None = None,
        most: int = MOST_CHECKPOINTS,
        most_values: int = MOST_VALUES,
        until: int | None = None,
    ) -> dict[str, Any]:
        """The columns of evenly chosen checkpoints as the browser gets them.

        Numbers are 16-bit shares of their largest value, classes 16-bit too: a checkpoint costs ten bytes an image.

        Parameters
        ----------
        home
            A step that must be among them; the first and the newest always are.
        prefer
            Steps that have a map of their own: they are taken where they are enough.
        most, most_values
            Bounds of their number, and of checkpoints times images.
        until
            Leave out later steps.
        """
        num_classes = self._record.recipe.network.num_classes
        steps = [step for step in self._record.snapshot_steps() if until is None or step <= until]
        if not steps or num_classes > _TOP:
            return {}
        newest = self._read(steps[-1])
        count = 1 if isinstance(newest, str) else len(newest.assignment)
        most = max(2, min(most, most_values // max(1, count)))
        chosen = choose_steps(steps, most, home, prefer)
        read = [self._read(step) for step in chosen]
        self._kept = {step: self._kept[step] for step in chosen}
        whole = [each for each in read if not isinstance(each, str)]
        size = max((len(each.assignment) for each in whole), default=0)
        whole = [each for each in whole if len(each.assignment) == size]
        if len(whole) < 2:
            return {}
        assignment = np.stack([each.assignment for each in whole])
        second = np.stack([each.second for each in whole])
        followed = self._record.recipe.network.num_heads > 1
        if followed:
            assignment, second = _under_newest_names(assignment, second, num_classes)
        thinned = len(chosen) < len(steps)
        said = [f"{len(chosen)} of {len(steps)} checkpoints are shown, evenly chosen."] if thinned else []
        if followed:
            said.append("Classes of earlier checkpoints are matched to the newest by their images.")
        damaged = [each for each in read if isinstance(each, str)]
        if damaged:
            more = f" ({len(damaged) - 1} more are damaged too)" if len(damaged) > 1 else ""
            said.append(f"A damaged checkpoint is left out: {damaged[0]}{more}.")
        top = float(np.log(num_classes)) or 1.0
        return {
            "steps": [each.step for each in whole],
            "epochs": [each.epoch for each in whole],
            "said": " ".join(said),
            "thinned": thinned,
            "assignment": as_bytes(assignment, np.uint16),
            "second": as_bytes(np.where(second < 0, 65_535, second), np.uint16),
            "entropy": _shares(np.stack([each.entropy for each in whole]) / top),
            "confidence": _shares(np.stack([each.confidence for each in whole])),
            "margin": _shares(np.stack([each.margin for each in whole])),
            "changes": [
                _changes(before, after, num_classes)
                for before, after in zip(assignment, assignment[1:], strict=False)
            ],
        }  # fmt: skip

    def _read(self, step: int) -> Checkpoint | str:
        if step not in self._kept:
            try:
                found = self._record.snapshot(step)
                second = found.top_classes[:, 1] if found.top_classes.shape[1] > 1 else np.full(len(found.margin), -1)
                self._kept[step] = Checkpoint(
                    step,
                    float(found.epoch),
                    np.clip(found.assignment, 0, found.num_classes - 1),
                    np.array(second, np.int32),
                    np.array(found.sample_entropy, np.float32),
                    np.array(found.confidence, np.float32),
                    np.array(found.margin, np.float32),
                )
            except RecordError as error:
                self._kept[step] = str(error)
        return self._kept[step]


def choose_steps(steps: list[int], most: int, home: int | None = None, prefer: np.ndarray | None = None) -> list[int]:
    """At most so many of the steps, evenly spaced, with the first, the last and the one at home among them.

    Examples
    --------
    >>> choose_steps([0, 10, 20, 30, 40, 50], 3, home=10)
    [0, 10, 50]
    """
    if prefer is not None and 2 <= len(prefer) <= most and set(prefer.tolist()) <= set(steps):
        newest = [step for step in {steps[-1], home if home in steps else steps[-1]} if step not in prefer]
        if len(prefer) + len(newest) <= most + 2 and steps[-1] in prefer:
            return sorted([*prefer.tolist(), *newest])
    if len(steps) <= most:
        return list(steps)
    chosen = [steps[round(place)] for place in np.linspace(0, len(steps) - 1, most)]
    if home in steps and home not in chosen:
        inner = chosen[1:-1] or chosen[:1]
        nearest = min(inner, key=lambda step: abs(step - home))
        chosen[chosen.index(nearest)] = home
    return sorted(set(chosen))


def as_shown(snapshot: Snapshot, history: dict[str, Any]) -> Snapshot:
    """A snapshot under the classes of the slider: where the head changed since, they have the newest's numbers."""
    steps, count = history.get("steps", []), len(snapshot.assignment)
    if snapshot.step not in steps:
        return snapshot
    place = steps.index(snapshot.step) * count
    first, second = (
        np.frombuffer(history[name], "<u2")[place : place + count].astype(np.int32) for name in ("assignment", "second")
    )
    top = np.stack([first, np.where(second == 65_535, -1, second)], 1)[:, : snapshot.top_classes.shape[1]]
    return replace(snapshot, assignment=first, top_classes=top, top_probs=snapshot.top_probs[:, :2])


def frames_table(found: Any, steps: list[int]) -> dict[str, Any]:
    """Places at every checkpoint of the slider from an aligned map, all on one scale, as 16-bit shares of it.

    Parameters
    ----------
    found
        `twist.view.aligned.Frames`.
    steps
        The slider's checkpoints; one without places of its own gets those of the nearest that has.
    """
    nearest = [int(np.abs(found.steps - step).argmin()) for step in steps]
    xy = np.asarray(found.xy, np.float32)[nearest]
    low, high = (np.nan_to_num(reduce(xy, axis=(0, 1)), nan=0.0) for reduce in (np.nanmin, np.nanmax))
    middle, half = (low + high) / 2, float((high - low).max()) / 2 or 1.0
    trust = None if found.trust is None else np.asarray(found.trust, np.float32)[nearest]
    return {
        "steps": list(steps),
        "made": found.caption,
        "own": [int(found.steps[place]) for place in nearest],
        "xy": _shares((xy - middle) / half / 2 + 0.5),
        "trust": b"" if trust is None else _shares(trust),
    }


def _shares(values: np.ndarray) -> bytes:
    known = np.isfinite(values)
    scaled = np.clip(np.where(known, values, 0), 0, 1) * _TOP
    return as_bytes(np.where(known, np.round(scaled), 65_535), np.uint16)


def _changes(before: np.ndarray, after: np.ndarray, num_classes: int) -> dict[str, Any]:
    flow = flow_of(moves_between(before, after), num_classes, 0, 0)
    return {
        "born": list(flow.born),
        "died": list(flow.died),
        "splits": [[source, *into] for source, into in flow.splits.items()],
        "merges": [[into, *sources] for into, sources in flow.merges.items()],
        "kept": round(flow.moves.stability, 4) if len(flow.moves.counts) else None,
    }


def _under_newest_names(
    assignment: np.ndarray, second: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Classes of every checkpoint under the numbers of the newest; a second class that nobody has stays unknown."""
    followed = classes_followed(assignment[::-1], num_classes)[::-1]
    renamed = np.full_like(second, -1)
    for now in range(len(assignment)):
        names = np.full(num_classes, -1)
        names[assignment[now]] = followed[now]
        renamed[now] = np.where(second[now] >= 0, names[second[now]], -1)
    return followed, renamed
