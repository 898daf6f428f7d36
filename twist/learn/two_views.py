"""One image in two views: what a network says of each, how far they disagree, and which augmentation changes the class.

The views are those of training (`twist.learn.views`), the network is asked as `twist.learn.snapshots` asks it: in
evaluation mode, with running statistics. So the plain image gets the numbers of the snapshot at the same step, and
draw n with the recipe's own fields shows the two views that training saw of the image in epoch n.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from twist.learn import information
from twist.learn.compute import as_written
from twist.learn.networks import TwistNet
from twist.learn.objective import twist_loss
from twist.learn.own_code import call_own
from twist.learn.pixels import apply_parameters, outlines
from twist.learn.view_parameters import ViewParameters, moves, sample_parameters
from twist.learn.views import ExtraAugmentation, plain_view
from twist.runs.augmentations import AUGMENTATIONS, TOGETHER, alone
from twist.runs.config import Recipe, ViewsConfig

_AT_ONCE = 128  # views in the network, which beside a training has little memory for itself


class Subject(NamedTuple):
    """Who is asked, and how.

    Attributes
    ----------
    network
        In evaluation mode.
    recipe
        Its views, temperature and seed.
    extra
        A person's own last step of the augmentation, or None.
    """

    network: TwistNet
    recipe: Recipe
    extra: ExtraAugmentation | None = None


class Pair(NamedTuple):
    """The plain image and two views of it.

    Attributes
    ----------
    pixels
        As the network sees them, brought back to 0 to 255: plain, first, second.
    log_probs
        Of the same three.
    drawn
        What was drawn for both views, in words and numbers; empty for a plain one.
    corners
        Where both views lie on the image, see `twist.learn.pixels.outlines`.
    forward, backward
        KL(view 1 given view 2), what one is surprised who expects the second and meets the first, and the other way.
    consistency
        The term of that name in the recipe's objective for these two views alone.
    """

    pixels: UInt8[Tensor, "3 ch S S"]
    log_probs: Float[Tensor, "3 C"]
    drawn: list[dict[str, Any]]
    corners: Float[Tensor, "2 4 2"]
    forward: float
    backward: float
    consistency: float


class Sensitivity(NamedTuple):
    """What one augmentation alone, in every draw, does to the class of one image.

    Attributes
    ----------
    draws, stays
        How many were made, and in how many of them the class is that of the plain image.
    divergence
        Mean consistency term between a draw and the plain image, in nats.
    classes
        How many draws fell into which class, most first.
    """

    draws: int
    stays: int
    divergence: float
    classes: list[tuple[int, int]]


def pair_of_views(
    subject: Subject,
    image: UInt8[Tensor, "1 ch H W"],
    sample_id: int,
    views: ViewsConfig,
    *,
    draw: int,
    first_plain: bool = False,
) -> Pair:
    """Two views of an image, drawn as epoch ``draw`` of training draws them, beside the plain image.

    Parameters
    ----------
    subject
        Network and recipe.
    image, sample_id
        Its pixels and its number in the set, from which its draws follow.
    views
        How it is augmented; the size, mean and std of the recipe.
    draw
        Number of the draw, from 0.
    first_plain
        Whether view 1 is the plain image, so that view 2 alone is compared with what the network is evaluated on.
    """
    recipe = subject.recipe
    ids = torch.tensor([sample_id])
    plain = plain_view(image, recipe.views)
    made, drawn, corners = [plain], [], []
    for view in (0, 1):
        parameters = _parameters(ids, image, views, recipe, epoch=draw, view=view)
        pixels = apply_parameters(image, parameters, views)
        if subject.extra is not None and not first_plain:
            pixels = call_own("views.extra", subject.extra, pixels, ids, recipe.seed, draw, view)
        if view == 0 and first_plain:
            pixels, parameters = plain, _central(parameters, image)
        made.append(pixels)
        drawn.append({} if view == 0 and first_plain else _spell(parameters))
        corners.append(outlines(parameters, (image.shape[2], image.shape[3])))
    log_probs, logits = _ask(subject, torch.cat(made))
    first, second = log_probs[1:2], log_probs[2:3]
    return Pair(
        pixels=_shown(torch.cat(made), views),
        log_probs=log_probs,
        drawn=drawn,
        corners=torch.cat(corners),
        forward=information.kl_divergence(first, second).item(),
        backward=information.kl_divergence(second, first).item(),
        consistency=_consistency(logits[1:2], logits[2:3], recipe),
    )


def sensitivity(
    subject: Subject, image: UInt8[Tensor, "1 ch H W"], views: ViewsConfig, augmentation: str, *, draws: int = 64
) -> Sensitivity:
    """How an image's class and distribution take one augmentation alone, happening in every draw.

    An augmentation that is the same in every draw, a flip, is made once. ``all together`` are views as they are drawn
    in training, each augmentation as probable as the fields say.
    """
    if augmentation == TOGETHER:
        count, config = draws, views
    else:
        count, config = (1 if AUGMENTATIONS[augmentation].fixed else draws), alone(views, augmentation)
    many = image.expand(count, -1, -1, -1)
    parameters = _parameters(torch.arange(count), image, config, subject.recipe, epoch=0, view=0)
    made = torch.cat([plain_view(image, subject.recipe.views), apply_parameters(many, parameters, config)])
    log_probs, logits = _ask(subject, made)
    classes = log_probs.argmax(1)
    counts = classes[1:].bincount(minlength=log_probs.shape[1])
    most = counts.topk(min(4, len(counts)))
    return Sensitivity(
        draws=count,
        stays=int(counts[classes[0]]),
        divergence=_consistency(logits[:1].expand(count, -1), logits[1:], subject.recipe),
        classes=[(int(c), int(n)) for n, c in zip(most.values, most.indices, strict=True) if n > 0],
    )


def _parameters(
    ids: Tensor, image: Tensor, views: ViewsConfig, recipe: Recipe, *, epoch: int, view: int
) -> ViewParameters:
    shape = (image.shape[1], image.shape[2], image.shape[3])
    drawn = sample_parameters(ids, shape, views, seed=recipe.seed, epoch=epoch, view=view)
    if moves(recipe.views) and drawn.rotation is None:
        # Training shows this network bilinear views only: without it a flip would be compared by its interpolation.
        still = torch.zeros_like(drawn.top)
        drawn = dataclasses.replace(
            drawn, rotation=still, shift_x=still, shift_y=still, zoom=torch.ones_like(still), shear=still
        )
    return drawn


def _central(parameters: ViewParameters, image: Tensor) -> ViewParameters:
    rows, columns = image.shape[2:]
    side = min(rows, columns)
    crop = ((rows - side) // 2, (columns - side) // 2, side, side)
    top, left, height, width = (torch.full_like(parameters.top, float(value)) for value in crop)
    return ViewParameters(top, left, height, width)


@torch.no_grad()
def _ask(subject: Subject, views: Float[Tensor, "N ch S S"]) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    with as_written(subject.network):
        parts = views.contiguous(memory_format=torch.channels_last).split(_AT_ONCE)
        logits = torch.cat([subject.network(part).logits.float() for part in parts])
    return (logits / subject.recipe.objective.temperature).log_softmax(1), logits


def _consistency(logits: Tensor, other: Tensor, recipe: Recipe) -> float:
    config = recipe.objective
    terms = twist_loss(
        [logits.contiguous(), other.contiguous()],
        temperature=config.temperature,
        consistency_temperature=config.consistency_temperature,
        eps=config.eps,
    )
    return terms.consistency.item()


def _shown(views: Float[Tensor, "N ch S S"], config: ViewsConfig) -> UInt8[Tensor, "N ch S S"]:
    """What was normalized, brought back to what an eye can see."""
    std, mean = (views.new_tensor(numbers)[:, None, None] for numbers in (config.std, config.mean))
    return (views * std + mean).clamp(0, 1).mul(255).round().byte()


def _spell(parameters: ViewParameters) -> dict[str, Any]:
    """What was drawn for the one sample, by name; noise is as many numbers as pixels and left out."""
    there = {name: value for name, value in vars(parameters).items() if value is not None and name != "noise"}
    return {name: value.item() for name, value in there.items()}
