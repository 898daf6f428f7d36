"""A backbone with one linear layer that names labels, and how often it is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from twist.learn import compute
from twist.learn.evaluation.sets import LabeledSet
from twist.learn.pixels import apply_parameters
from twist.learn.view_parameters import sample_parameters
from twist.runs.config import ConfigError, ViewsConfig

Prepare = Callable[[Tensor], Tensor]
Said = Callable[[int, int], object]
_ASKED = 500  # images that are asked about at a time


class Right(NamedTuple):
    """How often labels were named right, 0 to 1.

    Attributes
    ----------
    accuracy
        Share of the images.
    mean_label_accuracy
        Mean over the labels of the share of their images: a rare label counts as much as a frequent one.
    """

    accuracy: float
    mean_label_accuracy: float


class Classifier(nn.Module):
    """A backbone and a new linear layer on its features: weights normal with deviation 0.01, biases 0.

    Parameters
    ----------
    backbone
        Views -> features ``[N, D]``; used as it is, not copied.
    feature_dim
        Width of its features, D.
    num_labels
        Number of labels.
    seed
        Seed of the layer; the global random state is left as it was.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, num_labels: int, *, seed: int):
        super().__init__()
        self.backbone = backbone
        self.layer = nn.Linear(feature_dim, num_labels)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.layer.weight.normal_(0, 0.01, generator=generator)
            self.layer.bias.zero_()

    def forward(self, views: Float[Tensor, "N ch H W"]) -> Float[Tensor, "N K"]:
        """Logits of the labels, float32."""
        return self.layer(self.backbone(views)).float()


@torch.no_grad()
def how_often_right(net: nn.Module, images: LabeledSet, prepare: Prepare, device: torch.device) -> Right:
    """Accuracies of a classifier, in evaluation mode, on views that nothing was changed in.

    Parameters
    ----------
    net
        Views -> logits; left in evaluation mode.
    images
        Those without a label, below 0, are not asked.
    prepare
        Images, uint8 -> views.
    device
        Where the network is.
    """
    net.eval()
    asked = (images.labels >= 0).nonzero()[:, 0]
    found = []
    for rows in asked.split(_ASKED):
        views = prepare(images.images[rows].to(device)).contiguous(memory_format=torch.channels_last)
        with autocast_on(device):
            found.append(net(views).argmax(1).cpu())
    labels = images.labels[asked]
    right = torch.cat(found) == labels
    by_label = [right[labels == label].float().mean() for label in labels.unique()]
    return Right(right.float().mean().item(), torch.stack(by_label).mean().item())


def draw_views(
    images: UInt8[Tensor, "N ch H W"], sample_ids: Tensor, views: ViewsConfig, *, seed: int, epoch: int
) -> Float[Tensor, "N ch S S"]:
    """One augmented view of every image, as the first global view of a run is drawn."""
    shape = (images.shape[1], images.shape[2], images.shape[3])
    drawn = sample_parameters(sample_ids, shape, views, seed=seed, epoch=epoch, view=0)
    return apply_parameters(images, drawn, views).contiguous(memory_format=torch.channels_last)


def autocast_on(device: torch.device) -> torch.autocast:
    """Arithmetic in bfloat16 on a GPU that computes in it, else as it is written."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return compute.autocast(device, torch.bfloat16 if fast else torch.float32)


def check_loss(loss: Tensor, step: int, fix: str) -> float:
    """The loss as a number.

    Raises
    ------
    ConfigError
        When it is not finite.
    """
    value = loss.item()
    if not torch.isfinite(loss):
        raise ConfigError(f"the loss of the labels became {value} at step {step}: {fix}")
    return value
