"""What every protocol with labels asks: known rows, asked rows, and the shares of right answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.runs.config import ConfigError

_TOP = 5


class LabelScores(NamedTuple):
    """Shares of right answers over the asked images.

    Attributes
    ----------
    accuracy
        Share whose first answer is their label, 0 to 1.
    top5_accuracy
        Share whose label is among the first five answers, 0 to 1, never below ``accuracy``; None where five answers
        name every label there is, and would be right whatever the features.
    mean_label_accuracy
        Mean over the labels of the share found among the images of each: a rare label counts as much as a common one.
    """

    accuracy: float
    top5_accuracy: float | None
    mean_label_accuracy: float


def shares_of(figures: Any) -> dict[str, float]:
    """The shares among some figures by their names, without one that says nothing."""
    names = (*LabelScores._fields, "train_accuracy")
    return {name: share for name in names if (share := getattr(figures, name, None)) is not None}


class Question(NamedTuple):
    """Rows that are known and rows that are asked, with labels counted from 0 without gaps.

    Attributes
    ----------
    known, asked
        Features ``[N, D]`` and ``[Q, D]``, finite, float32 or float64.
    known_labels
        Position of each known row's label in ``labels``.
    asked_labels
        The same for asked rows; -1 where no known row has the label, so that no answer is right.
    asked_places
        Position of each asked row's label among the labels that are asked: of this the mean per class is taken.
    labels
        The different labels of the known rows, in order.
    notes
        What a reader of the figures must know, a sentence each.
    """

    known: Tensor
    known_labels: Tensor
    asked: Tensor
    asked_labels: Tensor
    asked_places: Tensor
    labels: Tensor
    notes: tuple[str, ...]


def question_of(
    known: Float[Tensor, "N D"],
    known_labels: Int64[Tensor, " n"],
    asked: Float[Tensor, "Q d"],
    asked_labels: Int64[Tensor, " q"],
) -> Question:
    """Features and labels as the protocols take them: rows without a label (below 0) left out, gaps closed.

    Half precision becomes float32, and what lies on a device that lacks float64 (mps) is copied to the CPU.

    Raises
    ------
    ConfigError
        When no row is left on a side, the two sides differ in width, or a feature is not finite.

    Examples
    --------
    >>> rows = torch.eye(3)
    >>> asking = question_of(rows, torch.tensor([7, 9, -1]), rows, torch.tensor([7, 8, 9]))
    >>> asking.labels.tolist(), asking.known_labels.tolist(), asking.asked_labels.tolist()
    ([7, 9], [0, 1], [0, -1, 1])
    >>> asking.notes[0]
    '1 of 3 asked images have a label that no known image has: they count as wrong'
    """
    if known.shape[1] != asked.shape[1]:
        raise ConfigError(
            f"known features have {known.shape[1]} dimensions, asked ones {asked.shape[1]}: give features of one model"
        )
    known, known_labels = _labeled("known", known, known_labels)
    asked, asked_labels = _labeled("asked", asked, asked_labels)
    dtype = torch.promote_types(torch.promote_types(known.dtype, asked.dtype), torch.float32)
    labels, places = known_labels.unique(return_inverse=True)
    found = torch.searchsorted(labels, asked_labels).clamp(max=len(labels) - 1)
    found = torch.where(labels[found] == asked_labels, found, -1)
    strangers = int((found < 0).sum())
    notes = []
    if strangers:
        of = f"{strangers:,} of {len(asked):,} asked images"
        notes.append(f"{of} have a label that no known image has: they count as wrong")
    if len(labels) <= _TOP:
        notes.append(f"no top-5 accuracy: there are {len(labels)} labels, and five answers would name all of them")
    classes = asked_labels.unique(return_inverse=True)[1]
    return Question(known.to(dtype), places, asked.to(dtype), found, classes, labels, tuple(notes))


def score(answers: Int64[Tensor, "Q K"], asking: Question) -> LabelScores:
    """How right the answers are.

    Parameters
    ----------
    answers
        Positions in ``asking.labels``, likeliest first, at least one; -2 where there is no further answer.
    asking
        What was asked.

    Examples
    --------
    >>> rows = torch.eye(3)
    >>> asking = question_of(rows, torch.tensor([4, 5, 5]), rows, torch.tensor([4, 5, 5]))
    >>> score(torch.tensor([[0], [0], [1]]), asking)
    LabelScores(accuracy=0.6666666666666666, top5_accuracy=None, mean_label_accuracy=0.75)
    """
    hits = answers[:, :_TOP] == asking.asked_labels[:, None]
    first = hits[:, 0]
    sizes = asking.asked_places.bincount()
    right = asking.asked_places[first].bincount(minlength=len(sizes))
    return LabelScores(
        accuracy=int(first.sum()) / len(hits),
        top5_accuracy=int(hits.any(1).sum()) / len(hits) if len(asking.labels) > _TOP else None,
        mean_label_accuracy=(right.double() / sizes).mean().item(),
    )


def top_answers(logits: Float[Tensor, "Q C"]) -> Int64[Tensor, "Q K"]:
    """Positions of the (at most five) largest logits of each row, largest first; of equal ones the first."""
    return logits.sort(dim=1, descending=True, stable=True).indices[:, :_TOP]


def _labeled(side: str, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if len(features) != len(labels):
        raise ConfigError(f"{len(features)} {side} features have {len(labels)} labels: give one each")
    if features.device.type == "mps":
        features, labels = features.cpu(), labels.cpu()
    labels = labels.to(features.device)
    if bool((labels < 0).any()):
        features, labels = features[labels >= 0], labels[labels >= 0]
    if not len(labels):
        raise ConfigError(f"no {side} image has a label: give images with labels of 0 and more")
    if not bool(features.isfinite().all()):
        row = int((~features.isfinite().all(1)).nonzero()[0, 0])
        raise ConfigError(f"the {side} features are not finite (first in row {row}): the network's weights are spoiled")
    return features, labels
