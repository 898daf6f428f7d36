"""Closed-form reference lines: what the entropies can reach, in nats."""

from __future__ import annotations

import math


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
