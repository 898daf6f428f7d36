"""The numbered attempts of a run: every start or resume is one.

Standard library only, as the supervisor starts with it.
"""

from __future__ import annotations

import os
from pathlib import Path


def last_attempt(path: Path) -> int:
    """Number of the newest attempt, 0 before the first."""
    try:
        return max((int(name) for name in os.listdir(path / "attempts") if name.isdigit()), default=0)
    except OSError:
        return 0


def attempt_folder(path: Path, attempt: int) -> Path:
    """Folder of one attempt: environment, log, outcome and end record."""
    return path / "attempts" / f"{attempt:04d}"


def begin_attempt(path: Path) -> int:
    """Make the folder of the next attempt; whoever holds the run's lock may. Returns its number.

    From here on the run's state is that of the new attempt. Requests that were meant for an earlier one are dropped.
    """
    for request in (path / "control").glob("*.json"):
        if request.is_file():
            request.unlink(missing_ok=True)
    attempt = last_attempt(path) + 1
    attempt_folder(path, attempt).mkdir(parents=True)
    return attempt
