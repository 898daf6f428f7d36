"""Numbers of classes compared without labels: by what two trainings both say."""

import json
import os
import types

import numpy as np
import pytest
from conftest import TINY
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score
from synthetic import make_run

from twist.runs.choose_classes import compare_classes, sweep_classes
from twist.runs.config import ConfigError, with_fields
from twist.runs.folders import create_run
from twist.runs.handle import Run, TrainingFailed
from twist.runs.launcher import attach
from twist.runs.recipes import recipe
from twist.runs.reproducible import (
    measured_scores,
    pair_of,
    reproduced,
    reproducibility_scores,
    resampled_scores,
)
from twist.runs.store import write_json
from twist.runs.verdict import ALARMS


def planted(num_classes, rng, *, truth=10, count=1000, noise=0.1):
    """An assignment of images of ``truth`` kinds: fewer classes merge kinds, more split them, as it happens."""
    kinds = np.arange(count) % truth
    strays = rng.random(count) < noise
    kinds[strays] = rng.integers(0, truth, strays.sum())
    if num_classes < truth:
        return rng.permutation(np.arange(truth) % num_classes)[kinds]
    return kinds * (num_classes // truth) + rng.integers(0, num_classes // truth, count)


def test_stability_is_scikit_learns_adjusted_mutual_information():
    rng = np.random.default_rng(0)
    for first, second in ((5, 5), (10, 40), (100, 100)):
        one, other = planted(first, rng), planted(second, rng)
        found = reproduced(pair_of(one, other))
        assert found.stability == pytest.approx(adjusted_mutual_info_score(one, other), abs=1e-9)
        assert found.shared == pytest.approx(mutual_info_score(one, other) - pair_of(one, other).chance)


def test_chance_shares_nothing_and_renumbering_changes_nothing():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 10, (2, 5000))
    assert abs(reproduced(pair_of(one, other)).shared) < 0.01
    renumbered = rng.permutation(10)[one]
    assert reproduced(pair_of(one, renumbered)) == pytest.approx(reproduced(pair_of(one, one)))
    assert reproduced(pair_of(one, renumbered)).stability == pytest.approx(1)
    assert reproduced(pair_of(one * 0, one * 0)).stability == 0


def test_a_weight_counts_an_image_as_often_as_repeating_it():
    rng = np.random.default_rng(2)
    one, other = planted(10, rng), planted(20, rng)
    weights = rng.integers(0, 4, len(one))
    pair = pair_of(one, other)
    repeated = mutual_info_score(np.repeat(one, weights), np.repeat(other, weights))
    assert reproduced(pair, weights).shared == pytest.approx(repeated - pair.chance)


def test_two_assignments_of_other_images_are_refused():
    with pytest.raises(ValueError, match="one class per image"):
        pair_of(np.zeros(3, int), np.zeros(4, int))


@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_best_at_the_planted_number_of_classes(seed):
    rng = np.random.default_rng(seed)
    counts = (5, 10, 20, 50, 100)
    choices = [[pair_of(planted(count, rng), planted(count, rng))] for count in counts]
    assert counts[int(np.argmax(measured_scores(choices)))] == 10


def test_scores_lie_between_zero_and_one_and_nothing_shared_scores_zero():
    scores = reproducibility_scores(np.array([0.0, -0.1, 1.0, np.nan]), np.array([1.0, 1.0, 1.0, np.nan]))
    assert scores[:3] == pytest.approx([0, 0, 1])
    assert np.isnan(scores[3])
    assert reproducibility_scores(np.zeros(2), np.ones(2)) == pytest.approx([0, 0])


def test_draws_lie_around_the_measured_scores_and_widen_with_fewer_images_and_unlike_pairs():
    rng = np.random.default_rng(3)

    def spread(count, noises):
        pairs = [pair_of(*(planted(10, rng, count=count, noise=noise) for _ in range(2))) for noise in noises]
        choices = [pairs, [pair_of(planted(20, rng, count=count), planted(20, rng, count=count))]]
        drawn = resampled_scores(choices)
        assert drawn.mean(0) == pytest.approx(measured_scores(choices))
        return drawn.std(0)[0]

    few, many, unlike = spread(1000, [0.1]), spread(16_000, [0.1]), spread(16_000, [0.05, 0.1, 0.4])
    assert few > 2 * many
    assert unlike > 3 * many


TINIER = {**TINY, "data.max_images": 100, "network.widths": (4, 4)}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A real sweep, as small as can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield sweep_classes("digits", [8, 4], changes=TINIER, name="tiny")


needs_processes = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")


@needs_processes
def test_a_sweep_compares_every_number_of_classes_by_its_seeds(swept):
    assert [row.num_classes for row in swept.rows] == [4, 8]
    for row in swept.rows:
        assignments = [attach(f"tiny-classes{row.num_classes}-seed{seed}").record for seed in (0, 1) if row.seeds == 2]
        assert [record.poll() > 0 for record in assignments] == [True, True]
        expected = adjusted_mutual_info_score(*(record.snapshot().assignment for record in assignments))
        assert row.stability == pytest.approx(expected, abs=1e-9)
        assert row.mutual_information == pytest.approx(row.marginal_entropy - row.conditional_entropy, abs=1e-5)
        assert 0 <= row.score <= 1
        assert row.score_low <= row.score_high
        assert row.attained == pytest.approx(row.mutual_information / np.log(row.num_classes))
        assert 1 <= row.class_perplexity <= row.num_classes
    assert json.loads(json.dumps(swept.as_json(), allow_nan=False))["runs"] == list(swept.runs)
    assert {"nmi", "matched_accuracy"} <= set(swept.table().columns)


@needs_processes
def test_one_seed_is_compared_by_two_epochs_of_its_training_and_says_so(swept):
    one = compare_classes([attach(name) for name in swept.runs if name.endswith("seed0")])
    assert [row.seeds for row in one.rows] == [1, 1]
    assert all(0 <= row.score <= 1 for row in one.rows)
    assert any("One seed" in caveat for caveat in one.caveats)
    assert not any("One seed" in caveat for caveat in swept.caveats)


def made(root, num_classes, seed=0, *, batch_size=256):
    """A run made without training, whose verdict a test may set."""
    path = make_run(root, num_classes=num_classes)
    asked = json.loads((path / "recipe.json").read_bytes())
    asked["seed"], asked["optim"]["batch_size"] = seed, batch_size
    (path / "recipe.json").write_text(json.dumps(asked))

    class Told(Run):
        verdict = types.SimpleNamespace(kind="healthy")

    return Told(path)


@pytest.mark.parametrize("batch_size", [6, 256])
def test_information_is_held_against_what_the_watch_images_can_have_whatever_the_batch(tmp_path, batch_size):
    (row,) = compare_classes([made(tmp_path, 1000, batch_size=batch_size)]).rows
    assert row.attained == pytest.approx(row.mutual_information / np.log(300))  # 300 images, fewer than classes


def test_only_numbers_without_an_alarm_stand_to_be_recommended_and_only_they_are_said_to_be_beaten(tmp_path):
    counts = {seed: {count: made(tmp_path, count, seed) for count in (2, 5, 10)} for seed in (0, 1)}
    runs = [run for by_count in counts.values() for run in by_count.values()]
    found = compare_classes(runs)
    assert (found.recommended, found.alike) == (10, (10,))
    assert "Against each of 2 and 5 it is better in at least 95% of the draws of other images." in found.sentence
    for kind in ALARMS:
        for run in counts[1][5], counts[0][2]:
            type(run).verdict.kind = kind
        found = compare_classes(runs)
        assert found.recommended == 10
        assert "better" not in found.sentence and "best" not in found.sentence
        said = next(caveat for caveat in found.caveats if "5 classes are not recommended" in caveat)
        assert kind in said


def failed(num_classes, seed):
    made = with_fields(recipe("digits"), {**TINIER, "network.num_classes": num_classes, "seed": seed})
    path = create_run(made)
    (path / "attempts" / "0001").mkdir()
    write_json(path / "attempts" / "0001" / "end.json", {"reason": "failed", "kind": "error", "message": "became nan"})
    return Run(path)


@needs_processes
def test_a_failed_run_is_left_out_and_a_number_without_two_seeds_is_not_compared(swept):
    runs = [attach(name) for name in swept.runs]
    found = compare_classes([*runs, failed(8, 2), failed(16, 0), failed(16, 1)])
    assert [row.seeds for row in found.rows] == [2, 2, 0]
    assert [row.score for row in found.rows[:2]] == [row.score for row in swept.rows]
    assert np.isnan(found.rows[2].score)
    assert any("16 classes could not be compared" in caveat for caveat in found.caveats)
    assert json.dumps(found.as_json(), allow_nan=False)


@needs_processes
def test_a_number_of_classes_that_collapsed_is_not_recommended_whatever_its_score(swept, monkeypatch):
    best = max(swept.rows, key=lambda row: row.score).num_classes
    said = types.SimpleNamespace(kind="partial collapse")
    told = Run.verdict.fget
    monkeypatch.setattr(
        Run, "verdict", property(lambda run: said if run.recipe.network.num_classes == best else told(run))
    )
    found = compare_classes([attach(name) for name in swept.runs])
    assert [row.score for row in found.rows] == [row.score for row in swept.rows]
    assert best not in (found.recommended, *found.alike)
    assert any(f"{best} classes are not recommended" in caveat for caveat in found.caveats)
    monkeypatch.setattr(Run, "verdict", said)
    nothing = compare_classes([attach(name) for name in swept.runs])
    assert (nothing.recommended, nothing.alike) == (None, ())
    assert "no alarm among their verdicts" in nothing.sentence


@needs_processes
def test_when_every_run_failed_the_reason_of_the_first_is_raised(swept):
    with pytest.raises(TrainingFailed, match="became nan"):
        compare_classes([failed(8, 0), failed(8, 1)])


def test_nothing_to_sweep_over_is_refused(runs):
    with pytest.raises(ConfigError, match="no classes are given"):
        sweep_classes("digits", [])
    with pytest.raises(ConfigError, match="no seeds are given"):
        sweep_classes("digits", [5], seeds=[])
    assert not runs.exists()
