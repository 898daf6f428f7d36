"""The views of every step, made where the network is; on CUDA while the step before is still under way."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from twist.learn.batches import Batches
from twist.learn.datasets import ImageSet
from twist.learn.random import permutation
from twist.learn.schedules import values_at
from twist.learn.views import ExtraAugmentation, make_views
from twist.runs.config import Recipe, ViewsConfig


class Feed:
    """Views of the batch of any step: a pure function of the recipe, the images and the step.

    Parameters
    ----------
    images
        What is learned from.
    recipe
        Its views, batch size and seed.
    device
        Where the views are made.
    steps_per_epoch
        Batches in a pass over the images.
    extra
        A person's own last step of the augmentation.

    Notes
    -----
    `close` ends the threads that read images where those do not fit on the device. On CUDA, `prepare` makes the views
    of a later step on a stream of its own, beside the network's work.
    """

    def __init__(
        self,
        images: ImageSet,
        recipe: Recipe,
        device: torch.device,
        *,
        steps_per_epoch: int,
        extra: ExtraAugmentation | None = None,
    ):
        self.recipe, self.device, self.steps_per_epoch, self.extra = recipe, device, steps_per_epoch, extra
        self._num_images = len(images)
        # A pure function of the epoch, asked for at every step; at an epoch's end the next one's is under way.
        self._order: Callable[..., Tensor] = functools.lru_cache(maxsize=2)(permutation)
        num_steps = recipe.total_epochs * steps_per_epoch
        self._batches = Batches(images, self._rows_of, num_steps, device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._prepared: tuple[int, list[Tensor]] | None = None

    def turn(self, recipe: Recipe) -> None:
        """Make views by another recipe from here on, those of the next step included; its batches stay."""
        self.recipe = recipe
        self._prepared = None

    def rows(self, step: int) -> Int64[Tensor, " B"]:
        """Rows of the images in the batch of a step (0 is the first)."""
        return self._rows_of(step)

    def views(self, step: int) -> list[Tensor]:
        """Views of the batch of a step (0 is the first), as `twist.learn.views.make_views` gives them."""
        prepared, self._prepared = self._prepared, None
        if self._stream is None:
            return self._make(step)
        now = torch.cuda.current_stream(self.device)
        now.wait_stream(self._stream)
        if prepared is None or prepared[0] != step:
            return self._make(step)
        for view in prepared[1]:
            view.record_stream(now)  # its memory is not given away while this stream still reads it
        return prepared[1]

    def prepare(self, step: int) -> None:
        """Begin with the views of a step that comes next, where that can happen beside other work."""
        if self._stream is not None:
            if self._prepared is None:
                # What the start left to do on the main stream, the copy of the images above all, comes first.
                self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):
                self._prepared = step, self._make(step)

    def order(self, epoch: int) -> Int64[Tensor, " N"]:
        """Rows of all images in the order in which an epoch (0 is the first) takes them; the last may fill no batch."""
        return self._order(self._num_images, seed=self.recipe.seed, epoch=epoch)

    def close(self) -> None:
        """End what reads images in the background."""
        self._batches.close()

    def _rows_of(self, step: int) -> Tensor:
        epoch, index = divmod(step, self.steps_per_epoch)
        size = self.recipe.optim.batch_size
        return self.order(epoch)[index * size : (index + 1) * size]

    def _make(self, step: int) -> list[Tensor]:
        batch, ids = self._batches.batch(step)
        return make_views(
            batch,
            ids,
            self._views_config(step),
            seed=self.recipe.seed,
            epoch=step // self.steps_per_epoch,
            extra=self.extra,
            compiled=self.recipe.compute.compile != "off",
        )

    def _views_config(self, step: int) -> ViewsConfig:
        """The recipe's views at the side of this step; harder crops in the self-labelling stage."""
        values = values_at(step, self.recipe, self.steps_per_epoch)
        views = dataclasses.replace(self.recipe.views, size=values.view_size)
        if not values.self_labelling:
            return views
        harder = self.recipe.self_label
        return dataclasses.replace(views, crop_scale=harder.crop_scale, local_crop_scale=harder.local_crop_scale)
