"""How pixels are made: in parts, under masks or not, compiled or not, always the same ones."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from twist.learn import pixels
from twist.learn.view_parameters import sample_parameters
from twist.learn.views import make_views
from twist.runs.config import ConfigError, ViewsConfig

CROPPED = ViewsConfig(size=24, blur_probability=(0.5, 0.5), solarize_probability=(0.3, 0.3))
MOVED = dataclasses.replace(CROPPED, rotation_degrees=20.0, shift=0.1, shear_degrees=5.0, noise=0.05)
BOTH = pytest.mark.parametrize("config", [CROPPED, MOVED], ids=["crop", "affine"])
COLORS = pytest.mark.parametrize("color", ["exact", "fast"])


def made(config, images):
    return torch.stack(make_views(images, torch.arange(len(images)), config, seed=0, epoch=0))


def some_images(count, channels=3, rows=32, columns=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


@BOTH
@COLORS
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_on_the_chosen_alone_has_the_bits_of_one_under_a_mask(config, color, channels, monkeypatch):
    config, images = dataclasses.replace(config, color=color), some_images(20, channels)
    chosen = made(config, images)
    monkeypatch.setattr(pixels, "_selects", lambda device: False)
    assert torch.equal(made(config, images), chosen)


@BOTH
@COLORS
def test_parts_that_fit_the_cache_have_the_bits_of_the_whole(config, color, monkeypatch):
    config, images = dataclasses.replace(config, color=color), some_images(20)
    whole = made(config, images)
    monkeypatch.setattr(pixels, "_AT_ONCE", 4 * images[0].numel())
    assert torch.equal(made(config, images), whole)


@COLORS
@pytest.mark.parametrize("size", [24, 50])
def test_a_crop_cut_out_of_a_large_image_is_the_crop_by_weights(color, size, monkeypatch):
    config, images = dataclasses.replace(CROPPED, color=color, size=size), some_images(12, 3, 40, 56)
    by_weights = made(config, images)
    monkeypatch.setattr(pixels, "_AT_ONCE", images[0].numel())
    assert (made(config, images) - by_weights).abs().max() < 1e-4


def test_the_fast_colors_are_the_exact_ones_where_nothing_turns_and_nothing_clips():
    images = 96 + some_images(12) // 4
    config = dataclasses.replace(CROPPED, hue=0.0, brightness=0.2, contrast=0.2, solarize_probability=(0.0, 0.0))
    exact, fast = made(config, images), made(dataclasses.replace(config, color="fast"), images)
    # Blurring before the contrast moves the mean by what the mirrored edges count twice.
    assert (exact - fast).abs().max() < 0.01 * 4


def test_the_fast_mode_departs_from_the_exact_one_by_two_percent_of_white():
    # Natural images have energy in low frequencies and colors that are near gray; so have these.
    coarse = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, 32, mode="bicubic").clamp(0, 1)
    images = (255 * (smooth.mean(1, keepdim=True) + 0.5 * (smooth - smooth.mean(1, keepdim=True)))).byte()
    config = ViewsConfig(size=32, std=(1.0,), blur_probability=(1.0, 0.1), solarize_probability=(0.0, 0.0))
    exact, fast = made(config, images), made(dataclasses.replace(config, color="fast"), images)
    assert (exact - fast).abs().mean() < 0.02
    unlike = exact - made(dataclasses.replace(config, jitter_probability=0.0, gray_probability=0.0), images)
    assert unlike.abs().mean() > 4 * (exact - fast).abs().mean()


COMPILED = """
import dataclasses, torch
from twist.learn.views import make_views
from twist.runs.config import ViewsConfig

images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
for color in ("exact", "fast"):
    # Both views have the same steps, and with them the same graph: half of the time.
    steps = {"blur_probability": (0.5, 0.5), "solarize_probability": (0.2, 0.2)}
    config = ViewsConfig(size=24, std=(1.0,), color=color, **steps)
    for epoch in range(3):
        torch.compiler.set_stance("default" if epoch == 0 else "fail_on_recompile")
        arguments = {"seed": 0, "epoch": epoch}
        compiled = make_views(images, torch.arange(8), config, **arguments, compiled=True)
        for got, want in zip(compiled, make_views(images, torch.arange(8), config, **arguments), strict=True):
            assert (got - want).abs().max() < 1e-5
print("equal")
"""


@pytest.mark.slow
def test_compiled_views_are_one_graph_that_fits_every_batch_and_equal_the_eager_ones():
    try:
        pixels.require_compiler(torch.device("cpu"))
    except ConfigError as error:
        pytest.skip(str(error))
    # In an interpreter of its own: the type checks of this one's functions cannot be compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_without_a_compiler_compiled_views_are_refused_with_the_fix(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    pixels._compiled.cache_clear()
    with pytest.raises(ConfigError, match="C\\+\\+ compiler and there is no no-such-compiler: install it"):
        make_views(some_images(2), torch.arange(2), CROPPED, seed=0, epoch=0, compiled=True)


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest new tensors."""

    def __init__(self):
        super().__init__()
        self.sizes = [0]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.float32:
            self.sizes.append(made.untyped_storage().nbytes())
        return made


@COLORS
def test_besides_the_view_no_tensor_is_larger_than_one_large_image(color):
    images, config = some_images(8, 3, 256, 256), ViewsConfig(size=224, color=color)
    drawn = sample_parameters(torch.arange(8), (3, 256, 256), config, seed=0, epoch=0, view=0)
    with Largest() as largest:
        view = pixels.apply_parameters(images, drawn, config)
    assert max(size for size in largest.sizes if size != view.nbytes) <= 4 * 3 * 256 * 256
