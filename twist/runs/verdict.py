"""The verdict on a run, from its record alone: what is going on, since when, why, and what to change.

Rules (`twist.runs.kinds`) are tried in a fixed order; the first that finds its condition speaks. They look at numbers
on disk and at nothing else, so the verdict on any step of an old run can be had again.
"""

from __future__ import annotations

import bisect
import numbers
from typing import Literal, NamedTuple

import numpy as np

from twist.runs.config import ConfigError
from twist.runs.evidence import Evidence, evidence
from twist.runs.facts import Facts, Timeline
from twist.runs.frozen import frozen_sentence
from twist.runs.kinds import RULES, Finding, Kind
from twist.runs.record import RunRecord
from twist.runs.store import RecordError

__all__ = ["ALARMS", "Evidence", "Kind", "Verdict", "judge", "timeline_of", "verdict", "verdict_history"]

#: Kinds that say that something went wrong.
ALARMS = frozenset(
    {
        "uniform collapse",
        "one-class collapse",
        "partial collapse",
        "dimensional collapse",
        "inconsistent views",
        "overconfident noise",
        "shortcut",
        "batch too small",
        "not finite",
    }
)
#: Steps at which the past is asked to find since when a verdict holds.
_LOOKS_BACK = 60


class Verdict(NamedTuple):
    """What a run's numbers say.

    Attributes
    ----------
    kind
        One of a few fixed names, for programs; ``nothing trained`` of a frozen run.
    title
        The same in one line, for people.
    sentence
        Why: the numbers in plain words.
    advice
        What to change, by the recipe's field names.
    evidence
        The numbers with their references and units.
    step
        The step up to which the record was read.
    causes
        What in the recipe is known to lead there, the likeliest first.
    since
        Step at which this could first be said and since which it holds; None when nothing can be said.
    missing
        What the record lacks, one sentence each.
    """

    kind: Kind | Literal["nothing trained"]
    title: str
    sentence: str
    advice: str
    evidence: tuple[Evidence, ...]
    step: int
    causes: tuple[str, ...] = ()
    since: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether something went wrong."""
        return self.kind in ALARMS


def verdict(record: RunRecord, step: int | None = None, timeline: Timeline | Verdict | None = None) -> Verdict:
    """The verdict on a run as far as its record was polled, or on what it was at an earlier step.

    Parameters
    ----------
    record
        A run's reader; `RunRecord.poll` it first.
    step
        Only numbers up to this step count; none means all of them.
    timeline
        The record's `timeline_of`, where it is at hand.

    Returns
    -------
    Verdict
        Of the first kind that holds, in the order of `twist.runs.kinds.RULES`.

    Raises
    ------
    RecordError
        For a step below 0, or beyond the newest on record.
    """
    timeline = timeline_of(record) if timeline is None else timeline
    if isinstance(timeline, Verdict):
        return timeline
    if step is not None and not (isinstance(step, numbers.Integral) and 0 <= step <= timeline.last_step):
        raise RecordError(f"run {record.name} has no step {step}: give 0 to {timeline.last_step}, its newest on record")
    facts = timeline.at(step)
    found = judge(facts)
    since = None if found.kind == "too early to say" else _since(timeline, facts.step, found)
    return _verdict(facts, found, since)._replace(missing=tuple(timeline.missing(facts.step)))


def verdict_history(record: RunRecord, at_most: int = 200) -> list[Verdict]:
    """The verdicts that could have been had while the run went on, at evenly spread logged steps, oldest first.

    ``since`` is the first of them from which the kind has not changed; ``missing`` is left out. Empty before the first
    logged step.
    """
    timeline = timeline_of(record)
    if isinstance(timeline, Verdict):
        return []
    history: list[Verdict] = []
    for step in _spread(timeline.steps, at_most):
        facts = timeline.at(step)
        found = judge(facts)
        same = bool(history) and history[-1].kind == found.kind
        history.append(_verdict(facts, found, history[-1].since if same else step))
    return history


def timeline_of(record: RunRecord) -> Timeline | Verdict:
    """The numbers of a record, or at once the verdict on one that has none of a training.

    So it is of a frozen run, and where the recipe is damaged, or such that no run can have it.
    """
    try:
        if record.frozen:
            return _nothing_trained(record)
        return Timeline(record)
    except (ConfigError, RecordError) as error:
        reason = f"The recipe of the run cannot be used: {error}."
        advice = "Look at recipe.json in its folder."
        return Verdict("too early to say", "No verdict", reason, advice, (), 0, missing=(reason,))


def _nothing_trained(record: RunRecord) -> Verdict:
    """What is to be said of features that were taken as they are: a labeler's classes cannot collapse into a cause."""
    sentence = frozen_sentence(record.frozen)
    usage = record.snapshot().class_usage if record.snapshot_steps() else np.zeros(0)
    used = f" {int((usage > 0).sum())} of {len(usage)} classes are in use." if len(usage) else ""
    told = f"{sentence[0].upper()}{sentence[1:]}.{used}"
    advice = "Nothing can be changed in training: explore the classes, or hold them against a run's with twist.Compare."
    return Verdict("nothing trained", "Nothing was trained", told, advice, (), 0)


def judge(facts: Facts) -> Finding:
    """What the first rule that applies finds."""
    return next(found for rule in RULES if (found := rule(facts)) is not None)


def _verdict(facts: Facts, found: Finding, since: int | None) -> Verdict:
    kind, title, sentence, advice, causes = found
    since = None if kind == "too early to say" else since
    return Verdict(kind, title, sentence, advice, evidence(facts), facts.step, causes, since)


def _since(timeline: Timeline, step: int, found: Finding) -> int:
    """The logged step from which on the same kind was found: looked for coarsely, then by bisection."""

    def same(earlier: int) -> bool:
        return judge(timeline.at(earlier)).kind == found.kind

    past = timeline.steps[timeline.steps < step]
    since, other = step, None
    for earlier in reversed(_spread(past, _LOOKS_BACK)):
        if not same(earlier):
            other = earlier
            break
        since = earlier
    between = [] if other is None else past[(past > other) & (past < since)].tolist()
    first = bisect.bisect_left(between, True, key=same)
    return between[first] if first < len(between) else since


def _spread(steps: np.ndarray, at_most: int) -> list[int]:
    """Evenly spread steps, the newest among them, ascending."""
    chosen = np.unique(np.linspace(len(steps) - 1, 0, min(len(steps), at_most)).round().astype(int))
    return steps[chosen].tolist() if len(steps) else []
