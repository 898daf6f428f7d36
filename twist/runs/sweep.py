"""Several runs, some at a time: each in a process of its own, with its share of the cores."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError, Recipe
from twist.runs.devices import count_cuda_devices
from twist.runs.folders import check_name, runs_root
from twist.runs.handle import HeldByAnother, Run, start
from twist.runs.launcher import discard_unstarted, prepare, refuse_another_recipe
from twist.runs.lock import lock_holder

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
    and the others go on from their newest checkpoints; so do those that ran out of memory, for they may fit alone. A
    run that another process trains is waited for, never stopped, and trained on here when it ends without a result.

    Parameters
    ----------
    recipes
        What to train, in order.
    names
        Name of each run.
    jobs
        Most runs at a time; none means one for each core this process may use, or one alone where a recipe trains on
        a GPU: there, give a number that its memory holds. Each gets an equal share of the cores as threads.
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
        When the person interrupted it, after every run that it started was told to write a checkpoint and stop.
    """
    _check(recipes, names, jobs)
    root = runs_root() if root is None else Path(root)
    runs = _prepare_all(recipes, names, root, exist_ok=exist_ok)
    waiting = deque(run for run in runs if not _has_result(run))
    for run in runs:
        if on_done is not None and run not in waiting:
            on_done(run)
    cores = usable_cores()
    jobs = min(jobs or _jobs_at_once(recipes, cores), max(1, len(waiting)))
    going: list[Run] = []
    ours: list[Run] = []  # those of them that this call started
    try:
        while waiting or going:
            while waiting and len(going) < jobs:
                going.append(waiting.popleft())
            for run in [run for run in going if not _is_trained(run)]:
                if run in ours or _has_result(run):
                    going.remove(run)
                    if on_done is not None:
                        on_done(run)
                    continue
                ours.append(run)  # before it starts: an interrupt in between stops it too
                try:
                    start(run.path, threads=max(1, cores // jobs))
                except HeldByAnother:  # that process was faster
                    ours.remove(run)
            if on_progress is not None:
                on_progress(_progress(len(runs), going, waiting))
            time.sleep(POLL_S if going else 0)
    except BaseException:
        _stop_all([run for run in going if run in ours])
        raise
    return runs


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _jobs_at_once(recipes: Sequence[Recipe], cores: int) -> int:
    """One run for each core, or one alone where one trains on a GPU: all would take the same, and fill its memory."""
    return 1 if any(map(_is_gpu, {recipe.device for recipe in recipes})) else cores


def _is_gpu(device: str) -> bool:
    """Whether the trainer will take a GPU for a recipe's device, asked without torch."""
    if device == "auto":
        return count_cuda_devices() > 0 or (sys.platform, platform.machine()) == ("darwin", "arm64")
    return device != "cpu"


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


def _is_trained(run: Run) -> bool:
    """Whether a process works on a run, one that has just taken its lock or is about to free it included."""
    return run.status.alive or lock_holder(run.path) is not None


def _has_result(run: Run) -> bool:
    """Whether a run has ended by its own doing; one that was stopped or killed, or had too little memory, has not."""
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
