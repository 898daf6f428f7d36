"""A logistic regression on features, to its optimum: how well labels are read off by planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.learn.evaluation.descent import Straighten, descend
from twist.learn.evaluation.scoring import Question, question_of, score, shares_of, top_answers
from twist.runs.config import ConfigError

# Rows computed at a time: on the CPU two products with them find them in the cache.
_ROWS, _ROWS_GPU = 2048, 65_536
# Beyond this many directions their spread is not worth the decomposition: each dimension is then scaled by itself.
_MOST_DIRECTIONS = 4096


@dataclass(frozen=True)
class LinearSettings:
    """What the regression is fitted with.

    Attributes
    ----------
    C
        Inverse of the L2 penalty on the weights, in scikit-learn's terms: ``C`` times the summed loss plus half the
        squared weights is made smallest, the intercept free. Smaller where there are few known images.
    standardize
        Whether each dimension is scaled to unit spread over the known images before the penalty weighs it: ``C`` then
        means the same for every network. Without, as scikit-learn on the features as they are.
    tolerance
        The fit ends when no entry of the gradient of the mean loss is larger, in nats, measured along directions of
        nearly unit curvature: see `LinearFigures.gradient`.
    max_steps
        It ends after so many steps at the latest, and then says that it did not arrive.
    """

    C: int | float = 1.0
    standardize: bool = True
    tolerance: int | float = 1e-5
    max_steps: int = 1000

    def __post_init__(self):
        for name in ("C", "tolerance", "max_steps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a number above 0")


class LinearFigures(NamedTuple):
    """What a linear classifier finds, and how near its weights are to the optimum.

    Attributes
    ----------
    accuracy, top5_accuracy, mean_label_accuracy
        Over the asked images: see `scoring.LabelScores`.
    train_accuracy
        Share of the known images whose label it finds. Near 1 with a low accuracy: fewer images than the features have
        room for; give a smaller ``C``.
    loss
        Mean cross-entropy over the known images in nats, the penalty included: what was made smallest.
    gradient
        Largest entry of its gradient at the end, in nats. It is measured in the coordinates of the fit, along the
        features' own directions scaled to nearly unit curvature, so that it means the same for every network.
    steps
        Steps that the fit took.
    converged
        Whether the gradient fell below the tolerance.
    weights, bias
        Of the features as they were given, ``[C, D]`` and ``[C]``, one row for each of ``labels``.
    labels
        The labels that are told apart, in order.
    known, asked
        Images that it was fitted to, and images that were asked.
    notes
        What a reader must know, a sentence each.
    """

    accuracy: float
    top5_accuracy: float | None
    mean_label_accuracy: float
    train_accuracy: float
    loss: float
    gradient: float
    steps: int
    converged: bool
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
def linear(
    known: Float[Tensor, "N D"],
    known_labels: Int64[Tensor, " n"],
    asked: Float[Tensor, "Q d"],
    asked_labels: Int64[Tensor, " q"],
    settings: LinearSettings = LinearSettings(),
    on_progress: Callable[[int, int], object] | None = None,
) -> LinearFigures:
    """Share of the asked images whose label a logistic regression finds, fitted to the known ones to its optimum.

    The optimum is one and does not depend on a start, an order, or a seed; it is that of scikit-learn's
    ``LogisticRegression(C)``. Nothing is chosen by the asked labels.

    Parameters
    ----------
    known, known_labels
        Features of the images that it is fitted to. Rows with a label below 0 are left out, here and below.
    asked, asked_labels
        Features that are asked about, and what is right, on the same device.
    settings
        Penalty, scaling, and when the fit ends.
    on_progress
        Told the steps that were taken and how many there are at most, every ten.

    Raises
    ------
    ConfigError
        When no label is left on a side, all known images have one label, widths differ, or a feature is not finite.

    Notes
    -----
    The features are turned to their principal directions, each scaled by its curvature, which changes nothing of the
    optimum; there L-BFGS, which looks at the curvature anew now and then, takes as many steps for correlated features
    as for others. Products are in the features' precision, sums over pieces of rows and the steps in float64.
    Evaluating twice gives the same numbers; another number of threads, or a GPU, gives another path to the same optimum
    within the tolerance.

    Examples
    --------
    >>> known, labels = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0, 1])
    >>> figures = linear(known, labels, torch.tensor([[0.0, 3.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    >>> figures.accuracy, figures.train_accuracy, figures.converged
    (1.0, 1.0, True)
    """
    asking = question_of(known, known_labels, asked, asked_labels)
    num_labels = len(asking.labels)
    if num_labels < 2:
        raise ConfigError(
            f"all {len(asking.known):,} known images have the label {int(asking.labels[0])}: "
            "a linear classifier tells two labels apart at least"
        )
    # scikit-learn has one row of weights for two labels; two rows of half of it each weigh half as much.
    penalty = (2 if num_labels == 2 else 1) / (settings.C * len(asking.known))
    rows, frame = _turned(asking.known, penalty, num_labels, settings.standardize)
    objective = _Objective(rows, asking.known_labels, num_labels, penalty * frame.scale.square())
    start = rows.new_zeros(num_labels, rows.shape[1] + 1, dtype=torch.float64)
    start[:, -1] = (asking.known_labels.bincount().double() / len(rows)).log()
    curvature = objective.curvature if rows.shape[1] <= _MOST_DIRECTIONS else None
    found = descend(objective, start, settings.tolerance, settings.max_steps, on_progress, curvature)
    del rows, objective
    weights = found.at[:, :-1] @ frame.turn.T
    bias = found.at[:, -1] - weights @ frame.center
    known_right = _answers(asking.known, weights, bias)[:, 0] == asking.known_labels
    scores = score(_answers(asking.asked, weights, bias), asking)
    return LinearFigures(
        *scores,
        train_accuracy=int(known_right.sum()) / len(asking.known),
        loss=found.value,
        gradient=found.gradient,
        steps=found.steps,
        converged=found.gradient <= settings.tolerance,
        weights=weights.to(asking.known.dtype),
        bias=bias.to(asking.known.dtype),
        labels=asking.labels,
        known=len(asking.known),
        asked=len(asking.asked),
        notes=(*asking.notes, *_notes(asking, found.gradient, found.steps, settings)),
    )


class _Frame(NamedTuple):
    """Coordinates of the fit: row = (feature - center) @ turn; a weight of one weighs scale squared in the penalty."""

    center: Tensor
    turn: Tensor
    scale: Tensor


def _turned(known: Tensor, penalty: float, num_labels: int, standardize: bool) -> tuple[Tensor, _Frame]:
    """The known rows in coordinates in which the loss is about as curved in every direction."""
    size = _rows_at_a_time(known)
    center = sum(rows.sum(0, dtype=torch.float64) for rows in known.split(size)) / len(known)
    middle = center.to(known.dtype)
    spread = torch.zeros(known.shape[1], dtype=torch.float64, device=known.device)
    for rows in known.split(size):
        spread += (rows - middle).square().sum(0, dtype=torch.float64)
    spread /= len(known)
    unit = torch.ones_like(spread)
    if standardize:
        # What varies by its own rounding alone does not vary.
        fixed = spread.sqrt() <= 10 * torch.finfo(known.dtype).eps * center.abs()
        unit = torch.where(fixed, 0, spread.sqrt().reciprocal())
    directions, spread = _directions(known, middle, unit, spread, size)
    # A floor far below what the precision resolves; it is a matter of the path, not of the optimum.
    floor = spread.max() * torch.finfo(known.dtype).eps ** 1.2
    scale = (spread.clamp(min=floor) / num_labels + penalty).rsqrt()
    turn = unit[:, None] * directions * scale if directions is not None else torch.diag(unit * scale)
    rows = known.new_empty(len(known), turn.shape[1])
    rough = turn.to(known.dtype)
    for put, taken in zip(rows.split(size), known.split(size), strict=True):
        torch.matmul(taken - middle, rough, out=put)
    return rows, _Frame(middle.double(), turn, scale)


def _directions(known: Tensor, middle: Tensor, unit: Tensor, spread: Tensor, size: int) -> tuple[Tensor | None, Tensor]:
    """Principal directions as columns, and the mean square along each; no directions where there are too many."""
    unit_rough = unit.to(known.dtype)
    if len(known) < known.shape[1] and len(known) <= _MOST_DIRECTIONS:
        _, values, turned = torch.linalg.svd(((known - middle) * unit_rough).double(), full_matrices=False)
        return turned.T, values.square() / len(known)
    if known.shape[1] > _MOST_DIRECTIONS:
        return None, spread * unit.square()
    gram = torch.zeros(len(unit), len(unit), dtype=torch.float64, device=known.device)
    for rows in known.split(size):
        scaled = (rows - middle) * unit_rough
        gram += scaled.T @ scaled
    values, directions = torch.linalg.eigh(gram / len(known))
    return directions, values.clamp(min=0)


class _Objective:
    """Mean loss with its penalty, and the gradient, of weights and bias ``[C, R + 1]`` in the fit's coordinates."""

    def __init__(self, rows: Tensor, labels: Tensor, num_labels: int, penalty: Tensor):
        self.num_labels, self.count = num_labels, len(rows)
        size = _rows_at_a_time(rows)
        self.pieces = list(zip(rows.split(size), labels.split(size), strict=True))
        self.penalty = torch.cat([penalty, penalty.new_zeros(1)])

    def __call__(self, at: Tensor) -> tuple[float, Tensor]:
        rough = at.to(self.pieces[0][0].dtype)
        weights, bias = rough[:, :-1].contiguous(), rough[:, -1:]
        loss, slope = at.new_zeros(()), torch.zeros_like(at)
        for rows, labels in self.pieces:
            # A label a row: both products then run along the rows as they lie in memory.
            logs = torch.addmm(bias, weights, rows.T).log_softmax(0)
            loss -= logs.gather(0, labels[None]).sum(dtype=torch.float64)
            probs = logs.exp_()
            probs.scatter_add_(0, labels[None], probs.new_full((1, len(labels)), -1))
            slope[:, :-1] += probs @ rows
            slope[:, -1] += probs.sum(1, dtype=torch.float64)
        weighed = self.penalty * at
        return (loss / self.count + (weighed * at).sum() / 2).item(), slope.div_(self.count).add_(weighed)

    def curvature(self, at: Tensor) -> Straighten:
        """What divides by the mean curvature over the labels: where a label is sure, rows no longer bend the loss."""
        rough = at.to(self.pieces[0][0].dtype)
        weights, bias = rough[:, :-1].contiguous(), rough[:, -1:]
        bent = torch.diag(self.penalty)
        for rows, _ in self.pieces:
            probs = torch.addmm(bias, weights, rows.T).softmax(0)
            unsure = (probs * (1 - probs)).mean(0)
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
            bent += ((rows * unsure[:, None]).T @ rows).double() / self.count
        # Enough for a factor to exist in spite of rounding.
        bent.diagonal().add_(10 * torch.finfo(rough.dtype).eps * bent.diagonal().max())
        factor = torch.linalg.cholesky(bent)
        return lambda slope: torch.cholesky_solve(slope.T, factor).T


def _answers(features: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Likeliest labels; in float64, as the bias takes away what the features' mean gives."""
    size = _rows_at_a_time(features)
    return torch.cat([top_answers(rows.double() @ weights.T + bias) for rows in features.split(size)])


def _rows_at_a_time(rows: Tensor) -> int:
    return _ROWS_GPU if rows.is_cuda else _ROWS


def _notes(asking: Question, gradient: float, steps: int, settings: LinearSettings) -> list[str]:
    notes = []
    single = int((asking.known_labels.bincount() == 1).sum())
    if single:
        notes.append(f"{single} of {len(asking.labels)} labels have one known image only")
    if gradient > settings.tolerance:
        why = f"after {steps} steps" if steps >= settings.max_steps else "where the features' precision ended it"
        notes.append(
            f"the fit did not arrive: its gradient is {gradient:.1e} {why}, above {settings.tolerance:g}; "
            "give a smaller C, more steps, or features in float64"
        )
    return notes
