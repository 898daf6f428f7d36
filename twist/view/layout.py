"""A map of the watch images: UMAP of one snapshot's features, made in a process of its own and kept with the run.

``python -m twist.view.layout RUN`` lays out the newest snapshot, at low priority: the run may still train. A quick map
is kept first, and replaced by umap-learn's. With ``--wait`` UMAP is imported and compiled meanwhile, so that the map
follows a few seconds after the last step.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twist.runs.folders import find_run
from twist.runs.record import RunRecord, Snapshot
from twist.runs.status import read_status
from twist.runs.store import (
    RecordError,
    load_column,
    npy_bytes,
    read_json,
    read_manifest,
    step_folder,
    write_sealed_folder,
)
from twist.view.beside import (
    LONGEST_START_S,
    LOOK_EVERY_S,
    LayoutProcess,
    Progress,
    claim,
    read_progress,
    say,
    start_beside,
    yield_to_training,
)
from twist.view.nearest import cosine_neighbors
from twist.view.placing import Placed, pca_positions, place, preview, warm_up

__all__ = [
    "Layout",
    "LayoutProcess",
    "cosine_neighbors",
    "early_layout",
    "layout",
    "layout_progress",
    "make_layout",
    "pca_positions",
    "preview",
    "start_layout",
    "wait_layout",
]


@dataclass(frozen=True)
class Layout:
    """Where every watch image stands in the map of one snapshot.

    Attributes
    ----------
    step
        Step of the snapshot.
    x, y
        float32 ``[M]``, no unit; NaN for images that were not laid out.
    facts
        How it was made: ``method`` (umap or pca), ``reason`` when it is not as asked, ``by`` (umap-learn with its
        version, or twist for a quick map), ``n_neighbors``, ``min_dist``, ``metric``, ``seed``, ``points`` laid out,
        ``of`` watch images, ``trust`` (the mean), ``from_step`` of the map that it was started from.
    trust
        float32 ``[M]``, share of an image's nearest neighbors in feature space that are among its nearest on the map;
        NaN where it has no place. None for maps of older versions.
    neighbors
        int32 ``[M, K]`` with K = min(15, M - 1), its nearest watch images in feature space, nearest first; -1 where
        there is none. None for maps of older versions.
    """

    step: int
    x: np.ndarray
    y: np.ndarray
    facts: dict[str, Any]
    trust: np.ndarray | None = None
    neighbors: np.ndarray | None = None

    @property
    def xy(self) -> np.ndarray:
        """Places, float32 ``[M, 2]``."""
        return np.stack([self.x, self.y], 1)

    @property
    def final(self) -> bool:
        """Whether no better map of this snapshot will be made: umap-learn's, or where that had to be given up."""
        return self.facts.get("by") != "twist" or "reason" in self.facts

    @property
    def caption(self) -> str:
        """One line on how the map was made."""
        facts = self.facts
        count = f"{facts['points']:,} of {facts['of']:,} images"
        if facts["method"] != "umap":
            return f"PCA of the features ({facts['reason']}), {count}"
        how = "UMAP of the features"
        if facts.get("by") == "twist":
            how = "Quick UMAP of the features"
            if "reason" in facts:
                how += f" ({facts['reason']})"
            elif "from_step" in facts:
                how += f", started from the map of step {facts['from_step']:,}"
        trust = f", trust {facts['trust']:.0%}" if facts.get("trust") is not None else ""
        return (
            f"{how}, {facts['metric']} metric, {facts['n_neighbors']} neighbors, "
            f"min_dist {facts['min_dist']}, seed {facts['seed']}, {count}{trust}"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Asking for a map


def layout(path: Path, step: int | None = None) -> Layout | None:
    """The map of a snapshot if it has been made; no step means the newest map.

    A map of features that a resumed run has written anew since is none.

    Raises
    ------
    RecordError
        When the map is damaged.
    """
    folder = Path(path) / "layouts"
    if step is not None:
        return _read(folder / step_folder(step))
    made = (_read(manifest.parent) for manifest in sorted(folder.glob("step-*/manifest.json"), reverse=True))
    return next((found for found in made if found is not None), None)


def early_layout(path: Path, step: int) -> Layout | None:
    """The quick map of a snapshot whose map is being made; the map itself once it is there, else None.

    Raises
    ------
    RecordError
        When the map is damaged.
    """
    if (found := layout(path, step)) is not None:
        return found
    try:
        return _read(_early(Path(path), step))
    except RecordError:  # replaced by the map meanwhile
        return layout(path, step)


def layout_progress(path: Path, step: int) -> float | None:
    """How much of a snapshot's map is done, 0 to 1; None when nobody is at it."""
    share = read_progress(_progress_file(Path(path), step)).get("share")
    return float(share) if isinstance(share, int | float) else None


def start_layout(path: Path, step: int | None = None, *, wait: bool = False, follow: bool = False) -> LayoutProcess:
    """Start making a map in a process that outlives this one; what it says goes to its own log in ``layouts``.

    A process that finds another at work on the same snapshot waits for that one's map.

    Parameters
    ----------
    path
        The run folder.
    step
        Step of the snapshot; none means the newest.
    wait
        Whether to get ready now, and lay out the newest snapshot when the run has ended.
    follow
        Whether to lay out every snapshot of a live run as it appears, each map started from the one before, and the
        last one by umap-learn when the run has ended. It takes one core at most, and training comes first; where
        another process follows the run already, this one ends at once.
    """
    if follow:
        return start_beside("twist.view.following", Path(path), threads=1)
    arguments = ["--step", str(step)] if step is not None else []
    arguments += ["--wait"] if wait else []
    threads = 1 if read_status(path).alive else None  # the training needs the other cores
    return start_beside("twist.view.layout", Path(path), *arguments, threads=threads)


def wait_layout(
    path: Path, step: int | None = None, *, process: LayoutProcess | None = None, timeout_s: float = 180.0
) -> Layout:
    """The map of a snapshot, waited for; one that is not there is started, or joined where it is being made.

    Raises
    ------
    RecordError
        When the process that makes it ended without a map; the message holds the end of its log.
    TimeoutError
        When it takes longer than ``timeout_s``; the process goes on.
    """
    path, deadline = Path(path), time.monotonic() + timeout_s
    if process is None and (ready := layout(path, step)) is not None:
        return ready
    process = process or start_layout(path, step)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the map of {path.name} is not ready after {timeout_s:.0f} s; it goes on") from None
    made = layout(path, step)
    if process.returncode != 0 or made is None:
        said = process.log.read_text(errors="replace")[-1500:].strip() if process.log.is_file() else ""
        raise RecordError(f"no map of {path.name} was made: {said or f'status {process.returncode}'}")
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Keeping it


def features_of(path: Path, step: int) -> str | None:
    """What tells the features of a snapshot from those of another: the start of their checksum; None without them."""
    files = read_json(path / "snapshots" / step_folder(step) / "manifest.json").get("files")
    sums = files.get("features.npy") if isinstance(files, dict) else None
    return str(sums["sha256"])[:16] if isinstance(sums, dict) and "sha256" in sums else None


def _read(folder: Path) -> Layout | None:
    if not (folder / "manifest.json").is_file():
        return None
    manifest = read_manifest(folder)
    now = features_of(folder.parent.parent, manifest["step"])
    if "features" in manifest and now is not None and manifest["features"] != now:
        return None
    later = {
        name: load_column(folder, f"{name}.npy", manifest) if f"{name}.npy" in manifest["files"] else None
        for name in ("trust", "neighbors")
    }
    return Layout(
        step=manifest["step"],
        x=load_column(folder, "umap_x.npy", manifest),
        y=load_column(folder, "umap_y.npy", manifest),
        facts={name: value for name, value in manifest.items() if name not in ("schema", "files", "step")},
        **later,
    )


def keep(record: RunRecord, step: int, placed: Placed, *, early: bool = False, **facts: Any) -> Layout:
    """Write a map into the run's folder, sealed, with how it was made; ``early`` as the one to be replaced."""
    if not (record.path / "run.json").is_file():  # writing would bring back the folder of a run that was deleted
        raise RecordError(f"run {record.name} has vanished: its map is not kept")
    x, y = np.ascontiguousarray(placed.xy.T)
    known = placed.trust[np.isfinite(placed.trust)]
    facts = {**placed.facts, **facts, "trust": round(float(known.mean()), 4) if len(known) else None}
    if (features := features_of(record.path, step)) is not None:
        facts["features"] = features
    columns = {"umap_x.npy": x, "umap_y.npy": y, "trust.npy": placed.trust, "neighbors.npy": placed.neighbors}
    folder = _early(record.path, step) if early else record.path / "layouts" / step_folder(step)
    write_sealed_folder(folder, {name: npy_bytes(column) for name, column in columns.items()}, {"step": step, **facts})
    return Layout(step, x, y, facts, placed.trust, placed.neighbors)


def _early(path: Path, step: int) -> Path:
    return path / "layouts" / f"early-{step_folder(step)}"


def _progress_file(path: Path, step: int) -> Path:
    return path / "layouts" / f"progress-{step_folder(step)}.json"


# ---------------------------------------------------------------------------------------------------------------------
# Making it


def make_layout(path: Path, step: int | None = None, *, better: bool = False) -> Layout:
    """Make and keep the map of a snapshot in this process; when it is there, or another makes it, take that one.

    With ``better`` a quick map that was made of the live run does not count as there: the map starts from it.
    """
    record = RunRecord(path)
    record.poll()
    snapshot = record.snapshot(step)

    def ready() -> Layout | None:
        found = _undamaged(record.path, snapshot.step)
        return found if found is not None and (found.final or not better) else None

    return once(record, snapshot, ready, lambda tell: _make(record, snapshot, tell))


def once(
    record: RunRecord,
    snapshot: Snapshot,
    ready: Callable[[], Layout | None],
    make: Callable[[Callable[[float, str], None]], Layout],
) -> Layout:
    """What is ready, or what this process makes, or what another makes that is at it already."""
    if (found := ready()) is not None:
        return found
    words = f"another process lays out step {snapshot.step} of {record.name}"
    with claim(record.path, step_folder(snapshot.step), words):
        if (found := ready()) is not None:
            return found
        with Progress(_progress_file(record.path, snapshot.step)) as progress:
            return make(progress.tell)


def _undamaged(path: Path, step: int) -> Layout | None:
    try:
        return layout(path, step)
    except RecordError as error:
        say(f"{error}: it is made anew")
        return None


def _make(record: RunRecord, snapshot: Snapshot, tell: Callable[[float, str], None]) -> Layout:
    def show(draft: Placed) -> None:
        try:
            keep(record, snapshot.step, draft, early=True)
        except OSError as error:  # the map itself may still find room
            say(f"the quick map of step {snapshot.step} is not kept: {error}")

    live = _undamaged(record.path, snapshot.step)
    if live is None or len(live.x) != len(snapshot.features):
        made = keep(record, snapshot.step, place(snapshot.features, tell=tell, show=show))
    else:  # the view shows that one already, and moves on from there
        made = keep(record, snapshot.step, place(snapshot.features, live.xy, tell=tell))
    shutil.rmtree(_early(record.path, snapshot.step), ignore_errors=True)
    return made


def wait_for_the_end(path: Path) -> None:
    """Return when the run has ended; one that is not started in two minutes ends this process."""
    created = time.monotonic()
    while True:
        state = read_status(path)
        if state.ended:
            return
        if not state.alive and time.monotonic() - created > LONGEST_START_S:
            raise SystemExit(f"run {path.name} was not started in {LONGEST_START_S:.0f} s: no map is made")
        time.sleep(LOOK_EVERY_S)


def main(arguments: list[str] | None = None, *, alone: bool = False) -> None:
    """Entry of ``python -m twist.view.layout``; ``alone`` in a process it yields to training and ends with the run."""
    parser = argparse.ArgumentParser(prog="python -m twist.view.layout", description="Make the map of a run.")
    parser.add_argument("run", help="name or folder of the run, or last")
    parser.add_argument("--step", type=int, help="step of the snapshot; the newest when left out")
    parser.add_argument("--wait", action="store_true", help="get ready now, lay out when the run has ended")
    chosen = parser.parse_args(arguments)
    path = find_run(chosen.run)
    if alone:
        yield_to_training(path)
    try:
        if chosen.wait:
            warm_up()
            wait_for_the_end(path)
        make_layout(path, chosen.step, better=True)
    except (RecordError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(alone=True)
