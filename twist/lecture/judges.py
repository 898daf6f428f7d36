"""Judges of common kinds of answers: a number, a choice, an array. None of them gives the answer away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from twist.lecture.exercise import Judge


def near(
    expected: float, *, within: float = 0.005, unit: str = "nats", known: Mapping[float, str] | None = None
) -> Judge:
    """Judge of a number, right within a tolerance.

    Parameters
    ----------
    expected
        The right number.
    within
        Greatest difference that is right.
    unit
        What the number counts, for the sentences; one that begins with "the" is no count, as "the share".
    known
        Numbers that show a certain mistake, each with the sentence that says which. They are recognized within 5 % of
        themselves, so that a coarse tolerance takes no small number for another.

    Examples
    --------
    >>> judge = near(0.693, known={1.0: "That is in bits: use the natural logarithm."})
    >>> judge(0.6931), judge(1.0), judge(0.5)
    ('', 'That is in bits: use the natural logarithm.', 'Your number of nats is too small.')
    """

    def judge(answer: Any) -> str:
        number = _number(answer)
        if not math.isfinite(number):
            return f"{number} is no finite number."
        if abs(number - expected) <= within:
            return ""
        for value, sentence in (known or {}).items():
            if abs(number - value) <= (max(min(within, 0.05 * abs(value)), 0.005 * abs(value)) or within):
                return sentence
        if not unit.startswith("the "):
            return f"Your number of {unit} is too {'small' if number < expected else 'large'}."
        if abs(number / 100 - expected) <= within:
            return "That is in percent: 1 would be all of it."
        return f"{unit.capitalize()} is {'larger' if number < expected else 'smaller'} than that."

    return judge


def choice(right: str, wrong: Mapping[str, str]) -> Judge:
    """Judge of one word out of several, also said with "the" or beside one more; every wrong one has its sentence.

    Examples
    --------
    >>> judge = choice("left", {"right": "There H(Y|X) is at its top."})
    >>> judge("Left "), judge("right"), judge("up")
    ('', 'There H(Y|X) is at its top.', "Choose one of 'left', 'right'.")
    """
    options = ", ".join(sorted(repr(each) for each in [right, *wrong]))
    said = {_plain(right): "", **{_plain(each): sentence for each, sentence in wrong.items()}}

    def judge(answer: Any) -> str:
        word = _plain(str(answer))
        meant = {each for each in said if word == each or each.endswith(f".{word}")}
        if not meant and len(word.split()) == 2 and not word.startswith("not "):  # "partial collapse"
            meant = set(word.split()) & set(said)
        return said[meant.pop()] if len(meant) == 1 else f"Choose one of {options}."

    return judge


def array_near(expected: Sequence[float] | np.ndarray, *, within: float = 0.005, unit: str = "nats") -> Judge:
    """Judge of an array of numbers, right when each is within a tolerance.

    Examples
    --------
    >>> judge = array_near([0.0, 1.0])
    >>> judge([0, 1]), judge([0.0, 0.5]), judge([1.0])
    ('', 'Number 2 of 2 is off: too small a number of nats.', 'An array of shape (2,) is asked for, not (1,).')
    """
    target = np.asarray(expected, float)

    def judge(answer: Any) -> str:
        found = np.asarray(answer, float)
        if found.shape != target.shape:
            return f"An array of shape {target.shape} is asked for, not {found.shape}."
        off = ~(np.abs(found - target) <= within)
        if not off.any():
            return ""
        first = int(off.ravel().argmax())
        side = "small" if found.ravel()[first] < target.ravel()[first] else "large"
        return f"Number {first + 1} of {target.size} is off: too {side} a number of {unit}."

    return judge


def _plain(word: str) -> str:
    """A word without quotes, dashes and "the", fields with dots: "One-class." is "one class"."""
    return word.strip(" '\".!()\n").lower().replace("__", ".").replace("-", " ").removeprefix("the ")


def rows_of(answer: Any, count: int) -> np.ndarray:
    """Different rows out of what names some: a number, a list, a set, an array or tensor, or a mask of all ``count``.

    Raises
    ------
    ValueError
        When these are no whole numbers, or a mask of another length.

    Examples
    --------
    >>> rows_of([2, 0, 2], 3), rows_of({1}, 3), rows_of([False, True, True], 3)
    (array([0, 2]), array([1]), array([1, 2]))
    """
    listed = answer if hasattr(answer, "__array__") else list(answer) if isinstance(answer, Iterable) else [answer]
    found = np.atleast_1d(np.asarray(listed))
    if found.dtype == bool:
        if found.shape != (count,):
            raise ValueError(f"a mask needs {count} entries, one for each row, and this has {found.size}")
        return np.flatnonzero(found)
    numbers = np.asarray(found, float)
    if not (numbers == np.round(numbers)).all():
        raise ValueError("rows are whole numbers, counted from 0")
    return np.unique(numbers.astype(int))


def pair_of_run(answer: Any) -> tuple[Any, Any] | None:
    """A run and what was named beside it, or None where an answer is no such pair."""
    is_pair = isinstance(answer, tuple | list) and len(answer) == 2 and hasattr(answer[0], "record")
    return (answer[0], answer[1]) if is_pair else None


def _number(answer: Any) -> float:
    """One number out of what holds one: a Python number; an array, tensor or list with a single element."""
    if isinstance(answer, list | tuple) and len(answer) == 1:
        return _number(answer[0])
    return float(answer.item() if hasattr(answer, "item") else answer)
