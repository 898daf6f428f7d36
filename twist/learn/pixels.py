"""The pixels of a view, from what was drawn for it.

What is small, a few numbers per sample, is made for the whole batch at once; what is as large as the images is made a
few samples at a time on a CPU, so that it stays in its cache.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from twist.learn import augment, resampling
from twist.learn.view_parameters import ViewParameters, rows_of
from twist.runs.config import ConfigError, ViewsConfig

# Numbers in an image tensor that a CPU works on at a time: a few such tensors fit its second cache, and larger ones
# come from freshly mapped memory at every step.
_AT_ONCE = 2**18


def apply_parameters(
    images: UInt8[Tensor, "N ch H W"], parameters: ViewParameters, config: ViewsConfig, *, compiled: bool = False
) -> Float[Tensor, "N ch S S"]:
    """The view that parameters describe, normalized; `make_views` states the order of the steps.

    Raises
    ------
    ConfigError
        When ``views.mean`` or ``views.std`` has three numbers and the images one channel, or when a compiled view lacks
        a compiler.
    """
    count, channels, size = len(images), images.shape[1], config.size
    mean, std = (_per_channel(config, name, channels) for name in ("mean", "std"))
    select = _selects(images.device) and not compiled
    at_once = count
    if images.device.type == "cpu":
        fitting = max(1, _AT_ONCE // (channels * max(images.shape[2] * images.shape[3], size**2)))
        at_once = 1 << fitting.bit_length() - 1  # as batches are powers of two, all parts are alike
    # Where one image fills the cache its crop is cut out of it: the rest would have weight 0 in larger products.
    cut = at_once == 1 and select and parameters.rotation is None
    operands = _operands(parameters, config, images.shape, cut=cut)
    places = None
    if operands.blur is not None:
        places = resampling.mirrored_places(operands.blur.shape[1], size, images.device)
    shared = _Shared(size, config.color == "fast", mean, std, places, select)
    make = _compiled(images.device) if compiled else _pixels
    if count <= at_once and not cut:
        return make(images, parameters, operands, shared)
    view = torch.empty((count, channels, size, size), device=images.device)
    for start in range(0, count, at_once):
        rows = slice(start, start + at_once)
        part, drawn = images[rows], rows_of(parameters, rows)
        if cut:
            top, left, height, width = (int(value) for value in (drawn.top, drawn.left, drawn.height, drawn.width))
            part = part[:, :, top : top + height, left : left + width]
        view[rows] = make(part, drawn, rows_of(operands, rows), shared)
    return view


def _per_channel(config: ViewsConfig, name: str, channels: int) -> tuple[float, ...]:
    numbers = getattr(config, name)
    if len(numbers) not in (1, channels):
        raise ConfigError(
            f"views.{name} has {len(numbers)} numbers but the images have {channels} "
            f"channel{'s' * (channels > 1)}: give one number{f' or {channels}' * (channels > 1)}"
        )
    return numbers * channels if len(numbers) == 1 else numbers


def _selects(device: torch.device) -> bool:
    """Whether to ask which samples have a step is free."""
    return device.type == "cpu"


def require_compiler(device: torch.device) -> None:
    """Refuse to compile for a CPU on a machine that cannot build what torch.compile writes.

    Raises
    ------
    ConfigError
        When there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ConfigError(
            f"to compile for a CPU takes a C++ compiler and there is no {compiler}: install it, name another in CXX, "
            "or set compute.compile to off, which is seldom slower on a CPU"
        )


@functools.cache
def _compiled(device: torch.device) -> Callable[..., Tensor]:
    require_compiler(device)
    return torch.compile(_pixels, fullgraph=True, dynamic=False)


@dataclass(frozen=True)
class _Shared:
    """What the pixels depend on besides: the same for all samples.

    Attributes
    ----------
    fast_color
        Whether the color mode is fast.
    mean, std
        One number per channel.
    places
        Where the weights of a blur land.
    select
        Whether a step that few samples have is done for these alone and not for all under a mask. The bits are equal,
        but to know the few is to wait for the device.
    """

    size: int
    fast_color: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    places: Float[Tensor, "K SS"] | None
    select: bool


@dataclass(frozen=True)
class _Operands:
    """What the pixels of every sample are multiplied by.

    Attributes
    ----------
    row_places, row_weights, column_places, column_weights
        Taps of the crop; the weights of the columns also bring 255 to 1.
    seen
        Map from view to image, in place of the taps.
    blur
        Weights of the blur.
    color, lift
        Matrix and offset of the fast color mode.
    """

    row_places: Int[Tensor, "N S T_row"] | None = None
    row_weights: Float[Tensor, "N S T_row"] | None = None
    column_places: Int[Tensor, "N S T_column"] | None = None
    column_weights: Float[Tensor, "N S T_column"] | None = None
    seen: Float[Tensor, "N 2 3"] | None = None
    blur: Float[Tensor, "N K"] | None = None
    color: Float[Tensor, "N ch ch"] | None = None
    lift: Float[Tensor, " N"] | None = None


def _operands(drawn: ViewParameters, config: ViewsConfig, shape: tuple[int, ...], *, cut: bool) -> _Operands:
    made: dict[str, Tensor] = {}
    rows, columns = shape[2:]
    if drawn.rotation is None:
        top, left = (torch.zeros_like(drawn.top),) * 2 if cut else (drawn.top, drawn.left)
        made["row_places"], made["row_weights"] = resampling.bicubic_taps(top, drawn.height, None, rows, config.size)
        made["column_places"], weights = resampling.bicubic_taps(left, drawn.width, drawn.flip, columns, config.size)
        made["column_weights"] = weights.div_(255)
    else:
        crop = (drawn.top, drawn.left, drawn.height, drawn.width, drawn.flip)
        made["seen"] = resampling.crop_map(*crop, _inverse_map(drawn), (rows, columns))
    if drawn.blur_sigma is not None:
        made["blur"] = resampling.blur_weights(drawn.blur_sigma, config.size, config.blur_sigma[1])
    if config.color == "fast":
        one = torch.ones_like(drawn.top)
        brightness = one if drawn.brightness is None else drawn.brightness
        contrast = one if drawn.contrast is None else drawn.contrast
        made["lift"] = brightness * (1 - contrast)
        made["color"] = (brightness * contrast)[:, None, None]
        if shape[1] == 3:
            saturation = one if drawn.saturation is None else drawn.saturation
            turn = 0 * one if drawn.hue is None else drawn.hue
            chosen = one < 0 if drawn.gray is None else drawn.gray
            made["color"] = made["color"] * augment.color_matrix(saturation, turn, chosen)
    return _Operands(**made)


def _inverse_map(parameters: ViewParameters) -> Float[Tensor, "N 2 3"]:
    """From a point of the view back to the point of the crop seen there; both reach from -1 to 1.

    The crop is zoomed and stretched, sheared, rotated, shifted in this order, so the way back begins with the shift.
    """
    assert parameters.rotation is not None and parameters.shear is not None and parameters.zoom is not None
    assert parameters.shift_x is not None and parameters.shift_y is not None
    sine, cosine = torch.deg2rad(parameters.rotation).sin(), torch.deg2rad(parameters.rotation).cos()
    slope = torch.deg2rad(parameters.shear).tan()
    x = torch.stack([cosine - slope * sine, -sine - slope * cosine], 1)
    y = torch.stack([sine, cosine], 1)
    stretch = torch.ones_like(slope) if parameters.stretch is None else parameters.stretch
    turned = torch.stack([x / stretch[:, None], y * stretch[:, None]], 1) / parameters.zoom[:, None, None]
    shift = torch.stack([parameters.shift_x, parameters.shift_y], 1)[:, :, None]
    return torch.cat([turned, turned @ (-2 * shift)], 2)


def outlines(parameters: ViewParameters, shape: tuple[int, int]) -> Float[Tensor, "N 4 2"]:
    """Where on images of so many rows and columns the corners of each view lie, as (x, y) in pixels of the image.

    The view's top left, top right, bottom right and bottom left: a flipped view runs round the other way.
    """
    crop = (parameters.top, parameters.left, parameters.height, parameters.width, parameters.flip)
    unmoved = torch.eye(2, 3, device=parameters.top.device).repeat(len(parameters.top), 1, 1)
    seen = resampling.crop_map(*crop, unmoved if parameters.rotation is None else _inverse_map(parameters), shape)
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], device=seen.device)
    rows, columns = shape
    return (corners @ seen.mT + 1) / 2 * torch.tensor([columns, rows], device=seen.device)


def _pixels(
    images: UInt8[Tensor, "N ch h w"], drawn: ViewParameters, operands: _Operands, shared: _Shared
) -> Float[Tensor, "N ch S S"]:
    if shared.fast_color:
        view = _blurred(images, drawn, operands, shared)
        assert operands.color is not None and operands.lift is not None
        view = augment.mix_colors(view, operands.color, operands.lift)
    else:
        view = _colored(_placed(images, operands, shared), drawn, shared)
        view = _blur_some(view, drawn, operands, shared)
    if drawn.solarize is not None:
        view = _for_some(drawn.solarize, shared, augment.solarize, view, drawn.solarize)
    if drawn.noise is not None:
        view = view.add_(drawn.noise)
    return augment.normalize(view, shared.mean, shared.std)


def _placed(images: UInt8[Tensor, "N ch h w"], operands: _Operands, shared: _Shared) -> Float[Tensor, "N ch S S"]:
    """Cropped, flipped and resized, or moved by an affine map too."""
    if operands.seen is not None:
        return resampling.warp(images.float().div_(255), operands.seen, shared.size)
    return resampling.resample(images.float(), *_matrices(operands, images), clamp=True)


def _blurred(
    images: UInt8[Tensor, "N ch h w"], drawn: ViewParameters, operands: _Operands, shared: _Shared
) -> Float[Tensor, "N ch S S"]:
    """The same and blurred; matrices take the blur in, which costs a fraction of a product of pixels."""
    if operands.seen is not None:
        return _blur_some(_placed(images, operands, shared), drawn, operands, shared)
    rows, columns = (
        _blur_some(matrix, drawn, operands, shared, resampling.blur_rows) for matrix in _matrices(operands, images)
    )
    return resampling.resample(images.float(), rows, columns)


def _matrices(operands: _Operands, images: Tensor) -> tuple[Tensor, Tensor]:
    assert operands.row_places is not None and operands.row_weights is not None
    assert operands.column_places is not None and operands.column_weights is not None
    rows = resampling.matrix(operands.row_places, operands.row_weights, images.shape[2])
    return rows, resampling.matrix(operands.column_places, operands.column_weights, images.shape[3])


def _colored(view: Float[Tensor, "N ch S S"], drawn: ViewParameters, shared: _Shared) -> Float[Tensor, "N ch S S"]:
    if drawn.brightness is not None:
        view = augment.adjust_brightness(view, drawn.brightness)
    if drawn.contrast is not None:
        view = augment.adjust_contrast(view, drawn.contrast)
    if drawn.saturation is not None:
        view = augment.adjust_saturation(view, drawn.saturation)
    if drawn.hue is not None:
        view = augment.turn_hue(view, drawn.hue)
    if drawn.gray is not None:
        view = _for_some(drawn.gray, shared, augment.to_gray, view, drawn.gray)
    return view


def _blur_some(
    pixels: Tensor,
    drawn: ViewParameters,
    operands: _Operands,
    shared: _Shared,
    blur: Callable[[Tensor, Tensor, Tensor], Tensor] = resampling.blur,
) -> Tensor:
    if drawn.blur_sigma is None:
        return pixels
    assert operands.blur is not None and shared.places is not None
    places = shared.places
    return _for_some(
        drawn.blur_sigma > 0, shared, lambda those, weights: blur(those, weights, places), pixels, operands.blur
    )


def _for_some(
    chosen: Bool[Tensor, " N"], shared: _Shared, step: Callable[[Tensor, Tensor], Tensor], pixels: Tensor, by: Tensor
) -> Tensor:
    """A step that leaves the others as they are, for the chosen samples."""
    rows = chosen.nonzero()[:, 0] if shared.select else chosen
    if len(rows) == len(chosen):
        return step(pixels, by)
    if len(rows) > 0:
        pixels[rows] = step(pixels[rows], by[rows])
    return pixels
