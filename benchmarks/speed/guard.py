"""The guard: a ratio that stays below 70 % of the committed one in three measurements is a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.speed.rows import WHOLE_PART, Part, Row

TOLERANCE = 0.7
MEASUREMENTS = 3


def kept(now: Row, committed: Row) -> float | None:
    """What is left of the committed value, 1 or more when it is as good; None where there is nothing to compare.

    Where low is good (times as long, seconds, slopes) the quotient is turned around. A share in percent is first read
    as the time with over the time without.

    Examples
    --------
    >>> from benchmarks.speed.rows import at_least, at_most
    >>> kept(Row("a", "", 6.0, at_least(5)), Row("a", "", 10.0, at_least(5)))
    0.6
    >>> kept(Row("b", "", 2.4, at_most(1.15)), Row("b", "", 1.2, at_most(1.15)))
    0.5
    """
    values = [_ratio(row) for row in (now, committed)]
    if values[0] is None or values[1] is None or now.goal is None:
        return None
    mine, theirs = values
    if not now.goal.at_least:
        mine, theirs = theirs, mine
    return mine / theirs if theirs > 0 else None


def _ratio(row: Row) -> float | None:
    return row.value if row.unit != "%" or row.value is None else 1 + row.value / 100


def fallen(rows: Sequence[Row], committed: Iterable[Row]) -> list[str]:
    """Keys of the rows that are below the tolerance, or that could not be measured any more.

    With a part that could not be measured at all, all its committed rows have fallen. A row that a quick measurement
    leaves out has not.
    """
    before = {row.key: row for row in committed if row.value is not None}
    if any(row.key.startswith(WHOLE_PART) for row in rows):
        return list(before)
    found = []
    for row in rows:
        if row.key not in before:
            continue
        share = kept(row, before[row.key])
        if row.value is None or (share is not None and share < TOLERANCE):
            found.append(row.key)
    return found


def check(
    parts: dict[str, Part], committed: dict[str, Part], measure_again: Callable[[str], Part]
) -> tuple[list[str], dict[str, Part]]:
    """Keys that stayed fallen in every measurement, and the last measurement of each part.

    Parameters
    ----------
    parts
        The first measurement.
    committed
        What it is held against; parts that are not in it are not checked.
    measure_again
        Measures a part by its letter.
    """
    parts = dict(parts)
    suspects = {
        letter: fallen(part.rows, committed[letter].rows) for letter, part in parts.items() if letter in committed
    }
    for _ in range(MEASUREMENTS - 1):
        for letter, keys in suspects.items():
            if keys:
                parts[letter] = measure_again(letter)
                again = fallen(parts[letter].rows, committed[letter].rows)
                suspects[letter] = [key for key in keys if key in again]
    return [key for keys in suspects.values() for key in keys], parts
