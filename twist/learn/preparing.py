"""Images of any size and number of channels -> what one network takes: resized, cropped, normalized."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from twist.learn.augment import gray
from twist.learn.view_parameters import moves
from twist.learn.views import plain_view
from twist.runs.config import ConfigError, ViewsConfig

#: Mean and deviation of ImageNet's colors (white is 1), by which most networks made elsewhere were trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: The same of CIFAR-10's.
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


@dataclass(frozen=True)
class PlainView:
    """The un-augmented view of a run: the central square, resized and normalized as its augmented views are.

    Attributes
    ----------
    views
        The ``views`` part of the recipe.
    channels
        What the network takes.
    """

    views: ViewsConfig
    channels: int

    @property
    def size(self) -> int:
        """Side of the views."""
        return self.views.size

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        views = self.views
        return {
            "form": "plain view of a run",
            "channels": self.channels,
            "size": self.size,
            "mean": list(views.mean),
            "std": list(views.std),
            "interpolation": "bilinear" if moves(views) else "bicubic",
        }

    def __call__(self, images: UInt8[Tensor, "N ch H W"]) -> Float[Tensor, "N channels S S"]:
        """Plain views."""
        return plain_view(with_channels(images, self.channels), self.views)

    def __str__(self) -> str:
        return f"central square at {self.size} pixels, normalized as in training; {_said_of_channels(self.channels)}"


@dataclass(frozen=True)
class ResizedCrop:
    """Resize the shorter side, cut the central square, normalize: how networks made elsewhere are evaluated.

    Attributes
    ----------
    size
        Side of the square in pixels; None leaves images as they are.
    resize
        Shorter side before the cut: 256 for a square of 224.
    channels
        1, 3, or None, which takes images as they are.
    mean, std
        Subtracted and divided by (white is 1): one number, or one per channel.
    interpolation
        bilinear or bicubic, antialiased.
    """

    size: int | None
    resize: int | None
    channels: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        values = dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        return {"form": "resize, central square, normalize", **values}

    def __call__(self, images: UInt8[Tensor, "N ch H W"]) -> Float[Tensor, "N channels S S2"]:
        """Prepared views; values between pixels that overshoot black or white are cut, as in images of whole bytes."""
        views = with_channels(images, self.channels).float() / 255
        if self.size is not None and self.resize is not None:
            rows, columns = views.shape[2:]
            # Cut and rounded as torchvision does, and with it nearly everyone.
            sides = tuple(max(self.size, side * self.resize // min(rows, columns)) for side in (rows, columns))
            if sides != (rows, columns):
                resized = F.interpolate(views, sides, mode=self.interpolation, antialias=True, align_corners=False)
                views = resized.clamp_(0, 1)
            top, left = (round((side - self.size) / 2) for side in sides)
            views = views[:, :, top : top + self.size, left : left + self.size]
        mean, std = (torch.tensor(n, device=views.device).view(1, -1, 1, 1) for n in (self.mean, self.std))
        if max(mean.numel(), std.numel()) not in (1, views.shape[1]):
            raise ConfigError(
                f"the images have {views.shape[1]} channels, mean and std are for {max(mean.numel(), std.numel())}: "
                "give one number, or one per channel"
            )
        return (views - mean) / std

    def __str__(self) -> str:
        square = "as it is" if self.size is None else f"shorter side at {self.resize}, central square of {self.size}"
        numbers = f"mean {_shown(self.mean)}, std {_shown(self.std)}"
        return f"{square}, {numbers}; {_said_of_channels(self.channels)}"


#: What a network's images go through before it sees them. ``channels`` and ``size`` are those of the views, None where
#: images are taken as they are; ``facts`` are all that decides what comes out, as plain values.
Preparation = PlainView | ResizedCrop


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person asks of a network where it leaves that open; None leaves it to the network.

    Attributes
    ----------
    image_size
        Side of the views in pixels.
    channels
        Channels of the images that it takes.
    mean, std
        Subtracted and divided by (white is 1): one number, or one per channel.
    seed
        Of random weights.
    blocks
        Last blocks of a vision transformer whose class tokens are the features, side by side.
    """

    image_size: int | None = None
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    seed: int | None = None
    blocks: int = 1


def prepared(
    choices: Choices,
    size: int,
    crop: float,
    *,
    mean: Iterable[float],
    std: Iterable[float],
    channels: int = 3,
    interpolation: str = "bicubic",
) -> ResizedCrop:
    """The preparation of a network made elsewhere: what it was tested with, but for what is asked otherwise.

    Parameters
    ----------
    size, crop
        Side of the square in pixels, and its share of the shorter side before the cut, which is a whole number of
        pixels, the part of one cut off as timm does.
    mean, std, channels, interpolation
        As for `ResizedCrop`; of three means one is made for gray images.
    """
    size, channels = choices.image_size or size, choices.channels or channels
    mean, std = tuple(mean), tuple(std)
    if channels == 1 and len(mean) == 3:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    interpolation = interpolation if interpolation in ("bicubic", "bilinear") else "bicubic"
    resize = math.floor(size / crop + 1e-6)  # 224 / (224 / 232) is 232, but for its rounding
    return ResizedCrop(size, resize, channels, choices.mean or mean, choices.std or std, interpolation)


def with_channels(images: UInt8[Tensor, "N ch H W"], channels: int | None) -> UInt8[Tensor, "N channels H W"]:
    """Images with as many channels as a network takes: gray thrice for color, and the luma of color for gray.

    Raises
    ------
    ConfigError
        When the images have neither 1 nor 3 channels.
    """
    have = images.shape[1]
    if have not in (1, 3):
        raise ConfigError(f"the images have {have} channels: give gray (1) or color (3) images")
    if channels is None or channels == have:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return gray(images.float()).round_().clamp_(0, 255).to(torch.uint8)


def _said_of_channels(channels: int | None) -> str:
    return {1: "color becomes gray", 3: "gray stands in all three channels"}.get(channels or 0, "channels as they are")


def _shown(numbers: tuple[float, ...]) -> str:
    return "/".join(f"{number:g}" for number in numbers)
