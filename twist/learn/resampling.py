"""Crop, flip, resize, affine maps and blur of a whole batch, in which every sample has its own.

A crop that is flipped and resized is a matrix per axis, and so is a Gaussian blur: an image costs two small products,
and matrices that follow each other become one. Pixels come as uint8 and leave as float32 with black 0 and white 1.
Nothing here waits for the device, or depends on the rest of the batch: on a CPU, to the last bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

# A Gaussian's weights below this share of its peak are zero. They cannot be seen, and the smallest would be denormal
# numbers, which made the product four times slower.
_SMALLEST_WEIGHT = 1e-6
_REACH = math.sqrt(-2 * math.log(_SMALLEST_WEIGHT))


class Taps(NamedTuple):
    """The few input pixels that have weight in each output pixel along one axis, and their weights, T of each."""

    places: Int[Tensor, "N S T"]
    weights: Float[Tensor, "N S T"]


def bicubic_taps(
    start: Float[Tensor, " N"], length: Float[Tensor, " N"], flip: Bool[Tensor, " N"] | None, n_in: int, n_out: int
) -> Taps:
    """Taps that resize the pixels ``start`` to ``start + length`` of ``n_in``, mirrored where asked, to ``n_out``.

    Bicubic and antialiased as in PIL.
    """
    step = (length / n_out)[:, None]
    spread = step.clamp(min=1)
    offset = step * (torch.arange(n_out, dtype=torch.float32, device=start.device) + 0.5)
    center = (offset if flip is None else torch.where(flip[:, None], length[:, None] - offset, offset)) - 0.5
    # The cubic is 0 two spreads away from its center.
    count = math.ceil(4 * max(1, n_in / n_out))
    taps = torch.arange(1, count + 1, dtype=torch.float32, device=start.device)
    pixel = (center - 2 * spread).floor_()[:, :, None] + taps
    distance = (pixel - center[:, :, None]).abs_().div_(spread[:, :, None])
    # Keys' cubic with a = -1/2, its two pieces as truncated powers: no branches.
    outer, inner = (2 - distance).clamp_(min=0), (1 - distance).clamp_(min=0)
    weights = outer.square().mul_(outer.sub_(1)).mul_(0.5) + inner.square().mul_(1 - 2 * inner)
    # Pixels outside of the crop have no weight, so that it does not matter on which one inside they land.
    inside = torch.minimum(pixel.clamp(min=0), length[:, None, None] - 1)
    weights *= inside == pixel
    weights /= weights.sum(2, keepdim=True)
    return Taps((inside + start[:, None, None]).long(), weights)


def matrix(places: Int[Tensor, "N S T"], weights: Float[Tensor, "N S T"], n_in: int) -> Float[Tensor, "N S in"]:
    """Taps as one matrix per sample."""
    return weights.new_zeros(*places.shape[:2], n_in).scatter_add_(2, places, weights)


def resample(
    images: Float[Tensor, "N ch H W"],
    rows: Float[Tensor, "N S H"],
    columns: Float[Tensor, "N S W"],
    *,
    clamp: bool = False,
) -> Float[Tensor, "N ch S S"]:
    """Images multiplied by a matrix per axis and sample; clamped to 0 and 1 after each product where asked.

    Cubic weights overshoot. PIL clamps between its passes too, and has 8 bits there, so that it differs by up to 1/255.
    The order of its passes depends on sizes from Pillow 13 on: next to saturated edges of noise no fixed order is
    always its own.
    """
    # Channels and rows share their image's matrix, so they are the rows of one product per image.
    across = torch.bmm(images.flatten(1, 2), columns.mT).unflatten(1, images.shape[1:3])
    if clamp:
        across.clamp_(0, 1)
    both = torch.matmul(rows[:, None], across)
    return both.clamp_(0, 1) if clamp else both


def crop_map(
    top: Float[Tensor, " N"],
    left: Float[Tensor, " N"],
    height: Float[Tensor, " N"],
    width: Float[Tensor, " N"],
    flip: Bool[Tensor, " N"] | None,
    inverse: Float[Tensor, "N 2 3"],
    shape: tuple[int, int],
) -> Float[Tensor, "N 2 3"]:
    """From a point of the view to the point of the image seen there, by way of the crop, which may be flipped.

    Parameters
    ----------
    inverse
        Maps a point of the view to the point of the cropped square seen there. View, square and image all reach from -1
        to 1.
    shape
        Rows and columns of the images.
    """
    rows, columns = shape
    mirror = 1 if flip is None else 1 - 2 * flip.float()
    across = inverse[:, 0] * (mirror * width / columns)[:, None]
    down = inverse[:, 1] * (height / rows)[:, None]
    across[:, 2] += (2 * left + width) / columns - 1
    down[:, 2] += (2 * top + height) / rows - 1
    return torch.stack([across, down], 1)


def warp(images: Float[Tensor, "N ch H W"], seen: Float[Tensor, "N 2 3"], size: int) -> Float[Tensor, "N ch S S"]:
    """What a map from the points of a view to those of its image shows; outside the image it is black.

    Bilinear, in one sampling step, so that what a map brings in from outside a crop is the image around it. An image
    larger than the view is sampled more densely and averaged, which antialiases.
    """
    dense = max(1, round(min(images.shape[2:]) / size))
    # The grid is a sum over its two axes; `affine_grid`, a product per point, took half of the time of a small view.
    points = torch.arange(1, 2 * dense * size, 2, device=images.device) / (dense * size) - 1
    along_row = seen[:, :, 0, None] * points
    along_column = seen[:, :, 1, None] * points + seen[:, :, 2, None]
    grid = (along_column[..., None] + along_row[:, :, None]).movedim(1, 3)
    view = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return F.avg_pool2d(view, dense) if dense > 1 else view


def blur_weights(sigma: Float[Tensor, " N"], size: int, largest: float) -> Float[Tensor, "N K"]:
    """Weights of a Gaussian with a standard deviation in pixels, for the offsets from -K/2 to K/2; 0 has one weight.

    Parameters
    ----------
    size
        Side of the views, past which no offset reaches.
    largest
        Upper bound of ``sigma``, known without asking the device: it decides how many offsets have a weight.
    """
    reach = min(size - 1, math.ceil(_REACH * largest))
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-3)[:, None]).square())
    weights = torch.where(weights < _SMALLEST_WEIGHT, 0.0, weights)
    return weights.div_(weights.sum(1, keepdim=True))


def mirrored_places(count: int, size: int, device: torch.device) -> Float[Tensor, "K SS"]:
    """Where each of ``count`` offsets from each pixel lands, as ones and zeros: the image goes on mirrored."""
    offset = torch.arange(count, device=device) - count // 2
    pixel = torch.arange(size, device=device)
    mirrored = (size - 1) - ((size - 1) - (pixel + offset[:, None]).abs()).abs()
    return torch.zeros(count, size, size, device=device).scatter_(2, mirrored[:, :, None], 1.0).flatten(1)


def blur_matrix(weights: Float[Tensor, "N K"], places: Float[Tensor, "K SS"]) -> Float[Tensor, "N S S"]:
    """Blur along one axis by `blur_weights`, which land where `mirrored_places` says."""
    return (weights @ places).unflatten(1, (math.isqrt(places.shape[1]), -1))


def blur_rows(
    matrices: Float[Tensor, "N S in"], weights: Float[Tensor, "N K"], places: Float[Tensor, "K SS"]
) -> Float[Tensor, "N S in"]:
    """Matrices that resize and then blur, of those that resize."""
    return torch.bmm(blur_matrix(weights, places), matrices)


def blur(
    images: Float[Tensor, "N ch S S"], weights: Float[Tensor, "N K"], places: Float[Tensor, "K SS"]
) -> Float[Tensor, "N ch S S"]:
    """Both axes blurred."""
    each = blur_matrix(weights, places)
    return resample(images, each, each)
