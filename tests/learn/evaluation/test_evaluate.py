"""One model, every protocol: the same numbers twice, records that say all, a run that is left as it was."""

from __future__ import annotations

import json
import os
import shutil
import threading

import numpy as np
import pytest
import torch
from conftest import TINY
from loop import STEPS, assert_equal_weights, attempt
from PIL import Image

from twist.learn.evaluation import evaluate as evaluating
from twist.learn.evaluation.evaluate import evaluate, evaluation
from twist.learn.evaluation.giving_way import NICENESS, giving_way
from twist.learn.model import load_model
from twist.runs.clustering import cluster_scores
from twist.runs.config import ConfigError, DataConfig
from twist.runs.launcher import prepare
from twist.runs.lock import free_lock, take_lock
from twist.runs.results import find_results, read_results, results_root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of runs with one that was trained for 12 steps, ``tiny``."""
    root = tmp_path_factory.mktemp("evaluated") / "runs"
    before = os.environ.get("TWIST_RUNS")
    os.environ["TWIST_RUNS"] = str(root)
    try:
        attempt(prepare("digits", name="tiny", changes=TINY), 1)
    finally:
        os.environ.pop("TWIST_RUNS") if before is None else os.environ.update(TWIST_RUNS=before)
    return root


@pytest.fixture
def home(trained, tmp_path, monkeypatch):
    """A copy of that folder, which is the folder of runs."""
    root = tmp_path / "runs"
    shutil.copytree(trained, root)
    monkeypatch.setenv("TWIST_RUNS", str(root))
    return root


def images_of(root, count=60, *, labeled=True):
    """A folder of image files, one folder for each of three labels, or flat."""
    rng = np.random.default_rng(0)
    for row in range(count):
        label = row % 3
        pixels = np.clip(60 + 60 * label + rng.normal(0, 25, (20, 20, 3)), 0, 255).astype(np.uint8)
        folder = root / f"kind{label}" if labeled else root
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{row:03d}.png")
    return root


def state_of(path):
    """Bytes and time of change of every file of a run but those that evaluating adds."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    parts = {file: file.relative_to(path).parts[0] for file in files}
    kept = [file for file in files if parts[file] not in ("evaluations", "features")]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in kept}


def test_the_standard_questions_give_records_that_say_all_and_no_folder_of_the_machine(home):
    before = state_of(home / "tiny")
    knn, linear, classes, kmeans = evaluate("tiny")
    assert [one.protocol for one in (knn, linear, classes, kmeans)] == ["knn", "linear", "classes", "kmeans"]
    assert knn.known.count == 160 and knn.asked.count == 40 and knn.overlap.count == 0
    assert "digits has no test part" in knn.how
    assert any("the asked ones too, without labels" in note for note in knn.notes)
    assert classes.known is None and classes.overlap is None and classes.settings["num_classes"] == 10
    assert kmeans.seeds == (0,) and knn.seeds == ()
    assert knn.model.kind == "run" and knn.model.facts["step"] == STEPS and knn.run == "tiny"
    assert knn.hardware["threads"] == torch.get_num_threads() and knn.versions["torch"] == torch.__version__
    assert knn.command == "twist evaluate tiny"
    assert read_results(home / "tiny" / "evaluations").results == [knn, linear, classes, kmeans]
    for file in (home / "tiny" / "evaluations").iterdir():
        assert str(home) not in file.read_text() and "/tmp" not in file.read_text()
    assert state_of(home / "tiny") == before


def test_evaluating_twice_gives_identical_numbers_also_when_nothing_is_cached(home):
    first = evaluate("tiny", seeds=(0, 1))
    again = evaluate(home / "tiny", seeds=(0, 1))
    shutil.rmtree(home / "tiny" / "features")
    anew = evaluate("tiny", seeds=(0, 1))
    assert [one.scores for one in first] == [one.scores for one in again] == [one.scores for one in anew]
    assert [one.question for one in first] == [one.question for one in again]
    found = find_results("tiny")
    assert len(found.results) == 12 and len(found.newest) == 4
    assert found.disagreements == [] and found.problems == []


def test_an_evaluation_in_the_middle_of_a_training_changes_no_file_and_no_weight_of_it(trained, runs, monkeypatch):
    from twist.learn import train as training

    path = prepare("digits", name="tiny", changes=TINY)
    ran = training._attempt
    asked = []

    def watched(path, number, requests, watch):
        def look(step, total, metrics):
            if step == 8:
                before = state_of(path)
                asked.extend(evaluate("tiny", ["knn", "classes", "kmeans"]))
                assert state_of(path) == before
            watch(step, total, metrics)

        return ran(path, number, requests, look)

    monkeypatch.setattr(training, "_attempt", watched)
    attempt(path, 1)
    assert [one.model.facts["step"] for one in asked] == [4, 4, 4]
    assert_equal_weights(path, trained / "tiny")


def test_the_classes_are_those_of_the_model_itself(home):
    (found,) = evaluate("tiny", "classes", data="digits", max_images=300)
    model = load_model("tiny")
    from twist.learn.evaluation.sets import evaluation_sets

    asked = evaluation_sets(DataConfig(source="digits"), max_images=300).asked
    expected = cluster_scores(model.classify(asked.images).assignment.numpy(), asked.labels.numpy(), 10)
    for name, value in expected._asdict().items():
        assert found.mean(name) == pytest.approx(value, abs=1e-9), name


def test_untrained_networks_of_several_seeds_are_one_result_with_a_value_for_each(home):
    (found,) = evaluate("random:tiny", "knn", seeds=(0, 1, 2))
    assert found.seeds == (0, 1, 2) and len(set(found.scores["accuracy_k10"])) > 1
    assert found.file.parent == home / "tiny" / "evaluations" and found.model.kind == "random"
    (alone,) = evaluate("random:tiny?seed=1", "knn", seeds=(7,))
    assert alone.scores["accuracy_k10"][0] == found.scores["accuracy_k10"][1] and alone.seeds == ()


def test_another_set_is_a_transfer_and_says_so(home, tmp_path):
    folder = images_of(tmp_path / "pictures")
    (found,) = evaluate("tiny", "knn", data=str(folder))
    assert any("Transfer: the run learned from digits and is asked about pictures" in note for note in found.notes)
    assert found.asked.name == "pictures" and found.asked.num_labels == 3
    assert found.command.endswith("--data pictures")
    (elsewhere,) = evaluate("pixels", "kmeans", data=str(folder), test=str(images_of(tmp_path / "more", 30)))
    assert elsewhere.file.parent == results_root() and elsewhere.asked.name == "more"


def test_images_without_labels_and_models_without_images_are_refused_in_a_sentence(home, tmp_path):
    flat = images_of(tmp_path / "flat", labeled=False)
    for protocol in ("knn", "linear", "classes"):
        with pytest.raises(ConfigError, match="flat has no labels"):
            evaluate("tiny", protocol, data=str(flat))
    with pytest.raises(ConfigError, match="pixels is no run, so it has no images.*--data"):
        evaluate("pixels")
    assert not (home / "tiny" / "evaluations").exists()


def test_asked_images_among_the_known_ones_are_counted(home, tmp_path):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 255, (80, 8, 8), np.uint8), np.arange(80) % 4
    np.savez(tmp_path / "train.npz", images=pixels, labels=labels)
    np.savez(tmp_path / "test.npz", images=np.concatenate([pixels[:5], 255 - pixels[:35]]), labels=labels[:40])
    (found,) = evaluate("pixels", "knn", data=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"))
    assert found.overlap.count == 5 and found.overlap.share == 5 / 40


def test_features_in_a_file_go_through_the_same_protocols(home, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = (np.eye(8)[labels] * 4 + rng.normal(0, 1, (120, 8))).astype(np.float32)
    np.savez(tmp_path / "theirs.npz", features=features, labels=labels)
    done = evaluation(tmp_path / "theirs.npz")
    assert [one.protocol for one in done.results] == ["knn", "linear", "kmeans"]
    assert done.results[1].mean("accuracy") > 0.8 and done.results[0].overlap is None
    assert "no classes of its own" in done.left_out["classes"]
    with pytest.raises(ConfigError, match="leave --data"):
        evaluate(tmp_path / "theirs.npz", data="digits")
    with pytest.raises(ConfigError, match="without a network"):
        evaluate(tmp_path / "theirs.npz", "finetune")


@pytest.mark.parametrize(
    ("source", "arguments", "says"),
    [
        ("tiny", {"protocols": "knn,knnn"}, "protocol 'knnn' is unknown.*knn.*there are knn, linear"),
        ("tiny", {"seeds": ()}, "seeds are"),
        ("tiny", {"seeds": (1, 1)}, "one of them twice"),
        ("tiny", {"seeds": (-1,)}, "-1 among them"),
        ("tiny", {"protocols": "finetune", "fraction": 0}, "fraction is 0"),
        ("tiny@5", {}, "keeps no checkpoint of step 5"),
        ("nobody", {}, "there is no run 'nobody'"),
        ("pixels", {"protocols": "supervised", "data": "digits"}, "is no run: name one"),
        ("pixels", {"protocols": ["classes"], "data": "digits"}, "no classes of its own"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(home, source, arguments, says):
    with pytest.raises(ConfigError, match=says):
        evaluate(source, **arguments)
    assert find_results().results == [] and not results_root().exists()


def test_a_few_labels_and_all_labels_train_the_network_and_the_list_is_kept(home):
    few, whole = evaluate("tiny", ["finetune", "supervised"], fraction=0.2, seeds=(3,))
    assert few.settings["fraction"] == 0.2 and few.seeds == (3,)
    (subset,) = few.settings["subsets"]
    kept = json.loads((home / "tiny" / "evaluations" / "labels" / f"{subset}.json").read_text())
    assert set(kept["counts"].values()) == {3} and any("30 of 160 known labels" in note for note in few.notes)
    assert whole.model.kind == "supervised" and whole.model.name == "tiny, supervised"
    (untrained,) = evaluate("random:tiny", "finetune", fraction=0.2, seeds=(3, 4))
    assert untrained.settings["subsets"][0] == subset and len(set(untrained.settings["subsets"])) == 2
    assert few.mean("accuracy") > 0.3 and 0 <= whole.mean("accuracy") <= 1


def test_an_interrupted_evaluation_keeps_what_was_whole_and_leaves_no_half(home):
    def interrupt(what, done, total):
        if what.startswith("linear"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate("tiny", ["knn", "linear"], on_progress=interrupt)
    assert [one.protocol for one in find_results("tiny").results] == ["knn"]
    assert not [file for file in (home / "tiny" / "evaluations").iterdir() if file.name.startswith(".")]


def test_beside_a_living_trainer_the_work_gives_way_and_the_process_does_not(home, monkeypatch):
    seen = []
    asked = evaluating.ask
    monkeypatch.setattr(evaluating, "ask", lambda *a: [seen.append(priority()), asked(*a)][1])
    assert take_lock(home / "tiny") is not None
    try:
        evaluate("tiny", "kmeans")
    finally:
        free_lock(home / "tiny")
    evaluate("tiny", "kmeans")
    assert seen == [max(NICENESS, priority()), priority()]


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_what_a_giving_way_thread_raises_is_raised_by_the_one_who_waits():
    with pytest.raises(ConfigError, match="no"):
        giving_way(lambda look: (_ for _ in ()).throw(ConfigError("no")))
    assert giving_way(lambda look: 7) == 7
