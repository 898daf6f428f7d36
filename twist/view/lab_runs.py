"""Runs that the lab starts: launched with one thread each, the newest kept, one that is to stay given a name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import check_name, create_run, run_paths, runs_root
from twist.runs.handle import Run, start
from twist.runs.keeping import delete, rename, tags_of
from twist.runs.store import read_json

#: How many runs that nobody named are kept.
KEPT = 6
#: Minutes after which a process of the lab ends by itself, should its kernel be gone.
LONGEST_MINUTES = 60.0

_UNNAMED = re.compile(r"lab-\d{8}-\d{6}(-\d+)?")
#: What ``run.json`` says of a run that a lab started: nothing else is ever deleted by one.
_ORIGIN = {"started_by": "lab"}


def launch_in_lab(recipe: Recipe) -> Run:
    """Start a run of the lab: one thread, so that two of them and the page share two cores."""
    path = create_run(recipe, origin=_ORIGIN)
    start(path, threads=1, max_minutes=LONGEST_MINUTES)
    return Run(path)


def resume_in_lab(run: Run) -> None:
    """Have a run of the lab go on from its newest checkpoint, computed as before."""
    start(run.path, threads=1, max_minutes=LONGEST_MINUTES)


def rewind_in_lab(run: Run, step: int) -> None:
    """Take a run of the lab back to a step, at which it waits."""
    run.rewind(step, hold=True, max_minutes=LONGEST_MINUTES)


def unnamed_runs(root: Path | None = None) -> list[Path]:
    """Folders of runs that a lab started and nobody named or tagged, oldest first."""
    return [
        path
        for path in run_paths(root)
        if _UNNAMED.fullmatch(path.name)
        and read_json(path / "run.json").get("started_by") == _ORIGIN["started_by"]
        and not tags_of(path)
    ]


def tidy(spare: Collection[Path] = (), *, kept: int = KEPT) -> list[str]:
    """Delete all but the newest runs that a lab started and nobody named; the names of those that went.

    Parameters
    ----------
    spare
        Runs that stay, whatever their age; one that a process works on stays as well.
    kept
        How many stay.
    """
    gone = []
    unwanted = [path for path in unnamed_runs(runs_root()) if path not in set(spare)]
    for path in unwanted[: max(0, len(unwanted) - kept)]:
        try:
            delete(path, confirm=path.name)
        except ConfigError:  # it is alive, or held by someone
            continue
        gone.append(path.name)
    return gone


def check_kept_name(name: str, path: Path) -> None:
    """Refuse a name under which a run cannot be kept.

    Raises
    ------
    ConfigError
        When it cannot name a folder, is taken, or is one that the lab gives.
    """
    if _UNNAMED.fullmatch(check_name(name)):
        raise ConfigError(f"{name!r} is a name that the lab gives, and takes away: choose another")
    if os.path.lexists(path.with_name(name)):
        raise ConfigError(f"the name {name!r} is taken in {path.parent}: choose another")


def keep_run(run: Run, name: str) -> Run:
    """Give a run that rests a name of its own, under which no lab deletes it.

    Raises
    ------
    ConfigError
        When it is alive, or the name cannot be had.
    """
    check_kept_name(name, run.path)
    return Run(rename(run.path, name))
