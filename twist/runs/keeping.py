"""Keeping runs: their tags, a new name, and their end; nothing here touches what a run recorded.

A person's notes on a run (its tags, the names it had) stand in ``keeping.json`` of its folder. Only folders that are
runs of ours are ever renamed or deleted, never links to them, and never while a process works on them.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError
from twist.runs.folders import KEEPING, check_name, former_names, renamed_to
from twist.runs.lock import free_lock, in_turn, take_lock
from twist.runs.status import read_status
from twist.runs.store import read_json, sync_folder, write_json
from twist.runs.supervisor import living_trainer, who_holds

MOST_TAGS, LONGEST_TAG = 20, 40
_TRASH = re.compile(r"\.twist-trash-.+-[0-9a-f]{8}")
#: What a run of ours has beside its ``run.json``, should that be damaged.
_SHAPE = ("recipe.json", "events", "checkpoints", "attempts")


# ---------------------------------------------------------------------------------------------------------------------
# Tags


def tags_of(path: Path) -> tuple[str, ...]:
    """The tags of a run, in the order in which they were given; what stands in the note and is no tag is left out."""
    found = read_json(Path(path) / KEEPING).get("tags")
    return tuple(tag for tag in found if _is_tag(tag)) if isinstance(found, list) else ()


def tag(path: Path, *tags: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """Give a run tags, living or not, and take others away, all or nothing; returns those that it then has.

    Raises
    ------
    ConfigError
        For a tag that is empty, longer than 40 characters or unprintable, for more than 20 of them, and for one to take
        away that the run does not have.
    """
    path = Path(path)
    given = [check_tag(tag) for tag in tags]
    _refuse_foreign(path)
    with in_turn(path / KEEPING):
        have = tags_of(path)
        for unwanted in without:
            if unwanted not in have:
                shown = ", ".join(map(repr, have)) or "none"
                raise ConfigError(f"{path.name} has no tag {unwanted!r}: its tags are {shown}")
        kept = tuple(dict.fromkeys((*(tag for tag in have if tag not in without), *given)))
        if len(kept) > MOST_TAGS:
            raise ConfigError(f"{path.name} would have {len(kept)} tags: give at most {MOST_TAGS}, or take some away")
        if kept != have:
            _note(path, tags=list(kept))
    return kept


def check_tag(tag: str) -> str:
    """A tag without blanks around it, or a `ConfigError` that says what a tag may be."""
    tag = tag.strip() if isinstance(tag, str) else tag
    if not _is_tag(tag):
        shown = tag if len(str(tag)) <= 60 else f"{str(tag)[:60]}…"
        raise ConfigError(f"tag {shown!r} is no tag: give 1 to {LONGEST_TAG} printable characters without commas")
    return tag


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG and tag.isprintable() and "," not in tag


def _note(path: Path, **facts: Any) -> None:
    write_json(path / KEEPING, {**read_json(path / KEEPING), **facts})


# ---------------------------------------------------------------------------------------------------------------------
# A new name


def rename(path: Path, name: str) -> Path:
    """Give a run another name, which is its folder's; returns the new path. Its id, record and age stay.

    Raises
    ------
    ConfigError
        When a process works on the run, or the name cannot name a folder, or is taken.
    """
    path = Path(path)
    target = path.with_name(check_name(name))
    with held(path, "renamed"):
        if os.path.lexists(target):
            raise ConfigError(f"the name {name!r} is taken in {path.parent}: choose another")
        with in_turn(path / KEEPING):
            _note(path, former_names=[*dict.fromkeys((*former_names(path), path.name))])
            os.rename(path, target)
        sync_folder(path.parent)
    return target


# ---------------------------------------------------------------------------------------------------------------------
# Its end


def delete(path: Path, *, confirm: str) -> None:
    """Delete a run and all that its folder holds, for good.

    It leaves the list of runs by one rename, then its files go; a kill in between leaves a hidden folder that the next
    deletion takes along.

    Parameters
    ----------
    path
        The run folder.
    confirm
        The name of the run, once more: nothing is deleted by a slip.

    Raises
    ------
    ConfigError
        When the name is another one, a process works on the run, the folder is none of ours, or some of its files
        cannot be deleted.
    """
    path = Path(path)
    if confirm != path.name:
        raise ConfigError(f"{path.name} is not deleted: confirm it with its name, not with {confirm!r}")
    trash = path.with_name(f".twist-trash-{path.name[:100]}-{secrets.token_hex(4)}")
    with held(path, "deleted"):
        os.rename(path, trash)
        sync_folder(path.parent)
    empty_trash(path.parent)
    if trash.exists():
        raise ConfigError(f"{path.name} left the list of runs, but some of its files are still in {trash}: delete them")


def empty_trash(root: Path) -> None:
    """Take away what killed deletions left; links are removed, never followed."""
    for leftover in Path(root).glob(".twist-trash-*"):
        if _TRASH.fullmatch(leftover.name) and leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------------
# Which folders may be touched, and when


@contextlib.contextmanager
def held(path: Path, done: str) -> Iterator[None]:
    """Hold the lock of a run that rests, so that nobody resumes it meanwhile; ``done`` says what is to be done to it.

    Raises
    ------
    ConfigError
        When the folder is none of ours, a process works on the run, or the system forbids what is to be done.
    """
    _refuse_foreign(path)
    status = read_status(path)
    trainer = living_trainer(path)
    if status.alive or trainer is not None:
        who = f"process {trainer}" if trainer is not None else who_holds(path)
        raise ConfigError(f"{path.name} cannot be {done} while {who} works on it: `twist stop {path.name}` first")
    try:
        taken = take_lock(path)
    except OSError as error:  # gone meanwhile, or in a place that cannot be written
        raise ConfigError(f"{path.name} cannot be {done}: its lock cannot be taken ({error.strerror})") from error
    if taken is None:
        raise ConfigError(f"{path.name} cannot be {done} while {who_holds(path)} works on it: try again later")
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be {done}: {error.strerror} ({error.filename})") from error
    finally:
        free_lock(path)


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink():
        raise ConfigError(f"{path.name} is a link to another folder: work on the run where it really is")
    if not path.is_dir():
        now = renamed_to(path.name, path.parent)
        hint = f": it is called {now!r} now" if now else "; `twist list` shows all"
        raise ConfigError(f"there is no run {path.name!r} in {path.parent}{hint}")
    identity = read_json(path / "run.json")
    ours = isinstance(identity.get("schema"), int) and isinstance(identity.get("id"), str)
    if not ours and not all((path / part).exists() for part in _SHAPE):
        raise ConfigError(f"{path.name} is not a run folder of twist: leave it, or take it away by hand")
