"""Labels by vote of the nearest neighbors, exactly: every query is compared with the whole bank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

# Similarities held at a time, 256 MB of them: more queries than these allow go chunk by chunk.
_MOST_SIMILARITIES = 2**26


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
    if not 1 <= k <= len(bank):
        raise ValueError(f"k is {k}: give 1 to {len(bank)}, the rows of the bank")
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    num_labels = int(labels.max()) + 1
    found = []
    for rows in queries.split(max(1, _MOST_SIMILARITIES // len(bank))):
        nearest = (rows @ bank.T).topk(k, 1).indices
        votes = F.one_hot(labels[nearest], num_labels).sum(1)
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
