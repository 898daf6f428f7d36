"""Classes by our own objective on frozen features: a TWIST head whose second view of an image is a neighbor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.labelers.labeling import Labeling, check_task, course, normalized
from twist.learn.labelers.spaces import neighbors_of, principal_space
from twist.learn.objective import twist_loss
from twist.runs.config import ConfigError

_NORM_EPS = 1e-5
_SMOOTHING = 0.95  # of the losses by which the heads compete


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """What a head on frozen features is asked for.

    Attributes
    ----------
    num_classes
        Number of classes C.
    neighbors
        Nearest images by cosine of which one is drawn, each time anew, as an image's second view.
    hidden_dim
        Width of the hidden layer.
    num_heads
        Heads trained side by side; that of least loss speaks.
    temperature
        Divisor of the logits.
    steps, batch_size, learning_rate
        Steps of Adam, images of each, and the rate at the start; a cosine ends at 0.
    dimensions
        Principal directions of the features, at most.
    seed
        Of weights, order and neighbors.
    """

    num_classes: int
    neighbors: int = 10
    hidden_dim: int = 128
    num_heads: int = 3
    temperature: float = 1.0
    steps: int = 400
    batch_size: int = 512
    learning_rate: float = 0.01
    dimensions: int = 128
    seed: int = 0


def label_by_head(
    features: Float[Tensor, "N D"],
    settings: HeadSettings,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Labeling:
    """Classes of which an image and its neighbor have the same, each sharp, all in even use: the TWIST loss.

    Frozen features know no augmented views. Noise and dropout on features teach a head nothing that their distances
    do not say (LOG.md has the figures); a neighbor is another picture of what probably is the same thing.

    Parameters
    ----------
    features
        One row for each image.
    settings
        What is asked for.
    on_progress
        Called with (steps done, steps); an exception in it ends the training.

    Raises
    ------
    ConfigError
        When there is nothing to tell apart, or a setting is no such number.

    Notes
    -----
    One hidden layer and a last norm without learned scale before the softmax, as in our networks; when the head is
    read, its norms use the statistics of all images.
    """
    check_task(features, settings.num_classes)
    _check(settings)
    space = principal_space(features, dimensions=settings.dimensions)
    near = neighbors_of(space.rows, settings.neighbors)
    generator = torch.Generator().manual_seed(settings.seed)
    heads = _Heads(space.rows.shape[1], settings, generator)
    optimizer = torch.optim.Adam(heads.learned, lr=settings.learning_rate)
    size = min(settings.batch_size, len(features))
    smooth: Tensor | None = None
    losses: list[float] = []
    for done in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * done / settings.steps)) / 2
        chosen = torch.randint(len(features), (size,), generator=generator)
        if size == len(features):
            chosen = torch.arange(size)
        drawn = torch.randint(near.shape[1], (size,), generator=generator)
        first, second = heads(space.rows[chosen]), heads(space.rows[near[chosen, drawn]])
        totals = torch.stack(
            [
                twist_loss(list(views), temperature=settings.temperature, kernels=False).total
                for views in zip(first, second, strict=True)
            ]
        )
        optimizer.zero_grad()
        totals.sum().backward()
        optimizer.step()
        seen = totals.detach()
        smooth = seen if smooth is None else _SMOOTHING * smooth + (1 - _SMOOTHING) * seen
        losses.append(smooth.min().item())
        if on_progress is not None:
            on_progress(done + 1, settings.steps)
    assert smooth is not None
    with torch.no_grad():
        logits = heads(space.rows)[int(smooth.argmin())]
    log_probs = normalized(logits / settings.temperature)
    facts = {
        "spread_kept": round(space.kept, 4),
        "head_losses": [round(value, 4) for value in smooth.tolist()],
        "classes_in_use": len(log_probs.argmax(1).unique()),
        "loss": course(losses),
    }
    return Labeling(log_probs, "TWIST head", asdict(settings), facts)


def _check(settings: HeadSettings) -> None:
    whole = ("neighbors", "hidden_dim", "num_heads", "steps", "batch_size", "dimensions")
    for name in whole:
        least = 2 if name == "batch_size" else 1
        if getattr(settings, name) < least:
            raise ConfigError(f"{name} is {getattr(settings, name)}: give {least} or more")
    for name in ("temperature", "learning_rate"):
        if not 0 < getattr(settings, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(settings, name)}: give a finite number above 0")


class _Heads:
    """Several heads over the same features, as one batched product: ``[N, K]`` -> ``[heads, N, C]``."""

    def __init__(self, width: int, settings: HeadSettings, generator: torch.Generator):
        heads, hidden, count = settings.num_heads, settings.hidden_dim, settings.num_classes
        self.first = torch.randn(heads, width, hidden, generator=generator)
        self.scale, self.offset = torch.ones(heads, 1, hidden), torch.zeros(heads, 1, hidden)
        self.last = torch.randn(heads, hidden, count, generator=generator) / math.sqrt(hidden)
        self.learned = [self.first, self.scale, self.offset, self.last]
        for tensor in self.learned:
            tensor.requires_grad_()

    def __call__(self, rows: Tensor) -> Tensor:
        hidden = _standardized(rows @ self.first) * self.scale + self.offset
        return _standardized(hidden.relu() @ self.last)


def _standardized(values: Tensor) -> Tensor:
    """Every column with mean 0 and variance 1 over the rows of each head."""
    centered = values - values.mean(1, keepdim=True)
    return centered / (centered.square().mean(1, keepdim=True) + _NORM_EPS).sqrt()
