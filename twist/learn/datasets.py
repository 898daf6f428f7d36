"""Image sets as one uint8 tensor: named sets, folders, ``.npz`` files."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from twist.runs.config import ConfigError, DataConfig
from twist.runs.sources import (
    NAMED_SETS,
    check_labels,
    data_root,
    find_files,
    find_source,
    folder_images,
    npz_shape,
)

# Formats by name, as Pillow's full list includes some that start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_MOST_PIXELS = 64_000_000  # a photograph of 8,000 x 8,000; more is refused before it is decoded
_SHOWN = 5  # broken images named in a message


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known of them, in a fixed order.

    Attributes
    ----------
    images
        Pixels, 0 black and 255 white; one channel for gray images, else red, green, blue.
    labels
        Ground truth of each image, -1 where unknown; None when none is known. Never used in training.
    label_names
        Name of each label, or None.
    sample_ids
        Stable index of each image: the same image keeps its number when ``data.max_images`` changes.
    name
        What the set is called in figures.
    fingerprint
        First 16 hex digits of the SHA-256 of pixels and labels: two sets of one fingerprint are the same.
    """

    images: UInt8[Tensor, "N ch H W"]
    labels: Int64[Tensor, " N"] | None
    label_names: list[str] | None
    sample_ids: Int64[Tensor, " N"]
    name: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)


def load(config: DataConfig, *, run_folder: Path | None = None) -> ImageSet:
    """The images that a recipe's ``data`` names, in memory.

    Parameters
    ----------
    config
        The ``data`` part of a recipe.
    run_folder
        Folder of the run, where ``@run/images.npz`` is.

    Raises
    ------
    ConfigError
        When the source is missing, empty, broken or of the wrong form: one sentence with the name and the fix.

    Examples
    --------
    >>> digits = load(DataConfig(source="digits"))
    >>> digits.images.shape, digits.images.dtype, digits.label_names[3]
    (torch.Size([1797, 1, 8, 8]), torch.uint8, '3')
    """
    path = find_source(config, run_folder=run_folder)
    if path is None:
        name, raw = config.source, _NAMED[config.source](config)
    else:
        name, raw = path.resolve().stem, _read_folder(path, config) if path.is_dir() else _read_npz(path)
    pixels = raw.pixels[: config.max_images]
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    labels = None
    if raw.labels is not None and (known := raw.labels[: config.max_images]).max(initial=-1) >= 0:
        labels = torch.from_numpy(known.astype(np.int64))
    return ImageSet(images, labels, raw.label_names, torch.arange(len(images)), name, _fingerprint(images, labels))


class _Raw(NamedTuple):
    pixels: np.ndarray  # uint8 [N, H, W] or [N, H, W, 1 or 3]
    labels: np.ndarray | None
    label_names: list[str] | None


def _fingerprint(images: Tensor, labels: Tensor | None) -> str:
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.numpy().data)
    if labels is not None:
        digest.update(labels.numpy().data)
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------------------
# Named sets


def _digits(config: DataConfig) -> _Raw:
    # The table that `sklearn.datasets.load_digits` reads; importing scikit-learn for it would take seconds.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, "scikit-learn is a dependency"
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    pixels = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return _Raw(pixels, table[:, 64], list(NAMED_SETS["digits"].label_names))


def _cifar10(config: DataConfig) -> _Raw:
    if not config.download:
        find_files(config)
    from torchvision.datasets import CIFAR10

    root, named = data_root(config), NAMED_SETS["cifar10"]
    with _download_errors(config):
        parts = [CIFAR10(root, train=part == "train", download=config.download) for part in named.parts(config.split)]
    pixels = np.concatenate([part.data for part in parts])
    return _Raw(pixels, np.concatenate([part.targets for part in parts]), list(named.label_names))


def _fashion_mnist(config: DataConfig) -> _Raw:
    if config.download:
        from torchvision.datasets import FashionMNIST

        with _download_errors(config):
            FashionMNIST(data_root(config), download=True)
    arrays = [_read_idx(path) for path in find_files(config)]
    pixels, labels = np.concatenate(arrays[0::2]), np.concatenate(arrays[1::2])
    return _Raw(pixels, labels.astype(np.int64), list(NAMED_SETS["fashion_mnist"].label_names))


_NAMED = {"digits": _digits, "cifar10": _cifar10, "fashion_mnist": _fashion_mnist}


@contextmanager
def _download_errors(config: DataConfig) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        root = str(data_root(config))
        fix = "is there a connection?" if config.download else "fetch it with `--set data.download=true`"
        raise ConfigError(
            f"{config.source} in {root!r} cannot be used ({error}); {fix} "
            "A copy in another form can be given as a folder or .npz"
        ) from error


def _read_idx(path: Path) -> np.ndarray:
    """The array in a file of the MNIST family, packed or not: zero, zero, type 8, number of axes, axes, bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
        axes = content[3]
        shape = np.frombuffer(content, ">i4", count=axes, offset=4)
        if content[:3] != b"\0\0\x08":
            raise ValueError("it is no idx file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise ConfigError(f"{str(path)!r} is damaged ({error}): remove it and fetch it again") from error


# ---------------------------------------------------------------------------------------------------------------------
# Arrays and folders


def _read_npz(path: Path) -> _Raw:
    npz_shape(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels = arrays["images"]
            names = [str(name) for name in arrays["label_names"]] if "label_names" in arrays else None
            labels = check_labels(arrays["labels"], len(pixels), names) if "labels" in arrays else None
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from None
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{str(path)!r} cannot be read ({error}): make it again with np.savez") from error
    return _Raw(pixels, labels, names)


def _read_folder(folder: Path, config: DataConfig) -> _Raw:
    paths, labels, label_names = folder_images(folder, config.split)
    paths = paths[: config.max_images]
    # Pillow decodes outside the interpreter's lock, so threads are enough.
    with _strict_pillow(), ThreadPoolExecutor() as pool:
        decoded = list(pool.map(partial(_decode, size=config.image_size), paths))
    names = [repr(str(path.relative_to(folder))) for path in paths]
    broken = [f"{name} {result}" for name, result in zip(names, decoded, strict=True) if isinstance(result, str)]
    if broken:
        more = f", and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise ConfigError(
            f"{len(broken)} of {len(paths)} images in {str(folder)!r} cannot be used, repair or remove them: "
            + "; ".join(broken[:_SHOWN])
            + more
        )
    images = [result for result in decoded if not isinstance(result, str)]
    sizes = [image.shape[:2] for image in images]
    other = next((index for index, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        (rows, columns), (other_rows, other_columns) = sizes[0], sizes[other]
        raise ConfigError(
            f"images in {str(folder)!r} differ in size: {names[0]} is {columns} x {rows} pixels, {names[other]} is "
            f"{other_columns} x {other_rows}; bring them to one side N with `--set data.image_size=N`"
        )
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2) for image in images]
    return _Raw(np.stack(images), None if labels is None else np.array(labels), label_names)


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow's warning of a huge image as an error, its others silent: what they announce is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _decode(path: Path, size: int | None) -> np.ndarray | str:
    """The pixels of one file as uint8 ``[H, W]`` or ``[H, W, 3]``, or the reason why there are none."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            if file.width * file.height > _MOST_PIXELS:
                return f"is too large ({file.width} x {file.height} pixels)"
            file.load()
            image = file.copy()
            with suppress(Exception):  # a damaged EXIF block says nothing of the pixels
                image = ImageOps.exif_transpose(file)
        return np.asarray(_fit(_gray_or_rgb(image), size))
    except UnidentifiedImageError:
        return "is no image of a known format" if path.stat().st_size else "is empty"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"is too large (more than {_MOST_PIXELS:,} pixels)"
    except Exception as error:  # decoders raise anything on damaged data: struct.error, SyntaxError, KeyError …
        return f"is damaged ({error or type(error).__name__})"


def _gray_or_rgb(image: Image.Image) -> Image.Image:
    """The image with 8 bits in mode L or RGB; what is transparent becomes white."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns such an image white.
        return Image.fromarray(np.rint(np.asarray(image) * (255 / 65535)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of which the white is unknown; save it with 8 or 16")
    is_gray = image.mode in ("1", "L", "LA", "La")
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        is_gray = bool((palette == palette[:, :1]).all())
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB").convert("L" if is_gray else "RGB")


def _fit(image: Image.Image, size: int | None) -> Image.Image:
    """The central square, resized; the image itself when no size is asked for."""
    if size is None:
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
