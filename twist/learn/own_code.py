"""A person's own backbone, loss term or augmentation, by import path, kept with the run."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from twist.runs.config import OWN_CODE, ConfigError
from twist.runs.own_code import kept_file


def load_own(reference: str, *, run_folder: Path | None = None) -> Callable[..., Any]:
    """What a reference ``FILE.py:NAME`` or ``package.module:NAME`` names.

    Parameters
    ----------
    reference
        The value of a recipe's field.
    run_folder
        Folder of the run; the copy of the file that was kept there at the launch is read, not the file itself, so that
        a resumed run goes on with the code it began with.

    Raises
    ------
    ConfigError
        When there is no such file, module or name, or loading it fails.
    """
    found = OWN_CODE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"{reference!r} is no reference: give FILE.py:NAME or package.module:NAME")
    place, name = found["place"], found["name"]
    try:
        module = _from_file(kept_file(place, run_folder)) if place.endswith(".py") else importlib.import_module(place)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a person's file may raise anything
        raise ConfigError(f"{reference!r} cannot be loaded ({type(error).__name__}: {error})") from error
    if not callable(getattr(module, name, None)):
        public = ", ".join(sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_"))
        raise ConfigError(f"{place!r} has no function or class {name!r}: it has {public or 'none'}")
    return getattr(module, name)


def call_own(field: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a person's function of a recipe's field returns.

    Raises
    ------
    ConfigError
        When it raises: the field, the error, and the line.
    """
    try:
        return function(*arguments)
    except torch.OutOfMemoryError:
        raise
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{field} failed with {type(error).__name__}: {error} (line {last.lineno} of {Path(last.filename).name})"
        ) from error


def fingerprint(reference: str, *, run_folder: Path | None = None) -> str:
    """First 16 hex digits of the SHA-256 of the source file that a loaded reference names; ``unknown`` without one."""
    place = reference.rpartition(":")[0]
    source = kept_file(place, run_folder) if place.endswith(".py") else getattr(sys.modules[place], "__file__", None)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if source else "unknown"


def _from_file(path: Path) -> ModuleType:
    name = f"twist_own_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickles look their module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
