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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from twist.runs.config import ConfigError, DataConfig
from twist.runs.named_sets import IMAGENETTE_NAMES, NAMED_SETS
from twist.runs.sources import (
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


def _mnist(config: DataConfig) -> _Raw:
    if config.download:
        _fetch(config)
    files, label_names = find_files(config), list(NAMED_SETS[config.source].label_names)
    pixels, labels = [], []
    for image_file, label_file in zip(files[0::2], files[1::2], strict=True):
        with _damage_named(image_file):
            pixels.append(_read_idx(image_file, axes=3))
        with _damage_named(label_file):
            labels.append(check_labels(_read_idx(label_file, axes=1), len(pixels[-1]), label_names))
    return _Raw(np.concatenate(pixels), np.concatenate(labels), label_names)


def _cifar(config: DataConfig) -> _Raw:
    if not config.download:
        find_files(config)
    # Through torchvision, which checks every file against its known sum before it unpickles it.
    parts = [_fetch(config, train=part == "train") for part in NAMED_SETS[config.source].parts(config.split)]
    pixels, labels = np.concatenate([part.data for part in parts]), np.concatenate([part.targets for part in parts])
    return _Raw(pixels, labels, list(parts[0].classes))


def _stl10(config: DataConfig) -> _Raw:
    if config.download:
        _fetch(config)
    named = NAMED_SETS["stl10"]
    planes, labels, files = [], [], iter(find_files(config))
    for part in named.parts(config.split):
        with _damage_named(path := next(files)):
            images = _map_bytes(path).reshape(-1, 3, 96, 96)
        known = np.full(len(images), -1)
        if part != "unlabeled":
            with _damage_named(path := next(files)):
                known = check_labels(_map_bytes(path).astype(np.int64) - 1, len(images), named.label_names)
                if known.min() < 0:
                    raise ValueError("it holds a label 0, and the first is 1")
        planes.append(images[: config.max_images])
        labels.append(known[: config.max_images])
    # Colors are stored column after column. They are turned on the way from the file to their final place, as a second
    # copy of 100,000 images would take 2.8 GB.
    pixels = np.empty((sum(map(len, planes)), 3, 96, 96), np.uint8)
    np.concatenate([part.transpose(0, 1, 3, 2) for part in planes], out=pixels)
    label_names = None if config.split == "unlabeled" else list(named.label_names)
    return _Raw(pixels.transpose(0, 2, 3, 1), np.concatenate(labels), label_names)


def _imagenette(config: DataConfig) -> _Raw:
    named = NAMED_SETS["imagenette"]
    if config.download and not (data_root(config) / named.files["train"][0]).is_dir():
        _fetch(config, size="160px")
    raw = _read_folder(find_files(config)[0], replace(config, image_size=config.image_size or named.image_size))
    return raw._replace(label_names=raw.label_names and [IMAGENETTE_NAMES.get(name, name) for name in raw.label_names])


_NAMED = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "stl10": _stl10,
    "imagenette": _imagenette,
}
_TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "stl10": "STL10",
    "imagenette": "Imagenette",
}


def _fetch(config: DataConfig, **options: Any) -> Any:
    """The set as torchvision reads it, which fetches what is missing where that is allowed."""
    from torchvision import datasets

    try:
        return getattr(datasets, _TORCHVISION[config.source])(data_root(config), download=config.download, **options)
    except (OSError, RuntimeError) as error:
        root, reason = str(data_root(config)), " ".join(str(error).split())
        fix = "is there a connection?" if config.download else "fetch it with `--set data.download=true`."
        raise ConfigError(
            f"{config.source} in {root!r} cannot be used ({reason}); {fix} "
            "A copy in another form can be given as a folder or .npz"
        ) from error


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ConfigError(f"{str(path)!r} is damaged ({error}): remove it and fetch it again") from error


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """The array in a file of the MNIST family, packed or not: zero, zero, type 8, number of axes, axes, bytes."""
    content = _map_bytes(path)
    if content[:4].tobytes() != bytes([0, 0, 8, axes]):
        raise ValueError(f"it is no idx file of bytes along {axes} axes")
    shape = content[4 : 4 + 4 * axes].view(">i4")
    return content[4 + 4 * axes :].reshape(shape)


def _map_bytes(path: Path) -> np.ndarray:
    """The bytes of a file; unless it is packed, they are read from the disk where they are used."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            return np.frombuffer(file.read(), np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


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
    del decoded
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
    pixels = np.empty((len(images), *images[0].shape), np.uint8)
    for row in range(len(images)):  # each image is let go as it is copied: never two whole sets in memory
        pixels[row], images[row] = images[row], pixels[row, :0]
    return _Raw(pixels, None if labels is None else np.array(labels), label_names)


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
