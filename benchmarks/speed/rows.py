"""What a measurement says: figures, rows with a goal, and what one part of the bench found."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes
    ----------
    name
        Whose it is.
    values
        One for each repeat.
    unit
        Of the values.
    work
        What was done, where one part of the bench measures several things.
    peak_bytes
        Most memory of tensors alive at once beyond what was there before; None where it was not counted.
    """

    name: str
    values: list[float]
    unit: str
    work: str = ""
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Distance from the lowest to the highest repeat, as a share of the median."""
        return (max(self.values) - min(self.values)) / abs(self.median) if self.median else 0.0


@dataclass(frozen=True)
class Goal:
    """A bound on a row's ratio.

    Examples
    --------
    >>> at_least(15).met_by(17.5), at_most(1.15).met_by(1.3)
    (True, False)
    """

    bound: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Whether a ratio keeps to it."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    """The goal of a ratio that should be high."""
    return Goal(bound, True)


def at_most(bound: float) -> Goal:
    """The goal of a ratio that should be low."""
    return Goal(bound, False)


@dataclass(frozen=True)
class Row:
    """One line of the table: what we do, what a peer does, and how the two compare.

    Attributes
    ----------
    key
        Stable name, by which the guard finds the row in the committed record.
    what
        The work, in words.
    value
        What the goal is about: usually ours over the peer's, the median over the repeats; None when the row could not
        be measured.
    goal
        Bound on the value, or None for a row that only informs.
    ours, peer
        Both sides, in words and units.
    values
        The value in each repeat.
    unit
        How the value reads: ``x`` for a ratio, ``s`` for seconds, ``%`` for a share.
    note
        Why there is no value, or what to know about it.
    """

    key: str
    what: str
    value: float | None
    goal: Goal | None = None
    ours: str = ""
    peer: str = ""
    values: list[float] = field(default_factory=list)
    unit: str = "x"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None without a goal or a value."""
        return None if self.goal is None or self.value is None else self.goal.met_by(self.value)


@dataclass(frozen=True)
class Part:
    """What one part of the bench found.

    Attributes
    ----------
    name
        Its letter.
    rows
        Of the table.
    figures
        What the rows were computed from.
    details
        Further numbers.
    date, machine
        Of a part that was measured anew, later than the rest of its record; empty where the record's own hold.
    """

    name: str
    rows: list[Row]
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    machine: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Part:
        """The part that `as_dict` described."""
        rows = [Row(**{**row, "goal": row["goal"] and Goal(**row["goal"])}) for row in plain["rows"]]
        return cls(**{**plain, "rows": rows, "figures": [Figure(**figure) for figure in plain["figures"]]})


def compare(
    key: str, what: str, ours: Figure, peer: Figure, goal: Goal | None = None, *, slower: bool = False, note: str = ""
) -> Row:
    """The row of ours over a peer's, both in work per second and measured in the same turns.

    Parameters
    ----------
    slower
        Compare the time instead, peer's rate over ours: how many times as long we take.
    """
    pairs = list(zip(ours.values, peer.values, strict=True))
    values = [theirs / mine if slower else mine / theirs for mine, theirs in pairs]
    return Row(key, what, statistics.median(values), goal, describe(ours), describe(peer), values, note=note)


def compare_memory(key: str, what: str, ours: Figure, peer: Figure, goal: Goal | None = None) -> Row:
    """The row of the peer's memory over ours."""
    assert ours.peak_bytes and peer.peak_bytes
    mine, theirs = (f"{figure.name}: {spell_bytes(figure.peak_bytes)}" for figure in (ours, peer))
    return Row(key, what, peer.peak_bytes / ours.peak_bytes, goal, mine, theirs)


def missing(key: str, what: str, goal: Goal | None, why: str) -> Row:
    """A row that could not be measured, and why."""
    return Row(key, what, None, goal, note=why)


WHOLE_PART = "part/"


def broken(letter: str, what: str, why: str) -> Part:
    """A part whose measurement crashed or took too long: a single row, which says so."""
    return Part(letter, [missing(f"{WHOLE_PART}{letter}", what, None, f"could not be measured: {why}")])


def figures_of(
    rates: Mapping[str, list[float]],
    unit: str,
    *,
    work: str = "",
    amount: float = 1,
    memory: Mapping[str, int] | None = None,
) -> dict[str, Figure]:
    """Figures by name, from what `take_turns` returned.

    Parameters
    ----------
    amount
        What one unit of the rates is in ``unit``: the images of a batch where steps were counted.
    memory
        Peak bytes by name, where they were counted.
    """
    return {
        name: Figure(name, [amount * value for value in values], unit, work, (memory or {}).get(name))
        for name, values in rates.items()
    }


def best(figures: Sequence[Figure]) -> Figure:
    """The fastest of several ways to do the same."""
    return max(figures, key=lambda figure: figure.median)


def describe(figure: Figure) -> str:
    """A figure in words: ``exact, eager: 3,921 images/s ±4%``."""
    return f"{figure.name}: {spell(figure.median)} {figure.unit} ±{figure.spread / 2:.0%}"


def spell(value: float) -> str:
    """A number with three significant digits, thousands set apart.

    Examples
    --------
    >>> spell(18234.2), spell(0.01234), spell(3.149)
    ('18,234', '0.0123', '3.15')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spell_bytes(count: int) -> str:
    """Bytes in MiB.

    Examples
    --------
    >>> spell_bytes(3 * 2**20)
    '3 MiB'
    """
    return f"{spell(count / 2**20)} MiB"
