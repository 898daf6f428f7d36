"""Where runs live, what they may be called, and how the folder of a new one is made."""

from __future__ import annotations

import datetime
import functools
import hashlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twist.runs.config import ConfigError, Recipe, nearest, to_dict
from twist.runs.store import SCHEMA, read_json, sync_folder, write_json

#: A person's notes on a run, in its folder: its tags, and the names it had.
KEEPING = "keeping.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}


def runs_root() -> Path:
    """The folder of all runs: ``TWIST_RUNS``, else the nearest ``data/runs`` upward, else ``./runs``."""
    if chosen := os.environ.get("TWIST_RUNS"):
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "data" / "runs").is_dir():
            return folder / "data" / "runs"
    return here / "runs"


def check_name(name: str) -> str:
    """The name itself when it can name a run folder; otherwise a `ConfigError` that says what is allowed."""
    if name == "last":
        raise ConfigError("run name 'last' means the newest run everywhere: give another name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.split(".")[0].lower() in _RESERVED:
        shown = name if len(str(name)) <= 60 else f"{name[:60]}…"
        raise ConfigError(
            f"run name {shown!r} cannot name a folder: use 1 to 100 letters, digits, '.', '_' or '-', "
            "starting with a letter or a digit"
        )
    return name


def create_run(
    recipe: Recipe,
    *,
    name: str | None = None,
    root: Path | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
    stem: str | None = None,
    origin: Mapping[str, Any] | None = None,
    fill: Callable[[Path], None] | None = None,
) -> Path:
    """Make the folder of a new run and write its recipe; the folder's name is the run's name.

    Parameters
    ----------
    recipe
        What the run will do.
    name
        Name of the run; none means the recipe's name and the time, made unique.
    root
        Folder of all runs; none means `runs_root`.
    arrays
        Images handed over in memory (``images``, optional ``labels`` and ``label_names``): kept with the run.
    stem
        Without a name: what the name is made from instead, with a number behind it where it is taken.
    origin
        What ``run.json`` says besides, of a run that comes from another one.
    fill
        Called with the folder before it appears under its name, to put more into it.

    Raises
    ------
    ConfigError
        When the name cannot name a folder, or is taken.
    """
    root = runs_root() if root is None else Path(root)
    if name is not None:
        check_name(name)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"runs cannot be kept in {root} ({error.strerror}): set TWIST_RUNS to a folder that can be written"
        ) from None
    stem = name or stem or f"{slug(recipe.name)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    staging = root / f".{stem}.{os.getpid()}.{secrets.token_hex(4)}"
    staging.mkdir()
    try:
        for folder in ("events", "snapshots", "checkpoints", "attempts", "control"):
            (staging / folder).mkdir()
        if arrays is not None:
            with open(staging / "images.npz", "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        write_json(staging / "recipe.json", to_dict(recipe))
        if fill is not None:
            fill(staging)
        for attempt in range(1, 10_000):
            path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
            write_json(staging / "run.json", {**_identity(path.name, recipe), **(origin or {})})
            try:
                if os.path.lexists(path):  # a rename onto an *empty* folder would succeed, and a stranger's may be
                    raise FileExistsError(path)
                os.rename(staging, path)
            except OSError:
                if not os.path.lexists(path):
                    raise
                if name is not None:
                    raise ConfigError(
                        f"a run named {name!r} exists already in {root}: choose another name, "
                        f"or look at it with `twist show {name}`"
                    ) from None
                continue
            sync_folder(root)
            return path
        raise ConfigError(f"no free name like {stem!r} in {root}: give a name")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def slug(text: str) -> str:
    """A text made into the stem of a run's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60] or "run"


def _identity(name: str, recipe: Recipe) -> dict[str, Any]:
    from twist import __version__

    return {
        "schema": SCHEMA,
        "id": secrets.token_hex(8),
        "name": name,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "twist": __version__,
        "code": code_state(),
    }


@functools.cache
def code_state() -> dict[str, Any]:
    """Git commit of twist's own source and a hash of what was changed in it; empty outside a checkout."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return {}
    try:
        commit = _git(source, "rev-parse", "HEAD").decode().strip()
        changes = _git(source, "diff", "HEAD", "--", "twist")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "changes": hashlib.sha256(changes).hexdigest()[:16] if changes else None}


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=2, check=True).stdout


def find_run(name: str = "last", *, root: Path | None = None) -> Path:
    """The folder of a run, by name, by path, or ``last`` for the newest.

    Raises
    ------
    ConfigError
        When there is none; the message names the nearest run and the folder that was searched.
    """
    root = runs_root() if root is None else Path(root)
    if name == "last":
        paths = run_paths(root)
        if not paths:
            raise ConfigError(f"there is no run in {root} yet: start one with `twist train digits`")
        return paths[-1]
    if os.sep in str(name) or (os.altsep and os.altsep in str(name)):
        path = Path(name).expanduser().absolute()
        if (path / "run.json").is_file():
            return path
        raise ConfigError(f"{name!r} is no run folder: it has no run.json")
    if _NAME.fullmatch(str(name)) and (root / name / "run.json").is_file():
        return root / name
    names = [path.name for path in run_paths(root)]
    if now := renamed_to(str(name), root):
        raise ConfigError(f"there is no run {name!r} in {root}: it is called {now!r} now")
    raise ConfigError(f"there is no run {name!r} in {root}{nearest(str(name), names)}; `twist list` shows all")


def run_named(source: str, *, root: Path | None = None) -> Path | None:
    """Folder of the run that the name of a model stands for, trained or not, at a step or not; None for other models.

    Examples
    --------
    >>> run_named("timm:resnet18?weights=random") is None
    True
    """
    name = source if Path(source).exists() else source.partition("?")[0]
    if Path(name).is_file() or name == "pixels" or name.startswith(("timm:", "torchvision:")):
        return None
    name = name.removeprefix("random:").removeprefix("teacher:")
    path = Path(name)
    if path.parent.name == "checkpoints" and (path.parent.parent / "run.json").is_file():
        return path.parent.parent.absolute()
    try:
        return find_run(name if path.exists() else name.rpartition("@")[0] or name, root=root)
    except ConfigError:
        return None


def former_names(path: Path) -> tuple[str, ...]:
    """Names that a run had before, oldest first."""
    found = read_json(path / KEEPING).get("former_names")
    names = found if isinstance(found, list) else []
    return tuple(name for name in names if isinstance(name, str) and _NAME.fullmatch(name) and name != path.name)


def renamed_to(name: str, root: Path) -> str | None:
    """Present name of the run that was once called so, or None."""
    return next((path.name for path in reversed(run_paths(root)) if name in former_names(path)), None)


def gone(path: Path) -> str:
    """Why the folder of a run, known by its path, is not there any more: it was renamed, or deleted."""
    now = renamed_to(path.name, path.parent)
    return f"there is no run {path.name!r} any more: it " + (
        f"is called {now!r} now" if now else "was deleted or moved"
    )


def run_paths(root: Path | None = None) -> list[Path]:
    """Folders of all runs, oldest first."""
    root = runs_root() if root is None else Path(root)
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        found = [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    paths = [Path(path) for path in found if os.path.isfile(os.path.join(path, "run.json"))]
    return sorted(paths, key=lambda path: ((path / "run.json").stat().st_mtime_ns, path.name))
