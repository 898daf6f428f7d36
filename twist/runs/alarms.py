"""Every alarm that a run raised, also those that are over: from its record alone, so that none gets lost."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np

from twist.runs.facts import Timeline
from twist.runs.kinds import Finding
from twist.runs.record import RunRecord
from twist.runs.verdict import ALARMS, Verdict, judge

#: Logged steps that are looked at, at most: an alarm shorter than this share of a run can be missed.
LOOKS = 160
#: An alarm that comes back within this share of the steps until then is the same one, interrupted.
PAUSE = 0.05


class Alarm(NamedTuple):
    """Something that went wrong, or that the training warned of.

    Attributes
    ----------
    step, until
        First and last step at which it was so; the last is None while it is so at the newest.
    kind
        A kind of verdict, or ``warning``.
    title, sentence, advice
        In words.
    """

    step: int
    until: int | None
    kind: str
    title: str
    sentence: str
    advice: str = ""

    @property
    def key(self) -> str:
        """What tells it from the others of its run, however long it goes on."""
        return f"{self.kind} at {self.step}" + (f": {self.sentence}" if self.kind == "warning" else "")


class AlarmLog:
    """The alarms of one run, kept while its log grows: what was judged once is not judged again.

    The logged steps looked at are those of a grid that coarsens as the run grows, each a part of the one before, and
    the edges of an alarm are found by bisection: a new log of the same run finds the same alarms, but for one shorter
    than a step of the grid, which is known only to who looked at that time.
    """

    def __init__(self) -> None:
        self._findings: dict[int, Finding] = {}
        self._starts = 0

    def update(self, record: RunRecord, timeline: Timeline | Verdict) -> list[Alarm]:
        """Every alarm so far, the newest first.

        Parameters
        ----------
        record
            A run's reader.
        timeline
            Its `twist.runs.verdict.timeline_of`.
        """
        self._forget_what_was_redone(record)
        found = [] if isinstance(timeline, Verdict) else self._judged(timeline)
        return sorted([*found, *_warnings(record)], key=lambda alarm: -alarm.step)

    def _forget_what_was_redone(self, record: RunRecord) -> None:
        starts = [event for event in record.events if event["kind"] == "start"]
        if len(starts) != self._starts:
            kept = starts[-1].get("from_step", 0) if starts else -1
            self._findings = {step: found for step, found in self._findings.items() if step <= kept}
            self._starts = len(starts)

    def _at(self, timeline: Timeline, step: int) -> Finding:
        if step not in self._findings:
            self._findings[step] = judge(timeline.at(step))
        return self._findings[step]

    def _judged(self, timeline: Timeline) -> list[Alarm]:
        steps = timeline.steps
        if not len(steps):
            return []
        # What ended the run stands in the facts of its newest step, and changes when it ends.
        self._findings.pop(int(steps[-1]), None)
        stride = 1
        while len(steps) / stride > LOOKS:
            stride *= 2
        looked = sorted({*steps[stride - 1 :: stride].tolist(), int(steps[-1]), *self._findings} & set(steps.tolist()))
        alarms: list[Alarm] = []
        before: int | None = None
        for step in looked:
            found = self._at(timeline, step)
            if found.kind in ALARMS:
                first = self._first(timeline, before, step)
                last = next((alarm for alarm in reversed(alarms) if alarm.kind == found.kind), None)
                if last is not None and first - (last.until or 0) <= PAUSE * first:
                    alarms.remove(last)
                    first = last.step
                alarms.append(Alarm(first, step, found.kind, found.title, found.sentence, found.advice))
            before = step
        if alarms and alarms[-1].until == looked[-1]:
            alarms[-1] = alarms[-1]._replace(until=None)
        return alarms

    def _first(self, timeline: Timeline, before: int | None, step: int) -> int:
        """The logged step at which an alarm that holds at ``step``, and not at ``before``, began."""
        kind = self._findings[step].kind
        if before is not None and self._findings[before].kind == kind:
            return before
        low = -1 if before is None else before
        between = timeline.steps[(timeline.steps > low) & (timeline.steps < step)].tolist()
        place = bisect.bisect_left(between, True, key=lambda each: judge(timeline.at(each)).kind == kind)
        return int(np.append(between, step)[place])


def _warnings(record: RunRecord) -> list[Alarm]:
    """What the training itself warned of; of words said again, as at a resume, the first time."""
    first: dict[str, Alarm] = {}
    for event in record.events:
        if event["kind"] == "warning":
            words, step = str(event.get("message", "")), int(event.get("step") or 0)
            first.setdefault(words, Alarm(step, step, "warning", "The training warned", words))
    return list(first.values())
