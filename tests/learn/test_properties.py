"""What holds of every diagnostic for every input: one table of functions and properties."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn import diagnostics, geometry, information

EXAMPLES = 30


@dataclass(frozen=True)
class Diagnostic:
    """A public function as a function of one matrix [N, K], and what holds of it.

    ``bounds`` are its least and greatest value. ``samples`` and ``columns`` say whether their order matters not.
    ``scale`` is what twice the matrix gives: "same", "double", or None where it is something else; ``shift`` what a
    constant added to all gives: "same" or None. ``one`` is its value for one sample, ``constant`` for many equal ones
    (both None where it depends on them), ``zeros`` for a matrix of zeros, and ``nan`` whether a NaN among the inputs
    makes a NaN of it.
    """

    of: Callable
    bounds: Callable
    samples: bool = True
    columns: bool = True
    scale: str | None = None
    shift: str | None = None
    one: float | None = None
    constant: float | None = None
    zeros: Callable = lambda x: 0.0
    nan: bool = True


def of_usage(function):
    return lambda x: function(diagnostics.class_usage(x))


def of_logs(function):
    return lambda x: function(x.log_softmax(1))


def summary(x):
    return torch.tensor(list(diagnostics.summarize([x, x.flip(0)], torch.cat([x, x.flip(0)])).values()))


def log_c(x):
    return math.log(x.shape[1])


def upward(x):
    return (0, math.inf)


def anything(x):
    return (-math.inf, math.inf)


TABLE = {
    # Of logits. An argmax counts NaN as the largest, so a NaN stays unseen in what only counts winners.
    "class_usage": Diagnostic(
        diagnostics.class_usage,
        lambda x: (0, 1),
        columns=False,
        scale="same",
        shift="same",
        zeros=lambda x: torch.eye(x.shape[1])[0],
        nan=False,
    ),
    "dead_classes": Diagnostic(
        of_usage(diagnostics.dead_classes),
        lambda x: (max(0, x.shape[1] - len(x)), x.shape[1] - 1),
        columns=False,  # a tie goes to the first of the classes
        scale="same",
        shift="same",
        zeros=lambda x: x.shape[1] - 1,
        nan=False,
    ),
    "largest_class_share": Diagnostic(
        of_usage(diagnostics.largest_class_share),
        lambda x: (1 / min(x.shape), 1),
        columns=False,
        scale="same",
        shift="same",
        one=1,
        constant=1,
        zeros=lambda x: 1,
        nan=False,
    ),
    "agreement": Diagnostic(
        lambda x: diagnostics.agreement(x, x.roll(1, 0)),
        lambda x: (0, 1),
        samples=False,  # of this partner; the pair is permuted in a test of its own
        columns=False,
        scale="same",
        shift="same",
        one=1,
        constant=1,
        zeros=lambda x: 1,
        nan=False,
    ),
    "row_std": Diagnostic(diagnostics.row_std, upward, scale="double", shift="same"),
    "column_std": Diagnostic(diagnostics.column_std, upward, scale="double", shift="same", one=0, constant=0),
    "summarize": Diagnostic(summary, lambda x: (-8, math.inf), samples=False, columns=False, zeros=None),
    "summarize_images": Diagnostic(
        lambda x: torch.tensor(list(diagnostics.summarize_images(x).values())),
        upward,
        columns=False,
        zeros=None,
    ),
    "summarize_features": Diagnostic(
        lambda x: torch.tensor(list(diagnostics.summarize_features(x)[0].values())), upward, zeros=None
    ),
    "evenly": Diagnostic(lambda x: diagnostics.evenly(x, 3), anything, samples=False, columns=False, scale="double"),
    # Of features.
    "feature_std": Diagnostic(geometry.feature_std, upward, scale="double", shift="same", one=0, constant=0),
    "dead_units": Diagnostic(
        geometry.dead_units,
        lambda x: (0, 1),
        scale="same",
        one=1,
        constant=1,
        zeros=lambda x: 1,
        nan=False,
    ),
    "spectrum": Diagnostic(geometry.spectrum, lambda x: (0, 1), scale="same"),
    "rank_of": Diagnostic(lambda x: geometry.rank_of(geometry.spectrum(x)), lambda x: (0, min(x.shape)), scale="same"),
    "effective_rank": Diagnostic(geometry.effective_rank, lambda x: (0, min(x.shape)), scale="same"),
    "alignment": Diagnostic(
        lambda x: geometry.alignment(x, x.flip(0)), lambda x: (0, 4), samples=False, scale="same", one=0, constant=0
    ),
    "uniformity": Diagnostic(
        geometry.uniformity,
        lambda x: (-8, 0),
        scale="same",
        one=math.nan,
        constant=0,
        zeros=lambda x: 0.0 if len(x) > 1 else math.nan,
    ),
    # Of log-probabilities: a shift of the logits changes nothing.
    "sample_entropy": Diagnostic(
        of_logs(information.sample_entropy), lambda x: (0, log_c(x)), samples=False, shift="same", zeros=log_c
    ),
    "conditional_entropy": Diagnostic(
        of_logs(information.conditional_entropy), lambda x: (0, log_c(x)), shift="same", zeros=log_c
    ),
    "mean_log_probs": Diagnostic(
        of_logs(information.mean_log_probs),
        lambda x: (-math.inf, 0),
        columns=False,
        shift="same",
        zeros=lambda x: -log_c(x),
    ),
    "marginal_entropy": Diagnostic(
        of_logs(information.marginal_entropy), lambda x: (0, log_c(x)), shift="same", zeros=log_c
    ),
    "mutual_information": Diagnostic(
        of_logs(information.mutual_information),
        lambda x: (0, math.log(min(x.shape))),
        shift="same",
        one=0,
        constant=0,
    ),
    "kl_divergence": Diagnostic(
        of_logs(lambda x: information.kl_divergence(x, x.roll(1, 0))),
        upward,
        samples=False,
        shift="same",
        one=0,
        constant=0,
    ),
    "perplexity": Diagnostic(
        of_logs(lambda x: information.perplexity(information.marginal_entropy(x))),
        lambda x: (1, x.shape[1]),
        shift="same",
        zeros=lambda x: x.shape[1],
    ),
}
each = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)


def test_every_public_function_stands_in_the_table():
    public = {
        name
        for module in (diagnostics, geometry, information)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    }
    assert public == set(TABLE)


@st.composite
def matrices(draw, least=1):
    """Matrices of every scale, some of them constant, some with a column of zeros."""
    samples, width = draw(st.integers(least, 12)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = draw(st.sampled_from((0.0, 1e-3, 1.0, 1e4))) * torch.randn(samples, width, generator=generator)
    if draw(st.booleans()):
        x[:, 0] = 0
    return x[:1].expand_as(x).clone() if draw(st.booleans()) else x


def close_to(x):
    """What rounding in float32 may change, of a number in the units of the matrix or in nats."""
    return {"rtol": 1e-4, "atol": 1e-4 * (1 + x.abs().max().item()), "equal_nan": True}


@each
@settings(max_examples=EXAMPLES, deadline=None)
@given(x=matrices(least=2))
def test_values_keep_their_bounds(row, x):
    low, high = row.bounds(x)
    value = row.of(x)
    assert not value.isnan().any()
    assert (value >= low - 2e-5).all() and (value <= high * (1 + 2e-5) + 2e-5).all()


@each
@settings(max_examples=EXAMPLES, deadline=None)
@given(x=matrices(), seed=st.integers(0, 1000))
def test_the_order_of_samples_or_columns_does_not_matter(row, x, seed):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randperm(len(x), generator=generator) if row.samples else torch.arange(len(x))
    columns = torch.randperm(x.shape[1], generator=generator) if row.columns else torch.arange(x.shape[1])
    torch.testing.assert_close(row.of(x[samples][:, columns]), row.of(x), **close_to(x))


@each
@settings(max_examples=EXAMPLES, deadline=None)
@given(x=matrices())
def test_scale_and_shift_do_what_is_said(row, x):
    if row.scale is not None:  # by a power of two, which rounds nothing
        expected = row.of(x) * (2 if row.scale == "double" else 1)
        torch.testing.assert_close(row.of(2 * x), expected, equal_nan=True)
    if row.shift is not None:
        exact = x.round()  # so are whole numbers
        torch.testing.assert_close(row.of(exact + 16), row.of(exact), **close_to(x))


@each
def test_degenerate_inputs_give_what_is_said(row):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for expected, degenerate in ((row.one, x[:1]), (row.constant, x[:1].expand(6, 4))):
        if expected is not None:
            value = row.of(degenerate)
            torch.testing.assert_close(value, torch.full_like(value, expected), atol=1e-5, rtol=0, equal_nan=True)
    if row.zeros is not None:
        for samples in (1, 5):
            value = row.of(torch.zeros(samples, 4))
            expected = torch.as_tensor(row.zeros(torch.zeros(samples, 4)), dtype=value.dtype).expand_as(value)
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=0, equal_nan=True)


@each
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows_or_is_not_seen_but_breaks_nothing(row, poison):
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    x[2, 1] = poison
    value = row.of(x)
    if math.isnan(poison):
        assert bool(value.isnan().any()) == row.nan
    assert value.shape == row.of(torch.zeros(6, 4)).shape


def test_agreement_knows_no_order_of_the_pairs():
    x, other = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert diagnostics.agreement(x[order], other[order]) == diagnostics.agreement(x, other)
    assert geometry.alignment(x[order], other[order]).item() == pytest.approx(geometry.alignment(x, other).item())


@pytest.mark.parametrize("name", ["row_std", "column_std", "feature_std", "dead_units", "spectrum", "effective_rank"])
def test_no_diagnostic_carries_a_gradient(name):
    assert not TABLE[name].of(torch.randn(6, 4, requires_grad=True)).requires_grad
