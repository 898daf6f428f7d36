"""Exercises of 02_three_terms: entropies by hand and the entropy plane."""

from __future__ import annotations

import math

from twist.lecture.exercise import Exercise
from twist.lecture.judges import near

EXERCISES = (
    Exercise(
        name="coin",
        question="An image between two classes, 50 : 50. What is its entropy, in nats?",
        judge=near(math.log(2), known={1.0: "That is in bits: twist uses the natural logarithm."}),
        hint="−Σ p log p with two terms of p = 0.5; np.log is the natural logarithm.",
        solution="answer = -(0.5 * np.log(0.5) + 0.5 * np.log(0.5))",
        why="log 2 ≈ 0.69: two classes, equally likely. exp(0.69) = 2 is the perplexity.",
        mistakes=(1.0, 0.5, 0.0, float("nan"), "two"),
    ),
)
