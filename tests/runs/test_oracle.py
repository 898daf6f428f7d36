"""The truth on runs in which it was planted."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import synthetic

from twist.runs import kinds, oracle
from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.handle import Run
from twist.runs.oracle import truth
from twist.runs.record import RunWriter
from twist.runs.store import write_json

M = 400
LABELS = np.arange(M) % 10
RNG = np.random.default_rng(0)
SHUFFLED = RNG.permutation(M) % 10  # knows nothing of the labels
DIRECTIONS = RNG.standard_normal((M, 16))
SURE, HALF, FLAT = 0.95, 0.35, 0.11  # confidence in one of ten classes


def planted(
    root,
    *assignments,
    confidence=SURE,
    features=DIRECTIONS,
    agreement=0.9,
    knn=(0.5, 0.9),
    light=None,
    labels=LABELS,
    course=(0.2, 0.5, 1.0, 1.0),
    num_classes=10,
    batch_size=100,
):
    """A run whose snapshots at steps 0, 10, … give these classes, and whose batch numbers follow the course."""
    path = create_run(Recipe().replace(network__num_classes=num_classes, optim__batch_size=batch_size), root=root)
    writer = RunWriter(path, 1)
    images = np.random.default_rng(1).integers(0, 20, (M, 1, 8, 8))
    if light is not None:
        images += 20 * light[:, None, None, None]
    writer.watch(images.astype(np.uint8), np.arange(M), labels)
    names = ("sharpness", "class_perplexity", "agreement", "mutual_information")
    for step in range(1, 41):
        value = course[(step - 1) * len(course) // 40]
        writer.metrics(step, step / 10, {f"train/{name}": value for name in names})
    for now, assignment in enumerate(assignments):
        others = (1 - confidence) / (num_classes - 1)
        probs = np.full((M, num_classes), others)
        probs[np.arange(M), assignment] = confidence
        columns = {
            "assignment": np.int32(assignment),
            "confidence": np.full(M, confidence, np.float32),
            "sample_entropy": np.zeros(M, np.float32),
            "top_classes": np.int32(np.argsort(-probs)[:, :3]),
            "top_probs": np.float32(-np.sort(-probs)[:, :3]),
            "features": np.float16(features),
            "mean_probs": np.float32(probs.mean(0)),
            "agreement": np.full(M, agreement, np.float32),
        }
        numbers = {"watch/knn_accuracy": knn[min(now, len(knn) - 1)], "watch/effective_rank": course[now + 1]}
        writer.snapshot(10 * now, float(now), columns, numbers)
    writer.close()
    write_json(attempt_folder(path, begin_attempt(path)) / "end.json", {"reason": "completed", "step": 40})
    return Run(path)


CROWDED = np.where(np.arange(M) < 360, 0, LABELS)
TWO = LABELS % 2
CONE = np.ones((M, 16)) + 0.05 * DIRECTIONS
PLANTED = [
    ("healthy", "", (LABELS, LABELS), {}),
    ("healthy", "", (LABELS, LABELS), {"confidence": HALF}),
    ("uniform collapse", "train/sharpness", (SHUFFLED, SHUFFLED), {"confidence": FLAT}),
    ("one-class collapse", "usage", (CROWDED, CROWDED), {}),
    ("partial collapse", "usage", (TWO, TWO), {}),
    ("inconsistent views", "train/agreement", (SHUFFLED, SHUFFLED), {"agreement": 0.2}),
    ("overconfident noise", "train/agreement", (SHUFFLED, RNG.permutation(SHUFFLED)), {"agreement": 0.2}),
    ("dimensional collapse", "watch/effective_rank", (LABELS, LABELS), {"features": CONE}),
    ("shortcut", "shortcut", (SHUFFLED, SHUFFLED), {"light": SHUFFLED}),
    ("plateau near uniform", "train/mutual_information", (SHUFFLED, SHUFFLED), {"confidence": HALF, "knn": (0.9, 0.9)}),
    (
        "batch too small",
        "train/mutual_information",
        (LABELS * 10, LABELS * 10),
        {"confidence": 0.02, "num_classes": 100, "batch_size": 4},
    ),
]


@pytest.mark.parametrize(("kind", "quantity", "assignments", "more"), PLANTED)
def test_a_planted_truth_is_told(tmp_path, kind, quantity, assignments, more):
    found = truth(planted(tmp_path, *assignments, **more))
    assert (found.kind, found.quantity) == (kind, quantity)
    assert (found.arrived is None) == (kind == "healthy")


def test_every_kind_but_too_early_is_planted_or_failed():
    assert {case[0] for case in PLANTED} | {"not finite", "too early to say"} == set(kinds.Kind.__args__)


def test_classes_that_follow_both_light_and_labels_are_no_shortcut(tmp_path):
    assert truth(planted(tmp_path, LABELS, LABELS, light=LABELS)).kind == "healthy"


def test_classes_of_another_order_are_the_same_classes(tmp_path):
    run = planted(tmp_path, SHUFFLED, (SHUFFLED + 3) % 10, agreement=0.2)
    assert truth(run).kind == "inconsistent views"  # stable groups, whatever they are called


def test_a_run_that_ended_for_a_number_that_is_none_says_so(tmp_path):
    path = synthetic.make_run(tmp_path, "not-finite")
    end = {"reason": "failed", "step": 131, "type": "NotFiniteError", "message": "the loss became nan"}
    (path / "attempts" / "0001" / "end.json").write_text(json.dumps(end))
    assert truth(Run(path)) == ("not finite", "train/total", 131)


@pytest.mark.parametrize(
    ("course", "arrived"),
    [((1.0, 1.0, 1.0, 1.0), 1), ((0.2, 0.5, 1.0, 1.0), 23), ((0.2, 1.0, 0.5, 1.0), 33), ((0.95, 1.05, 0.95, 1.0), 1)],
)
def test_it_arrived_when_it_stayed_within_a_tenth_of_its_end(tmp_path, course, arrived):
    run = planted(tmp_path, SHUFFLED, SHUFFLED, agreement=0.2, course=course)
    # The course changes after steps 10, 20, 30; a median of five follows two steps later.
    assert truth(run).arrived == arrived


@pytest.mark.parametrize(("assignments", "labels"), [((LABELS, LABELS), None), ((LABELS,), LABELS)])
def test_without_labels_or_a_second_snapshot_it_is_not_told(tmp_path, assignments, labels):
    with pytest.raises(ValueError, match="no labels or fewer than two snapshots"):
        truth(planted(tmp_path, *assignments, labels=labels))


def test_the_oracle_shares_no_threshold_with_the_rules():
    tree = ast.parse(Path(oracle.__file__).read_text())
    taken = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("twist.runs", "twist.runs.kinds", "twist.runs.causes")
        for name in node.names
    }
    assert taken == {"Kind"}
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not any(name.startswith("twist.runs") for name in modules)
