"""The other end of `twist.learn.probe`: start it, ask it, end it; without torch."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from twist.runs.answering import Answering, Frame, raise_error
from twist.runs.config import ConfigError


class ProbeFailed(RuntimeError):
    """The probe's process could not answer: one sentence, with its traceback or the end of its log apart.

    Attributes
    ----------
    details
        Traceback or log; empty when there is none.
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class Probe:
    """A trained network in a process of its own that answers questions about one image.

    Parameters
    ----------
    path
        The run folder.
    step
        Step of the checkpoint; none means the newest.
    on_progress
        Called with a few words while the process gets ready, in a thread.
    start_timeout_s
        Longest wait until it is ready: torch, the network and the images are loaded meanwhile.

    Raises
    ------
    ConfigError
        When the run has no checkpoint, or none of that step.
    ProbeFailed
        When the process ended or did not get ready in time.

    Notes
    -----
    One question is answered at a time; a second thread waits for its turn. An answer that came too late is dropped.

    Examples
    --------
    ::

        with Probe(run.path) as probe:
            facts, arrays = probe.ask("views", row=3, draw=0)
            arrays["probs"]  # [3, C]: the plain image, view 1, view 2
    """

    def __init__(
        self,
        path: Path,
        *,
        step: int | None = None,
        on_progress: Callable[[str], object] = lambda _: None,
        start_timeout_s: float = 180.0,
        idle_s: float = 1800.0,
    ):
        self.path = Path(path)
        self._turn = threading.Lock()
        self._number = 0
        arguments = [str(self.path.resolve()), "--idle-s", str(idle_s)]
        self._process = Answering("twist.learn.probe", *arguments, *([] if step is None else ["--step", str(step)]))
        try:
            self.facts = self._get_ready(on_progress, time.monotonic() + start_timeout_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, what: str, *, timeout_s: float = 60.0, **question: Any) -> Frame:
        """Ask one question and wait for its answer.

        Parameters
        ----------
        what
            ``views``, ``sensitivity``, ``load`` or ``facts``, see `twist.learn.probe`.
        timeout_s
            Longest wait.
        **question
            Plain values: ``row``, ``fields``, ``draw`` …

        Raises
        ------
        ConfigError
            When the question has no answer: a value out of its range, an image that is not watched.
        ProbeFailed
            When the process failed at it, ended, or took too long.
        """
        with self._turn:
            self._number += 1
            self._send({"ask": what, "id": self._number, **question})
            deadline = time.monotonic() + timeout_s
            while True:
                message, arrays = self._next(deadline, f"has not answered in {timeout_s:g} s")
                if message.get("id") == self._number:
                    break
        raise_error(message, "probe", ProbeFailed)
        if what == "load":
            self.facts = message
        return message, arrays

    def close(self) -> None:
        """End the process; gently, then not."""
        self._process.close()

    def _get_ready(self, on_progress: Callable[[str], object], deadline: float) -> dict[str, Any]:
        on_progress("starting torch")
        while True:
            message, _ = self._next(deadline, "did not get ready in time")
            if "under_way" in message:
                on_progress(str(message["under_way"]))
                continue
            raise_error(message, "probe", ProbeFailed)
            return message

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._process.send(message)
        except ValueError as error:
            raise ConfigError(f"a number in the question is not finite: {error}") from error
        except OSError as error:
            raise self._ended() from error

    def _next(self, deadline: float, complaint: str) -> Frame:
        try:
            frame = self._process.next(deadline - time.monotonic())
        except queue.Empty:
            raise ProbeFailed(
                f"the probe of {self.path.name} {complaint}: it goes on; ask again, or start it anew",
                self._process.said(),
            ) from None
        if frame is None:
            raise self._ended()
        return frame

    def _ended(self) -> ProbeFailed:
        status, why = self._process.ending()
        if status == 0:
            why = " after its idle time, or because it was closed"
        return ProbeFailed(f"the probe of {self.path.name} ended{why}: start it anew", self._process.said())
