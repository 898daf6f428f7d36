"""Published results: a few seeds of a recipe, asked by every protocol beside what costs no learning, as a record.

``python -m benchmarks.results SET`` trains the recipe of a set once per seed through ``twist.run_many``, asks every run
by the protocols of ``twist evaluate``, beside it the same network untrained, the same network trained with all labels,
and the pixels, and writes ``benchmarks/records/results/SET.json`` and the tables in README.md. What is there already is
found again: runs and answers lie in ``--work`` (``build/results`` by default), so a stopped call is simply repeated.
``--readme`` only rewrites the tables from the committed records.

On a GPU: ``make results-gpu MINUTES=55`` trains one seed after the other on CIFAR-10 with a ResNet-18, stops in time
with a checkpoint and status 124, and goes on when it is called again; ``SET=cifar10-gpu-classes`` is the run of ten
classes. By hand a run is ``twist train cifar10 --max-minutes 55`` with the fields that the record calls changes,
``twist resume RUN --max-minutes 55``, and ``twist evaluate RUN --protocol knn,linear,classes``.

Images are looked for in ``--root``, else ``TWIST_DATA``, else ``data/images``: ``FashionMNIST/raw``, and for CIFAR-10
``cifar-10-batches-py`` or the sprites ``cifar10-webp``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.readme import README, RECORDS, rewritten
from benchmarks.result_sets import SETS, ResultSet
from benchmarks.result_tables import BEGIN, END, readme_block
from benchmarks.speed.settings import machine
from twist.runs.config import ConfigError, DataConfig
from twist.runs.handle import Run
from twist.runs.lock import lock_holder
from twist.runs.record import RunRecord
from twist.runs.results import Result, find_results
from twist.runs.store import steps_in, write_json
from twist.runs.sweep import run_many

FOLDER = RECORDS / "results"
#: Shares of the labels that fine-tuning uses; all of them from an untrained net are the supervised one's.
FRACTIONS = {"twist": (0.01, 0.1, 1.0), "untrained": (0.01, 0.1)}
#: What is asked of whom. A run answers for its seed; of pixels only the starts of k-means are drawn.
ASKED = {
    "twist": ("knn", "linear", "linear-sgd", "classes", "kmeans", "finetune"),
    "untrained": ("knn", "linear", "linear-sgd", "kmeans", "finetune"),
    "supervised": ("supervised",),
    "pixels": ("knn", "linear", "kmeans"),
}


class OutOfTime(Exception):
    """The minutes for training are over; every run was told to write a checkpoint."""


class ProcessorTime:
    """Processor seconds of training processes, looked up while they run and kept in a file."""

    def __init__(self, file: Path, runs: list[Path], *, max_minutes: float | None = None):
        self.file, self.runs = file, runs
        self.end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self.seconds: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.is_file() else {}

    def look(self, *_: Any) -> None:
        """Take down how much every process has used by now; an ended one keeps its last number.

        Raises
        ------
        OutOfTime
            When the minutes are over.
        """
        if self.end is not None and time.monotonic() > self.end:
            raise OutOfTime
        for run in self.runs:
            holder = lock_holder(run)
            if holder is None:
                continue
            try:
                family = [psutil.Process(holder), *psutil.Process(holder).children(recursive=True)]
                used = sum(sum(process.cpu_times()[:2]) for process in family)
            except psutil.Error:
                continue
            kept = self.seconds.setdefault(run.name, {})
            kept[str(holder)] = max(round(used, 1), kept.get(str(holder), 0.0))

    def of(self, run: str) -> float | None:
        """Processor seconds of all attempts at a run; None for one that was never looked at."""
        return sum(self.seconds[run].values()) if run in self.seconds else None

    def keep(self, *_: Any) -> None:
        """Write them down."""
        write_json(self.file, self.seconds)


def train(
    name: str,
    work: Path,
    root: str | None,
    seeds: Sequence[int],
    jobs: int | None = None,
    *,
    max_minutes: float | None = None,
) -> tuple[list[Run], str | None]:
    """The runs of a set, trained where they were not yet; and what they are asked about."""
    chosen = SETS[name]
    data, test = chosen.make(work / "sets", root)
    names = [f"{name}-seed{seed}" for seed in seeds]
    (work / "runs").mkdir(parents=True, exist_ok=True)
    file, folders = work / f"{name}-processor.json", [work / "runs" / one for one in names]
    times = ProcessorTime(file, folders, max_minutes=max_minutes)
    try:
        runs = run_many(
            [chosen.recipe_for(data, seed) for seed in seeds],
            names=names,
            jobs=jobs,
            root=work / "runs",
            on_done=times.keep,
            on_progress=times.look,
        )
    finally:
        times.keep()
    return runs, test


def adopt(
    name: str, work: Path, root: str | None, seeds: Sequence[int], folders: Sequence[str]
) -> tuple[list[Run], str | None]:
    """Runs of a set's recipe that were trained elsewhere; and what they are asked about.

    Raises
    ------
    ConfigError
        When one is a run of another recipe or seed.
    """
    chosen = SETS[name]
    _, test = chosen.make(work / "sets", root)
    runs = [Run(Path(folder)) for folder in folders]
    for run, seed in zip(runs, seeds, strict=True):
        wanted = chosen.recipe_for({"data.source": run.recipe.data.source, "data.root": run.recipe.data.root}, seed)
        if run.recipe != wanted:
            raise ConfigError(f"{run.name} is no run of {chosen.command} with seed {seed}: give those of the set")
    return runs, test


def ask(
    runs: Sequence[Run], seeds: Sequence[int], test: str | None, *, only: Sequence[str], device: str
) -> list[dict[str, Any]]:
    """A row for every method and protocol, from answers that are there or are found now."""
    rows: list[dict[str, Any]] = []
    asked = ""
    for method, protocols in ASKED.items():
        for protocol in protocols:
            if only and protocol not in only:
                continue
            for fraction in FRACTIONS[method] if protocol == "finetune" else (None,):
                began = time.perf_counter()
                if method == "pixels":
                    data = runs[0].recipe.data
                    answers = [_answer("pixels", protocol, None, seeds, data, test, device, asked=asked)]
                else:
                    sources = [f"random:{run.path}" if method == "untrained" else str(run.path) for run in runs]
                    answers = [
                        _answer(source, protocol, fraction, (seed,), None, test, device)
                        for source, seed in zip(sources, seeds, strict=True)
                    ]
                asked = answers[0].asked.fingerprint
                rows.append(_row(method, protocol, fraction, seeds, answers))
                _say(f"{method}, {protocol}{'' if fraction is None else f' {fraction}'}: {_shown(rows[-1])}", began)
    return rows


def way_of_knn(runs: Sequence[Run], seeds: Sequence[int], test: str | None, device: str) -> list[dict[str, Any]]:
    """Accuracy of the 20 nearest at every kept checkpoint, with the seconds of training that it took, by its steps."""
    way = []
    for run, seed in zip(runs, seeds, strict=True):
        for step in steps_in(run.path / "checkpoints"):
            answer = _answer(f"{run.path}@{step}", "knn", None, (seed,), None, test, device)
            seconds = run.train_seconds * step / run.status.total_steps
            accuracy = round(answer.scores["accuracy_k20"][0], 5)
            way.append({"seed": seed, "step": step, "seconds": round(seconds, 1), "accuracy_k20": accuracy})
    return way


def _answer(
    source: str,
    protocol: str,
    fraction: float | None,
    seeds: Sequence[int],
    data: DataConfig | None,
    test: str | None,
    device: str,
    *,
    asked: str = "",
) -> Result:
    """The newest answer to a question, or a new one; of pixels, one about the asked images of that fingerprint."""
    from twist.learn.evaluation.evaluate import evaluate

    kind, place = ("random" if source.startswith("random:") else "run"), source.removeprefix("random:")
    place, _, step = place.partition("@")
    if source == "pixels" or protocol == "supervised":  # whose weights are none of the run's
        kind = "pixels" if source == "pixels" else "supervised"
    there = find_results(place) if kind != "pixels" else find_results()
    at = int(step) if step else max(steps_in(Path(place) / "checkpoints"), default=None) if kind == "run" else None
    for result in reversed(there.results):
        same = (result.model.kind, result.protocol, result.settings.get("fraction")) == (kind, protocol, fraction)
        same = same and at == result.model.facts.get("step")
        same = same and (kind != "pixels" or result.asked.fingerprint == asked)
        if same and (not result.seeds or result.seeds == tuple(seeds)):
            return result
    return evaluate(
        source, protocol, data=data, test=test, seeds=tuple(seeds), fraction=fraction or 0.01, device=device
    )[0]


def _row(
    method: str, protocol: str, fraction: float | None, seeds: Sequence[int], answers: Sequence[Result]
) -> dict[str, Any]:
    scores = {name: [value for answer in answers for value in answer.scores[name]] for name in answers[0].scores}
    settings = {name: value for name, value in answers[0].settings.items() if name not in ("fraction", "subsets")}
    lists = [one for answer in answers for one in answer.settings.get("subsets", ())]
    drawn = any(answer.seeds for answer in answers) or len(answers) > 1
    return {
        "method": method,
        "protocol": protocol,
        "fraction": fraction,
        "settings": settings,
        **({"label_lists": lists} if lists else {}),
        "seeds": list(seeds) if drawn else [],
        "scores": {name: [round(value, 5) for value in values] for name, values in scores.items()},
        "mean": {name: round(statistics.fmean(values), 5) for name, values in scores.items()},
        "std": {name: round(statistics.stdev(values), 5) for name, values in scores.items() if len(values) > 1},
        "seconds": [round(answer.seconds, 1) for answer in answers],
        "notes": list(dict.fromkeys(note for answer in answers for note in answer.notes)),
    }


def _shown(row: dict[str, Any]) -> str:
    names = [name for name in ("accuracy", "accuracy_k20", "matched_accuracy", "nmi") if name in row["mean"]]
    return ", ".join(f"{name} {row['mean'][name]:.4f} ± {row['std'].get(name, 0):.4f}" for name in names)


def record_of(
    name: str,
    runs: Sequence[Run],
    seeds: Sequence[int],
    rows: list[dict[str, Any]],
    way: list[dict[str, Any]],
    work: Path,
) -> dict[str, Any]:
    """All that stands behind a table, without any place of this machine."""
    chosen: ResultSet = SETS[name]
    times = ProcessorTime(work / f"{name}-processor.json", [])
    some = find_results(str(runs[0].path)).results
    newest = next(result for result in reversed(some) if result.known is not None and result.model.kind == "run")
    training = []
    for run, seed in zip(runs, seeds, strict=True):
        record = RunRecord(run.path)
        record.poll()
        start = record.last("start") or {}
        training.append(
            {
                "seed": seed,
                "steps": run.status.step,
                "epochs": run.status.epochs,
                "wall_seconds": round(run.train_seconds, 1),
                "processor_seconds": times.of(run.name),
                "threads": start.get("threads"),
                "device": start.get("device"),
                "verdict": run.verdict.kind,
            }
        )
    facts = newest.model.facts
    return {
        "schema": 1,
        "set": name,
        "title": chosen.title,
        "said": chosen.said,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": dict(newest.versions),
        "command": f"python -m benchmarks.results {name}",
        "trains_like": chosen.command,
        "recipe": chosen.recipe,
        "changes": {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.changes.items()},
        "network": {
            **{key: facts[key] for key in ("backbone", "parameters", "feature_dim")},
            "num_classes": runs[0].recipe.network.num_classes,
        },
        "known": asdict(newest.known) if newest.known else None,
        "asked": asdict(newest.asked),
        "how": newest.how,
        "overlap": None if newest.overlap is None else asdict(newest.overlap),
        "seeds": list(seeds),
        "training": training,
        "rows": rows,
        **({"way_of_knn": way} if way else {}),
    }


def main() -> None:
    """Train, ask, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__.splitlines()[0])
    parser.add_argument("set", nargs="?", choices=SETS, help="which set; none with --readme")
    parser.add_argument("--work", type=Path, default=Path("build/results"), help="folder of runs and answers")
    parser.add_argument("--root", help="folder of the image sets")
    parser.add_argument("--seeds", default="0,1,2", help="seeds separated by commas, a run for each")
    parser.add_argument("--jobs", type=int, help="runs at a time; one for each core by default")
    parser.add_argument("--runs", help="folders of runs that are there already, one for each seed: trains none")
    parser.add_argument("--max-minutes", type=float, help="then trainings checkpoint and stop; the same call goes on")
    parser.add_argument("--device", default="auto", help="where the protocols are computed")
    parser.add_argument("--only", default="", help="protocols separated by commas; writes no record")
    parser.add_argument("--readme", action="store_true", help="rewrite the tables from the committed records")
    options = parser.parse_args()
    if not options.readme:
        if options.set is None:
            parser.error("name a set, or --readme")
        seeds = [int(seed) for seed in options.seeds.split(",")]
        work = options.work.resolve()
        os.environ["TWIST_RUNS"] = str(work / "runs")
        try:
            if options.runs:
                runs, test = adopt(options.set, work, options.root, seeds, options.runs.split(","))
            else:
                runs, test = train(
                    options.set, work, options.root, seeds, options.jobs, max_minutes=options.max_minutes
                )
        except OutOfTime:
            print(f"{options.max_minutes:g} minutes are over: call again, and it goes on where it was", file=sys.stderr)
            sys.exit(124)
        for run in runs:
            if run.status.state != "COMPLETED":
                sys.exit(f"results: {run.name} is {run.status}; call again to go on")
        only = tuple(filter(None, options.only.split(",")))
        rows = ask(runs, seeds, test, only=only, device=options.device)
        if only:
            return
        FOLDER.mkdir(exist_ok=True)
        way = way_of_knn(runs, seeds, test, options.device) if SETS[options.set].minutes_to else []
        record = record_of(options.set, runs, seeds, rows, way, work)
        (FOLDER / f"{options.set}.json").write_text(json.dumps(record, indent=1) + "\n")
    block = readme_block(committed(), open_goals())
    README.write_text(rewritten(README.read_text(), BEGIN, END, block))
    print(block)


def committed() -> list[dict[str, Any]]:
    """The records that are there, in the order of the sets."""
    paths = [FOLDER / f"{name}.json" for name in SETS]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def open_goals() -> dict[str, ResultSet]:
    """The sets that have goals and no record yet."""
    return {name: one for name, one in SETS.items() if one.goals and not (FOLDER / f"{name}.json").is_file()}


def _say(line: str, began: float) -> None:
    print(f"{line} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        sys.exit(f"results: {error}")
