"""Ctrl-C as a wish that is looked for, where an exception in mid-import or mid-draw would end the command uncleanly."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While the block runs, the first Ctrl-C only sets ``asked``; a second one interrupts at once, as ever.

    A Ctrl-C that is ignored (``nohup``, a background job) stays ignored; outside the main thread nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = signal.SIG_IGN

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._before)

    def raise_if_asked(self) -> None:
        """Raise the KeyboardInterrupt that was held back."""
        if self.asked:
            raise KeyboardInterrupt
