"""One progress bar for a terminal and a notebook: consistency, sharpness, diversity, mutual information."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


class ProgressBar:
    """A bar over the steps of a run that shows the terms of the objective in nats.

    Parameters
    ----------
    total_steps
        Steps of the whole run.
    step
        Steps done already.
    enabled
        Whether anything is drawn.
    """

    def __init__(self, total_steps: int, step: int = 0, *, enabled: bool = True):
        from tqdm.auto import tqdm

        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            disable=not enabled,
            dynamic_ncols=True,
            mininterval=0.2 if seen else 10.0,  # a log file wants few lines
        )

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Move to a step and show its metrics (names as in the record)."""
        shown = {}
        for short, name in (("consistency", ""), ("sharpness", ""), ("diversity", ""), ("I", "mutual_information")):
            value = metrics.get(f"train/{name or short}")
            if value is not None:
                shown[short] = f"{value:.2f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(step - self._bar.n)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Draw the last state and free the line."""
        self._bar.close()
