"""The views of every step, made where the network is; on CUDA while the step before is still under way."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from twist.learn.datasets import ImageSet
from twist.learn.random import permutation
from twist.learn.schedules import values_at
from twist.learn.views import ExtraAugmentation, make_views
from twist.runs.config import Recipe, ViewsConfig

RESIDENT_BYTES = 4 * 2**30


class Feed:
    """Views of the batch of any step: a pure function of the recipe, the images and the step.

    Parameters
    ----------
    images
        What is learned from; a set that fits is kept on the device.
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
    On CUDA, `prepare` makes the views of a later step on a stream of its own, beside the network's work.
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
        self._pixels, self._sample_ids = images.images, images.sample_ids
        if self._pixels.nbytes <= RESIDENT_BYTES:
            self._pixels, self._sample_ids = self._pixels.to(device), self._sample_ids.to(device)
        # A pure function of the epoch, asked for at every step.
        self._order: Callable[..., Tensor] = functools.lru_cache(maxsize=1)(permutation)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._prepared: tuple[int, list[Tensor]] | None = None

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
            with torch.cuda.stream(self._stream):
                self._prepared = step, self._make(step)

    def _make(self, step: int) -> list[Tensor]:
        recipe = self.recipe
        epoch, index = divmod(step, self.steps_per_epoch)
        rows = slice(index * recipe.optim.batch_size, (index + 1) * recipe.optim.batch_size)
        order = self._order(len(self._pixels), seed=recipe.seed, epoch=epoch, device=self._pixels.device)
        chosen = order[rows]
        batch, ids = self._pixels[chosen].to(self.device), self._sample_ids[chosen].to(self.device)
        return make_views(batch, ids, self._views_config(step), seed=recipe.seed, epoch=epoch, extra=self.extra)

    def _views_config(self, step: int) -> ViewsConfig:
        """The recipe's views; harder crops in the self-labelling stage."""
        if not values_at(step, self.recipe, self.steps_per_epoch).self_labelling:
            return self.recipe.views
        harder = self.recipe.self_label
        return dataclasses.replace(
            self.recipe.views, crop_scale=harder.crop_scale, local_crop_scale=harder.local_crop_scale
        )
