"""Exercises of 09_few_labels: what a number rests on, and what a hundredth of the labels is worth."""

from __future__ import annotations

import math

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

EXERCISES = (
    Exercise(
        name="untrained",
        question="A run's neighbors are right in 98 % of the asked images. Which number do you need first to say what "
        "training was worth: 'untrained', 'supervised' or 'chance'?",
        judge=choice(
            "untrained",
            {
                "supervised": "That says what labels would have given, not what came with the network's shape alone.",
                "chance": "Chance is 10 %; pixels and random weights are far above it, before anything is learned.",
            },
        ),
        hint="Everything is the same but the training: what network is that?",
        solution='answer = "untrained"',
        why="On digits the same network with random weights reaches 97 % by ten neighbors: one or two of the 98 points "
        "are the training's.",
        mistakes=("supervised", "chance", "98"),
    ),
    Exercise(
        name="standard_error",
        question="Of 359 asked images 81 % are right. How large is one standard error of that share, in points of "
        "percent, when images are right or wrong independently?",
        judge=near(
            100 * math.sqrt(0.81 * 0.19 / 359),
            within=0.08,
            unit="points of percent",
            known={
                100 * 0.81 * 0.19 / 359: "Take the square root.",
                100 * math.sqrt(0.81 * 0.19): "That is the spread of a single image: divide by the number of images.",
                math.sqrt(0.81 * 0.19 / 359): "Right as a share; in points of percent it is a hundred times that.",
            },
        ),
        hint="√(p (1 − p) / n), times 100.",
        solution="answer = 100 * np.sqrt(0.81 * 0.19 / 359)",
        why="2.1 points. Two recipes that differ by one point on 359 images differ by nothing that was measured.",
        mistakes=(100 * 0.81 * 0.19 / 359, math.sqrt(0.81 * 0.19 / 359), 19, 0),
    ),
    Exercise(
        name="top5",
        question="Someone reports a top-5 accuracy of 50 % on ten labels. What does guessing give, in percent?",
        judge=near(
            50,
            within=0.1,
            unit="the accuracy of guessing",
            known={10: "That is one guess; here are five, all different.", 0.5: "As a percentage, please."},
        ),
        hint="Five different labels are named out of ten that are equally likely.",
        solution="answer = 100 * 5 / 10",
        why="Nothing was learned. With a thousand labels five guesses are right in 0.5 %: there a top-5 tells.",
        mistakes=(10, 0.5, 100),
    ),
    Exercise(
        name="labels",
        question="1,438 digits are known, ten labels, about equally many of each. One percent of them, as many of each "
        "label: how many labels may the network see in all?",
        judge=near(
            10,
            within=0.01,
            unit="labels",
            known={
                14: "One label has 1.4 images of that; the same number of each means whole images.",
                14.38: "One label has 1.4 images of that; the same number of each means whole images.",
                20: "1.4 of each label is nearer to one than to two.",
            },
        ),
        hint="1,438 / 100 / 10 images of each label, rounded to a whole number, at least one.",
        solution="answer = 10 * max(1, round(0.01 * 1438 / 10))",
        why="One image of each digit. On ImageNet the same percent is about 13 images of each of a thousand labels: "
        "'1 %' names a share, and the difficulty lies in the number of images per label.",
        mistakes=(14, 14.38, 1, 144),
    ),
    Exercise(
        name="chosen",
        question="With ten labels, a colleague tries 20 learning rates and reports the best accuracy on the 359 asked "
        "images. How many labels did that take: 10, 369 or 1438?",
        judge=near(
            369,
            within=0.1,
            unit="labels",
            known={
                10: "Whoever picks the best of twenty by the asked images has looked at their labels.",
                1438: "The other known labels were never looked at.",
                359: "And the ten that it was trained with.",
            },
        ),
        hint="Which labels had to be known to say which rate was best?",
        solution="answer = 10 + 359",
        why="A choice is learning as well. Here epochs and rates were fixed beforehand on training images, and the "
        "last step counts.",
        mistakes=(10, 1438, 359),
    ),
)
