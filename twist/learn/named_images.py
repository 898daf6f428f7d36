"""The named sets: their files, read as arrays."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twist.runs.config import ConfigError, DataConfig
from twist.runs.named_sets import NAMED_SETS
from twist.runs.sources import check_labels, data_root, find_files


class RawImages(NamedTuple):
    """Images and labels as they are read.

    Attributes
    ----------
    pixels
        uint8 ``[N, H, W]``, or ``[N, H, W, C]`` with 1 or 3 channels.
    labels
        Whole numbers ``[N]``, -1 where unknown, or None.
    label_names
        Name of each label, or None.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    label_names: list[str] | None


def read_named(config: DataConfig) -> RawImages:
    """A named set that comes as arrays: every one but those of image files.

    Raises
    ------
    ConfigError
        When a file is missing or damaged, or cannot be fetched.
    """
    return _READERS[config.source](config)


def _digits(config: DataConfig) -> RawImages:
    # The table that `sklearn.datasets.load_digits` reads; importing scikit-learn for it would take seconds.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, "scikit-learn is a dependency"
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    pixels = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return RawImages(pixels, table[:, 64], list(NAMED_SETS["digits"].label_names))


def _mnist(config: DataConfig) -> RawImages:
    if config.download:
        fetch(config)
    files, label_names = find_files(config), list(NAMED_SETS[config.source].label_names)
    pixels, labels = [], []
    for image_file, label_file in zip(files[0::2], files[1::2], strict=True):
        with _damage_named(image_file):
            pixels.append(_read_idx(image_file, axes=3))
        with _damage_named(label_file):
            labels.append(check_labels(_read_idx(label_file, axes=1), len(pixels[-1]), label_names))
    return RawImages(np.concatenate(pixels), np.concatenate(labels), label_names)


def _cifar(config: DataConfig) -> RawImages:
    if not config.download:
        find_files(config)
    # Through torchvision, which checks every file against its known sum before it unpickles it.
    parts = [fetch(config, train=part == "train") for part in NAMED_SETS[config.source].parts(config.split)]
    pixels, labels = np.concatenate([part.data for part in parts]), np.concatenate([part.targets for part in parts])
    return RawImages(pixels, labels, list(parts[0].classes))


def _stl10(config: DataConfig) -> RawImages:
    if config.download:
        fetch(config)
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
    return RawImages(pixels.transpose(0, 2, 3, 1), np.concatenate(labels), label_names)


_READERS = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "stl10": _stl10,
}
TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "stl10": "STL10",
    "imagenette": "Imagenette",
}


def fetch(config: DataConfig, **options: Any) -> Any:
    """The set as torchvision reads it, which fetches what is missing where that is allowed."""
    from torchvision import datasets

    try:
        return getattr(datasets, TORCHVISION[config.source])(data_root(config), download=config.download, **options)
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
