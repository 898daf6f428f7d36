"""What may be done to runs from their table, as questions with an answer: said first, done after a confirmation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twist.runs import forking, keeping, thinning
from twist.runs.config import ConfigError, field_help, field_names
from twist.runs.folders import check_name
from twist.runs.handle import start
from twist.runs.record import RunRecord
from twist.runs.thinning import spell_bytes

Values = Mapping[str, Any]


class Done(NamedTuple):
    """What became of an action: a sentence, and the name that the run has now; empty when it is gone."""

    sentence: str
    name: str


def ask(action: str, path: Path, values: Values | None = None) -> dict[str, Any]:
    """The question for an action: its sentence, its fields with what was put in so far, and what is wrong with that.

    Raises
    ------
    ConfigError
        When there is no such action, or the run is gone.
    """
    if action not in _QUESTIONS:
        raise ConfigError(f"there is no action {action!r}: give one of {', '.join(_QUESTIONS)}")
    if not path.is_dir():
        raise ConfigError(f"run {path.name} is gone: it was renamed, moved or deleted")
    question = {
        "action": action,
        "run": path.name,
        "problem": "",
        "danger": False,
        **_QUESTIONS[action](path, values or {}),
    }
    return question


def do(action: str, path: Path, values: Values) -> Done:
    """Do what was confirmed.

    Raises
    ------
    ConfigError
        When it cannot be done: says why; nothing was changed.
    """
    ask(action, path, values)
    return _DEEDS[action](path, values)


def _field(name: str, kind: str, label: str, value: Any = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "label": label, "value": value, **more}


def _ask_tags(path: Path, values: Values) -> dict[str, Any]:
    value = values.get("tags", ", ".join(keeping.tags_of(path)))
    fields = [_field("tags", "text", "Tags, with commas between", value)]
    return {"sentence": f"Tags of {path.name}: words of your own, to filter by.", "fields": fields, "verb": "Keep tags"}


def _do_tags(path: Path, values: Values) -> Done:
    wanted = [keeping.check_tag(part) for part in str(values.get("tags", "")).split(",") if part.strip()]
    gone = [tag for tag in keeping.tags_of(path) if tag not in wanted]
    kept = keeping.tag(path, *wanted, without=gone)
    return Done(f"{path.name} has {'the tags ' + ', '.join(kept) if kept else 'no tags'}.", path.name)


def _ask_rename(path: Path, values: Values) -> dict[str, Any]:
    sentence = (
        f"Renaming {path.name} renames its folder. Its record stays as it is, and its old name says where it went."
    )
    fields = [_field("name", "text", "New name", values.get("name", path.name))]
    return {"sentence": sentence, "fields": fields, "verb": "Rename"}


def _do_rename(path: Path, values: Values) -> Done:
    moved = keeping.rename(path, str(values.get("name", "")))
    return Done(f"{path.name} is now {moved.name}.", moved.name)


def _ask_delete(path: Path, values: Values) -> dict[str, Any]:
    use = thinning.disk_use(path)
    sentence = (
        f"Deleting {path.name} frees {spell_bytes(use.total)} ({spell_bytes(use.checkpoints)} of checkpoints, "
        f"{spell_bytes(use.snapshots)} of snapshots) for good: nothing brings it back."
    )
    fields = [_field("confirm", "text", f"Type {path.name} to confirm", values.get("confirm", ""))]
    return {"sentence": sentence, "fields": fields, "verb": "Delete for good", "danger": True, "needs": path.name}


def _do_delete(path: Path, values: Values) -> Done:
    keeping.delete(path, confirm=str(values.get("confirm", "")))
    return Done(f"{path.name} is deleted.", "")


def _plan(path: Path, values: Values) -> thinning.Thinning:
    counts = {}
    for name, standard in (("checkpoints", 2), ("snapshots", 4)):
        asked = values.get(name, standard)
        try:
            counts[name] = int(asked)
        except (TypeError, ValueError):
            raise ConfigError(f"{name} to keep is {asked!r}: give a whole number from 1") from None
    return thinning.plan_thinning(path, checkpoints=counts["checkpoints"], snapshots=counts["snapshots"])


def _ask_thin(path: Path, values: Values) -> dict[str, Any]:
    asked = {"checkpoints": values.get("checkpoints", "2"), "snapshots": values.get("snapshots", "4")}
    fields = [
        _field("checkpoints", "number", "Newest checkpoints kept", str(asked["checkpoints"]), again=True),
        _field("snapshots", "number", "Newest snapshots kept", str(asked["snapshots"]), again=True),
    ]
    try:
        plan = _plan(path, values)
    except ConfigError as error:
        return {"sentence": "", "fields": fields, "verb": "Thin", "problem": str(error)}
    return {"sentence": f"{plan.rule} {plan.sentence}", "fields": fields, "verb": "Thin", "danger": True}


def _do_thin(path: Path, values: Values) -> Done:
    freed = thinning.thin(_plan(path, values))
    return Done(f"{path.name} is thinned: {spell_bytes(freed)} are free.", path.name)


def _ask_fork(path: Path, values: Values) -> dict[str, Any]:
    steps = forking.checkpoint_steps(path)
    if not steps:
        raise ConfigError(f"run {path.name} has no checkpoint yet: there is nothing to fork from")
    sentence = (
        f"A fork starts at a checkpoint of {path.name}, with its weights and optimizer state, and goes on at that step "
        "on the schedules of its own recipe. The network and the images stay; all else may change."
    )
    fields = [
        _field(
            "step", "select", "From step", str(values.get("step", steps[-1])), choices=[str(step) for step in steps]
        ),
        _field("name", "text", "Name", values.get("name", ""), placeholder=f"{path.name}-fork"),
        _field(
            "changes",
            "lines",
            "Changed fields, one a line",
            values.get("changes", f"optim.epochs={RunRecord(path).recipe.optim.epochs * 2}"),
            placeholder="objective.sharpness_weight=0",
            helps={name: field_help(name) for name in field_names()},
        ),
    ]
    return {"sentence": sentence, "fields": fields, "verb": "Start the fork"}


def _do_fork(path: Path, values: Values) -> Done:
    changes = {}
    for line in filter(str.strip, str(values.get("changes", "")).splitlines()):
        field, equals, value = line.partition("=")
        if not equals:
            raise ConfigError(f"{line.strip()!r} has no '=': write FIELD=VALUE, as in optim.epochs=5")
        changes[field.strip()] = value.strip()
    name = str(values.get("name", "")).strip() or None
    if name is not None:
        check_name(name)
    step = str(values.get("step", "")).strip()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = forking.prepare_fork(path, int(step) if step.isdecimal() else None, name, changes)
    start(made)
    words = " ".join(str(warning.message) for warning in said)
    return Done(f"{made.name} goes on from {path.name} in the background. {words}".strip(), made.name)


_QUESTIONS = {
    "fork": _ask_fork,
    "tags": _ask_tags,
    "rename": _ask_rename,
    "thin": _ask_thin,
    "delete": _ask_delete,
}
_DEEDS = {"fork": _do_fork, "tags": _do_tags, "rename": _do_rename, "thin": _do_thin, "delete": _do_delete}
