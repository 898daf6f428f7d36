"""Parameter groups, optimizers, and schedules as functions of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from twist.runs.config import OptimConfig


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups, as the authors split them: weights, with decay, and everything one-dimensional, without.

    Scale and shift of norms and biases set where activations lie, not how large the network's answer grows, so pulling
    them toward zero regularizes nothing. Source: method section 5.1.
    """
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    biases = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer that the recipe asks for; its learning rate is set anew at every step."""
    groups = parameter_groups(network, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def learning_rate(step: int, config: OptimConfig, steps_per_epoch: int) -> float:
    """Learning rate of a step (0 is the first): linear from 0 through the warm-up, then a cosine to the end.

    The warm-up never takes more than a quarter of the run, so that a run made short for a try still trains.

    Examples
    --------
    >>> config = OptimConfig(epochs=10, warmup_epochs=2, learning_rate=1.0, final_learning_rate=0.0)
    >>> [round(learning_rate(step, config, steps_per_epoch=1), 3) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = round(min(config.warmup_epochs, config.epochs / 4) * steps_per_epoch)
    total = config.epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * step / warmup
    low = config.final_learning_rate * config.learning_rate
    share = (step - warmup) / max(1, total - warmup)
    return low + (config.learning_rate - low) / 2 * (1 + math.cos(math.pi * min(1.0, share)))
