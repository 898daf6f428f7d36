"""Pictures made up from smooth noise: no file and no network, yet they compress and blur as photographs do."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def pictures(count: int, size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """``[count, 3, *size]`` uint8: noise of several scales, the coarse ones strongest, as in natural images."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.zeros(count, 3, *size)
    side, strength = 4, 1.0
    while side <= max(size):
        noise = torch.randn(count, 3, side, side, generator=generator)
        made += strength * interpolate(noise, size=size, mode="bicubic", align_corners=False)
        side, strength = 2 * side, strength / 1.7
    made += 0.2 * torch.randn(count, 3, *size, generator=generator)  # grain, which JPEG cannot compress
    return made.mul_(50).add_(128).clamp_(0, 255).to(torch.uint8)


def photographs(count: int, *, seed: int = 0) -> list[bytes]:
    """JPEG files of 500 x 375 pixels at quality 90, about 60 kB each, the usual size of ImageNet."""
    return [_jpeg(picture.permute(1, 2, 0).numpy()) for picture in pictures(count, (375, 500), seed=seed)]


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()
