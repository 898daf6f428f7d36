"""The numbers behind a verdict, each with its unit and with what to hold it against."""

from __future__ import annotations

import math
from typing import NamedTuple

from twist.runs.bounds import log_classes
from twist.runs.facts import Facts
from twist.runs.kinds import (
    DIVERGE,
    EXPLAINED,
    EXPLAINED_TOGETHER,
    FEW,
    LOST,
    STILL_ROWS,
    few_directions,
    needed_agreement,
    needed_stability,
)

_UNITS = {"rank": "directions", "classes": "classes", "perplexity": "classes", "share": "share", "accuracy": "share"}


class Evidence(NamedTuple):
    """One number of a verdict.

    Attributes
    ----------
    name
        Glossary name, such as ``train/sharpness``.
    value
        What was measured.
    reference
        What to hold it against, or None.
    meaning
        What the reference is, in a few words.
    unit
        Unit of both: ``nats``, ``share``, ``classes``, ``directions``, ``logits``, or empty for a count.
    """

    name: str
    value: float
    reference: float | None
    meaning: str
    unit: str = ""


def evidence(facts: Facts) -> tuple[Evidence, ...]:
    """The numbers behind every verdict, each with what to hold it against: the rules' own thresholds among them."""
    reachable = min(facts.num_classes, facts.batch_size)
    dead = facts.num_classes - facts.live_classes
    most_dead = facts.num_classes - FEW * reachable
    rows = [
        Evidence("train/mutual_information", facts.information, facts.best_information, "the most it can be", "nats"),
        Evidence("train/sharpness", facts.sharpness, facts.floor, "the least it can be", "nats"),
        Evidence("train/diversity", facts.diversity, facts.top, "the most it can be", "nats"),
        Evidence("train/class_perplexity", facts.perplexity, FEW * reachable, "few in use below", "classes"),
        Evidence("train/dead_classes", dead, most_dead, "few in use above", "classes"),
        Evidence("train/largest_class_share", facts.largest_share, 1 / facts.num_classes, "when balanced", "share"),
        Evidence("train/consistency", facts.consistency, DIVERGE, "views disagree above", "nats"),
        Evidence("train/agreement", facts.agreement, needed_agreement(facts), "views disagree below", "share"),
        Evidence("train/row_std", facts.row_std, STILL_ROWS, "flat distributions below", "logits"),
    ]
    if (value := facts.watch.get("watch/mutual_information")) is not None:
        cap = log_classes(min(facts.num_classes, facts.num_watch or facts.num_classes))
        rows.append(Evidence("watch/mutual_information", value, cap, "the most it can be, unbound by the norm", "nats"))
    if (value := facts.watch.get("watch/dead_classes")) is not None:
        rows.append(Evidence("watch/dead_classes", value, 0.0, "all classes assigned", "classes"))
    needed = needed_stability(facts)
    meaning = "classes change too fast below" if needed else "every image keeps its class"
    rows.append(Evidence("watch/stability", facts.stability, needed or 1.0, meaning, "share"))
    for name, limit in (
        ("watch/effective_rank", few_directions(facts.num_classes, facts.start.get("watch/effective_rank", math.inf))),
        ("watch/centered_rank", LOST * facts.start.get("watch/centered_rank", math.nan)),
    ):
        if not math.isnan(limit):
            rows.append(Evidence(name, facts.watch.get(name, math.nan), limit, "too few below", "directions"))
    for found in facts.shortcuts[:1]:
        by = found.strongest.replace("-", "_")
        share = found.explained[found.strongest]
        rows.append(Evidence(f"watch/explained_by_{by}", share, EXPLAINED, "a shortcut above", "share"))
        rows.append(Evidence("watch/explained_by_all", found.together, EXPLAINED_TOGETHER, "a shortcut above", "share"))
    rows += [
        Evidence(f"train/{term}_gradient_share", share, 1 / 3, "when the terms pull alike", "share")
        for term, share in facts.gradient_shares.items()
    ]
    broken = [Evidence(name, math.nan, None, "must be finite", _unit_of(name)) for name in facts.nonfinite]
    return (*broken, *(row for row in rows if not math.isnan(row.value)))


def _unit_of(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "nats")
