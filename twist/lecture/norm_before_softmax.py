"""Exercises of 04_norm_before_softmax: the floor of sharpness, the start, and what the norm hides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near
from twist.lecture.three_terms import entropies
from twist.runs.bounds import sharpness_floor


def first_batch(final_norm: str, seed: int = 0, num_images: int = 100) -> dict[str, Any]:
    """The first batch of an untrained network for digits: entropies in nats, and how hard the loss pulls.

    Parameters
    ----------
    final_norm
        Norm before the softmax, batch or none.
    seed
        Seed of the weights.
    num_images
        Size of the batch.

    Returns
    -------
    dict
        ``norm``, ``seed``, ``sharpness``, ``diversity``, ``information`` and ``consistency`` of two views of each
        image, and ``pull``: the norm of the gradient of the information over all weights.
    """
    import torch

    from twist.learn import datasets
    from twist.learn.networks import build_network
    from twist.learn.objective import twist_loss
    from twist.learn.views import make_views
    from twist.runs.recipes import recipe

    asked = recipe("digits").replace(network__num_heads=1, network__final_norm=final_norm)
    images = datasets.load(asked.data)
    rows = torch.linspace(0, len(images) - 1, num_images).long()
    views = make_views(images.images[rows], images.sample_ids[rows], asked.views, seed=0, epoch=0)[:2]
    network = build_network(asked.network, 1, seed=seed, image_size=asked.views.size).train()
    logits = network.forward_heads(views)[1][0].unflatten(0, (2, -1))
    terms = twist_loss(logits)
    information = terms.diversity - terms.sharpness
    slopes = torch.autograd.grad(information, list(network.parameters()), allow_unused=True)
    pull = torch.stack([slope.norm() for slope in slopes if slope is not None]).norm()
    found = {"sharpness": terms.sharpness, "diversity": terms.diversity, "information": information}
    numbers = {**found, "consistency": terms.consistency, "pull": pull}
    return {"norm": final_norm, "seed": seed, **{name: value.item() for name, value in numbers.items()}}


def _gap(answer: Any) -> str:
    if not callable(answer):
        return "A function of the number of classes is asked for."
    for count in (2, 5, 10, 50, 1000):
        found, expected = float(answer(count)), count / math.sqrt(count - 1)
        if not math.isclose(found, expected, rel_tol=0.01):  # `norm(np.eye(C))` has a little eps
            side = "small" if found < expected else "large"
            return f"For {count} classes it gives {found:.3f}, which is too {side}."
    return ""


def _hidden(answer: Any) -> str:
    logits = np.asarray(answer, float)
    if logits.ndim != 2 or len(logits) < 2 or logits.shape[1] < 2:
        return "An array of images and classes is asked for, at least two of each."
    mean, std = logits.mean(0), logits.std(0)
    if np.abs(mean).max() > 0.01 or np.abs(std - 1).max() > 0.01:
        return f"A column has mean {mean[np.abs(mean).argmax()]:.2f} and deviation {std[np.abs(std - 1).argmax()]:.2f}."
    odds = np.exp(logits - logits.max(1, keepdims=True))
    information = float(np.subtract(*entropies(odds / odds.sum(1, keepdims=True))[::-1]))
    return "" if information < 0.001 else f"The classes still hold {information:.3f} nats about the images."


EXERCISES = (
    Exercise(
        name="gap",
        question="C classes are used evenly, and in every column one image in C has a high logit, all others the same "
        "low one. By how much can high and low differ when every column has mean 0 and variance 1? Answer with a "
        "function of C.",
        judge=_gap,
        hint="A column that is 1 for a share s of the rows and 0 for the others has the variance s (1 − s). By what "
        "must you divide to make that 1?",
        solution="def answer(C):\n    return C / np.sqrt(C - 1)",
        why="1 / sqrt(s (1 − s)) with s = 1/C. For ten classes 3.33, whatever the network does: no image can be surer "
        "than that, as long as all are as sure.",
        mistakes=(lambda count: count, lambda count: math.sqrt(count - 1), 3.33),
    ),
    Exercise(
        name="floor",
        question="So what is the least H(Y|X), in nats, for ten classes at temperature 0.5?",
        judge=near(
            sharpness_floor(10, 0.5),
            within=0.005,
            known={
                sharpness_floor(10): "That is the floor at temperature 1.",
                sharpness_floor(10, 2.0): "The temperature divides the logits: below 1 it makes the gap larger.",
            },
        ),
        hint="The entropy of one image: a logit of gap / temperature, and nine of 0.",
        solution="gap = 10 / np.sqrt(9)\nanswer = entropy(softmax(np.array([gap] + [0] * 9) / 0.5))",
        why="0.087 nats instead of 1.089: a lower temperature opens the plane. So a sharpness of 1.1 is perfect at "
        "temperature 1 and poor at 0.5. Read it against its floor.",
        mistakes=(1.0886, 0.0, 2.3, 1.78),
    ),
    Exercise(
        name="start",
        question="Near uniform the information is about half of the variance of the logits, from image to image and "
        "class to class, in nats. How much does an untrained network with the norm start with?",
        judge=near(
            0.5,
            within=0.15,
            known={1.0: "That is the variance itself.", 0.05: "That is about what it is without the norm."},
        ),
        hint="What variance does the norm give every column?",
        solution="answer = 1 / 2",
        why="The rule says 0.5; measured it is 0.37, since a variance of 1 is not small any more. Without the norm "
        "it is 0.05, whatever the seed.",
        mistakes=(1.0, 0.05, 2.3),
    ),
    Exercise(
        name="hidden",
        question="Fool the norm: give logits of some images and classes in which every column has mean 0 and variance "
        "1, and in which every image gets the same flat distribution.",
        judge=_hidden,
        hint="The softmax ignores what all logits of an image have in common.",
        solution="answer = np.array([[1.0] * 10, [-1.0] * 10])",
        why="All columns are the same: the norm is content, and the classes are worth nothing. That is the uniform "
        "collapse; its mark is a spread of 1 in the columns and of 0 in the rows.",
        mistakes=(np.zeros((4, 10)), np.eye(4), np.random.default_rng(0).normal(size=(100, 10))),
    ),
    Exercise(
        name="one-normed",
        question="Without diversity and without the norm, everything fell into one class. And without diversity, but "
        "with the norm: 'one-class', 'uniform' or 'healthy'? Answer before you look at the next cell.",
        judge=choice(
            "healthy",
            {
                "one-class": "A class that is ahead for every image has a column with one value. What is left of it?",
                "uniform": "Sharpness is still asked for, and flat answers are fined.",
            },
        ),
        hint="What can a column look like after the norm?",
        solution='answer = "healthy"',
        why="Every class must be above its mean for some images and below it for others: the norm does the work of the "
        "diversity term. That is also why H(Y) alone says little behind a norm.",
        mistakes=("one-class", "uniform", "partial"),
    ),
)
