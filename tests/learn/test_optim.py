import pytest
import torch
from torch import nn

from twist.learn.optim import learning_rate, make_optimizer, parameter_groups
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


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_optimizer_is_the_one_asked_for(name):
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    assert isinstance(make_optimizer(nn.Linear(2, 2), OptimConfig(optimizer=name)), kind)


def test_the_schedule_rises_from_zero_and_falls_to_its_end():
    config = OptimConfig(epochs=20, warmup_epochs=2.5, learning_rate=0.4, final_learning_rate=0.01)
    rates = [learning_rate(step, config, 10) for step in range(200)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.4) == rates[25]
    assert all(a < b for a, b in zip(rates[:25], rates[1:26], strict=True))
    assert all(a > b for a, b in zip(rates[25:-1], rates[26:], strict=True))
    assert learning_rate(200, config, 10) == pytest.approx(0.004)


def test_the_warm_up_of_a_short_run_leaves_most_of_it():
    config = OptimConfig(epochs=4, warmup_epochs=5, learning_rate=1.0)
    assert learning_rate(10, config, 10) == 1.0


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, OptimConfig(warmup_epochs=0, learning_rate=0.3), 7) == pytest.approx(0.3)
