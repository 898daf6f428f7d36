"""Several runs, some at a time: each in a process of its own, with its share of the cores."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import check_name, runs_root
from twist.runs.handle import Run, start
from twist.runs.launcher import discard_unstarted, prepare, refuse_another_recipe

POLL_S = 0.25


def run_many(
    recipes: Sequence[Recipe],
    *,
    names: Sequence[str],
    jobs: int | None = None,
    root: Path | None = None,
    on_done: Callable[[Run], Any] | None = None,
    on_progress: Callable[[str], Any] | None = None,
    exist_ok: bool = True,
) -> list[Run]:
    """Train several recipes, each in a process of its own, and return when all have ended.

    A run that fails is a result like any other: the rest goes on, and its status tells what happened. So a sweep that
    was cut can simply be started again: runs that are complete, or that failed by their own doing, stay as they are,
    and the others go on from their newest checkpoints.

    Parameters
    ----------
    recipes
        What to train, in order.
    names
        Name of each run.
    jobs
        Most runs at a time; none means one for each core this process may use. Each gets an equal share of the cores
        as threads. On a GPU that the runs share, give a number that its memory holds.
    root
        Folder of the runs; none means `runs_root`.
    on_done
        Called with each run that has ended, at once for those that had ended before.
    on_progress
        Called a few times a second with one line for a person: how many ended, how far the others are.
    exist_ok
        Whether runs of these names and recipes may exist already; without it that is an error.

    Returns
    -------
    list of Run
        In the order of ``recipes``, whatever their end.

    Raises
    ------
    ConfigError
        Before anything starts: a recipe that cannot be, a name that cannot be or is taken by another recipe.
    KeyboardInterrupt
        When the person interrupted it, after every run was told to write a checkpoint and stop.
    """
    _check(recipes, names, jobs)
    root = runs_root() if root is None else Path(root)
    runs = _prepare_all(recipes, names, root, exist_ok=exist_ok)
    waiting = deque(run for run in runs if not _has_result(run))
    for run in runs:
        if on_done is not None and run not in waiting:
            on_done(run)
    cores = usable_cores()
    jobs = min(jobs or cores, max(1, len(waiting)))
    going: list[Run] = []
    try:
        while waiting or going:
            while waiting and len(going) < jobs:
                going.append(waiting.popleft())
                if not going[-1].status.alive:  # else another process trains it: wait for that
                    start(going[-1].path, threads=max(1, cores // jobs))
            for run in [run for run in going if not run.status.alive]:
                going.remove(run)
                if on_done is not None:
                    on_done(run)
            if on_progress is not None:
                on_progress(_progress(len(runs), going, waiting))
            time.sleep(POLL_S if going else 0)
    except BaseException:
        _stop_all(going)
        raise
    return runs


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(recipes: Sequence[Recipe], names: Sequence[str], jobs: int | None) -> None:
    if len(recipes) != len(names):
        raise ConfigError(f"there are {len(recipes)} recipes and {len(names)} names: give one name for each recipe")
    for name in names:
        check_name(name)
        if list(names).count(name) > 1:
            raise ConfigError(f"run name {name!r} is given twice: give each run a name of its own")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}: give 1 or more, the number of runs at a time")


def _prepare_all(recipes: Sequence[Recipe], names: Sequence[str], root: Path, *, exist_ok: bool) -> list[Run]:
    """Every run's folder, made where there is none; when one cannot be made, none of the new ones is left."""
    runs: list[Run] = []
    made: list[Run] = []
    try:
        for recipe, name in zip(recipes, names, strict=True):
            if exist_ok and (root / name / "run.json").is_file():
                runs.append(Run(root / name))
                refuse_another_recipe(runs[-1], recipe)
            else:
                made.append(Run(prepare(recipe, name=name, root=root)))
                runs.append(made[-1])
    except BaseException:
        for run in made:
            discard_unstarted(run)
        raise
    return runs


def _has_result(run: Run) -> bool:
    """Whether a run has ended by its own doing; one that was stopped or killed has not."""
    return run.status.state == "COMPLETED" or run.failure_kind in ("config", "error")


def _progress(total: int, going: Sequence[Run], waiting: Sequence[Run]) -> str:
    """One line: how many runs ended, and how far those are that go on."""
    ended = total - len(going) - len(waiting)
    looks = [(run.name, run.status) for run in going]
    shares = [f"{name} {status.step / max(1, status.total_steps):.0%}" for name, status in looks]
    return f"{ended} of {total} runs ended" + (f"; {', '.join(shares)}" if shares else "")


def _stop_all(runs: Sequence[Run]) -> None:
    """Have every run write a checkpoint and end; all stop at the same time."""
    for run in runs:
        run.stop(wait=False)
    for run in runs:
        with contextlib.suppress(TimeoutError):  # it still stops at its next step
            run.stop()
