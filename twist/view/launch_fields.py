"""What the launch form shows and checks: a recipe's fields as inputs, and the config's own words about their values."""

from __future__ import annotations

import functools
import re
import shlex
import types
import typing
from typing import Any

from twist.runs.batch import batch_warnings, scaled_to_batch
from twist.runs.config import ConfigError, Recipe, field_help, field_names, field_value, with_fields
from twist.runs.devices import check_device
from twist.runs.folders import check_name, runs_root
from twist.runs.launcher import check_batch
from twist.runs.named_sets import NAMED_SETS
from twist.runs.own_code import check_own_code
from twist.runs.recipes import recipe, recipe_facts, recipe_groups, recipe_summary
from twist.runs.sources import check_source

#: Shown before all others: what is changed from run to run.
COMMON = (
    *("data.source", "data.max_images", "network.backbone", "network.num_classes", "optim.epochs", "optim.batch_size"),
    *("optim.learning_rate", "views.size", "views.crop_scale", "objective.temperature", "seed", "device"),
)
_GROUPS = ("data", "network", "optim", "views", "objective", "run", "record", "self_label", "teacher", "compute")
_TITLES = {"optim": "optimization", "self_label": "self-labelling", "run": "run"}
_RUN_HELP = "Which run of the recipe this is, and where it computes."
_OPEN = {"data.source": tuple(NAMED_SETS), "device": ("auto", "cpu", "cuda", "mps")}


def recipe_table() -> list[dict[str, str]]:
    """Every named recipe with its group, its one line, and what it was made for."""
    return [
        {"name": name, "group": group, "summary": recipe_summary(name), "hardware": recipe_facts(name).hardware}
        for group, names in sorted(recipe_groups().items(), reverse=True)
        for name in names
    ]


@functools.cache
def field_table() -> list[dict[str, Any]]:
    """The fields in groups, in reading order: label, sentence, kind of input, choices, whether it is a common one."""
    rows: dict[str, list[dict[str, Any]]] = {group: [] for group in _GROUPS}
    for name in field_names():
        if name == "name":  # of the recipe; a run has a name of its own
            continue
        group, _, leaf = name.rpartition(".")
        rows[group or "run"].append(
            {
                "name": name,
                "label": leaf.replace("_", " "),
                "help": field_help(name),
                "common": name in COMMON,
                **_input_of(name),
            }
        )
    hints = typing.get_type_hints(Recipe)
    return [
        {
            "name": group,
            "title": _TITLES.get(group, group),
            "help": _RUN_HELP if group == "run" else (hints[group].__doc__ or "").partition("\n")[0],
            "fields": sorted(fields, key=lambda row: not row["common"]),
        }
        for group, fields in rows.items()
    ]


def _input_of(name: str) -> dict[str, Any]:
    """How a field is asked for: its kind, its choices, whether these are all, and whether it may be none."""
    group, _, leaf = name.rpartition(".")
    hints = typing.get_type_hints(typing.get_type_hints(Recipe)[group] if group else Recipe)
    kind, optional = hints[leaf], False
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind, optional = next(part for part in typing.get_args(kind) if part is not type(None)), True
    if typing.get_origin(kind) is tuple:
        return {"kind": "numbers", "optional": optional, "choices": [], "open": True}
    word = {bool: "bool", int: "int", float: "float", str: "text"}[kind]
    choices = _choices(name) if kind is str else ()
    return {"kind": word, "optional": optional, "choices": list(choices), "open": name in _OPEN or "backbone" == leaf}


def _choices(name: str) -> tuple[str, ...]:
    """Words that a field may hold, from what the config says of one that it may not."""
    if name in _OPEN:
        return _OPEN[name]
    try:
        with_fields(Recipe(), {name: "?"})
    except ConfigError as error:
        found = re.search(r": give one of (.+?)(?: \(did you mean|$)", str(error))
        return tuple(found[1].split(", ")) if found else ()
    return ()


def spell_field(value: Any) -> str:
    """A value as a person writes it in an input; `with_fields` reads it back.

    Examples
    --------
    >>> spell_field((0.2, 1.0)), spell_field(None), spell_field(True), spell_field(0.002)
    ('0.2, 1', '', 'true', '0.002')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(spell_field(part) for part in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def values_of(asked: Recipe) -> dict[str, str]:
    """Every field of a recipe as text."""
    return {name: spell_field(field_value(asked, name)) for name in field_names() if name != "name"}


class Checked(typing.NamedTuple):
    """What a form says, checked as a launch checks it.

    Attributes
    ----------
    recipe
        What would be run; None while something is wrong.
    errors
        A sentence for each field that is wrong, by its name; ``run`` is the run's name, ``""`` is none in particular.
    warnings
        What too small a batch will cost.
    facts
        ``images``, ``steps_per_epoch``, ``steps``.
    follows
        Fields that should follow the batch size: ``field``, ``before``, ``after`` as text, ``why``.
    """

    recipe: Recipe | None
    errors: dict[str, str]
    warnings: list[str] = []
    facts: dict[str, int] = {}
    follows: list[dict[str, str]] = []


def check(name: str, changes: dict[str, str], run_name: str = "") -> Checked:
    """Check a form by the config's own rules, and by those of a launch; nothing is written."""
    base = recipe(name)
    asked, errors = _read(base, changes)
    if run_name:
        try:
            if (runs_root() / check_name(run_name)).exists():
                raise ConfigError(f"a run named {run_name!r} exists already: choose another name, or leave it empty")
        except ConfigError as error:
            errors["run"] = str(error)
    if asked is None:
        return Checked(None, errors)
    count = None
    for place, look in (
        ("device", lambda: check_device(asked.device)),
        ("data.source", lambda: check_source(asked.data)),
        ("", lambda: check_own_code(asked)),
    ):
        try:
            found = look()
            count = found if place == "data.source" else count
        except ConfigError as error:
            errors.setdefault(_place_of(str(error)) or place, str(error))
    facts: dict[str, int] = {}
    warnings: list[str] = []
    if count is not None:
        try:
            check_batch(asked, count)
            per_epoch = count // asked.optim.batch_size
            facts = {"images": count, "steps_per_epoch": per_epoch, "steps": per_epoch * asked.total_epochs}
            warnings = batch_warnings(asked, count)
        except ConfigError as error:
            errors.setdefault(_place_of(str(error)) or "data.source", str(error))
    follows = _followers(base, asked) if "optim.batch_size" in changes else []
    return Checked(None if errors else asked, errors, warnings, facts, follows)


def _read(base: Recipe, changes: dict[str, str]) -> tuple[Recipe | None, dict[str, str]]:
    """The recipe with its changes, and what is wrong; each error that a field owns is set aside to find the next."""
    left, errors = dict(changes), dict[str, str]()
    while True:
        try:
            asked = with_fields(base, left)
            return (None if errors else asked), errors
        except ConfigError as error:
            place = _place_of(str(error))
            errors[place] = str(error)
            if place not in left:
                return None, errors
            del left[place]


def _place_of(sentence: str) -> str:
    """The field that a message begins with, as all of the config's do; empty where it is about something else."""
    found = re.match(r"([a-z_.]+)(?::| is| has| failed)", sentence)
    return found[1] if found and found[1] in field_names() else ""


def _followers(base: Recipe, asked: Recipe) -> list[dict[str, str]]:
    """What hangs on the batch size and was not moved with it."""
    _, derived = scaled_to_batch(base, asked.optim.batch_size)
    return [
        {"field": one.field, "before": spell_field(one.before), "after": spell_field(one.after), "why": one.why}
        for one in derived
        if field_value(asked, one.field) != one.after and (one.field[:4] != "self" or asked.self_label.epochs)
    ]


def python_line(name: str, asked: Recipe, changes: dict[str, str], run_name: str) -> str:
    """The line of Python that starts the same run."""
    parts = [repr(name)] + ([f"name={run_name!r}"] if run_name else [])
    parts += [f"{field.replace('.', '__')}={field_value(asked, field)!r}" for field in changes]
    return f"run = twist.launch({', '.join(parts)})"


def command_line(name: str, changes: dict[str, str], run_name: str) -> str:
    """The command that starts the same run and returns at once."""
    words = ["twist", "train", name, *(["--name", run_name] if run_name else [])]
    for field, value in changes.items():
        words += ["--set", f"{field}={value or 'none'}"]
    return shlex.join([*words, "--detach"])
