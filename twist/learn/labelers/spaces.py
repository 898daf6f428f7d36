"""The space that labelers work in: features centered, turned to their principal directions, on one scale."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

# Up to this width the directions come from the whole covariance; above, from a sketch of it.
_WHOLE_WIDTH = 1100
_SKETCH_EXTRA, _SKETCH_ROUNDS = 16, 4
_MOST_SIMILARITIES = 2**24
#: Rows among which neighbors are looked for, at most.
MOST_CANDIDATES = 10_000


class Space(NamedTuple):
    """Features as a labeler sees them.

    Attributes
    ----------
    rows
        Coordinates along the principal directions, widest first; a row's mean length is 1.
    kept
        Share of the features' spread (sum of variances) that these directions hold, 0 to 1.
    """

    rows: Float[Tensor, "N K"]
    kept: float


@torch.no_grad()
def principal_space(features: Float[Tensor, "N D"], *, dimensions: int = 128) -> Space:
    """Features in their first principal directions, scaled so that a row's mean length is 1.

    A rotation changes nothing of what a linear classifier can tell; leaving out narrow directions makes every labeler
    faster, and steadier where features are wider than the images are many.

    Parameters
    ----------
    features
        One row for each image.
    dimensions
        Directions kept at most.

    Notes
    -----
    Above a width of 1,100 a seeded sketch stands in for the decomposition of the whole covariance: four rounds of
    subspace iteration. The same features give the same space.

    Examples
    --------
    >>> space = principal_space(torch.tensor([[1.0, 5.0], [-1.0, 5.0]]), dimensions=1)
    >>> space.rows.abs().flatten().tolist(), round(space.kept, 3)
    ([1.0, 1.0], 1.0)
    """
    rows = features.float()
    rows = rows - rows.mean(0)
    rows = rows / rows.abs().max().clamp(min=torch.finfo(torch.float32).tiny)  # squares of large features overflow
    total = rows.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
    wanted = min(dimensions, *rows.shape)
    directions = _directions(rows, wanted)
    leading = directions.abs().argmax(0)
    directions = directions * directions[leading, torch.arange(directions.shape[1])].sign()  # of two signs, always one
    turned = rows @ directions
    length = turned.norm(dim=1).mean().clamp(min=torch.finfo(torch.float32).tiny)
    return Space(turned / length, min(1.0, (turned.square().sum() / total).item()))


def _directions(rows: Tensor, wanted: int) -> Tensor:
    if rows.shape[1] <= _WHOLE_WIDTH:
        _, vectors = torch.linalg.eigh(rows.T @ rows)
        return vectors[:, -wanted:].flip(1)
    generator = torch.Generator().manual_seed(0)
    width = min(wanted + _SKETCH_EXTRA, *rows.shape)
    basis = torch.randn(rows.shape[1], width, generator=generator)
    for _ in range(_SKETCH_ROUNDS):
        basis, _ = torch.linalg.qr(rows.T @ (rows @ basis))
    _, vectors = torch.linalg.eigh((rows @ basis).T @ (rows @ basis))
    return basis @ vectors[:, -wanted:].flip(1)


@torch.no_grad()
def neighbors_of(rows: Float[Tensor, "N K"], count: int) -> Int64[Tensor, "N n"]:
    """The nearest other rows of every row by cosine, nearest first.

    Of more than 10,000 rows they are looked for among so many, evenly spread: all pairs would take minutes.
    """
    every = -(-len(rows) // MOST_CANDIDATES)
    unit = F.normalize(rows, dim=1)
    candidates = unit[::every]
    count = min(count, len(candidates) - 1)
    found, first = [], 0
    for part in unit.split(max(1, _MOST_SIMILARITIES // len(candidates))):
        similar = part @ candidates.T
        here = torch.arange(first, first + len(part))
        own = here % every == 0  # rows that are candidates themselves; a copy may come first
        similar[own.nonzero()[:, 0], here[own] // every] = -torch.inf
        found.append(similar.topk(count, 1).indices * every)
        first += len(part)
    return torch.cat(found)
