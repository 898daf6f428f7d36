"""Maps of a run's checkpoints that can be laid over one another: what the time slider moves through.

Independent maps of two checkpoints are turned, mirrored and torn apart differently, and nothing can be followed from
one to the other. Here every checkpoint's map starts from the next one's, is held near it, and is turned onto it as a
whole; the newest is the map of that snapshot itself. ``python -m twist.view.aligned RUN`` makes them, in a process of
its own at low priority, and keeps them with the run.
"""

from __future__ import annotations

import argparse
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twist.runs.folders import find_run
from twist.runs.record import RunRecord
from twist.runs.status import read_status
from twist.runs.store import RecordError, load_column, npy_bytes, read_manifest, write_sealed_folder
from twist.view.beside import LayoutProcess, Progress, claim, read_progress, say, start_beside, yield_to_training
from twist.view.layout import features_of, layout, make_layout
from twist.view.placing import Ground, ground_of, onto, quick

MOST_FRAMES = 24
_HOLD = 0.1
_FOLDER, _PROGRESS, _TASK = "frames", "progress-frames.json", "frames"


class Frames(NamedTuple):
    """Where every watch image stands at every checkpoint, on maps that can be laid over one another.

    Attributes
    ----------
    steps
        int64 ``[T]``, ascending.
    xy
        float32 ``[T, M, 2]``; NaN for images that were not laid out.
    trust
        float32 ``[T, M]``, see `twist.view.trust.trust_of`.
    facts
        ``of`` snapshots that there were, ``left_out`` one sentence for each that could not be read, ``stale`` whether
        the run has other snapshots or a better map of the newest by now, and how the maps were made.
    """

    steps: np.ndarray
    xy: np.ndarray
    trust: np.ndarray
    facts: dict[str, Any]

    @property
    def caption(self) -> str:
        """One line on how the maps were made, and what aligned means."""
        facts, count = self.facts, len(self.steps)
        chosen = f"{count} of {facts['of']} checkpoints" if facts["of"] != count else f"{count} checkpoints"
        left_out = facts.get("left_out", [])
        missing = f", {len(left_out)} left out: {left_out[0]}" if left_out else ""
        trust = f"; mean trust {facts['trust']:.0%}" if facts.get("trust") is not None else ""
        return (
            f"Aligned UMAP of {chosen}{missing}: each checkpoint's map starts from the next one's, is held near it and "
            f"turned onto it as a whole, so that small moves mean little and large ones that features changed{trust}"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Asking for frames


def frames(path: Path) -> Frames | None:
    """The aligned maps of a run if they have been made; their facts say when they are stale.

    Raises
    ------
    RecordError
        When they are damaged.
    """
    folder = Path(path) / "layouts" / _FOLDER
    if not (folder / "manifest.json").is_file():
        return None
    manifest = read_manifest(folder)
    steps, xy, trust = (load_column(folder, f"{name}.npy", manifest) for name in ("steps", "xy", "trust"))
    if xy.ndim != 3 or xy.shape[::2] != (len(steps), 2) or trust.shape != xy.shape[:2]:
        raise RecordError(f"{_FOLDER} holds {xy.shape} places and {trust.shape} of trust: it is damaged")
    facts = {name: value for name, value in manifest.items() if name not in ("schema", "files")}
    try:
        with _reading:
            record = _reader(Path(path), (Path(path) / "run.json").stat().st_mtime_ns)
            record.poll()
            now = _sources(record, manifest.get("most", MOST_FRAMES))
    except OSError as error:
        raise RecordError(f"{Path(path).name} cannot be read: {error}") from error
    facts["stale"] = manifest.get("sources") != now
    if not facts["stale"] and not facts.get("final"):
        facts["stale"] = _has_final_map(Path(path), int(steps[-1]))
    return Frames(np.asarray(steps), xy, trust, facts)


_reading = threading.Lock()  # a view's thread asks, and its buttons do


@functools.lru_cache(maxsize=8)
def _reader(path: Path, created_ns: int) -> RunRecord:
    """A reader that is kept: a view asks every second, and a log of days takes longer than that to read."""
    return RunRecord(path)


def start_frames(path: Path, most: int = MOST_FRAMES) -> LayoutProcess:
    """Start making the aligned maps in a process that outlives this one, or join the one that makes them.

    Parameters
    ----------
    path
        The run folder.
    most
        Of more snapshots, evenly spaced ones: the first and the newest among them.
    """
    threads = 1 if read_status(path).alive else None  # the training needs the other cores
    return start_beside("twist.view.aligned", Path(path), "--most", str(most), threads=threads)


def frames_progress(path: Path) -> tuple[int, int] | None:
    """How many of how many maps are done; None when nobody is at them."""
    said = read_progress(Path(path) / "layouts" / _PROGRESS)
    done, total = said.get("done"), said.get("total")
    return (done, total) if isinstance(done, int) and isinstance(total, int) else None


# ---------------------------------------------------------------------------------------------------------------------
# Making them


def make_frames(path: Path, most: int = MOST_FRAMES) -> Frames:
    """Make and keep the aligned maps in this process; when they are there, or another makes them, take those.

    Raises
    ------
    RecordError
        When the run has no snapshot that can be read, or has vanished.
    """
    path = Path(path)
    with claim(path, _TASK, f"another process makes the aligned maps of {path.name}"):
        try:
            before = frames(path)
        except RecordError as error:
            say(f"{error}: made anew")
            before = None
        if before is not None and not before.facts["stale"] and before.facts.get("most") == most:
            return before
        with Progress(path / "layouts" / _PROGRESS) as progress:
            return _make(
                path, most, before, lambda done, total: progress.tell(done / total, "", done=done, total=total)
            )


def chosen_steps(steps: list[int], most: int) -> list[int]:
    """Of many steps evenly spaced ones, the first and the last among them."""
    if most < 1:
        raise ValueError(f"most is {most}: ask for 1 frame or more")
    if len(steps) <= most:
        return steps
    places = np.linspace(len(steps) - 1, 0, most).round().astype(int) if most > 1 else [len(steps) - 1]
    return sorted(steps[place] for place in set(map(int, places)))


def _sources(record: RunRecord, most: int) -> dict[str, str | None]:
    """The snapshots that frames are made of, and what tells their features from those of another attempt."""
    return {str(step): features_of(record.path, step) for step in chosen_steps(record.snapshot_steps(), most)}


def _make(path: Path, most: int, before: Frames | None, tell: Callable[[int, int], None]) -> Frames:
    record = RunRecord(path)
    record.poll()
    sources, every = _sources(record, most), record.snapshot_steps()
    grounds, left_out, final = _Grounds(record), [], False
    made: list[tuple[int, np.ndarray, np.ndarray]] = []
    for done, step in enumerate(sorted(map(int, sources), reverse=True)):
        tell(done, len(sources))
        try:
            ground = grounds.of(step)
        except RecordError as error:
            left_out.append(f"step {step}: {error}")
            continue
        if made:
            xy, trust = _earlier(ground, made[-1][1])
        else:
            xy, trust, final = _newest(path, step, ground, before)
        made.append((step, xy, trust))
    if not made:
        raise RecordError("; ".join([f"run {record.name} has no snapshot that can be read", *left_out[:1]]))
    made.reverse()
    return _keep(
        record, made, {"sources": sources, "most": most, "of": len(every), "left_out": left_out, "final": final}
    )


def _has_final_map(path: Path, step: int) -> bool:
    try:
        found = layout(path, step)
    except RecordError:  # nothing to start from
        return False
    return found is not None and found.final and found.trust is not None


class _Grounds:
    """What the maps stand on, snapshot by snapshot, all of as many images."""

    def __init__(self, record: RunRecord):
        self._record, self._count = record, -1

    def of(self, step: int) -> Ground:
        features = self._record.snapshot(step).features
        if features.ndim != 2 or self._count not in (-1, len(features)):
            raise RecordError(f"its features have shape {features.shape}, not {self._count} rows")
        self._count = len(features)
        return ground_of(features)


def _newest(path: Path, step: int, ground: Ground, before: Frames | None) -> tuple[np.ndarray, np.ndarray, bool]:
    """The newest frame, and whether it is the final map of that snapshot.

    Once the run has ended it is that map, made here or by whoever is at it; before, the one that follows the run, or
    one that starts from the frames made before.
    """
    try:
        found = make_layout(path, step, better=True) if read_status(path).ended else layout(path, step)
    except (RecordError, OSError) as error:
        say(str(error))
        found = None
    if found is not None and len(found.x) == ground.total and found.trust is not None:
        return found.xy, np.asarray(found.trust), found.final
    start = before.xy[-1] if before is not None and before.xy.shape[1] == ground.total else None
    placed = quick(ground, start)
    return placed.xy, placed.trust, False


def _earlier(ground: Ground, later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    placed = quick(ground, later, hold=_HOLD)
    return onto(placed.xy, later), placed.trust


def _keep(record: RunRecord, made: list[tuple[int, np.ndarray, np.ndarray]], facts: dict[str, Any]) -> Frames:
    if not (record.path / "run.json").is_file():
        raise RecordError(f"run {record.name} has vanished: its aligned maps are not kept")
    steps = np.array([step for step, _, _ in made], np.int64)
    xy = np.stack([places for _, places, _ in made]).astype(np.float32)
    trust = np.stack([share for _, _, share in made]).astype(np.float32)
    known = trust[np.isfinite(trust)]
    facts = {**facts, "hold": _HOLD, "trust": round(float(known.mean()), 4) if len(known) else None}
    columns: dict[str, np.ndarray] = {"steps.npy": steps, "xy.npy": xy, "trust.npy": trust}
    folder = record.path / "layouts" / _FOLDER
    write_sealed_folder(folder, {name: npy_bytes(column) for name, column in columns.items()}, facts)
    return Frames(steps, xy, trust, {**facts, "stale": False})


def main(arguments: list[str] | None = None, *, alone: bool = False) -> None:
    """Entry of ``python -m twist.view.aligned``; ``alone`` it yields to training and ends with the run."""
    parser = argparse.ArgumentParser(prog="python -m twist.view.aligned", description="Make a run's aligned maps.")
    parser.add_argument("run", help="name or folder of the run, or last")
    parser.add_argument("--most", type=int, default=MOST_FRAMES, help="most checkpoints, evenly spaced (default 24)")
    chosen = parser.parse_args(arguments)
    path = find_run(chosen.run)
    if alone:
        yield_to_training(path)
    try:
        make_frames(path, chosen.most)
    except (RecordError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(alone=True)
