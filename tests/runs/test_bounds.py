import math

import pytest

from twist.runs import bounds

# method.md 2.3: classes, probability of the likeliest, floor of the sharpness.
TABLE = [
    (2, 0.881, 0.365),
    (5, 0.753, 0.902),
    (10, 0.757, 1.089),
    (20, 0.838, 0.920),
    (30, 0.901, 0.659),
    (50, 0.963, 0.304),
    (100, 0.996, 0.047),
    (200, 0.9999, 0.002),
    (1000, 1.0, 0.0),
]


@pytest.mark.parametrize(("num_classes", "largest", "floor"), TABLE)
def test_sharpness_floor_is_the_tabulated_one(num_classes, largest, floor):
    assert bounds.sharpness_floor(num_classes) == pytest.approx(floor, abs=6e-4)
    gap = num_classes / math.sqrt(num_classes - 1)
    assert 1 / (1 + (num_classes - 1) * math.exp(-gap)) == pytest.approx(largest, abs=6e-4)


@pytest.mark.parametrize(("num_classes", "temperature"), [(2, 1.0), (5, 1.0), (10, 0.5)])
def test_no_standardized_logits_are_sharper_than_the_floor_and_the_best_come_near(num_classes, temperature):
    torch = pytest.importorskip("torch")
    logits = torch.randn(
        8 * num_classes, num_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    sharpest = math.inf
    for _ in range(400):
        normed = (logits - logits.mean(0)) / logits.std(0, correction=0) / temperature
        log_probs = normed.log_softmax(1)
        sharpness = -(log_probs.exp() * log_probs).sum(1).mean()
        sharpest = min(sharpest, sharpness.item())
        optimizer.zero_grad()
        sharpness.backward()
        optimizer.step()
    floor = bounds.sharpness_floor(num_classes, temperature)
    assert floor - 1e-9 <= sharpest <= floor + 0.03


def test_balanced_one_hot_columns_reach_the_floor():
    num_classes, high = 10, 3.0  # standardized: 9/10 of a column at -1/3, 1/10 at 3
    weights = [math.exp(high)] + [math.exp(-1 / high)] * (num_classes - 1)
    probs = [weight / sum(weights) for weight in weights]
    assert bounds.sharpness_floor(num_classes) == pytest.approx(-sum(p * math.log(p) for p in probs))


def test_without_final_norm_there_is_no_floor():
    assert bounds.sharpness_floor(10, 1.0, "none") == 0


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_floor_stays_finite_at_any_temperature(temperature):
    for num_classes in (2, 10, 32768):
        assert 0 <= bounds.sharpness_floor(num_classes, temperature) <= math.log(num_classes)


def test_high_temperature_leaves_nothing_but_the_uniform_distribution():
    assert bounds.sharpness_floor(10, 1e6) == pytest.approx(bounds.log_classes(10))


def test_mutual_information_is_capped_by_the_smaller_of_samples_and_classes():
    assert bounds.mutual_information_cap(256, 4096) == math.log(256)
    assert bounds.mutual_information_cap(4096, 10) == math.log(10)


@pytest.mark.parametrize(
    ("num_classes", "top"),
    [(10, 2.3025), (100, 4.6042), (1000, 6.8978), (4096, 8.2776), (8192, 8.9322), (32768, 10.1138)],
)
def test_top_of_the_entropies_with_eps_is_the_tabulated_one(num_classes, top):
    assert bounds.marginal_entropy_top(num_classes, 1e-5) == pytest.approx(top, abs=6e-5)
    assert bounds.marginal_entropy_top(num_classes) == pytest.approx(math.log(num_classes))
