import math

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy

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


def entropies_of(logits, temperature) -> tuple[float, float]:
    """H(Y|X) and H(Y) of logits [N, C], standardized over the rows as the final norm does it."""
    normed = (logits - logits.mean(0)) / logits.std(0) / temperature
    probs = np.exp(log_softmax(normed, axis=1))
    return float(entropy(probs, axis=1).mean()), float(entropy(probs.mean(0)))


def height_of_frontier(edge: np.ndarray, conditional: float) -> float:
    """Least H(Y) that the frontier allows at a H(Y|X)."""
    return float(np.interp(conditional, edge[:, 0], edge[:, 1], left=math.inf))


@pytest.mark.parametrize(("num_groups", "num_classes"), [(2, 10), (5, 10), (10, 10), (4, 100)])
def test_balanced_groups_have_the_stated_sharpness_and_full_diversity(num_groups, num_classes):
    groups = np.arange(20 * num_groups) % num_groups
    logits = np.eye(num_groups)[groups].repeat(num_classes // num_groups, axis=1)
    conditional, marginal = entropies_of(logits, 0.7)
    assert conditional == pytest.approx(bounds.balanced_sharpness(num_groups, num_classes, 0.7))
    assert marginal == pytest.approx(math.log(num_classes))


def test_the_balanced_curve_runs_from_the_uniform_corner_to_the_floor():
    curve = [bounds.balanced_sharpness(k, 100) for k in range(1, 101)]
    assert curve[0] == math.log(100) and curve[-1] == bounds.sharpness_floor(100)
    assert (np.diff(curve) < 0).all()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("num_classes", [2, 3, 10, 100, 4096])
def test_the_frontier_runs_from_the_floor_to_the_uniform_corner_and_is_convex(num_classes, temperature):
    top, edge = math.log(num_classes), bounds.norm_frontier(num_classes, temperature)
    assert edge[0] == pytest.approx((bounds.sharpness_floor(num_classes, temperature), top), abs=1e-4)
    assert edge[-1] == pytest.approx((top, top))
    (dx, dy) = np.diff(edge, axis=0).T
    assert (dx > -1e-12).all() and (dx[:-1] * dy[1:] - dy[:-1] * dx[1:] > -1e-9).all()
    assert (edge[:, 1] >= edge[:, 0] - 1e-9).all()


def test_two_classes_follow_their_closed_form():
    share = np.linspace(0.01, 0.99, 99)
    gaps = 2 * np.sqrt((1 - share) / share), 2 * np.sqrt(share / (1 - share))
    likelier = [1 / (1 + np.exp(-gap)) for gap in gaps]
    conditional = sum(part * entropy([p, 1 - p]) for part, p in zip((share, 1 - share), likelier, strict=True))
    first = share * likelier[0] + (1 - share) * (1 - likelier[1])
    edge = bounds.norm_frontier(2)
    heights = np.array([height_of_frontier(edge, value) for value in conditional])
    marginal = entropy([first, 1 - first])
    assert (heights <= marginal + 1e-4).all()
    assert np.min(marginal - heights) == pytest.approx(0, abs=1e-3)


def test_a_lower_temperature_opens_more_of_the_plane():
    lowest = [bounds.norm_frontier(10, temperature)[:, 1].min() for temperature in (1.0, 0.5, 0.25)]
    assert lowest == sorted(lowest, reverse=True) and lowest[-1] < 0.6 * math.log(10) < 0.9 * math.log(10) < lowest[0]


@pytest.mark.parametrize("num_classes", [3, 10, 40])
def test_no_standardized_logits_lie_beyond_the_frontier(num_classes):
    rng, edge = np.random.default_rng(0), bounds.norm_frontier(num_classes)
    for number in range(60):
        shares = rng.dirichlet(np.full(num_classes, 0.1 + number / 20))
        used = rng.choice(num_classes, 400, p=shares)
        used[:num_classes] = np.arange(num_classes)  # a class that no row uses has no variance to standardize
        logits = 3 * np.eye(num_classes)[used] + (number % 4) / 3 * rng.standard_normal((400, num_classes))
        conditional, marginal = entropies_of(logits, 1.0)
        assert marginal >= height_of_frontier(edge, conditional) - 1e-3


def test_weighted_sums_of_the_entropies_get_no_lower_than_the_frontier_and_come_near():
    torch = pytest.importorskip("torch")
    edge, weights = bounds.norm_frontier(5), (10.0, 1.0)
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    least = math.inf
    for _ in range(400):
        log_probs = ((logits - logits.mean(0)) / logits.std(0, correction=0)).log_softmax(1)
        mean = log_probs.exp().mean(0)
        total = -weights[0] * (mean * mean.log()).sum() - weights[1] * (log_probs.exp() * log_probs).sum(1).mean()
        least = min(least, total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    bound = float((edge @ weights[::-1]).min())
    assert bound - 1e-3 <= least <= bound + 0.2
