"""Two runs beside each other, against closed forms and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics
from synthetic import make_history, make_run, read

from twist.runs.comparison import (
    adjusted_rand_index,
    compare,
    normalized_mutual_information,
    recipe_differences,
    shared_images,
)
from twist.runs.config import ConfigError, Recipe
from twist.runs.store import RecordError


def history(root, *assignments, **fields):
    return read(make_history(root, np.array(assignments), **{"num_classes": 5, **fields}))


def named(record, fingerprint):
    folder = record.path / "attempts" / "0001"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text(json.dumps({"images": fingerprint}))
    return record


def test_only_fields_that_differ_are_told_with_every_value_and_their_meaning():
    one = Recipe()
    other = one.replace(optim__epochs=5, views__zoom=(0.9, 1.1))
    found = recipe_differences([one, other, one])
    assert [difference.field for difference in found] == ["views.zoom", "optim.epochs"]
    assert found[1].values == (100, 5, 100) and "Passes over the images" in found[1].sentence
    assert recipe_differences([one]) == recipe_differences([one, Recipe()]) == recipe_differences([]) == []


def test_the_same_groups_under_other_names_agree_wholly(runs):
    classes = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    other = np.array([3, 0, 4, 1])[classes]
    found, _ = compare(history(runs, classes), history(runs, other))
    assert found.partner.tolist() == [3, 0, 4, 1, -1]
    assert found.agreement == found.nmi == found.ari == 1
    assert [order.tolist() for order in found.order] == [[0, 1, 2, 3], [3, 0, 4, 1]]
    assert found.table[np.ix_(*found.order)].tolist() == np.diag([40, 30, 20, 10]).tolist()
    assert found.best[0].overlap[:4].tolist() == [1, 1, 1, 1] and np.isnan(found.best[0].overlap[4])
    assert found.best[1].classes.tolist() == [1, 3, -1, 0, 2]
    assert found.disagreement.max() < 0.11  # what the second class of each takes
    assert "100.0 % of the images are in matched classes" in found.sentence


def test_merged_classes_are_found_as_best_matches(runs):
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    merged = np.where(classes == 2, 1, classes)
    found, _ = compare(history(runs, classes), history(runs, merged))
    assert found.partner.tolist()[:3] == [0, 1, -1]
    assert found.agreement == 0.8
    assert found.best[0].classes[2] == 1 and found.best[0].share[2] == 1 and found.best[0].overlap[2] == 0.4
    assert [order.tolist() for order in found.order] == [[0, 1, 2], [0, 1]]


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for classes in (2, 7, 30):
        one = rng.integers(0, classes, 500)
        two = np.where(rng.random(500) < 0.6, one, rng.integers(0, classes + 3, 500))
        table = metrics.cluster.contingency_matrix(one, two)
        assert np.isclose(normalized_mutual_information(table), metrics.normalized_mutual_info_score(one, two))
        assert np.isclose(adjusted_rand_index(table), metrics.adjusted_rand_score(one, two))
    assert normalized_mutual_information(np.array([[9]])) == adjusted_rand_index(np.array([[9]])) == 1
    assert normalized_mutual_information(np.array([[4, 5]])) == 0


def test_images_of_sure_and_unmatched_classes_disagree_most(runs):
    classes = np.repeat([0, 1], 50)
    other = classes.copy()
    other[:2] = 1
    sure = np.full((1, 100), 0.6)
    sure[0, 0] = 1.0
    found, _ = compare(history(runs, classes, confidences=sure), history(runs, other, confidences=sure))
    assert found.disagreement.argmax() == 0 and np.isclose(found.disagreement[0], 1)
    assert 0 < found.disagreement[1] < 1
    assert found.disagreement[2:].max() < 0.41  # likewise


def test_a_run_with_itself_and_runs_without_snapshots_are_told_so(runs):
    one = history(runs, [0, 1, 2])
    with pytest.raises(ConfigError, match="is given twice: compare it with another run"):
        compare(one, read(one.path))
    with pytest.raises(RecordError, match="has no snapshot yet"):
        compare(one, read(make_run(runs, name="none", snapshots=0)))


def test_images_of_one_fingerprint_are_matched_by_number(runs):
    one, two = (named(history(runs, np.arange(count) % 3), "abc") for count in (30, 20))
    shared = shared_images(one, two)
    assert shared.first.tolist() == shared.second.tolist() == list(range(20))
    assert "20 images that both watch, of 30 and 20; both runs look at the set abc" in shared.sentence


def test_without_a_fingerprint_thumbnails_decide(runs):
    one = read(make_run(runs, name="one"))
    same = read(make_run(runs, name="same"))
    assert len(shared_images(one, same).first) == 300
    lit = read(make_run(runs, "shortcut", name="lit"))
    with pytest.raises(RecordError, match="one and lit watch other images: of 300 with the same number, "):
        shared_images(one, lit)
    small = history(runs, [0, 1, 2])  # 4 pixels
    with pytest.raises(RecordError, match="their thumbnails have other sizes"):
        shared_images(one, small)


def test_named_sets_that_differ_are_still_the_same_where_thumbnails_are(runs):
    one, two = (named(read(make_run(runs, name=name)), name) for name in ("one", "two"))
    assert "their thumbnails are the same" in shared_images(one, two).sentence


def test_other_numbers_of_classes_and_a_collapsed_run_compare(runs):
    many = history(runs, np.arange(60) % 20, num_classes=40)
    one_class = history(runs, np.zeros(60, int), num_classes=2)
    found, _ = compare(many, one_class)
    assert found.table.shape == (40, 2)
    assert found.nmi == 0 and abs(found.ari) < 1e-9 and found.agreement == 3 / 60
    assert len(found.order[0]) == 20 and len(found.order[1]) == 1
