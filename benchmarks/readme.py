"""Blocks of the README that are written from committed records, each between two marks."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
RECORDS = Path(__file__).resolve().parent / "records"


def rewritten(text: str, begin: str, end: str, block: str) -> str:
    """The README with what stands between two marks replaced; the marks stay.

    Raises
    ------
    ValueError
        When the marks are not there exactly once each, in order.
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(
            f"README.md needs one line {begin!r} and one line {end!r} after it: add them where the table goes"
        )
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"
