"""Closed-form reference lines: what the entropies can reach, in nats."""

from __future__ import annotations

import functools
import math

import numpy as np


def log_classes(num_classes: int) -> float:
    """Entropy of the uniform distribution over C classes, log C: the ceiling of every entropy."""
    return math.log(num_classes)


def mutual_information_cap(num_samples: int, num_classes: int) -> float:
    """Greatest mutual information of N samples and C classes, log min(N, C).

    Reached when the samples share the classes evenly and every one is certain; a batch of N cannot tell more than N
    samples apart, however many classes there are.

    Examples
    --------
    >>> round(mutual_information_cap(256, 4096), 3), mutual_information_cap(1, 10)
    (5.545, 0.0)
    """
    return math.log(max(1, min(num_samples, num_classes)))


def marginal_entropy_top(num_classes: int, eps: int | float = 0.0) -> float:
    """Value of either entropy for the uniform distribution when eps stands inside the logarithm, -log(1/C + eps).

    With eps 1e-5 it is visibly below log C for thousands of classes: the line to hold recorded loss terms against.

    Examples
    --------
    >>> round(marginal_entropy_top(10), 4), round(marginal_entropy_top(32768, 1e-5), 4)
    (2.3026, 10.1138)
    """
    return -math.log(1 / num_classes + eps)


def sharpness_floor(num_classes: int, temperature: int | float = 1.0, final_norm: str = "batch") -> float:
    """Least sharpness (mean sample entropy) a training batch can reach behind the final norm; 0 without one.

    The norm gives every class logit variance 1, so no sample can push one class arbitrarily far above the others: at
    best C / sqrt(C - 1), divided by the temperature. For ten classes at temperature 1 that is 1.09 nats, so a
    sharpness of 1.1 is as sharp as can be and no failure. Above about 50 classes the floor vanishes.

    Parameters
    ----------
    num_classes
        C, two or more.
    temperature
        Divisor of the logits; below 1 lowers the floor.
    final_norm
        Norm before the softmax: batch, sync or none.

    Returns
    -------
    float
        Nats. A line for training batches alone: running statistics, used in evaluation, do not obey it.

    Notes
    -----
    Numeric minimization finds nothing lower at temperatures up to 1. Well above 1 it is the line of a balanced use of
    the classes: leaving most samples flat and making a few very sharp is slightly sharper on average (1.58 instead of
    1.60 for six classes at temperature 2).

    Examples
    --------
    >>> round(sharpness_floor(10), 3), round(sharpness_floor(10, temperature=0.5), 3), sharpness_floor(10, 1.0, "none")
    (1.089, 0.087, 0.0)
    """
    if final_norm == "none":
        return 0.0
    gap = num_classes / math.sqrt(num_classes - 1) / temperature
    # Entropy of a row with one logit `gap` above C - 1 equal ones, written so that a large gap cannot overflow.
    others = (num_classes - 1) * math.exp(-gap)
    return math.log1p(others) + gap * others / (1 + others)


def largest_weight(correlation: float) -> float:
    """Consistency weight up to which a direction of the logits grows whose views correlate by so much.

    Near uniform, logits of energy E add E / 2 to the information and cost w (1 - r) E of consistency, for views that
    correlate by r; so they grow while w < 0.5 / (1 - r), whatever the temperature. A run whose best direction is below
    slides to uniform. At most 0.5 lets grow whatever correlates at all, noise included.

    Parameters
    ----------
    correlation
        r, at most 1; see `twist.learn.onset.direction_correlations`.

    Returns
    -------
    float
        Infinite for views that always agree; at least 0.25.

    Examples
    --------
    >>> [round(largest_weight(r), 2) for r in (0.0, 0.5, 0.75)]
    [0.5, 1.0, 2.0]
    """
    return 0.5 / (1 - correlation) if correlation < 1 else math.inf


def balanced_sharpness(num_groups: int, num_classes: int, temperature: int | float = 1.0) -> float:
    """Sharpness of C classes that tell k equally large groups apart behind the final norm, log(C/k) + floor of k.

    Every group shares C/k classes that rise together, so the diversity stays log C whatever k is: a run that learns
    ever more groups moves along the upper edge of the entropy plane, from the uniform corner (k = 1) to the floor
    (k = C). Where it stands on that edge says how many groups its classes tell apart.

    Examples
    --------
    >>> [round(balanced_sharpness(k, 10), 3) for k in (1, 2, 5, 10)]
    [2.303, 1.975, 1.595, 1.089]
    """
    floor = sharpness_floor(num_groups, temperature) if num_groups > 1 else 0.0
    return math.log(num_classes / num_groups) + floor


@functools.lru_cache(maxsize=32)
def norm_frontier(num_classes: int, temperature: int | float = 1.0) -> np.ndarray:
    """Edge of what training batches can reach behind the final norm, as corners (H(Y|X), H(Y)) in nats, ``[P, 2]``.

    From the floor of sharpness at full diversity the edge runs down to the least diversity that the norm allows, and
    on to the uniform corner: less diversity costs sharpness, and one class for all images is out of reach, because a
    column with one value for all of them has logit 0, like every other. With the upper edge H(Y) = log C it encloses
    every batch, and every mean over batches: the enclosed region is convex.

    Parameters
    ----------
    num_classes
        C, two or more.
    temperature
        Divisor of the logits; lower ones open more of the plane.

    Returns
    -------
    np.ndarray
        float64, read-only. The first corner is at the floor and log C, or near it for temperatures above 1; the last is
        the uniform corner (log C, log C).

    Notes
    -----
    A class used by a share s of the rows and by no other has the logits sqrt((1 - s) / s) and -sqrt(s / (1 - s)).
    The edge is the convex hull of such codes with k live classes that share 1 - e of the rows evenly, and one group of
    the other rows, a share e, in which all C - k remaining classes are high. Free minimization of weighted sums of both
    entropies over 200 standardized rows found nothing beyond it for 3 classes, and at most 0.0001 nats for 10, 0.0006
    for 30 and 0.006 for 100 (0.1 % of log C), at temperatures up to 1. At temperature 2 it found 0.014 nats for six
    classes, see `sharpness_floor`. More classes were not checked: they minimize too slowly.

    Examples
    --------
    Ten classes at temperature 1 leave a thin strip, 0.08 nats high:

    >>> edge = norm_frontier(10)
    >>> edge[[0, -1]].round(3).tolist(), round(float(edge[:, 1].min()), 2)
    ([[1.089, 2.303], [2.303, 2.303]], 2.22)
    """
    top = math.log(num_classes)
    live = np.unique(np.geomspace(1, num_classes - 1, 100).round())[:, None]
    rest = 1 / (1 + np.exp(np.linspace(14, -6, 160)))
    codes = _code_entropies(live, rest, num_classes, temperature).reshape(-1, 2)
    points = np.vstack([codes, [(sharpness_floor(num_classes, temperature), top), (top, top)]])
    # Corners of the hull: the points that lie farthest in some direction, from the left over below to the right.
    angles = np.linspace(0, 0.98 * math.pi, 240)
    farthest = (points / np.ptp(points, axis=0) @ [np.cos(angles), np.sin(angles)]).argmin(0)
    corners = points[list(dict.fromkeys(farthest))]
    corners.setflags(write=False)
    return corners


def _code_entropies(live: np.ndarray, rest: np.ndarray, num_classes: int, temperature: int | float) -> np.ndarray:
    """Both entropies of codes with k live classes and a share e of other rows, see `norm_frontier`; ``[K, E, 2]``."""
    dead, share = num_classes - live, (1 - rest) / live
    high, low = np.sqrt((1 - share) / share) / temperature, -np.sqrt(share / (1 - share)) / temperature
    dead_high, dead_low = np.sqrt((1 - rest) / rest) / temperature, -np.sqrt(rest / (1 - rest)) / temperature
    # Log-probabilities of a live row: its own class, another live one, a dead one. Of another row: a live one, a dead.
    total = np.logaddexp(np.logaddexp(high, np.log(np.maximum(live - 1, 1e-300)) + low), np.log(dead) + dead_low)
    own, other, none = high - total, low - total, dead_low - total
    total = np.logaddexp(np.log(live) + low, np.log(dead) + dead_high)
    rest_live, rest_dead = low - total, dead_high - total
    live_row = own * np.exp(own) + (live - 1) * other * np.exp(other) + dead * none * np.exp(none)
    rest_row = live * rest_live * np.exp(rest_live) + dead * rest_dead * np.exp(rest_dead)
    mean_live = (1 - rest) * (np.exp(own) + (live - 1) * np.exp(other)) / live + rest * np.exp(rest_live)
    mean_dead = (1 - rest) * np.exp(none) + rest * np.exp(rest_dead)
    conditional = -(1 - rest) * live_row - rest * rest_row
    marginal = -live * mean_live * np.log(mean_live) - dead * mean_dead * np.log(mean_dead)
    return np.stack([conditional, marginal], -1)
