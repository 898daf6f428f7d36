"""Exercises of 12_comparing: what is a difference, and what is another seed."""

from __future__ import annotations

import math
import statistics

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

#: Images by class of one run (rows) and class of another (columns).
SEEDS = ((0, 178, 2), (3, 1, 170), (181, 0, 0))
_AGREEING = 178 + 170 + 181
_ALL = sum(map(sum, SEEDS))

#: Accuracies of three seeds of one recipe: 1 % of the labels on the untrained digits network, as published here.
BEFORE = (0.630, 0.733, 0.543)
_APART = (0.70 - statistics.mean(BEFORE)) / statistics.stdev(BEFORE)

_FORK = 0.001 + (1 - 0.001) / 2 * (1 + math.cos(math.pi * (40 - 5) / (80 - 5)))

EXERCISES = (
    Exercise(
        name="renamed",
        question="SEEDS counts images by their class in one run (rows) and in another (columns). On what share of the "
        "images do the two runs agree?",
        judge=near(
            _AGREEING / _ALL,
            within=0.003,
            unit="the share",
            known={
                1 / _ALL: "That is the diagonal: class 0 of one run need not be class 0 of the other.",
                _AGREEING: "That is the number of images: divide by all of them.",
            },
        ),
        hint="Two seeds number the same groups differently. Match each row with one column first.",
        solution="answer = np.max(SEEDS, axis=1).sum() / np.sum(SEEDS)",
        why="99 %. The numbers of classes mean nothing; a row that is spread over several columns does.",
        mistakes=(1 / _ALL, _AGREEING, 0.5),
    ),
    Exercise(
        name="spread",
        question="Three seeds of a recipe reach 0.630, 0.733 and 0.543 (BEFORE). You change a field, train once, and "
        "get 0.700. How many standard deviations of the old runs is that above their mean?",
        judge=near(
            _APART,
            within=0.03,
            unit="standard deviations",
            known={
                (0.70 - statistics.mean(BEFORE)) / statistics.pstdev(BEFORE): "Three values estimate a spread: divide "
                "by n − 1 (ddof=1).",
                0.70 - statistics.mean(BEFORE): "That is the difference; divide it by the spread.",
            },
        ),
        hint="np.mean, and np.std with ddof=1.",
        solution="answer = (0.700 - np.mean(BEFORE)) / np.std(BEFORE, ddof=1)",
        why="0.7: one of the old seeds was better than that by itself. Train the changed recipe with the same three "
        "seeds before you say that it helps.",
        mistakes=(0.70 - statistics.mean(BEFORE), 7.0, 0.0),
    ),
    Exercise(
        name="blame",
        question="A run of another seed and with milder views is five points better. What made it better: 'views', "
        "'seed' or 'unknown'?",
        judge=choice(
            "unknown",
            {
                "views": "The seed differs too, and nobody knows yet what it does alone.",
                "seed": "The views differ too, and nobody knows yet what they do alone.",
            },
        ),
        hint="How many fields would the table of differences show?",
        solution='answer = "unknown"',
        why="Two fields differ, so the pair says nothing about either. One change at a time, or all combinations.",
        mistakes=("views", "seed", "both"),
    ),
    Exercise(
        name="fork",
        question="A run of 40 epochs has ended, at a thousandth of its peak learning rate. Its fork has 80 epochs, 5 "
        "of them warm-up, and goes on at epoch 40. What is its learning rate at once, as a share of the peak?",
        judge=near(
            _FORK,
            within=0.02,
            unit="the share",
            known={
                0.001: "That is where the old schedule ended; the fork follows its own.",
                1.0: "The peak is at the end of the warm-up, at epoch 5.",
            },
        ),
        hint="A cosine from 1 at epoch 5 to 0.001 at epoch 80: where is it at epoch 40?",
        solution="answer = 0.001 + (1 - 0.001) / 2 * (1 + np.cos(np.pi * (40 - 5) / (80 - 5)))",
        why="0.55: the steps are suddenly 550 times as long, and curves jump before they fall again. A jump right "
        "after a fork is first of all its schedule.",
        mistakes=(0.001, 1.0, 0.0),
    ),
)
