"""Where images come from: finding a source and counting its images before anything heavy is loaded.

A launch can so refuse a mistyped name or a missing file at once, in the words that training would have used later.
`twist.learn.datasets` reads the pixels.
"""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twist.runs.config import ConfigError, DataConfig, nearest
from twist.runs.named_sets import NAMED_SETS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_TEST_FOLDERS = ("test", "val", "valid", "validation")
_JUNK_FOLDERS = ("__MACOSX", "__pycache__")
_RUN_PREFIX = "@run/"


class FolderImages(NamedTuple):
    """The images of a folder, in the order of their sample ids.

    Attributes
    ----------
    paths
        One file per image. Class folders take turns, so that the first images are of all classes.
    labels
        Index of each image's class folder, or None for a folder without class folders.
    label_names
        Names of the class folders, sorted, or None.
    """

    paths: list[Path]
    labels: list[int] | None
    label_names: list[str] | None


def check_source(config: DataConfig, *, run_folder: Path | None = None) -> int:
    """Number of images that a run would learn from; looks at names and headers only.

    Raises
    ------
    ConfigError
        When the source is unknown, missing, empty or of the wrong form: what was searched, and the fix.
    """
    path = find_source(config, run_folder=run_folder)
    if path is None:
        named = NAMED_SETS[config.source]
        if not config.download:
            find_files(config)
        count = sum(named.count(part) for part in named.parts(config.split))
    else:
        count = len(folder_images(path, config.split).paths) if path.is_dir() else npz_shape(path)[0]
    return count if config.max_images is None else min(count, config.max_images)


def data_root(config: DataConfig) -> Path:
    """Folder of the named sets: ``data.root``, else ``TWIST_DATA``, else the nearest ``data/images`` upward."""
    if chosen := config.root or os.environ.get("TWIST_DATA"):
        return Path(chosen).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "data" / "images").is_dir():
            return folder / "data" / "images"
    return here / "data" / "images"


def cache_root() -> Path:
    """Folder of decoded images: ``TWIST_CACHE``, else the nearest ``data/cache`` upward, else the user's for caches."""
    if chosen := os.environ.get("TWIST_CACHE"):
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "data" / "cache").is_dir():
            return folder / "data" / "cache"
    usual = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or usual).absolute() / "twist"


def find_files(config: DataConfig) -> list[Path]:
    """The files of a named set's split, each as it is or packed with ``.gz``; its folder, for a set of image files.

    Raises
    ------
    ConfigError
        When one is missing: names the first, the root that was searched and the ways to get it. When a folder has
        another number of images than the set.
    """
    root, named = data_root(config), NAMED_SETS[config.source]
    found = []
    for name in (name for part in named.parts(config.split) for name in named.files.get(part, ())):
        path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
        if name.endswith("/") and (root / name).is_dir():
            path = _whole_folder(root / name, config.source)
        if path is None:
            raise ConfigError(
                f"{config.source} is not in {str(root)!r}: {name} is missing; fetch it with "
                "`--set data.download=true`, or say where it is with `--set data.root=FOLDER` or TWIST_DATA"
            )
        found.append(path)
    return found


def _whole_folder(folder: Path, source: str) -> Path:
    # Counted here because torchvision takes what an interrupted unpacking left for the whole set.
    count, found = NAMED_SETS[source].train + NAMED_SETS[source].test, sum(1 for _ in _files(folder, deep=True))
    if found != count:
        raise ConfigError(
            f"{source} in {str(folder)!r} has {found:,} images instead of {count:,}: remove that folder and fetch it "
            "again with `--set data.download=true`, or name it as data.source to use it as it is"
        )
    return folder


def find_source(config: DataConfig, *, run_folder: Path | None = None) -> Path | None:
    """The folder or ``.npz`` file that ``data.source`` names, or None for a named set.

    ``@run/…`` is a file kept inside the run folder.

    Raises
    ------
    ConfigError
        When there is no such thing (names the nearest set), ``data.image_size`` or ``data.keep`` is given for what is
        no folder of images, or a part is asked for that the source does not have.
    """
    named = NAMED_SETS.get(config.source)
    path = None if named else _existing_path(config.source, run_folder)
    has_files = named.image_size is not None if named else path is not None and path.is_dir()
    if config.keep in ("cache", "decode") and not has_files:
        raise ConfigError(
            f"data.keep is {config.keep!r}, but only folders of images and imagenette are decoded, not "
            f"{config.source!r}, which is read into memory: leave it out"
        )
    if config.image_size is not None and not has_files:
        raise ConfigError(
            f"data.image_size is {config.image_size}, but only folders of images and imagenette are resized, not "
            f"{config.source!r}: leave it out; views.size is the side of what the network sees"
        )
    if config.split.endswith("unlabeled") and not (named and named.unlabeled):
        raise ConfigError(
            f"data.split is {config.split!r}, but {config.source!r} has no part 'unlabeled', only stl10 has: leave "
            "data.split out; labels, where there are any, are not used in training"
        )
    if config.split == "test" and (path is None or not path.is_dir()) and not _has_test_part(config.source):
        what = "set comes" if path is None else ".npz file comes"
        raise ConfigError(
            f"data.split is 'test', but {config.source!r} has no parts: this {what} whole; leave data.split out to "
            "use all of it, or name the test images as a source of their own"
        )
    return path


def has_test_part(config: DataConfig, *, run_folder: Path | None = None) -> bool:
    """Whether a source has test images of its own: a named set's, or a folder's that holds ``train`` and ``test``.

    Raises
    ------
    ConfigError
        When there is no such source.
    """
    # Asked about its train part: the split that a recipe names may be one that the source does not have.
    path = find_source(replace(config, split="train"), run_folder=run_folder)
    if path is None:
        return _has_test_part(config.source)
    return path.is_dir() and len(_split_folders(path, "all")) == 2


def _has_test_part(source: str) -> bool:
    return source in NAMED_SETS and NAMED_SETS[source].test > 0


def _existing_path(source: str, run_folder: Path | None) -> Path:
    if source.startswith(_RUN_PREFIX):
        if run_folder is None:
            raise ConfigError(
                f"data.source is {source!r}: it belongs to one run; give a folder, or the images themselves"
            )
        path = Path(run_folder) / source.removeprefix(_RUN_PREFIX)
        if not path.resolve().is_relative_to(Path(run_folder).resolve()):
            raise ConfigError(f"data.source is {source!r}: it leaves the run folder")
    else:
        path = Path(source).expanduser()
    if not path.exists():
        known = ", ".join(NAMED_SETS)
        raise ConfigError(
            f"data.source is {source!r}: it is none of the named sets ({known}), and no folder or file seen from "
            f"{str(Path.cwd())!r}{nearest(source, NAMED_SETS)}"
        )
    if not path.is_dir() and path.suffix.lower() != ".npz":
        raise ConfigError(f"data.source is {source!r}: give a folder of images, or an .npz file with an array 'images'")
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Folders of images


def folder_images(folder: Path, split: str = "all") -> FolderImages:
    """The images of a folder by name, without opening one.

    With two or more subfolders of images, these are classes and loose images are ignored; else loose images make a set
    without labels, and a single subfolder a set of one class. A folder that holds ``train`` and ``test`` (or ``val``)
    is split so; any other is whole, as ``train`` and as ``all``. Hidden names are skipped.

    Raises
    ------
    ConfigError
        When there is no image, or the test part of a folder without parts is asked for.
    """
    parts = _split_folders(folder, split)
    classes: dict[str, list[list[Path]]] = {}
    for part in parts:
        for name, paths in _class_folders(part):
            classes.setdefault(name, []).append(paths)
    loose = sorted(path for part in parts for path in _files(part, deep=False))
    if len(classes) > 1 or (classes and not loose):
        names = sorted(classes)
        turns = [
            (turn, label, path)
            for label, name in enumerate(names)
            for turn, path in enumerate(path for paths in classes[name] for path in paths)
        ]
        turns.sort(key=lambda item: item[:2])
        return FolderImages(
            [path for *_, path in turns], [label for _, label, _ in turns], [_printable(n) for n in names]
        )
    if not loose:
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        searched = ", ".join(repr(str(part)) for part in parts)
        raise ConfigError(
            f"there is no image in {searched}: put files there that end in {kinds}, or name another folder"
        )
    return FolderImages(loose, None, None)


def image_paths(folder: Path) -> list[Path]:
    """Every image below a folder by name, sorted; hidden ones are skipped.

    Raises
    ------
    ConfigError
        When there is none.
    """
    found = sorted(_files(folder, deep=True))
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise ConfigError(f"there is no image in {str(folder)!r}: put files there that end in {kinds}")
    return found


def _split_folders(folder: Path, split: str) -> list[Path]:
    train = folder / "train"
    test = next((folder / name for name in _TEST_FOLDERS if (folder / name).is_dir()), None)
    if not train.is_dir() or test is None:
        if split == "test":
            raise ConfigError(
                f"data.split is 'test', but {str(folder)!r} has no parts: a folder is split when it holds the folders "
                f"train and test (or val), this one holds {_holds(folder)}; leave data.split out to use all of it, or "
                "name the folder of the test images"
            )
        return [folder]
    return {"train": [train], "test": [test], "all": [train, test]}[split]


def _holds(folder: Path) -> str:
    """The first names in a folder, for a message."""
    names = sorted(_printable(entry.name) for entry in os.scandir(folder) if not _is_junk(entry.name))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more if names else "nothing"


def _class_folders(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not _is_junk(entry.name) and (paths := sorted(_files(Path(entry.path), deep=True))):
            yield entry.name, paths


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_junk(name)] if deep else []
        for name in names:
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                yield Path(here, name)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in _JUNK_FOLDERS


def _printable(name: str) -> str:
    """The name with bytes that are no UTF-8 spelled out: they could not be written to a record."""
    return name.encode(errors="backslashreplace").decode()


# ---------------------------------------------------------------------------------------------------------------------
# Arrays: an .npz file, or handed over in a notebook


def npz_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array ``images`` of an ``.npz`` file, from its header alone.

    Raises
    ------
    ConfigError
        When the file cannot be read, or the array is missing or of the wrong type or shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "images.npy" not in archive.namelist():
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
                raise ConfigError(f"{str(path)!r} has no array 'images' (it holds {names}): save it under that name")
            with archive.open("images.npy") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
    except ConfigError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as .npz ({error}): make it again with np.savez") from error
    form = f"{str(path)!r} has images of type {dtype} and shape {shape}"
    if dtype != np.uint8:
        raise ConfigError(f"{form}: expected uint8, 0 for black and 255 for white")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise ConfigError(f"{form}: expected [N, H, W], [N, H, W, 1] or [N, H, W, 3]")
    if 0 in shape:
        raise ConfigError(f"{form}: there is no pixel in it")
    return shape


def arrays_for_run(images: Any, labels: Any = None, label_names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Images handed over in memory as the arrays that are kept with the run, in the form of an ``.npz`` source.

    Parameters
    ----------
    images
        Array, tensor or sequence: uint8, or floating point from 0 to 1; ``[N, H, W]``, or with 1 or 3 channels
        ``[N, H, W, C]`` or ``[N, C, H, W]``.
    labels
        Whole numbers ``[N]``, -1 where unknown.
    label_names
        Name of each label.

    Returns
    -------
    dict
        ``images`` uint8 ``[N, H, W]`` or ``[N, H, W, 3]``, and where given ``labels`` and ``label_names``.

    Raises
    ------
    ConfigError
        When type, shape or range is another: what was given, and what is expected.

    Examples
    --------
    >>> arrays_for_run(np.full((5, 1, 8, 8), 0.5))["images"].shape
    (5, 8, 8)
    """
    pixels = _as_uint8(_as_array(images, "images"))
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)) or 0 in pixels.shape:
        raise ConfigError(
            f"images have the shape {pixels.shape}: expected [N, H, W], "
            "or with 1 or 3 channels [N, H, W, C] or [N, C, H, W]"
        )
    arrays = {"images": np.ascontiguousarray(pixels)}
    if labels is not None:
        arrays["labels"] = check_labels(_as_array(labels, "labels"), len(pixels), label_names)
    if label_names is not None:
        arrays["label_names"] = np.array([str(name) for name in label_names])
    return arrays


def check_labels(labels: np.ndarray, count: int, label_names: Sequence[str] | None) -> np.ndarray:
    """The labels as int64; a `ConfigError` unless they are ``count`` whole numbers from -1 that have names."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"labels are of type {labels.dtype} and shape {labels.shape}: expected {count} whole numbers, one per image"
        )
    if labels.min() < -1:
        raise ConfigError(f"labels go down to {labels.min()}: expected 0 or more, or -1 where the label is unknown")
    if label_names is not None and labels.max() >= len(label_names):
        raise ConfigError(
            f"labels go up to {labels.max()} but there are {len(label_names)} label names: give one per label"
        )
    return labels.astype(np.int64)


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        if hasattr(values, "detach"):  # a tensor may be on a GPU or in a graph
            values = values.detach().cpu()
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{what} are no array ({error}): give a NumPy array or a tensor") from error


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise ConfigError(f"images are of type {pixels.dtype}: expected uint8, or floating point from 0 to 1")
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):  # also false for nan
        raise ConfigError(
            f"images are floating point from {pixels.min():g} to {pixels.max():g}: "
            "expected 0 to 1; scale them, or give uint8"
        )
    return np.rint(pixels * 255).astype(np.uint8)
