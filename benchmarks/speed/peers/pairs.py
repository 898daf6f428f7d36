"""The TWIST loss pair by pair, as the authors' code forms it: every pair takes its own softmaxes and logarithms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPS, TEMPERATURE = 1e-5, 1.0


def pairwise_loss(logits: Sequence[Tensor]) -> Tensor:
    """Mean over the 2V - 3 pairs of a global view with a later view; all weights are 1.

    The operations are theirs, one by one: four softmaxes and six logarithms a pair, a product for each. Source: method
    sections 1.2 and 3.1.
    """
    losses = [_pair(logits[i], logits[j]) for i in (0, 1) for j in range(i + 1, len(logits))]
    return torch.stack(losses).mean()


def _pair(a: Tensor, b: Tensor) -> Tensor:
    p, q = a.softmax(1), b.softmax(1)
    divergence = (_divergence(p, q) + _divergence(q, p)) / 2
    p, q = (a / TEMPERATURE).softmax(1), (b / TEMPERATURE).softmax(1)
    sharpness = (_entropy(p).mean() + _entropy(q).mean()) / 2
    diversity = (_entropy(p.mean(0)) + _entropy(q.mean(0))) / 2
    return divergence + sharpness - diversity


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p + EPS).log() - p * (q + EPS).log()).sum(1).mean()


def _entropy(p: Tensor) -> Tensor:
    return -(p * (p + EPS).log()).sum(-1)
