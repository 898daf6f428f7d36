"""Processes that work beside a run: started from a notebook, at low priority, one for each task, gone with the run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from twist.runs.lock import fcntl
from twist.runs.store import read_json

LONGEST_START_S = 120.0
"""How long a run that was asked for may take to start."""
LOOK_EVERY_S = 0.25
_TELL_EVERY_S = 0.25
_SILENT_S = 120.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


class LayoutProcess(subprocess.Popen[bytes]):
    """A process that makes maps, with the file ``log`` that holds what it says."""

    log: Path


def start_beside(module: str, path: Path, *arguments: str, threads: int | None = None) -> LayoutProcess:
    """Start ``python -m module`` on a run, in a process that outlives this one.

    Parameters
    ----------
    module
        Its name.
    path
        The run folder; what the process says goes to a log of its own in ``layouts``.
    arguments
        What follows the run on its command line.
    threads
        How many cores matrix products may take; none takes them all.
    """
    folder = Path(path) / "layouts"
    folder.mkdir(exist_ok=True)
    _sweep_logs(folder)
    log = folder / f"log-{secrets.token_hex(4)}"
    surroundings = {**os.environ, **({} if threads is None else dict.fromkeys(_THREADS, str(threads)))}
    with open(log, "xb") as said:
        process = LayoutProcess(
            [sys.executable, "-m", module, str(Path(path).resolve()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env=surroundings,
        )
    process.log = log
    return process


def _sweep_logs(folder: Path) -> None:
    """Remove logs of yesterday in which nothing was said."""
    for log in folder.glob("log-*"):
        with contextlib.suppress(OSError):
            about = log.stat()
            if about.st_size == 0 and time.time() - about.st_mtime > 86_400:
                log.unlink()


def say(words: str) -> None:
    """One line for the process' log; a full disk must not end the work."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def claim(path: Path, task: str, words: str, *, wait: bool = True) -> Iterator[bool]:
    """Be the one process at a task; the claim ends with its process.

    Parameters
    ----------
    path
        The run folder.
    task
        Names the lock's file in ``layouts``.
    words
        What is said to the log when another process has the claim.
    wait
        Whether to wait for that one; otherwise the context gets False.
    """
    (path / "layouts").mkdir(exist_ok=True)
    with open(path / "layouts" / f"{task}.lock", "ab") as file:
        ours = True
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                say(f"{words}{': waiting for it' if wait else ''}")
                if wait:
                    fcntl.lockf(file, fcntl.LOCK_EX)
                ours = wait
            except OSError:  # a file system without locks: the same map may be made twice
                pass
        yield ours


def yield_to_training(path: Path, niceness: int = 10) -> None:
    """Take what the training leaves, and end soon after the run folder has vanished: nobody is left to look."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(niceness)

    def watch() -> None:
        while (path / "run.json").is_file():
            time.sleep(LOOK_EVERY_S)
        os._exit(1)  # UMAP in another thread cannot be asked to stop

    threading.Thread(target=watch, name="end-with-run", daemon=True).start()


class Progress:
    """A small file that says how far a task is, while it goes on."""

    def __init__(self, file: Path):
        self._file, self._told = file, 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def tell(self, share: float, stage: str, **facts: int) -> None:
        """Write it, at most four times a second; where it cannot be written, nobody is told."""
        now = time.monotonic()
        if now - self._told < _TELL_EVERY_S and not facts:
            return
        self._told = now
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"share": round(share, 4), "stage": stage, **facts}))
            os.replace(temporary, self._file)


def read_progress(file: Path) -> dict[str, object]:
    """What a task last said of itself; empty when it is over, or silent for two minutes: then it was killed."""
    try:
        silent = time.time() - file.stat().st_mtime
    except OSError:
        return {}
    return read_json(file) if silent < _SILENT_S else {}
