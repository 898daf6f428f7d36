"""Vectors recorded from the authors' code: which cases there are, and how near one must come."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

FOLDER = Path(os.environ.get("TWIST_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden")
FLOAT64, FLOAT32, SHARES = 1e-9, 2e-5, 1e-6


class Case(NamedTuple):
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in self.arrays.items() if name.startswith(prefix)}


def cases(file: str) -> list:
    """Every case of a file as a parameter of a test; one skipped parameter when the file is missing."""
    path = FOLDER / file
    if not path.is_file():
        skip = pytest.mark.skip(reason=f"no golden vectors at {path}: set TWIST_GOLDEN")
        return [pytest.param(None, marks=[pytest.mark.golden, skip], id="missing")]
    found = []
    with np.load(path) as file_arrays:
        for meta in json.loads(str(file_arrays["meta_json"])):
            prefix = f"c{meta['case']:02d}_"
            arrays = {name[len(prefix) :]: file_arrays[name] for name in file_arrays.files if name.startswith(prefix)}
            found.append(pytest.param(Case(meta, arrays), marks=pytest.mark.golden, id=prefix.strip("_")))
    return found


def blocks(file: str, prefix: str) -> list:
    """Every block of arrays ``<prefix>NN_…`` that stands beside a file's cases, as a parameter of a test."""
    path = FOLDER / file
    if not path.is_file():
        skip = pytest.mark.skip(reason=f"no golden vectors at {path}: set TWIST_GOLDEN")
        return [pytest.param(None, marks=[pytest.mark.golden, skip], id="missing")]
    with np.load(path) as arrays:
        names = sorted({name.partition("_")[0] for name in arrays.files if name.startswith(prefix)})
        return [
            pytest.param(
                {key.removeprefix(f"{name}_"): arrays[key] for key in arrays.files if key.startswith(f"{name}_")},
                marks=pytest.mark.golden,
                id=name,
            )
            for name in names
        ]
