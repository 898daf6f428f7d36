import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf
from torchvision.transforms import InterpolationMode

from twist.learn import resampling


def some_images(count, channels, rows, columns):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


def resized(images, crops, flips, size):
    top, left, height, width = torch.tensor(crops).float().T
    rows = resampling.bicubic_taps(top, height, None, images.shape[2], size)
    columns = resampling.bicubic_taps(left, width, flips, images.shape[3], size)
    rows, columns = resampling.matrix(*rows, images.shape[2]), resampling.matrix(*columns, images.shape[3])
    return resampling.resample(images.float() / 255, rows, columns, clamp=True)


@pytest.mark.parametrize("size", [8, 20, 32, 77])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_and_resize_are_pils_bicubic_to_a_rounding_step(size, channels):
    images = 64 + some_images(8, channels, 40, 33) // 2  # far from black and white, where PIL clamps between its passes
    images[4:] = torch.nn.functional.avg_pool2d(images[4:].float(), 5, 1, 2).byte()  # smooth ones too
    crops = [(0, 0, 40, 33), (3, 5, 20, 11), (30, 2, 5, 31), (7, 7, 1, 1), (0, 0, 33, 33), (1, 1, 8, 8), (2, 0, 38, 30)]
    crops.append((39, 32, 1, 1))
    flips = torch.tensor([True, False] * 4)
    got = resized(images, crops, flips, size)
    for image, crop, flip, view in zip(images, crops, flips, got, strict=True):
        pil = tvf.resized_crop(tvf.to_pil_image(image), *crop, [size, size], InterpolationMode.BICUBIC)
        expected = tvf.to_tensor(tvf.hflip(pil) if flip else pil)
        assert (view - expected).abs().max() <= 1.1 / 255


def blurred(images, sigma, largest):
    weights = resampling.blur_weights(sigma, images.shape[-1], largest)
    return resampling.blur(
        images, weights, resampling.mirrored_places(weights.shape[1], images.shape[-1], images.device)
    )


@pytest.mark.parametrize("size", [8, 32])
def test_blur_is_torchvisions_with_mirrored_edges_and_zero_leaves_the_image(size):
    images = some_images(5, 3, size, size).float() / 255
    sigma = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.3])
    got = blurred(images, sigma, 1.3)
    assert torch.equal(got[0], images[0])
    for image, value, view in zip(images[1:], sigma[1:], got[1:], strict=True):
        expected = tvf.gaussian_blur(image, 2 * min(7, size - 1) + 1, float(value))
        assert (view - expected).abs().max() <= 1e-5


def test_blur_weights_hold_no_denormal_numbers():
    point = torch.zeros(1, 1, 32, 32)
    point[0, 0, 16, 16] = 1
    got = blurred(point, torch.tensor([0.3]), 2.0)
    assert got[got > 0].min() > 1e-13


def test_a_samples_bits_are_the_same_in_any_batch():
    images, crops = some_images(64, 3, 32, 32), [(k % 9, k % 7, 8 + k % 15, 5 + k % 20) for k in range(64)]
    flips, sigma = torch.arange(64) % 2 == 0, torch.linspace(0, 2, 64)
    whole = blurred(resized(images, crops, flips, 32), sigma, 2.0)
    for rows in (slice(5, 6), slice(3, 5), slice(20, 51)):
        part = blurred(resized(images[rows], crops[rows], flips[rows], 32), sigma[rows], 2.0)
        assert torch.equal(part, whole[rows])


@pytest.mark.parametrize(("rows", "columns", "size"), [(8, 8, 16), (20, 30, 11), (64, 64, 16)])
def test_a_warp_samples_where_torchs_affine_grid_says(rows, columns, size):
    images = some_images(3, 1, rows, columns).float() / 255
    seen = torch.tensor([[[0.5, 0.2, 0.1], [-0.3, 0.6, 0.0]], [[-1.0, 0, 0], [0, 1, 0]], [[1, 0, 0.3], [0, 2, -0.5]]])
    dense = max(1, round(min(rows, columns) / size))
    grid = F.affine_grid(seen, [3, 1, dense * size, dense * size], align_corners=False)
    expected = F.avg_pool2d(F.grid_sample(images, grid, align_corners=False), dense)
    assert torch.allclose(resampling.warp(images, seen, size), expected, atol=1e-5)
