"""A convolutional network for much accuracy in little time on small color images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

_PATCH_SIDE = 3
# Added to every variance as a share of the mean one, so that directions of little but noise are not blown up.
_DAMPING = 1e-2


class FastConv(nn.Module):
    """A first layer that can whiten patches, then blocks of two 3x3 convolutions, most of the work at small sides.

    The first layer has a filter and its negative for every pixel of a 3x3 patch, so the ReLU after it loses nothing.
    A block is convolution, max pooling by 2, batch norm, ReLU, convolution, batch norm, ReLU. The last maps, averaged
    to a small grid, are the feature vector. Any side of 4 pixels or more will do, so views may grow while training.

    Parameters
    ----------
    in_channels
        Channels of the images.
    widths
        Channels of the blocks.
    stride
        Of the first layer: 1, or 2 for a quarter of the time.
    pool_side
        Side of that grid: with 1 a feature tells what is in the image, with more also where.
    whitening
        Whether the first layer waits for `whiten` and is never trained; else it is drawn and trained like the others.

    Notes
    -----
    After the networks of Keller Jordan's CIFAR-10 speed record (github.com/KellerJordan/cifar10-airbench), which go
    back to David Page's; theirs has 2x2 patches, GELU and no average at the end.

    Examples
    --------
    >>> FastConv(3, (16, 32))(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 32])
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        *,
        stride: int = 1,
        pool_side: int = 1,
        whitening: bool = True,
    ):
        super().__init__()
        filters = 2 * in_channels * _PATCH_SIDE**2
        self.first = nn.Conv2d(in_channels, filters, _PATCH_SIDE, stride, padding=_PATCH_SIDE // 2, bias=False)
        self.first.weight.requires_grad_(not whitening)
        self.blocks = nn.ModuleList(_block(before, after) for before, after in itertools.pairwise((filters, *widths)))
        self.pool_side = pool_side
        self.feature_dim = widths[-1] * pool_side**2

    @property
    def whitening(self) -> bool:
        """Whether the first layer is never trained."""
        return not self.first.weight.requires_grad

    @torch.no_grad()
    def whiten(self, images: Float[Tensor, "N channels H W"]) -> None:
        """Make the first layer's filters those that whiten the 3x3 patches of these images, and their negatives.

        Each filter is a principal direction of the patches divided by its deviation: responses have variance one and
        are uncorrelated, edges count as much as brightness. No label is asked. Damped, so directions of hardly any
        variance answer more weakly.

        Parameters
        ----------
        images
            Normalized as the views; some thousands are plenty.
        """
        variances, directions = torch.linalg.eigh(_covariance_of_patches(images))
        # Whichever sign the linear algebra library gives a direction, the other one is a filter too.
        filters = directions / (variances.clamp(min=0) + _DAMPING * variances.mean() + 1e-12).sqrt()
        half = filters.T.unflatten(1, self.first.weight.shape[1:])
        self.first.weight.copy_(torch.cat([half, -half]))

    def forward(self, images: Float[Tensor, "N channels H W"]) -> Float[Tensor, "N D"]:
        """Features of images of any size."""
        maps = nn.functional.relu(self.first(images))
        for block in self.blocks:
            maps = block(maps)
        return nn.functional.adaptive_avg_pool2d(maps, self.pool_side).flatten(1)


def _covariance_of_patches(images: Tensor) -> Tensor:
    """Of all 3x3 patches, in float64; a few images at a time, as patches take nine times their memory."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for some in images.split(64):
        patches = nn.functional.unfold(some.double(), _PATCH_SIDE).transpose(1, 2).flatten(0, 1)
        count += len(patches)
        total = total + patches.sum(0)
        products = products + patches.T @ patches
    mean = total / count
    return products / count - mean[:, None] * mean


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),  # the norms take away any constant
        nn.MaxPool2d(2, ceil_mode=True),  # never to nothing
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
