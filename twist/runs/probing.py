"""The other end of `twist.learn.probe`: start it, ask it, end it; without torch."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from twist.runs.config import ConfigError
from twist.runs.frames import FrameError, read_frame, write_frame

Frame = tuple[dict[str, Any], dict[str, np.ndarray]]


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
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "twist.learn.probe", str(self.path.resolve()), "--idle-s", str(idle_s)]
        command += [] if step is None else ["--step", str(step)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
        )
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="twist-probe", daemon=True)
        self._reader.start()
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
        return self._process.poll() is None

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
        _raise_error(message)
        if what == "load":
            self.facts = message
        return message, arrays

    def close(self) -> None:
        """End the process; gently, then not."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        for end in (lambda: None, self._process.terminate, self._process.kill):
            end()
            try:
                self._process.wait(2)
                break
            except subprocess.TimeoutExpired:
                continue
        if self._reader is not threading.current_thread():
            self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _get_ready(self, on_progress: Callable[[str], object], deadline: float) -> dict[str, Any]:
        on_progress("starting torch")
        while True:
            message, _ = self._next(deadline, "did not get ready in time")
            if "under_way" in message:
                on_progress(str(message["under_way"]))
                continue
            _raise_error(message)
            return message

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, message)
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and self.alive and not self._process.stdin.closed:
                raise ConfigError(f"a number in the question is not finite: {error}") from error
            raise self._ended() from error

    def _next(self, deadline: float, complaint: str) -> Frame:
        try:
            frame = self._frames.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise ProbeFailed(
                f"the probe of {self.path.name} {complaint}: it goes on; ask again, or start it anew", self._said()
            ) from None
        if frame is None:
            self._frames.put(None)  # for whoever asks next
            raise self._ended()
        return frame

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while (frame := read_frame(self._process.stdout)) is not None:
                self._frames.put(frame)
        except (FrameError, OSError, ValueError):
            self._process.kill()  # what follows a torn answer means nothing
        self._frames.put(None)

    def _ended(self) -> ProbeFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        status = self._process.returncode
        why = {None: "", 0: " after its idle time, or because it was closed"}.get(status, f" with status {status}")
        if status == -9:
            why += " (killed: the machine may be out of memory)"
        return ProbeFailed(f"the probe of {self.path.name} ended{why}: start it anew", self._said())

    def _said(self) -> str:
        try:
            self._log.seek(0)
            return self._log.read()[-4000:].decode(errors="replace")
        except ValueError:  # closed
            return ""


def _raise_error(message: Mapping[str, Any]) -> None:
    if "error" not in message:
        return
    if message.get("kind") == "config":
        raise ConfigError(str(message["error"]))
    raise ProbeFailed(f"the probe failed with {message['error']}", str(message.get("traceback", "")))
