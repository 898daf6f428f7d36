"""Where the objective learns: short runs over consistency weight, temperature and strength of the augmentation.

``python -m benchmarks.where_it_learns IMAGES.npz``: 63 runs of 186 steps on the first 8,000 images of CIFAR-10, a
quarter of an hour of one processor; writes ``benchmarks/records/where_it_learns.json``, which the notebook
``13_where_it_learns`` draws. ``--runs FOLDER`` keeps the runs; a call that was cut goes on from there, and calls
with ``--part 1/2`` and ``--part 2/2`` share it. The last 2,000 images of IMAGES are never trained on: their labels
are asked at the end of each run for the accuracy of its nearest neighbors, beside those of the same net untrained.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.readme import RECORDS
from benchmarks.speed.settings import machine
from benchmarks.speed_recipe import accuracy_of
from twist.learn import datasets
from twist.learn.handover import network_of_run
from twist.learn.model import Model, load_model, model_of_recipe
from twist.learn.onset import onset_at_start, onset_of
from twist.learn.train import train
from twist.runs.config import ConfigError, Recipe
from twist.runs.handle import Run
from twist.runs.recipes import recipe
from twist.runs.store import write_json

RECORD = RECORDS / "where_it_learns.json"
WEIGHTS = (0.35, 0.5, 0.7, 0.9, 1.2, 1.7, 2.4)
TEMPERATURES = (0.5, 1.0, 2.0)
#: What two views of an image may differ in; "middle" is what `cifar10_tiny` has.
STRENGTHS: dict[str, dict[str, Any]] = {
    "mild": {
        "views__crop_scale": (0.7, 1.0),
        "views__brightness": 0.2,
        "views__contrast": 0.2,
        "views__saturation": 0.1,
        "views__hue": 0.05,
        "views__gray_probability": 0.1,
        "views__solarize_probability": (0.0, 0.0),
    },
    "middle": {},
    "strong": {
        "views__crop_scale": (0.1, 1.0),
        "views__brightness": 0.8,
        "views__contrast": 0.8,
        "views__saturation": 0.4,
        "views__hue": 0.2,
        "views__gray_probability": 0.4,
        "views__solarize_probability": (0.0, 0.4),
    },
}
TRAINED, ASKED = 8000, 2000
_POINTS = 24  # of the way of a run that are kept
_END = 0.1  # share of the steps whose mean is the end of a run: one batch of 128 is noisy


class Cell(NamedTuple):
    """One run of the grid."""

    strength: str
    temperature: float
    weight: float
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of its run."""
        return f"{self.strength}-t{self.temperature:g}-w{self.weight:g}-s{self.seed}"

    def recipe(self, source: str) -> Recipe:
        """`cifar10_tiny` made thin and short, with the three numbers of this cell."""
        return recipe("cifar10_tiny").replace(
            name="where-it-learns",
            data__source=source,
            data__max_images=TRAINED,
            views__size=20,
            network__widths=(32, 64),
            objective__temperature=self.temperature,
            objective__consistency_weight=self.weight,
            optim__epochs=3,
            optim__warmup_epochs=0.5,
            compute__precision="float32",
            record__log_every_steps=2,
            record__diagnose_every_steps=31,
            record__snapshot_every_epochs=0.5,
            record__checkpoint_every_epochs=3,
            record__watch_images=1000,
            device="cpu",
            seed=self.seed,
            **STRENGTHS[self.strength],
        )


def main() -> None:
    """Train what is missing, write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.where_it_learns", description=__doc__.splitlines()[0])
    parser.add_argument("images", metavar="IMAGES.npz", help="CIFAR-10's training images, or the first 10,000 of them")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; a temporary one when left out")
    parser.add_argument(
        "--record", action="store_true", help="train nothing: write the record of the runs that are done"
    )
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every N-th cell, beginning with the K-th")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    torch.set_num_threads(1)  # threads gain nothing on so small a net
    with tempfile.TemporaryDirectory() as passing:
        root = options.runs or Path(passing)
        root.mkdir(parents=True, exist_ok=True)
        os.environ["TWIST_RUNS"] = str(root)
        for cell in [] if options.record else list(cells())[part - 1 :: parts]:
            if not _result_of(root, cell).is_file():
                found = run_cell(cell, options.images, root)
                write_json(_result_of(root, cell), found)
                print(*(f"{key} {value}" for key, value in found.items() if key != "path"), sep="  ", flush=True)
        missing = [cell.name for cell in cells() if not _result_of(root, cell).is_file()]
        if missing:
            print(f"{len(missing)} cells are missing yet, {missing[0]} first: the record is one of the rest")
        RECORD.write_text(as_text(as_record(options.images, root)))


def cells() -> Iterator[Cell]:
    """All cells, those that matter most first: so a grid that was cut is a coarse one."""
    for temperature, strength in itertools.product((1.0, 0.5, 2.0), ("middle", "mild", "strong")):
        for weight in WEIGHTS:
            yield Cell(strength, temperature, weight)


def run_cell(cell: Cell, source: str, root: Path) -> dict[str, Any]:
    """Train one cell and say what became of it: terms at its end, its way, accuracy, verdict, processor seconds."""
    made = cell.recipe(source)
    if (root / cell.name).exists():
        shutil.rmtree(root / cell.name)  # cut before its result was written
    began = time.process_time()
    run = train(made, name=cell.name)
    seconds = time.process_time() - began
    known, asked, labels = _images(made)
    figures = _figures(run)
    score = _knn(run.load(), known, asked, labels)
    shared = {
        name: _short(value)
        for name, value in onset_of(network_of_run(run.path), known, made, num_images=3000)._asdict().items()
    }
    return {
        **cell._asdict(),
        **figures,
        **shared,
        "knn": score,
        "verdict": run.verdict.kind,
        "cpu_s": round(seconds, 1),
    }


def _figures(run: Run) -> dict[str, Any]:
    """Means over the end of a run, and its way through the entropy plane."""
    run.record.poll()
    table = run.record.metrics()
    end = table[table.index > (1 - _END) * table.index[-1]]
    terms = ("sharpness", "diversity", "mutual_information", "consistency")
    kept = np.unique(np.geomspace(1, len(table), _POINTS).round().astype(int)) - 1
    way = table[["train/sharpness", "train/diversity", "train/consistency"]].iloc[kept]
    last = table.ffill().iloc[-1]
    return {
        **{term: _short(end[f"train/{term}"].mean()) for term in terms},
        **{name: _short(last[f"train/{name}"]) for name in ("agreement", "row_std", "class_perplexity")},
        "agreement_of_epoch": _short(run.record.snapshot_metrics().ffill().iloc[-1].get("watch/agreement", np.nan)),
        "path": [[int(step), *map(_short, row)] for step, row in zip(way.index, way.to_numpy(), strict=True)],
    }


def _short(value: float) -> float:
    return round(float(value), 4)


def _images(made: Recipe) -> tuple[datasets.ImageSet, Tensor, Tensor]:
    """Images that are trained on; those asked about, and their labels."""
    whole = datasets.load(made.replace(data__max_images=None).data)
    if len(whole) < TRAINED + ASKED or whole.labels is None:
        raise ConfigError(f"{made.data.source} holds {len(whole)} images: give {TRAINED + ASKED} or more, with labels")
    return datasets.load(made.data), whole.images[-ASKED:], whole.labels[-ASKED:]


def _knn(model: Model, known: datasets.ImageSet, asked: Tensor, labels: Tensor) -> float:
    bank, queries = (model.features(images, batch_size=1000) for images in (known.images, asked))
    return accuracy_of(bank, known.labels, queries, labels)


def untrained(source: str) -> dict[str, float]:
    """Accuracy of the neighbors among features of the same net as drawn, with and without whitening, and of pixels."""
    made = Cell("middle", 1.0, 1.0).recipe(source)
    known, asked, labels = _images(made)
    views = made.views
    models = {
        "pixels": load_model("pixels", image_size=views.size, mean=views.mean, std=views.std),
        "untrained, whitened": model_of_recipe(made, known),
        "untrained": model_of_recipe(made.replace(network__whitening=False), known),
    }
    return {name: _knn(model, known, asked, labels) for name, model in models.items()}


def starts(source: str) -> list[dict[str, Any]]:
    """What the views share for each strength, of the network as it is drawn; its balance at each temperature."""
    found = []
    for strength in STRENGTHS:
        onset = onset_at_start(Cell(strength, 1.0, 1.0).recipe(source), num_epochs=2)
        balance = {
            f"{temperature:g}": _short(
                onset_at_start(Cell(strength, temperature, 1.0).recipe(source), num_images=1000, num_epochs=1).balance
            )
            for temperature in TEMPERATURES
        }
        shared = {"correlation": _short(onset.correlation), "best_direction": _short(onset.best_direction)}
        found.append({"strength": strength, **shared, "balance": balance})
    return found


def _result_of(root: Path, cell: Cell) -> Path:
    return root / f"{cell.name}.json"


def as_record(source: str, root: Path) -> dict[str, Any]:
    """Everything the notebook needs, strengths from mild to strong."""
    made = Cell("middle", 1.0, 1.0).recipe(source)
    classes, order = made.network.num_classes, list(STRENGTHS)
    done = [cell for cell in cells() if _result_of(root, cell).is_file()]
    ordered = sorted(done, key=lambda cell: (order.index(cell.strength), cell.temperature, cell.weight))
    return {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "images": {"name": "CIFAR-10", "trained": TRAINED, "asked": ASKED, "split": "train"},
        "note": f"thin net, 186 steps, {TRAINED:,} images of CIFAR-10, C = {classes}, N = {made.optim.batch_size}",
        "classes": classes,
        "untrained": untrained(source),
        "starts": starts(source),
        "cells": [json.loads(_result_of(root, cell).read_text()) for cell in ordered],
    }


def as_text(record: dict[str, Any]) -> str:
    """JSON with one line for each cell."""
    lines = ",\n".join(f"  {json.dumps(cell)}" for cell in record["cells"])
    head = json.dumps({**record, "cells": []}, indent=1).removesuffix("[]\n}")
    return f"{head}[\n{lines}\n ]\n}}\n"


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        print(f"where_it_learns: {error}", file=sys.stderr)
        sys.exit(2)
