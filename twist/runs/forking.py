"""A run that goes on from another one's checkpoint with a changed recipe; the other is only read."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twist.runs.batch import BatchWarning, batch_warnings
from twist.runs.config import ConfigError, Recipe, field_names, field_value, with_fields
from twist.runs.devices import check_device
from twist.runs.folders import check_name, create_run, find_run, slug
from twist.runs.frozen import refuse_frozen
from twist.runs.handle import Run, start
from twist.runs.launcher import check_batch, refuse_another_recipe
from twist.runs.own_code import FOLDER, check_own_code, keep_own_code, own_parts
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, read_sealed_folder, step_folder, steps_in, write_sealed_folder
from twist.runs.turns import recipe_at

#: Fields of the network that change nothing of what its weights are.
_NETWORK_FREE = ("network.dropout", "network.drop_path", "network.bunch_size")
_SAME_IMAGES = ("data.source", "data.split", "data.max_images", "data.image_size")
_MEMORY = "images.npz"  # images handed over in memory


def fork(run: Any, step: int | None = None, name: str | None = None, *, exist_ok: bool = False, **changes: Any) -> Run:
    """Start a run that goes on from a checkpoint of another one, with fields changed; returns at once.

    Its weights, optimizer state, random state and step are those of the checkpoint; with nothing changed it ends with
    the very weights that the other run ends with. Every schedule is a function of the step and of the recipe, so the
    fork continues at the step of the checkpoint *on the schedules of its own recipe*: with more epochs the learning
    rate is at once what the longer recipe has at that step. A new batch size begins at the start of the epoch that the
    checkpoint is in, an other ``optim.optimizer`` with fresh moments, a teacher that is switched on as a copy of the
    network, and a new seed draws other views from there on. Knobs that were turned up to the checkpoint are part of the
    fork's recipe; those turned later are not turned again.

    Parameters
    ----------
    run
        The run to fork: a handle, a name, a path, or ``last``; it may be training.
    step
        Step of the checkpoint; none means the newest sound one.
    name
        Name of the new run; none makes one from the name of the other.
    exist_ok
        When a fork of that name, origin and recipe exists: attach to it instead of refusing, so that a cell can be run
        twice. Without a step, one from any checkpoint of the run will do.
    **changes
        Fields to change, with two underscores for the dot: ``objective__sharpness_weight=0``.

    Raises
    ------
    ConfigError
        When there is no such run, checkpoint or field; for fields that cannot change (the network, its number of
        classes, the images); when nothing would be left to train; and when the name is taken, with ``exist_ok`` by
        another run than the one asked for.

    Examples
    --------
    ::

        twist.fork("digits", objective__sharpness_weight=0, optim__epochs=60)
    """
    asked = {key.replace("__", "."): value for key, value in changes.items()}
    parent = _path_of(run)
    if exist_ok and name is not None and (parent.with_name(check_name(name)) / "run.json").is_file():
        existing = Run(parent.with_name(name))
        _refuse_another_origin(existing, RunRecord(parent), step)
        record = RunRecord(parent)
        record.poll()
        refuse_another_recipe(existing, with_fields(recipe_at(record, existing.record.forked_from.get("step")), asked))
        return existing
    path = prepare_fork(parent, step, name, asked)
    start(path)
    return Run(path)


def prepare_fork(
    run: Any, step: int | None = None, name: str | None = None, changes: Mapping[str, Any] | None = None
) -> Path:
    """Check what was asked for and make the folder of the fork, without starting it; arguments are those of `fork`."""
    path = _path_of(run)
    if name is not None:
        check_name(name)
    record = RunRecord(path)
    record.poll()
    refuse_frozen(path, "forked")
    begun = record.last("start")
    steps = checkpoint_steps(path)
    recipe = with_fields(record.recipe, dict(changes or {}))  # what nobody can have is refused at once
    check_device(recipe.device)
    if begun is None or not steps:
        raise ConfigError(f"run {path.name} has no checkpoint yet: there is nothing to fork from")
    step, files = _checkpoint(path, steps, step)
    parent = recipe_at(record, step)
    recipe = with_fields(parent, dict(changes or {}))
    changed = [field for field in field_names() if field_value(recipe, field) != field_value(parent, field)]
    for field in changed:
        _refuse_fixed(field, recipe, parent)
    check_batch(recipe, begun["num_images"])
    new_step = _step_of_fork(step, begun, recipe, path.name)
    changed_code = [field for field in own_parts(recipe) if field in changed]
    check_own_code(recipe, only=changed_code)
    for sentence in batch_warnings(recipe, begun["num_images"]):
        warnings.warn(sentence, BatchWarning, stacklevel=3)
    details = json.loads(files.pop("state.json"))
    # Of a fork's first checkpoint some parts are not there already.
    anew = sorted({*details.get("anew", ()), *_begun_anew(recipe, parent)})
    files = {file: content for file, content in files.items() if file.partition(".")[0] not in anew}
    files["state.json"] = json.dumps({**details, "step": new_step, "anew": anew}).encode()

    def fill(folder: Path) -> None:
        write_sealed_folder(folder / "checkpoints" / step_folder(new_step), files, {"step": new_step})
        if recipe.data.source == f"@run/{_MEMORY}":
            shutil.copyfile(path / _MEMORY, folder / _MEMORY)
        if (path / FOLDER).is_dir():
            shutil.copytree(path / FOLDER, folder / FOLDER)
        keep_own_code(recipe, folder, only=changed_code)

    origin = {
        "id": str(record.identity.get("id", "")),
        "name": path.name,
        "step": step,
        "images": details["facts"].get("images"),
        "changed": {field: _plain(field_value(recipe, field)) for field in changed},
    }
    stem = f"{slug(path.name)}-fork"
    return create_run(recipe, name=name, root=path.parent, stem=stem, origin={"forked_from": origin}, fill=fill)


def checkpoint_steps(path: Path) -> list[int]:
    """Steps of the checkpoints on disk, sound or not, ascending."""
    return steps_in(Path(path) / "checkpoints")


def _path_of(run: Any) -> Path:
    return Path(run.path) if hasattr(run, "path") else find_run(str(run))


def _refuse_another_origin(existing: Run, parent: RunRecord, step: int | None) -> None:
    """Refuse to take a run of that name for a fork of the parent, unless it is one; from that step, if one is asked."""
    origin = existing.record.forked_from
    if not origin or origin.get("id") != str(parent.identity.get("id", "")):
        raise ConfigError(
            f"a run named {existing.name!r} exists and is no fork of {parent.name!r}: choose another name"
        )
    if step is not None and origin.get("step") != step:
        raise ConfigError(
            f"{existing.name!r} was forked from {parent.name!r} at step {origin.get('step')}, not at {step}: "
            "choose another name"
        )


def _refuse_fixed(field: str, recipe: Recipe, parent: Recipe) -> None:
    """Refuse a change that a checkpoint cannot survive, with the reason."""
    was, asked = field_value(parent, field), field_value(recipe, field)
    if field.startswith("network.") and field not in _NETWORK_FREE:
        raise ConfigError(
            f"{field} is {asked!r}, but a fork keeps the network that its weights belong to ({was!r}): "
            "launch a new run instead"
        )
    if field in _SAME_IMAGES:
        raise ConfigError(
            f"{field} is {asked!r}, but a fork keeps its images ({was!r}), to which steps, watch images and the record "
            "of every image belong: launch a new run instead"
        )
    if field == "views.size" and recipe.network.backbone.startswith(("vit_", "timm:")):
        raise ConfigError(
            f"views.size is {asked!r}, but {recipe.network.backbone} has learned the positions of patches at {was}: "
            "launch a new run instead"
        )


def _checkpoint(path: Path, steps: list[int], step: int | None) -> tuple[int, dict[str, bytes]]:
    """Step and files of the checkpoint asked for, or of the newest sound one, held against their checksums."""
    if step is not None and step not in steps:
        there = ", ".join(map(str, steps))
        raise ConfigError(f"run {path.name} has no checkpoint at step {step}: it has those of {there}")
    problem = ""
    for candidate in [step] if step is not None else reversed(steps):
        try:
            return candidate, read_sealed_folder(path / "checkpoints" / step_folder(candidate))
        except RecordError as error:
            problem = problem or str(error)
    raise ConfigError(f"run {path.name} cannot be forked there: {problem}")


def _step_of_fork(step: int, begun: Mapping[str, Any], recipe: Recipe, name: str) -> int:
    """The step at which the fork goes on: that of the checkpoint, with another batch size that of its epoch's start."""
    steps_per_epoch = begun["num_images"] // recipe.optim.batch_size
    if recipe.optim.batch_size != begun["batch_size"]:
        step = step // begun["steps_per_epoch"] * steps_per_epoch
    if step >= recipe.total_epochs * steps_per_epoch:
        raise ConfigError(
            f"nothing is left to train: the checkpoint of {name} stands at epoch {step / steps_per_epoch:g} and the "
            f"fork has {recipe.total_epochs}: raise optim.epochs, or fork from an earlier step"
        )
    return step


def _begun_anew(recipe: Recipe, parent: Recipe) -> list[str]:
    """Parts of the state that the changes leave no use for."""
    parts = {
        "optimizer": recipe.optim.optimizer != parent.optim.optimizer,
        "teacher": recipe.teacher.enabled != parent.teacher.enabled,
        "random": recipe.seed != parent.seed,
        "visits": recipe.optim.batch_size != parent.optim.batch_size,
    }
    return [name for name, anew in parts.items() if anew]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
