"""The image sets of the published results: which images are learned from, which are asked about, by which recipe."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twist.learn.evaluation.sets import LabeledSet, evaluation_sets
from twist.runs.config import ConfigError, DataConfig, Recipe, with_fields
from twist.runs.named_sets import NAMED_SETS
from twist.runs.recipes import recipe
from twist.runs.sources import data_root


@dataclass(frozen=True)
class ResultSet:
    """One set that results are published of.

    Attributes
    ----------
    title
        What the table is called.
    recipe
        Name of the recipe.
    changes
        Fields that differ from it, but for those that say where the images are.
    said
        What is learned from and asked about, in a sentence.
    make
        (folder for image files, root of the image sets) -> fields of ``data``, and the source of the asked images or
        None, which means the test part.
    goals
        What is aimed at where nothing was measured yet: column of the table -> first goal, then the next, in percent.
    minutes_to
        An accuracy of kNN in percent that is looked for in every kept checkpoint, and the minutes in which it is to be
        reached, first goal and next.
    """

    title: str
    recipe: str
    changes: dict[str, Any]
    said: str
    make: Callable[[Path, str | None], tuple[dict[str, Any], str | None]]
    goals: tuple[tuple[str, float, float], ...] = ()
    minutes_to: tuple[float, float, float] | None = None

    def recipe_for(self, data: dict[str, Any], seed: int) -> Recipe:
        """The recipe of one run."""
        return with_fields(recipe(self.recipe), {**self.changes, **data, "seed": seed})

    @property
    def command(self) -> str:
        """What a person would type for such a run."""
        return " ".join(
            [f"twist train {self.recipe}", *(f"--set {name}={_spelled(value)}" for name, value in self.changes.items())]
        )


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# ---------------------------------------------------------------------------------------------------------------------
# Images


def _digits(folder: Path, root: str | None) -> tuple[dict[str, Any], str | None]:
    sets = evaluation_sets(DataConfig(source="digits"))
    known, asked = (
        _keep(folder / f"digits-{len(part)}-{name}.npz", *_arrays(part), part.label_names)
        for name, part in (("train", sets.known), ("test", sets.asked))
    )
    return {"data.source": known}, asked


def _fashion_mnist(folder: Path, root: str | None) -> tuple[dict[str, Any], str | None]:
    return {"data.source": "fashion_mnist", **({} if root is None else {"data.root": root})}, None


def _cifar10_6000(folder: Path, root: str | None) -> tuple[dict[str, Any], str | None]:
    return {"data.source": _cifar10(folder, root, "train", 5000)}, _cifar10(folder, root, "test", 1000)


def _cifar10_whole(folder: Path, root: str | None) -> tuple[dict[str, Any], str | None]:
    return {"data.source": _cifar10(folder, root, "train", 50_000)}, _cifar10(folder, root, "test", 10_000)


def _cifar10(folder: Path, root: str | None, part: str, count: int) -> str:
    """The first images of a part, as an ``.npz``."""
    path = folder / f"cifar10-{count}-{part}.npz"
    if path.is_file():
        return str(path)
    place = data_root(DataConfig(source="cifar10", root=root))
    batches = ["test_batch"] if part == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    read = [_cifar10_batch(place, batch) for batch in batches[: -(-count // 10_000)]]
    pixels, labels = (np.concatenate(parts)[:count] for parts in zip(*read, strict=True))
    return _keep(path, pixels, labels, list(NAMED_SETS["cifar10"].label_names))


def _arrays(images: LabeledSet) -> tuple[np.ndarray, np.ndarray]:
    pixels = images.images[:]
    return pixels[:, 0].numpy(), images.labels.numpy()


def _keep(path: Path, pixels: np.ndarray, labels: np.ndarray, label_names: list[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        buffer = io.BytesIO()
        np.savez(buffer, images=pixels, labels=labels, label_names=np.array(label_names))
        temporary = path.with_suffix(".part")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    return str(path)


def _cifar10_batch(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 32, 32, 3]`` and labels of a file of CIFAR-10, or of the same in sprites of 1,000 images."""
    whole, sprites = root / "cifar-10-batches-py" / name, root / "cifar10-webp"
    if whole.is_file():
        content = whole.read_bytes()
    elif (sprites / f"{name}.head").is_file():
        parts = [(sprites / f"{name}.head").read_bytes()]
        for number in range(10):
            with Image.open(sprites / f"{name}_{number}.webp") as sprite:
                tiles = np.asarray(sprite).reshape(20, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3)
            parts.append(tiles.tobytes())
        content = b"".join([*parts, b"tbu."])  # a pickle's last words: the array is whole, and so is the dictionary
    else:
        raise ConfigError(
            f"there is neither cifar-10-batches-py/{name} nor cifar10-webp in {str(root)!r}: name the folder that "
            "holds one of them by --root or TWIST_DATA"
        )
    batch = _Plain(io.BytesIO(content), encoding="latin1").load()
    pixels = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), np.array(batch["labels"], np.int64)


class _Plain(pickle.Unpickler):
    """Reads numpy arrays and plain values, and runs no other code of the file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.removeprefix("numpy.").replace("_core", "core"), name) == ("core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise ConfigError(f"the file of CIFAR-10 asks for {module}.{name}: it is damaged or no such file")


# ---------------------------------------------------------------------------------------------------------------------
# The sets

# Chosen in short trials on the first 50,000 training images, asked about the last 10,000 of them (LOG.md).
_FASHION = {
    "views.crop_scale": (0.6, 1.0),
    "network.widths": (16, 32, 64),
    "network.pool_side": 4,
    "network.hidden_dim": 256,
    "network.num_classes": 10,
    "network.num_heads": 4,
    "objective.temperature": 1.0,
    "optim.epochs": 2,
    "optim.batch_size": 128,
    "optim.warmup_epochs": 0.25,
    "record.snapshot_every_epochs": 1,
    "record.checkpoint_every_epochs": 1,
}

# Written from what cifar10_tiny taught on a CPU; never run on a GPU, so nothing of it is known. One thing is asked of
# each: many classes for features, ten of them with several heads for the labels' own groups.
_GPU = {
    "views.crop_scale": (0.3, 1.0),
    "views.mean": (0.491, 0.482, 0.447),
    "views.std": (0.247, 0.244, 0.262),
    "objective.temperature": 1.0,
    "objective.consistency_weight": 0.9,
    "optim.batch_size": 512,
    "optim.epochs": 400,
    "record.log_every_steps": 50,
    "record.diagnose_every_steps": 500,
    "record.snapshot_every_epochs": 20,
    "record.checkpoint_every_epochs": 20,
    "record.keep_checkpoints": 20,
    "record.watch_images": 2000,
}
_GPU_SAID = (
    "The 50,000 training images are learned from, without labels, and known to the protocols; the 10,000 test images "
    "are asked about the last epoch; accuracies of earlier checkpoints chose nothing."
)

SETS = {
    "digits": ResultSet(
        "Digits",
        "digits",
        {},
        "1,438 of the 1,797 digits are learned from, without labels, and known to the protocols; the other 359, a "
        "fifth of each label, are asked.",
        _digits,
    ),
    "fashion-mnist": ResultSet(
        "Fashion-MNIST",
        "fashion_mnist",
        _FASHION,
        "The 60,000 training images are learned from, without labels, and known to the protocols; the 10,000 test "
        "images are asked.",
        _fashion_mnist,
    ),
    "cifar10-6000": ResultSet(
        "CIFAR-10, 6,000 images",
        "cifar10_tiny",
        {
            "optim.epochs": 40,
            "optim.warmup_epochs": 2.5,
            "record.snapshot_every_epochs": 10,
            "record.checkpoint_every_epochs": 10,
        },
        "The first 5,000 training images are learned from, without labels, and known to the protocols; the first 1,000 "
        "test images are asked.",
        _cifar10_6000,
    ),
    "cifar10": ResultSet(
        "CIFAR-10, all 60,000 images",
        "cifar10_tiny",
        {},
        "The 50,000 training images are learned from, without labels, and known to the protocols; the 10,000 test "
        "images are asked.",
        _cifar10_whole,
    ),
    "cifar10-gpu": ResultSet(
        "CIFAR-10, ResNet-18, one GPU",
        "cifar10",
        {**_GPU, "network.num_classes": 512},
        _GPU_SAID,
        _cifar10_whole,
        (("kNN, k = 20", 88.4, 91.4), ("linear", 89.5, 93.2)),
        (90.0, 30.0, 10.0),
    ),
    "cifar10-gpu-classes": ResultSet(
        "CIFAR-10, ResNet-18 with ten classes, one GPU",
        "cifar10",
        {**_GPU, "network.num_classes": 10, "network.num_heads": 4},
        _GPU_SAID,
        _cifar10_whole,
        (("own classes, matched", 81.6, 91.8),),
    ),
}
