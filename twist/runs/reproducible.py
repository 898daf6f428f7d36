"""How much of what classes say about images another training says again: a score without labels.

Two trainings of one recipe number their classes differently, and where the images leave it open they also draw the
lines differently. The mutual information of their assignments, less what chance alone gives, is what both say: too
few classes say little, too many say much that no other training repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Pair(NamedTuple):
    """The assignments of the same images by two trainings, ready for counting.

    Attributes
    ----------
    first, second, joint
        Integers ``[M]``: class by the one, class by the other, and the cell of both; numbered without gaps.
    chance
        Mutual information, nats, that two such assignments have on average when they know nothing of each other.
    """

    first: np.ndarray
    second: np.ndarray
    joint: np.ndarray
    chance: float


class Reproduced(NamedTuple):
    """What two trainings say, in nats, both less `Pair.chance`.

    Attributes
    ----------
    shared
        Mutual information of the two assignments: what both say about an image. 0 for chance.
    said
        Entropy of an assignment, the mean of both: what each says.
    """

    shared: float
    said: float

    @property
    def stability(self) -> float:
        """Share of what is said that is said again: the adjusted mutual information; 1 is perfect, 0 is chance."""
        return self.shared / self.said if self.said > 1e-12 else 0.0


def pair_of(first: np.ndarray, second: np.ndarray) -> Pair:
    """Two assignments ``[M]`` of the same images, in the same order.

    Raises
    ------
    ValueError
        When they differ in length or are empty.
    """
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"assignments have shapes {first.shape} and {second.shape}: give one class per image in each")
    first, second = (np.unique(classes, return_inverse=True)[1] for classes in (first, second))
    joint = np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]
    table = contingency_matrix(first, second, sparse=True).astype(np.int64)
    return Pair(first, second, joint, float(expected_mutual_information(table, len(first))))


def reproduced(pair: Pair, weights: np.ndarray | None = None) -> Reproduced:
    """What a pair of trainings says and shares; ``weights`` ``[M]`` says how often each image counts, none means once.

    Examples
    --------
    >>> classes = np.arange(300) % 3
    >>> renumbered = reproduced(pair_of(classes, 2 - classes))
    >>> round(renumbered.stability, 3), bool(renumbered.shared < np.log(3))  # a little of log 3 is chance
    (1.0, True)
    """
    first, second, joint = (_entropy(codes, weights) for codes in (pair.first, pair.second, pair.joint))
    return Reproduced(first + second - joint - pair.chance, (first + second) / 2 - pair.chance)


def _entropy(codes: np.ndarray, weights: np.ndarray | None) -> float:
    counts = np.bincount(codes, weights)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def reproducibility_scores(shared: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Score 0 to 1 of each choice from what it shares and says, in nats; NaN where these are.

    The harmonic mean of two shares: of what the classes say, that which another training repeats; and of the most
    that any choice here repeats, that which this one does. The first falls with too many classes, the second with too
    few.

    Examples
    --------
    >>> shared, said = np.array([1.2, 2.1, 2.2]), np.array([1.5, 2.3, 3.3])  # 5, 10 and 30 classes
    >>> reproducibility_scores(shared, said).round(2)
    array([0.65, 0.93, 0.8 ])
    """
    shared = np.maximum(shared, 0)
    most = np.nanmax(shared) if np.isfinite(shared).any() else np.nan
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(shared) | (most > 0), 2 * shared / np.maximum(said + most, 1e-12), 0.0)


def resampled_scores(choices: Sequence[Sequence[Pair]], *, draws: int = 400, seed: int = 0) -> np.ndarray:
    """Scores ``[draws, choices]`` as other images and other pairs of trainings would give them.

    A bootstrap: each draw takes as many images with replacement, the same for every choice, and for each choice as
    many of its pairs with replacement. Draws lie around the measured scores: an image drawn twice looks like
    agreement, and the mean of the draws, moved by it, is moved back. With one pair a choice the draws know nothing of
    how much another pair would differ.
    """
    rng = np.random.default_rng(seed)
    counts = sorted({len(pair.first) for pairs in choices for pair in pairs})
    drawn = np.empty((draws, len(choices)))
    for draw in range(draws):
        weights = {count: np.bincount(rng.integers(count, size=count), minlength=count) for count in counts}
        taken = [[pairs[i] for i in rng.integers(len(pairs), size=len(pairs))] for pairs in choices]
        drawn[draw] = reproducibility_scores(
            *_means([[reproduced(pair, weights[len(pair.first)]) for pair in pairs] for pairs in taken])
        )
    return drawn - drawn.mean(0) + measured_scores(choices)


def measured_scores(choices: Sequence[Sequence[Pair]]) -> np.ndarray:
    """Score of each choice, from the mean over its pairs."""
    return reproducibility_scores(*_means([[reproduced(pair) for pair in pairs] for pairs in choices]))


def _means(choices: Sequence[Sequence[Reproduced]]) -> tuple[np.ndarray, np.ndarray]:
    means = np.array([np.mean(pairs, 0) for pairs in choices])
    return means[:, 0], means[:, 1]
