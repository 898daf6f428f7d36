"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small jobs: one thread each is the fastest, and repeatable

SHARED = Path(__file__).resolve().parents[2] / "shared"

#: Fields that make any recipe a matter of a second.
TINY = {
    "data.max_images": 200,
    "optim.batch_size": 50,
    "optim.epochs": 3,
    "optim.warmup_epochs": 1,
    "network.widths": (4, 8),
    "network.hidden_dim": 16,
    "network.num_heads": 1,
    "record.diagnose_every_steps": 3,
    "record.snapshot_every_epochs": 1,
    "record.checkpoint_every_epochs": 1,
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty runs folder that `TWIST_RUNS` names."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("TWIST_RUNS", str(folder))
    return folder


@pytest.fixture
def tiny():
    """Changes that make a recipe a matter of a second."""
    return dict(TINY)


@pytest.fixture
def shared_data():
    """The folder of real images beside the checkout, or a skip."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data with real images is not there")
    return folder
