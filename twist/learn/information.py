"""Entropies, divergence and mutual information of class distributions, in nats, from their logarithms.

Every function takes log-probabilities, as `torch.log_softmax` makes them, and is differentiable. A probability of 0
(log-probability -inf) counts 0 wherever it weighs something, in the value and in the gradient.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def _mean_under(log_probs: Float[Tensor, "*N C"], values: Float[Tensor, "*N C"]) -> Float[Tensor, "*N"]:
    """Mean of the values under each row's distribution; classes of probability 0 count 0 whatever their value."""
    probs = log_probs.exp()
    # Selecting before multiplying keeps 0 · inf out of the value and out of the gradient.
    return (probs * torch.where(probs > 0, values, 0.0)).sum(-1)


def sample_entropy(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Entropy of each sample's class distribution H(Y given this sample), in nats.

    Low: the network is sure of this sample's class; high: it hesitates. It does not tell whether the class is right,
    nor whether other samples get another one; read `marginal_entropy` next.

    Returns
    -------
    Tensor
        Nats, 0 (one-hot) to log C (uniform); differentiable.

    Examples
    --------
    >>> probs = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> sample_entropy(probs.log())
    tensor([0.6931, 0.0000])
    """
    return _mean_under(log_probs, -log_probs)


def conditional_entropy(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Mean of the sample entropies H(Y given X), in nats: the sharpness term.

    It falls while the network makes up its mind. It stays at log C in the uniform collapse, and it reaches 0 in the
    one-class collapse as well as in the best of solutions: read it beside `marginal_entropy`.

    Returns
    -------
    Tensor
        Nats, 0 to log C; differentiable.

    Examples
    --------
    >>> conditional_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log())
    tensor(0.3466)
    """
    return sample_entropy(log_probs).mean()


def mean_log_probs(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, " C"]:
    """Logarithm of the mean class distribution over the samples.

    Returns
    -------
    Tensor
        Log-probabilities; differentiable.

    Notes
    -----
    Summed on the logarithmic scale: a class that no sample can see stays far below the smallest float without
    becoming 0, and its gradient stays finite.

    Examples
    --------
    >>> mean_log_probs(torch.tensor([[1.0, 0.0], [0.5, 0.5]]).log()).exp()
    tensor([0.7500, 0.2500])
    """
    # The gradient of logsumexp over nothing but -inf is NaN; the lowest float weighs as little and has gradient 0.
    finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
    return torch.logsumexp(finite, 0) - math.log(len(log_probs))


def marginal_entropy(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Entropy of the mean class distribution H(Y), in nats: the diversity term.

    High: all classes are in use over these samples; near 0: one class takes everything. The uniform collapse is at
    its top too, so a high value alone is no good news: read `conditional_entropy` beside it.

    Returns
    -------
    Tensor
        Nats, 0 to log C, and at most log N above the conditional entropy; differentiable.

    Examples
    --------
    >>> marginal_entropy(torch.eye(4).log()), marginal_entropy(torch.eye(4)[[0, 0, 0]].log())
    (tensor(1.3863), tensor(0.))
    """
    mean = mean_log_probs(log_probs)
    return _mean_under(mean, -mean)


def mutual_information(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Information that the class holds about which sample was seen, I(X;Y) = H(Y) - H(Y given X), in nats.

    The one number that every collapse brings to 0. It says that samples are told apart, not that the classes mean
    anything, nor that two views of a sample agree: read consistency and agreement next.

    Returns
    -------
    Tensor
        Nats, 0 to log min(N, C); differentiable. Rounding can leave about -1e-6 in float32.

    Notes
    -----
    A batch quantity: with N samples it cannot exceed log N, and independent of learning it is estimated too high when
    N is small. Compare it between batches of equal size only.

    Examples
    --------
    >>> mutual_information(torch.eye(4).log()), mutual_information(torch.eye(4)[[0, 0, 0]].log())
    (tensor(1.3863), tensor(0.))
    """
    return marginal_entropy(log_probs) - conditional_entropy(log_probs)


def kl_divergence(log_probs: Float[Tensor, "N C"], log_other: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Divergence KL(p given q) of each row of the other from the same row of the first, in nats.

    The surprise of one who expects ``other`` and meets ``log_probs``. Not symmetric.

    Returns
    -------
    Tensor
        Nats, 0 (equal rows) upward; infinite where the other excludes a class that the first allows; differentiable.

    Examples
    --------
    >>> sure, unsure = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.5, 0.5]]).log()
    >>> kl_divergence(sure, unsure), kl_divergence(unsure, sure)
    (tensor([0.6931]), tensor([inf]))
    """
    return _mean_under(log_probs, log_probs - log_other)


def perplexity(entropy: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Number of equally likely classes that have this entropy: exp of nats.

    Of the marginal entropy it is the number of classes in use, of the conditional entropy the number of classes
    between which one sample hesitates.

    Returns
    -------
    Tensor
        1 (entropy 0) to C (entropy log C); differentiable.

    Examples
    --------
    >>> one_hot = torch.eye(4).log()
    >>> round(perplexity(marginal_entropy(one_hot)).item(), 3), perplexity(conditional_entropy(one_hot)).item()
    (4.0, 1.0)
    """
    return entropy.exp()
