"""Vectors recorded from the authors' code: which cases there are, and how near one must come."""

from __future__ import annotations

import json
import os
import re
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


def cases(file: str, kind: str = "case") -> list:
    """Every case of a file as a parameter of a test; one skipped parameter when the file is missing.

    A file may hold blocks of another kind beside its cases: arrays ``<kind>NN_…``, or one array ``<kind>NN``.
    """
    path = FOLDER / file
    if not path.is_file():
        skip = pytest.mark.skip(reason=f"no golden vectors at {path}: set TWIST_GOLDEN")
        return [pytest.param(None, marks=[pytest.mark.golden, skip], id="missing")]
    found = []
    with np.load(path) as arrays:
        metas = {f"{kind}{meta[kind]:02d}": meta for meta in json.loads(str(arrays["meta_json"])) if kind in meta}
        start = "c" if kind == "case" else kind
        names = sorted({m.group() for name in arrays.files if (m := re.match(rf"{start}\d\d(?=_|$)", name))})
        for name in names:
            meta = metas.get(f"{kind}{name[-2:]}", {})
            own = {key[len(name) + 1 :]: arrays[key] for key in arrays.files if key.partition("_")[0] == name}
            found.append(pytest.param(Case(meta, own), marks=pytest.mark.golden, id=name))
    return found


def files(pattern: str) -> list:
    """Every file of a pattern as one case; one skipped parameter when there is none."""
    found = []
    for path in sorted(FOLDER.glob(pattern)):
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta_json"]))
            content = {name: arrays[name] for name in arrays.files if name != "meta_json"}
        found.append(pytest.param(Case(meta, content), marks=pytest.mark.golden, id=path.stem))
    if not found:
        skip = pytest.mark.skip(reason=f"no golden vectors {pattern} in {FOLDER}: set TWIST_GOLDEN")
        found.append(pytest.param(None, marks=[pytest.mark.golden, skip], id="missing"))
    return found
