"""The record of one run of the bench: as JSON, as a table, as a block of the README."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.readme import rewritten
from benchmarks.speed.rows import Part, Row, spell

SCHEMA = 1
BEGIN, END = "<!-- speed: begin, written by `python -m benchmarks.speed --readme` -->", "<!-- speed: end -->"


@dataclass(frozen=True)
class Record:
    """What the bench found on one device.

    Attributes
    ----------
    device
        Slug of the device, the name of the record's file.
    machine
        Its description, without names of hosts or people.
    date
        Day of the run.
    parts
        By letter; those measured anew since say when and where.
    """

    device: str
    machine: dict[str, Any]
    date: str
    parts: dict[str, Part]

    @property
    def rows(self) -> list[Row]:
        """All rows in the order of the parts."""
        return [row for _, part in sorted(self.parts.items()) for row in part.rows]

    def with_parts(self, parts: dict[str, Part]) -> Record:
        """The same with these parts in place of its own."""
        return replace(self, parts={**self.parts, **parts})

    def with_newer(self, newer: Record) -> Record:
        """The same with the parts of a newer record, each with its own date and machine."""
        stamp = {"date": newer.date, "machine": newer.machine}
        return self.with_parts({letter: replace(part, **stamp) for letter, part in newer.parts.items()})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        plain = {
            "schema": SCHEMA,
            "device": self.device,
            "machine": self.machine,
            "date": self.date,
            "parts": {letter: part.as_dict() for letter, part in sorted(self.parts.items())},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_rounded(plain), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """A record that was written.

        Raises
        ------
        ValueError
            When it is of another schema.
        """
        plain = json.loads(path.read_text())
        if plain.get("schema") != SCHEMA:
            raise ValueError(
                f"{path.name} has schema {plain.get('schema')}, this bench reads {SCHEMA}: run `make bench`"
            )
        parts = {letter: Part.from_dict(part) for letter, part in plain["parts"].items()}
        return cls(plain["device"], plain["machine"], plain["date"], parts)


def _rounded(value: Any) -> Any:
    """Five significant digits: more is noise, and makes every diff unreadable."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def verdict(row: Row) -> str:
    """Whether a row's goal holds, in a word."""
    return {True: "yes", False: "NO", None: "-" if row.value is not None else "?"}[row.holds]


def value_text(row: Row) -> str:
    """A row's value with its unit."""
    if row.value is None:
        return "-"
    number = f"{row.value:.2f}" if row.unit in ("x", "s", "%", "") and abs(row.value) < 10 else spell(row.value)
    return number + {"x": " x", "%": " %", "s": " s", "": ""}.get(row.unit, f" {row.unit}")


def goal_text(row: Row) -> str:
    """A row's goal."""
    return "" if row.goal is None else f"{'≥' if row.goal.at_least else '≤'} {row.goal.bound:g}"


def table(rows: list[Row]) -> str:
    """All rows as text for a terminal: what, value, goal, whether it holds, and both sides below."""
    width = max((len(row.what) for row in rows), default=0)
    lines = [f"{'what':{width}}  {'measured':>14}  {'goal':>7}  holds"]
    for row in rows:
        lines.append(f"{row.what:{width}}  {value_text(row):>14}  {goal_text(row):>7}  {verdict(row)}")
        for side in (row.ours, row.peer, row.note):
            if side:
                lines.append(f"    {side}")
    return "\n".join(lines)


def machine_text(record: Record) -> str:
    """The machine in a sentence; in one for each, where parts were measured at different times."""
    found: dict[str, list[str]] = {}
    for letter, part in sorted(record.parts.items()):
        text = _machine_sentence(part.machine or record.machine, part.date or record.date)
        found.setdefault(text, []).append(letter)
    if len(found) == 1:
        return next(iter(found))
    return ". ".join(f"Parts {', '.join(letters)}: {text}" for text, letters in found.items())


def _machine_sentence(facts: dict[str, Any], date: str) -> str:
    gpu = f", {facts['gpu']}" if "gpu" in facts else ""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB{gpu}; torch {facts['torch']}, Python "
        f"{facts['python']}; load {facts['load']} at the start; {date}"
    )


def readme_block(record: Record) -> str:
    """The table in Markdown."""
    lines = ["| what | measured | goal | holds | ours | theirs |", "|---|---|---|---|---|---|"]
    for row in record.rows:
        ours = row.note if row.value is None else row.ours
        cells = [row.what, value_text(row), goal_text(row), verdict(row).lower(), ours, row.peer]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", f"Measured on: {machine_text(record)}."])


def rewrite_readme(text: str, record: Record) -> str:
    """The README with its block of speed replaced."""
    return rewritten(text, BEGIN, END, readme_block(record))
