"""Frozen runs: the folder of a run in which nothing was trained. Features of some model, classes by a labeler.

They have watch images and one snapshot, so every view of runs opens them; what only training makes is refused in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twist.runs.config import ConfigError
from twist.runs.store import read_json

#: Of ``run.json``: what a frozen run was made from.
KEY = "frozen"
#: Name of the recipe in the folder of one: it holds the images and the number of classes, and trains nothing.
RECIPE = "frozen"


def frozen_facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says of the model and of the labeler; empty for a run that was trained."""
    found = identity.get(KEY)
    return found if isinstance(found, dict) else {}


def is_frozen(path: Path) -> bool:
    """Whether a run's folder holds features and classes without training."""
    return bool(frozen_facts(read_json(Path(path) / "run.json")))


def frozen_sentence(facts: Mapping[str, Any]) -> str:
    """What a frozen run is, as part of a sentence.

    Examples
    --------
    >>> frozen_sentence({"model": "timm:resnet18", "labeler": "k-means"})
    'nothing was trained here: features of timm:resnet18, classes by k-means'
    """
    return f"nothing was trained here: features of {facts.get('model', 'a model')}, classes by {facts.get('labeler')}"


def frozen_words(facts: Mapping[str, Any]) -> str:
    """What a frozen run is, in sentences, with what a person should know of its pictures and features."""
    sentence = frozen_sentence(facts)
    notes = facts.get("notes")
    said = [str(note) for note in notes] if isinstance(notes, list) else []
    return " ".join([f"{sentence[0].upper()}{sentence[1:]}.", *said])


def refuse_frozen(path: Path, done: str) -> None:
    """Refuse what takes a training.

    Raises
    ------
    ConfigError
        For a frozen run: says what it is, and where what is asked for may be had.
    """
    facts = frozen_facts(read_json(Path(path) / "run.json"))
    if not facts:
        return
    of = facts.get("of") or {}
    instead = f"ask that of the run {of['name']!r}" if of.get("name") else "train a run with `twist train`"
    raise ConfigError(f"{Path(path).name} cannot be {done}: {frozen_sentence(facts)}; {instead}")
