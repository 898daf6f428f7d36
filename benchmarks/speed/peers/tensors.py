"""Views by torchvision's second set of transforms, on tensors, image by image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from twist.runs.config import ViewsConfig


def transforms_of(config: ViewsConfig) -> list[Callable[[Tensor], Tensor]]:
    """One transform for each of the two global views; uint8 ``[3, H, W]`` in, float32 out."""
    return [_transform(config, view) for view in range(2)]


def _transform(config: ViewsConfig, view: int) -> Callable[[Tensor], Tensor]:
    jitter = v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    steps = [
        v2.RandomResizedCrop(config.size, config.crop_scale, config.crop_ratio, v2.InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(config.flip_probability),
        v2.RandomApply([jitter], config.jitter_probability),
        v2.RandomGrayscale(config.gray_probability),
        v2.RandomApply([v2.GaussianBlur(reach_of(config), config.blur_sigma)], config.blur_probability[view]),
        v2.RandomSolarize(128, config.solarize_probability[view]),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(config.mean * 3, config.std * 3),
    ]
    return v2.Compose(steps)


def reach_of(config: ViewsConfig) -> int:
    """Odd side of a blur kernel that reaches two standard deviations of the widest blur to both sides."""
    return 2 * round(2 * config.blur_sigma[1]) + 1
