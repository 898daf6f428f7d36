"""Which run a view shows, and what its reader must know beside the pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError
from twist.runs.folders import find_run
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.turns import recipe_at
from twist.view.theme import escape


def run_path(run: Any) -> Path:
    """The folder of a run given as a handle (anything with ``path``), a name, ``last``, or a path.

    Raises
    ------
    ConfigError
        When there is no such run.
    """
    if isinstance(run, os.PathLike):
        return find_run(str(Path(run).expanduser().resolve()))  # whole, so that one name alone is a folder too
    if hasattr(run, "path"):
        return Path(run.path)
    if not isinstance(run, str):
        raise ConfigError(f"{type(run).__name__} is no run: give a handle, a name, a path, or 'last'")
    return find_run(run)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a reader must know beside the curves: whose they are, when, and how many images stand behind them.

    Attributes
    ----------
    run, seed
        Name of the run and seed of its recipe.
    step, total_steps
        Newest step on record; steps the recipe asks for, 0 before the first start.
    num_classes, batch_size
        C, and N: the diversity of a batch cannot tell more than N images apart.
    temperature, final_norm
        What the sharpness floor depends on.
    num_images, num_watch
        Images learned from, and how many of them are watched.
    """

    run: str
    seed: int = 0
    step: int = 0
    total_steps: int = 0
    num_classes: int
    batch_size: int
    temperature: float = 1.0
    final_norm: str = "batch"
    num_images: int = 0
    num_watch: int = 0

    @classmethod
    def of(cls, record: RunRecord) -> Scene:
        """The scene of a run, as of the record's last poll."""
        recipe, start = recipe_at(record), record.last("start") or {}
        try:
            watch = record.watch()
        except RecordError:  # the curves do not need them; who shows the images says what is wrong
            watch = None
        num_watch = len(watch) if watch else 0
        return cls(
            run=record.name,
            seed=recipe.seed,
            step=next((step for event in reversed(record.events) if (step := event.get("step"))), 0),
            total_steps=start.get("total_steps") or 0,
            num_classes=recipe.network.num_classes,
            batch_size=start.get("batch_size") or recipe.optim.batch_size,
            temperature=recipe.objective.temperature,
            final_norm=recipe.network.final_norm,
            num_images=start.get("num_images") or num_watch,
            num_watch=num_watch,
        )

    @property
    def batches(self) -> str:
        """Provenance of a picture of training batches, ready for plotly."""
        return f"{self._who(self.step)} · augmented batches of N = {self.batch_size:,} · C = {self.num_classes:,}"

    def images(self, step: int | None = None, shown: int | None = None) -> str:
        """Provenance of a picture of the watch images at a step, ready for plotly."""
        shown = self.num_watch if shown is None else shown
        when = self.step if step is None else step
        return f"{self._who(when)} · {shown:,} of {self.num_images:,} images, not augmented"

    def _who(self, step: int) -> str:
        of_total = f" of {self.total_steps:,}" if self.total_steps else ""
        return f"{escape(self.run, limit=40)} · seed {self.seed} · step {step:,}{of_total}"
