import itertools
import math

import golden
import numpy as np
import pytest

from twist.runs.clustering import (
    ClusterScores,
    cluster_scores,
    match_classes,
    matched_top_k_accuracy,
    pixel_kmeans_scores,
)
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunRecord, RunWriter


def draw(samples, num_classes, num_labels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, num_classes, samples), rng.integers(0, num_labels, samples)


@pytest.mark.parametrize("case", golden.cases("h_cluster_metrics.npz"))
def test_scores_are_the_authors(case):
    arrays, num_classes = case.arrays, case.meta["C"]
    scores = cluster_scores(arrays["pred"], arrays["label"], num_classes)
    for name in ("nmi", "ami", "ari", "fmi"):
        assert getattr(scores, name) == pytest.approx(arrays[name].item(), rel=0, abs=golden.FLOAT64)
    if case.meta["acc"] and num_classes == case.meta["n_label_classes"]:
        matched = match_classes(arrays["pred"], arrays["label"], num_classes)
        top = np.argsort(-arrays["probs"], axis=1, kind="stable")[:, :5]
        top_5 = matched_top_k_accuracy(top, arrays["label"], matched)
        assert scores.matched_accuracy == pytest.approx(arrays["acc"].item(), rel=0, abs=golden.FLOAT64)
        assert top_5 == pytest.approx(arrays["top5"].item(), rel=0, abs=golden.FLOAT64)
        np.testing.assert_array_equal(matched[arrays["match"][:, 0]], arrays["match"][:, 1])
        np.testing.assert_array_equal(matched[arrays["pred"]], arrays["mapped_pred"])


@pytest.mark.parametrize(("num_classes", "num_labels"), [(4, 4), (5, 3), (3, 5)])
def test_matched_accuracy_is_the_best_of_all_one_to_one_matchings(num_classes, num_labels):
    assignment, labels = draw(40, num_classes, num_labels)
    side = max(num_classes, num_labels)
    best = max(np.mean(np.array(order)[assignment] == labels) for order in itertools.permutations(range(side)))
    assert cluster_scores(assignment, labels, num_classes).matched_accuracy == pytest.approx(best)


def test_renamed_labels_are_recovered_perfectly():
    _, labels = draw(100, 6, 6)
    names = np.array([3, 0, 5, 1, 4, 2])
    assert cluster_scores(names[labels], labels, 6) == pytest.approx(ClusterScores(1, 1, 1, 1, 1, 1))
    np.testing.assert_array_equal(match_classes(names[labels], labels, 6)[names], np.arange(6))


def test_classes_beyond_the_labels_stay_without_one_and_count_as_wrong():
    labels = np.repeat([0, 1], 10)
    assignment = np.concatenate([np.repeat([0, 2], [6, 4]), np.repeat(1, 10)])
    scores = cluster_scores(assignment, labels, 4)
    matched = match_classes(assignment, labels, 4)
    assert scores.matched_accuracy == 0.8 and scores.many_to_one_accuracy == 1
    assert matched[0] == 0 and matched[1] == 1 and (matched[2:] == -1).all()


def test_with_fewer_classes_than_labels_some_labels_go_without_a_class():
    labels = np.repeat([0, 1, 2], 10)
    scores = cluster_scores(np.minimum(labels, 1), labels, 2)
    assert scores.matched_accuracy == pytest.approx(2 / 3)


def test_unlabeled_samples_are_left_out():
    assignment, labels = draw(60, 5, 5)
    labels[::3] = -1
    known = labels >= 0
    assert cluster_scores(assignment, labels, 5) == cluster_scores(assignment[known], labels[known], 5)


def test_one_class_for_all_scores_the_share_of_the_commonest_label():
    labels = np.array([0] * 6 + [1] * 4)
    scores = cluster_scores(np.full(10, 3), labels, 8)
    assert scores.matched_accuracy == scores.many_to_one_accuracy == 0.6
    assert scores.nmi == scores.ami == scores.ari == 0


def test_one_label_for_all_is_defined():
    assert cluster_scores(np.zeros(5, int), np.full(5, 2), 4) == ClusterScores(1, 1, 1, 1, 1, 1)
    assert all(0 <= score <= 1 for score in cluster_scores(np.arange(5), np.full(5, 2), 5))


@pytest.mark.parametrize("labels", [[], [-1, -1]], ids=["empty", "unlabeled"])
def test_without_labels_nothing_is_scored(labels):
    labels = np.array(labels, dtype=int)
    assignment = np.zeros(len(labels), dtype=int)
    assert all(math.isnan(score) for score in cluster_scores(assignment, labels, 3))
    assert (match_classes(assignment, labels, 3) == -1).all()
    assert math.isnan(matched_top_k_accuracy(assignment[:, None], labels, np.array([0, 1, 2])))


def test_a_class_for_every_sample_raises_no_warning():
    scores = cluster_scores(np.arange(30), np.arange(30) % 2, 30)
    assert scores.matched_accuracy == pytest.approx(2 / 30) and scores.many_to_one_accuracy == 1


@pytest.mark.parametrize(("num_classes", "num_labels"), [(8, 8), (12, 8), (8, 12)])
def test_top_k_accuracy_grows_with_k_from_the_matched_accuracy_and_stays_below_one(num_classes, num_labels):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_labels, 200)
    top = np.argsort(rng.standard_normal((200, num_classes)), axis=1)
    matched = match_classes(top[:, 0], labels, num_classes)
    accuracies = [matched_top_k_accuracy(top[:, :k], labels, matched) for k in range(1, num_classes + 1)]
    assert accuracies[0] == cluster_scores(top[:, 0], labels, num_classes).matched_accuracy
    assert accuracies == sorted(accuracies) and accuracies[-1] <= 1
    if num_classes >= num_labels:
        assert accuracies[-1] == 1


def watch_of(root, images, labels):
    path = create_run(Recipe(), name="run", root=root)
    writer = RunWriter(path, 1)
    writer.watch(images, np.arange(len(images)), labels)
    writer.close()
    return RunRecord(path).watch()


@pytest.mark.parametrize("channels", [1, 3])
def test_kmeans_on_pixels_finds_images_that_differ_in_brightness(tmp_path, channels):
    labels = np.arange(1030) % 3  # more than one contact sheet
    noise = np.random.default_rng(0).integers(0, 20, (1030, channels, 8, 8))
    watch = watch_of(tmp_path, (90 * labels[:, None, None, None] + noise).astype(np.uint8), labels)
    assert pixel_kmeans_scores(watch, 3).matched_accuracy == 1


def test_kmeans_on_pixels_is_near_its_known_accuracy_on_the_digits(tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    watch = watch_of(tmp_path, (digits.images[:, None] * 15.9).astype(np.uint8), digits.target)
    assert pixel_kmeans_scores(watch, 10).matched_accuracy == pytest.approx(0.79, abs=0.03)


def test_kmeans_on_pixels_is_not_tried_where_it_would_keep_a_person_waiting(tmp_path, monkeypatch):
    labels = np.arange(2600) % 2
    watch = watch_of(tmp_path, np.zeros((2600, 1, 28, 28), np.uint8), labels)
    monkeypatch.setattr("sklearn.cluster.KMeans", None)
    assert pixel_kmeans_scores(watch, 2) is None


def test_kmeans_on_pixels_is_none_without_labels_or_with_too_few_images(tmp_path):
    images = np.zeros((5, 1, 8, 8), np.uint8)
    assert pixel_kmeans_scores(watch_of(tmp_path / "a", images, None), 3) is None
    assert pixel_kmeans_scores(watch_of(tmp_path / "b", images, np.arange(5)), 9) is None


@pytest.mark.parametrize(
    ("assignment", "labels", "message"),
    [([0, 1], [0], "give one of each per sample"), ([0, 3], [0, 1], "0 to 3"), ([-1, 0], [0, 1], "-1 to 0")],
)
def test_bad_input_is_named(assignment, labels, message):
    with pytest.raises(ValueError, match=message):
        cluster_scores(np.array(assignment), np.array(labels), 3)
