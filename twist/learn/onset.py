"""How learning begins: which directions of the logits the loss lets grow, and up to which consistency weight.

Sharpness and diversity reward logits that differ from image to image; consistency fines what of that differs between
two views of one image. Near uniform both are quadratic in the logits' energy, and the correlation of the views decides
which of them wins: see `twist.runs.bounds.largest_weight`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.objective import twist_loss

#: Share of the mean variance that is added to every direction, so that one of hardly any variance is not blown up.
_DAMPING = 1e-2


@torch.no_grad()
def views_correlation(first: Float[Tensor, "N D"], other: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Correlation of two views' rows, all directions together, weighted by their variance.

    Near 1: what the rows tell survives the augmentation. Near 0: the views of an image have no more in common than
    those of two images. One strong direction can hide weak ones: read `direction_correlations` next.

    Parameters
    ----------
    first, other
        Logits or features of two views, row i of each from the same image.

    Returns
    -------
    Tensor
        -1 to 1. What all rows share is taken away; of logits, give rows of mean 0, since the softmax ignores the rest.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> views_correlation(rows, rows), views_correlation(rows, rows.flip(0))
    (tensor(1.), tensor(-1.))
    """
    first, other = _centered(first, other)
    return (first * other).sum() / ((first.square().sum() + other.square().sum()) / 2)


@torch.no_grad()
def direction_correlations(first: Float[Tensor, "N D"], other: Float[Tensor, "N D"]) -> Float[Tensor, " D"]:
    """Correlation between two views of every direction that a linear layer could read, greatest first.

    Directions are chosen on the first half of the images, so that their variances are 1, their covariances 0 and the
    views as alike as can be, and are measured on the second half: on the images they were chosen on, noise would look
    alike too. The greatest tells what a head could agree on at once, before the layers below have changed.

    Parameters
    ----------
    first, other
        Features or logits of two views, row i of each from the same image; many more rows than directions.

    Returns
    -------
    Tensor
        float64, -1 to 1, in descending order.

    Raises
    ------
    ValueError
        For fewer than four images.

    Examples
    --------
    One direction that both views share, and one in which they are strangers:

    >>> generator = torch.Generator().manual_seed(0)
    >>> shared, own, others = torch.randn(3, 20_000, 1, generator=generator)
    >>> direction_correlations(torch.cat([shared, own], 1), torch.cat([shared, others], 1)).round(decimals=1).abs()
    tensor([1., 0.], dtype=torch.float64)
    """
    if len(first) < 4:
        raise ValueError(f"{len(first)} images given: give four or more, half to choose directions, half to measure")
    first, other = _centered(first.double(), other.double())
    half = len(first) // 2
    own, shared = _covariances(first[:half], other[:half])
    variances, axes = torch.linalg.eigh(own)
    whitening = axes / (variances.clamp(min=0) + _DAMPING * variances.mean() + 1e-12).sqrt()
    directions = whitening @ torch.linalg.eigh(whitening.T @ shared @ whitening).eigenvectors
    own, shared = _covariances(first[half:], other[half:])
    spread = ((directions.T @ own) * directions.T).sum(1)
    return (((directions.T @ shared) * directions.T).sum(1) / spread.clamp(min=1e-12)).sort(descending=True).values


def balance_weight(
    logits: Sequence[Float[Tensor, "N C"]] | Float[Tensor, "V N C"], *, temperature: int | float = 1.0
) -> float:
    """Consistency weight at which the loss asks logits neither to grow nor to shrink, all by the same factor.

    With a larger one the first steps lose information, with a smaller one they gain it, whatever the views agree on.
    Exact for these logits; for small ones it is `twist.runs.bounds.largest_weight` of their `views_correlation`.

    Parameters
    ----------
    logits
        Of the views, before the temperature.
    temperature
        Divisor of the logits.

    Returns
    -------
    float
        0 upward; infinite where the views do not differ.
    """
    rows = torch.stack(list(logits)).detach().double()
    rows = rows - rows.mean(2, keepdim=True)  # the softmax ignores the mean of a row
    slopes = []
    for weight in (0, 1):
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        terms = twist_loss(rows * scale, temperature=temperature, consistency_weight=weight, eps=0)
        slopes.append(torch.autograd.grad(terms.total, scale)[0].item())
    gain, fine = -slopes[0], slopes[1] - slopes[0]
    return gain / fine if fine > 1e-9 * abs(gain) else float("inf")


def _centered(first: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    mean = (first.mean(0) + other.mean(0)) / 2
    return first - mean, other - mean


def _covariances(first: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows of either view, and between the views, symmetric."""
    own = (first.T @ first + other.T @ other) / (2 * len(first))
    shared = first.T @ other / len(first)
    return own, (shared + shared.T) / 2
