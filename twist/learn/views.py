"""Views: augmented versions of a batch of images, made all at once where the images are.

Every sample and view has its own parameters, drawn by a hash of (seed, epoch, sample, view) and nothing else. Two
steps, so that an app can show what was drawn: `sample_parameters` draws, `apply_parameters` makes the pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from twist.learn.own_code import call_own
from twist.learn.pixels import apply_parameters
from twist.learn.view_parameters import NUM_GLOBAL_VIEWS, ViewParameters, moves, of_view, sample_parameters
from twist.runs.config import ConfigError, ViewsConfig

ExtraAugmentation = Callable[[Tensor, Tensor, int, int, int], Tensor]


def make_views(
    images: UInt8[Tensor, "N ch H W"],
    sample_ids: Int[Tensor, " N"],
    config: ViewsConfig,
    *,
    seed: int,
    epoch: int,
    extra: ExtraAugmentation | None = None,
    compiled: bool = False,
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
    compiled
        Whether the pixels are made by one graph of `torch.compile`, equal to rounding: tens of seconds at the first
        step of a run. It pays on a GPU; on a CPU the exact color mode gains and the fast one does not.

    Returns
    -------
    list
        ``[N, ch, S, S]`` each, float32, about zero mean and unit variance; S is ``views.size`` for the first two and
        ``views.local_size`` for the others.

    Raises
    ------
    ConfigError
        When ``views.mean`` or ``views.std`` has three numbers and the images one channel, when the extra step changes
        the shape, or when compiled views on a CPU lack a C++ compiler.

    Notes
    -----
    Steps in order: crop, flip, resize (bicubic, antialiased), or with rotation, shift, zoom, stretch or shear the
    same and an affine map in one bilinear step; jitter; gray; blur; solarize; noise; normalize. Jitter goes brightness,
    contrast, saturation, hue in every sample, where torchvision draws the order.

    With ``views.color=fast`` the blur comes before the jitter, where a crop's matrices take it in, and jitter and gray
    are one matrix per sample with one clamp at the end. A step drawn alone is the exact one where nothing clips, but
    for hue, which turns about the gray axis of the color cube and keeps the intensity. On smooth images under the
    default jitter a pixel departs from the exact mode by less than 0.02 of white on average.

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
        pixels = apply_parameters(images, parameters, own, compiled=compiled)
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


def plain_view(images: UInt8[Tensor, "N ch H W"], config: ViewsConfig) -> Float[Tensor, "N ch S S"]:
    """The view of parameters that change nothing: the central square, resized and normalized as augmented views are.

    What a network is evaluated on. Same interpolation as in training: with a rotation in the recipe it is bilinear.
    """
    count, _, rows, columns = images.shape
    side = min(rows, columns)
    crop = [(rows - side) // 2, (columns - side) // 2, side, side]
    top, left, height, width = (torch.full((count,), float(value), device=images.device) for value in crop)
    still = torch.zeros_like(top) if moves(config) else None
    zoom = torch.ones_like(top) if moves(config) else None
    parameters = ViewParameters(
        top, left, height, width, rotation=still, shift_x=still, shift_y=still, zoom=zoom, shear=still
    )
    return apply_parameters(images, parameters, config)
