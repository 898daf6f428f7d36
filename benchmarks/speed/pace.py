"""Training loops that go on step by step, as they are told: each in a thread of its own, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twist.learn.loop import Loop
from twist.learn.process import Requests
from twist.runs.attempts import attempt_folder
from twist.runs.launcher import prepare
from twist.runs.record import RunWriter

NEVER = 10**9


class Closed(BaseException):
    """Ends a loop that is not wanted any more; no loop catches it."""


class Paced:
    """A loop that waits before every step until it is told to take it.

    Parameters
    ----------
    loop
        Called once, in the thread, with a function that it must call before every step.
    """

    def __init__(self, loop: Callable[[Callable[[], None]], Any]):
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._closing = self.over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(loop,), daemon=True)
        self._thread.start()

    def advance(self, steps: int = 1) -> int:
        """Let the loop take its next steps; returns their number when they are done, or the loop is over.

        The first call of all only lets it begin: with 0 steps it returns where the first step would start.
        """
        for _ in range(steps + (not hasattr(self, "_begun"))):
            self._begun = True
            if self.over:
                break
            self._go.release()
            self._waits.acquire()
        if self._error is not None:
            raise self._error
        return steps

    def close(self) -> None:
        """End the loop where it waits."""
        self._closing = True
        self._go.release()
        self._thread.join()

    def _run(self, loop: Callable[[Callable[[], None]], Any]) -> None:
        try:
            self._go.acquire()
            if not self._closing:
                loop(self._before_step)
        except Closed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.over = True
            self._waits.release()

    def _before_step(self) -> None:
        self._waits.release()
        self._go.acquire()
        if self._closing:
            raise Closed


class OurLoop(Loop):
    """The package's own training, told when to take a step."""

    before_step: Callable[[], None]

    def _answer(self) -> bool:
        self.before_step()
        return super()._answer()


class Silent(OurLoop):
    """The same training, writing nothing."""

    def _snapshot(self, watched: Any) -> None:
        pass

    def _checkpoint(self) -> None:
        pass


QUIET = {"record.log_every_steps": NEVER, "record.diagnose_every_steps": NEVER}


def our_loop(recipe: str, *, images: Any = None, changes: dict[str, Any], records: bool = False) -> OurLoop:
    """The training of a recipe in a new run folder, which `paced` runs; without its record unless asked for."""
    chosen = changes if records else {**changes, **QUIET}
    path: Path = prepare(recipe, images=images, changes=chosen)
    attempt_folder(path, 1).mkdir(parents=True)
    return (OurLoop if records else Silent)(path, RunWriter(path, 1), Requests(path, supervisor=None))


def paced(loop: OurLoop) -> Paced:
    """Our loop, waiting for its first step."""

    def run(before_step: Callable[[], None]) -> None:
        loop.before_step = before_step
        loop.run()

    return Paced(run)
