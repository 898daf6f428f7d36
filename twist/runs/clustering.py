"""How well learned classes agree with labels that the training never saw."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from twist.runs.record import RunRecord, Watch
from twist.runs.sheets import ContactSheets

KMEANS_VALUES = 2_000_000


class ClusterScores(NamedTuple):
    """Agreement of an assignment with the labels; NaN throughout when no sample has a label.

    Attributes
    ----------
    matched_accuracy
        Share of samples whose class is matched with their label, each class with one label at most; 0 to 1.
    many_to_one_accuracy
        The same when any number of classes may stand for one label; 0 to 1. It rises with the number of classes by
        itself: never compare it between numbers of classes, nor with `matched_accuracy`.
    nmi, ami
        Normalized and adjusted mutual information (arithmetic mean); 1 is perfect, ami is near 0 for chance.
    ari
        Adjusted Rand index; 1 is perfect, near 0 for chance.
    fmi
        Fowlkes-Mallows index, which the authors print as F; 0 to 1.
    """

    matched_accuracy: float
    many_to_one_accuracy: float
    nmi: float
    ami: float
    ari: float
    fmi: float


def cluster_scores(assignment: np.ndarray, labels: np.ndarray, num_classes: int) -> ClusterScores:
    """Scores of an assignment ``[N]`` against labels ``[N]``; samples with a label below 0 are left out.

    Raises
    ------
    ValueError
        When the arrays differ in length, or an assignment lies outside 0 to C - 1.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1])
    >>> cluster_scores(np.array([2, 2, 0, 0]), labels, 3).matched_accuracy
    1.0
    >>> scores = cluster_scores(np.array([1, 1, 1, 1]), labels, 3)  # one class takes all
    >>> scores.matched_accuracy, scores.nmi
    (0.5, 0.0)
    """
    from sklearn import metrics

    assignment, labels = _labeled(assignment, labels, num_classes)
    if not len(labels):
        return ClusterScores(*[math.nan] * len(ClusterScores._fields))
    table = _contingency(assignment, labels, num_classes)
    matched = _match(table)
    with warnings.catch_warnings():
        # scikit-learn suspects a regression when most samples have a class of their own.
        warnings.simplefilter("ignore", UserWarning)
        return ClusterScores(
            matched_accuracy=float(np.mean(matched[assignment] == labels)),
            many_to_one_accuracy=float(table.max(1).sum() / len(labels)),
            nmi=float(metrics.normalized_mutual_info_score(labels, assignment)),
            ami=float(metrics.adjusted_mutual_info_score(labels, assignment)),
            ari=float(metrics.adjusted_rand_score(labels, assignment)),
            fmi=float(metrics.fowlkes_mallows_score(labels, assignment)),
        )


def scores_of(record: RunRecord) -> ClusterScores | None:
    """Scores of a run's newest snapshot, as far as the record was polled; None without labels or without a snapshot."""
    watch = record.watch()
    if watch is None or watch.labels is None or watch.labels.max(initial=-1) < 0 or not record.snapshot_steps():
        return None
    snapshot = record.snapshot()
    return cluster_scores(snapshot.assignment, watch.labels, snapshot.num_classes)


def match_classes(assignment: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The label matched with each class ``[C]``, -1 for classes without one; found by Hungarian matching.

    Each class gets one label at most and each label one class at most, so that most samples agree. With more classes
    than labels some classes stay without, and their samples count as wrong; with fewer, some labels do.

    Raises
    ------
    ValueError
        When the arrays differ in length, or an assignment lies outside 0 to C - 1.

    Examples
    --------
    >>> match_classes(np.array([2, 2, 0, 0, 1]), np.array([0, 0, 1, 1, 1]), 3)
    array([ 1, -1,  0])
    """
    assignment, labels = _labeled(assignment, labels, num_classes)
    return _match(_contingency(assignment, labels, num_classes))


def matched_top_k_accuracy(top_classes: np.ndarray, labels: np.ndarray, matched: np.ndarray) -> float:
    """Share of samples whose label is matched with one of their K likeliest classes ``[N, K]``.

    Parameters
    ----------
    top_classes
        The K likeliest classes of each sample.
    labels
        Labels ``[N]``; samples with a label below 0 are left out.
    matched
        Label of each class, as `match_classes` gives it.

    Returns
    -------
    float
        0 to 1, never below the accuracy at smaller K; NaN when no sample has a label.

    Examples
    --------
    >>> labels, matched = np.array([0, 1, 1]), np.array([1, -1, 0])
    >>> round(matched_top_k_accuracy(np.array([[2, 0], [1, 0], [1, 2]]), labels, matched), 3)
    0.667
    """
    labels, top_classes = np.asarray(labels), np.asarray(top_classes)
    known = labels >= 0
    if not known.any():
        return math.nan
    return float((matched[top_classes[known]] == labels[known, None]).any(1).mean())


def pixel_kmeans_scores(watch: Watch, num_classes: int) -> ClusterScores | None:
    """Scores of k-means on the pixels of the watch images' thumbnails: what takes no learning at all.

    Parameters
    ----------
    watch
        The watch images of a run.
    num_classes
        Number of clusters.

    Returns
    -------
    ClusterScores or None
        None without labels, with fewer images than clusters, or with more than two million pixel values: those would
        take too long.
    """
    from sklearn.cluster import KMeans

    if watch.labels is None or len(watch) < num_classes or len(watch) * watch.tile**2 > KMEANS_VALUES:
        return None
    tiles = np.concatenate(list(ContactSheets.of(watch).tiles()))
    if tiles.size > KMEANS_VALUES:
        return None
    pixels = tiles.reshape(len(tiles), -1) / np.float32(255)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different images than clusters
        assignment = KMeans(num_classes, n_init=10, random_state=0).fit_predict(pixels)
    return cluster_scores(assignment, watch.labels, num_classes)


def _labeled(assignment: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    assignment, labels = np.asarray(assignment), np.asarray(labels)
    if assignment.shape != labels.shape or assignment.ndim != 1:
        raise ValueError(f"assignment has shape {assignment.shape}, labels {labels.shape}: give one of each per sample")
    if len(assignment) and not (0 <= assignment.min() and assignment.max() < num_classes):
        span = f"{assignment.min()} to {assignment.max()}"
        raise ValueError(f"assignments go from {span}: with num_classes {num_classes} give 0 to {num_classes - 1}")
    known = labels >= 0
    return assignment[known].astype(np.int64), labels[known].astype(np.int64)


def _contingency(assignment: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Number of samples by class and label ``[C, K]``."""
    num_labels = labels.max(initial=-1) + 1
    counts = np.bincount(assignment * num_labels + labels, minlength=num_classes * num_labels)
    return counts.reshape(num_classes, num_labels)


def _match(table: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    matched = np.full(len(table), -1)
    classes, labels = linear_sum_assignment(table, maximize=True)
    matched[classes] = labels
    return matched
