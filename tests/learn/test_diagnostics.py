import math

import pytest
import torch

from twist.learn import diagnostics, geometry
from twist.learn.objective import twist_loss


@pytest.fixture(autouse=True, scope="module")
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


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
    logits, features = balanced(), torch.randn(400, 8)
    shared = {"class_perplexity", "sample_perplexity", "dead_classes", "largest_class_share", "row_std"}
    of_features = {"feature_std", "dead_units", "effective_rank"}
    of_views = of_features | {"alignment", "uniformity"}
    batch, images = diagnostics.summarize([logits, logits], features), diagnostics.summarize_images(logits)
    numbers, _ = diagnostics.summarize_features(features)
    assert set(batch) == shared | of_views | {"agreement", "column_std"}
    assert set(images) == shared | {"conditional_entropy", "marginal_entropy", "mutual_information"}
    assert set(numbers) == of_features | {"centered_rank"}
    assert set(batch) - set(diagnostics.summarize([logits, logits])) == of_views
    assert all(type(value) is float for value in (*batch.values(), *images.values(), *numbers.values()))


def test_alignment_is_that_of_the_first_two_views_and_uniformity_that_of_samples():
    views = torch.randn(3, 100, 8)
    numbers = diagnostics.summarize([balanced(samples=100)] * 3, views.flatten(0, 1))
    assert numbers["alignment"] == pytest.approx(geometry.alignment(*views[:2]).item())
    assert numbers["uniformity"] == pytest.approx(geometry.uniformity(views[0]).item())


def test_the_summary_of_features_takes_its_rank_from_the_spectrum_it_gives():
    features = torch.randn(2000, 600) @ torch.randn(600, 600)
    numbers, spectrum = diagnostics.summarize_features(features)
    assert spectrum.shape == (500,)  # every fourth image
    assert numbers["effective_rank"] == geometry.effective_rank(features[::4]).item()


def test_summary_of_images_knows_the_temperature():
    warm, cold = (diagnostics.summarize_images(torch.eye(4), temperature=t) for t in (1, 0.05))
    assert cold["conditional_entropy"] < 1e-3 < warm["conditional_entropy"]
    assert cold["mutual_information"] == pytest.approx(math.log(4), rel=1e-3)
    assert cold["row_std"] == warm["row_std"]


def test_half_precision_is_summarized_in_float32():
    logits = torch.randn(64, 10)
    half, full = (
        diagnostics.summarize([x, x], torch.cat([x, x])) for x in (logits.bfloat16(), logits.bfloat16().float())
    )
    assert half == full


def test_a_common_offset_lowers_the_effective_rank_and_leaves_the_centered_one():
    varied, offset = torch.randn(400, 16), torch.full((16,), 100.0)
    numbers, _ = diagnostics.summarize_features(varied + offset)
    assert numbers["effective_rank"] < 2
    assert numbers["centered_rank"] == pytest.approx(
        diagnostics.summarize_features(varied)[0]["centered_rank"], rel=0.01
    )
