"""Training as lightly's examples write it: its transform, its loss, a DataLoader, a LightningModule and a Trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as lightning
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


class Module(lightning.LightningModule):
    """The same net as ours with the same optimizer, and the contrastive loss of the examples."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer):
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.criterion = NTXentLoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        (first, second), _ = batch
        loss = self.criterion(self.network(first).logits, self.network(second).logits)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer that was given."""
        return self.optimizer


class _Tell(lightning.Callback):
    def __init__(self, before_step: Callable[[], None]):
        self.before_step = before_step

    def on_train_batch_start(self, *_: Any) -> None:
        self.before_step()


def loop(
    arrays: Sequence[np.ndarray], recipe: Recipe, module: Module, workers: int
) -> Callable[[Callable[[], None]], None]:
    """Lightly's training without end, for `benchmarks.speed.pace.Paced`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    gpu = torch.cuda.is_available()
    loader = DataLoader(
        Pictures(arrays, recipe),
        batch_size=recipe.optim.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=("forkserver" if gpu else "fork") if workers else None,
    )

    def run(before_step: Callable[[], None]) -> None:
        trainer = lightning.Trainer(
            max_epochs=-1,
            accelerator="gpu" if gpu else "cpu",
            devices=1,
            precision="bf16-mixed" if gpu else "32-true",
            callbacks=[_Tell(before_step)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)

    return run
