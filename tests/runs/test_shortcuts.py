import shutil
import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information
from synthetic import make_history, make_run

from twist.runs import shortcuts
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunRecord, RunWriter
from twist.runs.shortcuts import ImageStatistics, image_statistics, shortcut, shortcut_at
from twist.runs.store import step_folder

GRAY, COLOR = ("brightness", "contrast", "blur"), ("brightness", "contrast", "blur", "red-green", "blue-yellow")


def opened(path):
    record = RunRecord(path)
    record.poll()
    return record


def watch_of(tmp_path, images):
    path = create_run(Recipe(), root=tmp_path)
    RunWriter(path, 1).watch(images, np.arange(len(images)))
    return opened(path).watch()


def statistics_of(*columns):
    return ImageStatistics(COLOR[: len(columns)], np.stack(columns, 1).astype(np.float32))


def drawn(count=2000, columns=3, seed=0):
    return np.random.default_rng(seed).standard_normal((columns, count))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 40, 1003])
def test_statistics_are_those_of_the_pixels(channels, count, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (count, channels, 7, 7)).astype(np.uint8)
    statistics = image_statistics(watch_of(tmp_path, images))
    assert statistics.names == (COLOR if channels == 3 else GRAY)
    pixels = images / 255
    luma = np.tensordot([0.299, 0.587, 0.114], pixels, (0, 1)) if channels == 3 else pixels[:, 0]
    expected = [luma.mean((1, 2)), luma.std((1, 2))]
    np.testing.assert_allclose(statistics.values[:, :2].T, expected, rtol=1e-4)
    if channels == 3:
        red, green, blue = pixels.mean((2, 3)).T
        np.testing.assert_allclose(
            statistics.values[:, 3:].T, [red - green, blue - (red + green) / 2], rtol=1e-3, atol=1e-6
        )


def test_the_variance_of_the_laplacian_is_scipys(tmp_path):
    from scipy.ndimage import laplace

    images = np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8)).astype(np.uint8)
    blur = image_statistics(watch_of(tmp_path, images)).values[:, 2]
    np.testing.assert_allclose(blur, [laplace(image[0] / 255, mode="nearest").var() for image in images], rtol=1e-4)


def test_flat_images_have_no_contrast_and_no_edges(tmp_path):
    statistics = image_statistics(watch_of(tmp_path, np.full((3, 3, 5, 5), 51, np.uint8)))
    np.testing.assert_allclose(statistics.values, np.tile([0.2, 0, 0, 0, 0], (3, 1)), atol=1e-6)


def test_statistics_are_read_once(tmp_path, monkeypatch):
    watch = watch_of(tmp_path, np.zeros((5, 1, 4, 4), np.uint8))
    first = image_statistics(watch)
    monkeypatch.setattr(shortcuts, "_of_images", None)
    assert image_statistics(watch) is first


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_classes_cut_from_one_statistic_are_explained_by_it_alone(num_classes):
    values = drawn(10_000)
    ranks = values[1].argsort().argsort()
    found = shortcut(ranks * num_classes // 10_000, statistics_of(*values), num_classes)
    assert found.strongest == "contrast" and found.explained["contrast"] > 0.85
    assert found.explained["brightness"] < 0.02 and found.explained["blur"] < 0.02
    assert len(found.offenders) == min(num_classes, 10) and found.offenders[0].purity == 1


@pytest.mark.parametrize("count", [30, 300, 10_000])
@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_classes_by_chance_are_explained_by_nothing(count, num_classes):
    assignment = np.random.default_rng(1).integers(0, num_classes, count)
    found = shortcut(assignment, statistics_of(*drawn(count)), num_classes)
    assert max(found.explained.values()) < 0.1 and found.together < 0.1


def test_explained_is_the_adjusted_share_of_the_assignments_entropy():
    values = drawn(400, 1)
    assignment = ((values[0] + drawn(400, 1, seed=1)[0]) > 0).astype(int) + (values[0] > 1)
    statistics = statistics_of(values[0])
    boxes = statistics.boxes[:, 0]
    explained = shortcut(assignment, statistics, 3).explained["brightness"]
    entropy, information = mutual_info_score(assignment, assignment), mutual_info_score(assignment, boxes)
    # scikit-learn divides by the lesser entropy, here that of the assignment.
    expected = adjusted_mutual_info_score(assignment, boxes, average_method="min")
    assert entropy < mutual_info_score(boxes, boxes)
    assert 0.1 < explained < information / entropy and explained == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "columns"), [((5, 3), (4, 4)), ((8,), (1, 7)), ((1,) * 8, (2,) * 4), ((3, 0, 5), (8,))]
)
def test_what_chance_gives_is_scikit_learns_expected_mutual_information(rows, columns):
    table = np.outer(rows, columns) / 8  # only its margins matter
    expected = expected_mutual_information(table[np.array(rows) > 0], 8)
    assert shortcuts._chance(np.array(rows), np.array(columns)) == pytest.approx(expected, abs=1e-12)


def test_a_combination_of_statistics_is_seen_together():
    values = drawn(10_000, 3)
    assignment = ((values[0] > 0) ^ (values[1] > 0)).astype(int)  # neither alone says anything
    found = shortcut(assignment, statistics_of(*values), 2)
    assert max(found.explained.values()) < 0.02 and found.together > 0.5


def test_no_monotone_scale_and_no_order_of_images_or_classes_matters():
    values = drawn(1000)
    assignment = (values[0] > 0).astype(int) + 2 * (values[1] > 0.5)
    order, names = np.random.default_rng(2).permutation(1000), np.array([2, 0, 3, 1])
    whole = shortcut(assignment, statistics_of(*values), 4)
    other = shortcut(names[assignment[order]], statistics_of(*np.exp(values[:, order])), 4)
    assert other.explained == pytest.approx(whole.explained) and other.together == pytest.approx(whole.together)
    rows = {names[offender.class_index]: set(offender.samples.tolist()) for offender in whole.offenders}
    assert rows and rows == {o.class_index: set(order[o.samples].tolist()) for o in other.offenders}


def test_equal_values_stay_together_whatever_the_order_of_the_images():
    values = np.repeat([0.0, 1.0, 5.0], [700, 200, 100])
    boxes = statistics_of(values).boxes[:, 0]
    assert len(set(boxes[:700])) == len(set(boxes[700:900])) == len(set(boxes[900:])) == 1
    assert len(set(boxes)) == 3
    by_order = np.repeat([0, 1], 500)
    assert shortcut(by_order, statistics_of(np.ones(1000)), 2).explained["brightness"] == 0


def test_the_worst_offender_is_the_class_that_fills_a_range():
    brightness = np.linspace(0, 1, 1000)
    assignment = np.random.default_rng(0).integers(0, 3, 1000)
    assignment[900:] = 3
    offender, *others = shortcut(assignment, statistics_of(brightness), 5).offenders
    assert not others and offender.class_index == 3 and offender.purity == 1
    assert 0.9 <= offender.low < offender.high <= 1 and set(offender.samples.tolist()) <= set(range(900, 1000))
    assert len(offender.samples) == 50


def test_images_without_a_class_are_left_out():
    values, assignment = drawn(500), np.random.default_rng(0).integers(0, 3, 500)
    assignment[100:200] = -1
    found = shortcut(assignment, statistics_of(*values), 3)
    assert all(0 <= share <= 1 for share in found.explained.values())
    assert not any(set(offender.samples.tolist()) & set(range(100, 200)) for offender in found.offenders)


@pytest.mark.parametrize("assignment", [[], [0], [0, 0, 0], [0, 1, 2], [-1, -1]])
def test_with_few_images_or_one_class_nothing_is_explained(assignment):
    found = shortcut(np.array(assignment, int), statistics_of(*drawn(len(assignment))), 3)
    assert set(found.explained.values()) == {0.0} and found.together == 0 and not found.offenders


def test_an_assignment_of_other_images_is_refused():
    with pytest.raises(ValueError, match=r"has shape \(4,\), but the statistics are of 5 images"):
        shortcut(np.zeros(4, int), statistics_of(*drawn(5)), 3)


def test_the_shortcut_of_a_snapshot_is_worked_out_once(tmp_path, monkeypatch):
    record = opened(make_run(tmp_path, "shortcut"))
    step = record.snapshot_steps()[-1]
    found = shortcut_at(record, step)
    # These images get brighter from label to label, and the classes are the labels.
    assert found.strongest == "brightness" and found.explained["brightness"] > 0.6
    monkeypatch.setattr(shortcuts, "shortcut", None)
    assert shortcut_at(record, step) is found


def test_a_snapshot_that_cannot_be_read_has_no_shortcut(tmp_path):
    record = opened(make_history(tmp_path, [[0, 1]] * 2, num_classes=2))
    (record.path / "snapshots" / step_folder(10) / "assignment.npy").unlink()
    assert shortcut_at(record, 0) is not None and shortcut_at(record, 10) is None and shortcut_at(record, 5) is None


def test_without_thumbnails_no_process_knows_a_shortcut(tmp_path):
    record = opened(make_run(tmp_path, "shortcut"))
    step = record.snapshot_steps()[-1]
    assert shortcut_at(record, step) is not None
    shutil.rmtree(record.path / "watch")
    assert shortcut_at(record, step) is None


def test_an_assignment_of_other_images_has_no_shortcut(tmp_path):
    record = opened(make_history(tmp_path, [[0, 1]] * 2, num_classes=2))
    np.save(record.path / "snapshots" / step_folder(10) / "assignment.npy", np.zeros(3, np.int32))
    assert shortcut_at(record, 10) is None


def test_empty_classes_change_nothing_and_take_no_memory():
    values, assignment = drawn(2000), np.random.default_rng(0).integers(0, 3, 2000)
    few = shortcut(assignment, statistics_of(*values), 3)
    tracemalloc.start()
    many = shortcut(assignment * 10_000, statistics_of(*values), 32_768)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert many.explained == few.explained and many.together == few.together and peak < 20_000_000
