import dataclasses

import pytest
import torch
import torchvision.transforms.functional as tvf
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode
from view_configs import EVERYTHING, OFF, RAW

from twist.learn import pixels
from twist.learn.views import ViewParameters, apply_parameters, make_views, plain_view
from twist.runs.config import ConfigError, ViewsConfig

BLURRED = ViewsConfig(blur_probability=(1.0, 0.1))
AT = {"seed": 0, "epoch": 0}


def some_images(count=6, channels=3, rows=32, columns=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


def one(value, count):
    return torch.full((count,), float(value))


# ---------------------------------------------------------------------------------------------------------------------
# Pixels: the operations against PIL and torchvision


@pytest.mark.parametrize(("rotation", "turns"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
def test_a_quarter_turn_is_exact_and_counter_clockwise(rotation, turns):
    images = some_images(2, 1, 8, 8)
    view = moved(images, 8, rotation=rotation)
    assert torch.allclose(view, images.float().div(255).rot90(turns, (2, 3)), atol=1e-4)


def test_shift_goes_right_and_down_and_brings_in_black():
    images = some_images(2, 1, 8, 8)
    view = moved(images, 8, shift_x=0.25, shift_y=-0.5)
    expected = torch.zeros(2, 1, 8, 8)
    expected[:, :, :4, 2:] = images.float().div(255)[:, :, 4:, :6]
    assert torch.allclose(view, expected, atol=1e-4)


def test_zoom_enlarges_about_the_center():
    images = some_images(2, 1, 8, 8)
    expected = torch.nn.functional.interpolate(images.float() / 255, scale_factor=2, mode="bilinear")[:, :, 4:12, 4:12]
    assert torch.allclose(moved(images, 8, zoom=2.0), expected, atol=1e-4)


def test_an_affine_view_is_torchvisions_of_the_resized_image():
    images = torch.nn.functional.interpolate(some_images(3, 1, 6, 6).float(), 48, mode="bicubic").clamp(0, 255).byte()
    got = moved(images, 48, rotation=-20.0, shift_x=0.125, shift_y=-0.0625, zoom=1.2, shear=0.0)
    expected = tvf.affine(images.float() / 255, 20.0, [6, -3], 1.2, [0.0, 0.0], InterpolationMode.BILINEAR)
    assert (got - expected).abs().mean() < 2e-3  # torchvision rounds the outermost row to black


def test_shear_moves_rows_in_proportion_to_their_height():
    image = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    image[:, :, :, 16] = 255
    view = moved(image, 33, shear=45.0)
    assert view[0, 0].argmax(1)[4:29].tolist() == list(range(4, 29))


def test_a_large_image_is_antialiased_under_an_affine_map():
    stripes = (torch.arange(64) % 2 * 255).byte().expand(1, 1, 64, 64)
    view = moved(stripes, 16, rotation=3.0)[0, 0, 4:12, 4:12]
    assert view.std() < 0.1 and abs(view.mean() - 0.5) < 0.05


def moved(images, size, **motion):
    count, _, rows, columns = images.shape
    still = {"rotation": 0.0, "shift_x": 0.0, "shift_y": 0.0, "zoom": 1.0, "shear": 0.0} | motion
    crop = {"top": 0, "left": 0, "height": rows, "width": columns}
    parameters = ViewParameters(**{name: one(value, count) for name, value in (crop | still).items()})
    return apply_parameters(images, parameters, ViewsConfig(size=size, **OFF))


def test_an_affine_view_of_no_motion_is_the_crop():
    images = some_images(4, 3, 20, 20)
    crop = {"top": one(4, 4), "left": one(2, 4), "height": one(16, 4), "width": one(16, 4)}
    flip = torch.tensor([True, False, True, False])
    still = {"rotation": one(0, 4), "shift_x": one(0, 4), "shift_y": one(0, 4), "zoom": one(1, 4), "shear": one(0, 4)}
    view = apply_parameters(images, ViewParameters(**crop, **still, flip=flip), ViewsConfig(size=16, **OFF))
    expected = images[:, :, 4:20, 2:18].float() / 255
    assert torch.allclose(view, torch.where(flip[:, None, None, None], expected.flip(3), expected), atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Views


@pytest.mark.parametrize("color", ["exact", "fast"])
@pytest.mark.parametrize("config", [BLURRED, EVERYTHING], ids=["crop", "affine"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_samples_view_has_the_same_bits_in_any_batch_and_order(config, channels, color, monkeypatch):
    monkeypatch.setattr(pixels, "_AT_ONCE", 5 * channels * 32 * 32)  # a batch is made in parts
    config = dataclasses.replace(config, color=color)
    images, ids = some_images(12, channels), torch.arange(100, 112)
    whole = make_views(images, ids, config, seed=3, epoch=5)
    order = torch.tensor([7, 2, 11, 0, 3])
    part = make_views(images[order], ids[order], config, seed=3, epoch=5)
    alone = make_views(images[7:8], ids[7:8].int(), config, seed=3, epoch=5)
    for view in range(2):
        assert torch.equal(part[view], whole[view][order])
        assert torch.equal(alone[view], whole[view][7:8])


def test_views_samples_epochs_and_seeds_differ():
    images = some_images(1).expand(4, -1, -1, -1)
    views = [
        view
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
        for view in make_views(images, torch.arange(4), ViewsConfig(), seed=seed, epoch=epoch)
    ]
    pictures = torch.cat(views)
    distance = torch.cdist(pictures.flatten(1), pictures.flatten(1)) + 100 * torch.eye(len(pictures))
    assert distance.min() > 1


def test_gray_images_stay_gray_and_of_their_number_of_channels():
    assert all(
        view.shape == (6, 1, 24, 24) for view in make_views(some_images(6, 1), torch.arange(6), EVERYTHING, **AT)
    )
    gray = some_images(6, 1).expand(-1, 3, -1, -1)
    config = dataclasses.replace(EVERYTHING, noise=0.0)
    for view in make_views(gray, torch.arange(6), config, **AT):
        assert (view.amax(1) - view.amin(1)).abs().max() < 1e-5


def test_images_left_alone_are_only_normalized():
    images = some_images()
    for view in make_views(images, torch.arange(6), ViewsConfig(**OFF), **AT):
        assert torch.allclose(view, images.float() / 255, atol=1e-6)
    config = ViewsConfig(**{**OFF, "mean": (0.1, 0.2, 0.3), "std": (0.5, 1.0, 2.0)})
    expected = tvf.normalize(images.float() / 255, [0.1, 0.2, 0.3], [0.5, 1.0, 2.0])
    assert torch.allclose(plain_view(images, config), expected, atol=1e-5)


@pytest.mark.parametrize("motion", [{}, {"rotation_degrees": 10.0}])
def test_the_plain_view_is_the_central_square_however_large(motion):
    config = ViewsConfig(size=16, **motion, **RAW)
    wide = some_images(3, 3, 16, 24)
    assert torch.allclose(plain_view(wide, config), wide[:, :, :, 4:20].float() / 255, atol=1e-5)


def test_the_plain_view_is_pils_antialiased_resize():
    images = some_images(3, 3, 48, 48)
    pil = [
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((20, 20), Image.Resampling.BICUBIC) for image in images
    ]
    expected = torch.stack([tvf.to_tensor(image) for image in pil])
    assert (plain_view(images, ViewsConfig(size=20, **RAW)) - expected).abs().max() <= 1.1 / 255


def test_noise_has_the_standard_deviation_asked_for():
    black = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    first, second = make_views(black, torch.arange(200), ViewsConfig(size=16, noise=0.1, **OFF), **AT)
    assert abs(first.std() - 0.1) < 0.002 and abs(first.mean()) < 0.002
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.03


@pytest.mark.parametrize("value", [0, 255])
def test_flat_images_give_finite_views(value):
    flat = torch.full((40, 3, 5, 9), value, dtype=torch.uint8)
    assert all(view.isfinite().all() for view in make_views(flat, torch.arange(40), EVERYTHING, **AT))


@pytest.mark.parametrize("side", [1, 2])
def test_the_smallest_images_have_views(side):
    for config in (EVERYTHING, ViewsConfig(blur_probability=(1.0, 1.0))):
        views = make_views(some_images(4, 3, side, side), torch.arange(4), config, **AT)
        assert all(view.isfinite().all() for view in views)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_three_numbers_for_one_channel_are_refused_with_the_fix(name):
    config = ViewsConfig(**{name: (0.5, 0.5, 0.5)})
    with pytest.raises(ConfigError, match=f"views.{name} has 3 numbers but the images have 1 channel: give one number"):
        plain_view(some_images(2, 1), config)


class NoWaiting(TorchDispatchMode):
    """Fails on every operation whose result must reach the host, or whose shape depends on values."""

    forbidden = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        indexed_by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        assert name not in self.forbidden and not indexed_by_mask, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("color", ["exact", "fast"])
@pytest.mark.parametrize("config", [BLURRED, EVERYTHING], ids=["crop", "affine"])
def test_no_step_on_an_accelerator_waits_for_it(config, color, monkeypatch):
    monkeypatch.setattr(pixels, "_selects", lambda device: False)
    config = dataclasses.replace(config, color=color)
    images, ids = some_images(5), torch.arange(5)
    with NoWaiting():
        make_views(images, ids, config, **AT)
        plain_view(images, config)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("color", ["exact", "fast"])
@pytest.mark.parametrize("config", [BLURRED, EVERYTHING], ids=["crop", "affine"])
def test_the_gpu_makes_the_same_views_without_a_sync(config, color):
    config = dataclasses.replace(config, color=color)
    images, ids = some_images(32), torch.arange(32)
    expected = make_views(images, ids, config, **AT)
    on_gpu = images.cuda(), ids.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        views = make_views(*on_gpu, config, **AT)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for got, want in zip(views, expected, strict=True):
        assert (got.cpu() - want).abs().max() < 1e-3


def test_local_views_keep_their_side_while_global_ones_grow():
    growing = ViewsConfig(start_size=20, grow_epochs=3, num_local_views=1, local_size=16)
    made = make_views(some_images(4), torch.arange(4), dataclasses.replace(growing, size=20), **AT)
    assert [view.shape[-1] for view in made] == [20, 20, 16]
