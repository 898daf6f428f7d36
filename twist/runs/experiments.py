"""Experiments of the collapse lab: a few knobs that lead somewhere, the question to ask first, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One button of the lab.

    Attributes
    ----------
    name
        Short, telling, for code and links.
    title
        What the button says.
    shows
        Kind of verdict it is there to show, in the words of `twist.runs.kinds`.
    question
        To be answered before it is started.
    answer
        What to see, and why.
    digits, toy
        Knobs that differ from the healthy setting, by field name, for digits and for the points in the plane.
    """

    name: str
    title: str
    shows: str
    question: str
    answer: str
    digits: Mapping[str, Any] = field(default_factory=dict)
    toy: Mapping[str, Any] = field(default_factory=dict)


_NO_NORM = {"network.final_norm": "none"}
_FLAT = {"objective.sharpness_weight": 0.0}
_ONE = {"objective.diversity_weight": 0.0, **_NO_NORM}
_FEW = {"network.num_classes": 10, "objective.diversity_weight": 0.3, **_NO_NORM}
_FEW_DIGITS = {**_FEW, "objective.diversity_weight": 0.5}  # below that one seed in three ends in one class
_ALONE_DIGITS = {"objective.sharpness_weight": 0.0, "objective.diversity_weight": 0.0}
_ALONE = {**_ALONE_DIGITS, **_NO_NORM}
_APART = {"objective.consistency_weight": 0.0}
# Nine groups, so that a few classes are too few. At 0.5 some seeds end in one class; at 0.75 others keep half of them.
_FEW_TOY = {
    "data.source": "grid",
    "network.num_classes": 12,
    "objective.diversity_weight": 0.6,
    **_NO_NORM,
}
# Rings whose views are turned about the center: pie slices are sharp and even, and only rings survive the turning.
_APART_TOY = {**_APART, "data.source": "ring", "views.strength": 2.0}

#: In the order in which a lecture shows them.
EXPERIMENTS = (
    Experiment(
        name="healthy",
        title="All three terms",
        shows="healthy",
        question="Where in the plane will the point end when all three terms pull?",
        answer="Near the upper left: every sample is sure of a class, and all classes are used.",
    ),
    Experiment(
        name="uniform",
        title="No sharpness",
        shows="uniform collapse",
        question="Two views agree best when …?",
        answer="When every answer is “I cannot tell”: all distributions are flat, and nothing is learned.",
        digits=_FLAT,
        toy=_FLAT,
    ),
    Experiment(
        name="one-class",
        title="No diversity",
        shows="one-class collapse",
        question="What is the cheapest way to be sure and consistent?",
        answer="Put everything into one class: both entropies fall to 0. The norm before the softmax forbids it.",
        digits=_ONE,
        toy=_ONE,
    ),
    Experiment(
        name="consistency-alone",
        title="Consistency alone",
        shows="uniform collapse",
        question="What if only agreement is asked for?",
        answer="Any constant answer agrees with itself: both entropies become equal, on the diagonal.",
        digits=_ALONE_DIGITS,
        toy=_ALONE,
    ),
    Experiment(
        name="partial",
        title="Weak diversity",
        shows="partial collapse",
        question="How many of the classes stay in use when diversity counts less than sharpness?",
        answer="A few: each sample is sure, but most classes are empty.",
        digits=_FEW_DIGITS,
        toy=_FEW_TOY,
    ),
    Experiment(
        name="inconsistent",
        title="No consistency",
        shows="inconsistent views",
        question="Sharp and even, is that enough?",
        answer="No: a dot halfway between two corners has one view in each. The plane alone cannot show it.",
        digits=_APART,
        toy=_APART_TOY,
    ),
)


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises
    ------
    ConfigError
        When there is none of that name.
    """
    from twist.runs.config import ConfigError, nearest

    found = {each.name: each for each in EXPERIMENTS}
    if name not in found:
        raise ConfigError(f"no experiment is named {name!r}{nearest(name, found)}: choose one of {', '.join(found)}")
    return found[name]
