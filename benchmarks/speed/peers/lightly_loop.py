"""Training as lightly's examples in plain PyTorch write it: its transform, its loss, a DataLoader, a loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from twist.runs.config import Recipe

EPOCH = 1000  # batches: the end of an epoch, where workers idle, is not what is measured


class Pictures(Dataset):
    """Pictures, over and over, and the views that lightly's transform makes of them."""

    def __init__(self, arrays: Sequence[np.ndarray], recipe: Recipe):
        views = recipe.views
        strength = {"cj_bright": views.brightness, "cj_contrast": views.contrast, "cj_sat": views.saturation}
        mean, std = (list(numbers * 3) for numbers in (views.mean, views.std))
        self.arrays, self.batch_size = arrays, recipe.optim.batch_size
        self.transform = SimCLRTransform(
            input_size=views.size,
            cj_hue=views.hue,
            cj_prob=views.jitter_probability,
            min_scale=views.crop_scale[0],
            random_gray_scale=views.gray_probability,
            gaussian_blur=views.blur_probability[0],
            normalize={"mean": mean, "std": std},
            **strength,
        )

    def __len__(self) -> int:
        return EPOCH * self.batch_size

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        """The two views of a picture, and a label that nobody asks for."""
        return self.transform(Image.fromarray(self.arrays[index % len(self.arrays)])), 0


class Training:
    """The loop of lightly's examples in plain PyTorch: their DataLoader, the same net and optimizer, their loss.

    Parameters
    ----------
    arrays
        Pictures, ``[H, W, 3]`` each.
    recipe
        Its batch size, and views as far as lightly's transform has them.
    network, optimizer
        The same as ours.
    workers
        Processes that load.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        recipe: Recipe,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        workers: int,
    ):
        self.network, self.optimizer, self.criterion = network, optimizer, NTXentLoss()
        self.device = next(network.parameters()).device
        self.loader = DataLoader(
            Pictures(arrays, recipe),
            batch_size=recipe.optim.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=("forkserver" if self.device.type == "cuda" else "fork") if workers else None,
        )
        self.batches: Iterator[Any] = iter(self.loader)

    def advance(self, steps: int = 1) -> int:
        """Take the next steps."""
        for _ in range(steps):
            (first, second), _ = next(self.batches)
            first, second = (view.to(self.device, non_blocking=True) for view in (first, second))
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                logits = self.network(first).logits, self.network(second).logits
            loss = self.criterion(*logits)
            loss.backward()
            self.optimizer.step()
        return steps

    def close(self) -> None:
        """End its workers."""
        del self.batches, self.loader
