"""One part of the bench in a process of its own: ``python -m benchmarks.speed.measure PART FILE [--quick]``."""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from pathlib import Path

import torch

from benchmarks.speed.parts import PARTS
from benchmarks.speed.settings import Settings
from twist.learn.process import tune_malloc


def main() -> None:
    """Set the process up as the part asks, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    part = PARTS[options.part]
    warnings.simplefilter("ignore")
    torch.set_num_threads(part.threads)
    if part.tuned_malloc:
        tune_malloc()
    module, _, function = part.function.partition(":")
    measure = getattr(importlib.import_module(f"benchmarks.speed.{module}"), function)
    options.file.write_text(json.dumps(measure(Settings(options.quick)).as_dict()))


if __name__ == "__main__":
    main()
