"""What an evaluation found, with all that is needed to believe it: a record of its own, written once, never changed.

A result of a run lies in its folder, ``<run>/evaluations/*.json``, and is all that evaluating adds there beside cached
features; a result of anything else lies in ``results/`` beside the folder of runs. No absolute path stands in a record.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import re
import secrets
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from twist.runs.config import ConfigError, nearest
from twist.runs.folders import find_run, gone, renamed_to, run_paths, runs_root
from twist.runs.placeless import placeless
from twist.runs.store import RecordError, write_atomic

RESULT_SCHEMA = 1
EVALUATIONS = "evaluations"
_LARGEST = 1_000_000  # bytes of a record; a subset's list of images is kept elsewhere


@dataclass(frozen=True)
class ModelFacts:
    """What was evaluated.

    Attributes
    ----------
    name
        For people: ``mine @ step 680``, ``timm:resnet18``.
    kind
        run, random, file, timm, torchvision, pixels or features.
    identity
        What tells its weights and its preprocessing from any other.
    facts
        Run, step, checksum of the checkpoint, recipe, number of parameters and the like.
    """

    name: str
    kind: str
    identity: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFacts:
    """One side of an evaluation: images whose labels are known, or images that are asked about.

    Attributes
    ----------
    name, split
        Of the image set, and which part of it.
    count
        Images that took part: those with a label.
    fingerprint
        What tells these images and labels from any other.
    num_labels
        Number of different labels; None where it does not matter.
    """

    name: str
    split: str
    count: int
    fingerprint: str
    num_labels: int | None = None

    def __str__(self) -> str:
        return self.name if self.split in ("", "all") else f"{self.name} {self.split}"


@dataclass(frozen=True)
class Overlap:
    """Asked images that also stand among the known ones, pixel for pixel.

    Attributes
    ----------
    count, share
        Their number; as a share of the asked images, 0 to 1.
    other_label
        How many of them bear another label there.
    known_copies, asked_copies
        Images of each side that repeat an earlier one of their own.
    """

    count: int
    share: float
    other_label: int = 0
    known_copies: int = 0
    asked_copies: int = 0


@dataclass(frozen=True)
class Result:
    """One protocol asked of one model about one set of images.

    Attributes
    ----------
    protocol
        knn, linear, linear-sgd, finetune, supervised, classes or kmeans.
    settings
        Every setting of the protocol that can change a number.
    model
        What was evaluated.
    known, asked
        Images whose labels were known (None for a protocol without), and images that were asked about.
    how
        How the two sides were chosen, in one sentence.
    overlap
        Asked images among the known; None where that was not looked for.
    seeds
        Seeds of what was drawn by chance, one per score; empty where nothing is drawn.
    scores
        Name of a score and its value for each seed; NaN where it is not defined. Shares go from 0 to 1.
    seconds
        Wall-clock of the protocol itself.
    feature_seconds
        Wall-clock of the features that it rests on; near 0 where they were cached.
    notes
        What a reader of the numbers has to know: what was not done, what they mislead to.
    hardware, versions
        Processor, threads, device; twist with its code state, torch, Python.
    command
        What was typed, without folders of the machine.
    created
        When, UTC.
    file
        Where the record was read from; no part of it.
    """

    protocol: str
    settings: Mapping[str, Any]
    model: ModelFacts
    known: ImageFacts | None
    asked: ImageFacts
    how: str
    overlap: Overlap | None
    seeds: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]
    seconds: float
    feature_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    hardware: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    file: Path | None = field(default=None, compare=False)

    def mean(self, score: str) -> float:
        """Mean of a score over the seeds."""
        return statistics.fmean(self.scores[score])

    def std(self, score: str) -> float | None:
        """Standard deviation of a score over the seeds, of a sample (n − 1); None for one seed."""
        values = self.scores[score]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def question(self) -> str:
        """What tells one question from another: protocol, settings, weights, images and seeds, 16 hex digits."""
        known = self.known.fingerprint if self.known else None
        asked = [self.protocol, dict(self.settings), self.model.identity, known, self.asked.fingerprint, [*self.seeds]]
        return _checksum(asked)[:16]

    @property
    def source(self) -> str:
        """Name of what was evaluated, with the present name of its run."""
        recorded, run = self.model.facts.get("run"), self.run
        return self.model.name.replace(recorded, run, 1) if recorded and run else self.model.name

    @property
    def run(self) -> str | None:
        """Present name of the run in whose folder the record lies; None for a record elsewhere."""
        if self.file is None or self.file.parent.name != EVALUATIONS:
            return None
        return self.file.parent.parent.name

    @property
    def data(self) -> str:
        """What was asked of what, in two or three words."""
        if self.known is None or self.known.name == self.asked.name:
            return str(self.asked)
        return f"{self.asked} by {self.known}"


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def results_root() -> Path:
    """Folder of the results of what is no run: ``results`` beside the folder of runs."""
    return runs_root().parent / "results"


def check_place(run: Path | None) -> None:
    """Refuse a place that takes no record, before anything is computed for one; ``run`` as in `write_result`.

    Raises
    ------
    ConfigError
        When its folder belongs to somebody else, or cannot be written to.
    """
    folder = results_root() if run is None else Path(run) / EVALUATIONS
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder.name!r} cannot be written to, so no result could be kept: copy the run into a folder of yours; "
            "TWIST_RUNS says where runs lie"
        )


def write_result(result: Result, run: Path | None = None) -> Result:
    """Write a record; returns it as it will be read, with its file and its time.

    Parameters
    ----------
    result
        What was found.
    run
        Folder of the run that it belongs to, which may have been renamed meanwhile; none puts it into `results_root`.

    Raises
    ------
    ConfigError
        When it cannot be written.
    RecordError
        When the run was deleted meanwhile: it is not brought back by a result.
    """
    now = datetime.datetime.now(datetime.UTC)
    result = dataclasses.replace(result, created=result.created or now.isoformat(timespec="milliseconds"))
    folder = results_root() if run is None else _present(Path(run)) / EVALUATIONS
    stamp = re.sub(r"[^0-9T]", "", result.created[:23])
    content = result_bytes(result)
    try:
        folder.mkdir(parents=run is None, exist_ok=True)
        path = folder / f"{stamp}-{result.protocol}-{result.question[:8]}-{secrets.token_hex(2)}.json"
        try:
            write_atomic(path, content)
        except BaseException:  # a Ctrl-C too leaves no half record behind
            for half in folder.glob(f".{path.name}.*"):
                half.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"the result cannot be written to {folder.parent.name}/{folder.name} ({error.strerror}): make room, or "
            "evaluate a run in a folder of yours; TWIST_RUNS says where runs lie"
        ) from error
    return _from_record(json.loads(content), path)


def _present(run: Path) -> Path:
    """The folder of a run, also when it was renamed since somebody asked for it."""
    if not (run / "run.json").is_file():
        now = renamed_to(run.name, run.parent)
        if now is None:
            raise RecordError(gone(run))
        return run.with_name(now)
    return run


def result_bytes(result: Result) -> bytes:
    """Content of a record's file: JSON with a checksum over all of it, and of absolute paths their last parts."""
    facts = dataclasses.asdict(dataclasses.replace(result, file=None))
    del facts["file"]
    facts["scores"] = {
        name: [value if math.isfinite(value) else None for value in values] for name, values in result.scores.items()
    }
    facts = placeless(json.loads(json.dumps(facts, allow_nan=False)))
    record = {"schema": RESULT_SCHEMA, **facts}
    return (json.dumps({**record, "checksum": _checksum(record)}, indent=1) + "\n").encode()


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Reading


class Found(NamedTuple):
    """Results that could be read, oldest first, and a sentence for each file that could not."""

    results: list[Result]
    problems: list[str]

    @property
    def newest(self) -> list[Result]:
        """The newest answer to every question, in the order of their first ones."""
        answers: dict[str, Result] = {}
        for result in self.results:
            answers[result.question] = result
        return list(answers.values())

    @property
    def disagreements(self) -> list[str]:
        """A sentence for every question that got different answers: which, and what else was different."""
        answers: dict[str, list[Result]] = {}
        for result in self.results:
            answers.setdefault(result.question, []).append(result)
        return [sentence for same in answers.values() if (sentence := _disagreement(same))]


def read_result(path: Path) -> Result:
    """One record.

    Raises
    ------
    RecordError
        When the file cannot be read, was written by a newer twist, or does not hold what was written: names it.
    """
    path = Path(path)
    where = "/".join(path.parts[-3:]) if path.parent.name == EVALUATIONS else "/".join(path.parts[-2:])
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large for a result")
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("it holds no record")
        schema, told = record.get("schema"), record.pop("checksum", None)
        if schema is None and "protocol" not in record:
            raise ValueError("it is no record of a result")
        if isinstance(schema, int) and schema > RESULT_SCHEMA:
            raise ValueError(f"it was written by a newer twist, schema {schema}; this one reads {RESULT_SCHEMA}")
        if told != _checksum(record):
            raise ValueError("it differs from its checksum, so it was changed or damaged since")
        return _from_record(record, path)
    except OSError as error:
        raise RecordError(f"{where} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "it is no record of a result"
        raise RecordError(f"{where} is left out: {reason}") from error


def read_results(folder: Path) -> Found:
    """All results in a folder, of a run (its ``evaluations``) or of others; what is damaged is named, never fatal."""
    results, problems = [], []
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name.endswith(".json") and not e.name.startswith("."))
    except OSError:
        return Found([], [])
    for name in names:
        try:
            results.append(read_result(Path(folder) / name))
        except RecordError as error:
            problems.append(str(error))
    return Found(sorted(results, key=lambda result: (result.created, str(result.file))), problems)


def find_results(*sources: str | Path, root: Path | None = None) -> Found:
    """Results of runs, by name or path, and of other models, by name; without any, all that there are.

    Raises
    ------
    ConfigError
        When there is neither a run nor a result of that name.
    """
    root = runs_root() if root is None else Path(root)
    elsewhere = read_results(root.parent / "results")
    if not sources:
        parts = [*(read_results(path / EVALUATIONS) for path in run_paths(root)), elsewhere]
    else:
        parts = [_of_source(os.fspath(source), root, elsewhere) for source in dict.fromkeys(sources)]
    results = [result for part in parts for result in part.results]
    problems = [problem for part in parts for problem in part.problems]
    return Found(sorted(results, key=lambda result: (result.created, str(result.file))), problems)


def _of_source(source: str, root: Path, elsewhere: Found) -> Found:
    named = [result for result in elsewhere.results if source in (result.model.name, Path(result.model.name).name)]
    if named:
        return Found(named, elsewhere.problems)
    try:
        return read_results(find_run(source, root=root) / EVALUATIONS)
    except ConfigError:
        names = sorted({result.model.name for result in elsewhere.results} | {path.name for path in run_paths(root)})
        raise ConfigError(
            f"there is no run and no result called {source!r}{nearest(source, names)}; `twist results` shows all"
        ) from None


def _from_record(record: Mapping[str, Any], path: Path) -> Result:
    scores = {
        str(name): tuple(math.nan if value is None else float(value) for value in values)
        for name, values in record["scores"].items()
    }
    seeds = tuple(int(seed) for seed in record["seeds"])
    if any(len(values) != max(1, len(seeds)) for values in scores.values()):
        raise ValueError("it has not one value of each score for each seed")
    return Result(
        protocol=str(record["protocol"]),
        settings=dict(record["settings"]),
        model=ModelFacts(**record["model"]),
        known=None if record["known"] is None else ImageFacts(**record["known"]),
        asked=ImageFacts(**record["asked"]),
        how=str(record["how"]),
        overlap=None if record["overlap"] is None else Overlap(**record["overlap"]),
        seeds=seeds,
        scores=scores,
        seconds=float(record["seconds"]),
        feature_seconds=float(record["feature_seconds"]),
        notes=tuple(map(str, record["notes"])),
        hardware=dict(record["hardware"]),
        versions=dict(record["versions"]),
        command=str(record["command"]),
        created=str(record["created"]),
        file=path,
    )


def _disagreement(same: Sequence[Result]) -> str:
    """What differs between answers to one question; empty when they are one answer."""
    newest = same[-1]
    other = next((each for each in reversed(same) if not _equal(each.scores, newest.scores)), None)
    if other is None:
        return ""
    name = next(n for n in newest.scores if not _equal({n: other.scores.get(n, ())}, {n: newest.scores[n]}))
    before, now = (
        ", ".join(f"{value:.4f}" for value in each.scores.get(name, ())) or "nothing" for each in (other, newest)
    )
    changed = [
        f"{key} {str(theirs.get(key))[:12]} and {str(ours.get(key))[:12]}"
        for theirs, ours in ((other.hardware, newest.hardware), (other.versions, newest.versions))
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
    ]
    why = f"; also different: {', '.join(changed)}" if changed else "; nothing else that is on record differs"
    return (
        f"{newest.source}, {newest.protocol} on {newest.data}: the same question got {name} {before} "
        f"({other.created[:16]}) and {now} ({newest.created[:16]}){why}. The newest is shown."
    )


def _equal(some: Mapping[str, tuple[float, ...]], others: Mapping[str, tuple[float, ...]]) -> bool:
    if some.keys() != others.keys():
        return False
    pairs = [pair for name in some for pair in zip(some[name], others[name], strict=False)]
    same_length = all(len(some[name]) == len(others[name]) for name in some)
    return same_length and all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
