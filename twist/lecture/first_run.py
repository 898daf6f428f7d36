"""Exercises of 01_first_run: what the two entropies say of a run, and of one image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import near, pair_of_run


def _least_sure(answer: Any) -> str:
    if (pair := pair_of_run(answer)) is None:
        return "Two things are asked for, the run and the row: `answer = run, row`."
    run, row = pair
    run.record.poll()
    entropy = np.asarray(run.record.snapshot().sample_entropy)
    place = int((entropy > entropy[int(np.asarray(row).item())]).sum())
    return "" if place == 0 else f"The network is less sure of {place} {'others' if place > 1 else 'other'}."


EXERCISES = (
    Exercise(
        name="top",
        question="How high can H(Y) get with ten classes, in nats? And with it every other entropy?",
        judge=near(
            math.log(10),
            within=0.01,
            known={math.log2(10): "That is in bits: twist uses the natural logarithm.", 1.0: "In nats it is not 1."},
        ),
        hint="It is the entropy of ten equally likely classes. −Σ p log p, with p = 1/10 ten times.",
        solution="answer = np.log(10)",
        why="log C, the dashed line at the top of the curves.",
        mistakes=(10, 1.0, 3.32, 0),
    ),
    Exercise(
        name="hesitates",
        question="An image has a sample entropy of 1.1 nats. Between how many classes does it hesitate?",
        judge=near(
            math.exp(1.1),
            within=0.11,
            unit="classes",
            known={2**1.1: "2 to the power of 1.1 would be right for bits."},
        ),
        hint="Three classes that are equally likely have an entropy of log 3 nats. Turn that around.",
        solution="answer = np.exp(1.1)",
        why="exp of an entropy is a number of classes, the perplexity: here 3. It is the best way to read any entropy.",
        mistakes=(1.1, 2.14, 10, 0.33),
    ),
    Exercise(
        name="least-sure",
        question="Which image is the network least sure of? Give the run and the row of the image, `answer = run, "
        "row`; `run.record.snapshot().sample_entropy` holds the entropy of every image.",
        judge=_least_sure,
        hint="The row where that array has its largest value.",
        solution="answer = run, run.record.snapshot().sample_entropy.argmax()",
        why="Look at it: `explorer.selected_samples = [row]` shows it on the map and in the gallery above.",
        mistakes=(("run", 0), 5),
    ),
)
