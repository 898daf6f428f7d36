"""Torch's optimizers without what torch.compile put around their methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


class Uncompiled:
    """Calls the methods of an optimizer as they were written; put it before the optimizer among the bases.

    Around each of them torch has a wrapper for optimizers that are compiled, which loads the whole compiler when it is
    first called: as long as loading torch itself, before the first step of every run. None is compiled here.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """State and settings."""
        return inspect.unwrap(torch.optim.Optimizer.state_dict)(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and settings."""
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)


class SGD(Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


class AdamW(Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        return inspect.unwrap(torch.optim.AdamW.step)(self, closure)
