"""How long evaluations take and how much memory: 50,000 known and 10,000 asked images of 512 features, two cores.

``python -m benchmarks.evaluation`` takes about five minutes on two idle cores and writes
``benchmarks/records/evaluation.json``; ``--only PART`` makes some parts anew. Every part is measured in a process of
its own, the features memory-mapped as a run's cached ones are: median of three, processor seconds, and the process's
peak of resident memory, Python and torch included. Beside other work ``seconds`` grow, those of processor time
(``cpu_s``) hardly. The features are made up, but like those of a network: not below zero, correlated, far from
standardized, of labels that overlap.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from torch import Tensor

from benchmarks.readme import RECORDS
from benchmarks.speed.settings import machine
from twist.learn.evaluation.clusters import classes
from twist.learn.evaluation.kmeans import KmeansSettings, kmeans
from twist.learn.evaluation.knn import knn
from twist.learn.evaluation.linear import LinearSettings, linear
from twist.learn.evaluation.linear_sgd import LinearSgdSettings, linear_sgd

RECORD = RECORDS / "evaluation.json"
KNOWN, ASKED, DIM, LABELS = 50_000, 10_000, 512, 10
THREADS = 2
_REPEATS = 3
_PARTS = ("known", "known_labels", "asked", "asked_labels")


def main() -> None:
    """Measure the parts that are asked for, each in its own process, and write them into the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(_measured(options.only[0], options.folder)))
        return
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.is_file() else {"schema": 1, "parts": {}}
    with tempfile.TemporaryDirectory(prefix="twist-bench-") as folder:
        for name, array in zip(_PARTS, features(), strict=True):
            np.save(Path(folder) / f"{name}.npy", array.numpy())
        for part in options.only:
            facts = {"date": datetime.date.today().isoformat(), "machine": machine(), "threads": THREADS}
            command = [sys.executable, "-m", "benchmarks.evaluation", "--only", part, "--folder", folder]
            threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
            # A thread that waits sleeps: else its waiting counts as work.
            told = {**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE"}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=told)
            record["parts"][part] = {**json.loads(done.stdout), **facts}
            print(json.dumps({part: record["parts"][part]}, indent=1), flush=True)
    record["features"] = {"known": KNOWN, "asked": ASKED, "dim": DIM, "labels": LABELS}
    record["scikit-learn"] = sklearn.__version__
    record["parts"] = {part: record["parts"][part] for part in PARTS if part in record["parts"]}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


def features(
    known: int = KNOWN, asked: int = ASKED, dim: int = DIM, num_labels: int = LABELS
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Known features and labels, asked ones: groups in 32 dimensions, seen through two layers of random weights."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, num_labels, (known + asked,), generator=draw)
    hidden = torch.randn(num_labels, 32, generator=draw)[labels] * 0.45 + torch.randn(len(labels), 32, generator=draw)
    first = torch.randn(32, dim, generator=draw) / 32**0.5
    second = torch.randn(dim, dim, generator=draw) / dim**0.5 * torch.logspace(0, -1.5, dim)
    rows = ((hidden @ first).relu() @ second + 0.1 * torch.randn(dim, generator=draw)).relu()
    rows += 0.01 * torch.rand(rows.shape, generator=draw)
    return rows[:known], labels[:known], rows[known:], labels[known:]


def _measured(part: str, folder: Path) -> dict[str, Any]:
    """Figures of a part in this process, which does nothing else."""
    torch.set_num_threads(THREADS)
    given = tuple(torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in _PARTS)
    wall, cpu, found = [], [], {}
    for _ in range(1 if part.startswith("scikit-learn") else _REPEATS):
        began, busy = time.perf_counter(), time.process_time()
        found = PARTS[part](*given)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - busy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": round(statistics.median(wall), 2),
        "cpu_s": round(statistics.median(cpu), 2),
        "peak_gib": round(peak / 2**30, 2),
        **found,
    }


def _linear(*given: Tensor) -> dict[str, Any]:
    found = linear(*given)
    arrived = {"steps": found.steps, "gradient": found.gradient, "converged": found.converged, "loss": found.loss}
    return {"accuracy": found.accuracy, **arrived}


def _linear_raw(*given: Tensor) -> dict[str, Any]:
    found = linear(*given, LinearSettings(standardize=False))
    arrived = {"steps": found.steps, "gradient": found.gradient, "converged": found.converged, "loss": found.loss}
    return {"accuracy": found.accuracy, **arrived}


def _linear_sgd(*given: Tensor) -> dict[str, Any]:
    return {"accuracy": linear_sgd(*given, LinearSgdSettings(standardize=True)).accuracy}


def _knn(*given: Tensor) -> dict[str, Any]:
    return knn(*given).scores()


def _kmeans(*given: Tensor) -> dict[str, Any]:
    return kmeans(*given[2:], settings=KmeansSettings(starts=1)).scores()


def _classes(*given: Tensor) -> dict[str, Any]:
    return classes((given[2] / 0.1).log_softmax(1), given[3]).scores()


def _sklearn_linear(*given: Tensor) -> dict[str, Any]:
    """To the same optimum: standardized features, its own solver and criterion."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, labels, asked, asked_labels = (each.numpy() for each in given)
    fit = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-5, max_iter=1000)).fit(known, labels)
    return {"accuracy": fit.score(asked, asked_labels), "steps": int(fit[-1].n_iter_[0])}


def _sklearn_knn(*given: Tensor) -> dict[str, Any]:
    from sklearn.neighbors import KNeighborsClassifier

    known, labels, asked, asked_labels = (each.numpy() for each in given)
    fit = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(known, labels)
    return {"accuracy_k20": fit.score(asked, asked_labels)}


#: Name of each part and what it runs.
PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "linear": _linear,
    "linear, as they are": _linear_raw,
    "linear-sgd": _linear_sgd,
    "knn": _knn,
    "kmeans": _kmeans,
    "classes": _classes,
    "scikit-learn linear": _sklearn_linear,
    "scikit-learn knn": _sklearn_knn,
}


if __name__ == "__main__":
    main()
