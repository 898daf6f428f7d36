import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import ColorJitter, GaussianBlur, RandomResizedCrop
from view_configs import EVERYTHING, OFF

from twist.learn.view_parameters import sample_parameters
from twist.runs.config import ViewsConfig

AT = {"seed": 0, "epoch": 0}


@pytest.mark.parametrize("shape", [(224, 224), (96, 160)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.4, 1.0)])
def test_crops_are_distributed_as_torchvisions(shape, scale):
    count = 4000
    drawn = sample_parameters(torch.arange(count), (3, *shape), ViewsConfig(crop_scale=scale), **AT, view=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, *shape)
        reference = [RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(count)]
    top, left, height, width = np.array(reference).T
    ours = {name: getattr(drawn, name).numpy() for name in ("top", "left", "height", "width")}
    for mine, theirs in [
        (ours["height"] * ours["width"], height * width),
        (ours["width"] / ours["height"], width / height),
        (ours["top"], top),
        (ours["left"], left),
    ]:
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3


def test_crops_lie_inside_the_image_whatever_its_form():
    for shape in [(1, 1), (1, 50), (7, 3), (300, 2), (8, 8)]:
        for scale in [(1e-4, 1e-3), (0.5, 1.0), (1.0, 1.0)]:
            drawn = sample_parameters(torch.arange(500), (1, *shape), ViewsConfig(crop_scale=scale), **AT, view=0)
            assert (drawn.height >= 1).all() and (drawn.width >= 1).all()
            assert (drawn.top >= 0).all() and (drawn.top + drawn.height <= shape[0]).all()
            assert (drawn.left >= 0).all() and (drawn.left + drawn.width <= shape[1]).all()


def test_every_parameter_fills_its_range_uniformly_and_alone():
    config = dataclasses.replace(EVERYTHING, noise=0.0, jitter_probability=1.0, blur_probability=(1.0, 1.0))
    drawn = sample_parameters(torch.arange(5000), (3, 32, 32), config, **AT, view=1)
    ranges = {
        "rotation": (-20, 20),
        "shift_x": (-0.1, 0.1),
        "shift_y": (-0.1, 0.1),
        "shear": (-5, 5),
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.8, 1.2),
        "hue": (-0.1, 0.1),
        "blur_sigma": config.blur_sigma,
    }
    columns = {name: getattr(drawn, name).numpy() for name in ranges}
    for name, (low, high) in ranges.items():
        assert stats.kstest(columns[name], stats.uniform(low, high - low).cdf).pvalue > 1e-3, name
    columns["zoom"] = drawn.zoom.log().numpy()
    assert stats.kstest(columns["zoom"], stats.uniform(np.log(0.8), np.log(1.25 / 0.8)).cdf).pvalue > 1e-3
    correlation = np.corrcoef(np.stack(list(columns.values())))
    assert np.abs(np.triu(correlation, 1)).max() < 5 / np.sqrt(5000)


def test_jitter_and_blur_are_drawn_as_torchvisions():
    count = 4000
    config = ViewsConfig(jitter_probability=1.0, blur_probability=(1.0, 1.0))
    drawn = sample_parameters(torch.arange(count), (3, 32, 32), config, **AT, view=0)
    reaches = {name: getattr(config, name) for name in ("brightness", "contrast", "saturation", "hue")}
    jitter = ColorJitter(**reaches)
    ranges = [getattr(jitter, name) for name in reaches]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        factors = np.array([ColorJitter.get_params(*ranges)[1:] for _ in range(count)])
        sigma = [GaussianBlur.get_params(*config.blur_sigma) for _ in range(count)]
    for name, theirs in [*zip(reaches, factors.T, strict=True), ("blur_sigma", sigma)]:
        assert stats.ks_2samp(getattr(drawn, name).numpy(), theirs).pvalue > 1e-3, name


def test_steps_happen_as_often_as_their_probability_says():
    config = ViewsConfig(blur_probability=(0.3, 0.1), solarize_probability=(0.0, 0.2))
    count = 20_000
    for view, blur in ((0, 0.3), (1, 0.1)):
        drawn = sample_parameters(torch.arange(count), (3, 8, 8), config, **AT, view=view)
        shares = {0.5: drawn.flip, 0.2: drawn.gray, blur: drawn.blur_sigma > 0, 0.8: drawn.hue != 0}
        for expected, happened in shares.items():
            share = happened.float().mean()
            assert abs(share - expected) < 5 * (expected * (1 - expected) / count) ** 0.5
    assert abs(drawn.solarize.float().mean() - 0.2) < 0.015
    assert sample_parameters(torch.arange(5), (3, 8, 8), config, **AT, view=0).solarize is None


def test_probability_zero_draws_nothing_and_one_draws_always():
    never = sample_parameters(torch.arange(50), (3, 8, 8), ViewsConfig(**OFF), **AT, view=0)
    left = {field.name for field in dataclasses.fields(never) if getattr(never, field.name) is not None}
    assert left == {"top", "left", "height", "width"}
    config = ViewsConfig(
        flip_probability=1.0, gray_probability=1.0, jitter_probability=1.0, blur_probability=(1.0, 1.0)
    )
    always = sample_parameters(torch.arange(5000), (3, 8, 8), config, **AT, view=0)
    assert always.flip.all() and always.gray.all() and (always.blur_sigma >= config.blur_sigma[0]).all()
    assert (always.brightness != 1).float().mean() > 0.999


def test_switching_a_step_off_leaves_the_other_draws():
    with_all = sample_parameters(torch.arange(9), (3, 8, 8), ViewsConfig(), **AT, view=0)
    without = sample_parameters(torch.arange(9), (3, 8, 8), ViewsConfig(flip_probability=0.0, hue=0.0), **AT, view=0)
    assert torch.equal(with_all.top, without.top) and torch.equal(with_all.saturation, without.saturation)
