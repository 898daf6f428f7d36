"""How fast and how true maps are: the quick map beside umap-learn, warm frames, and aligned frames beside AlignedUMAP.

``python -m benchmarks.maps`` takes about eight minutes on two idle cores and writes ``benchmarks/records/maps.json``;
``--only PART`` makes some parts anew (trust, start, frames, aligned). Feature sets: digits (pixels), Fashion-MNIST (raw
pixels, from TWIST_DATA or data/images) and, with ``--run``, the features of a run's newest snapshot.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.readme import RECORDS
from benchmarks.speed.settings import machine
from twist.view.layout import early_layout, layout, start_layout
from twist.view.placing import NEIGHBORS, SEED, Placed, ground_of, onto, place, preview, quick
from twist.view.trust import trust_of

RECORD = RECORDS / "maps.json"
PARTS = ("trust", "start", "frames", "aligned")
_REPEATS = 5


def main() -> None:
    """Measure the parts that are asked for and write them into the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maps", description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a run whose features are the third set")
    parser.add_argument("--fashion", type=Path, help="folder with t10k-images-idx3-ubyte.gz")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.is_file() else {"schema": 1}
    for part in options.only:
        _say(part)
        facts = {"date": datetime.date.today().isoformat(), "machine": machine(), "umap-learn": version("umap-learn")}
        if part == "trust":
            rows: Any = [trust_row(name, features) for name, features in feature_sets(options)]
        else:
            rows = {"start": start_rows, "frames": frame_rows, "aligned": aligned_rows}[part]()
        record[part] = {**facts, "rows": rows}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({part: record[part]["rows"] for part in options.only}, indent=1))


# ---------------------------------------------------------------------------------------------------------------------
# How true


def feature_sets(options: argparse.Namespace) -> list[tuple[str, np.ndarray]]:
    """Names and features of the sets that are at hand."""
    from sklearn.datasets import load_digits

    sets = [("digits, pixels", load_digits().data.astype(np.float32))]
    if options.fashion:
        import gzip

        raw = gzip.decompress((options.fashion / "t10k-images-idx3-ubyte.gz").read_bytes())
        sets.append(
            ("Fashion-MNIST, pixels", np.frombuffer(raw, np.uint8, offset=16).reshape(10_000, -1) / np.float32(255))
        )
    if options.run:
        from twist.runs.record import RunRecord

        record = RunRecord(options.run)
        record.poll()
        snapshot = record.snapshot()
        name = f"{record.recipe.name}, features at step {snapshot.step}"
        sets.append((name, np.asarray(snapshot.features, np.float32)))
    return sets


def trust_row(name: str, features: np.ndarray) -> dict[str, Any]:
    """Trustworthiness of the quick map, of ours by umap-learn, and of umap-learn left to itself, and their seconds."""
    row: dict[str, Any] = {"set": name, "shape": list(features.shape)}
    for who, make in (("quick", preview), ("map", _map), ("umap-learn alone", _umap_alone)):
        make(features[:300])  # compiled
        xy, taken = _timed(partial(make, features), 3)
        row[who] = {**taken, **_scores(features, xy)}
        _say(f"  {name}: {who} {row[who]}")
    return row


def _map(features: np.ndarray) -> np.ndarray:
    return place(features).xy


def _umap_alone(features: np.ndarray) -> np.ndarray:
    """What a person gets from umap-learn without our help: its own search of neighbors, its own start and length."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        return umap.UMAP(n_neighbors=NEIGHBORS, min_dist=0.1, metric="cosine", random_state=SEED).fit_transform(
            features
        )


def _scores(features: np.ndarray, xy: np.ndarray) -> dict[str, float]:
    from sklearn.manifold import trustworthiness

    return {
        "trustworthiness": round(float(trustworthiness(features, xy, n_neighbors=15, metric="cosine")), 4),
        "neighbors_kept": round(float(trust_of(ground_of(features).neighbors, xy).mean()), 4),
    }


# ---------------------------------------------------------------------------------------------------------------------
# How fast


def start_rows() -> list[dict[str, Any]]:
    """Seconds from asking, in a process that has loaded nothing, to the preview and to the map, both on disk.

    It runs at low priority: beside other work its seconds grow, those of processor time (``cpu_s``) hardly.
    """
    rows = []
    for count, dim in ((2_000, 512), (10_000, 512)):
        taken: dict[str, list[float]] = {"preview_s": [], "preview_cpu_s": [], "map_s": [], "map_cpu_s": []}
        for _ in range(3):
            with tempfile.TemporaryDirectory() as root:
                path = _make_run(Path(root), blobs(count, dim))
                began, process = time.monotonic(), start_layout(path, 0)
                watched = psutil.Process(process.pid)
                for what, there in (("preview", early_layout), ("map", layout)):
                    while there(path, 0) is None:
                        busy = sum(watched.cpu_times()[:2])
                        time.sleep(0.02)
                    taken[f"{what}_s"].append(time.monotonic() - began)
                    taken[f"{what}_cpu_s"].append(busy)
                process.wait(60)
        rows.append({"points": count, "dim": dim, **{what: _median(seconds) for what, seconds in taken.items()}})
        _say(f"  {rows[-1]}")
    return rows


def frame_rows() -> list[dict[str, Any]]:
    """Seconds of one warm-started frame on one thread, in a process that stays: neighbors, graph, places, trust."""
    code = "import json, sys, benchmarks.maps as maps; print(json.dumps(maps.warm_frames()))"
    one = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=one).stdout)


def warm_frames() -> list[dict[str, Any]]:
    """The rows of `frame_rows`, measured in this process."""
    rows = []
    for count in (2_000, 10_000):
        features = blobs(count, 512)
        later = features + np.random.default_rng(1).normal(0, 0.1, features.shape).astype(np.float32)
        start = preview(features)
        made, warm = _timed(partial(_frame, later, start), _REPEATS)
        _, fresh = _timed(partial(_frame, later), _REPEATS)
        moved = float(np.median(np.linalg.norm(made.xy - start, axis=1)) / start.std())
        rows.append({"points": count, "dim": 512, "warm": warm, "fresh": fresh, "moved": round(moved, 3)})
    return rows


def _frame(features: np.ndarray, start: np.ndarray | None = None) -> Placed:
    return quick(ground_of(features), start)


# ---------------------------------------------------------------------------------------------------------------------
# How well aligned


def aligned_rows(frames: int = 5, count: int = 2_000, dim: int = 64) -> list[dict[str, Any]]:
    """A chain of warm-started maps, umap-learn's AlignedUMAP, and maps made alone: seconds, trust, and way per frame.

    The features are those of a network that learns: groups that form out of noise. ``moved`` is the median way of an
    image from a frame to the next, in shares of the frame's spread.
    """
    sets = [blobs(count, dim, spread=1.2 + 0.8 * (frames - 1 - at)) for at in range(frames)]

    def chain() -> list[np.ndarray]:
        made = [quick(ground_of(sets[-1])).xy]
        for features in sets[-2::-1]:
            made.append(onto(quick(ground_of(features), made[-1], hold=0.1).xy, made[-1]))
        return made[::-1]

    def alone() -> list[np.ndarray]:
        made = [preview(features) for features in sets]
        return [onto(xy, made[-1]) for xy in made]

    rows = []
    for who, make, repeats in (
        ("chain", chain, 3),
        ("AlignedUMAP", lambda: _aligned_umap(sets), 1),
        ("alone", alone, 3),
    ):
        made, taken = _timed(make, repeats)
        kept = [float(trust_of(ground_of(x).neighbors, xy).mean()) for x, xy in zip(sets, made, strict=True)]
        moved = [
            float(np.median(np.linalg.norm(after - before, axis=1)) / after.std())
            for before, after in zip(made[:-1], made[1:], strict=True)
        ]
        rows.append(
            {
                "who": who,
                "frames": frames,
                "points": count,
                "dim": dim,
                **taken,
                "neighbors_kept": round(statistics.mean(kept), 4),
                "moved": round(statistics.mean(moved), 4),
            }
        )
        _say(f"  {rows[-1]}")
    return rows


def _aligned_umap(sets: list[np.ndarray]) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        relations = [{row: row for row in range(len(sets[0]))}] * (len(sets) - 1)
        reducer = umap.AlignedUMAP(n_neighbors=NEIGHBORS, min_dist=0.1, metric="cosine", random_state=SEED)
        return [np.asarray(xy, np.float32) for xy in reducer.fit(sets, relations=relations).embeddings_]


# ---------------------------------------------------------------------------------------------------------------------
# Tools


def blobs(count: int, dim: int, groups: int = 30, spread: float = 1.2) -> np.ndarray:
    """Features of groups around random centers, float32 ``[count, dim]``; the same noise for every spread."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(groups, dim))
    group, noise = rng.integers(0, groups, count), rng.normal(size=(count, dim))
    return (centers[group] + spread * noise).astype(np.float32)


def _make_run(root: Path, features: np.ndarray) -> Path:
    from twist.runs.config import Recipe
    from twist.runs.folders import create_run
    from twist.runs.record import RunWriter

    count = len(features)
    path = create_run(Recipe(name="maps"), root=root)
    writer = RunWriter(path, 1)
    zeros = np.zeros(count, np.float32)
    writer.snapshot(
        0,
        0.0,
        {
            "assignment": np.zeros(count, np.int32),
            "confidence": zeros,
            "sample_entropy": zeros,
            "top_classes": np.zeros((count, 2), np.int32),
            "top_probs": np.zeros((count, 2), np.float32),
            "features": features.astype(np.float16),
            "mean_probs": np.ones(1, np.float32),
        },
        {},
    )
    writer.close()
    return path


def _timed(work: Callable[[], Any], repeats: int) -> tuple[Any, dict[str, float]]:
    """What the work gives, its median seconds, and its median seconds of processor time."""
    wall, cpu, result = [], [], None
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        result = work()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - busy)
    return result, {"seconds": _median(wall), "cpu_s": _median(cpu)}


def _median(seconds: list[float]) -> float:
    return round(statistics.median(seconds), 2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
