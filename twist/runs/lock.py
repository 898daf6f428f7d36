"""The lock of a run: held by the one process that may train it, visible to everybody, gone when that process dies.

POSIX record locks (``lockf``): unlike ``flock`` they are not kept alive by forked loader workers. Standard library
only, so that a supervisor can take the lock milliseconds after it was started. Windows has no such locks: there a run
is trained in the notebook's own process, and the heartbeat alone tells whether it is alive.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# struct flock of <fcntl.h>: macOS puts the range first, Linux the kind of lock.
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"


# Closing any descriptor of a file drops this process's record locks on it, so our own locks are never asked about.
_OURS: dict[Path, int] = {}
_THREADS = threading.Lock()  # record locks hold off other processes alone


def _key(run: Path) -> Path:
    return run.resolve()


def take_lock(run: Path) -> int | None:
    """Take the lock of a run; the descriptor to give to `free_lock`, or None when it is held already.

    Also None when the folder was renamed or deleted by the one who held it meanwhile: what one would hold is no run.
    """
    if _key(run) in _OURS:
        return None
    descriptor = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is None:
        _OURS[_key(run)] = descriptor
        return descriptor
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if not _is_there(descriptor, run / "lock"):
        os.close(descriptor)
        return None
    _OURS[_key(run)] = descriptor
    return descriptor


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def free_lock(run: Path) -> None:
    """Give back a lock that this process took."""
    os.close(_OURS.pop(_key(run)))


@contextlib.contextmanager
def in_turn(file: Path) -> Iterator[None]:
    """One writer of a small file after the other, in this process or another: both of two changes are kept."""
    with _THREADS, open(file.with_name(f".{file.name}.lock"), "ab") as turn:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks: the later writer wins
                fcntl.lockf(turn, fcntl.LOCK_EX)
        yield


def try_flock(descriptor: int) -> bool | None:
    """Whether a whole-file lock was free and is taken now, or None where there are none; it goes with the file."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def lock_holder(run: Path) -> int | None:
    """Process id of the holder of a run's lock, or None when it is free. Asks without ever taking the lock."""
    if _key(run) in _OURS:
        return os.getpid()
    if fcntl is None:
        return None
    try:
        descriptor = os.open(run / "lock", os.O_RDWR)
    except OSError:
        return None
    try:
        if sys.platform == "darwin":
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, 0, 0, 0, fcntl.F_WRLCK, 0))
            _, _, holder, kind, _ = struct.unpack(_FLOCK, answer)
        else:
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
            kind, _, _, _, holder = struct.unpack(_FLOCK, answer)
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else holder
