"""The image sets that twist knows by name: their sizes, labels and files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NamedSet:
    """A set that twist knows by name.

    Attributes
    ----------
    train, test
        Numbers of images.
    label_names
        Name of each label; empty where a file of the set says them.
    files
        Files under the data root that hold each part, by split; empty for a set that comes with a package. A name that
        ends in ``/`` is a folder of image files, with a folder for each part.
    unlabeled
        Number of images of a further part without labels, which ``all`` leaves out.
    image_size
        Side to which images are brought when none is asked for, where they differ in size; None where they do not.
    """

    train: int
    test: int
    label_names: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    unlabeled: int = 0
    image_size: int | None = None

    def count(self, part: str) -> int:
        """Number of images of a part."""
        return {"train": self.train, "test": self.test, "unlabeled": self.unlabeled}[part]

    def parts(self, split: str) -> tuple[str, ...]:
        """The parts that a split consists of, in order; a set without a test part is whole as ``train`` and ``all``."""
        if split == "all":
            return ("train", "test") if self.test else ("train",)
        return tuple(split.split("+"))


def _idx_files(folder: str) -> dict[str, tuple[str, ...]]:
    return {
        split: (f"{folder}{start}-images-idx3-ubyte", f"{folder}{start}-labels-idx1-ubyte")
        for split, start in (("train", "train"), ("test", "t10k"))
    }


_CIFAR10 = "cifar-10-batches-py/"
_CIFAR100 = "cifar-100-python/"
_STL10 = "stl10_binary/"

# The folders of imagenette in their order, which is that of its labels.
IMAGENETTE_NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}

NAMED_SETS = {
    "digits": NamedSet(1797, 0, tuple("0123456789"), {}),
    "mnist": NamedSet(60_000, 10_000, tuple("0123456789"), _idx_files("MNIST/raw/")),
    "fashion_mnist": NamedSet(
        60_000,
        10_000,
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        _idx_files("FashionMNIST/raw/"),
    ),
    "cifar10": NamedSet(
        50_000,
        10_000,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        {
            "train": (*(f"{_CIFAR10}data_batch_{i}" for i in range(1, 6)), f"{_CIFAR10}batches.meta"),
            "test": (f"{_CIFAR10}test_batch", f"{_CIFAR10}batches.meta"),
        },
    ),
    "cifar100": NamedSet(
        50_000,
        10_000,
        (),
        {"train": (f"{_CIFAR100}train", f"{_CIFAR100}meta"), "test": (f"{_CIFAR100}test", f"{_CIFAR100}meta")},
    ),
    "stl10": NamedSet(
        5_000,
        8_000,
        ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
        {
            "train": (f"{_STL10}train_X.bin", f"{_STL10}train_y.bin"),
            "test": (f"{_STL10}test_X.bin", f"{_STL10}test_y.bin"),
            "unlabeled": (f"{_STL10}unlabeled_X.bin",),
        },
        unlabeled=100_000,
    ),
    "imagenette": NamedSet(
        9_469,
        3_925,
        tuple(IMAGENETTE_NAMES.values()),
        {"train": ("imagenette2-160/",), "test": ("imagenette2-160/",)},
        image_size=160,
    ),
}
