"""Several processes that share one batch: means and gathers over them.

Everything here works without a process group, then meaning this process alone. Reductions are means, so that a number
reads the same on any number of processes, and so that gradients averaged over the processes are those of the joined
batch (method section 1.3: dividing a sum that autograd does not see would shrink them in silence).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size(group: dist.ProcessGroup | None = None) -> int:
    """Number of processes that share the batch; 1 without a process group."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def rank(group: dist.ProcessGroup | None = None) -> int:
    """Number of this process, 0 without a process group."""
    return dist.get_rank(group) if dist.is_available() and dist.is_initialized() else 0


def mean(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Mean of a tensor over the processes, differentiable: its gradient is the mean of theirs."""
    return tensor if world_size(group) == 1 else _Mean.apply(tensor, group)


def gather(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The processes' tensors of equal shape one after another, in order of rank; differentiable."""
    return stack(tensor, group).flatten(0, 1)


def stack(tensor: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The processes' tensors of equal shape along a new first axis, in order of rank; differentiable."""
    return tensor[None] if world_size(group) == 1 else _Stack.apply(tensor, group)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], group: dist.ProcessGroup | None = None) -> None:
    """Put the processes' mean gradient in the place of each one's own; call it between backward and update."""
    if world_size(group) == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        by_type.setdefault(gradient.dtype, []).append(gradient)
    for members in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in members])
        dist.all_reduce(flat, group=group)
        flat /= world_size(group)
        for gradient, part in zip(members, flat.split([gradient.numel() for gradient in members]), strict=True):
            gradient.copy_(part.view_as(gradient))


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return _summed(tensor, group) / world_size(group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0], ctx.group) / world_size(ctx.group), None


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size(group))]
        dist.all_gather(parts, tensor.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0], ctx.group)[rank(ctx.group)], None


def _summed(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total
