"""One part of the bench in a process of its own: ``python -m benchmarks.speed.measure PART FILE [--quick]``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.speed.parts import PARTS
from benchmarks.speed.settings import Settings
from twist.learn.process import tune_arithmetic, tune_malloc


@contextlib.contextmanager
def measuring_process(*, threads: int, tuned_malloc: bool) -> Iterator[None]:
    """A process set up as our training sets up its own; its runs are in a folder that goes away."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    if tuned_malloc:
        tune_malloc()
    tune_arithmetic()
    with tempfile.TemporaryDirectory(prefix="twist-bench-") as folder:
        os.environ["TWIST_RUNS"] = folder
        yield


def main() -> None:
    """Set the process up as the part asks, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    part = PARTS[options.part]
    module, _, function = part.function.partition(":")
    with measuring_process(threads=part.threads, tuned_malloc=part.tuned_malloc):
        found = getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)(Settings(options.quick))
    options.file.write_text(json.dumps(found.as_dict()))


if __name__ == "__main__":
    main()
