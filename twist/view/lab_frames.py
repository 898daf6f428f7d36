"""What the lab's pictures see of a run: its newest step as one message, of which only what is new travels.

A page keeps what it has: a frame holds the rows of the images that were visited since the one before, and the points
of the way since then. One that is `whole` holds all, for a page that was just opened, or whose run went back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twist.runs.config import Recipe
from twist.runs.outputs import LiveOutputs
from twist.runs.record import RunRecord
from twist.runs.turns import Turn, turns_of, with_turns

#: Points of the way that a whole frame holds at most.
MOST_POINTS = 4000
_WAY = ("step", "train/sharpness", "train/diversity", "train/consistency")
_TERMS = ("consistency", "sharpness", "diversity", "total")


class Frames:
    """The frames of one run, made from its record and from what training last said of every image.

    Parameters
    ----------
    record
        A reader of the run; whoever calls `take` has polled it.

    Attributes
    ----------
    step
        Newest step with loss terms, -1 before the first.
    turns
        Turned knobs in force, oldest first.
    recipe
        The recipe in force at the newest step.
    held
        Whether the run is held in memory.
    """

    def __init__(self, record: RunRecord):
        self.record = record
        self.step, self.held = -1, False
        self.turns: list[Turn] = []
        self.recipe: Recipe = record.recipe
        self._outputs = LiveOutputs(record.path)
        self._began: tuple[Any, ...] = ()
        self._read = 0
        self._terms: dict[str, Any] = {}
        self._way: list[list[float]] = [[] for _ in _WAY]
        self._sent_points, self._sent_visit, self._sent_step = 0, -1, -1
        self._whole = True

    def look(self) -> list[dict[str, Any]]:
        """Take up what was polled; the events that are new."""
        events = self.record.events
        last = [self.record.last(kind) or {} for kind in ("start", "rewind")]
        began = tuple((event.get("attempt"), event.get("seq")) for event in last)
        if began != self._began:  # it went on from a checkpoint: what was later is gone
            self._began, self._read, self.step = began, 0, -1
            self._way = [[] for _ in _WAY]
            self.want_whole()
        new = events[self._read :]
        self._read = len(events)
        for event in new:
            if event["kind"] == "metrics" and event.get("train/sharpness") is not None:
                self.step, self._terms = event["step"], event
                for points, name in zip(self._way, _WAY, strict=True):
                    points.append(math.nan if event.get(name) is None else event[name])
            elif event["kind"] in ("start", "hold", "continue"):
                self.held = event["kind"] == "hold"
        if any(event["kind"] in ("start", "turn") for event in new):
            self.turns = turns_of(self.record)
            self.recipe = with_turns(self.record.recipe, self.turns)
        return new

    def want_whole(self) -> None:
        """Have the next frame hold everything."""
        self._whole = True

    @property
    def new(self) -> bool:
        """Whether there is something that was not sent."""
        return self.step >= 0 and (self._whole or self.step != self._sent_step)

    def take(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """The next frame: numbers and names, and its arrays as bytes; None while there is nothing to see.

        The arrays are, in this order: rows int32 ``[R]``; their distributions float32 ``[R, C]``, the mean of both
        views; the steps of their last visits int32 ``[R]``; rows of the newest batch int32 ``[B]``; both views of it
        float32 ``[2, B, C]``; and the way: steps int32, sharpness, diversity and consistency float32 ``[T]``.
        """
        read = self._outputs.read()
        if read is None or not self.new:
            return None
        probs, visited = read
        newest = int(visited.max(initial=-1))
        rows = np.flatnonzero(visited >= 0 if self._whole else visited > self._sent_visit).astype(np.int32)
        batch = np.flatnonzero(visited == newest).astype(np.int32) if newest >= 0 else rows[:0]
        views = np.ascontiguousarray(probs[batch].astype(np.float32).transpose(1, 0, 2))
        points = self._points()
        facts = {
            "whole": self._whole,
            "step": self.step,
            "images": len(visited),
            "classes": probs.shape[2],
            "batch_size": self.recipe.optim.batch_size,
            "final_norm": self.recipe.network.final_norm,
            "temperature": self.recipe.objective.temperature,
            "points": len(points[0]),
            "rows": len(rows),
            "batch": len(batch),
            **{name: self._terms.get(f"train/{name}") for name in _TERMS},
            "agreement": _agreement(views),
        }
        arrays = [rows, probs[rows].astype(np.float32).mean(1), visited[rows].astype(np.int32), batch, views, *points]
        self._sent_step, self._sent_visit, self._whole = self.step, newest, False
        self._sent_points = len(self._way[0])
        return facts, [np.ascontiguousarray(array).tobytes() for array in arrays]

    def _points(self) -> list[np.ndarray]:
        count = len(self._way[0])
        chosen = np.arange(0 if self._whole else self._sent_points, count)
        if len(chosen) > MOST_POINTS:
            chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_POINTS).round().astype(int))]
        kinds = (np.int32, np.float32, np.float32, np.float32)
        return [np.array([way[k] for k in chosen], kind) for way, kind in zip(self._way, kinds, strict=True)]


def _agreement(views: np.ndarray) -> float | None:
    """Share of the images of a batch whose two views fall into one class."""
    if not views.shape[1]:
        return None
    return float((views[0].argmax(1) == views[1].argmax(1)).mean())
