"""Labels by vote of the nearest known images: no training, no choice of an optimizer, the plainest look at features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.learn.evaluation.scoring import LabelScores, Question, question_of, score
from twist.learn.neighbors import nearest
from twist.runs.config import ConfigError

# Votes are counted in whole numbers of this share of the largest one: their sum is the same in every order.
_VOTE = 2.0**-40


@dataclass(frozen=True)
class KnnSettings:
    """How many neighbors vote, and how.

    Attributes
    ----------
    k
        Neighbors that vote; each gives figures of its own, from one pass over the known images.
    temperature
        Each number of neighbors is asked a second time with votes that weigh ``exp(cosine / temperature)``, so that
        near ones count more; 0.07 as DINO, 0.1 as lightly and solo-learn. None leaves these figures out.
    """

    k: tuple[int, ...] = (10, 20, 200)
    temperature: int | float | None = 0.07

    def __post_init__(self):
        if not self.k or min(self.k) < 1:
            raise ConfigError(f"k is {self.k}: give numbers of neighbors of 1 or more")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}: give a number above 0, or none")


class KnnScores(NamedTuple):
    """Figures of one number of neighbors and one way to weigh them.

    Attributes
    ----------
    k, temperature
        As asked; None where every vote counts alike.
    voters
        Neighbors that voted: ``k``, or all the known images where there are fewer.
    scores
        Shares of right answers. A label for which no neighbor votes is no answer, also among the first five.
    """

    k: int
    temperature: float | None
    voters: int
    scores: LabelScores


class KnnFigures(NamedTuple):
    """Figures of the vote for every number of neighbors, first with equal votes, then with weighed ones.

    Attributes
    ----------
    rows
        One of each.
    known, asked
        Images whose labels voted, and images that were asked.
    notes
        What a reader must know, a sentence each.
    """

    rows: tuple[KnnScores, ...]
    known: int
    asked: int
    notes: tuple[str, ...]

    def scores(self) -> dict[str, float]:
        """Every figure by a flat name: ``accuracy_k20``, ``top5_accuracy_k200_t0.07``, ``mean_label_accuracy_k10``."""
        named: dict[str, float] = {}
        for row in self.rows:
            suffix = f"_k{row.k}" + ("" if row.temperature is None else f"_t{row.temperature:g}")
            named |= {name + suffix: value for name, value in row.scores._asdict().items() if value is not None}
        return named


@torch.no_grad()
def knn(
    known: Float[Tensor, "N D"],
    known_labels: Int64[Tensor, " n"],
    asked: Float[Tensor, "Q d"],
    asked_labels: Int64[Tensor, " q"],
    settings: KnnSettings = KnnSettings(),
) -> KnnFigures:
    """Share of the asked images whose label most of their nearest known images by cosine have.

    Every asked image is compared with every known one. Equal votes are those of scikit-learn's
    ``KNeighborsClassifier(k, metric="cosine")``, weighed ones the same with ``weights=lambda d: exp((1 - d) / T)``. Of
    labels with as many votes the smallest wins; of images equally near, the first ones vote.

    Parameters
    ----------
    known, known_labels
        Features of the images whose labels vote. Rows with a label below 0 are left out, here and below.
    asked, asked_labels
        Features that are asked about, and what is right, on the same device.
    settings
        Numbers of neighbors, and the temperature.

    Raises
    ------
    ConfigError
        When no label is left on a side, widths differ, or a feature is not finite.

    Notes
    -----
    Evaluating twice gives the same numbers. Another number of threads, or a GPU, may round cosines otherwise in the
    last bit; two images equally near up to that can change places.

    Examples
    --------
    >>> known, labels = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), torch.tensor([4, 4, 7])
    >>> figures = knn(known, labels, torch.tensor([[2.0, 0.0], [0.1, 5.0]]), torch.tensor([4, 7]), KnnSettings((1, 3)))
    >>> figures.scores()["accuracy_k1"], figures.scores()["accuracy_k3"], figures.scores()["accuracy_k3_t0.07"]
    (1.0, 0.5, 1.0)
    """
    asking = question_of(known, known_labels, asked, asked_labels)
    ways = [(k, temperature) for temperature in _temperatures(settings) for k in settings.k]
    answers: list[list[Tensor]] = [[] for _ in ways]
    most = min(max(settings.k), len(asking.known))
    for neighbors in nearest(asking.known, asking.asked, most):
        labels, near = asking.known_labels[neighbors.indices], neighbors.similarities
        for (k, temperature), found in zip(ways, answers, strict=True):
            found.append(_voted(labels[:, :k], near[:, :k], temperature, len(asking.labels)))
    rows = tuple(
        KnnScores(k, temperature, min(k, len(asking.known)), score(torch.cat(found), asking))
        for (k, temperature), found in zip(ways, answers, strict=True)
    )
    return KnnFigures(rows, len(asking.known), len(asking.asked), (*asking.notes, *_notes(settings, asking)))


def _temperatures(settings: KnnSettings) -> tuple[float | None, ...]:
    return (None,) if settings.temperature is None else (None, settings.temperature)


def _voted(labels: Tensor, near: Tensor, temperature: float | None, num_labels: int) -> Tensor:
    """The five labels with most votes ``[Q, 5]``, most first, -2 where no other label has a vote."""
    if temperature is None:
        votes = torch.ones_like(labels)
    else:
        # Measured from the nearest one, so that no temperature overflows; a vote too light to count still is one.
        share = ((near - near[:, :1]).double() / temperature).exp()
        votes = (share / _VOTE).round().long().clamp(min=1)
    sums = labels.new_zeros(len(labels), num_labels).scatter_add_(1, labels, votes)
    first = sums.sort(dim=1, descending=True, stable=True)
    return torch.where(first.values > 0, first.indices, -2)[:, :5]


def _notes(settings: KnnSettings, asking: Question) -> tuple[str, ...]:
    few = [k for k in settings.k if k > len(asking.known)]
    if not few:
        return ()
    return (f"k of {', '.join(map(str, few))}: all {len(asking.known)} known images vote, there are no more",)
