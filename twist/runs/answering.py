"""A process of our own that answers in frames: started apart, heard in a thread, gone with whoever started it."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from twist.runs.config import ConfigError
from twist.runs.frames import FrameError, read_frame, write_frame
from twist.runs.store import RecordError

Frame = tuple[dict[str, Any], dict[str, np.ndarray]]


class Answering:
    """``python -m module``, whose stdout is `twist.runs.frames` and whose stdin ends when nobody holds this any more.

    The process must end at the end of its stdin: so it does when this is closed or forgotten, and when the process that
    started it is killed.

    Parameters
    ----------
    module
        Its name.
    arguments
        Its command line.
    """

    def __init__(self, module: str, *arguments: str):
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # an interrupt of the kernel is not meant for it
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions = self._process.stdin
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        # The thread holds no reference to this, so that what is forgotten is collected, and its process ended.
        self._reader = threading.Thread(
            target=_read, args=(self._process, self._process.stdout, self._frames), name=module, daemon=True
        )
        self._reader.start()
        weakref.finalize(self, _close, self._questions, self._log)

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a question.

        Raises
        ------
        BrokenPipeError
            When the process has ended, or was closed.
        ValueError
            When a number in the message is not finite.
        """
        if self._questions.closed:
            raise BrokenPipeError
        write_frame(self._questions, message)

    def next(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when the process has ended.

        Raises
        ------
        queue.Empty
            When none has come in time.
        """
        frame = self._frames.get(timeout=max(0.0, timeout_s))
        if frame is None:
            self._frames.put(None)  # for whoever asks next
        return frame

    def ending(self) -> tuple[int | None, str]:
        """Its exit status, None while it is there, and that in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        status = self._process.returncode
        words = "" if status is None else f" with status {status}"
        return status, words + (" (killed: the machine may be out of memory)" if status == -9 else "")

    def said(self) -> str:
        """The end of what it printed."""
        try:
            self._log.seek(0)
            return self._log.read()[-4000:].decode(errors="replace")
        except ValueError:  # closed
            return ""

    def close(self, *, patience_s: float = 2.0) -> None:
        """End the process; gently, then not. A second call does nothing."""
        _close(self._questions)
        for harder in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                harder()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the system
            self._process.wait(5)
        if self._reader is not threading.current_thread():
            self._reader.join(5)
        self._log.close()


def error_message(error: Exception) -> dict[str, Any]:
    """An error as the process tells it, for `raise_error` at the other end."""
    known = isinstance(error, ConfigError | RecordError)
    return {
        "error": str(error) if known else f"{type(error).__name__}: {error}",
        "kind": "config" if known else "error",
        "traceback": "".join(traceback.format_exception(error)),
    }


def raise_error(message: Mapping[str, Any], what: str, failed: Callable[[str, str], Exception]) -> None:
    """Raise the error that a message tells of: a `ConfigError`, or one made of a sentence and its traceback."""
    if "error" not in message:
        return
    if message.get("kind") == "config":
        raise ConfigError(str(message["error"]))
    raise failed(f"the {what} failed with {message['error']}", str(message.get("traceback", "")))


def _read(process: subprocess.Popen[bytes], answers: IO[bytes], frames: queue.SimpleQueue[Frame | None]) -> None:
    with answers:
        try:
            while (frame := read_frame(answers)) is not None:
                frames.put(frame)
        except (FrameError, OSError, ValueError):
            process.kill()  # what follows a torn answer means nothing
    frames.put(None)
    process.wait()  # nobody else may be left to do so


def _close(*files: IO[bytes]) -> None:
    for file in files:
        with contextlib.suppress(OSError):  # what was not written yet has nobody to read it
            file.close()
