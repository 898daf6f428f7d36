"""The end of a run at a number that is none, in words that say what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twist.runs.config import Recipe


class NotFiniteError(ArithmeticError):
    """A loss or a gradient that is not a number: nothing is saved after the step in which it came up."""


def complaint(step: int, numbers: Mapping[str, float], recipe: Recipe) -> str | None:
    """What is wrong with the numbers of a step and what to change; None when all are finite.

    Examples
    --------
    >>> complaint(3, {"total": 1.0, "gradient_norm": 0.5}, Recipe()) is None
    True
    >>> complaint(3, {"total": float("nan"), "gradient_norm": float("nan")}, Recipe())[:26]
    'total became nan at step 3'
    """
    broken = [name for name, value in numbers.items() if not math.isfinite(value)]
    if not broken:
        return None
    learning_rate = recipe.optim.learning_rate
    if broken == ["gradient_norm"]:
        return (
            f"the gradient's norm became {numbers['gradient_norm']} at step {step}, the loss being finite; the "
            "last checkpoint is from before it; launch a new run with a lower optim.learning_rate "
            f"(now {learning_rate:g}) or without your own backbone or term"
        )
    if "extra" in broken:
        return (
            f"objective.extra became {numbers['extra']} at step {step}; the last checkpoint is from before it: see "
            f"what {recipe.objective.extra} makes of ordinary logits"
        )
    broken = [name for name in broken if name != "gradient_norm"]
    return (
        f"{' and '.join(broken)} became {numbers[broken[-1]]} at step {step}; the last checkpoint is from before "
        f"it; launch a new run with a lower optim.learning_rate (now {learning_rate:g}) or with "
        "optim.clip_norm=1; resuming this one would meet the same number"
    )
