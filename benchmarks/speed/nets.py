"""The networks that steps are measured with, and the model alone: its arithmetic on ready-made views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.pictures import pictures
from twist.learn.compute import autocast
from twist.learn.datasets import load
from twist.learn.networks import TwistNet, build_network
from twist.learn.optim import make_optimizer
from twist.learn.views import make_views
from twist.runs.config import Recipe, with_fields
from twist.runs.recipes import recipe as recipe_named


@dataclass(frozen=True)
class Subject:
    """A recipe's training, made so long that no measurement sees its end.

    Attributes
    ----------
    name
        In the table.
    recipe
        Name of the recipe it comes from.
    changes
        Fields that differ.
    made_up
        Number of made-up pictures to train on; 0 for the recipe's own images.
    side
        Side of those in pixels.
    """

    name: str
    recipe: str
    changes: dict[str, Any]
    made_up: int = 0
    side: int = 32

    def images(self) -> Tensor:
        """All of them, uint8."""
        if self.made_up:
            return pictures(self.made_up, (self.side, self.side))
        return load(self.resolved().data).images

    def resolved(self) -> Recipe:
        """The recipe with its changes."""
        return with_fields(recipe_named(self.recipe), self.changes)


CIFAR_IMAGES = 50_000
LONG = {"optim.epochs": 100_000, "optim.warmup_epochs": 0.0, "optim.learning_rate": 1e-3}


def digits() -> Subject:
    """What the recipe ``digits`` trains."""
    return Subject("digits", "digits", LONG)


def small_conv(batch_size: int = 256) -> Subject:
    """The net of the recipe ``images`` at 32 pixels."""
    return Subject("small_conv, 32 px", "images", {**LONG, "optim.batch_size": batch_size}, 4 * batch_size)


def thin_conv(batch_size: int = 256) -> Subject:
    """A thin net of four layers at 32 pixels, 24 MFLOP a view: here whatever is not the net shows most."""
    widths = {"network.widths": (16, 32, 64, 128), "network.hidden_dim": 128}
    return Subject(
        "thin net of four layers, 32 px", "images", {**small_conv(batch_size).changes, **widths}, 4 * batch_size
    )


def resnet18(batch_size: int) -> Subject:
    """What the recipe ``cifar10`` trains, on made-up pictures."""
    return Subject("resnet18, 32 px", "cifar10", {**LONG, "optim.batch_size": batch_size}, 4 * batch_size)


def resnet50(batch_size: int) -> Subject:
    """A ResNet-50 on two views of 224 pixels and six of 96, from pictures of 256."""
    crops = {"views.num_local_views": 6, "optim.batch_size": batch_size, "network.bunch_size": batch_size}
    return Subject("resnet50, 2 x 224 + 6 x 96 px", "resnet50", {**LONG, **crops}, batch_size, 256)


class ModelAlone:
    """Forward, backward and update of a subject's net on ready-made views, with a loss that costs nothing.

    Parameters
    ----------
    subject
        Whose net, batch and optimizer.
    device
        Where it runs.
    precision
        Number format inside the network, the same as in the whole step.
    """

    def __init__(self, subject: Subject, device: torch.device, precision: torch.dtype = torch.float32):
        recipe = subject.resolved()
        batch = recipe.optim.batch_size
        self.recipe, self.device, self.precision = recipe, device, precision
        self.images = subject.images()[:batch].to(device)
        self.ids = torch.arange(batch, device=device)
        self.network = build_subject(recipe, self.images.shape[1]).to(device).to(memory_format=torch.channels_last)
        self.network.train()
        self.optimizer = make_optimizer(self.network, recipe.optim)
        self.views = make_views(self.images, self.ids, recipe.views, seed=0, epoch=0)
        # A fixed random direction: the gradient of a mean square would be nearly 0 behind a norm, and denormal.
        _, heads = self.forward()
        self.targets = [torch.randn_like(rows) / len(rows) for rows in heads]

    def forward(self) -> tuple[Tensor, list[Tensor]]:
        """Features, and the logits of every head."""
        with autocast(self.device, self.precision):
            return self.network.forward_heads(self.views)

    def forward_backward(self) -> int:
        """The arithmetic of the net."""
        self.optimizer.zero_grad(set_to_none=True)
        _, heads = self.forward()
        torch.stack([(rows * target).sum() for rows, target in zip(heads, self.targets, strict=True)]).sum().backward()
        return 1

    def step(self) -> int:
        """The same, and the update."""
        self.forward_backward()
        return self.update()

    def update(self) -> int:
        """The update alone."""
        self.optimizer.step()
        return 1


def build_subject(recipe: Recipe, in_channels: int) -> TwistNet:
    """The net of a recipe."""
    return build_network(recipe.network, in_channels, seed=recipe.seed, image_size=recipe.views.size)


def ready_views(model: ModelAlone) -> Callable[[], int]:
    """Work that makes the views of a subject's batch."""
    epoch = iter(range(10**9))

    def work() -> int:
        make_views(model.images, model.ids, model.recipe.views, seed=0, epoch=next(epoch))
        return 1

    return work
