"""The knobs of the collapse lab: which act while it trains, which from the start, and how they stand in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twist.runs.config import ConfigError, Recipe, field_help, field_value, nearest, with_fields
from twist.runs.launcher import check_batch
from twist.runs.recipes import recipe as recipe_named
from twist.runs.turns import LIVE_FIELDS, strength_of, with_strength

#: One dial for all augmentations, no field of a recipe: 0 shows plain images, 1 is the recipe, 2 twice as much.
STRENGTH = "views.strength"
#: Knobs that act at the next step.
LIVE = (
    "objective.consistency_weight",
    "objective.sharpness_weight",
    "objective.diversity_weight",
    "objective.temperature",
    "optim.learning_rate",
    STRENGTH,
)
#: Knobs that act from the start: a turn of one starts the run anew from the same seed.
FROM_THE_START = ("network.final_norm", "network.num_classes", "optim.batch_size", "seed")
KNOBS = (*LIVE, *FROM_THE_START)

NUM_DIGITS = 1797
_STRENGTH_HELP = "Strength of all augmentations at once: 0 shows plain images, 1 is the recipe, 2 twice as much."


def base_recipe() -> Recipe:
    """The recipe that the lab's knobs are turned from."""
    return recipe_named("lab")


def knob_help(name: str) -> str:
    """The sentence that explains a knob."""
    return _STRENGTH_HELP if name == STRENGTH else field_help(name)


def healthy_knobs() -> dict[str, Any]:
    """Every knob as the lab's recipe has it."""
    return knobs_of(base_recipe())


def knobs_of(recipe: Recipe) -> dict[str, Any]:
    """Every knob as it stands in a recipe; without the strength where no place of that dial gives its views."""
    strength = strength_of(recipe.views, base_recipe().views)
    found = {name: field_value(recipe, name) for name in KNOBS if name != STRENGTH}
    return found if strength is None else {name: found.get(name, strength) for name in KNOBS}


def check_knobs(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The healthy knobs with some of them changed, each as its field has it.

    Raises
    ------
    ConfigError
        For a knob that is unknown, or a value that it cannot have.
    """
    return knobs_of(recipe_of(knobs))


def recipe_of(knobs: Mapping[str, Any]) -> Recipe:
    """The lab's recipe with these knobs; those left out are healthy.

    Raises
    ------
    ConfigError
        For a knob that is unknown, or a value that it cannot have.
    """
    for name in knobs:
        if name not in KNOBS:
            raise ConfigError(f"the lab has no knob {name!r}{nearest(name, KNOBS)}: it has {', '.join(KNOBS)}")
    base = base_recipe()
    recipe = with_fields(base, as_fields(knobs, base))
    check_batch(recipe, NUM_DIGITS)
    return recipe


def as_fields(knobs: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Changes of knobs as changes of a recipe's fields: the strength becomes the ranges of the views.

    Raises
    ------
    ConfigError
        When the strength is no number from 0 to 2.
    """
    fields = {name: value for name, value in knobs.items() if name != STRENGTH}
    if STRENGTH in knobs:
        strength = _strength(knobs[STRENGTH])
        views = with_strength(recipe.views, base_recipe().views, strength)
        names = [name for name in LIVE_FIELDS if name.startswith("views.")]
        fields |= {name: getattr(views, name.removeprefix("views.")) for name in names}
    return fields


def as_knobs(changes: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Changes of a recipe's fields as changes of knobs; ``recipe`` has them already. Other fields stay as they are."""
    ranges = {name for name in changes if name.startswith("views.") and name in LIVE_FIELDS}
    knobs = {name: value for name, value in changes.items() if name not in ranges}
    if not ranges:
        return knobs
    strength = strength_of(recipe.views, base_recipe().views)
    return dict(changes) if strength is None else {**knobs, STRENGTH: strength}


def _strength(value: Any) -> float:
    try:
        strength = float(value)
    except (TypeError, ValueError):
        strength = -1.0
    if not 0 <= strength <= 2:
        raise ConfigError(f"{STRENGTH} is {value!r}: give a number from 0 (plain images) to 2")
    return strength
