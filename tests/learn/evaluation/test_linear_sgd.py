"""The linear layer trained by stochastic gradient descent, against torch's own layer and optimizer."""

import dataclasses
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from twist.learn.evaluation.linear import linear
from twist.learn.evaluation.linear_sgd import VIT_BASE, VIT_SMALL, LinearSgdSettings, linear_sgd
from twist.learn.uncompiled import SGD
from twist.runs.config import ConfigError

SHORT = LinearSgdSettings(epochs=4, batch_size=100, learning_rate=0.05, momentum=0.8, weight_decay=0.01)


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = torch.from_numpy(pixels) / 16, torch.from_numpy(labels)
    return pixels[:1230], labels[:1230], pixels[1230:], labels[1230:]


def test_it_is_torchs_layer_trained_with_torchs_optimizer(digits):
    known, labels, asked, asked_labels = digits
    draw = torch.Generator().manual_seed(3)
    layer = nn.Linear(64, 10).double()
    layer.weight.data = (0.01 * torch.randn(10, 64, generator=draw)).double()
    layer.bias.data.zero_()
    optimizer = SGD(layer.parameters(), lr=1.0, momentum=0.8, weight_decay=0.01)
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / 4)) / 2
        losses = []
        for batch in torch.randperm(1230, generator=draw).split(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(layer(known[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    found = linear_sgd(*digits, SHORT, seed=3)
    torch.testing.assert_close(found.weights, layer.weight.data, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.bias, layer.bias.data, rtol=0, atol=1e-12)
    assert found.loss == pytest.approx(sum(losses) / len(losses), abs=1e-12)
    assert found.accuracy == (layer(asked).argmax(1) == asked_labels).double().mean().item()
    assert found.train_accuracy == pytest.approx((layer(known).argmax(1) == labels).double().mean().item(), abs=1e-12)


def test_a_seed_gives_the_same_numbers_and_another_seed_others(digits):
    first, again, other = (linear_sgd(*digits, SHORT, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weights, again.weights) and first.scores() == again.scores()
    assert not torch.equal(first.weights, other.weights)


def test_the_papers_settings_come_near_the_optimum_of_the_regression(digits):
    rough = [each.float() if each.is_floating_point() else each for each in digits]
    found = linear_sgd(*rough, LinearSgdSettings(batch_size=128, standardize=True))
    assert found.accuracy == pytest.approx(linear(*rough).accuracy, abs=0.02)
    assert found.accuracy <= found.top5_accuracy <= 1 and found.train_accuracy > 0.97
    assert "not augmented anew in every epoch" in found.notes[-1]


def test_the_papers_settings_by_name():
    paper = LinearSgdSettings()
    assert (paper.epochs, paper.batch_size, paper.first_rate, paper.momentum) == (100, 1024, 0.2, 0.9)
    assert (paper.weight_decay, paper.initial_std) == (0, 0.01)
    assert VIT_SMALL.first_rate == pytest.approx(0.02 * 4) and VIT_BASE.first_rate == pytest.approx(0.0015 * 4)


def test_standardizing_is_undone_in_the_weights(digits):
    known, labels, asked, asked_labels = digits
    mean, spread = known.mean(0), known.std(0, correction=0)
    scaled = [torch.where(spread > 0, (rows - mean) / spread, 0) for rows in (known, asked)]
    expected = linear_sgd(scaled[0], labels, scaled[1], asked_labels, SHORT)
    found = linear_sgd(*digits, dataclasses.replace(SHORT, standardize=True))
    torch.testing.assert_close(
        asked @ found.weights.T + found.bias, scaled[1] @ expected.weights.T + expected.bias, rtol=0, atol=1e-9
    )
    assert found.scores() == expected.scores()


def test_features_too_large_for_the_rate_are_named(digits):
    known, labels, asked, asked_labels = digits
    with pytest.raises(ConfigError, match="loss is not finite in epoch 1: .* rate of 1e[+]30 is too large"):
        settings = LinearSgdSettings(epochs=3, batch_size=100, learning_rate=1e30)
        linear_sgd(known.float() * 1e8, labels, asked.float(), asked_labels, settings)


def test_labels_with_gaps_and_one_label_only(digits):
    known, labels, asked, asked_labels = digits
    gaps = linear_sgd(known, labels * 7 + 3, asked, asked_labels * 7 + 3, SHORT)
    assert gaps.scores() == linear_sgd(*digits, SHORT).scores() and gaps.labels[1] == 10
    with pytest.raises(ConfigError, match="all 1,230 known images have the label 2"):
        linear_sgd(known, torch.full_like(labels, 2), asked, asked_labels, SHORT)


def test_progress_is_told(digits):
    told = []
    linear_sgd(*digits, SHORT, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"weight_decay": -1.0}],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
        dataclasses.replace(SHORT, **wrong)
