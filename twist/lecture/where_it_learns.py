"""Exercises of 13_where_it_learns: the edge as arithmetic."""

from __future__ import annotations

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

EXERCISES = (
    Exercise(
        name="edge",
        question="The direction in which two views of an image agree best has a correlation of 0.8. Above which weight "
        "of consistency does everything fade?",
        judge=near(
            2.5,
            within=0.01,
            unit="the weight",
            known={0.625: "w < 0.5 / (1 − ρ): it is the part that views do not share that is fined."},
        ),
        hint="w < 0.5 / (1 − ρ).",
        solution="answer = 0.5 / (1 - 0.8)",
        why="The more views share, the dearer agreement may be. bounds.largest_weight says the same.",
        mistakes=(0.625, 0.4, 0.8),
    ),
    Exercise(
        name="share",
        question="At a weight of 1, the paper's: what correlation must a direction have at least to grow?",
        judge=near(0.5, within=0.005, unit="the correlation", known={1.0: "That would be views that are all alike."}),
        hint="ρ > 1 − 0.5 / w.",
        solution="answer = 1 - 0.5 / 1.0",
        why="Half of its variance must survive the change of view.",
        mistakes=(1.0, 0.0, -0.5),
    ),
    Exercise(
        name="noise",
        question="And at a weight of 0.4?",
        judge=near(
            -0.25,
            within=0.005,
            unit="the correlation",
            known={0.25: "Mind the sign.", 0.0: "It may even be smaller than that."},
        ),
        hint="The same formula; the result may be negative.",
        solution="answer = 1 - 0.5 / 0.4",
        why="Below 0: what is different in every view grows as well. That is the regime of noise, left of 0.5.",
        mistakes=(0.25, 0.0, 0.5),
    ),
    Exercise(
        name="milder",
        question="You make the views milder, so that an image's two views look more alike. Which way does the upper "
        "edge of the weight move: 'up', 'down' or 'not'?",
        judge=choice(
            "up", {"down": "Views share more, so ρ rises.", "not": "The edge is 0.5 / (1 − ρ), and ρ changes."}
        ),
        hint="What happens to the correlation of the views?",
        solution='answer = "up"',
        why="And with it the temptation: what mild views share may be color and light. Agreement is not knowledge.",
        mistakes=("down", "not", "left"),
    ),
)
