import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twist.learn import diagnostics
from twist.learn.objective import twist_loss


@pytest.fixture(autouse=True, scope="module")
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@st.composite
def matrices(draw):
    """Matrices of every scale, some of them constant, with a row or a column of zeros."""
    samples, width = draw(st.integers(1, 12)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = draw(st.sampled_from((0.0, 1e-3, 1.0, 1e4))) * torch.randn(samples, width, generator=generator)
    if draw(st.booleans()):
        x[:, 0] = 0
    return x[:1].expand_as(x).clone() if draw(st.booleans()) else x


def of_usage(function):
    return lambda x: function(diagnostics.class_usage(x))


def summary(x):
    return torch.tensor(list(diagnostics.summarize([x, x], x).values()))


def summary_of_images(x):
    return torch.tensor(list(diagnostics.summarize_images(x, x).values()))


def upward(x):
    return (0, math.inf)


# Function of a matrix -> its least and greatest value, and whether permuting samples or columns changes it.
PROPERTIES = {
    "class_usage": (diagnostics.class_usage, lambda x: (0, 1), {"samples"}),
    "dead_classes": (of_usage(diagnostics.dead_classes), lambda x: (0, x.shape[1] - 1), {"samples"}),
    "largest_class_share": (
        of_usage(diagnostics.largest_class_share),
        lambda x: (1 / min(len(x), x.shape[1]), 1),
        {"samples"},
    ),
    "agreement": (lambda x: diagnostics.agreement(x, x.flip(1)), lambda x: (0, 1), {"samples"}),
    "row_std": (diagnostics.row_std, upward, {"samples", "columns"}),
    "column_std": (diagnostics.column_std, upward, {"samples", "columns"}),
    "feature_std": (diagnostics.feature_std, upward, {"samples", "columns"}),
    "effective_rank": (diagnostics.effective_rank, lambda x: (0, min(x.shape)), {"samples", "columns"}),
    "summarize": (summary, lambda x: (-1e-5, math.inf), {"samples"}),
    "summarize_images": (summary_of_images, lambda x: (-1e-5, math.inf), {"samples"}),
}


def test_every_public_function_stands_in_the_table_of_properties():
    functions = inspect.getmembers(diagnostics, inspect.isfunction)
    public = {name for name, f in functions if not name.startswith("_") and f.__module__ == diagnostics.__name__}
    assert public == set(PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
@settings(max_examples=40, deadline=None)
@given(x=matrices())
def test_values_keep_their_bounds(name, x):
    function, bounds, _ = PROPERTIES[name]
    low, high = bounds(x)
    value = function(x)
    assert value.isfinite().all()
    assert (value >= low - 1e-5).all() and (value <= high * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("name", PROPERTIES)
@settings(max_examples=40, deadline=None)
@given(x=matrices(), seed=st.integers(0, 1000))
def test_order_of_samples_or_columns_does_not_matter(name, x, seed):
    function, _, invariant = PROPERTIES[name]
    generator = torch.Generator().manual_seed(seed)
    close = {"rtol": 1e-4, "atol": 1e-4 * (1 + x.abs().max().item())}
    if "samples" in invariant:
        torch.testing.assert_close(function(x[torch.randperm(len(x), generator=generator)]), function(x), **close)
    if "columns" in invariant:
        torch.testing.assert_close(
            function(x[:, torch.randperm(x.shape[1], generator=generator)]), function(x), **close
        )


def test_no_number_carries_a_gradient():
    x = torch.randn(6, 4, requires_grad=True)
    values = [function(x) for name, (function, _, _) in PROPERTIES.items() if not name.startswith("summarize")]
    assert not any(value.requires_grad for value in values)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_effective_rank_is_that_of_the_singular_values(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(0.6 ** torch.arange(shape[1]))
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    share = singular / singular.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert diagnostics.effective_rank(x).item() == pytest.approx(expected, rel=1e-5)


def test_effective_rank_of_one_direction_is_one_in_many_dimensions():
    one_direction = torch.outer(torch.randn(500), torch.randn(300))
    assert diagnostics.effective_rank(one_direction).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_effective_rank_does_not_depend_on_scale(scale):
    assert diagnostics.effective_rank(scale * torch.eye(5)).item() == pytest.approx(5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_effective_rank_of_non_finite_features_is_nan_and_no_error(value):
    features = torch.eye(5)
    features[2, 2] = value
    assert diagnostics.effective_rank(features).isnan()


def balanced(classes=10, samples=200, gap=12.0):
    return gap * torch.eye(classes)[torch.arange(samples) % classes]


def flat_behind_the_final_norm():
    """All columns the same function of the sample: unit variance each, and a flat distribution everywhere."""
    return torch.randn(200, 1).expand(200, 10)


def test_healthy_logits_use_all_classes_sharply():
    numbers = diagnostics.summarize([balanced(), balanced()], torch.randn(400, 16))
    assert numbers["agreement"] == 1 and numbers["dead_classes"] == 0
    assert numbers["class_perplexity"] == pytest.approx(10) and numbers["sample_perplexity"] < 1.01
    assert numbers["largest_class_share"] == pytest.approx(0.1) and numbers["effective_rank"] > 14


def test_uniform_collapse_shows_in_the_row_std_and_not_in_the_column_std():
    numbers = diagnostics.summarize([flat_behind_the_final_norm()] * 2)
    assert numbers["row_std"] < 1e-3 and numbers["column_std"] == pytest.approx(1, abs=0.2)
    assert numbers["sample_perplexity"] == pytest.approx(10) == numbers["class_perplexity"]


def test_one_class_collapse_shows_in_the_largest_share():
    numbers = diagnostics.summarize([balanced()[:1].expand(200, 10)] * 2)
    assert numbers["largest_class_share"] == 1 and numbers["dead_classes"] == 9 and numbers["agreement"] == 1
    assert numbers["class_perplexity"] < 1.01


def test_partial_collapse_shows_in_the_class_perplexity():
    numbers = diagnostics.summarize([torch.nn.functional.pad(balanced(2), (0, 8))] * 2)
    assert numbers["class_perplexity"] == pytest.approx(2, rel=0.01) and numbers["dead_classes"] == 8


def test_inconsistent_views_show_in_the_agreement():
    numbers = diagnostics.summarize([balanced(), balanced().roll(1, 0)])
    assert numbers["agreement"] == 0 and numbers["class_perplexity"] == pytest.approx(10)


def test_dimensional_collapse_shows_in_the_effective_rank():
    features = torch.randn(400, 1) * torch.randn(16)
    assert diagnostics.summarize([balanced()] * 2, features)["effective_rank"] == pytest.approx(1, abs=1e-3)


def test_class_perplexity_of_a_batch_is_exp_of_the_diversity_of_the_loss():
    views = list(torch.randn(2, 30, 6))
    terms = twist_loss(views, temperature=0.5, eps=0)
    numbers = diagnostics.summarize(views, temperature=0.5)
    assert numbers["class_perplexity"] == pytest.approx(terms.diversity.exp().item(), rel=1e-5)
    assert numbers["sample_perplexity"] == pytest.approx(terms.sharpness.exp().item(), rel=1e-5)


def test_dead_classes_obey_the_threshold():
    usage = torch.tensor([0.6, 0.39, 0.01, 0.0])
    assert [diagnostics.dead_classes(usage, threshold=t).item() for t in (0, 0.01, 0.5)] == [1, 2, 3]


def test_summaries_name_what_they_hold():
    logits, features = balanced(), torch.randn(200, 8)
    shared = {"class_perplexity", "sample_perplexity", "dead_classes", "largest_class_share", "row_std"}
    of_features = {"feature_std", "effective_rank"}
    batch = diagnostics.summarize([logits, logits], features)
    images = diagnostics.summarize_images(logits, features)
    assert set(batch) == shared | of_features | {"agreement", "column_std"}
    assert set(images) == shared | of_features | {"conditional_entropy", "marginal_entropy", "mutual_information"}
    assert set(batch) - set(diagnostics.summarize([logits, logits])) == of_features
    assert all(type(value) is float for value in (*batch.values(), *images.values()))


def test_summary_of_images_knows_the_temperature():
    warm, cold = (diagnostics.summarize_images(torch.eye(4), temperature=t) for t in (1, 0.05))
    assert cold["conditional_entropy"] < 1e-3 < warm["conditional_entropy"]
    assert cold["mutual_information"] == pytest.approx(math.log(4), rel=1e-3)
    assert cold["row_std"] == warm["row_std"]


def test_half_precision_is_summarized_in_float32():
    logits = torch.randn(64, 10)
    half, full = (diagnostics.summarize([x, x], x) for x in (logits.bfloat16(), logits.bfloat16().float()))
    assert half == full
