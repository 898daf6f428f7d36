"""A thread that does the newest of what is asked, so that neither a kernel nor a slider ever waits for slow work."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Latest:
    """Work that is asked for more often than it can be done: what is asked meanwhile is done once, at the end.

    Parameters
    ----------
    work
        Does one piece of what is to do now and tells whether more is left; it reads what is wanted when it begins, so
        that the newest wish counts. Called in a thread.
    on_error
        Shows an error to the person, in the thread; then the thread waits to be asked again.
    period_s
        Seconds after which the work is called without being asked; none means never.
    """

    def __init__(
        self,
        work: Callable[[], bool],
        on_error: Callable[[Exception], object],
        *,
        period_s: float | None = None,
        name: str = "twist-latest",
    ):
        self._work, self._on_error, self.period_s = work, on_error, period_s
        self._asked = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    @property
    def closed(self) -> bool:
        """Whether it was closed: long work looks here now and then."""
        return self._closed

    def ask(self) -> None:
        """Have the work done soon; returns at once."""
        self._asked.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """Do no more; returns when the present piece is done."""
        self._closed = True
        self._asked.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closed:
            self._asked.wait(self.period_s)
            self._asked.clear()
            try:
                while not self._closed and self._work():
                    pass
            except Exception as error:  # there is no cell to raise it in
                if not self._closed:
                    self._on_error(error)
