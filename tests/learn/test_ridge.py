"""The linear probe in closed form, against scikit-learn's ridge regression."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from twist.learn.ridge import linear_accuracy


@pytest.mark.parametrize("rows", [40, 600])  # fewer than the 64 dimensions, and more
@pytest.mark.parametrize("penalty", [0.01, 0.1, 1.0])
def test_the_accuracy_is_that_of_ridge_regression(rows, penalty):
    features, labels = load_digits(return_X_y=True)
    spread = np.square(features[:rows] - features[:rows].mean(0)).sum() / 64
    fitted = Ridge(alpha=penalty * spread).fit(features[:rows], np.eye(10)[labels[:rows]])
    expected = (fitted.predict(features[rows:]).argmax(1) == labels[rows:]).mean()
    x, y = torch.tensor(features).float(), torch.tensor(labels)
    assert linear_accuracy(x[:rows], y[:rows], x[rows:], y[rows:], penalty=penalty) == pytest.approx(expected, abs=2e-3)


def test_scale_does_not_matter():
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    one, other = (linear_accuracy(s * x[:40], y[:40], s * x[40:], y[40:]) for s in (1, 1024))
    assert one == other


def test_equal_features_and_one_label_are_no_error():
    same, labels = torch.ones(6, 3), torch.tensor([0, 0, 0, 0, 1, 1])
    assert linear_accuracy(same, labels, same, labels) == pytest.approx(4 / 6)
    assert linear_accuracy(same, labels * 0, same, labels * 0) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_gives_nan_and_no_error(value):
    x, labels = torch.randn(6, 3), torch.tensor([0, 1] * 3)
    x[1, 1] = value
    assert math.isnan(linear_accuracy(x, labels, x, labels))
