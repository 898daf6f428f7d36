"""How learning begins: which directions of the logits the loss lets grow, and up to which consistency weight.

Sharpness and diversity reward logits that differ from image to image; consistency fines what of that differs between
two views of one image. Near uniform both are quadratic in the logits' energy, and the correlation of the views decides
which of them wins: see `twist.runs.bounds.largest_weight`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn import datasets
from twist.learn.networks import TwistNet, build_network
from twist.learn.objective import twist_loss
from twist.learn.views import make_views
from twist.learn.whitening import whiten_first_layer
from twist.runs.bounds import largest_weight
from twist.runs.config import Recipe

#: Share of the mean variance that is added to every direction, so that one of hardly any variance is not blown up.
_DAMPING = 1e-2
#: Views are those of epochs that hardly any run reaches.
_EPOCH = 1_000_000
_BATCH = 500


class Onset(NamedTuple):
    """What the views of a network's images have in common, and what that lets grow.

    Attributes
    ----------
    correlation
        Of the views' logits, all directions together, see `views_correlation`.
    best_direction
        Greatest correlation that one direction of the features has, see `direction_correlations`.
    balance
        Consistency weight at which the loss lets these logits neither grow nor shrink, see `balance_weight`.
    """

    correlation: float
    best_direction: float
    balance: float

    @property
    def largest_weight(self) -> float:
        """Consistency weight above which even the best direction fades, see `twist.runs.bounds.largest_weight`."""
        return largest_weight(self.best_direction)


def onset_at_start(recipe: Recipe, *, num_images: int = 8000, num_epochs: int = 3) -> Onset:
    """The onset of a recipe's network as it is drawn: a look before training at which consistency weights can learn.

    Parameters
    ----------
    recipe
        What would be trained.
    num_images, num_epochs
        How many images are asked, and how many pairs of views of each: the best direction needs many.

    Raises
    ------
    ConfigError
        When the images cannot be had, see `twist.learn.datasets.load`.
    """
    images = datasets.load(recipe.data)
    network = build_network(recipe.network, images.images.shape[1], seed=recipe.seed, image_size=recipe.views.size)
    whiten_first_layer(network, images, recipe)
    return onset_of(network, images, recipe, num_images=num_images, num_epochs=num_epochs)


@torch.no_grad()
def onset_of(
    network: TwistNet, images: datasets.ImageSet, recipe: Recipe, *, num_images: int = 8000, num_epochs: int = 1
) -> Onset:
    """The onset of a network, asked as in training: its norms see batches, and their running statistics are moved.

    Parameters
    ----------
    network
        On the CPU.
    images, recipe
        What it learns from, with which views.
    num_images, num_epochs
        See `onset_at_start`.
    """
    network.train()
    features, logits = [], []
    for epoch in range(_EPOCH, _EPOCH + num_epochs):
        for rows in torch.arange(min(num_images, len(images))).split(_BATCH):
            ids = images.sample_ids[rows]
            views = make_views(images.images[rows], ids, recipe.views, seed=recipe.seed, epoch=epoch)[:2]
            found, heads = network.forward_heads(views)
            features.append(found.unflatten(0, (2, -1)))
            logits.append(heads[network.speaking_head].unflatten(0, (2, -1)))
    rows = torch.cat(logits, 1)
    rows = rows - rows.mean(2, keepdim=True)
    return Onset(
        correlation=views_correlation(*rows).item(),
        best_direction=direction_correlations(*_by_image(torch.cat(features, 1), num_epochs))[0].item(),
        balance=balance_weight(rows, temperature=recipe.objective.temperature),
    )


@torch.no_grad()
def views_correlation(first: Float[Tensor, "N D"], other: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Correlation of two views' rows, all directions together, weighted by their variance.

    Near 1: what the rows tell survives the augmentation. Near 0: the views of an image have no more in common than
    those of two images. One strong direction can hide weak ones: read `direction_correlations` next.

    Parameters
    ----------
    first, other
        Logits or features of two views, row i of each from the same image.

    Returns
    -------
    Tensor
        -1 to 1. What all rows share is taken away; of logits, give rows of mean 0, since the softmax ignores the rest.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> views_correlation(rows, rows), views_correlation(rows, rows.flip(0))
    (tensor(1.), tensor(-1.))
    """
    first, other = _centered(first, other)
    return (first * other).sum() / ((first.square().sum() + other.square().sum()) / 2)


@torch.no_grad()
def direction_correlations(first: Float[Tensor, "N D"], other: Float[Tensor, "N D"]) -> Float[Tensor, " D"]:
    """Correlation between two views of every direction that a linear layer could read, greatest first.

    Directions are chosen on the first half of the rows, so that their variances are 1, their covariances 0 and the
    views as alike as can be, and are measured on the second half: on the images they were chosen on, noise would look
    alike too, so rows of one image belong together. The greatest tells what a head could agree on at once, before the
    layers below have changed.

    Parameters
    ----------
    first, other
        Features or logits of two views, row i of each from the same image; many more rows than directions.

    Returns
    -------
    Tensor
        float64, -1 to 1, in descending order.

    Raises
    ------
    ValueError
        For fewer than four images.

    Examples
    --------
    One direction that both views share, and one in which they are strangers:

    >>> generator = torch.Generator().manual_seed(0)
    >>> shared, own, others = torch.randn(3, 20_000, 1, generator=generator)
    >>> direction_correlations(torch.cat([shared, own], 1), torch.cat([shared, others], 1)).round(decimals=1).abs()
    tensor([1., 0.], dtype=torch.float64)
    """
    if len(first) < 4:
        raise ValueError(f"{len(first)} images given: give four or more, half to choose directions, half to measure")
    first, other = _centered(first.double(), other.double())
    half = len(first) // 2
    own, shared = _covariances(first[:half], other[:half])
    variances, axes = torch.linalg.eigh(own)
    whitening = axes / (variances.clamp(min=0) + _DAMPING * variances.mean() + 1e-12).sqrt()
    directions = whitening @ torch.linalg.eigh(whitening.T @ shared @ whitening).eigenvectors
    own, shared = _covariances(first[half:], other[half:])
    spread = ((directions.T @ own) * directions.T).sum(1)
    return (((directions.T @ shared) * directions.T).sum(1) / spread.clamp(min=1e-12)).sort(descending=True).values


def balance_weight(
    logits: Sequence[Float[Tensor, "N C"]] | Float[Tensor, "V N C"], *, temperature: int | float = 1.0
) -> float:
    """Consistency weight at which the loss asks logits neither to grow nor to shrink, all by the same factor.

    With a larger one the first steps lose information, with a smaller one they gain it, whatever the views agree on.
    Exact for these logits; for small ones it is `twist.runs.bounds.largest_weight` of their `views_correlation`.

    Parameters
    ----------
    logits
        Of the views, before the temperature.
    temperature
        Divisor of the logits.

    Returns
    -------
    float
        0 upward; infinite where the views do not differ.
    """
    rows = torch.stack(list(logits)).detach().double()
    rows = rows - rows.mean(2, keepdim=True)  # the softmax ignores the mean of a row
    slopes = []
    for weight in (0, 1):  # of the loss along a common factor, with consistency and without
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            terms = twist_loss(rows * scale, temperature=temperature, consistency_weight=weight, eps=0)
            slopes.append(torch.autograd.grad(terms.total, scale)[0].item())
    gain, fine = -slopes[0], slopes[1] - slopes[0]
    return gain / fine if fine > 1e-9 * abs(gain) else float("inf")


def _by_image(rows: Tensor, num_epochs: int) -> Tensor:
    """Rows ``[2, epochs * N, D]``, epoch after epoch, as image after image: so that halves of them share no image."""
    return rows.unflatten(1, (num_epochs, -1)).transpose(1, 2).flatten(1, 2)


def _centered(first: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    mean = (first.mean(0) + other.mean(0)) / 2
    return first - mean, other - mean


def _covariances(first: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows of either view, and between the views, symmetric."""
    own = (first.T @ first + other.T @ other) / (2 * len(first))
    shared = first.T @ other / len(first)
    return own, (shared + shared.T) / 2
