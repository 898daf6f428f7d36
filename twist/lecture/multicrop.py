"""Exercises of 07_multicrop_self_label: what small views cost, what they may show, and who teaches whom."""

from __future__ import annotations

from typing import Any

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near, rows_of

#: Greatest probability that the surer view of each of eight images says, in one batch.
CONFIDENCES = (0.31, 0.92, 0.55, 0.74, 0.48, 0.88, 0.36, 0.67)
_TEACHERS = {1, 5, 3, 7}  # the upper half: above the fifth largest, 0.55


def _judge_teachers(answer: Any) -> str:
    """Rows as a list, a set or an array, or a mask of eight."""
    found = set(rows_of(answer, len(CONFIDENCES)).tolist())
    if found == _TEACHERS:
        return ""
    if found and max(found) >= len(CONFIDENCES):
        return f"There is no row {max(found)}: rows count from 0 to {len(CONFIDENCES) - 1}."
    if len(found) != len(_TEACHERS):
        return f"With the quantile at 0.5 half of the eight teach; you have {len(found)}."
    return "Right number, but an image that is surer than one of yours was left out."


EXERCISES = (
    Exercise(
        name="pairs",
        question="The paper's ResNet-50 sees 2 global and 12 local views. Two views are compared when at least one of "
        "them is global. How many pairs of views does one image have?",
        judge=near(
            25,
            within=0.1,
            unit="pairs",
            known={
                91: "That is every pair of 14 views; two local views are never compared.",
                24: "The two global views are a pair as well.",
                14: "That is the number of views.",
                26: "The pair of the two global views is counted twice.",
            },
        ),
        hint="Each of the 12 local views meets both global ones; then the global ones meet each other.",
        solution="answer = 12 * 2 + 1",
        why="2 V − 3 pairs for V views. Two small pieces of an image may show nothing in common, so they are not asked "
        "to agree; each is asked to agree with the whole.",
        mistakes=(91, 24, 14, 26, 0),
    ),
    Exercise(
        name="cost",
        question="A network that looks at every pixel: how much work are 2 views of 224 pixels and 12 of 96 pixels, "
        "counted in views of 224 pixels?",
        judge=near(
            2 + 12 * (96 / 224) ** 2,
            within=0.05,
            unit="global views",
            known={
                14.0: "A local view is smaller, so it costs less than a global one.",
                2 + 12 * 96 / 224: "The number of pixels grows with the square of the side.",
                12 * (96 / 224) ** 2: "That is the local views alone; the two global ones cost something too.",
            },
        ),
        hint="A view of side s has s² pixels: (96 / 224)² of a global view.",
        solution="answer = 2 + 12 * (96 / 224) ** 2",
        why="4.2 in place of 14: twelve more opinions on an image for about twice the price of two views.",
        mistakes=(14, 2 + 12 * 96 / 224, 12 * (96 / 224) ** 2, 2),
    ),
    Exercise(
        name="stroke",
        question="Before you train it: local views that keep 5 to 40 % of a digit, global ones 40 to 100 %, the "
        "paper's values. How will the run end: 'healthy', 'uniform', 'one-class' or 'noise' (sure answers that differ "
        "from view to view)?",
        judge=choice(
            "uniform",
            {
                "healthy": "Look at the second row of small views: could you tell the digit from one of them?",
                "one-class": "The norm before the softmax keeps every class in use within a batch.",
                "noise": "Noise needs views that are free to disagree; consistency has its full weight here.",
            },
        ),
        hint="What can a stroke and the whole digit agree on, if the stroke occurs in every digit?",
        solution='answer = "uniform"',
        why="What a piece does not show, nobody can agree on. The cheapest way to agree is to say nothing.",
        mistakes=("healthy", "one-class", "noise", "collapse"),
    ),
    Exercise(
        name="teachers",
        question="CONFIDENCES holds the greatest probability of the surer view of eight images. The quantile is 0.5: "
        "which rows teach? Give a list of rows, or a mask.",
        judge=_judge_teachers,
        hint="Sort them; the upper half teaches, whatever the numbers are. np.argsort orders from small to large.",
        solution="answer = np.argsort(CONFIDENCES)[4:]",
        why="A quantile and not a fixed confidence: it adapts to what this network calls sure. With ten classes behind "
        "the norm no view can be surer than about 0.76 in every image, so a threshold of 0.9 would silence almost all.",
        mistakes=([1, 5], [1, 5, 3, 2], [1, 5, 3, 7, 2], [8], [True] * 8, 3),
    ),
    Exercise(
        name="which_number",
        question="In the last epochs of the stage the curve of agreement falls from 0.98 to about 0.5, and the images "
        "are sorted as well as before. What changed: 'network', 'views' or 'labels'?",
        judge=choice(
            "views",
            {
                "network": "Then the images, seen whole, would be sorted worse: they are not.",
                "labels": "No label is ever used; and the pseudo labels are the network's own.",
            },
        ),
        hint="A curve of the training batch depends on what the batch shows. What does self_label.crop_scale do?",
        solution='answer = "views"',
        why="The same quantity on other data is another curve: crops of 14 to 100 % came in with the stage. Compare "
        "numbers of the watch images, which are never augmented.",
        mistakes=("network", "labels", "nothing"),
    ),
)
