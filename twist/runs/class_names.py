"""Names and notes that people give to learned classes, kept in one small file of the run folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

from twist.runs.config import ConfigError
from twist.runs.lock import in_turn
from twist.runs.store import SCHEMA, RecordError, read_json, write_json

FILE = "class_names.json"
LONGEST_NAME = 80
LONGEST_NOTE = 2_000


class ClassName(NamedTuple):
    """What a person says of a class.

    Attributes
    ----------
    name
        A word or two, one line; empty when it has none.
    note
        Anything longer; may have lines.
    """

    name: str = ""
    note: str = ""


def class_names(path: Path) -> dict[int, ClassName]:
    """The classes of a run that were named or noted, by class; empty for a run without them.

    Whatever is in the file that is no name is left out: it is read where anybody may have written.

    Raises
    ------
    RecordError
        When the file is there and holds no names at all, or those of a newer twist.
    """
    file = Path(path) / FILE
    if not file.is_file():
        return {}
    content = read_json(file)
    listed = content.get("classes")
    if not isinstance(listed, dict):
        raise RecordError(f"{Path(path).name}/{FILE} holds no names of classes: delete it or put back an older copy")
    if not isinstance(content.get("schema"), int) or content["schema"] > SCHEMA:
        raise RecordError(f"{Path(path).name}/{FILE} was written by a newer twist: update, or delete it")
    found = {}
    for key, entry in listed.items():
        if key.isascii() and key.isdecimal() and len(key) < 10 and isinstance(entry, dict):
            said = ClassName(_line(entry.get("name")), _text(entry.get("note")))
            if any(said):
                found[int(key)] = said
    return dict(sorted(found.items()))


def name_class(path: Path, class_id: int, name: str | None = None, note: str | None = None) -> dict[int, ClassName]:
    """Name a class or note something of it, and return all names of the run; None leaves that part as it is.

    An empty text takes the name or note away. The file is replaced at once, so that no reader meets half of it.

    Raises
    ------
    ConfigError
        When there can be no such class, or the text is too long.
    RecordError
        When the names that are there cannot be read.
    """
    if isinstance(class_id, bool) or not isinstance(class_id, int) or class_id < 0:
        raise ConfigError(f"class {class_id!r} is no class of a run: give its number, 0 or more")
    for words, given, most in (("name", name, LONGEST_NAME), ("note", note, LONGEST_NOTE)):
        if given is not None and not isinstance(given, str):
            raise ConfigError(f"the {words} of class {class_id} is {given!r}: give text")
        if given is not None and len(given) > most:
            raise ConfigError(f"the {words} of class {class_id} has {len(given):,} characters: give {most:,} at most")
    path = Path(path)
    with in_turn(path / FILE):
        known = class_names(path)
        old = known.get(class_id, ClassName())
        new = ClassName(old.name if name is None else _line(name), old.note if note is None else _text(note))
        if new == old:
            return known
        known[class_id] = new
        if not any(new):
            del known[class_id]
        entries = {str(key): said._asdict() for key, said in sorted(known.items())}
        write_json(path / FILE, {"schema": SCHEMA, "classes": entries})
    return dict(sorted(known.items()))


def _text(value: object) -> str:
    """Plain text: whatever steers a terminal or the direction of writing becomes a space; line ends stay."""
    if not isinstance(value, str):
        return ""
    shown = (" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n" else c for c in value)
    return "".join(shown).strip()[:LONGEST_NOTE]


def _line(value: object) -> str:
    return " ".join(_text(value).split())[:LONGEST_NAME]
