"""How a field of a recipe is declared, checked, and read from text."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any


class ConfigError(ValueError):
    """A mistake in what a person asked for: the message names the thing, the value and the fix."""


def field(default: Any, help: str) -> Any:
    """A dataclass field with its default and the sentence that explains it."""
    return dataclasses.field(default=default, metadata={"help": help})


def require(condition: bool, name: str, value: Any, fix: str) -> None:
    """Refuse a value that breaks a condition: its name, the value and the fix."""
    if not condition:
        raise ConfigError(f"{name} is {value!r}: {fix}")


def require_range(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    """Refuse a pair that is no range within bounds."""
    require(
        len(pair) == 2 and low <= pair[0] <= pair[1] <= high,
        name,
        pair,
        f"give two numbers, smallest first, both between {low:g} and {high:g}",
    )


def require_share(name: str, value: float) -> None:
    """Refuse a number outside 0 to 1."""
    require(0 <= value <= 1, name, value, "give a probability between 0 and 1")


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not one of those allowed; the nearest is named."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}: give one of {', '.join(allowed)}{nearest(value, allowed)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A closing ``"; did you mean …?"`` for an unknown word, or nothing when no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def as_type(value: Any, kind: Any) -> Any:
    """A value read as the type of a field; ValueError or TypeError when it is none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null", "")):
            return None
        return as_type(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        parts = value.strip("()[] ").split(",") if isinstance(value, str) else list(value)
        parts = [part for part in parts if not (isinstance(part, str) and not part.strip())]
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            raise ValueError(value)
        return tuple(as_type(part, arguments[0]) for part in parts)
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[_lower(value)]
    if kind is int:
        number = float(value)
        if isinstance(value, bool) or number != int(number):
            raise ValueError(value)
        return int(value) if not isinstance(value, str) else int(number)
    if kind is float:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError(value)
        return float(value)
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _lower(value: Any) -> str:
    text = str(value).lower()
    if text not in ("true", "yes", "1", "false", "no", "0"):
        raise ValueError(value)
    return text


def spell(kind: Any) -> str:
    """A type in words, for messages."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return f"{spell(next(a for a in arguments if a is not type(None)))} or none"
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"{count}numbers separated by commas"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}[kind]
