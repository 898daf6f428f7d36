"""Named recipes: each a function whose docstring says what it is for, what it needs and what to expect."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

from twist.runs.config import ConfigError, Recipe, nearest
from twist.runs.recipes import small

_RECIPES: dict[str, Callable[[], Recipe]] = {
    name: function
    for name, function in inspect.getmembers(small, inspect.isfunction)
    if function.__module__ == small.__name__ and not name.startswith("_")
}


def recipe_names() -> list[str]:
    """Names that `recipe` knows."""
    return sorted(_RECIPES)


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
    if name in _RECIPES:
        return _RECIPES[name]()
    if os.sep in name or name.endswith(".npz") or os.path.isdir(name):
        return small.images().replace(data__source=name)
    raise ConfigError(
        f"unknown recipe {name!r}{nearest(name, _RECIPES)}; there are {', '.join(recipe_names())}, "
        "or give the path of a folder of images or of an .npz file"
    )
