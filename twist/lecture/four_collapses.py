"""Exercises of 03_four_collapses: name a collapse by its numbers, cause one, and cure one."""

from __future__ import annotations

import math
from typing import Any

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice


def _one_change(answer: Any) -> str:
    """A run whose verdict is a partial collapse, with all three terms in force."""
    answer.record.poll()
    weights = answer.recipe.objective
    terms = (weights.consistency_weight, weights.sharpness_weight, weights.diversity_weight)
    if min(terms) <= 0:
        return "One of its terms is switched off: all three are to be in force."
    kind = answer.verdict.kind
    if kind == "too early to say":
        return "It is too early to say anything of that run: wait for its end."
    return "" if kind == "partial collapse" else f"The verdict on that run is “{kind}”."


#: What was done to the run that the notebook calls a mystery; to be named from its numbers, not from here.
MYSTERY = {"objective__consistency_weight": 0.0}

EXERCISES = (
    Exercise(
        name="name-it",
        question="A run with 50 classes ends at H(Y|X) = 0.05 nats and H(Y) = 1.61 nats, and two views of an image "
        "agree in 97 % of the cases. Is it 'healthy', 'uniform', 'one-class' or 'partial'?",
        judge=choice(
            "partial",
            {
                "healthy": f"The images are sure and consistent. But how many of 50 classes are exp(1.61) = "
                f"{math.exp(1.61):.0f}?",
                "uniform": "There H(Y|X) is at its top, log 50 = 3.91 nats.",
                "one-class": "There H(Y) is near 0, and exp H(Y) near 1.",
            },
        ),
        hint="exp H(Y) is the number of classes in use.",
        solution='answer = "partial"',
        why="Five classes of fifty: sure, consistent, and with a loss far below 0 that looks like success. Only the "
        "number of classes in use says what is missing.",
        mistakes=("healthy", "uniform", "one-class", "five"),
    ),
    Exercise(
        name="usage",
        question="In the run `flat` no class is empty, the class perplexity is 10.0 of 10, and the loss is lower than "
        "that of the healthy run. Which number gives it away nevertheless: 'usage' (of the classes), 'information' or "
        "'agreement'?",
        judge=choice(
            "information",
            {
                "usage": "argmax of a flat distribution falls on some class: usage counts these, and looks fine.",
                "agreement": "Agreement is low in a flat run, but it is low in an inconsistent one, too.",
            },
        ),
        hint="“All flat” and “all in one class” have one number in common: see the table of the lesson on three terms.",
        solution='answer = "information"',
        why="I(X;Y) = H(Y) − H(Y|X) is 0 whenever all images get the same answer, whatever that answer is. The loss "
        "was low because nothing fined flat answers any more.",
        mistakes=("usage", "agreement", "loss"),
    ),
    Exercise(
        name="mystery",
        question="Which term is missing in `mystery`: 'consistency', 'sharpness' or 'diversity'?",
        judge=choice(
            "consistency",
            {
                "sharpness": "Without it answers stay flat; these are nearly as sharp as can be behind this norm.",
                "diversity": "Without it classes empty; here all are in use.",
            },
        ),
        hint="The plane says healthy. Which other columns of the table differ from those of the healthy run?",
        solution='answer = "consistency"',
        why="Sharp and diverse is easy when nothing has to be the same in two views: the classes follow the "
        "augmentation. The plane alone cannot show it.",
        mistakes=("sharpness", "diversity", "norm"),
    ),
    Exercise(
        name="cause-it",
        question="Cause a partial collapse yourself: launch a run in which all three terms have a weight above 0, and "
        "most classes stay empty. Start from `small`; `answer` is the run, after it has ended.",
        judge=_one_change,
        hint="Many classes (network__num_classes), nothing that keeps a class from winning everywhere "
        "(network__final_norm), and less diversity (objective__diversity_weight).",
        solution='changes = {"network__num_classes": 30, "objective__diversity_weight": 0.3, "network__final_norm": '
        '"none"}\nanswer = twist.launch(small, name=f"{NAME}-thirty", exist_ok=True, **changes)\nanswer.wait()',
        why="Images are sure, views agree, and a few classes hold everything.",
        mistakes=("a run", 30),
    ),
)
