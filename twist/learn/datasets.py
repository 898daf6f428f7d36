"""Image sets: named ones, folders, ``.npz`` files; in memory, mapped from a cache, or decoded as they are needed."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from twist.learn.image_cache import ImageCache
from twist.learn.image_files import ImageFiles, Progress, survey
from twist.learn.named_images import RawImages, fetch, read_named
from twist.learn.stored_images import StoredImages
from twist.runs.config import ConfigError, DataConfig
from twist.runs.named_sets import IMAGENETTE_NAMES, NAMED_SETS
from twist.runs.sources import (
    cache_root,
    check_labels,
    data_root,
    find_files,
    find_source,
    folder_images,
    npz_shape,
)

_SPREAD = 64  # images whose pixels tell one folder from another, beside the sizes of all files
_FILES = "files-"  # what the fingerprint of image files begins with


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known of them, in a fixed order.

    Attributes
    ----------
    images
        Pixels, 0 black and 255 white; one channel for gray images, else red, green, blue. Whether a tensor or not,
        ``images[rows]`` gives the same tensor on the CPU.
    labels
        Ground truth of each image, -1 where unknown; None when none is known. Never used in training.
    label_names
        Name of each label, or None.
    sample_ids
        Stable index of each image: the same image keeps its number when ``data.max_images`` changes.
    name
        What the set is called in figures.
    fingerprint
        Two sets of one fingerprint are the same, however they are kept. Of arrays, the first 16 hex digits of the
        SHA-256 of pixels and labels; of image files, ``files-`` and those of labels, file sizes, and the pixels of 64
        images spread over the set.
    keep
        How the pixels are kept: memory, cache or decode.
    notes
        What a person should know of that choice.
    """

    images: UInt8[Tensor, "N ch H W"] | StoredImages
    labels: Int64[Tensor, " N"] | None
    label_names: list[str] | None
    sample_ids: Int64[Tensor, " N"]
    name: str
    fingerprint: str
    keep: str = "memory"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether a fingerprint is that of these images; also one of all pixels, as folders had before their caches."""
        if fingerprint == self.fingerprint or fingerprint.startswith(_FILES):
            return fingerprint == self.fingerprint
        return self.fingerprint.startswith(_FILES) and fingerprint == _pixel_fingerprint(self.images, self.labels)


def load(config: DataConfig, *, run_folder: Path | None = None, on_progress: Progress | None = None) -> ImageSet:
    """The images that a recipe's ``data`` names.

    Parameters
    ----------
    config
        The ``data`` part of a recipe.
    run_folder
        Folder of the run, where ``@run/images.npz`` is.
    on_progress
        Called with (images decoded, images) now and then while a folder is decoded; an exception in it ends that.

    Raises
    ------
    ConfigError
        When the source is missing, empty, broken or of the wrong form, or cannot be kept as asked for: one sentence
        with the name and the fix.

    Examples
    --------
    >>> digits = load(DataConfig(source="digits"))
    >>> digits.images.shape, digits.images.dtype, digits.label_names[3]
    (torch.Size([1797, 1, 8, 8]), torch.uint8, '3')
    """
    path = find_source(config, run_folder=run_folder)
    if path is not None and path.is_file():
        return _from_arrays(path.resolve().stem, _read_npz(path), config)
    if path is not None:
        return _from_folder(path, path.resolve().stem, config, on_progress)
    image_size = NAMED_SETS[config.source].image_size
    if image_size is None:
        return _from_arrays(config.source, read_named(config), config)
    if config.download and not (data_root(config) / NAMED_SETS[config.source].files["train"][0]).is_dir():
        fetch(config, size="160px")
    config = replace(config, image_size=config.image_size or image_size)
    images = _from_folder(find_files(config)[0], config.source, config, on_progress)
    return replace(images, label_names=[IMAGENETTE_NAMES.get(name, name) for name in images.label_names or ()] or None)


def free_memory() -> int:
    """Bytes of memory that this process may still take, in a container at most what that has."""
    free = psutil.virtual_memory().available
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


# ---------------------------------------------------------------------------------------------------------------------
# Arrays


def _from_arrays(name: str, raw: RawImages, config: DataConfig) -> ImageSet:
    pixels = raw.pixels[: config.max_images]
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    labels = None
    if raw.labels is not None and (known := raw.labels[: config.max_images]).max(initial=-1) >= 0:
        labels = torch.from_numpy(known.astype(np.int64))
    fingerprint = _pixel_fingerprint(images, labels)
    return ImageSet(images, labels, raw.label_names, torch.arange(len(images)), name, fingerprint)


def _read_npz(path: Path) -> RawImages:
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
    return RawImages(pixels, labels, names)


def _pixel_fingerprint(images: Tensor | StoredImages, labels: Tensor | None) -> str:
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    for first in range(0, len(images), 1024):
        digest.update(images[first : first + 1024].numpy().data)
    if labels is not None:
        digest.update(labels.numpy().data)
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------------------
# Folders of image files


def _from_folder(folder: Path, name: str, config: DataConfig, on_progress: Progress | None) -> ImageSet:
    paths, classes, label_names = folder_images(folder, config.split)
    paths = paths[: config.max_images]
    labels = None if classes is None else torch.tensor(classes[: config.max_images])
    marks = [_mark(path) for path in paths]
    choice = {"split": config.split, "max_images": config.max_images, "image_size": config.image_size}
    cache = ImageCache(cache_root(), folder, paths, marks, choice)
    images, keep, notes = _keep(cache, folder, paths, config, on_progress)
    fingerprint = _files_fingerprint(images, labels, [size for size, _ in marks])
    return ImageSet(images, labels, label_names, torch.arange(len(images)), name, fingerprint, keep, notes)


def _mark(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link to nothing, which the look at headers names
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _keep(
    cache: ImageCache, folder: Path, paths: Sequence[Path], config: DataConfig, on_progress: Progress | None
) -> tuple[Tensor | StoredImages, str, tuple[str, ...]]:
    """The pixels, kept as the recipe says: as they are when they were decoded before, else where they have room."""
    if config.keep in ("auto", "cache") and (mapped := cache.find()) is not None:
        return mapped, "cache", ()
    files, keep, notes = survey(folder, paths, config.image_size), config.keep, []
    if keep == "auto":
        keep = "memory" if files.nbytes <= free_memory() // 2 else "cache"
        if keep == "cache" and (reason := cache.lack(files.nbytes)):
            keep = "decode"
            notes.append(
                f"the images are decoded every time they are needed, as {files.nbytes / 1e9:.1f} GB of pixels fit "
                f"neither in memory nor in the cache ({reason}): TWIST_CACHE names another folder for it"
            )
    if keep == "cache":
        if config.keep == "auto":
            notes.append(
                f"the images were decoded into a cache of {files.nbytes / 1e9:.1f} GB, which later runs find again and "
                "which is safe to delete; TWIST_CACHE says where caches lie"
            )
        return cache.build(files, on_progress=on_progress), keep, tuple(notes)
    if keep == "decode":
        return files, keep, tuple(notes)
    return _in_memory(files, on_progress), keep, ()


def _in_memory(files: ImageFiles, on_progress: Progress | None) -> Tensor:
    if files.nbytes > (free := free_memory()):
        raise ConfigError(
            f"data.keep is 'memory', but {len(files):,} images take {files.nbytes / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: set data.keep to cache or decode, or a smaller data.image_size"
        )
    whole = np.empty(files.shape, np.uint8)
    for _ in files.blocks(whole, on_progress=on_progress):
        pass
    return torch.from_numpy(whole)


def _files_fingerprint(images: Tensor | StoredImages, labels: Tensor | None, sizes: Sequence[int]) -> str:
    # All pixels would take a decoding of all files. Those of some tell another decoder, the sizes another file.
    count = min(len(images), _SPREAD)
    rows = torch.arange(count) * (len(images) - 1) // max(1, count - 1)
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(np.array(sizes, np.int64).data)
    digest.update(images[rows].numpy().data)
    if labels is not None:
        digest.update(labels.numpy().data)
    return _FILES + digest.hexdigest()[:16]
