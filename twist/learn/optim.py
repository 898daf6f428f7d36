"""Parameter groups and optimizers."""

from __future__ import annotations

import torch
from torch import nn

from twist.learn.lars import LARS
from twist.learn.uncompiled import SGD, AdamW
from twist.runs.config import OptimConfig

_LIKE_BIASES = ("pos_embed", "cls_token", "dist_token")


def parameter_groups(network: nn.Module, weight_decay: int | float) -> list[dict]:
    """Two groups, as the authors split them: weights with decay, and biases, norms and embeddings without.

    Scale and shift of norms and biases set where activations lie, not how large the network's answer grows, so pulling
    them toward zero regularizes nothing. Source: method section 5.1.
    """
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim <= 1 or name.endswith(".bias") or any(word in name for word in _LIKE_BIASES)
            (biases if spared else weights).append(parameter)
    return [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def make_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer that the recipe asks for; its learning rates and decay are set anew at every step."""
    weights, biases = parameter_groups(network, config.weight_decay)
    if config.optimizer == "lars":
        groups = [weights, {**biases, "adapt": False}]
        return LARS(groups, lr=config.learning_rate, momentum=config.momentum, trust=config.trust)
    # One pass over all weights in place of a dozen.
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    if config.optimizer == "sgd":
        return SGD([weights, biases], lr=config.learning_rate, momentum=config.momentum, fused=fused)
    return AdamW([weights, biases], lr=config.learning_rate, betas=config.betas, fused=fused)
