"""Our own training loop that goes on step by step, as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twist.learn.loop import Loop
from twist.learn.process import Requests
from twist.runs.attempts import attempt_folder
from twist.runs.launcher import prepare
from twist.runs.record import RunWriter

NEVER = 10**9


class Paced:
    """A loop that takes as many steps as it is told to, in the thread that tells it.

    Loops in threads of their own would not do: each has its own OpenMP workers, which then no longer wait actively for
    work, and its own part of glibc's memory, which is given back at every step. Both are slower than training is.
    """

    def __init__(self, loop: Loop):
        self.loop = loop
        self._begun = False

    @property
    def over(self) -> bool:
        """Whether all of its steps are done."""
        return self._begun and self.loop.step >= self.loop.total_steps

    def advance(self, steps: int = 1) -> int:
        """Take the next steps, fewer at the end; returns how many were asked for. With 0 it only loads."""
        if not self._begun:
            self._begun = True
            self.loop.begin()
        for _ in range(steps):
            if self.over:
                break
            self.loop._answer()
            self.loop.advance()
        return steps

    def close(self) -> None:
        """End what it does in the background."""
        self.loop.close()


class Silent(Loop):
    """The package's own training, writing nothing."""

    def _snapshot(self, watched: Any) -> None:
        pass

    def _checkpoint(self) -> None:
        pass


QUIET = {"record.log_every_steps": NEVER, "record.diagnose_every_steps": NEVER}


def our_loop(recipe: str, *, images: Any = None, changes: dict[str, Any], records: bool = False) -> Paced:
    """The training of a recipe in a new run folder, before its first step; without its record unless asked for."""
    chosen = changes if records else {**changes, **QUIET}
    path: Path = prepare(recipe, images=images, changes=chosen)
    attempt_folder(path, 1).mkdir(parents=True)
    return Paced((Loop if records else Silent)(path, RunWriter(path, 1), Requests(path, supervisor=None)))
