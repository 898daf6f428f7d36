"""The table of all runs in a folder: cheap facts at every look, dear ones worked out once and kept.

A verdict needs the whole log and a score needs every assignment, so both are kept with the sizes and times of the files
that they came from, in a hidden file beside the runs; whoever cannot write there works them out anew.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.clustering import match_classes
from twist.runs.comparison import normalized_mutual_information
from twist.runs.folders import code_state, run_paths, runs_root
from twist.runs.keeping import tags_of
from twist.runs.record import RunRecord
from twist.runs.status import ALIVE, read_status
from twist.runs.store import RecordError, read_json, write_json
from twist.runs.thinning import disk_use
from twist.runs.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

CACHE = ".listing.json"
#: States of runs of which nothing changes without a trace in their files.
_AT_REST = ("COMPLETED", "STOPPED", "FAILED")
#: Seconds between two verdicts on a living run.
_LIVING_EVERY_S = 5.0
_SAVED_EVERY_S = 20.0

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One run in the table; None where something is not known (yet).

    Attributes
    ----------
    name, identity
        Name of its folder; its id, empty where that cannot be read.
    state, message
        As in `twist.runs.status.Status`; or UNREADABLE, and why.
    verdict, title, alarm
        Kind of the verdict, its title, and whether something went wrong; None before anything can be said.
    matched_accuracy, nmi
        Against the labels, where there are any; 0 to 1.
    information
        Mutual information of the newest snapshot, nats.
    seconds, bytes
        Time of training; place on the disk.
    parent, parent_identity
        Name, its present one where it is in the table, and id of the run that it was forked from; empty for others.
    settled
        Whether the dear facts are those of the files as they are.
    """

    name: str
    identity: str = ""
    state: str = "UNREADABLE"
    message: str = ""
    step: int = 0
    total_steps: int = 0
    recipe: str = ""
    seed: int | None = None
    created: str = ""
    tags: tuple[str, ...] = ()
    parent: str = ""
    parent_identity: str = ""
    verdict: str | None = None
    title: str = ""
    alarm: bool = False
    matched_accuracy: float | None = None
    nmi: float | None = None
    information: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    settled: bool = False

    @property
    def alive(self) -> bool:
        """Whether a process works on it."""
        return self.state in ALIVE


def list_runs(root: Path | None = None) -> pd.DataFrame:
    """All runs as a table, newest first: name, recipe, state, step, total_steps, seed, tags, created."""
    import pandas as pd

    rows = [_cheap_facts(path) for path in reversed(run_paths(root))]
    columns = ["name", "recipe", "state", "step", "total_steps", "seed", "tags", "created"]
    table = pd.DataFrame([[getattr(row, column) for column in columns] for row in rows], columns=columns)
    unreadable = [row.state == "UNREADABLE" for row in rows]
    table.loc[unreadable, "state"] = [f"UNREADABLE: {row.message}" for row in rows if row.state == "UNREADABLE"]
    return table


def row_of(path: Path) -> Row:
    """Everything the table says of one run."""
    return replace(_cheap_facts(path), settled=True, **_dear_facts(path))


_DEAR = ("verdict", "title", "alarm", "matched_accuracy", "nmi", "information", "seconds", "bytes")


class Listing:
    """All runs of a folder; `look` is cheap, `settle` works out what is dear, newest first.

    Parameters
    ----------
    root
        Folder of the runs; none means `runs_root`.
    """

    def __init__(self, root: Path | None = None):
        self.root = runs_root() if root is None else Path(root)
        self._stamps: dict[str, Stamp] = {}
        self._rows: dict[str, Row] = {}
        self._judged_at: dict[str, float] = {}
        self._kept: dict[str, dict[str, Any]] = self._load()
        self._unsaved, self._saved_at = False, time.monotonic()

    @property
    def rows(self) -> list[Row]:
        """The runs as of the last look, newest first."""
        names = {row.identity: row.name for row in self._rows.values() if row.identity}
        rows = [
            replace(row, parent=names[row.parent_identity]) if row.parent_identity in names else row
            for row in self._rows.values()
        ]
        return sorted(rows, key=lambda row: (row.created, row.name), reverse=True)

    def look(self) -> list[Row]:
        """Read what is cheap of every run, and return all, newest first; nothing in a folder is fatal."""
        there = dict(self._folders())
        for name in self._rows.keys() - there.keys():
            del self._rows[name]
            self._stamps.pop(name, None)
        for name, path in there.items():
            stamp, row = _stamp(path), self._rows.get(name)
            if row is not None and self._stamps[name] == stamp and row.state in (*_AT_REST, "UNREADABLE"):
                if (tags := tags_of(path)) != row.tags:
                    self._rows[name] = replace(row, tags=tags)
                continue
            self._rows[name] = self._read(path, stamp, row)
            self._stamps[name] = stamp
        return self.rows

    def settle(self, at_most_s: float = 0.5) -> bool:
        """Work out dear facts for so many seconds; whether every row now has them."""
        deadline = time.monotonic() + at_most_s
        for row in self.rows:
            if row.settled or row.state == "UNREADABLE":
                continue
            if time.monotonic() >= deadline:
                return False
            if row.alive and time.monotonic() - self._judged_at.get(row.name, -math.inf) < _LIVING_EVERY_S:
                continue
            self._judged_at[row.name] = time.monotonic()
            facts = _dear_facts(self.root / row.name)
            self._rows[row.name] = replace(row, settled=True, **facts)
            if row.state in _AT_REST:
                self._keep(row, facts)
        if self._unsaved and time.monotonic() - self._saved_at > _SAVED_EVERY_S:
            self.save()
        return all(row.settled or row.alive or row.state == "UNREADABLE" for row in self._rows.values())

    def save(self) -> None:
        """Write what was worked out beside the runs, where that can be written."""
        if self._unsaved:
            self._unsaved, self._saved_at = False, time.monotonic()
            kept = {name: facts for name, facts in self._kept.items() if name in self._rows}
            with contextlib.suppress(OSError):
                write_json(self.root / CACHE, {"made_by": _made_by(), "runs": kept})

    def _keep(self, row: Row, facts: dict[str, Any]) -> None:
        cheap = {name: value for name, value in asdict(row).items() if name not in (*_DEAR, "name", "settled", "tags")}
        self._kept[row.name] = {"stamp": list(self._stamps[row.name]), **cheap, **_finite(facts)}
        self._unsaved = True

    def _folders(self) -> Iterator[tuple[str, Path]]:
        try:
            with os.scandir(self.root) as entries:
                found = [(entry.name, entry.path) for entry in entries if entry.name[0] != "." and entry.is_dir()]
        except OSError:
            return
        for name, path in found:
            if any(os.path.exists(os.path.join(path, part)) for part in ("run.json", "recipe.json")):
                yield name, Path(path)

    def _read(self, path: Path, stamp: Stamp, before: Row | None) -> Row:
        kept = self._kept.get(path.name)
        if before is None and kept is not None and kept.get("stamp") == list(stamp):
            facts = {name: value for name, value in kept.items() if name != "stamp"}
            with contextlib.suppress(TypeError):  # of another version
                return Row(name=path.name, settled=True, tags=tags_of(path), **facts)
        row = _cheap_facts(path)
        if before is not None:  # what was known is better than nothing until it is known anew
            same = self._stamps[path.name] == stamp
            row = replace(row, settled=same and before.settled, **{name: getattr(before, name) for name in _DEAR})
        return row

    def _load(self) -> dict[str, dict[str, Any]]:
        found = read_json(self.root / CACHE)
        runs = found.get("runs")
        if found.get("made_by") != _made_by() or not isinstance(runs, dict):
            return {}
        return {name: facts for name, facts in runs.items() if isinstance(facts, dict)}


def _cheap_facts(path: Path) -> Row:
    identity = read_json(path / "run.json")
    try:
        record = RunRecord(path)
        status = read_status(path)
        origin = record.forked_from
        return Row(
            name=path.name,
            identity=str(record.identity.get("id", "")),
            state=status.state,
            message=status.message,
            step=int(status.step or 0),
            total_steps=int(status.total_steps or 0),
            recipe=str(identity.get("recipe", "")),
            seed=identity.get("seed") if isinstance(identity.get("seed"), int) else None,
            created=str(identity.get("created", "")),
            tags=tags_of(path),
            parent=str(origin.get("name", "")),
            parent_identity=str(origin.get("id", "")),
        )
    except (RecordError, OSError) as error:
        return Row(path.name, message=str(error), created=str(identity.get("created", "")), tags=tags_of(path))
    except Exception as error:  # a folder holds anything; its row says what, and the others are shown
        return Row(path.name, message=f"its files hold what no run has ({type(error).__name__}: {error})")


def _dear_facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(_DEAR) | {"title": "", "alarm": False, "bytes": disk_use(path).total}
    try:
        record = RunRecord(path)
        record.poll()
        facts["seconds"] = record.train_seconds if record.events else None
        newest = record.last("snapshot") or {}
        facts["information"] = newest.get("watch/mutual_information")
        if record.last("metrics") or newest:
            found = verdict(record)
            facts |= {"verdict": found.kind, "title": found.title, "alarm": found.alarm}
        facts |= _scores(record)
    except Exception as error:  # damage costs the facts that it hits, and is said in their place
        facts |= {"title": f"No verdict: {error}"}
    return _finite(facts)


def _scores(record: RunRecord) -> dict[str, float]:
    """What `twist.runs.clustering.scores_of` says, as far as the table shows it; scikit-learn takes seconds to load."""
    watch = record.watch()
    if watch is None or watch.labels is None or watch.labels.max(initial=-1) < 0 or not record.snapshot_steps():
        return {}
    snapshot = record.snapshot()
    known = np.asarray(watch.labels) >= 0
    labels, assignment = np.asarray(watch.labels)[known], np.asarray(snapshot.assignment)[known]
    matched = match_classes(assignment, labels, snapshot.num_classes)
    table = np.zeros((snapshot.num_classes, int(labels.max()) + 1), np.int64)
    np.add.at(table, (assignment, labels), 1)
    return {
        "matched_accuracy": float((matched[assignment] == labels).mean()),
        "nmi": normalized_mutual_information(table),
    }


def _finite(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in facts.items()
    }


def _stamp(path: Path) -> Stamp:
    """Sizes and times of what a row is made from."""
    parts = [
        os.path.join(path, name)
        for name in ("run.json", "snapshots", "checkpoints", "layouts", "features", "evaluations")
    ]
    newest = [_newest(path, "events"), _newest(path, "attempts")]
    parts += [newest[0], os.path.join(newest[1], "end.json"), os.path.join(newest[1], "outcome.json")]
    return tuple(number for part in parts for number in _mark(part))


def _newest(path: Path, folder: str) -> str:
    below = os.path.join(path, folder)
    try:
        return os.path.join(below, max(os.listdir(below), default=""))
    except OSError:
        return below


def _mark(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


def _made_by() -> str:
    from twist import __version__

    code = code_state()
    return f"{__version__} {code.get('commit', '')[:12]} {code.get('changes')} 1"
