"""Image operations on a whole batch, in which every sample has its own strength.

Pixels are float32 with black 0 and white 1. Nothing here draws, waits for the device, or depends on the rest of the
batch: masks and matrices take the place of branches and indices. What torchvision does to one image, these functions do
to each, to rounding: its tests are theirs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

# A Gaussian's weights below this share of its peak are zero. They cannot be seen, and the smallest would be denormal
# numbers, which made the product four times slower.
_SMALLEST_WEIGHT = 1e-6
_REACH = math.sqrt(-2 * math.log(_SMALLEST_WEIGHT))


def resize_crop(
    images: Float[Tensor, "N ch H W"],
    top: Float[Tensor, " N"],
    left: Float[Tensor, " N"],
    height: Float[Tensor, " N"],
    width: Float[Tensor, " N"],
    flip: Bool[Tensor, " N"] | None,
    size: int,
) -> Float[Tensor, "N ch S S"]:
    """A crop of every image, flipped left-right where asked, resized to a square.

    Bicubic and antialiased as in PIL, which has 8 bits between its two passes and so differs by up to 1/255. Both axes
    are a matrix product, which holds crop, flip and resize at once and is as fast as bilinear sampling.
    """
    rows = _bicubic_matrix(top, height, None, images.shape[2], size)
    columns = _bicubic_matrix(left, width, flip, images.shape[3], size)
    # Cubic weights overshoot. PIL clamps between its passes too; the order of these depends on sizes from Pillow 13 on,
    # so that next to saturated edges of noise no fixed order is always its own.
    return _per_row(rows, _per_column(images, columns).clamp_(0, 1)).clamp_(0, 1)


def _bicubic_matrix(
    start: Float[Tensor, " N"], length: Float[Tensor, " N"], flip: Bool[Tensor, " N"] | None, n_in: int, n_out: int
) -> Float[Tensor, "N out in"]:
    """Weights of the input pixels ``start`` to ``start + length`` for each of ``n_out`` output pixels."""
    pixel = torch.arange(n_in, dtype=torch.float32, device=start.device) + 0.5
    start, stop, step = start[:, None], (start + length)[:, None], (length / n_out)[:, None]
    offset = step * (torch.arange(n_out, dtype=torch.float32, device=start.device) + 0.5)
    center = start + offset if flip is None else torch.where(flip[:, None], stop - offset, start + offset)
    distance = (pixel - center[:, :, None]).div_(step.clamp(min=1)[:, :, None]).abs_()
    # Keys' cubic with a = -1/2, its two pieces as truncated powers: no branches.
    outer, inner = (2 - distance).clamp_(min=0), (1 - distance).clamp_(min=0)
    weights = outer.square().mul_(outer.sub_(1)).mul_(0.5) + inner.square().mul_(1 - 2 * inner)
    weights *= ((pixel > start) & (pixel < stop)).float()[:, None, :]
    return weights.div_(weights.sum(2, keepdim=True))


def _per_column(images: Float[Tensor, "N ch H W"], columns: Float[Tensor, "N S W"]) -> Float[Tensor, "N ch H S"]:
    # Channels and rows share their image's matrix, so they are the rows of one product per image.
    return torch.bmm(images.flatten(1, 2), columns.mT).unflatten(1, images.shape[1:3])


def _per_row(rows: Float[Tensor, "N S H"], images: Float[Tensor, "N ch H W"]) -> Float[Tensor, "N ch S W"]:
    return torch.matmul(rows[:, None], images)


def warp_crop(
    images: Float[Tensor, "N ch H W"],
    top: Float[Tensor, " N"],
    left: Float[Tensor, " N"],
    height: Float[Tensor, " N"],
    width: Float[Tensor, " N"],
    flip: Bool[Tensor, " N"] | None,
    inverse: Float[Tensor, "N 2 3"],
    size: int,
) -> Float[Tensor, "N ch S S"]:
    """A crop of every image, flipped where asked, resized to a square, then moved by an affine map about its center.

    Bilinear, in one sampling step, so that what the map brings in from outside the crop is the image around it; outside
    the image it is black. An image larger than the view is sampled more densely and averaged, which antialiases.

    Parameters
    ----------
    inverse
        Maps a point of the view to the point of the cropped square seen there; the square reaches from -1 to 1.
    """
    rows, columns = images.shape[2:]
    mirror = 1 if flip is None else 1 - 2 * flip.float()
    x = inverse[:, 0] * (mirror * width / columns)[:, None]
    y = inverse[:, 1] * (height / rows)[:, None]
    x[:, 2] += (2 * left + width) / columns - 1
    y[:, 2] += (2 * top + height) / rows - 1
    dense = max(1, round(min(rows, columns) / size))
    grid = F.affine_grid(torch.stack([x, y], 1), [len(images), 1, dense * size, dense * size], align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return F.avg_pool2d(moved, dense) if dense > 1 else moved


def adjust_brightness(images: Float[Tensor, "N ch H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels multiplied by a factor: 0 is black, 1 changes nothing."""
    return (images * _each(factor)).clamp_(0, 1)


def adjust_contrast(images: Float[Tensor, "N ch H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels drawn toward the image's mean gray: 0 is flat, 1 changes nothing."""
    mean = gray(images.mean((2, 3), keepdim=True))
    return torch.lerp(mean, images, _each(factor)).clamp_(0, 1)


def adjust_saturation(images: Float[Tensor, "N 3 H W"], factor: Float[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """Pixels drawn toward their own gray: 0 is gray, 1 changes nothing."""
    return torch.lerp(gray(images), images, _each(factor)).clamp_(0, 1)


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
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def to_gray(images: Float[Tensor, "N 3 H W"], chosen: Bool[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """The chosen samples without their colors."""
    return torch.lerp(images, gray(images), _each(chosen.float()))


def blur(images: Float[Tensor, "N ch S S"], sigma: Float[Tensor, " N"], largest: float) -> Float[Tensor, "N ch S S"]:
    """Gaussian blur with a standard deviation in pixels, 0 for none; the image goes on mirrored past its edges.

    Parameters
    ----------
    largest
        Upper bound of ``sigma``, known without asking the device: it decides how far the weights reach.
    """
    size = images.shape[-1]
    reach = min(size - 1, math.ceil(_REACH * largest))
    offset = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-3)[:, None]).square())
    weights = torch.where(weights < _SMALLEST_WEIGHT, 0.0, weights)
    weights = weights / weights.sum(1, keepdim=True)
    # Where each offset from each pixel lands, as ones and zeros: weights @ landing is the matrix of every sample.
    pixel = torch.arange(size, device=images.device)
    mirrored = (size - 1) - ((size - 1) - (pixel + offset[:, None]).abs()).abs()
    landing = (mirrored[:, :, None] == pixel).float()
    matrix = (weights @ landing.flatten(1)).unflatten(1, (size, size))
    return _per_row(matrix, _per_column(images, matrix))


def solarize(images: Float[Tensor, "N ch H W"], chosen: Bool[Tensor, " N"]) -> Float[Tensor, "N ch H W"]:
    """Pixels of at least 128/255 inverted, in the chosen samples."""
    threshold = torch.where(chosen, 128 / 255, 2.0)
    return torch.lerp(images, 1 - images, (images >= _each(threshold)).float())


def _each(values: Tensor) -> Tensor:
    """One value per sample, shaped to meet its pixels."""
    return values[:, None, None, None]
