"""Views as most code makes them: Pillow and torchvision, image by image, in the worker processes of a DataLoader."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from twist.runs.config import ViewsConfig

Transform = Callable[[Image.Image], Tensor]


class Blur:
    """Pillow's Gaussian blur with a radius of its own for each image."""

    def __init__(self, sigma: tuple[float, float]):
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image, blurred."""
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigma)))


def transform_of(config: ViewsConfig, view: int) -> Transform:
    """The transform of one view of a recipe; of the local ones too."""
    local = view >= 2
    size, scale = (config.local_size, config.local_crop_scale) if local else (config.size, config.crop_scale)
    blur = config.local_blur_probability if local else config.blur_probability[view]
    solarize = 0.0 if local else config.solarize_probability[view]
    jitter = transforms.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    steps: list[Any] = [
        transforms.RandomResizedCrop(
            size, scale, config.crop_ratio, interpolation=transforms.InterpolationMode.BICUBIC
        ),
        transforms.RandomHorizontalFlip(config.flip_probability),
        transforms.RandomApply([jitter], config.jitter_probability),
        transforms.RandomGrayscale(config.gray_probability),
    ]
    if blur:
        steps.append(transforms.RandomApply([Blur(config.blur_sigma)], blur))
    if solarize:
        steps.append(transforms.RandomApply([ImageOps.solarize], solarize))
    steps += [transforms.ToTensor(), transforms.Normalize(config.mean * 3, config.std * 3)]
    return transforms.Compose(steps)


class Views(Dataset):
    """All views of each picture: pixels ``[H, W, 3]``, or the bytes of a JPEG file, decoded once for all of them."""

    def __init__(self, pictures: Sequence[Any], config: ViewsConfig):
        self.pictures = pictures
        self.transforms = [transform_of(config, view) for view in range(2 + config.num_local_views)]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> list[Tensor]:
        """The views of one picture."""
        picture = self.pictures[index]
        if isinstance(picture, bytes):
            image = Image.open(io.BytesIO(picture)).convert("RGB")
        else:
            image = Image.fromarray(picture)
        return [transform(image) for transform in self.transforms]


class Fed:
    """An endless stream of batches; begun anew for each turn, and warm before its clock starts.

    Parameters
    ----------
    dataset
        What the batches are made of.
    batch_size
        Samples in each.
    workers
        Worker processes; 0 makes the batches here.
    """

    def __init__(self, dataset: Dataset, batch_size: int, workers: int):
        self.workers = workers
        self.batch_size = batch_size
        self.loader: DataLoader = DataLoader(
            _Endless(dataset), batch_size, num_workers=workers, drop_last=True, multiprocessing_context=_start(workers)
        )
        self.batches: Iterator[Any] | None = None

    def enter(self) -> None:
        """Start the workers, and take what they had time to prepare."""
        self.batches = iter(self.loader)
        for _ in range(1 + 2 * self.workers):  # a worker prepares two batches ahead
            next(self.batches)

    def next(self) -> Any:
        """The next batch."""
        assert self.batches is not None, "enter first"
        return next(self.batches)

    def leave(self) -> None:
        """Stop the workers."""
        self.batches = None


class _Endless(Dataset):
    """A dataset that begins again when it is over."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index % len(self.dataset)]  # type: ignore[arg-type]


def _start(workers: int) -> str | None:
    # A process that uses a GPU must not be forked; elsewhere forking saves the workers the import of torch.
    return ("forkserver" if torch.cuda.is_available() else "fork") if workers else None
