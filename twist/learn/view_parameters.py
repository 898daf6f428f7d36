"""What is drawn for a view of every sample: a hash of (seed, epoch, sample, view) and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twist.learn.random import normal, uniform
from twist.runs.config import ViewsConfig

NUM_GLOBAL_VIEWS = 2
_TRIES = 10

# The stream of each quantity. They never move: a quantity that is switched off leaves the others as they were, and a
# run resumed by a later version draws on as it began.
_AREA, _RATIO = slice(0, _TRIES), slice(_TRIES, 2 * _TRIES)
_TOP, _LEFT, _FLIP, _ROTATION, _SHIFT_X, _SHIFT_Y, _ZOOM, _SHEAR = range(20, 28)
_JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GRAY, _BLUR, _SIGMA, _SOLARIZE = range(28, 37)
_STRETCH = 37
_NOISE = 64


_PerSample = TypeVar("_PerSample")


def rows_of(tensors: _PerSample, rows: slice) -> _PerSample:
    """Some samples of a dataclass of tensors with a row for every sample; what is None stays so."""
    there = {name: value for name, value in vars(tensors).items() if value is not None}
    return type(tensors)(**{name: value[rows] for name, value in there.items()})


@dataclass(frozen=True)
class ViewParameters:
    """What was drawn for one view of every sample; None where the recipe switches a step off.

    Attributes
    ----------
    top, left, height, width
        The crop in pixels of the image, whole numbers.
    flip
        Whether left and right are swapped.
    rotation, shift_x, shift_y, zoom, shear
        Degrees counter-clockwise; shares of the side to the right and down; magnification; degrees. All or none.
    stretch
        Magnification across, and its inverse down, on top of the zoom.
    brightness, contrast, saturation
        Factors; 1 changes nothing.
    hue
        Turn as a share of the color circle; 0 changes nothing.
    gray, solarize
        Whether the view becomes gray; whether its bright pixels are inverted.
    blur_sigma
        Standard deviation in pixels of the view; 0 where it is not blurred.
    noise
        What is added to the pixels, white being 1.
    """

    top: Float[Tensor, " N"]
    left: Float[Tensor, " N"]
    height: Float[Tensor, " N"]
    width: Float[Tensor, " N"]
    flip: Bool[Tensor, " N"] | None = None
    rotation: Float[Tensor, " N"] | None = None
    shift_x: Float[Tensor, " N"] | None = None
    shift_y: Float[Tensor, " N"] | None = None
    zoom: Float[Tensor, " N"] | None = None
    shear: Float[Tensor, " N"] | None = None
    stretch: Float[Tensor, " N"] | None = None
    brightness: Float[Tensor, " N"] | None = None
    contrast: Float[Tensor, " N"] | None = None
    saturation: Float[Tensor, " N"] | None = None
    hue: Float[Tensor, " N"] | None = None
    gray: Bool[Tensor, " N"] | None = None
    blur_sigma: Float[Tensor, " N"] | None = None
    solarize: Bool[Tensor, " N"] | None = None
    noise: Float[Tensor, "N ch S S"] | None = None


def of_view(config: ViewsConfig, view: int) -> ViewsConfig:
    """What holds for one view: the recipe's own for the two global ones, small crops without solarization for others.

    Source of what a local view leaves out: method section 4.
    """
    if view < NUM_GLOBAL_VIEWS:
        return config
    return dataclasses.replace(
        config,
        size=config.local_size,
        start_size=None,  # local views do not grow
        grow_epochs=0.0,
        crop_scale=config.local_crop_scale,
        blur_probability=(config.local_blur_probability,) * 2,
        solarize_probability=(0.0, 0.0),
    )


def sample_parameters(
    sample_ids: Int[Tensor, " N"],
    shape: tuple[int, int, int],
    config: ViewsConfig,
    *,
    seed: int,
    epoch: int,
    view: int,
) -> ViewParameters:
    """The parameters of one view of every sample, for images of ``shape`` (channels, height, width)."""
    share = uniform(sample_ids, _STRETCH + 1, seed=seed, epoch=epoch, view=view)
    drawn: dict[str, Tensor] = {}
    drawn["top"], drawn["left"], drawn["height"], drawn["width"] = _draw_crop(share, shape[1:], config)
    if config.flip_probability > 0:
        drawn["flip"] = share[:, _FLIP] < config.flip_probability
    if moves(config):
        drawn["rotation"] = _both_ways(config.rotation_degrees, share[:, _ROTATION])
        drawn["shift_x"] = _both_ways(config.shift, share[:, _SHIFT_X])
        drawn["shift_y"] = _both_ways(config.shift, share[:, _SHIFT_Y])
        drawn["zoom"] = _between_logs(config.zoom, share[:, _ZOOM])
        drawn["shear"] = _both_ways(config.shear_degrees, share[:, _SHEAR])
        if config.stretch > 0:
            drawn["stretch"] = _between_logs((1 / (1 + config.stretch), 1 + config.stretch), share[:, _STRETCH])
    if config.jitter_probability > 0:
        jittered = (share[:, _JITTER] < config.jitter_probability).float()
        for name, stream in (("brightness", _BRIGHTNESS), ("contrast", _CONTRAST), ("saturation", _SATURATION)):
            strength = getattr(config, name)
            if strength > 0 and (shape[0] == 3 or name != "saturation"):
                drawn[name] = 1 + jittered * _both_ways(strength, share[:, stream])
        if config.hue > 0 and shape[0] == 3:
            drawn["hue"] = jittered * _both_ways(config.hue, share[:, _HUE])
    if config.gray_probability > 0 and shape[0] == 3:
        drawn["gray"] = share[:, _GRAY] < config.gray_probability
    if config.blur_probability[min(view, 1)] > 0:
        low, high = config.blur_sigma
        blurred = share[:, _BLUR] < config.blur_probability[min(view, 1)]
        drawn["blur_sigma"] = blurred * (low + (high - low) * share[:, _SIGMA])
    if config.solarize_probability[min(view, 1)] > 0:
        drawn["solarize"] = share[:, _SOLARIZE] < config.solarize_probability[min(view, 1)]
    if config.noise > 0:
        pixels = (shape[0], config.size, config.size)
        noise = normal(sample_ids, math.prod(pixels), seed=seed, epoch=epoch, view=view, stream=_NOISE)
        drawn["noise"] = config.noise * noise.unflatten(1, pixels)
    return ViewParameters(**drawn)


def _draw_crop(share: Float[Tensor, "N K"], shape: Sequence[int], config: ViewsConfig) -> tuple[Tensor, ...]:
    """Top, left, height and width by torchvision's rule: the first of ten drawn rectangles that fits.

    Where none fits, or cropping is off, the largest central rectangle of an allowed ratio.
    """
    rows, columns = shape
    ratio = min(max(columns / rows, config.crop_ratio[0]), config.crop_ratio[1])
    whole_width, whole_height = min(columns, round(rows * ratio)), min(rows, round(columns / ratio))
    center = [(rows - whole_height) // 2, (columns - whole_width) // 2, whole_height, whole_width]
    whole = [torch.full_like(share[:, :1], value) for value in center]
    if config.crop_scale == (1, 1):
        return tuple(value[:, 0] for value in whole)
    low, high = config.crop_scale
    area = rows * columns * (low + (high - low) * share[:, _AREA])
    ratios = _between_logs(config.crop_ratio, share[:, _RATIO])
    height, width = (area / ratios).sqrt().round(), (area * ratios).sqrt().round()
    fits = (height > 0) & (height <= rows) & (width > 0) & (width <= columns)
    top = (share[:, _TOP : _TOP + 1] * (rows - height + 1)).floor()
    left = (share[:, _LEFT : _LEFT + 1] * (columns - width + 1)).floor()
    # Falling marks make the first that fits the largest; the whole comes last and always fits.
    marks = torch.arange(_TRIES + 1, 1, -1, device=share.device) * fits
    first = torch.cat([marks, torch.ones_like(marks[:, :1])], 1).argmax(1, keepdim=True)
    tried = (top, left, height, width)
    return tuple(torch.cat(pair, 1).gather(1, first)[:, 0] for pair in zip(tried, whole, strict=True))


def _both_ways(reach: float, share: Tensor) -> Tensor:
    return reach * (2 * share - 1)


def _between_logs(pair: tuple[float, float], share: Tensor) -> Tensor:
    """Drawn so that halving is as likely as doubling."""
    low, high = math.log(pair[0]), math.log(pair[1])
    return (low + (high - low) * share).exp()


def moves(config: ViewsConfig) -> bool:
    """Whether a recipe asks for an affine map, which is bilinear, on top of the crop."""
    amounts = (config.rotation_degrees, config.shift, config.shear_degrees, config.stretch)
    return max(amounts) > 0 or config.zoom != (1, 1)
