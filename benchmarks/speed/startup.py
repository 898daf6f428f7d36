"""From the command ``twist train digits`` to the first logged step, each time in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed.rows import Figure, Part, Row, at_most, describe
from benchmarks.speed.settings import Settings

POLL_S = 0.01


def measure(settings: Settings) -> Part:
    """Median over several starts; the first one warms the disk and is dropped."""
    seconds = [seconds_to_first_step() for _ in range(3 if settings.quick else 6)][1:]
    figure = Figure("twist train digits to the first logged step", seconds, "s")
    bound = 10 if settings.gpu else 6
    row = Row(
        "startup/digits",
        "start-up: the command to the first logged step",
        statistics.median(seconds),
        at_most(bound),
        describe(figure),
        "",
        seconds,
        "s",
    )
    return Part("h", [row], [figure])


def seconds_to_first_step() -> float:
    """Seconds from starting the command to the line of its first step in the event log."""
    with tempfile.TemporaryDirectory(prefix="twist-bench-") as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "twist.cli", "train", "digits", "--set", "optim.epochs=1"]
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env={**os.environ, "TWIST_RUNS": folder}, **output) as process:
            while not _has_step(Path(folder)):
                if process.poll() not in (None, 0):
                    raise RuntimeError(
                        f"twist train digits ended with status {process.returncode} before its first step"
                    )
                time.sleep(POLL_S)
            return time.perf_counter() - began


def _has_step(runs: Path) -> bool:
    return any('"kind":"metrics"' in log.read_text() for log in runs.glob("*/events/*.jsonl"))
