"""The TWIST loss: consistency + sharpness - diversity, from the logits of the views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn import information


class LossTerms(NamedTuple):
    """The loss and its three terms, unweighted, in nats.

    Attributes
    ----------
    total
        What is minimized: the weighted sum, in which diversity is subtracted.
    consistency
        Symmetric divergence between the views of a sample; 0 when they agree.
    sharpness
        Mean sample entropy H(Y given X); log C in the uniform collapse.
    diversity
        Entropy of the mean distribution, stored as +H(Y); 0 in the one-class collapse.
    """

    total: Float[Tensor, ""]
    consistency: Float[Tensor, ""]
    sharpness: Float[Tensor, ""]
    diversity: Float[Tensor, ""]


def twist_loss(
    logits: Sequence[Float[Tensor, "N C"]],
    *,
    temperature: int | float = 1.0,
    consistency_temperature: int | float | None = None,
    consistency_weight: int | float = 1.0,
    sharpness_weight: int | float = 1.0,
    diversity_weight: int | float = 1.0,
    eps: int | float = 1e-5,
) -> LossTerms:
    """The TWIST loss of a batch, in nats: low when views agree, samples are sharp and classes are all in use.

    With equal weights it is consistency minus mutual information: 0 in every collapse, at best -log min(N, C). With
    other weights its value alone is no detector of collapse; read the terms.

    Parameters
    ----------
    logits
        One tensor per view, global views first; row i of each belongs to the same sample.
    temperature
        Divisor of the logits.
    consistency_temperature
        Divisor of the logits in the consistency term; none means `temperature`, 1 is the authors'.
    consistency_weight, sharpness_weight, diversity_weight
        Weights of the terms in the total.
    eps
        Added to the probabilities inside the logarithms: 1e-5 is the authors', 0 is exact.

    Returns
    -------
    LossTerms
        Scalars of at least float32, also under autocast; differentiable, finite for every finite input.

    Raises
    ------
    ValueError
        For fewer than two views, views of different shapes, no samples, fewer than two classes, a temperature that is
        not a finite number above 0, or a negative eps.

    Notes
    -----
    More than two views are paired as by the authors: each of the first two (the global ones) with every later one.
    Entropies are taken once per view and weighted by its share in the pairs, so the cost is linear in the number of
    views. Every view has its own mean distribution: diversity is the mean of the views' entropies.

    With eps > 0 the probability of a class that is certain not to occur has no gradient through its logarithm, and the
    consistency of two opposite one-hot rows ends at log((1 + eps) / eps), 11.5 nats for 1e-5.

    References
    ----------
    arXiv 2110.07402, equation of the objective.

    Examples
    --------
    >>> sharp = 100 * torch.eye(4)
    >>> twist_loss([sharp, sharp], eps=0).total  # agreeing, sharp and diverse: -log 4
    tensor(-1.3863)
    >>> collapsed = sharp[[0, 0, 0, 0]]
    >>> [round(term.item(), 3) + 0.0 for term in twist_loss([collapsed, collapsed])]
    [0.0, 0.0, 0.0, 0.0]
    """
    if consistency_temperature is None:
        consistency_temperature = temperature
    _check(logits, eps, temperature=temperature, consistency_temperature=consistency_temperature)
    pairs = [(i, j) for i in range(2) for j in range(i + 1, len(logits))]
    shares = [sum(view in pair for pair in pairs) / (2 * len(pairs)) for view in range(len(logits))]

    views = [_log_probs(view, temperature) for view in logits]
    paired = views
    if consistency_temperature != temperature:
        paired = [_log_probs(view, consistency_temperature) for view in logits]
    consistency = torch.stack([_symmetric_divergence(paired[i], paired[j], eps) for i, j in pairs]).mean()
    sharpness = torch.stack([share * _sharpness(view, eps) for share, view in zip(shares, views, strict=True)]).sum()
    diversity = torch.stack([share * _diversity(view, eps) for share, view in zip(shares, views, strict=True)]).sum()
    total = consistency_weight * consistency + sharpness_weight * sharpness - diversity_weight * diversity
    return LossTerms(total, consistency, sharpness, diversity)


def _check(logits: Sequence[Tensor], eps: int | float, **temperatures: int | float) -> None:
    if len(logits) < 2:
        raise ValueError(f"{len(logits)} view given: the loss compares two views or more of the same samples")
    shapes = [tuple(view.shape) for view in logits]
    if len(set(shapes)) > 1:
        raise ValueError(f"the views' logits have shapes {shapes}: give every view the same samples and classes")
    if len(shapes[0]) != 2 or shapes[0][0] < 1 or shapes[0][1] < 2:
        raise ValueError(
            f"logits have shape {shapes[0]}: give [samples, classes] with a sample and two classes or more"
        )
    for name, value in temperatures.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}: give a finite number above 0")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps is {eps}: give 0 or a small positive number such as 1e-5")


def _log_probs(logits: Tensor, temperature: int | float) -> Tensor:
    # Half precision keeps three digits: too few for differences of entropies.
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(wide / temperature, 1)


def _symmetric_divergence(a: Tensor, b: Tensor, eps: int | float) -> Tensor:
    """Mean over the samples of (KL(a given b) + KL(b given a)) / 2."""
    p, q = a.exp(), b.exp()
    if eps:
        a, b = (p + eps).log(), (q + eps).log()
    return ((p - q) * (a - b)).sum(1).mean() / 2


def _sharpness(log_probs: Tensor, eps: int | float) -> Tensor:
    if not eps:
        return information.conditional_entropy(log_probs)
    return _entropy(log_probs.exp(), eps).mean()


def _diversity(log_probs: Tensor, eps: int | float) -> Tensor:
    if not eps:
        return information.marginal_entropy(log_probs)
    return _entropy(log_probs.exp().mean(0), eps)


def _entropy(probs: Tensor, eps: int | float) -> Tensor:
    return -(probs * (probs + eps).log()).sum(-1)
