"""Backbone and projection head in one: images -> features -> logits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twist.learn.backbones import VISION_TRANSFORMERS, build_backbone, draw_truncated
from twist.learn.norms import BunchNorm, SyncNorm
from twist.runs.config import NetworkConfig


class Outputs(NamedTuple):
    """What the network says of its rows, view-major when several views went in.

    Attributes
    ----------
    features
        ``[R, D]``, the backbone's output.
    logits
        ``[R, C]``, the head's output, not yet divided by the temperature.
    """

    features: Float[Tensor, "R D"]
    logits: Float[Tensor, "R C"]


class HeadOutputs(NamedTuple):
    """What a head says of its rows.

    Attributes
    ----------
    logits
        ``[R, C]``, not yet divided by the temperature.
    before_norm
        ``[R, C]``, what the final norm saw, without gradient: its spread tells of a collapse that the norm hides.
    """

    logits: Float[Tensor, "R C"]
    before_norm: Float[Tensor, "R C"]


class ProjectionHead(nn.Module):
    """Three linear layers and the final norm: features -> logits.

    Parameters
    ----------
    feature_dim, hidden_dim, num_classes
        Widths of input, both hidden layers, and output.
    head_norm
        Norm of the hidden layers: batch, layer or none.
    activation
        relu or gelu.
    dropout
        Dropout probability after the first hidden layer.
    final_norm
        Norm of the logits, without learned scale: batch, sync (over all processes) or none.
    bunch_size
        Images whose views share the statistics of the batch norm; none means all of a batch.

    Notes
    -----
    The final norm gives every class mean 0 and variance 1 over the batch, so no class can be favored for all images
    and images must differ. In evaluation it uses running statistics. Names of parameters are those of the authors.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_dim: int,
        num_classes: int,
        *,
        head_norm: str = "batch",
        activation: str = "relu",
        dropout: int | float = 0.0,
        final_norm: str = "batch",
        bunch_size: int | None = None,
    ):
        super().__init__()
        self.projection_head = nn.Sequential(
            nn.Linear(feature_dim, hidden_dim),
            _head_norm(head_norm, hidden_dim),
            _activation(activation),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            _head_norm(head_norm, hidden_dim),
            _activation(activation),
        )
        self.last_linear = nn.Linear(hidden_dim, num_classes)
        self.norm = _final_norm(final_norm, num_classes, bunch_size)

    def forward(self, features: Float[Tensor, "R D"], num_views: int = 1) -> HeadOutputs:
        """Logits of feature rows, view-major; in training the norms see all of them together, or bunch by bunch."""
        rows = self.last_linear(self.projection_head(features))
        logits = self.norm(rows, num_views) if isinstance(self.norm, BunchNorm) else self.norm(rows)
        return HeadOutputs(logits, rows.detach())


def _head_norm(name: str, width: int) -> nn.Module:
    return {"batch": nn.BatchNorm1d(width), "layer": nn.LayerNorm(width, eps=1e-6), "none": nn.Identity()}[name]


def _activation(name: str) -> nn.Module:
    return {"relu": nn.ReLU(inplace=True), "gelu": nn.GELU()}[name]


def _final_norm(name: str, width: int, bunch_size: int | None) -> nn.Module:
    if name == "none":
        return nn.Identity()
    return SyncNorm(width, affine=False) if name == "sync" else BunchNorm(width, bunch_size=bunch_size)


class TwistNet(nn.Module):
    """Backbone and head in one; its state dict reads ``backbone.*`` and ``projection_heads.*`` as the authors'.

    Parameters
    ----------
    backbone
        Images -> features.
    head
        Features -> logits.
    more_heads
        Heads that are trained beside it on the same features. The one of least loss, as `note_losses` is told, speaks
        for the network. With few classes a single head may settle where two groups share a class; several heads seldom
        all do, and their losses, which need no labels, tell.

    Examples
    --------
    >>> net = build_network(NetworkConfig(num_classes=5), in_channels=1, seed=0)
    >>> features, logits = net([torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)])
    >>> logits.shape
    torch.Size([6, 5])
    """

    losses: Float[Tensor, " heads"]

    def __init__(self, backbone: nn.Module, head: nn.Module, more_heads: Sequence[nn.Module] = ()):
        super().__init__()
        self.backbone = backbone
        self.projection_heads = head
        self.more_heads = nn.ModuleList(more_heads)
        if more_heads:
            self.register_buffer("losses", torch.zeros(1 + len(more_heads)))

    @property
    def speaking_head(self) -> int:
        """Index of the head of least loss, the one that `forward` asks."""
        return int(self.losses.argmin()) if self.more_heads else 0

    @torch.no_grad()
    def note_losses(self, losses: Float[Tensor, " heads"]) -> None:
        """Keep a running mean of every head's loss, over about a hundred steps."""
        if self.more_heads:
            self.losses.lerp_(losses.to(self.losses), 0.01)

    def forward(self, views: Tensor | Sequence[Tensor]) -> Outputs:
        """Features and logits of one view, or of several, first view's rows first.

        Parameters
        ----------
        views
            Images ``[N, channels, H, W]``, or a sequence of such. Neighbors of equal size go through the backbone in
            one call, so its norms see each resolution by itself; the head runs once on all rows.
        """
        features = self.features(views)
        heads = [self.projection_heads, *self.more_heads]
        num_views = 1 if isinstance(views, Tensor) else len(views)
        return Outputs(features, heads[self.speaking_head](features, num_views).logits)

    def forward_heads(self, views: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features of several views, and the logits of every head, for training."""
        features, heads = self.ask_heads(views)
        return features, [head.logits for head in heads]

    def ask_heads(self, views: Sequence[Tensor]) -> tuple[Tensor, list[HeadOutputs]]:
        """Features of several views, and all that every head says of them."""
        features = self.features(views)
        return features, [head(features, len(views)) for head in (self.projection_heads, *self.more_heads)]

    def features(self, views: Tensor | Sequence[Tensor]) -> Float[Tensor, "R D"]:
        """Features of one view, or of several."""
        if isinstance(views, Tensor):
            return self.backbone(views)
        groups = itertools.groupby(views, key=lambda view: view.shape[2:])
        joined = [torch.cat(list(group)).contiguous(memory_format=torch.channels_last) for _, group in groups]
        return torch.cat([self.backbone(images) for images in joined])


def build_network(
    config: NetworkConfig, in_channels: int, *, seed: int, image_size: int = 32, run_folder: Path | None = None
) -> TwistNet:
    """The network of a recipe with fresh weights, the same for the same seed.

    Weights are drawn on the CPU, so they are the same for every device; the global random state is left as it was.

    Parameters
    ----------
    config
        Backbone and head.
    in_channels
        Channels of the images, 1 or 3.
    seed
        Seed of the weights.
    image_size
        Side of a global view in pixels, on whose grid of patches a vision transformer learns its positions.
    run_folder
        Folder of the run, which keeps a person's own backbone.

    Raises
    ------
    ValueError
        When the images have neither 1 nor 3 channels.
    ConfigError
        When the backbone cannot be had, see `build_backbone`.
    """
    if in_channels not in (1, 3):
        raise ValueError(f"the images have {in_channels} channels: give gray (1) or color (3) images")
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the GPUs as well, which fork_rng does not restore here.
        torch.default_generator.manual_seed(seed)
        backbone, feature_dim = build_backbone(config, in_channels, image_size=image_size, run_folder=run_folder)
        head, *more_heads = [
            ProjectionHead(
                feature_dim,
                config.hidden_dim,
                config.num_classes,
                head_norm=config.head_norm,
                activation=config.activation,
                dropout=config.dropout,
                final_norm=config.final_norm,
                bunch_size=config.bunch_size,
            )
            for _ in range(config.num_heads)
        ]
        if config.head_init == "truncated" or (config.head_init == "auto" and config.backbone in VISION_TRANSFORMERS):
            for each in (head, *more_heads):
                each.apply(draw_truncated)
    return TwistNet(backbone, head, more_heads)
