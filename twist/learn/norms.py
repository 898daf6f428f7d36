"""Batch norms whose statistics are taken over more rows than a process holds, or fewer."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from twist.learn import distributed


class SyncNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics are those of the joined rows of all processes, on any device.

    Torch's own refuses CPU tensors. Parameters, buffers and their names are those of `torch.nn.BatchNorm2d`; rows may
    have any number of axes after the channels, and the processes different numbers of rows. Without a process group it
    is a plain batch norm.

    Parameters
    ----------
    num_features
        Channels.
    group
        Processes whose rows are joined; none means all.
    eps, momentum, affine
        As in `torch.nn.BatchNorm2d`.
    """

    def __init__(
        self,
        num_features: int,
        *,
        group: dist.ProcessGroup | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ):
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine)
        self.group = group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"rows have shape {tuple(input.shape)}: give [rows, channels, …]")

    def forward(self, input: Float[Tensor, "R channels *axes"]) -> Float[Tensor, "R channels *axes"]:
        """Rows of channel mean 0 and variance 1 over the processes, then scale and shift."""
        if not self.training or distributed.world_size(self.group) == 1:
            return self._of_this_process(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        # Each process's own mean and centred squares, joined by their counts: no difference of large squares.
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        own_mean = wide.mean(axes)
        own_squares = (wide - _along(own_mean, wide)).square().sum(axes)
        everyone = distributed.stack(torch.cat([own_mean, own_squares, count]), self.group)
        means, squares, counts = everyone.split([self.num_features, self.num_features, 1], 1)
        total = counts.sum()
        joined = (counts * means).sum(0) / total
        variance = (squares + counts * (means - joined).square()).sum(0) / total
        self._keep(joined.detach(), variance.detach(), total.detach())
        rows = (wide - _along(joined, wide)) * _along((variance + self.eps).rsqrt(), wide)
        if self.affine:
            rows = rows * _along(self.weight, wide) + _along(self.bias, wide)
        return rows.to(input.dtype)

    def _of_this_process(self, input: Tensor) -> Tensor:
        return super().forward(input)

    def _keep(self, joined: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(joined.to(self.running_mean), share)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


class BunchNorm(SyncNorm):
    """Batch norm without scale and shift, over bunches of images: the authors' norm before the softmax.

    A bunch is a fixed number of images with all their views. It may be the batches of several processes of a group, or
    a part of one process's batch: 2,048 images on one device are then normed as on eight of 256.

    Parameters
    ----------
    num_features
        Channels, that is classes.
    bunch_size
        Images of a bunch; none takes all of this process's, or of the group's.
    group
        Processes whose batches together are one bunch; none means this process alone.

    Notes
    -----
    With several bunches in a process the running statistics are those of the mean bunch. In evaluation it is a plain
    batch norm. Source: method section 2.4.
    """

    def __init__(self, num_features: int, *, bunch_size: int | None = None, group: dist.ProcessGroup | None = None):
        super().__init__(num_features, group=group, affine=False)
        self.bunch_size = bunch_size

    def forward(self, input: Float[Tensor, "R channels"], num_views: int = 1) -> Float[Tensor, "R channels"]:
        """Logits of channel mean 0 and variance 1 in every bunch; rows view-major, all views of one number of images.

        Raises
        ------
        ValueError
            When the images of a batch are no whole number of bunches.
        """
        if self.training and self.group is not None:
            return super().forward(input)
        if not self.training:
            return self._of_this_process(input)
        images = len(input) // num_views
        size = images if self.bunch_size is None else min(self.bunch_size, images)
        if images % size:
            raise ValueError(
                f"a batch of {images} images is no whole number of bunches of {size}: "
                "give a network.bunch_size that divides optim.batch_size"
            )
        return self._of_this_process(input) if size == images else self._of_bunches(input, num_views, size)

    def _of_bunches(self, input: Tensor, num_views: int, size: int) -> Tensor:
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        bunches = wide.view(num_views, -1, size, self.num_features)
        variance, center = torch.var_mean(bunches, (0, 2), correction=0, keepdim=True)
        rows = num_views * size
        self._keep(center.detach().mean((0, 1, 2)), variance.detach().mean((0, 1, 2)), variance.new_tensor(rows))
        return ((bunches - center) * (variance + self.eps).rsqrt()).view_as(wide).to(input.dtype)


def _along(values: Tensor, rows: Tensor) -> Tensor:
    """Values of the channels, shaped to meet rows ``[R, channels, …]``."""
    return values.view(1, -1, *[1] * (rows.ndim - 2))


def synchronize_norms(module: nn.Module, group: dist.ProcessGroup | None = None) -> nn.Module:
    """The module with every batch norm replaced by a `SyncNorm` of the same weights; the module itself is changed.

    Raises
    ------
    ValueError
        For a norm that does more than norm, such as timm's with an activation inside.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SyncNorm):
            if type(child) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                raise ValueError(
                    f"{name} is a {type(child).__name__}, which cannot be synchronized: set network.sync_norm=false"
                )
            joined = SyncNorm(
                child.num_features, group=group, eps=child.eps, momentum=child.momentum, affine=child.affine
            )
            # The very same tensors: an optimizer may hold them already, and some may be frozen.
            for store in ("_parameters", "_buffers"):
                getattr(joined, store).update(getattr(child, store))
            setattr(module, name, joined.train(child.training))
        else:
            synchronize_norms(child, group)
    return module


def share_norms(network: nn.Module, *, batch_size: int, bunch_size: int | None, sync: bool) -> nn.Module:
    """Prepare a network for training in several processes; without a process group nothing changes.

    Parameters
    ----------
    network
        Changed in place, and returned.
    batch_size
        Images of this process's batch.
    bunch_size
        Images whose views share the statistics of the norm before the softmax; none means a process's own.
    sync
        Whether all other batch norms see the rows of all processes.

    Raises
    ------
    ValueError
        When a bunch is larger than a process's batch and no whole number of them, or the processes are no whole number
        of bunches.
    """
    world = distributed.world_size()
    if world == 1:
        return network
    if bunch_size is not None and bunch_size > batch_size:
        processes = bunch_size // batch_size
        if bunch_size % batch_size or world % processes:
            raise ValueError(
                f"bunches of {bunch_size} images from {world} processes of {batch_size}: give a network.bunch_size "
                "that is a whole number of their batches, and of which the joined batch is a whole number"
            )
        group = _my_group(processes)
        for module in network.modules():
            if isinstance(module, BunchNorm):
                module.group = group
    return synchronize_norms(network) if sync else network


def _my_group(size: int) -> dist.ProcessGroup:
    """The group of so many consecutive processes that this one is in; every process makes all groups, in order."""
    starts = range(0, distributed.world_size(), size)
    groups = [dist.new_group(list(range(start, start + size))) for start in starts]
    mine = groups[distributed.rank() // size]
    assert isinstance(mine, dist.ProcessGroup)  # this process is in it
    return mine
