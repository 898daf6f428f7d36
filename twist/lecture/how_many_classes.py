"""Exercises of 08_how_many_classes: what caps the information, what matching counts, and how to read a sweep."""

from __future__ import annotations

import math

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

#: How many images of each label (rows) fell into each class (columns): 150 images, 3 labels, 4 classes.
TABLE = ((40, 10, 0, 0), (0, 0, 30, 20), (5, 45, 0, 0))

EXERCISES = (
    Exercise(
        name="cap",
        question="Batches of 100 images, 300 classes. What is the most mutual information I(X;Y) that a batch can "
        "show, in nats?",
        judge=near(
            math.log(100),
            within=0.01,
            known={
                math.log(300): "That is what the classes could carry; a batch has fewer images than classes.",
                math.log(30_000): "The smaller of the two numbers caps it, not their product.",
                math.log2(100): "That is in bits: twist uses the natural logarithm.",
            },
        ),
        hint="Knowing the class of an image can at best single it out among the images of its batch.",
        solution="answer = np.log(min(100, 300))",
        why="log min(N, C) = log 100 = 4.6 nats: two hundred of the 300 classes are empty in every batch, and the "
        "diversity term cannot tell which. That is the verdict 'batch too small'.",
        mistakes=(math.log(300), math.log(30_000), 100, 0.0),
    ),
    Exercise(
        name="ceiling",
        question="Ten labels, equally many images of each, and a perfect network with 20 classes that cuts every label "
        "into two equal halves. What is its matched accuracy, when each label is matched with one class?",
        judge=near(
            0.5,
            unit="the matched accuracy",
            known={
                1.0: "That is the many-to-one accuracy: here a label gets one class, not two.",
                0.05: "A class holds a twentieth of all images, but ten classes are matched.",
            },
        ),
        hint="Ten of the twenty classes are matched with a label; what becomes of the images in the others?",
        solution="answer = 10 * (1 / 20)",
        why="One half, though nothing was mixed up. Matched accuracy asks for the labels' own number of classes; with "
        "another number read NMI, AMI, or the confusion itself.",
        mistakes=(1.0, 0.05, 0.0),
    ),
    Exercise(
        name="many_to_one",
        question="TABLE counts images by label (rows) and class (columns). Every class stands for the label that most "
        "of its images have. What share of the images is then right?",
        judge=near(
            135 / 150,
            unit="the share",
            known={
                135.0: "That is the number of images: divide by all of them.",
                115 / 150: "That is one class for each label: take the largest number of every column, not of every "
                "row. Two classes may stand for one label.",
            },
        ),
        hint="The largest number of every column, summed: np.max with axis=0.",
        solution="answer = np.max(TABLE, axis=0).sum() / np.sum(TABLE)",
        why="0.90, where one-to-one matching says 0.77 of the same table. With a class for every image it would be 1: "
        "never compare it between different numbers of classes.",
        mistakes=(115 / 150, 135.0, 0.5),
    ),
    Exercise(
        name="floor",
        question="Five classes at temperature 1 behind the norm: sharpness ends at 0.91 nats, more than half of "
        "log 5 = 1.61. What is the matter: 'undecided', 'floor' or 'collapse'?",
        judge=choice(
            "floor",
            {
                "undecided": "Ask bounds.sharpness_floor(5) what the surest network would show.",
                "collapse": "At the uniform collapse sharpness is log 5, and the classes hold nothing.",
            },
        ),
        hint="The norm fixes how far apart logits can be. The warning at the start of the sweep names a number.",
        solution='answer = "floor"',
        why="The least that five balanced classes can show there is 0.90. The same network at temperature 0.5 could go "
        "down to 0.16: compare sharpness with its floor, or choose a lower temperature when classes are few.",
        mistakes=("undecided", "collapse", 0.9),
    ),
    Exercise(
        name="choose",
        question="A sweep says: 5 classes, stability 0.42, views agree in 95 %; 10 classes, 0.88 and 95 %; 20 classes, "
        "0.80 and 74 %. Which number of classes says least about what is in the images?",
        judge=near(
            5,
            within=0.1,
            unit="classes",
            known={
                20: "Its views agree less, yet another seed says most of the same: those halves are real.",
                10: "Another seed says 88 % of it again.",
                0.42: "That is its stability: give the number of classes.",
            },
        ),
        hint="What would another seed have given? Agreement between views is asked within one run.",
        solution="answer = 5",
        why="Two digits must share a class, and nothing in the images says which two: each seed pairs them its own "
        "way, with views that agree perfectly. A class is worth a name when another training finds it again.",
        mistakes=(20, 10, "none"),
    ),
)
