"""Classes that linear classifiers learn most easily: the TURTLE objective on frozen features.

Written from the paper's description (arXiv 2406.07236). Of all ways to label the images, that one is sought on which a
linear classifier, trained by gradient descent, does best: such labels have large margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twist.learn.labelers.labeling import Labeling, check_task, course, normalized
from twist.learn.labelers.spaces import principal_space
from twist.runs.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class TurtleSettings:
    """What TURTLE is asked for.

    Attributes
    ----------
    num_classes
        Number of classes C.
    gamma
        Weight of the entropy of the mean distribution, which keeps the classes even; 10 in the paper.
    outer_steps
        Steps of the labels.
    inner_steps
        Steps M of the classifiers for each of these; 10 in the paper with a warm start.
    warm_start
        Whether the classifiers go on from where they were; else they begin anew at zero each time.
    outer_rate, inner_rate
        Learning rates of labels and classifiers, both under Adam.
    batch_size
        Images of a step, all where they are fewer; 10,000 in the paper.
    dimensions
        Principal directions of every feature space, at most.
    seed
        Of first labels and order.
    """

    num_classes: int
    gamma: float = 10.0
    outer_steps: int = 200
    inner_steps: int = 10
    warm_start: bool = True
    outer_rate: float = 0.03
    inner_rate: float = 0.03
    batch_size: int = 4096
    dimensions: int = 128
    seed: int = 0


def label_by_turtle(
    features: Float[Tensor, "N D"] | Sequence[Tensor],
    settings: TurtleSettings,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Labeling:
    """Labels on which linear classifiers of the features do best, of one feature space or of several.

    Labels are a linear softmax layer on every space, the mean of the spaces' probabilities, its weights of one length
    with a learned scale. Inside, one linear classifier per space is trained on them for M steps; outside, the labels
    move so as to lower the cross-entropy of these classifiers minus gamma times the entropy of the mean label. The
    gradient is of first order: classifiers are constants to it.

    Parameters
    ----------
    features
        One row for each image; or several such tensors, of different models, over the same images.
    settings
        What is asked for.
    on_progress
        Called with (steps done, steps); an exception in it ends the search.

    Raises
    ------
    ConfigError
        When there is nothing to tell apart, the spaces differ in their images, or a setting is no such number.

    Notes
    -----
    The paper runs Adam for 6,000 outer steps and picks rates by cross-validation; here rates are high and steps few,
    which takes seconds on a CPU. LOG.md has what it gives.

    References
    ----------
    arXiv 2406.07236.
    """
    spaces = [features] if isinstance(features, Tensor) else list(features)
    _check(spaces, settings)
    found = [principal_space(space, dimensions=settings.dimensions) for space in spaces]
    rows = [space.rows for space in found]
    search = _Search(rows, settings)
    losses: list[float] = []
    for done in range(settings.outer_steps):
        losses.append(search.step())
        if on_progress is not None:
            on_progress(done + 1, settings.outer_steps)
    probs = search.labels(rows)
    facts = {
        "spread_kept": [round(space.kept, 4) for space in found],
        "cross_entropy": round(search.cross_entropy, 4),
        "marginal_entropy": round(search.marginal_entropy, 4),
        "classes_in_use": len(probs.argmax(1).unique()),
        "loss": course(losses),
    }
    return Labeling(normalized(probs.log()), "TURTLE", asdict(settings), facts)


def _check(spaces: Sequence[Tensor], settings: TurtleSettings) -> None:
    if not spaces:
        raise ConfigError("no feature space is given: give features [N, D], or a list of them")
    if len(counts := {len(space) for space in spaces}) > 1:
        raise ConfigError(f"the feature spaces have {sorted(counts)} rows: give features of the same images")
    for space in spaces:
        check_task(space, settings.num_classes)
    if not (math.isfinite(settings.gamma) and settings.gamma >= 0):
        raise ConfigError(f"gamma is {settings.gamma}: give a finite number from 0, 10 in the paper")
    if min(settings.outer_steps, settings.inner_steps, settings.batch_size, settings.dimensions) < 1:
        raise ConfigError("outer_steps, inner_steps, batch_size and dimensions must be 1 or more")


class _Search:
    """The labels that are sought, and the classifiers that are trained on them."""

    def __init__(self, rows: list[Tensor], settings: TurtleSettings):
        self.rows, self.settings = rows, settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        count = settings.num_classes
        self.directions = [torch.randn(space.shape[1], count, generator=self.generator) for space in rows]
        self.scales = [torch.ones(count) for _ in rows]
        self.offsets = [torch.zeros(count) for _ in rows]
        learned = [*self.directions, *self.scales, *self.offsets]
        for tensor in learned:
            tensor.requires_grad_()
        self.outer = torch.optim.Adam(learned, lr=settings.outer_rate)
        self._begin_classifiers()
        self.cross_entropy = self.marginal_entropy = math.nan

    def _begin_classifiers(self) -> None:
        count = self.settings.num_classes
        self.weights = [torch.zeros(space.shape[1], count) for space in self.rows]
        self.biases = [torch.zeros(count) for _ in self.rows]
        self.inner = torch.optim.Adam([*self.weights, *self.biases], lr=self.settings.inner_rate)

    @torch.no_grad()
    def labels(self, rows: list[Tensor]) -> Tensor:
        """Probability of each class for each image."""
        return self._labels(rows)

    def _labels(self, rows: list[Tensor]) -> Tensor:
        logits = [
            part @ (F.normalize(direction, dim=0) * scale) + offset
            for part, direction, scale, offset in zip(rows, self.directions, self.scales, self.offsets, strict=True)
        ]
        return torch.stack([each.softmax(1) for each in logits]).mean(0)

    def _batch(self) -> list[Tensor]:
        count, size = len(self.rows[0]), self.settings.batch_size
        if count <= size:
            return self.rows
        chosen = torch.randint(count, (size,), generator=self.generator)
        return [space[chosen] for space in self.rows]

    def step(self) -> float:
        """One step of the labels, after M of the classifiers; returns the outer loss."""
        rows = self._batch()
        if not self.settings.warm_start:
            self._begin_classifiers()
        labels = self._labels(rows)
        answers = self._train(rows, labels.detach())
        cross_entropy = -torch.stack([(labels * each).sum(1).mean() for each in answers]).sum()
        mean = labels.mean(0)
        entropy = -(mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()
        loss = cross_entropy - self.settings.gamma * entropy
        self.outer.zero_grad()
        loss.backward()
        self.outer.step()
        self.cross_entropy, self.marginal_entropy = cross_entropy.item(), entropy.item()
        return loss.item()

    @torch.no_grad()
    def _train(self, rows: list[Tensor], labels: Tensor) -> list[Tensor]:
        """M steps of every classifier on fixed labels; then its log-probabilities, as constants."""
        for _ in range(self.settings.inner_steps):
            for part, weight, bias in zip(rows, self.weights, self.biases, strict=True):
                wrong = (torch.addmm(bias, part, weight).softmax(1) - labels) / len(labels)
                weight.grad, bias.grad = part.T @ wrong, wrong.sum(0)
            self.inner.step()
        return [
            torch.addmm(bias, part, weight).log_softmax(1)
            for part, weight, bias in zip(rows, self.weights, self.biases, strict=True)
        ]
