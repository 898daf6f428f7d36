"""Attempts of the training loop in this process, and the weights they end with."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from twist.learn import train as training
from twist.learn.process import Requests
from twist.runs.attempts import attempt_folder
from twist.runs.store import step_folder

STEPS = 12  # 3 epochs of 200 images in batches of 50


def attempt(path, number, *, stop_at=None, break_at=None):
    """One attempt of the loop in this process, stopped or broken at a step as a kill would."""
    attempt_folder(path, number).mkdir(parents=True, exist_ok=True)
    requests = Requests(path, supervisor=None)

    def watch(step, total, metrics):
        if step == stop_at:
            requests.stop = True
        if step == break_at:
            raise KeyboardInterrupt

    return training._attempt(path, number, requests, watch)[0]


def weights(path, step=STEPS):
    """Network, optimizer and, where there is one, teacher of a checkpoint."""
    folder = path / "checkpoints" / step_folder(step)
    files = [folder / f"{name}.safetensors" for name in ("network", "optimizer", "teacher")]
    return [load_file(file) for file in files if file.is_file()]


def assert_equal_weights(one, other, step=STEPS):
    for left, right in zip(weights(one, step), weights(other, step), strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), name
