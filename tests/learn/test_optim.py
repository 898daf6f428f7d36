import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from twist.learn.lars import LARS
from twist.learn.optim import make_optimizer, parameter_groups
from twist.runs.config import OptimConfig


def test_only_weights_decay():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weights, biases = parameter_groups(net, 0.1)
    assert [p.ndim for p in weights["params"]] == [2]
    assert [p.ndim for p in biases["params"]] == [1, 1, 1]
    assert (weights["weight_decay"], biases["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_left_out():
    net = nn.Linear(3, 4)
    net.bias.requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(net, 0.1)] == [1, 0]


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_the_optimizer_is_the_one_asked_for(name):
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "lars": LARS}[name]
    assert isinstance(make_optimizer(nn.Linear(2, 2), OptimConfig(optimizer=name)), kind)


def test_training_and_resuming_load_nothing_that_takes_seconds(runs, tiny):
    """Torch's compiler takes as long to load as torch itself; wrappers around its optimizers ask for it."""
    code = """
import sys
from loop import attempt
from twist.runs.launcher import prepare
for name in ("adamw", "sgd", "lars"):
    path = prepare("digits", name=name, changes={**TINY, "optim.optimizer": name})
    assert attempt(path, 1, stop_at=5)["reason"] == "stopped"
    assert attempt(path, 2)["reason"] == "completed"
heavy = ("torch._dynamo", "torch._inductor", "sympy", "sklearn", "torchvision")
print(*(name for name in heavy if name in sys.modules))
"""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"TINY = {tiny!r}\n{code}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
