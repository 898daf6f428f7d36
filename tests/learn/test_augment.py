import colorsys

import numpy as np
import torch
import torchvision.transforms.functional as tvf

from twist.learn import augment


def some_images(count=6, channels=3, rows=32, columns=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


def one(value, count):
    return torch.full((count,), float(value))


def test_color_operations_are_torchvisions_on_each_image():
    images = some_images().float() / 255
    images[0] = images[0, :1]  # a gray one, which has no hue
    factors = torch.linspace(0.0, 1.9, len(images))
    turns = torch.linspace(-0.5, 0.5, len(images))
    cases = [
        (augment.adjust_brightness, tvf.adjust_brightness, factors),
        (augment.adjust_contrast, tvf.adjust_contrast, factors),
        (augment.adjust_saturation, tvf.adjust_saturation, factors),
        (augment.turn_hue, tvf.adjust_hue, turns),
    ]
    for ours, theirs, values in cases:
        expected = torch.stack([theirs(image, float(value)) for image, value in zip(images, values, strict=True)])
        assert (ours(images, values) - expected).abs().max() <= 1e-5, ours.__name__
    expected = tvf.rgb_to_grayscale(images, 3)
    assert torch.allclose(augment.gray(images).expand_as(expected), expected, atol=1e-6)


def test_hue_is_exact_on_every_corner_and_edge_of_the_color_cube():
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0])
    cube = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 8, 8)
    for turn in (-0.5, -0.1, 0.0, 1 / 6, 0.5):
        assert (augment.turn_hue(cube, one(turn, 1)) - tvf.adjust_hue(cube, turn)).abs().max() <= 1e-5


def test_solarize_inverts_from_128_on_in_the_chosen_samples_only():
    ramp = torch.arange(256).reshape(1, 1, 16, 16).expand(2, -1, -1, -1).float().div(255)
    got = augment.solarize(ramp, torch.tensor([True, False]))
    expected = tvf.solarize(torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16), 128)
    assert torch.equal((got[0] * 255).round().byte(), expected)
    assert torch.equal(got[1], ramp[1])


def test_a_single_step_of_the_color_matrix_is_the_exact_step_where_nothing_clips():
    images = 0.3 + 0.3 * some_images().float() / 255
    factors, still, none = torch.linspace(0.6, 1.4, len(images)), one(1, len(images)), one(0, len(images))
    never = none.bool()
    brightness = augment.mix_colors(images, scaled(factors), none)
    assert (brightness - augment.adjust_brightness(images, factors)).abs().max() < 1e-6
    contrast = augment.mix_colors(images, scaled(factors), 1 - factors)
    assert (contrast - augment.adjust_contrast(images, factors)).abs().max() < 1e-5
    saturation = augment.mix_colors(images, augment.color_matrix(factors, none, never), none)
    assert (saturation - augment.adjust_saturation(images, factors)).abs().max() < 1e-4  # luma sums to 0.9999 there
    gray = augment.mix_colors(images, augment.color_matrix(still, none, ~never), none)
    assert (gray - augment.to_gray(images, ~never)).abs().max() < 1e-4


def scaled(factors):
    return factors[:, None, None] * torch.eye(3)


def test_the_color_matrix_joins_its_steps_in_order():
    images = 0.3 + 0.3 * some_images().float() / 255
    saturation, turn, none = torch.linspace(0.6, 1.4, 6), torch.linspace(-0.1, 0.1, 6), one(0, 6)
    chosen = torch.arange(6) % 2 == 0
    matrix = augment.color_matrix(saturation, turn, chosen)
    whole = augment.mix_colors(images, matrix, none)
    part = augment.mix_colors(images, augment.color_matrix(saturation, none, none.bool()), none)
    part = augment.mix_colors(part, augment.color_matrix(one(1, 6), turn, none.bool()), none)
    part = augment.mix_colors(part, augment.color_matrix(one(1, 6), none, chosen), none)
    assert (whole - part).abs().max() < 1e-6


def test_the_color_matrix_turns_primary_colors_into_each_other_and_keeps_grays():
    thirds, never = torch.tensor([1 / 3, -1 / 3]), torch.tensor([False, False])
    matrix = augment.color_matrix(one(1, 2), thirds, never)
    red = torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(matrix @ red, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), atol=1e-6)
    any_turn = augment.color_matrix(torch.rand(9), torch.linspace(-0.5, 0.5, 9), torch.arange(9) > 4)
    assert torch.allclose(any_turn.sum(2), torch.ones(9, 3), atol=1e-6)


def test_a_turn_about_the_gray_axis_has_the_hue_of_hsv_to_a_fifth_of_the_turn_and_keeps_the_intensity():
    colors = 0.4 + 0.2 * torch.rand(400, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    for turn in (-0.1, 0.02, 0.1):
        matrix = augment.color_matrix(one(1, 400), one(turn, 400), one(0, 400).bool())
        turned = augment.mix_colors(colors, matrix, one(0, 400))
        assert torch.allclose(turned.sum(1), colors.sum(1), atol=1e-5)
        difference = (hues(turned) - hues(augment.turn_hue(colors, one(turn, 400))) + 0.5) % 1 - 0.5
        assert np.abs(difference).max() < 0.2 * abs(turn)


def hues(colors):
    return np.array([colorsys.rgb_to_hsv(*color)[0] for color in colors.flatten(1).tolist()])


def test_gray_images_have_brightness_and_contrast_in_one_factor():
    images = 0.3 + 0.3 * some_images(6, 1).float() / 255
    factors = torch.linspace(0.8, 1.2, 6)
    got = augment.mix_colors(images, (factors * factors)[:, None, None], factors * (1 - factors))
    expected = augment.adjust_contrast(augment.adjust_brightness(images, factors), factors)
    assert (got - expected).abs().max() < 1e-6
