"""A map of the watch images: UMAP of one snapshot's features, made in a process of its own and kept with the run.

``python -m twist.view.layout RUN`` lays out the newest snapshot, at low priority: the run may still train. With
``--wait`` UMAP is imported and compiled meanwhile, so that the map follows a few seconds after the last step.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twist.runs.folders import find_run
from twist.runs.lock import fcntl
from twist.runs.record import RunRecord, Snapshot
from twist.runs.status import read_status
from twist.runs.store import RecordError, load_column, npy_bytes, read_manifest, step_folder, write_sealed_folder

MAX_POINTS = 10_000
"""Most images that are laid out; of a larger set, evenly spaced ones."""
NEIGHBORS = 15
MIN_DIST = 0.1
SEED = 0
_PCA_ROWS = 1000
_PCA_TURNS = 30
_LONGEST_START_S = 120.0
_LOOK_EVERY_S = 0.5


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
        How it was made: ``method`` (umap or pca), ``reason`` when it is not umap, ``n_neighbors``, ``min_dist``,
        ``metric``, ``seed``, ``umap`` (its version), ``points`` laid out, ``of`` watch images.
    """

    step: int
    x: np.ndarray
    y: np.ndarray
    facts: dict[str, Any]

    @property
    def caption(self) -> str:
        """One line on how the map was made."""
        facts = self.facts
        count = f"{facts['points']:,} of {facts['of']:,} images"
        if facts["method"] != "umap":
            return f"PCA of the features ({facts['reason']}), {count}"
        return (
            f"UMAP of the features, {facts['metric']} metric, {facts['n_neighbors']} neighbors, "
            f"min_dist {facts['min_dist']}, seed {facts['seed']}, {count}"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Asking for a map


def layout(path: Path, step: int | None = None) -> Layout | None:
    """The map of a snapshot if it has been made; no step means the newest map.

    Raises
    ------
    RecordError
        When the map is damaged.
    """
    folder = Path(path) / "layouts"
    if step is None:
        made = sorted(folder.glob("step-*/manifest.json"))
        if not made:
            return None
        folder = made[-1].parent
    else:
        folder = folder / step_folder(step)
    if not (folder / "manifest.json").is_file():
        return None
    manifest = read_manifest(folder)
    return Layout(
        step=manifest["step"],
        x=load_column(folder, "umap_x.npy", manifest),
        y=load_column(folder, "umap_y.npy", manifest),
        facts={name: value for name, value in manifest.items() if name not in ("schema", "files", "step")},
    )


class LayoutProcess(subprocess.Popen[bytes]):
    """A process that makes a map, with the file ``log`` that holds what it says."""

    log: Path


def start_layout(path: Path, step: int | None = None, *, wait: bool = False) -> LayoutProcess:
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
    """
    path = Path(path)
    (path / "layouts").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "twist.view.layout", str(path.resolve())]
    command += ["--step", str(step)] if step is not None else []
    command += ["--wait"] if wait else []
    log = path / "layouts" / f"log-{secrets.token_hex(4)}"
    with open(log, "xb") as said:
        process = LayoutProcess(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    process.log = log
    return process


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
# Making it


def place(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Positions ``x, y`` (float32 ``[M]``) of features ``[M, D]``, and how they were made.

    UMAP with exact cosine neighbors, the same on every call. Fewer than 4 points, features that are all alike, or a
    failure of UMAP fall back to the two first principal components, and the facts say why. Rows that are not finite
    stay without a place.
    """
    total = len(features)
    rows = np.unique(np.linspace(0, total - 1, min(total, MAX_POINTS), dtype=int)) if total else np.zeros(0, int)
    chosen = np.asarray(features[rows], np.float32)
    finite = np.isfinite(chosen).all(1)
    rows, chosen = rows[finite], chosen[finite]
    facts: dict[str, Any] = {"method": "umap", "seed": SEED, "points": len(rows), "of": total}
    reason = _unfit(chosen)
    if not reason:
        try:
            positions = _umap(chosen)
            facts.update(n_neighbors=min(NEIGHBORS, len(rows) - 1), min_dist=MIN_DIST, metric="cosine", umap=_version())
        except Exception as error:  # any failure of a large foreign library: the person still gets a map, and is told
            reason = f"UMAP failed: {type(error).__name__}: {error}"[:300]
    if reason:
        positions = pca_positions(chosen)
        facts.update(method="pca", reason=reason)
    x, y = np.full((2, total), np.nan, np.float32)
    x[rows], y[rows] = positions.T
    return x, y, facts


def _unfit(features: np.ndarray) -> str:
    if len(features) < 4:
        return f"UMAP needs 4 points, there are {len(features)}"
    if float(features.std(0).max(initial=0)) < 1e-6:
        return "all features are alike: dimensional collapse"
    return ""


def _umap(features: np.ndarray) -> np.ndarray:
    import umap

    indices, distances = cosine_neighbors(features, min(NEIGHBORS, len(features) - 1))
    reducer = umap.UMAP(
        n_neighbors=indices.shape[1],
        min_dist=MIN_DIST,
        metric="cosine",
        precomputed_knn=(indices, distances, None),  # exact, and spares compiling the approximate search
        random_state=SEED,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the missing search index, and on scikit-learn's coming changes
        positions = reducer.fit_transform(features)
    if not np.isfinite(positions).all():
        raise ValueError("positions are not finite")
    return positions


def cosine_neighbors(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` nearest rows of every row, itself first, and their cosine distances; exact, in blocks of rows."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    indices = np.empty((len(unit), count), np.int32)
    distances = np.empty((len(unit), count), np.float32)
    for first in range(0, len(unit), 1000):
        block = np.arange(first, min(first + 1000, len(unit)))
        gaps = np.maximum(1 - unit[block] @ unit.T, 0)
        gaps[np.arange(len(block)), block] = -1  # the point itself comes first, also among duplicates
        nearest = np.argpartition(gaps, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(gaps, nearest, 1)
        order = np.argsort(near, axis=1, kind="stable")
        indices[block] = np.take_along_axis(nearest, order, 1)
        distances[block] = np.maximum(np.take_along_axis(near, order, 1), 0)
    return indices, distances


def pca_positions(features: np.ndarray) -> np.ndarray:
    """Places along the two directions of largest variance, float32 ``[M, 2]``; a stand-in until UMAP is done.

    The directions come from at most 1,000 evenly spaced rows by orthogonal iteration, and their signs are fixed: the
    same features give the same map. (An eigensolver took 3.4 s instead of 0.02 s beside a training run that holds all
    cores; matrix products do not mind.)

    Parameters
    ----------
    features
        ``[M, D]``, any float; numbers that are not finite count as 0.

    Examples
    --------
    >>> pca_positions(np.array([[-2.0, 0.0, 7.0], [0.0, 0.0, 7.0], [2.0, 0.0, 7.0]])).round(3).tolist()
    [[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]
    """
    table = np.nan_to_num(np.asarray(features, dtype=np.float32), posinf=0, neginf=0)
    if table.size == 0:
        return np.zeros((len(table), 2), dtype=np.float32)
    table = table - table.mean(0)
    rows = table[np.linspace(0, len(table) - 1, min(len(table), _PCA_ROWS)).astype(int)].astype(np.float64)
    directions = np.random.default_rng(0).standard_normal((table.shape[1], 2))
    for _ in range(_PCA_TURNS):
        directions, _ = np.linalg.qr(rows.T @ (rows @ directions))
    signs = np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    places = np.zeros((len(table), 2), dtype=np.float32)
    places[:, : directions.shape[1]] = table @ (directions * signs).astype(np.float32)
    return places


def _version() -> str:
    from importlib.metadata import version

    return version("umap-learn")


def make_layout(path: Path, step: int | None = None) -> Layout:
    """Make and keep the map of a snapshot in this process; when it is there, or another makes it, take that one."""
    record = RunRecord(path)
    record.poll()
    snapshot = record.snapshot(step)
    if (ready := layout(path, snapshot.step)) is not None:
        return ready
    with _claim(record.path, snapshot.step):
        ready = layout(path, snapshot.step)
        return _make(record, snapshot) if ready is None else ready


@contextlib.contextmanager
def _claim(path: Path, step: int) -> Iterator[None]:
    """Be the one process that lays out this step, waiting while another is; the claim ends with its process."""
    (path / "layouts").mkdir(exist_ok=True)
    with open(path / "layouts" / f"{step_folder(step)}.lock", "ab") as file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                sys.stderr.write(f"another process lays out step {step} of {path.name}: waiting for it\n")  # to its log
                fcntl.lockf(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks: the same map may be made twice
                pass
        yield


def _make(record: RunRecord, snapshot: Snapshot) -> Layout:
    x, y, facts = place(snapshot.features)
    if not (record.path / "run.json").is_file():  # writing would bring back the folder of a run that was deleted
        raise RecordError(f"run {record.name} has vanished: its map is not kept")
    folder = record.path / "layouts" / step_folder(snapshot.step)
    columns = {"umap_x.npy": npy_bytes(x), "umap_y.npy": npy_bytes(y)}
    write_sealed_folder(folder, columns, {"step": snapshot.step, **facts})
    return Layout(step=snapshot.step, x=x, y=y, facts=facts)


def warm_up() -> None:
    """Import UMAP and compile what `place` needs, on a toy."""
    place(np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32))


def _wait_for_the_end(path: Path) -> None:
    created = time.monotonic()
    while True:
        state = read_status(path)
        if state.ended:
            return
        if not state.alive and time.monotonic() - created > _LONGEST_START_S:
            raise SystemExit(f"run {path.name} was not started in {_LONGEST_START_S:.0f} s: no map is made")
        time.sleep(0.25)


def _end_with(path: Path) -> None:
    """End this process soon after the run folder has vanished: nobody is left to look at the map."""

    def watch() -> None:
        while (path / "run.json").is_file():
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)  # UMAP in another thread cannot be asked to stop

    threading.Thread(target=watch, name="end-with-run", daemon=True).start()


def main(arguments: list[str] | None = None, *, alone: bool = False) -> None:
    """Entry of ``python -m twist.view.layout``; ``alone`` in a process it yields to training and ends with the run."""
    parser = argparse.ArgumentParser(prog="python -m twist.view.layout", description="Make the map of a run.")
    parser.add_argument("run", help="name or folder of the run, or last")
    parser.add_argument("--step", type=int, help="step of the snapshot; the newest when left out")
    parser.add_argument("--wait", action="store_true", help="get ready now, lay out when the run has ended")
    chosen = parser.parse_args(arguments)
    path = find_run(chosen.run)
    if alone:
        with contextlib.suppress(OSError, AttributeError):
            os.nice(10)  # training comes first
        _end_with(path)
    if chosen.wait:
        warm_up()
        _wait_for_the_end(path)
    try:
        make_layout(path, chosen.step)
    except RecordError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(alone=True)
