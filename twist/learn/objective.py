"""The TWIST loss: consistency + sharpness - diversity, from the logits of the views."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.paired_terms import paired_terms
from twist.learn.sweeps import Weights


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
    logits: Sequence[Float[Tensor, "N C"]] | Float[Tensor, "V N C"],
    *,
    temperature: int | float = 1.0,
    consistency_temperature: int | float | None = None,
    consistency_weight: int | float = 1.0,
    sharpness_weight: int | float = 1.0,
    diversity_weight: int | float = 1.0,
    eps: int | float = 1e-5,
    mean_over_processes: Callable[[Tensor], Tensor] | None = None,
    kernels: bool = True,
) -> LossTerms:
    """The TWIST loss of a batch, in nats: low when views agree, samples are sharp and classes are all in use.

    With equal weights it is consistency minus mutual information: 0 in every collapse, at best -log min(N, C). With
    other weights its value alone is no detector of collapse; read the terms.

    Parameters
    ----------
    logits
        One tensor per view, global views first; row i of each belongs to the same sample. All views in one tensor
        save a copy of the gradient.
    temperature
        Divisor of the logits.
    consistency_temperature
        Divisor of the logits in the consistency term; none means `temperature`, 1 is the authors'.
    consistency_weight, sharpness_weight, diversity_weight
        Weights of the terms in the total.
    eps
        Added to the probabilities inside the logarithms: 1e-5 is the authors', 0 is exact.
    mean_over_processes
        Differentiable mean of a tensor over the processes that share a batch, `twist.learn.distributed.mean`; none
        when this process holds all of it. It is asked once, for the mean distributions: diversity is then that of the
        joined batch, the other terms are this process's own, and gradients averaged over the processes are those of
        the joined batch.
    kernels
        Whether a CUDA device may use fused kernels, which it does where they are found to agree with what runs
        everywhere else; false compares or works around them.

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
    More than two views are paired as by the authors: each of the first two (the global ones, g and h) with every later
    view v, 2V - 3 pairs. They are never formed. For one sample and D(a, b) = Σ (p_a - p_b)(log p_a - log p_b), and with
    m the mean of g and h in probabilities and in logarithms alike,

        Σ over pairs of D = (1 + (V - 2) / 2) D(g, h) + 2 Σ over local views of D(m, v),

    so a view costs one softmax and one logarithm, whatever the number of pairs, and small divergences are not
    differences of large entropies. Entropies are weighted by the share of their view in the pairs. Every view has its
    own mean distribution: diversity is the mean of the views' entropies.

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
    weights = Weights(consistency_weight, sharpness_weight, diversity_weight)
    if consistency_temperature == temperature:
        return LossTerms(
            *paired_terms(
                logits,
                temperature=temperature,
                weights=weights,
                eps=eps,
                mean_over_processes=mean_over_processes,
                kernels=kernels,
            )
        )
    entropies = paired_terms(
        logits,
        temperature=temperature,
        weights=weights._replace(consistency=0),
        eps=eps,
        mean_over_processes=mean_over_processes,
        kernels=kernels,
    )
    compared = paired_terms(
        logits,
        temperature=consistency_temperature,
        weights=Weights(1, 0, 0),
        eps=eps,
        mean_over_processes=None,
        kernels=kernels,
    )
    total = consistency_weight * compared.consistency + entropies.total
    return LossTerms(total, compared.consistency, entropies.sharpness, entropies.diversity)


def teacher_loss(
    logits: Sequence[Float[Tensor, "N C"]],
    teacher_logits: Sequence[Float[Tensor, "N C"]],
    *,
    temperature: int | float = 1.0,
    consistency_weight: int | float = 1.0,
    sharpness_weight: int | float = 1.0,
    diversity_weight: int | float = 1.0,
    eps: int | float = 1e-5,
    mean_over_processes: Callable[[Tensor], Tensor] | None = None,
) -> LossTerms:
    """The TWIST loss of a student against a momentum teacher, in nats.

    Consistency is the divergence of every student view from each of the teacher's two global views, the same view
    excepted; sharpness and diversity are those of the student's views, all of equal weight.

    Parameters
    ----------
    logits
        The student's, one tensor per view, global views first.
    teacher_logits
        The teacher's, of the two global views; constants.
    temperature
        Divisor of all logits, the teacher's too.
    consistency_weight, sharpness_weight, diversity_weight, eps, mean_over_processes
        As in `twist_loss`.

    Returns
    -------
    LossTerms
        Consistency is one-sided here: with eps > 0 it may fall a little below 0, the exact divergence never does.

    Raises
    ------
    ValueError
        As `twist_loss`, or when the teacher's views are not two of the student's shape.

    References
    ----------
    arXiv 2110.07402; method section 3.2.

    Examples
    --------
    >>> sharp = 100 * torch.eye(4)
    >>> teacher_loss([sharp, sharp], [sharp, sharp], eps=0).total
    tensor(-1.3863)
    """
    _check([*logits, *teacher_logits], eps, temperature=temperature)
    if len(teacher_logits) != 2 or len(logits) < 2:
        raise ValueError(
            f"{len(teacher_logits)} views of the teacher and {len(logits)} of the student: give the teacher's two "
            "global views, and at least the same two of the student"
        )
    views = [_Distributions.of(view, temperature, eps) for view in logits]
    with torch.no_grad():
        targets = [_Distributions.of(view, temperature, eps) for view in teacher_logits]
    all_logs = torch.stack([view.log_probs for view in views]).sum(0)
    divergences = [
        target.probs * ((len(views) - 1) * target.log_probs - (all_logs - view.log_probs))
        for target, view in zip(targets, views[:2], strict=True)
    ]
    shares = [1 / len(views)] * len(views)
    return _weigh(
        torch.stack(divergences).sum((0, 2)).mean() / (2 * len(views) - 2),
        _weighted_sum(shares, [view.entropy().mean() for view in views]),
        _weighted_sum(shares, _marginal_entropies(views, eps, mean_over_processes)),
        consistency_weight=consistency_weight,
        sharpness_weight=sharpness_weight,
        diversity_weight=diversity_weight,
    )


class _Distributions(NamedTuple):
    """One view's class distributions: one softmax, one logarithm."""

    probs: Tensor
    log_probs: Tensor  # log(probs + eps)

    @classmethod
    def of(cls, logits: Tensor, temperature: int | float, eps: int | float) -> _Distributions:
        # Half precision keeps three digits: too few for differences of entropies.
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        if eps:
            probs = wide.softmax(1)
            return cls(probs, (probs + eps).log())
        log_probs = wide.log_softmax(1)
        return cls(log_probs.exp(), log_probs)

    def entropy(self) -> Tensor:
        return -(self.probs * self.log_probs).sum(1)


def _marginal_entropies(
    views: Sequence[_Distributions], eps: int | float, mean_over_processes: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """Entropy of every view's mean distribution."""
    means = torch.stack([view.probs.mean(0) for view in views])
    if mean_over_processes is not None:
        means = mean_over_processes(means)
    # A class that no sample takes counts 0, and the logarithm's slope there stays finite.
    logs = (means + eps).log() if eps else means.clamp(min=torch.finfo(means.dtype).tiny).log()
    return -(means * logs).sum(1)


def _weighted_sum(weights: Sequence[float], values: Sequence[Tensor] | Tensor) -> Tensor:
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum()


def _weigh(
    consistency: Tensor,
    sharpness: Tensor,
    diversity: Tensor,
    *,
    consistency_weight: int | float,
    sharpness_weight: int | float,
    diversity_weight: int | float,
) -> LossTerms:
    total = consistency_weight * consistency + sharpness_weight * sharpness - diversity_weight * diversity
    return LossTerms(total, consistency, sharpness, diversity)


def _check(logits: Sequence[Tensor] | Tensor, eps: int | float, **temperatures: int | float) -> None:
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
