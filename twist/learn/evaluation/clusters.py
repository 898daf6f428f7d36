"""Unsupervised classification: how well classes that were found without labels agree with labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.learn.evaluation.scoring import top_answers
from twist.runs.clustering import cluster_scores, match_classes, matched_top_k_accuracy
from twist.runs.config import ConfigError

_TOP = 5


class ClusterFigures(NamedTuple):
    """Agreement of classes with labels; the classes are matched with the labels on the asked images themselves.

    Attributes
    ----------
    matched_accuracy
        Share of images whose class is matched with their label, each class with one label and each label with one class
        at most, so that most images agree; 0 to 1. With more classes than labels, the images of a class without a label
        count as wrong.
    matched_top5_accuracy
        Share whose label is matched with one of their five likeliest classes, 0 to 1, never below
        ``matched_accuracy``; None of an assignment without probabilities, and with five classes or fewer.
    many_to_one_accuracy
        The matched accuracy when any number of classes may stand for a label. It rises with the number of classes by
        itself: never compare it between numbers of classes, nor with ``matched_accuracy``.
    nmi, ami
        Normalized and adjusted mutual information (arithmetic mean); ami is near 0 for chance.
    ari, fmi
        Adjusted Rand index, near 0 for chance; Fowlkes-Mallows index, which the authors print as F.
    matched
        Label that each class is matched with ``[C]``, -1 for those without.
    num_classes, used_classes, num_labels
        Classes there are, those that an image fell to, and labels among the asked images.
    asked
        Images that were compared.
    notes
        What a reader must know, a sentence each.
    """

    matched_accuracy: float
    matched_top5_accuracy: float | None
    many_to_one_accuracy: float
    nmi: float
    ami: float
    ari: float
    fmi: float
    matched: Tensor
    num_classes: int
    used_classes: int
    num_labels: int
    asked: int
    notes: tuple[str, ...]

    def scores(self) -> dict[str, float]:
        """The agreements by their names, without one that says nothing."""
        shares = self._fields[: self._fields.index("matched")]
        return {name: getattr(self, name) for name in shares if getattr(self, name) is not None}


def clusters(assignment: Int64[Tensor, " N"], labels: Int64[Tensor, " n"], num_classes: int) -> ClusterFigures:
    """Agreement of an assignment with labels; images with a label below 0 are left out.

    Parameters
    ----------
    assignment
        Class of each image, 0 to C - 1.
    labels
        What is right; gaps between labels mean nothing.
    num_classes
        Number of classes C, used or not.

    Raises
    ------
    ConfigError
        When no image has a label, the lengths differ, or an assignment lies outside 0 to C - 1.

    Examples
    --------
    >>> figures = clusters(torch.tensor([2, 2, 0, 0, 1]), torch.tensor([7, 7, 9, 9, 9]), 3)
    >>> figures.matched_accuracy, figures.many_to_one_accuracy, figures.matched.tolist()
    (0.8, 1.0, [9, -1, 7])
    """
    return _figures(assignment[:, None], labels, num_classes, ranked=False)


def classes(log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " n"]) -> ClusterFigures:
    """Agreement of class distributions with labels: that of their likeliest classes, and the matched top five.

    Parameters
    ----------
    log_probs
        Log-probabilities of the classes, or logits. Of equally likely classes the first counts.
    labels
        What is right; images with a label below 0 are left out.

    Raises
    ------
    ConfigError
        When no image has a label, the lengths differ, or a value is not a number.

    Notes
    -----
    Differs from the authors' code, which counts every class beyond the number of labels as the first label, and every
    hit of the first five, so that their top-5 can exceed 1.

    Examples
    --------
    >>> figures = classes(torch.eye(6).log_softmax(1), torch.tensor([1, 0, 2, 3, 4, 5]))
    >>> figures.matched_accuracy, figures.matched_top5_accuracy
    (1.0, 1.0)
    """
    if bool(log_probs.isnan().any()):
        row = int(log_probs.isnan().any(1).nonzero()[0, 0])
        raise ConfigError(
            f"the class probabilities are not numbers (first in row {row}): the network's weights are spoiled"
        )
    rows = max(1, 2**24 // max(1, log_probs.shape[1]))
    top = torch.cat([top_answers(part) for part in log_probs.split(rows)])
    return _figures(top, labels, log_probs.shape[1], ranked=True)


def _figures(top: Tensor, labels: Tensor, num_classes: int, *, ranked: bool) -> ClusterFigures:
    """Figures of the likeliest classes ``[N, K]``: the first five where they are ranked, else one."""
    if len(top) != len(labels):
        raise ConfigError(f"{len(top)} images have {len(labels)} labels: give one each")
    if len(top) and not (0 <= int(top.min()) and int(top.max()) < num_classes):
        span = f"{int(top.min())} to {int(top.max())}"
        raise ConfigError(f"classes go from {span}: with {num_classes} classes give 0 to {num_classes - 1}")
    known = (labels >= 0).cpu().numpy()
    if not known.any():
        raise ConfigError("no asked image has a label: give images with labels of 0 and more")
    likeliest = top.cpu().numpy()[known]
    # Labels counted without gaps: one of a million would take a million columns.
    names, places = np.unique(labels.cpu().numpy()[known], return_inverse=True)
    assignment = likeliest[:, 0]
    scores = cluster_scores(assignment, places, num_classes)
    matched = match_classes(assignment, places, num_classes)
    five = ranked and num_classes > _TOP
    return ClusterFigures(
        matched_accuracy=scores.matched_accuracy,
        matched_top5_accuracy=matched_top_k_accuracy(likeliest, places, matched) if five else None,
        many_to_one_accuracy=scores.many_to_one_accuracy,
        nmi=scores.nmi,
        ami=scores.ami,
        ari=scores.ari,
        fmi=scores.fmi,
        matched=torch.from_numpy(np.where(matched < 0, -1, names[matched])),
        num_classes=num_classes,
        used_classes=len(np.unique(assignment)),
        num_labels=len(names),
        asked=len(places),
        notes=_notes(num_classes, len(names), ranked),
    )


def _notes(num_classes: int, num_labels: int, ranked: bool) -> tuple[str, ...]:
    notes = ["classes are matched with labels on the asked images themselves"]
    if num_classes > num_labels:
        notes.append(
            f"{num_classes - num_labels} of {num_classes} classes stay without a label, as there are {num_labels}: "
            "their images count as wrong in the matched accuracy"
        )
    elif num_classes < num_labels:
        notes.append(
            f"{num_labels - num_classes} of {num_labels} labels stay without a class, as there are {num_classes}: "
            "their images count as wrong in the matched accuracy"
        )
    if ranked and num_classes <= _TOP:
        notes.append(f"no top-5 accuracy: there are {num_classes} classes, and five answers would name all of them")
    return tuple(notes)
