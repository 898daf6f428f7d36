"""Views: augmented versions of a batch of images, made all at once where the images are.

Every sample and view has its own parameters, drawn by a hash of (seed, epoch, sample, view) and nothing else. Two
steps, so that an app can show what was drawn: `sample_parameters` draws, `apply_parameters` makes the pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from twist.learn import augment
from twist.learn.own_code import call_own
from twist.learn.random import normal, uniform
from twist.runs.config import ConfigError, ViewsConfig

NUM_GLOBAL_VIEWS = 2
_TRIES = 10

ExtraAugmentation = Callable[[Tensor, Tensor, int, int, int], Tensor]

# The stream of each quantity. They never move: a quantity that is switched off leaves the others as they were, and a
# run resumed by a later version draws on as it began.
_AREA, _RATIO = slice(0, _TRIES), slice(_TRIES, 2 * _TRIES)
_TOP, _LEFT, _FLIP, _ROTATION, _SHIFT_X, _SHIFT_Y, _ZOOM, _SHEAR = range(20, 28)
_JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GRAY, _BLUR, _SIGMA, _SOLARIZE = range(28, 37)
_STRETCH = 37
_NOISE = 64


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


def make_views(
    images: UInt8[Tensor, "N ch H W"],
    sample_ids: Int[Tensor, " N"],
    config: ViewsConfig,
    *,
    seed: int,
    epoch: int,
    extra: ExtraAugmentation | None = None,
) -> list[Tensor]:
    """Augmented, normalized views of every image, two global ones first, then the local ones; on the images' device.

    A pure function of each image, its id, the recipe, the seed and the epoch: a sample looks the same whatever batch it
    is in. Nothing waits for the device.

    Parameters
    ----------
    images
        One channel or three; one stays one.
    sample_ids
        Stable index of each image in its set, on the same device.
    config
        The ``views`` part of a recipe.
    seed, epoch
        Seed of the run, and which pass over the images this is.
    extra
        A person's own last step: (view, sample ids, seed, epoch, number of the view) -> view of the same shape.

    Returns
    -------
    list
        ``[N, ch, S, S]`` each, float32, about zero mean and unit variance; S is ``views.size`` for the first two and
        ``views.local_size`` for the others.

    Raises
    ------
    ConfigError
        When ``views.mean`` or ``views.std`` has three numbers and the images one channel, or when the extra step
        changes the shape.

    Notes
    -----
    Steps in order: crop, flip, resize (bicubic, antialiased), or with rotation, shift, zoom, stretch or shear the
    same and an affine map in one bilinear step; jitter; gray; blur; solarize; noise; normalize. Jitter goes brightness,
    contrast, saturation, hue in every sample, where torchvision draws the order.

    Examples
    --------
    >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    >>> [view.shape for view in make_views(images, torch.arange(5), ViewsConfig(size=16), seed=0, epoch=0)]
    [torch.Size([5, 1, 16, 16]), torch.Size([5, 1, 16, 16])]
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    made = []
    for view in range(NUM_GLOBAL_VIEWS + config.num_local_views):
        own = of_view(config, view)
        parameters = sample_parameters(sample_ids, shape, own, seed=seed, epoch=epoch, view=view)
        pixels = apply_parameters(images, parameters, own)
        if extra is not None:
            changed = call_own("views.extra", extra, pixels, sample_ids, seed, epoch, view)
            if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (pixels.shape, pixels.dtype):
                raise ConfigError(
                    f"views.extra made {_described(changed)} of {_described(pixels)}: return a view of the same shape "
                    "and type"
                )
            pixels = changed
        made.append(pixels)
    return made


def _described(value: object) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def of_view(config: ViewsConfig, view: int) -> ViewsConfig:
    """What holds for one view: the recipe's own for the two global ones, small crops without solarization for others.

    Source of what a local view leaves out: method section 4.
    """
    if view < NUM_GLOBAL_VIEWS:
        return config
    return dataclasses.replace(
        config,
        size=config.local_size,
        crop_scale=config.local_crop_scale,
        blur_probability=(config.local_blur_probability,) * 2,
        solarize_probability=(0.0, 0.0),
    )


def plain_view(images: UInt8[Tensor, "N ch H W"], config: ViewsConfig) -> Float[Tensor, "N ch S S"]:
    """The view of parameters that change nothing: the central square, resized and normalized as augmented views are.

    What a network is evaluated on. Same interpolation as in training: with a rotation in the recipe it is bilinear.
    """
    count, _, rows, columns = images.shape
    side = min(rows, columns)
    crop = [(rows - side) // 2, (columns - side) // 2, side, side]
    top, left, height, width = (torch.full((count,), float(value), device=images.device) for value in crop)
    still = torch.zeros_like(top) if _moves(config) else None
    zoom = torch.ones_like(top) if _moves(config) else None
    parameters = ViewParameters(
        top, left, height, width, rotation=still, shift_x=still, shift_y=still, zoom=zoom, shear=still
    )
    return apply_parameters(images, parameters, config)


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
    if _moves(config):
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


def _moves(config: ViewsConfig) -> bool:
    amounts = (config.rotation_degrees, config.shift, config.shear_degrees, config.stretch)
    return max(amounts) > 0 or config.zoom != (1, 1)


def apply_parameters(
    images: UInt8[Tensor, "N ch H W"], parameters: ViewParameters, config: ViewsConfig
) -> Float[Tensor, "N ch S S"]:
    """The view that parameters describe, normalized; `make_views` states the order of the steps."""
    crop = (parameters.top, parameters.left, parameters.height, parameters.width, parameters.flip)
    view = images.float().div_(255)
    if parameters.rotation is None:
        view = augment.resize_crop(view, *crop, config.size)
    else:
        view = augment.warp_crop(view, *crop, _inverse_map(parameters), config.size)
    if parameters.brightness is not None:
        view = augment.adjust_brightness(view, parameters.brightness)
    if parameters.contrast is not None:
        view = augment.adjust_contrast(view, parameters.contrast)
    if parameters.saturation is not None:
        view = augment.adjust_saturation(view, parameters.saturation)
    if parameters.hue is not None:
        view = augment.turn_hue(view, parameters.hue)
    if parameters.gray is not None:
        view = augment.to_gray(view, parameters.gray)
    if parameters.blur_sigma is not None:
        view = augment.blur(view, parameters.blur_sigma, config.blur_sigma[1])
    if parameters.solarize is not None:
        view = augment.solarize(view, parameters.solarize)
    if parameters.noise is not None:
        view = view + parameters.noise
    return _normalize(view, config)


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


def _normalize(view: Float[Tensor, "N ch S S"], config: ViewsConfig) -> Float[Tensor, "N ch S S"]:
    channels = view.shape[1]
    for name in ("mean", "std"):
        numbers = getattr(config, name)
        if len(numbers) not in (1, channels):
            raise ConfigError(
                f"views.{name} has {len(numbers)} numbers but the images have {channels} "
                f"channel{'s' * (channels > 1)}: give one number{f' or {channels}' * (channels > 1)}"
            )
    # Scalars by channel, as a tensor of them would have to be copied to the device.
    means, stds = (numbers * channels if len(numbers) == 1 else numbers for numbers in (config.mean, config.std))
    for plane, mean, std in zip(view.unbind(1), means, stds, strict=True):
        plane.sub_(mean).div_(std)
    return view
