"""What tests of the explorer share: maps without UMAP, a browser's messages, patience."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from twist.runs.store import npy_bytes, write_sealed_folder
from twist.view.classes import ClassExplorer


class Process:
    """A stand-in for the process that makes a map."""

    def __init__(self):
        self.returncode: int | None = None
        self.log = Path("log-0a1b2c3d")

    def poll(self) -> int | None:
        return self.returncode


def make_map(path: Path, step: int, count: int, **facts) -> None:
    x, y = np.random.default_rng(step).standard_normal((2, count)).astype(np.float32)
    files = {"umap_x.npy": npy_bytes(x), "umap_y.npy": npy_bytes(y)}
    made = {"method": "umap", "metric": "cosine", "n_neighbors": 15, "min_dist": 0.1, "seed": 0}
    write_sealed_folder(
        path / "layouts" / f"step-{step:09d}", files, {"step": step, "points": count, "of": count, **made, **facts}
    )


def until(claim, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def from_browser(explorer: ClassExplorer, **state) -> None:
    data = {"method": "update", "state": state, "buffer_paths": []}
    explorer._handle_msg({"content": {"comm_id": explorer.comm.comm_id, "data": data}, "buffers": []})
