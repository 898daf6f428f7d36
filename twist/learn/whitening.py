"""The first layer of a network that has one to whiten, computed from the images that a run learns from."""

from __future__ import annotations

import torch

from twist.learn.datasets import ImageSet
from twist.learn.fast_conv import FastConv
from twist.learn.networks import TwistNet
from twist.learn.pixels import apply_parameters
from twist.learn.view_parameters import sample_parameters
from twist.runs.config import Recipe

_IMAGES = 2048


def whiten_first_layer(network: TwistNet, images: ImageSet, recipe: Recipe) -> None:
    """Fill the whitening layer of `FastConv` from first views of evenly spread images; other networks stay as they are.

    Of views and not of plain images, as patches of an enlarged crop are smoother. A pure function of images and recipe:
    every process of a run, and every attempt, gets the same filters; a checkpoint stores them as weights.
    """
    backbone = network.backbone
    if not isinstance(backbone, FastConv) or not backbone.whitening:
        return
    chosen = torch.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().long()
    pixels, ids = images.images[chosen], images.sample_ids[chosen]
    drawn = sample_parameters(
        ids, (pixels.shape[1], pixels.shape[2], pixels.shape[3]), recipe.views, seed=recipe.seed, epoch=0, view=0
    )
    backbone.whiten(apply_parameters(pixels, drawn, recipe.views))
