"""Color operations on a whole batch, in which every sample has its own strength.

Pixels are float32 with black 0 and white 1. Nothing here draws, waits for the device, or depends on the rest of the
batch. What torchvision does to one image, these functions do to each, to rounding: its tests are theirs. `mix_colors`
alone takes a shorter way.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601, with the digits of PIL and torchvision


def adjust_brightness(images: Float[Tensor, "N ch H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels multiplied by a factor: 0 is black, 1 changes nothing."""
    return (images * _each(factor)).clamp_(0, 1)


def adjust_contrast(images: Float[Tensor, "N ch H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels drawn toward the image's mean gray: 0 is flat, 1 changes nothing."""
    mean = gray(images.mean((2, 3), keepdim=True))
    return (images * _each(factor)).add_(mean * _each(1 - factor)).clamp_(0, 1)


def adjust_saturation(images: Float[Tensor, "N 3 H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """Pixels drawn toward their own gray: 0 is gray, 1 changes nothing."""
    return (images * _each(factor)).add_(gray(images).mul_(_each(1 - factor))).clamp_(0, 1)


def turn_hue(images: Float[Tensor, "N 3 H W"], turn: Float[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """Colors turned around the HSV color circle by a share of it, -0.5 to 0.5; grays stay."""
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    # 0 where red, or green, is the largest and 1 elsewhere; lerp then selects exactly, at a tenth of the cost of where.
    not_red, not_green = (value - red).sign_(), (value - green).sign_()
    # The hue in sixths of the circle; where there is no chroma the numerator is 0 too.
    sixth = torch.lerp(green - blue, torch.lerp(blue - red, red - green, not_green), not_red)
    sixth /= chroma.clamp(min=1e-12)
    sixth += not_red * (2 + 2 * not_green)
    sixth += 6 * turn[:, None, None]
    sixth -= 6 * (sixth / 6).floor_()
    # Each channel is a trapezoid of the hue between the lowest and the highest channel.
    shares = ((sixth - 3).abs_().sub_(1), (sixth - 2).abs_().neg_().add_(2), (sixth - 4).abs_().neg_().add_(2))
    return torch.stack([torch.addcmul(low, share.clamp_(0, 1), chroma) for share in shares], 1)


def gray(images: Float[Tensor, "N ch H W"]) -> Float[Tensor, "N 1 H W"]:
    """Luma of color images (ITU-R 601); images of one channel are their own."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def to_gray(images: Float[Tensor, "N 3 H W"], chosen: Bool[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """The chosen samples without their colors."""
    return torch.lerp(images, gray(images), _each(chosen.float()))


def color_matrix(
    saturation: Float[Tensor, " N"], turn: Float[Tensor, " N"], chosen_gray: Bool[Tensor, " N"]
) -> Float[Tensor, "N 3 3"]:
    """Saturation, hue and gray of every sample as one matrix; it keeps grays.

    The hue turns about the gray axis of the color cube, by the same share of a circle as in HSV and to hues that differ
    by less than a fifth of the turn; it keeps the sum of the channels, where HSV keeps the largest and the smallest.
    """
    luma = [share / sum(_LUMA) for share in _LUMA]
    angle = 2 * math.pi * turn
    along, across = (1 - angle.cos()) / 3, angle.sin() / math.sqrt(3)
    # The rotation's three distinct numbers; each row is the one above, moved on by a place.
    turned = [1 - 2 * along, along - across, along + across]
    rows = [[turned[(column - row) % 3] for column in range(3)] for row in range(3)]
    its_luma = [sum(share * row[column] for share, row in zip(luma, rows, strict=True)) for column in range(3)]
    entries = [
        share + saturation * (torch.where(chosen_gray, its, entry) - share)
        for row in rows
        for share, its, entry in zip(luma, its_luma, row, strict=True)
    ]
    return torch.stack(entries, 1).unflatten(1, (3, 3))


def mix_colors(
    images: Float[Tensor, "N ch H W"], matrix: Float[Tensor, "N ch ch"], offset: Float[Tensor, " N"]
) -> Float[Tensor, "N ch H W"]:
    """Every pixel's color multiplied by its sample's matrix, plus a share of the image's mean gray; one clamp.

    Parameters
    ----------
    offset
        The share: brightness times one minus contrast.
    """
    lift = gray(images.mean((2, 3), keepdim=True)) * _each(offset)
    mixed = torch.bmm(matrix, images.flatten(2)).unflatten(2, images.shape[2:])
    return mixed.add_(lift).clamp_(0, 1)


def solarize(images: Float[Tensor, "N ch H W"], chosen: Bool[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels of at least 128/255 inverted, in the chosen samples."""
    threshold = torch.where(chosen, 128 / 255, 2.0)
    return torch.lerp(images, 1 - images, (images >= _each(threshold)).float())


def normalize(
    images: Float[Tensor, "N ch H W"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "N ch H W"]:
    """The images themselves, each channel minus its mean and over its standard deviation."""
    # Scalars by channel, as a tensor of them would have to be copied to the device.
    for plane, center, scale in zip(images.unbind(1), mean, std, strict=True):
        plane.sub_(center).div_(scale)
    return images


def _each(values: Tensor) -> Tensor:
    """One value per sample, shaped to meet its pixels."""
    return values[:, None, None, None]
