"""Classes against labels: scikit-learn, the authors' vectors, and what no input may break."""

import itertools
import math

import golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from twist.learn.evaluation.clusters import classes, clusters
from twist.runs.clustering import cluster_scores
from twist.runs.config import ConfigError


@pytest.mark.parametrize("case", golden.cases("h_cluster_metrics.npz"))
def test_figures_are_the_authors(case):
    arrays, num_classes = case.arrays, case.meta["C"]
    labels = torch.from_numpy(arrays["label"])
    found = classes(torch.from_numpy(arrays["probs"]).log(), labels)
    for name in ("nmi", "ami", "ari", "fmi"):
        assert getattr(found, name) == pytest.approx(arrays[name].item(), rel=0, abs=golden.FLOAT64)
    assert found.used_classes == case.meta["n_pred_used"] and found.num_classes == num_classes
    assert found._replace(matched_top5_accuracy=None).scores() == pytest.approx(
        clusters(torch.from_numpy(arrays["pred"]), labels, num_classes).scores(), abs=1e-12
    )
    if case.meta["acc"] and num_classes == case.meta["n_label_classes"]:
        assert found.matched_accuracy == pytest.approx(arrays["acc"].item(), rel=0, abs=golden.FLOAT64)
        assert found.matched_top5_accuracy == pytest.approx(arrays["top5"].item(), rel=0, abs=golden.FLOAT64)
        np.testing.assert_array_equal(found.matched[arrays["match"][:, 0]], arrays["match"][:, 1])
    else:  # the authors' top-5 exceeds 1 in such cases, ours cannot
        assert found.matched_accuracy <= found.matched_top5_accuracy <= 1


@st.composite
def assignments(draw):
    """Random ones, and those of every disease: one class for all, a class for each, one label, no label for some."""
    count = draw(st.integers(1, 40))
    num_classes, num_labels = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(["random", "one class", "a class each", "the labels"]))
    labels = draw(st.lists(st.integers(-1, num_labels - 1), min_size=count, max_size=count))
    if kind == "a class each":
        assignment, num_classes = list(range(count)), count
    elif kind == "one class":
        assignment = [draw(st.integers(0, num_classes - 1))] * count
    elif kind == "the labels":
        assignment, num_classes = [max(0, label) for label in labels], num_labels
    else:
        assignment = draw(st.lists(st.integers(0, num_classes - 1), min_size=count, max_size=count))
    return torch.tensor(assignment), torch.tensor(labels), num_classes


@settings(deadline=None, max_examples=80)
@given(assignments(), st.integers(0, 1000))
def test_every_figure_is_scikit_learns_and_the_best_matchings(case, seed):
    assignment, labels, num_classes = case
    if (labels < 0).all():
        with pytest.raises(ConfigError, match="no asked image has a label"):
            clusters(*case)
        return
    found = clusters(*case)
    known = labels >= 0
    ours, theirs = assignment[known].numpy(), labels[known].numpy()
    assert found.nmi == pytest.approx(metrics.normalized_mutual_info_score(theirs, ours), abs=1e-12)
    assert found.ami == pytest.approx(metrics.adjusted_mutual_info_score(theirs, ours), abs=1e-12)
    assert found.ari == pytest.approx(metrics.adjusted_rand_score(theirs, ours), abs=1e-12)
    assert found.fmi == pytest.approx(metrics.fowlkes_mallows_score(theirs, ours), abs=1e-12)
    table = metrics.cluster.contingency_matrix(theirs, ours)
    assert found.many_to_one_accuracy == pytest.approx(table.max(0).sum() / len(ours), abs=1e-12)
    assert found.matched_accuracy == pytest.approx(best_matching(table) / len(ours), abs=1e-12)
    # What the matching says gives the accuracy, and no label stands for two classes.
    said = found.matched.numpy()
    assert (said[ours] == theirs).mean() == found.matched_accuracy
    assert len(set(said[said >= 0])) == (said >= 0).sum()
    # One-to-one and many-to-one are apart, and both within bounds.
    assert 0 <= found.matched_accuracy <= found.many_to_one_accuracy <= 1
    # Other names of classes and labels change nothing.
    rng = np.random.default_rng(seed)
    names = rng.permutation(num_classes)
    far = np.sort(rng.choice(2**40, 9, replace=False))
    other = clusters(
        torch.from_numpy(names)[assignment],
        torch.where(known, torch.from_numpy(far)[labels.clamp(min=0)], -1),
        num_classes,
    )
    assert other.scores() == pytest.approx(found.scores(), abs=1e-12)


def best_matching(table):
    """Of all matchings, by dynamic programming over sets of labels: no Hungarian method."""
    best = {0: 0}
    for column in table.T:
        after = dict(best)
        for taken, total in best.items():
            for label, count in enumerate(column):
                if not taken >> label & 1:
                    key = taken | 1 << label
                    after[key] = max(after.get(key, -1), total + int(count))
        best = after
    return max(best.values())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_top_5_never_passes_1_nor_falls_below_the_matched_accuracy(seed, count, num_classes, num_labels, tied):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, num_classes, generator=generator)
    labels = torch.randint(0, num_labels, (count,), generator=generator)
    found = classes(logits.round() if tied else logits, labels)
    if num_classes <= 5:
        assert found.matched_top5_accuracy is None and any("no top-5 accuracy" in note for note in found.notes)
    else:
        assert found.matched_accuracy <= found.matched_top5_accuracy <= 1


@pytest.mark.parametrize(("num_classes", "num_labels"), list(itertools.product([3, 8, 12], [2, 8])))
def test_what_stays_without_a_partner_is_said(num_classes, num_labels):
    found = clusters(torch.arange(48) % num_classes, torch.arange(48) % num_labels, num_classes)
    assert "on the asked images themselves" in found.notes[0]
    said = [note for note in found.notes if "without" in note]
    if num_classes > num_labels:
        assert f"{num_classes - num_labels} of {num_classes} classes stay without a label" in said[0]
    elif num_classes < num_labels:
        assert f"{num_labels - num_classes} of {num_labels} labels stay without a class" in said[0]
    else:
        assert not said
    assert (found.matched >= 0).sum() == min(num_classes, num_labels)


def test_it_is_what_the_widgets_show_of_a_run():
    rng = np.random.default_rng(0)
    assignment, labels = rng.integers(0, 7, 200), rng.integers(-1, 5, 200)
    found = clusters(torch.from_numpy(assignment), torch.from_numpy(labels), 7)
    assert found.scores() == pytest.approx(cluster_scores(assignment, labels, 7)._asdict(), abs=1e-15)


def test_of_equally_likely_classes_the_first_counts():
    found = classes(torch.zeros(10, 8), torch.arange(10) % 4)
    assert found.used_classes == 1 and found.matched_accuracy == 0.3 and found.nmi == 0


def test_minus_infinity_is_a_probability_and_nan_is_none():
    log_probs = torch.eye(6).log()
    assert classes(log_probs, torch.arange(6)).matched_accuracy == 1
    log_probs[2, 0] = math.nan
    with pytest.raises(ConfigError, match="not numbers .first in row 2"):
        classes(log_probs, torch.arange(6))


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="2 images have 1 labels"):
        clusters(torch.tensor([0, 1]), torch.tensor([0]), 3)
    with pytest.raises(ConfigError, match="classes go from 0 to 3: with 3 classes give 0 to 2"):
        clusters(torch.tensor([0, 3]), torch.tensor([0, 1]), 3)
