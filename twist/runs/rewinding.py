"""A run taken back to an earlier step, and a run made once more with the knobs turned at the same steps."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError
from twist.runs.folders import check_name, create_run, slug
from twist.runs.frozen import refuse_frozen
from twist.runs.lock import free_lock, take_lock
from twist.runs.own_code import FOLDER
from twist.runs.record import RunRecord
from twist.runs.store import (
    RecordError,
    read_manifest,
    read_sealed_folder,
    step_folder,
    steps_in,
    sync_folder,
    write_sealed_folder,
)
from twist.runs.supervisor import who_holds
from twist.runs.turns import Plan, read_plan, turns_of, write_plan

_MEMORY = "images.npz"  # images handed over in memory


def checkpoint_before(path: Path, step: int) -> int:
    """Step of the newest sound checkpoint at or before a step, from which a rewound run goes on.

    Raises
    ------
    ConfigError
        For a step that the run has not reached, and where no such checkpoint is kept: names those that are.
    """
    refuse_frozen(path, "rewound")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ConfigError(f"step is {step!r}: give a step of run {path.name}, 0 or more")
    reached = newest_step(path)
    if step > reached:
        raise ConfigError(f"run {path.name} cannot be taken back to step {step}: it stands at {reached}")
    steps = steps_in(path / "checkpoints")
    for candidate in reversed([each for each in steps if each <= step]):
        try:
            read_manifest(path / "checkpoints" / step_folder(candidate), verify=True)
        except RecordError:
            continue
        return candidate
    kept = f"those of {', '.join(map(str, steps))} are kept" if steps else "none is kept yet"
    raise ConfigError(
        f"run {path.name} has no checkpoint at or before step {step}, {kept}: keep more by record.keep_checkpoints and "
        f"record.checkpoint_every_epochs, or make it once more up to there by `twist replay {path.name} --until {step}`"
    )


def rewind_record(path: Path, step: int, *, hold: bool = False) -> int:
    """Take a run that nobody trains back to a step: what is newer than its checkpoint before goes, and so do the turns
    from that step on. Returns the step of that checkpoint.

    The newest goes first and the turns at last, so that a kill in between leaves a run that a resume brings to where
    it was.

    Parameters
    ----------
    path
        The run folder.
    step
        The step to go back to.
    hold
        Whether the run, when it goes on, waits at that step.

    Raises
    ------
    ConfigError
        As `checkpoint_before` does, and when a process works on the run.
    """
    if take_lock(path) is None:
        raise ConfigError(f"{path.name} cannot be rewound while {who_holds(path)} works on it: try again later")
    try:
        chosen, reached = checkpoint_before(path, step), newest_step(path)
        for part in ("checkpoints", "snapshots", "layouts"):
            for newer in reversed([each for each in steps_in(path / part) if each > chosen]):
                folder = path / part / step_folder(newer)
                outgoing = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.rewound")
                os.rename(folder, outgoing)
                shutil.rmtree(outgoing, ignore_errors=True)
            sync_folder(path / part)
        plan = read_plan(path)
        write_plan(
            path,
            Plan(
                turns=tuple(turn for turn in plan.turns if turn.step < step),
                stop=plan.stop if plan.stop is not None and plan.stop > chosen else None,
                hold=step if hold else None,
                rewound={"to": step, "from": reached},
            ),
        )
        return chosen
    finally:
        free_lock(path)


def prepare_replay(path: Path, name: str | None = None, until: int | None = None) -> Path:
    """Make the folder of a run with the recipe of another one and its turns at the same steps, without starting it.

    Parameters
    ----------
    path
        The run folder of the other.
    name
        Name of the new run; none makes one from the name of the other.
    until
        Step at which it stops; none means where the other one stands, or the end if that is complete.

    Raises
    ------
    ConfigError
        When the other has not begun, is a fork whose first checkpoint is gone, or the name is taken.
    """
    if name is not None:
        check_name(name)
    refuse_frozen(path, "replayed")
    record = RunRecord(path)
    record.poll()
    begun, reached = record.last("start"), newest_step(path)
    if begun is None or reached == 0:
        raise ConfigError(f"run {path.name} has taken no step yet: there is nothing to replay")
    total = begun["total_steps"]
    if until is not None and (isinstance(until, bool) or not isinstance(until, int) or not 1 <= until <= total):
        raise ConfigError(f"until is {until!r}: give a step from 1 to {total}, the last of run {path.name}")
    stop = until if until is not None else reached
    recipe = record.recipe
    if recipe.compute.precision == "auto":  # a choice by trial may fall otherwise
        recipe = recipe.replace(compute__precision=begun["precision"])
    origin: dict[str, Any] = {"replay_of": {"id": str(record.identity.get("id", "")), "name": path.name}}
    checkpoint = _first_checkpoint(record)
    if checkpoint is not None:
        origin["forked_from"] = record.forked_from

    def fill(folder: Path) -> None:
        turns = tuple(turn for turn in turns_of(record) if turn.step < stop)
        write_plan(folder, Plan(turns, stop=stop if stop < total else None))
        if checkpoint is not None:
            first, files = checkpoint
            write_sealed_folder(folder / "checkpoints" / step_folder(first), files, {"step": first})
        if recipe.data.source == f"@run/{_MEMORY}":
            shutil.copyfile(path / _MEMORY, folder / _MEMORY)
        if (path / FOLDER).is_dir():
            shutil.copytree(path / FOLDER, folder / FOLDER)

    return create_run(recipe, name=name, root=path.parent, stem=f"{slug(path.name)}-replay", origin=origin, fill=fill)


def newest_step(path: Path) -> int:
    """The newest step on a run's record."""
    record = RunRecord(path)
    record.poll()
    return max((event.get("step", 0) for event in record.events), default=0)


def _first_checkpoint(record: RunRecord) -> tuple[int, dict[str, bytes]] | None:
    """Step and files of the checkpoint that a fork began with; None for a run that began with fresh weights."""
    if not record.forked_from:
        return None
    step = next(event["from_step"] for event in record.events if event["kind"] == "start")
    try:
        return step, read_sealed_folder(record.path / "checkpoints" / step_folder(step))
    except RecordError:
        raise ConfigError(
            f"run {record.name} is a fork whose first checkpoint, of step {step}, is gone: fork "
            f"{record.forked_from.get('name')!r} again and turn the knobs there"
        ) from None


def threads_of(path: Path) -> int | None:
    """Threads that a run last computed with; other ones would round otherwise. None where that is unknown."""
    record = RunRecord(path)
    record.poll()
    threads = (record.last("start") or {}).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None
