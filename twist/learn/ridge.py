"""A linear probe in closed form: ridge regression of the labels, one solve, no training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

#: Penalty as a share of the features' mean squared spread, times the rows: of no unit, the same for every network.
PENALTY = 0.1


@torch.no_grad()
def linear_accuracy(
    bank: Float[Tensor, "B D"],
    labels: Int64[Tensor, " B"],
    queries: Float[Tensor, "Q D"],
    query_labels: Int64[Tensor, " Q"],
    *,
    penalty: int | float = PENALTY,
) -> float:
    """Share of the queries whose label a linear map finds, fitted to the bank by least squares with a penalty.

    How well labels are read off the features by a plane: the quick stand-in of a trained linear probe, a few points
    below it. It follows along a run; it is no published figure.

    Parameters
    ----------
    bank, labels
        Features whose labels are known, and these, from 0.
    queries, query_labels
        Features that are asked about, and what is right.
    penalty
        Share of the mean squared spread of the dimensions that is added to each.

    Returns
    -------
    float
        0 to 1; NaN when a feature is not finite.

    Notes
    -----
    One column a label, 1 where it holds and 0 elsewhere, with an intercept; the largest answer wins. The smaller of the
    two normal equations is solved: of the dimensions, or of the rows.

    Examples
    --------
    >>> bank, labels = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 0, 1])
    >>> linear_accuracy(bank, labels, torch.tensor([[0.0, 3.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    1.0
    """
    if bank.device.type == "mps":  # whose solver is incomplete
        bank, labels, queries, query_labels = (each.cpu() for each in (bank, labels, queries, query_labels))
    center, targets = bank.mean(0), F.one_hot(labels).to(bank.dtype)
    rows, wanted = bank - center, targets - targets.mean(0)
    spread = (penalty * rows.square().sum() / rows.shape[1]).clamp(min=torch.finfo(rows.dtype).tiny)
    if len(rows) < rows.shape[1]:
        weights = rows.T @ _solve(rows @ rows.T, spread, wanted)
    else:
        weights = _solve(rows.T @ rows, spread, rows.T @ wanted)
    answers = (queries - center) @ weights + targets.mean(0)
    right = (answers.argmax(1) == query_labels).to(answers.dtype).mean()
    return torch.where(answers.isfinite().all(), right, torch.nan).item()


def _solve(gram: Tensor, added: Tensor, wanted: Tensor) -> Tensor:
    gram.diagonal().add_(added)
    factor, _ = torch.linalg.cholesky_ex(gram)  # of what is not finite it makes no error, and NaN is the answer
    return torch.cholesky_solve(wanted, factor)
