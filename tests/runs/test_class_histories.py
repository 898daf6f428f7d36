import shutil
import tracemalloc

import numpy as np
import pytest
from scipy.stats import entropy
from synthetic import make_history, make_run

from twist.runs.class_histories import (
    MATCHED_CLASSES,
    class_flow,
    class_histories,
    classes_followed,
    living,
    moves_between,
    stability_between,
)
from twist.runs.histories import sample_traits
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, step_folder


def opened(path):
    record = RunRecord(path)
    record.poll()
    return record


def record_of(tmp_path, assignments, num_classes=4, **more):
    return opened(make_history(tmp_path, np.array(assignments), num_classes=num_classes, **more))


def blocks(*counts):
    """An assignment of so many images to class 0, 1, …"""
    return np.repeat(np.arange(len(counts)), counts)


def test_the_classes_of_a_run_are_those_of_its_snapshots(tmp_path):
    record = opened(make_run(tmp_path, histories=True))
    classes = class_histories(record)
    assert classes.steps.tolist() == record.snapshot_steps() and classes.damaged == ()
    metrics = record.snapshot_metrics()
    for now, step in enumerate(classes.steps.tolist()):
        snapshot = record.snapshot(step)
        np.testing.assert_allclose(classes.usage[now], snapshot.class_usage)
        for index in range(10):
            own = snapshot.sample_entropy[snapshot.assignment == index]
            assert classes.mean_entropy[now, index] == pytest.approx(own.mean(), rel=1e-5)
        assert classes.class_perplexity[now] == pytest.approx(np.exp(entropy(snapshot.mean_probs)), rel=1e-5)
        assert classes.class_perplexity[now] == pytest.approx(metrics.loc[step, "watch/class_perplexity"], rel=1e-5)
        assert classes.dead_classes[now] == metrics.loc[step, "watch/dead_classes"]
    assert np.isnan(classes.agreement[0])  # nothing was visited before the first snapshot
    assert classes.agreement[-1] == pytest.approx(np.nanmean(record.snapshot().agreement))


def test_a_class_without_images_has_no_entropy_and_is_dead(tmp_path):
    classes = class_histories(record_of(tmp_path, [blocks(3, 0, 2)], num_classes=4, entropies=0.25))
    np.testing.assert_allclose(classes.usage[0], [0.6, 0, 0.4, 0])
    np.testing.assert_array_equal(classes.mean_entropy[0], [0.25, np.nan, 0.25, np.nan])
    assert classes.dead_classes.tolist() == [2]


def test_stability_is_the_share_that_kept_its_class(tmp_path):
    record = record_of(tmp_path, [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 2, 0], [1, 0, 3, 2]])
    classes = class_histories(record)
    np.testing.assert_array_equal(classes.stability, [np.nan, 0.75, 1, 0])
    pairs = [(0, 10), (10, 20), (20, 30)]
    assert [stability_between(record, *pair) for pair in pairs] == classes.stability[1:].tolist()
    assert np.isnan(stability_between(record, 10, 15))


def test_another_head_renames_the_classes_and_the_groups_remain(tmp_path):
    rng = np.random.default_rng(0)
    before = rng.integers(0, 8, 400)
    names = np.roll(np.arange(8), 1)
    record = record_of(tmp_path, [before, names[before]], num_classes=8)
    classes, flow = class_histories(record), class_flow(record, 0, 10)
    assert classes.stability[1] == flow.moves.stability == 0
    assert classes.matched_stability[1] == flow.moves.matched_stability == 1
    assert not flow.born and not flow.died and not flow.splits and not flow.merges
    several = record_of(tmp_path / "several", [before, names[before]], num_classes=8, num_heads=4)
    assert stability_between(record, 0, 10) == 0 and stability_between(several, 0, 10) == 1


def test_classes_are_followed_by_their_images_through_any_renaming():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, (1, 300)).repeat(5, 0)
    truth[np.arange(1, 5), np.arange(1, 5)] = 0  # an image or two move as well
    renamed = np.stack([classes if not now else rng.permutation(6)[classes] for now, classes in enumerate(truth)])
    np.testing.assert_array_equal(classes_followed(renamed, 6), truth)


def test_overconfident_noise_is_unstable_whatever_its_classes_are_called(tmp_path):
    noise = class_histories(opened(make_run(tmp_path, "noise")))
    healthy = class_histories(opened(make_run(tmp_path, "healthy", name="healthy")))
    assert (noise.stability[1:] < 0.2).all() and (noise.matched_stability[1:] < 0.3).all()
    assert healthy.stability[-1] > 0.9
    assert noise.mean_entropy[-1].mean() < 0.2 and noise.dead_classes[-1] == 0  # sharp and diverse


def test_matched_stability_is_never_below_stability(tmp_path):
    classes = class_histories(record_of(tmp_path, np.random.default_rng(0).integers(0, 5, (6, 60)), num_classes=5))
    assert (classes.matched_stability[1:] >= classes.stability[1:]).all()


def test_the_best_matching_of_the_classes_in_use_is_that_of_all():
    from scipy.optimize import linear_sum_assignment

    before, after = np.random.default_rng(0).choice([3, 50, 51, 60, 99], (2, 400))
    table = np.zeros((100, 100), int)
    np.add.at(table, (before, after), 1)
    best = table[linear_sum_assignment(table, maximize=True)].sum() / 400
    assert moves_between(before, after).matched_stability == pytest.approx(best)


def test_more_classes_than_can_be_matched_best_are_matched_greedily():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 2 * MATCHED_CLASSES, 5000)
    names = rng.permutation(2 * MATCHED_CLASSES)
    assert moves_between(before, names[before]).matched_stability == 1
    noise = moves_between(before, rng.integers(0, 2 * MATCHED_CLASSES, 5000))
    kept = noise.matched()
    for classes in (noise.earlier[kept], noise.later[kept]):
        assert len(set(classes.tolist())) == len(classes)
    assert noise.stability <= noise.matched_stability < 0.3
    # The one that stays in each pair of classes is less than the one that goes, which a greedy matching takes first.
    pairs = 2 * np.arange(MATCHED_CLASSES)
    before = np.concatenate([pairs.repeat(5), (pairs + 1).repeat(3)])
    after = np.concatenate([(pairs[:, None] + [0, 0, 1, 1, 1]).ravel(), (pairs[:, None] + [1, 1, 1]).ravel()])
    moves = moves_between(before, after)
    assert moves.matched_stability == moves.stability == 5 / 8


def test_tens_of_thousands_of_classes_take_the_memory_of_those_in_use(tmp_path):
    rng, num_classes = np.random.default_rng(0), 32_768
    before = rng.integers(0, num_classes, 2000)
    record = record_of(
        tmp_path,
        [before, (before + 1) % num_classes],
        num_classes=num_classes,
        num_heads=2,
        agreements=np.ones((2, 2000)),
    )
    tracemalloc.start()
    flow, classes = class_flow(record, 0, 10), class_histories(record)
    followed = classes_followed(np.stack([before, (before + 1) % num_classes]), num_classes)
    stability = stability_between(record, 0, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert stability == flow.moves.matched_stability == classes.matched_stability[1] == 1 and classes.stability[1] == 0
    np.testing.assert_array_equal(followed, [before, before])


def test_the_flow_counts_images_by_earlier_and_later_class(tmp_path):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 4, (2, 500))
    flow = class_flow(record_of(tmp_path, [before, after], num_classes=5), 0, 10)
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (before, after), 1)
    found = np.zeros((5, 5), int)
    found[flow.moves.earlier, flow.moves.later] = flow.moves.counts
    np.testing.assert_array_equal(found, expected)
    assert len(flow.moves.counts) == 16 and (flow.moves.counts > 0).all()
    assert (flow.earlier_step, flow.later_step) == (0, 10)
    assert flow.moves.stability == pytest.approx(np.mean(before == after))


def test_a_class_lives_from_a_tenth_of_an_even_share_on():
    usage = np.array([[0.024, 0.026, 0.0, 0.95], [np.nan] * 4])
    assert living(usage).tolist() == [[False, True, False, True], [False] * 4]


def test_a_class_that_falls_in_two_splits_and_with_the_time_reversed_two_merge(tmp_path):
    one, two = blocks(60, 40, 0), np.concatenate([blocks(35, 0, 25), blocks(0, 40)])
    record = record_of(tmp_path, [one, two, one], num_classes=3)
    apart, together = class_flow(record, 0, 10), class_flow(record, 10, 20)
    assert apart.splits == {0: (0, 2)} and not apart.merges and apart.born == (2,) and not apart.died
    assert together.merges == {0: (0, 2)} and not together.splits and together.died == (2,) and not together.born


def test_images_that_join_a_class_of_others_are_no_split(tmp_path):
    after = np.concatenate([blocks(35), np.full(25, 1), blocks(0, 40)])
    flow = class_flow(record_of(tmp_path, [blocks(60, 40), after]), 0, 10)
    assert not flow.splits and not flow.merges


def test_a_few_stray_images_are_no_birth(tmp_path):
    before = blocks(200, 200)
    for strays, born in ((9, ()), (10, (2,))):  # a tenth of an even share is ten of 400 images in four classes
        after = before.copy()
        after[:strays] = 2
        assert class_flow(record_of(tmp_path / str(strays), [before, after]), 0, 10).born == born


def test_one_class_collapse_merges_all_that_lived(tmp_path):
    flow = class_flow(record_of(tmp_path, [blocks(10, 10, 10, 10), np.zeros(40, int)]), 0, 10)
    assert flow.merges == {0: (0, 1, 2, 3)} and flow.died == (1, 2, 3) and not flow.splits


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("num_samples", [1, 5])
def test_few_snapshots_and_few_images_have_classes(count, num_samples, tmp_path):
    record = record_of(tmp_path, np.zeros((count, num_samples), int), num_classes=2)
    classes = class_histories(record)
    assert classes.usage.shape == classes.mean_entropy.shape == (count, 2)
    assert classes.usage.tolist() == [[1, 0]] * count and classes.dead_classes.tolist() == [1] * count
    assert classes.stability[1:].tolist() == classes.matched_stability[1:].tolist() == [1] * max(0, count - 1)
    assert np.isnan(classes.agreement).all()


def test_classes_until_a_step_are_those_of_the_run_cut_there(tmp_path):
    assignments = np.random.default_rng(0).integers(0, 3, (5, 50))
    whole, cut = record_of(tmp_path / "whole", assignments), record_of(tmp_path / "cut", assignments[:3])
    for now, then in zip(class_histories(whole, 20), class_histories(cut), strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("damage", ["gone", "impossible classes"])
def test_a_damaged_snapshot_is_unknown_and_the_others_are_not(damage, tmp_path):
    record = record_of(tmp_path, np.zeros((4, 9), int), agreements=np.full((4, 9), 0.5))
    file = record.path / "snapshots" / step_folder(10) / "assignment.npy"
    if damage == "gone":
        file.unlink()
    else:
        np.save(file, np.full(9, 2**30, np.int32))
    classes = class_histories(record)
    assert np.isnan(classes.usage).any(1).tolist() == [False, True, False, False]
    assert np.isnan(classes.dead_classes).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(classes.stability, [np.nan, np.nan, np.nan, 1])
    assert (classes.agreement == 0.5).all() and not np.isnan(classes.class_perplexity).any()
    assert len(classes.damaged) == 1 and np.isnan(stability_between(record, 10, 20))


def test_a_run_of_nans_has_histories_without_numbers(tmp_path):
    nothing = np.full((3, 5), np.nan)
    record = record_of(tmp_path, np.zeros((3, 5), int), confidences=nothing, entropies=nothing)
    classes, traits = class_histories(record), sample_traits(record)
    assert np.isnan(classes.mean_entropy).all()
    assert (traits.settled_step == -1).all() and np.isnan(traits.mean_confidence).all()


def test_a_flow_needs_both_snapshots(tmp_path):
    record = record_of(tmp_path, [[0, 1]])
    with pytest.raises(RecordError, match="no snapshot at step 10: give one"):
        class_flow(record, 0, 10)


def test_stability_is_the_same_without_the_watch_folder_in_every_process(tmp_path):
    assignments = [[0, 1, 2, 3], [0, 1, 2, 0]]
    asked, fresh = (record_of(tmp_path / name, assignments) for name in ("asked", "fresh"))
    before = stability_between(asked, 0, 10)
    for record in (asked, fresh):
        shutil.rmtree(record.path / "watch")
    assert before == stability_between(asked, 0, 10) == stability_between(fresh, 0, 10) == 0.75
    assert class_flow(fresh, 0, 10).moves.stability == class_histories(fresh).stability[1] == 0.75


def test_stability_of_a_damaged_assignment_is_unknown_also_to_those_who_knew_it(tmp_path):
    record = record_of(tmp_path, [[0, 1, 2, 3], [0, 1, 2, 0]])
    assert stability_between(record, 0, 10) == 0.75
    np.save(record.path / "snapshots" / step_folder(10) / "assignment.npy", np.zeros(3, np.int32))
    assert np.isnan(stability_between(record, 0, 10))
    with pytest.raises(RecordError, match="classes of 4 and of 3 images"):
        class_flow(record, 0, 10)
