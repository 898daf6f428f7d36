"""What a view is given, checked: the run it shows, and names that it knows."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import traitlets

from twist.runs.config import ConfigError


def is_newest(run: Any) -> bool:
    """Whether the newest run is asked for, whichever that is by then."""
    return isinstance(run, str) and run == "last"


def check_traits(widget: type[traitlets.HasTraits], given: Iterable[str]) -> None:
    """Refuse keywords that are no trait of a widget; traitlets itself takes any without a word.

    Parameters
    ----------
    widget
        The widget's class.
    given
        The keywords.

    Raises
    ------
    ConfigError
        When one is unknown: names it, and the one that was perhaps meant.

    Examples
    --------
    >>> class Map(traitlets.HasTraits):
    ...     color_by = traitlets.Unicode()
    >>> check_traits(Map, ["color_by"])
    >>> check_traits(Map, ["colour_by"])
    Traceback (most recent call last):
        ...
    twist.runs.fields.ConfigError: Map takes no 'colour_by': did you mean 'color_by'?
    """
    known = [*inspect.signature(widget).parameters, *widget.class_trait_names()]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see its docstring for what it takes"
            raise ConfigError(f"{widget.__name__} takes no {name!r}: {hint}")
