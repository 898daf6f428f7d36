"""What images go through before a network sees them, held against torchvision's own steps."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from twist.learn.preparing import IMAGENET, Choices, PlainView, ResizedCrop, prepared, with_channels
from twist.learn.views import plain_view
from twist.runs.config import ConfigError, ViewsConfig


def images(count=3, channels=3, rows=40, columns=52):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("rows", "columns"), [(40, 52), (61, 33), (32, 32)])
def test_resize_crop_and_normalize_are_torchvisions(interpolation, rows, columns):
    prepare = prepared(Choices(), 28, 28 / 32, mean=IMAGENET[0], std=IMAGENET[1], interpolation=interpolation)
    theirs = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(32, interpolation=v2.InterpolationMode(interpolation), antialias=True),
            v2.Lambda(lambda x: x.clamp(0, 1)),
            v2.CenterCrop(28),
            v2.Normalize(*IMAGENET),
        ]
    )
    pixels = images(rows=rows, columns=columns)
    torch.testing.assert_close(prepare(pixels), theirs(pixels), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("size", "crop"), [(224, 0.9), (224, 0.95), (288, 0.95), (384, 1.0), (160, 0.875)])
def test_the_side_before_the_cut_is_timms(size, crop):
    data = pytest.importorskip("timm.data")
    (resize, *_) = data.create_transform(size, is_training=False, crop_pct=crop).transforms
    assert prepared(Choices(), size, crop, mean=IMAGENET[0], std=IMAGENET[1]).resize == resize.size
    for side in (232, 236, 256, 439):  # as torchvision tells it
        assert prepared(Choices(), size, size / side, mean=IMAGENET[0], std=IMAGENET[1]).resize == side


def test_without_a_size_images_stay_and_are_only_normalized():
    prepare, pixels = ResizedCrop(None, None, None, (0.5,), (0.25,)), images(channels=1)
    torch.testing.assert_close(prepare(pixels), (pixels / 255 - 0.5) / 0.25)
    with pytest.raises(ConfigError, match="the images have 1 channels, mean and std are for 3"):
        ResizedCrop(None, None, None, *IMAGENET)(pixels)


def test_a_runs_view_is_its_plain_view_and_says_how_it_is_resized():
    views = ViewsConfig(size=16, mean=(0.3,), std=(0.2,))
    assert torch.equal(PlainView(views, 3)(images()), plain_view(images(), views))
    assert PlainView(views, 3).facts["interpolation"] == "bicubic"
    assert PlainView(ViewsConfig(rotation_degrees=5), 3).facts["interpolation"] == "bilinear"


def test_gray_stands_in_three_channels_and_color_becomes_its_luma():
    gray, color = images(channels=1), images()
    assert torch.equal(with_channels(gray, 3), gray.repeat(1, 3, 1, 1))
    expected = v2.functional.rgb_to_grayscale(color.float()).round().to(torch.uint8)
    np.testing.assert_array_equal(with_channels(color, 1), expected)
    assert with_channels(color, None) is color and with_channels(gray, 1) is gray
    # Gray that was made color is the same gray again.
    assert (with_channels(with_channels(gray, 3), 1).int() - gray.int()).abs().max() <= 1
    with pytest.raises(ConfigError, match="the images have 4 channels: give gray"):
        with_channels(images(channels=4), 3)


def test_what_is_asked_stands_before_what_the_network_says():
    told = {"mean": IMAGENET[0], "std": IMAGENET[1]}
    asked = prepared(Choices(image_size=96, channels=1, std=(0.5,)), 224, 224 / 256, **told)
    assert (asked.size, asked.resize, asked.channels, asked.std) == (96, 109, 1, (0.5,))
    assert asked.mean == (pytest.approx(sum(IMAGENET[0]) / 3),)
    assert prepared(Choices(), 224, 224 / 256, **told).resize == 256
    assert prepared(Choices(), 8, 1.0, interpolation="lanczos", **told).interpolation == "bicubic"
