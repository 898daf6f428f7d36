"""Copies of a person's own code in the run folder, so that a resume runs what the launch did."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from twist.runs.config import ConfigError, Recipe
from twist.runs.groups import is_own_code

FOLDER = "own_code"
_LARGEST = 1_000_000


def own_parts(recipe: Recipe) -> dict[str, str]:
    """Field and reference of every part of a recipe that is a person's own code: ``FILE.py:NAME``, ``module:NAME``."""
    fields = {
        "network.backbone": recipe.network.backbone,
        "objective.extra": recipe.objective.extra,
        "views.extra": recipe.views.extra,
    }
    return {name: value for name, value in fields.items() if value and is_own_code(value)}


def check_own_code(recipe: Recipe, *, only: Collection[str] | None = None) -> None:
    """Refuse references to files that are not there, before anything is written; ``only`` those of some fields.

    Raises
    ------
    ConfigError
        The field, the file, and where it was looked for.
    """
    for field, place in _files(recipe, only):
        path = Path(place).expanduser()
        if not path.is_file():
            raise ConfigError(f"{field}: there is no file {place!r} seen from {str(Path.cwd())!r}")
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{field}: {place!r} is larger than a source file of {_LARGEST:,} bytes")


def keep_own_code(recipe: Recipe, run_folder: Path, *, only: Collection[str] | None = None) -> None:
    """Copy the files of a recipe's own code into the run folder; `check_own_code` has been asked before."""
    for _, place in _files(recipe, only):
        copy = run_folder / FOLDER / _name(place)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(Path(place).expanduser().read_bytes())


def kept_file(place: str, run_folder: Path | None) -> Path:
    """The copy that a run keeps of a file; the file itself where no run is given.

    Raises
    ------
    ConfigError
        When it is not there; a run never goes on with another file than the one it began with.
    """
    path = Path(place).expanduser() if run_folder is None else run_folder / FOLDER / _name(place)
    if not path.is_file():
        where = f"at {place!r}" if run_folder is None else f"of {place!r} in {run_folder.name}/{FOLDER}"
        raise ConfigError(f"there is no file {where}: bring it back, or launch a new run")
    return path


def _files(recipe: Recipe, only: Collection[str] | None) -> list[tuple[str, str]]:
    parts = {field: part for field, part in own_parts(recipe).items() if only is None or field in only}
    places = [(field, reference.rpartition(":")[0]) for field, reference in parts.items()]
    return [(field, place) for field, place in places if place.endswith(".py")]


def _name(place: str) -> str:
    # Two files of one name from different folders must not meet.
    return f"{Path(place).stem}-{hashlib.sha256(place.encode()).hexdigest()[:8]}.py"
