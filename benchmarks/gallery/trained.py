"""The runs behind the figures: small, of digits, kept in build/gallery so that they are trained once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import twist
from twist.runs.config import Recipe
from twist.runs.recipes.zoo import specimens
from twist.runs.record import RunRecord

HOME = Path(__file__).parents[2]
RUNS = HOME / "build" / "gallery" / "runs"

#: Runs without a norm before the softmax, ten classes: the whole plane is open to them. Name -> the one weight that
#: differs from the first, which has a weight of 3 for diversity, as the specimen `healthy-no-norm` of the zoo.
OPEN_PLANE: dict[str, dict[str, float]] = {
    "all-three-terms": {},
    "no-sharpness": {"objective__sharpness_weight": 0.0},
    "no-diversity": {"objective__diversity_weight": 0.0},
    "weak-diversity": {"objective__diversity_weight": 0.3},
    "no-consistency": {"objective__consistency_weight": 0.0},
}


def recipes() -> dict[str, Recipe]:
    """Every run by its name; all on the CPU with one thread, so that they can be made again anywhere."""
    zoo = {specimen.name: specimen.recipe for specimen in specimens()}
    found = {"ten-digits": twist.recipe("digits").replace(record__snapshot_every_epochs=2.0)}
    found |= {name: zoo["healthy-no-norm"].replace(**changes) for name, changes in OPEN_PLANE.items()}
    found["with-norm"] = zoo["healthy"]
    found["with-norm-no-diversity"] = zoo["healthy"].replace(objective__diversity_weight=0.0)
    found["three-classes"] = twist.recipe("lab").replace(optim__epochs=40)
    return {name: recipe.replace(device="cpu") for name, recipe in found.items()}


def record(name: str) -> RunRecord:
    """The record of a run, trained first where it is not there yet."""
    os.environ["TWIST_RUNS"] = str(RUNS)
    run = twist.launch(recipes()[name], name=name, exist_ok=True)
    run.wait()
    found = RunRecord(run.path)
    found.poll()
    return found


def records(names: Sequence[str]) -> list[RunRecord]:
    """Records of several runs, one after the other."""
    return [record(name) for name in names]
