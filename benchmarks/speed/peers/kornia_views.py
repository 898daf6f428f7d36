"""Views by kornia: a batch at once, every sample with its own parameters."""

from __future__ import annotations

from collections.abc import Callable

import kornia.augmentation as augmentation
import torch
from torch import Tensor, nn

from benchmarks.speed.peers.tensors import reach_of
from twist.runs.config import ViewsConfig


def transforms_of(config: ViewsConfig) -> list[Callable[[Tensor], Tensor]]:
    """One transform for each of the two global views; uint8 ``[N, 3, H, W]`` in, float32 out."""
    return [_Transform(config, view) for view in range(2)]


class _Transform(nn.Module):
    def __init__(self, config: ViewsConfig, view: int):
        super().__init__()
        kernel = (reach_of(config), reach_of(config))
        self.steps = nn.Sequential(
            augmentation.RandomResizedCrop(
                (config.size, config.size), config.crop_scale, config.crop_ratio, resample="BICUBIC"
            ),
            augmentation.RandomHorizontalFlip(p=config.flip_probability),
            augmentation.ColorJitter(
                config.brightness, config.contrast, config.saturation, config.hue, p=config.jitter_probability
            ),
            augmentation.RandomGrayscale(p=config.gray_probability),
            augmentation.RandomGaussianBlur(kernel, config.blur_sigma, p=config.blur_probability[view]),
            augmentation.RandomSolarize(0.0, 0.0, p=config.solarize_probability[view]),
            augmentation.Normalize(torch.tensor(config.mean * 3), torch.tensor(config.std * 3)),
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.steps(images.float() / 255)
