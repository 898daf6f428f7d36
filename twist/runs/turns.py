"""Knobs turned while a run trains: which fields may be, when each was, and the recipe that was in force at a step.

A turned knob acts from the next step on. Those in force stand in ``turns.json`` of the run folder, so that a resume
finds them again at their own steps; every one is an event of the log as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError, Recipe, ViewsConfig, field_names, field_value, nearest, with_fields
from twist.runs.record import RunRecord
from twist.runs.store import read_json, write_json

#: File of a run folder with its turns, and the step at which a replay stops.
TURNS = "turns.json"
MOST_STEPS = 1_000_000
#: Steps within which turns of one field are one pull at its dial.
ONE_PULL = 25

_VIEWS = (
    *("crop_scale", "crop_ratio", "flip_probability", "rotation_degrees", "shift", "zoom", "shear_degrees", "stretch"),
    *("jitter_probability", "brightness", "contrast", "saturation", "hue", "gray_probability"),
    *("blur_probability", "blur_sigma", "solarize_probability", "local_crop_scale", "local_blur_probability", "noise"),
)
#: Fields that act at the next step of a run that trains.
LIVE_FIELDS = (
    *(f"objective.{name}_weight" for name in ("consistency", "sharpness", "diversity", "extra")),
    *("objective.temperature", "objective.consistency_temperature"),
    *("optim.learning_rate", "optim.weight_decay"),
    *(f"views.{name}" for name in _VIEWS),
)
#: Those of them that the self-labelling stage does not read.
FIRST_STAGE_FIELDS = frozenset(
    (
        *(f"objective.{name}_weight" for name in ("consistency", "sharpness", "diversity")),
        *("objective.consistency_temperature", "optim.learning_rate", "views.crop_scale", "views.local_crop_scale"),
    )
)


@dataclass(frozen=True)
class Turn:
    """Knobs turned between two steps.

    Attributes
    ----------
    step
        Steps done by then: the next one is the first with the new values.
    changes
        New value of each field, by its dotted name.
    before
        The values that these fields had.
    """

    step: int
    changes: dict[str, Any]
    before: dict[str, Any] = field(default_factory=dict)


def check_turn(recipe: Recipe, changes: Mapping[str, Any], *, self_labelling: bool = False) -> Recipe:
    """The recipe with knobs turned, dotted names; text is read as the field's type.

    Parameters
    ----------
    recipe
        The one in force.
    changes
        New values, by dotted name.
    self_labelling
        Whether the run is in its self-labelling stage, which does not read all of the fields.

    Raises
    ------
    ConfigError
        When nothing is turned, for a field that is unknown or acts only from the start, and for a value that it cannot
        hold.

    Examples
    --------
    >>> check_turn(Recipe(), {"objective.sharpness_weight": "0"}).objective.sharpness_weight
    0.0
    """
    if not changes:
        raise ConfigError(f"no field is turned: give one or more of {', '.join(LIVE_FIELDS[:3])} …")
    for name in changes:
        if name in LIVE_FIELDS:
            continue
        known = field_names()
        if name not in known:
            raise ConfigError(f"unknown field {name!r}{nearest(str(name), known)}; `twist fields` lists all")
        raise ConfigError(f"{name} acts only from the start: launch again with {name}={changes[name]}")
    temperature = "objective.consistency_temperature"
    if temperature in changes and field_value(recipe, temperature) is None:
        raise ConfigError(
            f"{temperature} is none in this run, so its one dial is objective.temperature: turn that, or launch again"
        )
    if self_labelling and (idle := [name for name in changes if name in FIRST_STAGE_FIELDS]):
        raise ConfigError(
            f"{idle[0]} acts no more: the run is in its self-labelling stage, which does not read it; "
            "fork it from an earlier checkpoint to go on with another value"
        )
    turned = with_fields(recipe, dict(changes))
    if temperature in changes and field_value(turned, temperature) is None:
        raise ConfigError(f"{temperature} is none: give a number above 0, as the run began with one")
    return turned


def check_steps(count: Any) -> int:
    """A number of steps to take, or a `ConfigError`."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_STEPS:
        raise ConfigError(f"steps is {count!r}: give a whole number from 1 to {MOST_STEPS:,}")
    return count


def make_turn(recipe: Recipe, step: int, changes: Mapping[str, Any], *, self_labelling: bool = False) -> Turn:
    """The turn that these changes make of a recipe in force; fields that already have the value are left out."""
    turned = check_turn(recipe, changes, self_labelling=self_labelling)
    moved = [name for name in changes if field_value(turned, name) != field_value(recipe, name)]
    return Turn(
        step,
        {name: _plain(field_value(turned, name)) for name in moved},
        {name: _plain(field_value(recipe, name)) for name in moved},
    )


def with_turns(recipe: Recipe, turns: Iterable[Turn]) -> Recipe:
    """The recipe after all of these turns, in their order."""
    changes: dict[str, Any] = {}
    for turn in turns:
        changes |= turn.changes
    return with_fields(recipe, changes) if changes else recipe


def turns_of(record: RunRecord) -> list[Turn]:
    """Turns in force, oldest first, as far as the record was polled; those that a rewind took back are left out.

    A resumed or replayed run does turns again at their steps: before that, they are not among these.
    """
    planned = read_plan(record.path).turns
    if not planned:
        return []
    newest = max((event.get("step", 0) for event in record.events), default=-1)
    return [turn for turn in planned if turn.step <= newest]


def acted_by(turns: Iterable[Turn], step: int) -> list[Turn]:
    """Those of the turns that the numbers of a step were made with: a turn acts from the step after it."""
    return [turn for turn in turns if turn.step < step]


def newest_values(turns: Sequence[Turn]) -> dict[str, tuple[int, Any]]:
    """For every turned field the step of its last turn, and the value before; pulls in quick succession are one turn.

    Examples
    --------
    >>> pulls = [Turn(9, {"optim.learning_rate": 0.1}, {"optim.learning_rate": 1.0})]
    >>> pulls += [Turn(10, {"optim.learning_rate": 0.0}, {"optim.learning_rate": 0.1})]
    >>> newest_values(pulls)
    {'optim.learning_rate': (10, 1.0)}
    """
    found: dict[str, tuple[int, Any]] = {}
    for turn in turns:
        for name in turn.changes:
            before = turn.before.get(name)
            if name in found and turn.step - found[name][0] <= ONE_PULL:
                before = found[name][1]
            found[name] = (turn.step, before)
    return found


def recipe_at(record: RunRecord, step: int | None = None) -> Recipe:
    """The recipe with all turns up to a step, the one that acts in the step after it; none means the newest."""
    turns = turns_of(record)
    return with_turns(record.recipe, turns if step is None else [turn for turn in turns if turn.step <= step])


def recipe_of_state(record: RunRecord, step: int) -> Recipe:
    """The recipe by which the network at a step was trained at last; the record need not be polled."""
    return with_turns(record.recipe, acted_by(read_plan(record.path).turns, step))


@dataclass(frozen=True)
class Plan:
    """What stands in a run's file: what was turned or is to be turned again, and where the run shall end or wait.

    Attributes
    ----------
    turns
        Oldest first, done or still to come.
    stop, hold
        Step at which a replay stops, and at which a rewound run holds; None where it goes on.
    rewound
        Of a rewind that the log does not tell of yet: ``to`` and ``from``, steps.
    """

    turns: tuple[Turn, ...] = ()
    stop: int | None = None
    hold: int | None = None
    rewound: dict[str, int] | None = None


def read_plan(path: Path) -> Plan:
    """The plan of a run; empty where there is none, and what is damaged in it is left out."""
    content = read_json(Path(path) / TURNS)
    found = content.get("turns")
    turns = [_read_turn(each) for each in found] if isinstance(found, list) else []
    stop, hold, rewound = (content.get(name) for name in ("stop", "hold", "rewound"))
    return Plan(
        tuple(turn for turn in turns if turn is not None),
        stop if isinstance(stop, int) else None,
        hold if isinstance(hold, int) else None,
        rewound if isinstance(rewound, dict) and isinstance(rewound.get("to"), int) else None,
    )


def write_plan(path: Path, plan: Plan) -> None:
    """Write a run's plan so that a kill leaves the old one or the new."""
    content = {name: value for name, value in dataclasses.asdict(plan).items() if value is not None}
    write_json(Path(path) / TURNS, content)


def _read_turn(found: Any) -> Turn | None:
    try:
        turn = Turn(int(found["step"]), dict(found["changes"]), dict(found.get("before", {})))
        with_fields(Recipe(), {name: value for name, value in turn.changes.items() if name in LIVE_FIELDS})
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return turn if turn.step >= 0 and turn.changes and all(name in LIVE_FIELDS for name in turn.changes) else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------------------------------------------------------------
# One dial for all of the augmentation

#: Largest value that the dial gives to what it scales.
_MOST = {
    "rotation_degrees": 180.0,
    "shift": 0.5,
    "shear_degrees": 75.0,
    "stretch": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
    "noise": 1.0,
    "flip_probability": 0.5,
    "gray_probability": 1.0,
    "local_blur_probability": 1.0,
    "blur_probability": 1.0,
    "solarize_probability": 1.0,
}
_CROPS = ("crop_scale", "local_crop_scale")
_FACTORS = {"crop_ratio": (0.05, 20.0), "zoom": (0.1, 10.0)}
SMALLEST_CROP = 0.02


def with_strength(views: ViewsConfig, base: ViewsConfig, strength: float) -> ViewsConfig:
    """Views with every range of their augmentation as a base has it, times one strength.

    Parameters
    ----------
    views
        What is changed: their sizes, channels and the like stay.
    base
        The ranges at strength 1.
    strength
        0, plain images, to 2; each range ends at what is valid.

    Raises
    ------
    ConfigError
        For a strength outside 0 to 2.

    Examples
    --------
    >>> with_strength(ViewsConfig(), ViewsConfig(brightness=0.3), 0.5).brightness
    0.15
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 2:
        raise ConfigError(f"views.strength is {strength!r}: give a number from 0, plain images, to 2")
    scaled: dict[str, Any] = {"jitter_probability": base.jitter_probability, "blur_sigma": base.blur_sigma}
    for name, most in _MOST.items():
        value = getattr(base, name)
        most = max(most, *value) if isinstance(value, tuple) else max(most, value)  # at 1 it is the base, always
        scaled[name] = (
            tuple(min(most, strength * each) for each in value)
            if isinstance(value, tuple)
            else min(most, strength * value)
        )
    for name in _CROPS:
        low, high = getattr(base, name)
        least = min(SMALLEST_CROP, low)
        scaled[name] = tuple(max(least, 1 - strength * (1 - each)) for each in (low, high))
    for name, (low, high) in _FACTORS.items():
        scaled[name] = tuple(min(high, max(low, math.exp(strength * math.log(each)))) for each in getattr(base, name))
    if strength == 1:
        scaled = {name: getattr(base, name) for name in scaled}  # to the last bit
    return dataclasses.replace(views, **scaled)


def strength_changes(views: ViewsConfig, base: ViewsConfig, strength: float) -> dict[str, Any]:
    """The turn that gives the views a strength of the base: new values by dotted name, those that differ alone."""
    turned = with_strength(views, base, strength)
    return {
        f"views.{name}": _plain(getattr(turned, name))
        for name in _VIEWS
        if getattr(turned, name) != getattr(views, name)
    }


def strength_of(views: ViewsConfig, base: ViewsConfig) -> float | None:
    """The strength of the base that these views have, 0 to 2; None where no place of the one dial gives them."""
    guesses = {0.0, 1.0, 2.0}
    for name in _MOST:
        for mine, its in zip(_tuple(getattr(views, name)), _tuple(getattr(base, name)), strict=True):
            if its:
                guesses.add(mine / its)
    for name in _CROPS:
        for mine, its in zip(getattr(views, name), getattr(base, name), strict=True):
            if its != 1:
                guesses.add((1 - mine) / (1 - its))
    for name in _FACTORS:
        for mine, its in zip(getattr(views, name), getattr(base, name), strict=True):
            if its != 1:
                guesses.add(math.log(mine) / math.log(its))
    for guess in sorted(guesses, key=lambda guess: (guess not in (0.0, 1.0, 2.0), guess)):
        if 0 <= guess <= 2 and _close(with_strength(views, base, guess), views):
            return guess
    return None


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _close(one: ViewsConfig, other: ViewsConfig) -> bool:
    return all(
        math.isclose(mine, its, rel_tol=1e-9, abs_tol=1e-12)
        for name in _VIEWS
        for mine, its in zip(_tuple(getattr(one, name)), _tuple(getattr(other, name)), strict=True)
    )
