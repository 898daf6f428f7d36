"""Named recipes: each a function whose docstring says what it is for, what it needs and what to expect."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

from twist.runs.config import ConfigError, Recipe, nearest
from twist.runs.recipes import lab, paper, small
from twist.runs.recipes.facts import RecipeFacts

__all__ = ["RecipeFacts", "recipe", "recipe_facts", "recipe_groups", "recipe_names", "recipe_summary"]

_GROUPS = {"paper": paper, "small": small, "lab": lab}
_RECIPES: dict[str, Callable[[], Recipe]] = {
    name: getattr(module, name) for module in _GROUPS.values() for name in module.FACTS
}
_FACTS: dict[str, RecipeFacts] = {**paper.FACTS, **small.FACTS, **lab.FACTS}


def recipe_names() -> list[str]:
    """Names that `recipe` knows."""
    return sorted(_RECIPES)


def recipe_groups() -> dict[str, list[str]]:
    """Names of the recipes by group, in reading order: those of the paper, for small images, and for the lab."""
    return {group: list(module.FACTS) for group, module in _GROUPS.items()}


def recipe_facts(name: str) -> RecipeFacts:
    """Hardware of a recipe, and what was published of it."""
    return _FACTS[name]


def recipe_summary(name: str) -> str:
    """First line of a recipe's description."""
    return (inspect.getdoc(_RECIPES[name]) or "").partition("\n")[0]


def recipe(name: str) -> Recipe:
    """The recipe of a name; the path of a folder of images or of an ``.npz`` gives the recipe `images` on it.

    Raises
    ------
    ConfigError
        For an unknown name: names the nearest one.

    Examples
    --------
    >>> recipe("digits").network.num_classes
    10
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"{type(name).__name__} is no recipe: give a name, one of {', '.join(recipe_names())}, or a path"
        )
    if name in _RECIPES:
        return _RECIPES[name]()
    if os.sep in name or name.endswith(".npz") or os.path.isdir(name):
        return small.images().replace(data__source=name)
    raise ConfigError(
        f"unknown recipe {name!r}{nearest(name, _RECIPES)}; there are {', '.join(recipe_names())}, "
        "or give the path of a folder of images or of an .npz file"
    )
