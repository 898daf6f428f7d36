"""A map of ten thousand images from nothing: a first one in seconds, then umap-learn's, in JupyterLab."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from browsing import expect, start_command

from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunWriter

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COUNT, DIM, GROUPS = 10_000, 512, 30


def make_run(root, name):
    """A run with one snapshot of so many images whose features lie around random centers."""
    rng = np.random.default_rng(0)
    group = np.arange(COUNT) % GROUPS
    features = rng.normal(size=(GROUPS, DIM))[group] + 1.2 * rng.normal(size=(COUNT, DIM))
    path = create_run(Recipe(name="maps").replace(network__num_classes=GROUPS), name=name, root=root)
    (path / "attempts" / "0001").mkdir()
    writer = RunWriter(path, 1)
    writer.watch(np.zeros((COUNT, 1, 4, 4), np.uint8), np.arange(COUNT), None, None)
    columns = {
        "assignment": group.astype(np.int32),
        "confidence": np.full(COUNT, 0.9, np.float32),
        "sample_entropy": np.full(COUNT, 0.3, np.float32),
        "top_classes": group[:, None].astype(np.int32),
        "top_probs": np.full((COUNT, 1), 0.9, np.float32),
        "features": features.astype(np.float16),
        "mean_probs": np.full(GROUPS, 1 / GROUPS, np.float32),
    }
    writer.snapshot(0, 0.0, columns, {})
    writer.event("end", step=0, reason="completed")
    writer.close()
    (path / "attempts" / "0001" / "end.json").write_text(json.dumps({"reason": "completed", "step": 0}))


def test_ten_thousand_images_have_a_first_map_in_six_seconds_and_umaps_in_twenty(lab, open_page):
    taken = []
    for turn in range(3):  # the machine may be busy with something else for a while
        name = f"ten-thousand-{turn}"
        make_run(lab.runs, name)
        lab.write(f"{name}.ipynb", [f"import twist; twist.ClassExplorer({name!r})"])
        page = open_page()
        lab.open(page, f"{name}.ipynb")
        start_command(page, "notebook:run-all-cells")
        explorer = page.locator(".twist-explorer")
        expect(explorer).to_have_attribute("data-placement", "pca", timeout=60_000)  # at once; the process starts
        began = time.monotonic()
        expect(explorer.get_by_text("Quick UMAP of the features")).to_be_visible(timeout=60_000)
        first = time.monotonic() - began
        expect(explorer.get_by_text("Made as: UMAP of the features")).to_be_visible(timeout=90_000)
        taken.append((first, time.monotonic() - began))
        if first <= 6 and taken[-1][1] <= 20:
            return
    raise AssertionError(f"seconds to the first map and to umap-learn's: {taken}")
