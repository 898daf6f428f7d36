"""From the command ``twist train digits`` to the first logged step, each time in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed.rows import Figure, Part, Row, at_most
from benchmarks.speed.settings import Settings

POLL_S = 0.01


STAGES = {
    "run folder made": lambda run: (run / "run.json").is_file(),
    "training process imported": lambda run: any(run.glob("events/*.jsonl")),
    "images loaded, network built": lambda run: _logged(run, "start"),
    "first step logged": lambda run: _logged(run, "metrics"),
}


def measure(settings: Settings) -> Part:
    """Median over several starts; the first one warms the disk and is dropped."""
    starts = [seconds_to_first_step() for _ in range(2 if settings.quick else 6)][1:]
    figures = [Figure(stage, [seconds[stage] for seconds in starts], "s") for stage in STAGES]
    last = figures[-1]
    spelled = ", ".join(f"{figure.name} {figure.median:.1f} s" for figure in figures)
    bound = at_most(10 if settings.gpu else 6)
    what = "start-up: `twist train digits` to its first logged step"
    return Part("h", [Row("startup/digits", what, last.median, bound, spelled, "", last.values, "s")], figures)


def seconds_to_first_step() -> dict[str, float]:
    """Seconds from starting the command to each stage, as an onlooker sees the run's folder grow."""
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="twist-bench-") as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "twist.cli", "train", "digits", "--set", "optim.epochs=1"]
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env={**os.environ, "TWIST_RUNS": folder}, **output) as process:
            while len(seen) < len(STAGES):
                if process.poll() not in (None, 0):
                    raise RuntimeError(f"twist train digits ended with status {process.returncode} before a step")
                runs = [path.parent for path in Path(folder).glob("*/run.json")]
                for stage, reached in STAGES.items():
                    if stage not in seen and runs and reached(runs[0]):
                        seen[stage] = time.perf_counter() - began
                time.sleep(POLL_S)
    return seen


def _logged(run: Path, kind: str) -> bool:
    return any(f'"kind":"{kind}"' in log.read_text() for log in run.glob("events/*.jsonl"))
