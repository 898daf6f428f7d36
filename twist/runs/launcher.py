"""Start, watch, stop and resume runs from anywhere that sees their folders."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twist.runs.attempts import last_attempt
from twist.runs.config import ConfigError, Recipe, field_names, field_value, with_fields
from twist.runs.devices import check_device
from twist.runs.folders import check_name, create_run, find_run, runs_root
from twist.runs.handle import Run, TrainingFailed, check_minutes, start
from twist.runs.lock import lock_holder
from twist.runs.outputs import check_outputs

__all__ = ["Run", "TrainingFailed", "attach", "launch", "prepare", "start"]


def launch(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    exist_ok: bool = False,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    max_minutes: float | None = None,
    **changes: Any,
) -> Run:
    """Start a run in a process of its own and return at once; it survives a restart of the kernel.

    Parameters
    ----------
    recipe
        Name of a recipe, path of images, or a `Recipe`; none means ``images`` when images are given, else ``digits``.
    name
        Name of the run; none makes one from the recipe and the time.
    exist_ok
        When a run of that name and recipe exists: attach to it instead of refusing, so that a cell can be run twice.
    images, labels, label_names
        Images in memory (uint8 ``[N, H, W]``, ``[N, H, W, 3]`` or ``[N, C, H, W]``; arrays or tensors) instead of the
        recipe's; they are kept with the run. Labels are only shown, never learned from.
    max_minutes
        Minutes after which the run writes a checkpoint and stops, from the start of its process; `Run.resume` goes on
        exactly there. None sets no limit.
    **changes
        Fields to change, with two underscores for the dot: ``optim__epochs=5``.

    Raises
    ------
    ConfigError
        When something asked for cannot be: the message names it and the fix, and nothing was written.

    Examples
    --------
    ::

        run = twist.launch("digits", name="first", optim__epochs=20)
    """
    check_minutes(max_minutes)
    if exist_ok and name is not None and (runs_root() / check_name(name) / "run.json").is_file():
        existing = attach(name)
        refuse_another_recipe(existing, _resolve(recipe, changes, with_images=images is not None))
        return existing
    path = prepare(recipe, name=name, images=images, labels=labels, label_names=label_names, changes=changes)
    start(path, max_minutes=max_minutes)
    return Run(path)


def prepare(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    changes: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Path:
    """Check what was asked for and make the run's folder, without starting it; warn of what a batch cannot carry."""
    from twist.runs.batch import BatchWarning, batch_warnings
    from twist.runs.own_code import check_own_code, keep_own_code
    from twist.runs.sources import arrays_for_run, check_source

    recipe = _resolve(recipe, changes or {}, with_images=images is not None)
    check_device(recipe.device)
    arrays = None
    if images is not None:
        arrays = arrays_for_run(images, labels, label_names)
        count = len(arrays["images"])
    else:
        count = check_source(recipe.data)
    check_batch(recipe, count)
    check_own_code(recipe)
    for sentence in batch_warnings(recipe, count):
        warnings.warn(sentence, BatchWarning, stacklevel=3)
    path = create_run(recipe, name=name, root=root, arrays=arrays)
    keep_own_code(recipe, path)
    return path


def _resolve(recipe: str | Recipe | None, changes: Mapping[str, Any], *, with_images: bool) -> Recipe:
    from twist.runs.recipes import recipe as recipe_named

    if recipe is None:
        recipe = "images" if with_images else "digits"
    if isinstance(recipe, str):
        recipe = recipe_named(recipe)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"recipe is a {type(recipe).__name__}: give the name of a recipe, or a Recipe")
    recipe = with_fields(recipe, {key.replace("__", "."): value for key, value in changes.items()})
    return recipe.replace(data__source="@run/images.npz") if with_images else recipe


def refuse_another_recipe(run: Run, asked: Recipe) -> None:
    """Refuse to take an existing run for one of another recipe; the message names the fields that differ."""
    differences = [
        f"{name} is {field_value(run.recipe, name)!r} there, {field_value(asked, name)!r} here"
        for name in field_names()
        # Whether a missing set might have been fetched changes nothing of what was learned.
        if name != "data.download" and field_value(run.recipe, name) != field_value(asked, name)
    ]
    if differences:
        raise ConfigError(
            f"a run named {run.name!r} exists with another recipe ({'; '.join(differences)}): choose another name"
        )


def check_batch(recipe: Recipe, num_images: int) -> None:
    """Refuse a recipe whose batch is larger than its images, or no whole number of bunches, or whose record is."""
    check_outputs(recipe, num_images)
    count = min(num_images, recipe.data.max_images or num_images)
    if count < 2:
        raise ConfigError(f"{recipe.data.source} has {count} image to learn from: give at least 2, better thousands")
    if count < recipe.optim.batch_size:
        raise ConfigError(
            f"optim.batch_size is {recipe.optim.batch_size}, but {recipe.data.source} has only {count} images: "
            f"set optim.batch_size to {count} or less, or give more images"
        )
    bunch, batch = recipe.network.bunch_size, recipe.optim.batch_size
    if recipe.network.final_norm == "batch" and bunch is not None and bunch < batch and batch % bunch:
        raise ConfigError(
            f"network.bunch_size is {bunch}: give a divisor of optim.batch_size, {batch}, or none; "
            "--batch-size scales both"
        )


def attach(name: str = "last") -> Run:
    """A handle on an existing run: by name, by path, or ``last`` for the newest."""
    return Run(find_run(str(name)))


def discard_unstarted(run: Run) -> None:
    """Delete the folder of a run that failed before its first step: it holds nothing but the mistake."""
    run.record.poll()
    if run.record.last("metrics") is None and last_attempt(run.path) <= 1 and not lock_holder(run.path):
        shutil.rmtree(run.path, ignore_errors=True)
