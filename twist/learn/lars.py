"""LARS: momentum SGD in which every weight tensor moves by a fixed share of its own norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
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
        steps = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        scale = torch.full_like(norms, group["lr"])
        if group["adapt"]:
            sizes = torch.stack(torch._foreach_norm(weights))
            resistance = norms + group["weight_decay"] * sizes
            scale = scale * group["trust"] * sizes / torch.where(resistance > 0, resistance, 1.0)
        steps = list(torch._foreach_mul(steps, list(scale.unbind())))
        if group["momentum"]:
            steps = self._with_momentum(weights, steps, finite, group)
        for weight, step, sound in zip(weights, steps, finite.unbind(), strict=True):
            weight.sub_(torch.where(sound, step, 0.0))

    def _with_momentum(
        self, weights: list[Tensor], steps: list[Tensor], finite: Tensor, group: dict[str, Any]
    ) -> list[Tensor]:
        moved = []
        for weight, step, sound in zip(weights, steps, finite.unbind(), strict=True):
            state = self.state[weight]
            step = torch.where(sound, step, 0.0)
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = step.clone(memory_format=torch.preserve_format)
            else:
                kept = group["momentum"] * state["momentum_buffer"] + (1 - group["dampening"]) * step
                state["momentum_buffer"].copy_(torch.where(sound, kept, state["momentum_buffer"]))
            buffer = state["momentum_buffer"]
            moved.append(step + group["momentum"] * buffer if group["nesterov"] else buffer)
        return moved
