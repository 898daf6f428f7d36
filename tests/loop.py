"""Attempts of the training loop in this process, and the weights they end with."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from twist.learn import train as training
from twist.learn.process import Requests
from twist.runs.attempts import attempt_folder
from twist.runs.record import RunWriter
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
    folder = path / "checkpoints" / step_folder(step)
    return load_file(folder / "network.safetensors"), load_file(folder / "optimizer.safetensors")


def assert_equal_weights(one, other):
    for left, right in zip(weights(one), weights(other), strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), name
