import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from twist.learn import information

DTYPES = (torch.float32, torch.float64)


@pytest.fixture(autouse=True, scope="module")
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@st.composite
def log_probs(draw):
    """Rows of every temper, from flat to one-hot with exact zeros."""
    seed = draw(st.integers(0, 2**31))
    samples, classes = draw(st.integers(1, 12)), draw(st.integers(2, 9))
    scale = draw(st.sampled_from((0.0, 0.1, 1.0, 30.0, 1e4)))
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(samples, classes, generator=generator, dtype=draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        logits[:, 0] = -math.inf
    return torch.log_softmax(logits, 1)


def mean_divergence(x):
    return information.kl_divergence(x, x.roll(1, 0)).mean()


def class_perplexity(x):
    return information.perplexity(information.marginal_entropy(x))


def log_c(x):
    return math.log(x.shape[1])


# Function of log-probabilities -> its least and greatest value; test_properties has every other property.
PROPERTIES = {
    "sample_entropy": (information.sample_entropy, lambda x: (0, log_c(x))),
    "conditional_entropy": (information.conditional_entropy, lambda x: (0, log_c(x))),
    "mean_log_probs": (information.mean_log_probs, lambda x: (-math.inf, 0)),
    "marginal_entropy": (information.marginal_entropy, lambda x: (0, log_c(x))),
    "mutual_information": (
        information.mutual_information,
        lambda x: (0, math.log(min(x.shape))),
    ),
    "kl_divergence": (mean_divergence, lambda x: (0, math.inf)),
    "perplexity": (class_perplexity, lambda x: (1, x.shape[1])),
}


@pytest.mark.parametrize("name", PROPERTIES)
@settings(max_examples=60, deadline=None)
@given(x=log_probs())
def test_values_keep_their_bounds(name, x):
    function, bounds = PROPERTIES[name]
    low, high = bounds(x)
    value = function(x)
    assert not value.isnan().any()
    assert (value >= low - 2e-5).all() and (value <= high * (1 + 2e-5) + 2e-5).all()


@pytest.mark.parametrize("name", PROPERTIES)
@settings(max_examples=60, deadline=None)
@given(x=log_probs())
def test_gradients_are_never_nan(name, x):
    x.requires_grad_()
    # exp: the logarithm of an impossible class is -inf by right, its contribution to a sum is what must stay finite.
    value = PROPERTIES[name][0](x).exp() if name == "mean_log_probs" else PROPERTIES[name][0](x)
    (gradient,) = torch.autograd.grad(value.clamp(max=1e30).sum(), x)
    assert not gradient.isnan().any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_entropies_are_those_of_scipy(dtype):
    probs = softmax(2 * np.random.default_rng(0).standard_normal((20, 7)), axis=1)
    x = torch.tensor(probs, dtype=dtype).log()
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    assert information.sample_entropy(x).dtype == dtype
    np.testing.assert_allclose(information.sample_entropy(x), scipy_entropy(probs, axis=1), **close)
    np.testing.assert_allclose(information.marginal_entropy(x), scipy_entropy(probs.mean(0)), **close)
    np.testing.assert_allclose(information.mean_log_probs(x).exp(), probs.mean(0), **close)
    np.testing.assert_allclose(
        information.kl_divergence(x, x.flip(0)), scipy_entropy(probs, probs[::-1], axis=1), **close
    )


def test_mutual_information_is_mean_kl_to_the_marginal():
    x = torch.randn(30, 8, dtype=torch.float64).log_softmax(1)
    marginal = information.mean_log_probs(x).expand_as(x)
    torch.testing.assert_close(information.mutual_information(x), information.kl_divergence(x, marginal).mean())


def test_mutual_information_is_zero_when_all_rows_are_equal():
    x = torch.randn(1, 8, dtype=torch.float64).log_softmax(1).expand(30, 8)
    assert abs(information.mutual_information(x).item()) < 1e-12


@pytest.mark.parametrize(("samples", "classes"), [(4, 9), (9, 3)])
def test_mutual_information_reaches_its_cap_when_sharp_classes_share_the_samples(samples, classes):
    x = torch.full((samples, classes), -math.inf)
    x[torch.arange(samples), torch.arange(samples) % classes] = 0
    assert math.isclose(information.mutual_information(x), math.log(min(samples, classes)), rel_tol=1e-6)


def test_divergence_is_infinite_where_the_other_excludes_a_class():
    sure, unsure = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert information.kl_divergence(unsure, sure).item() == math.inf
    assert information.kl_divergence(sure, unsure).item() == pytest.approx(math.log(2))
    assert information.kl_divergence(sure, sure).item() == 0


@pytest.mark.parametrize("function", [information.sample_entropy, information.marginal_entropy, mean_divergence])
def test_gradients_are_those_of_finite_differences(function):
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x.log_softmax(1)), x)
