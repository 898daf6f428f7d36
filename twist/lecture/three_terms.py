"""Exercises of 02_three_terms: entropies by hand, the entropy plane, and which way each term pushes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import near, rows_of


def entropies(probs: Any) -> tuple[float, float]:
    """H(Y|X) and H(Y) of a batch of distributions ``[N, C]``, in nats.

    Raises
    ------
    ValueError
        When the rows are no distributions.
    """
    rows = np.asarray(probs, float)
    if rows.ndim != 2:
        raise ValueError(f"a batch has two axes, images and classes, and this has {rows.ndim}")
    if (rows < 0).any() or not np.allclose(rows.sum(1), 1, atol=1e-6):
        raise ValueError("every row must be a distribution: no number below 0, and the sum 1")
    mean = rows.mean(0)

    def entropy(some: np.ndarray) -> np.ndarray:
        return -(some * np.log(np.clip(some, 1e-300, None))).sum(-1)

    return float(entropy(rows).mean()), float(entropy(mean))


def _two_of_four(answer: Any) -> str:
    rows = np.asarray(answer, float)
    if rows.shape != (4, 4):
        return f"Four images and four classes make an array of shape (4, 4), and this has {rows.shape}."
    conditional, marginal = entropies(rows)
    if conditional > 0.005:
        return f"Not every image is sure of its class: H(Y|X) is {conditional:.2f} nats."
    if abs(marginal - math.log(2)) > 0.005:
        return f"The images are sure, but they use {math.exp(marginal):.1f} classes, and two are asked for."
    return ""


def _negative(answer: Any) -> str:
    if isinstance(answer, str):
        word = answer.strip(" '\".!\n").lower()
        return "" if word == "impossible" else 'Give a batch, or the word "impossible".'
    conditional, marginal = entropies(answer)
    return f"That batch has H(Y) − H(Y|X) = {max(marginal - conditional, 0):.3f} nats, which is not below 0."


def _risers(answer: Any) -> str:
    found = set(rows_of(answer, 3).tolist())
    if not found <= {0, 1, 2}:
        return "The classes are 0, 1 and 2."
    if found == {0}:
        return ""
    if 0 not in found:
        return "The class that is ahead is missing: a sharper answer has more of it."
    return "Too many: not all of these rise. Hold −log p of each class against the entropy."


EXERCISES = (
    Exercise(
        name="coin",
        question="An image hesitates between two of ten classes, 50 : 50. What is its entropy, in nats?",
        judge=near(
            math.log(2),
            known={
                1.0: "That is in bits: twist uses the natural logarithm.",
                -math.log(2): "Mind the sign: no entropy is below 0.",
                math.log(10): "That is the entropy of ten equally likely classes; eight of them have probability 0.",
            },
        ),
        hint="−Σ p log p, where eight of the ten terms are 0. np.log is the natural logarithm.",
        solution="answer = -(0.5 * np.log(0.5) + 0.5 * np.log(0.5))",
        why="log 2 ≈ 0.69, however many classes there are; its exp is 2, the number of classes it hesitates between.",
        mistakes=(1.0, 0.5, math.log(10), -math.log(2), float("nan"), "two"),
    ),
    Exercise(
        name="two-of-four",
        question="Build a batch of four images and four classes in which every image is sure of its class, and in "
        "which two classes are used evenly: the class perplexity, exp H(Y), is 2.",
        judge=_two_of_four,
        hint="Every row has a single 1. Which columns may hold one, and how often?",
        solution="answer = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]])",
        why="Both images of a class get the same row. This is half of a partial collapse: H(Y|X) alone is perfect.",
        mistakes=(np.eye(4), np.full((4, 4), 0.25), np.eye(4)[[0, 0, 0, 0]], np.eye(4)[[0, 0, 0, 1]], np.eye(2)),
    ),
    Exercise(
        name="negative",
        question="Can the mean distribution be more certain than the images are on average, that is H(Y) < H(Y|X)? "
        'Answer with a batch (an array) for which it is so, or with the word "impossible".',
        judge=_negative,
        hint="Try a few random batches: np.random.default_rng(0).dirichlet(np.ones(4), size=8). What does mixing two "
        "different distributions do to the entropy?",
        solution='answer = "impossible"',
        why="Entropy is concave: averaging never makes it smaller. So every run stays on or above the diagonal, and "
        "H(Y) − H(Y|X), the mutual information, is never below 0.",
        mistakes=("possible", np.eye(3), np.full((2, 2), 0.5)),
    ),
    Exercise(
        name="disagree",
        question="Two views of one image get (0.9, 0.1) and (0.1, 0.9). What does consistency cost, in nats?",
        judge=near(
            0.5 * 2 * 0.8 * math.log(9),
            known={
                1.6 * math.log(9): "That is the sum of both directions: the term is their mean.",
                0.4 * math.log(9): "That is half of one direction: the term is the mean of two that are equal here.",
                0.0: "Both are equally sure, but not of the same class.",
            },
        ),
        hint="The mean of KL(p‖q) and KL(q‖p). Both are equal here, so one is enough.",
        solution="p, q = np.array([0.9, 0.1]), np.array([0.1, 0.9])\nanswer = ((p - q) * np.log(p / q)).sum() / 2",
        why="0.8 · log 9 ≈ 1.76 nats. Sure answers that contradict each other are dear: two flat ones would cost 0.",
        mistakes=(3.5156, 0.0, 0.8, -1.7578),
    ),
    Exercise(
        name="risers",
        question="One image has (0.5, 0.3, 0.2). A step down the sharpness term alone is taken at its logits. Which of "
        "the classes 0, 1, 2 get a higher logit? Answer with a list.",
        judge=_risers,
        hint="−∂H/∂logit of a class is p (log p + H). When is that above 0? H of this image is 1.03 nats.",
        solution="p = np.array([0.5, 0.3, 0.2])\nanswer = np.flatnonzero(p * (np.log(p) + entropy(p)) > 0)",
        why="A class rises when its probability is above exp(−H), here 0.36: one part in as many as the image "
        "hesitates between. The rich get richer, whoever they are: sharpness does not ask whether the class is right.",
        mistakes=([0, 1], [1, 2], [], [0, 1, 2], 5),
    ),
)
