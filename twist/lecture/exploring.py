"""Small maps of anything, and the exercises of 06_exploring: how a map misleads."""

from __future__ import annotations

from typing import Any

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

#: Which of the four maps of the notebook shows features of digits.
REAL = "C"


def small_map(features: np.ndarray, *, neighbors: int = 15, seed: int = 0) -> np.ndarray:
    """Places of rows on a quick UMAP, float32 ``[M, 2]``, from a random start: another seed is another map.

    Views of twist start from the principal components instead and look the same every time. Use it for up to two
    thousand rows: it takes about a second.

    Parameters
    ----------
    features
        ``[M, D]``, any finite float; compared by the angle between rows, as in every map of twist.
    neighbors
        How many nearest rows hold a row in its place, itself included.
    seed
        Of the start.
    """
    from twist.view.nearest import cosine_neighbors, fuzzy_graph
    from twist.view.placing import settle

    rows = np.asarray(features, np.float32)
    indices, distances = cosine_neighbors(rows, neighbors)
    start = np.random.default_rng(seed).uniform(-10, 10, (len(rows), 2)).astype(np.float32)
    return settle(fuzzy_graph(indices, distances), start, 200)


def noise(count: int = 600, directions: int = 3, seed: int = 0) -> np.ndarray:
    """Random numbers without any groups, ``[count, directions]``."""
    return np.random.default_rng(seed).normal(size=(count, directions)).astype(np.float32)


def four_maps(features: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Four small maps by letter: that of the features is `REAL`, the others are of `noise`.

    Parameters
    ----------
    features
        ``[M, D]``.
    seed
        Of the start of each map; the numbers stay the same.
    """
    rows = {"A": noise(), "B": noise(directions=128, seed=1), REAL: features, "D": noise(seed=2)}
    neighbors = {"A": 5, "B": 4, REAL: 15, "D": 15}
    return {letter: small_map(rows[letter], neighbors=neighbors[letter], seed=seed) for letter in sorted(rows)}


def tight_and_wide(each: int = 300) -> np.ndarray:
    """Two groups in ten directions, the first ``each`` rows tight, the others ten times as wide."""
    random = np.random.default_rng(0)
    tight, wide = random.normal(size=(2, each, 10)) * np.array([0.05, 0.5])[:, None, None]
    tight[:, 0] += 3
    wide[:, 1] += 3
    return np.concatenate([tight, wide]).astype(np.float32)


def spread(places: np.ndarray) -> float:
    """Mean distance of rows from their center."""
    return float(np.linalg.norm(places - places.mean(0), axis=1).mean())


def _factor() -> float:
    both = tight_and_wide()
    half = len(both) // 2
    return spread(both[half:]) / spread(both[:half])


def _trust(answer: Any) -> str:
    if not callable(answer):
        return "A function of neighbors and places is asked for."
    random = np.random.default_rng(1)
    places = random.normal(size=(40, 2))
    squares = ((places[:, None] - places) ** 2).sum(-1)
    order = squares.argsort(1)[:, 1:6]
    if not np.isclose(float(answer(order, places)), 1.0):
        return "Where the five nearest in feature space are the five nearest on the map, trust is 1."
    neighbors = np.array([random.choice(np.delete(np.arange(40), row), 5, replace=False) for row in range(40)])
    expected = np.mean([np.isin(neighbors[row], order[row]).mean() for row in range(40)])
    found = float(answer(neighbors, places))
    if np.isclose(found, expected):
        return ""
    return f"For neighbors chosen at random it gives {found:.3f}, which is too {'low' if found < expected else 'high'}."


EXERCISES = (
    Exercise(
        name="far-apart",
        question="Two groups touch on one of the three maps and lie far apart on another. Which of both is right about "
        "the distance of the groups: 'the first', 'the second' or 'neither'?",
        judge=choice(
            "neither",
            {
                "the first": "Its start was as random as the other's: why would it know?",
                "the second": "Its start was as random as the other's: why would it know?",
            },
        ),
        hint="What does UMAP ask of two images that are no neighbors?",
        solution='answer = "neither"',
        why="UMAP holds neighbors together and pushes all others away; nothing asks how far. Distances between groups "
        "are mostly left over from the start.",
        mistakes=("the first", "the second", "both"),
    ),
    Exercise(
        name="spread",
        question="By what factor is the wide group wider than the tight one in feature space? The mean distance of "
        "rows from the center of their group is `spread(rows)`.",
        judge=near(
            _factor(),
            within=0.3,
            unit="the factor",
            known={1 / _factor(): "That is the tight one over the wide one."},
        ),
        hint="The first 300 rows of `both` are the tight group.",
        solution="answer = spread(both[300:]) / spread(both[:300])",
        why="Ten times as wide, and on the map about as large: every image measures distance by its own neighbors.",
        mistakes=(1.0, 0.1, -10.0),
    ),
    Exercise(
        name="trust",
        question="Write the trust of a map as a function `trust(neighbors, places)`: the mean share of the nearest "
        "images in feature space (`neighbors`, a row of K for each image) that are among its K nearest on the map "
        "(`places`).",
        judge=_trust,
        hint="Squared distances between all places: ((places[:, None] - places) ** 2).sum(-1). In every row of argsort "
        "the image itself comes first.",
        solution="def answer(neighbors, places):\n"
        "    squares = ((places[:, None] - places) ** 2).sum(-1)\n"
        "    near = squares.argsort(1)[:, 1 : neighbors.shape[1] + 1]\n"
        "    return np.mean([np.isin(ours, theirs).mean() for ours, theirs in zip(neighbors, near, strict=True)])",
        why="The same number, image by image, is behind “trust” in the explorer.",
        mistakes=(lambda neighbors, places: 1.0, lambda neighbors, places: 0.5, 0.6),
    ),
    Exercise(
        name="real",
        question="Three of the four maps A, B, C, D are of random numbers, and one is of digits. Which one is it?",
        judge=choice(
            REAL,
            {letter: "There is nothing in it but random numbers." for letter in "ABCD" if letter != REAL},
        ),
        hint="A group that is there stays together when the map is drawn again from another start. Draw them again: "
        "`small_maps(four_maps(features, seed=1))`.",
        solution=f'answer = "{REAL}"',
        why="The other three show clumps, strings and bridges, made of nothing. Few neighbors make more of them; "
        "whoever wants to see groups will.",
        mistakes=("A", "B", "D", "all"),
    ),
)
