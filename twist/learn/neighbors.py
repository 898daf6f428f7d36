"""Labels by vote of the nearest neighbors, exactly: every query is compared with the whole bank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

# Similarities held at a time, 256 MB of them: more queries than these allow go chunk by chunk.
_MOST_SIMILARITIES = 2**26
# Queries with a tie that are settled at a time: of a collapsed network all have one.
_MOST_TIED = 256


class Neighbors(NamedTuple):
    """The nearest bank rows of some queries, nearest first; of equally near ones the first.

    Attributes
    ----------
    indices
        Rows of the bank ``[Q, k]``.
    similarities
        Their cosines ``[Q, k]``, -1 to 1 but for rounding.
    """

    indices: Tensor
    similarities: Tensor


@torch.no_grad()
def nearest(bank: Float[Tensor, "B D"], queries: Float[Tensor, "Q D"], k: int) -> Iterator[Neighbors]:
    """The ``k`` nearest bank rows by cosine of every query, one piece of the queries after another, in order.

    The neighbors for a smaller ``k`` are the first columns, so that one pass serves every ``k``. A row of zeros is
    equally far from all.

    Raises
    ------
    ValueError
        When the bank holds fewer than ``k`` rows.

    Examples
    --------
    >>> bank = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    >>> [found.indices.tolist() for found in nearest(bank, torch.tensor([[3.0, 0.0]]), 3)]
    [[[1, 2, 3]]]
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k is {k}: give 1 to {len(bank)}, the rows of the bank")
    bank = F.normalize(bank, dim=1)
    for rows in queries.split(max(1, _MOST_SIMILARITIES // len(bank))):
        yield _first_of_equals(F.normalize(rows, dim=1) @ bank.T, k)


def _first_of_equals(similar: Float[Tensor, "Q B"], k: int) -> Neighbors:
    """Selection takes any of several rows that are as near as the last one taken: there, the first ones are put in."""
    taken = similar.topk(min(k + 1, similar.shape[1]), 1)
    values, indices = taken.values[:, :k], taken.indices[:, :k]
    if taken.values.shape[1] > k:
        tied = (values[:, -1] == taken.values[:, k]).nonzero()[:, 0]
        for some in tied.split(_MOST_TIED):
            edge, rows = values[some, -1:], similar[some]
            nearer, level = rows > edge, rows == edge
            room = k - nearer.sum(1, keepdim=True, dtype=torch.int32)
            chosen = nearer | (level & (level.cumsum(1, dtype=torch.int32) <= room))
            indices[some] = chosen.nonzero()[:, 1].view(len(some), k)
            values[some] = rows.gather(1, indices[some])
    indices, order = indices.sort(dim=1)
    values, ranks = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Neighbors(indices.gather(1, ranks), values)


@torch.no_grad()
def predict_labels(
    bank: Float[Tensor, "B D"], labels: Int64[Tensor, " B"], queries: Float[Tensor, "Q D"], *, k: int = 10
) -> Int64[Tensor, " Q"]:
    """The label that most of a query's ``k`` nearest bank rows by cosine have; of several, the smallest.

    Every vote counts alike, as in scikit-learn's ``KNeighborsClassifier(k, metric="cosine")``.

    Parameters
    ----------
    bank
        Features of the images whose labels are known, on any device.
    labels
        Their labels, from 0.
    queries
        Features of the images that are asked about, on the same device.
    k
        Neighbors that vote.

    Raises
    ------
    ValueError
        When the bank holds fewer than ``k`` rows.

    Examples
    --------
    >>> bank = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> predict_labels(bank, torch.tensor([4, 4, 7]), torch.tensor([[2.0, 0.0], [0.1, 5.0]]), k=1)
    tensor([4, 7])
    """
    num_labels = int(labels.max()) + 1
    found = []
    for neighbors in nearest(bank, queries, k):
        votes = F.one_hot(labels[neighbors.indices], num_labels).sum(1)
        found.append(votes.argmax(1))
    return torch.cat(found)


def knn_accuracy(
    bank: Float[Tensor, "B D"],
    labels: Int64[Tensor, " B"],
    queries: Float[Tensor, "Q D"],
    query_labels: Int64[Tensor, " Q"],
    *,
    k: int = 10,
) -> float:
    """Share of the queries whose label `predict_labels` finds, 0 to 1."""
    return (predict_labels(bank, labels, queries, k=k) == query_labels).float().mean().item()
