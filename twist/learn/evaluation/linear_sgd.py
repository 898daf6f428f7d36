"""A linear layer trained by stochastic gradient descent on features: the protocol of the paper, and that of DINO."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.learn.evaluation.scoring import question_of, score, shares_of, top_answers
from twist.learn.schedules import cosine
from twist.runs.config import ConfigError

_SCALED_TO = 256


@dataclass(frozen=True)
class LinearSgdSettings:
    """How the layer is trained; the defaults are the paper's for a ResNet. See also `VIT_SMALL` and `VIT_BASE`.

    Attributes
    ----------
    epochs
        Passes over the known images.
    batch_size
        Images a step; the last step of an epoch takes what is left.
    learning_rate
        Of the first epoch; it falls to 0 along half a cosine, once an epoch.
    scaled
        Whether the rate is multiplied by the batch size over 256, as for vision transformers.
    momentum, weight_decay
        Of the optimizer.
    initial_std
        Spread of the first weights, normal around 0; the first biases are 0.
    standardize
        Whether each dimension is scaled to zero mean and unit spread over the known images first. The paper does not;
        features of a small network may need it, as the rate is made for those of a large one.
    """

    epochs: int = 100
    batch_size: int = 1024
    learning_rate: int | float = 0.2
    scaled: bool = False
    momentum: int | float = 0.9
    weight_decay: int | float = 0.0
    initial_std: int | float = 0.01
    standardize: bool = False

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a number above 0")
        for name in ("weight_decay", "initial_std"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a number of 0 or more")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}: give a number from 0 to below 1")

    @property
    def first_rate(self) -> float:
        """Learning rate of the first epoch."""
        return self.learning_rate * (self.batch_size / _SCALED_TO if self.scaled else 1)


#: The paper's settings for its small and its base vision transformer, as DINO's; eight processes of 128 images. Theirs
#: are the class tokens of the last four blocks, one after the other: features of another kind give other figures.
VIT_SMALL = LinearSgdSettings(learning_rate=0.02, scaled=True)
VIT_BASE = LinearSgdSettings(learning_rate=0.0015, scaled=True)


class LinearSgdFigures(NamedTuple):
    """What the trained layer finds, after its last epoch.

    Attributes
    ----------
    accuracy, top5_accuracy, mean_label_accuracy
        Over the asked images: see `scoring.LabelScores`.
    train_accuracy
        Share of the known images whose label it finds.
    loss
        Mean cross-entropy over the steps of the last epoch, in nats.
    weights, bias
        ``[C, D]`` and ``[C]``, of the features as they were given, one row for each of ``labels``.
    labels
        The labels that are told apart, in order.
    known, asked
        Images that it was trained on, and images that were asked.
    notes
        What a reader must know, a sentence each.
    """

    accuracy: float
    top5_accuracy: float | None
    mean_label_accuracy: float
    train_accuracy: float
    loss: float
    weights: Tensor
    bias: Tensor
    labels: Tensor
    known: int
    asked: int
    notes: tuple[str, ...]

    def scores(self) -> dict[str, float]:
        """The shares by their names, without one that says nothing."""
        return shares_of(self)


@torch.no_grad()
def linear_sgd(
    known: Float[Tensor, "N D"],
    known_labels: Int64[Tensor, " n"],
    asked: Float[Tensor, "Q d"],
    asked_labels: Int64[Tensor, " q"],
    settings: LinearSgdSettings = LinearSgdSettings(),
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], object] | None = None,
) -> LinearSgdFigures:
    """Share of the asked images whose label a linear layer finds, trained on the known ones as in the paper.

    The features are made once, so that the images are not augmented anew in every epoch, as they are in the paper:
    that is said with the figures. The asked images are looked at once, after the last epoch.

    Parameters
    ----------
    known, known_labels
        Features of the images that it is trained on. Rows with a label below 0 are left out, here and below.
    asked, asked_labels
        Features that are asked about, and what is right, on the same device.
    settings
        Epochs, rates, and the start.
    seed
        Of the first weights and the order of the images.
    on_progress
        Told the epochs that are done and how many there are.

    Raises
    ------
    ConfigError
        When no label is left on a side, all known images have one label, widths differ, a feature is not finite, or the
        training left what is finite.

    Notes
    -----
    The optimizer is that of ``torch.optim.SGD``, with the gradient in closed form. The same seed gives the same numbers
    every time; another number of threads, or a GPU, others in the last bits, which training can make larger.

    Examples
    --------
    >>> known, labels = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0, 1])
    >>> figures = linear_sgd(known, labels, torch.tensor([[0.0, 3.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    >>> figures.accuracy, figures.train_accuracy
    (1.0, 1.0)
    """
    asking = question_of(known, known_labels, asked, asked_labels)
    rows, labels, num_labels = asking.known, asking.known_labels, len(asking.labels)
    if num_labels < 2:
        raise ConfigError(
            f"all {len(rows):,} known images have the label {int(asking.labels[0])}: "
            "a linear classifier tells two labels apart at least"
        )
    center, unit = rows.new_zeros(rows.shape[1]), rows.new_ones(rows.shape[1])
    if settings.standardize:
        spread, mean = torch.std_mean(rows, 0, correction=0)
        center, unit = mean, torch.where(spread > 10 * torch.finfo(rows.dtype).eps * mean.abs(), 1 / spread, 0)
        rows = (rows - center) * unit
    # On the CPU, so that every device begins and goes the same way.
    draw = torch.Generator().manual_seed(seed)
    weights = settings.initial_std * torch.randn(num_labels, rows.shape[1], generator=draw)
    weights = torch.cat([weights, torch.zeros(num_labels, 1)], 1).to(rows)  # the bias is the last column
    moving, loss = torch.zeros_like(weights), math.nan
    for epoch in range(settings.epochs):
        rate = cosine(epoch, settings.epochs, settings.first_rate, 0.0)
        losses = []
        for batch in torch.randperm(len(rows), generator=draw).to(rows.device).split(settings.batch_size):
            lost, slope = _loss_and_slope(rows[batch], labels[batch], weights)
            losses.append(lost)
            moving.mul_(settings.momentum).add_(slope.add(weights, alpha=settings.weight_decay))
            weights.sub_(moving, alpha=rate)
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss) or not bool(weights.isfinite().all()):
            raise ConfigError(
                f"the linear layer's loss is not finite in epoch {epoch + 1}: with features of this size a learning "
                f"rate of {settings.first_rate:g} is too large; standardize them, or give a smaller rate"
            )
        if on_progress is not None:
            on_progress(epoch + 1, settings.epochs)
    found = weights[:, :-1] * unit
    bias = weights[:, -1] - found @ center
    known_right = top_answers(asking.known @ found.T + bias)[:, 0] == labels
    note = "trained on features made once: the images are not augmented anew in every epoch, as they are in the paper"
    return LinearSgdFigures(
        *score(top_answers(asking.asked @ found.T + bias), asking),
        train_accuracy=int(known_right.sum()) / len(labels),
        loss=loss,
        weights=found,
        bias=bias,
        labels=asking.labels,
        known=len(labels),
        asked=len(asking.asked),
        notes=(*asking.notes, note),
    )


def _loss_and_slope(rows: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and its gradient ``[C, D + 1]``."""
    logs = torch.addmm(weights[:, -1:], weights[:, :-1], rows.T).log_softmax(0)
    loss = -logs.gather(0, labels[None]).mean()
    errors = logs.exp_().scatter_add_(0, labels[None], logs.new_full((1, len(labels)), -1)) / len(labels)
    return loss, torch.cat([errors @ rows, errors.sum(1, keepdim=True)], 1)
