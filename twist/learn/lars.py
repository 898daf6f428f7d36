"""LARS: momentum SGD in which every weight tensor moves by a fixed share of its own norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from twist.learn.uncompiled import Uncompiled


class LARS(Uncompiled, torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, for batches of thousands.

    A tensor's step is ``learning rate x trust x |w| / (|g| + decay |w|)`` times its gradient with decay, put into a
    momentum buffer. Groups with ``adapt=False`` (biases, norms) take plain momentum steps.

    Parameters
    ----------
    params
        Tensors or groups, as in `torch.optim.SGD`; a group may set ``adapt``.
    lr
        Learning rate; it is inside the buffer, so changing it does not rescale what has been gathered.
    momentum, dampening, nesterov, weight_decay
        As in `torch.optim.SGD`.
    trust
        Share of its norm by which a weight tensor may move at learning rate 1.
    adapt
        Whether steps follow the norm of the weights.

    Notes
    -----
    A tensor of zeros does not move, as with the authors; with a gradient of zeros as well their code divides by zero,
    this one stays put. A gradient that is not finite leaves its tensor and buffer as they were. Nothing waits for the
    device.

    References
    ----------
    arXiv 1708.03888; method section 5.2.

    Examples
    --------
    >>> w = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    >>> w.grad = torch.tensor([[0.0, 100.0]])
    >>> LARS([w], lr=1.0, trust=0.1).step()  # moves by a tenth of its norm 5, whatever the gradient's size
    >>> w.data
    tensor([[3.0000, 3.5000]])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: int | float,
        *,
        momentum: int | float = 0.9,
        dampening: int | float = 0.0,
        nesterov: bool = False,
        weight_decay: int | float = 0.0,
        trust: int | float = 0.001,
        adapt: bool = True,
    ):
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"nesterov with momentum {momentum}, dampening {dampening}: give momentum, no dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "nesterov": nesterov,
                "weight_decay": weight_decay,
                "trust": trust,
                "adapt": adapt,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(weights, group)
        return loss

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        finite = norms.isfinite()
        scale = torch.full_like(norms, group["lr"])
        if group["adapt"]:
            sizes = torch.stack(torch._foreach_norm(weights))
            resistance = norms + group["weight_decay"] * sizes
            scale = scale * group["trust"] * sizes / torch.where(resistance > 0, resistance, 1.0)
        steps = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(steps, list(scale.unbind()))
        steps = [torch.where(sound, step, 0.0) for sound, step in zip(finite.unbind(), steps, strict=True)]
        if group["momentum"]:
            steps = self._with_momentum(weights, steps, norms, group)
            steps = [torch.where(sound, step, 0.0) for sound, step in zip(finite.unbind(), steps, strict=True)]
        torch._foreach_sub_(weights, steps)

    def _with_momentum(
        self, weights: list[Tensor], steps: list[Tensor], norms: Tensor, group: dict[str, Any]
    ) -> list[Tensor]:
        known = [index for index, weight in enumerate(weights) if "momentum_buffer" in self.state[weight]]
        for index in set(range(len(weights))).difference(known):
            buffer = steps[index].clone(memory_format=torch.preserve_format)
            self.state[weights[index]]["momentum_buffer"] = buffer
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        if known:
            # Where a gradient was no number the step is 0, and the buffer keeps all of itself.
            kept = torch.ones_like(norms).masked_fill_(norms.isfinite(), group["momentum"]).unbind()
            old = [buffers[index] for index in known]
            torch._foreach_mul_(old, [kept[index] for index in known])
            torch._foreach_add_(old, [steps[index] for index in known], alpha=1 - group["dampening"])
        return list(torch._foreach_add(steps, buffers, alpha=group["momentum"])) if group["nesterov"] else buffers
