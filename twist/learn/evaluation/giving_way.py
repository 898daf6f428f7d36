"""Work that leaves the processor to others: beside a run that trains, in a process that has other things to do."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")
#: Of 0 (usual) to 19: the share of a core beside a trainer is about a thirtieth.
NICENESS = 15
_LOOK_EVERY_S = 0.2


def giving_way(work: Callable[[Callable[[], None]], Found]) -> Found:
    """Do work in a thread of low priority, and wait for it; the process itself keeps its own.

    Parameters
    ----------
    work
        Called with a function that it calls now and then: this raises KeyboardInterrupt once the waiting was
        interrupted.

    Returns
    -------
    What the work returned; what it raised is raised here.

    Notes
    -----
    Only Linux gives a thread a priority of its own; elsewhere the work is done at once, as it is.
    """
    if not sys.platform.startswith("linux"):
        return work(lambda: None)
    asked, outcome = threading.Event(), dict[str, Any]()

    def look() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    def body() -> None:
        try:
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
            outcome["found"] = work(look)
        except BaseException as error:  # of the one who waits
            outcome["error"] = error

    worker = threading.Thread(target=body, name="giving way", daemon=True)
    worker.start()
    while worker.is_alive():
        try:
            worker.join(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            if asked.is_set():  # the second one waits for nothing
                raise
            asked.set()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["found"]
