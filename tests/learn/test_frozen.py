"""Frozen runs: features of anything, classes by a labeler, as a run folder that says that nothing was trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exploring import Process
from synthetic import make_run

import twist
import twist.view.explorer_maps as maps
from twist.cli import main
from twist.learn.frozen import label
from twist.learn.frozen_sources import placeholders
from twist.runs.config import ConfigError
from twist.runs.handle import Run
from twist.runs.listing import row_of
from twist.runs.record import RunRecord
from twist.runs.store import read_manifest
from twist.view.compare import Compare
from twist.view.monitor import RunMonitor
from twist.view.report import report_html
from twist.view.two_views import TwoViews


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    root = tmp_path / "data" / "runs"
    root.mkdir(parents=True)
    monkeypatch.setenv("TWIST_RUNS", str(root))
    # No test here waits for a map.
    monkeypatch.setattr(maps, "start_layout", lambda path, step, **follow: Process())
    monkeypatch.setattr(maps, "start_frames", lambda path: Process())
    return root


@pytest.fixture
def images(tmp_path):
    """Forty small gray images of two kinds, as an .npz file."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = (rng.integers(0, 60, (40, 12, 12)) + 150 * labels[:, None, None]).astype(np.uint8)
    file = tmp_path / "kinds.npz"
    np.savez(file, images=pixels, labels=labels, label_names=np.array(["dark", "bright"]))
    return file


def record_of(run: Run) -> RunRecord:
    record = RunRecord(run.path)
    record.poll()
    return record


def test_a_run_is_labelled_over_its_own_watch_images_and_left_as_it_was(root):
    path = make_run(root, name="mine", num_samples=60)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    run = label("mine", "kmeans", 4)
    assert run.name == "mine-kmeans"
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()} == before
    assert read_manifest(run.path / "watch", verify=True) == read_manifest(path / "watch")
    mine, theirs = record_of(Run(path)), record_of(run)
    assert np.array_equal(theirs.snapshot().features, mine.snapshot().features)
    assert theirs.snapshot().num_classes == theirs.recipe.network.num_classes == 4
    assert np.array_equal(theirs.snapshot().assignment, theirs.snapshot().top_classes[:, 0])
    of = theirs.frozen["of"]
    assert (of["name"], of["step"], of["id"]) == ("mine", 140, mine.identity["id"])


def test_an_earlier_snapshot_can_be_labelled_and_one_that_is_not_there_is_refused(root):
    make_run(root, name="mine", num_samples=60)
    found = record_of(label("mine@35"))
    assert found.frozen["of"]["step"] == 35
    assert np.array_equal(found.snapshot().features, features_at(root / "mine", 35))
    with pytest.raises(ConfigError, match="no snapshot at step 36"):
        label("mine@36")
    with pytest.raises(ConfigError, match="give the step of a snapshot"):
        label("mine@last")


def features_at(path, step):
    record = RunRecord(path)
    record.poll()
    return record.snapshot(step).features


def test_everything_says_that_nothing_was_trained(root, capsys):
    make_run(root, name="mine", num_samples=60)
    run = label("mine", "kmeans", 4)
    sentence = "nothing was trained here: features of mine @ step 140, classes by k-means"
    assert str(run.status) == f"completed: {sentence}"
    assert run.verdict.kind == "nothing trained" and not run.verdict.alarm
    assert run.verdict.sentence.startswith(sentence[0].upper() + sentence[1:])
    row = row_of(run.path)
    assert (row.state, row.recipe, row.title, row.alarm) == ("COMPLETED", "frozen", "Nothing was trained", False)
    monitor = RunMonitor(run, live=False)
    assert monitor.verdict.title == "Nothing was trained" and monitor.board.shown["asks"] == []
    monitor.close()
    assert main(["show", run.name]) == main(["verdict", run.name]) == main(["list"]) == 0
    said = capsys.readouterr().out
    assert "labeling, seconds" in said and "training, seconds" not in said and "at step 0" not in said


def test_what_takes_a_training_is_refused_with_the_run_that_had_one(root):
    make_run(root, name="mine", num_samples=60)
    run = label("mine", "kmeans", 4)
    for ask, done in (
        (run.resume, "resumed"),
        (lambda: twist.fork(run), "forked"),
        (lambda: twist.load_model(run.name), "asked about images"),
    ):
        with pytest.raises(
            ConfigError, match=f"cannot be {done}: nothing was trained here.*ask that of the run 'mine'"
        ):
            ask()


def test_two_views_says_at_once_that_there_is_no_network_to_ask(root):
    make_run(root, name="mine", num_samples=60)
    label("mine", "kmeans", 4)
    views = TwoViews("mine-kmeans")
    views._work()
    assert views.status["state"] == "empty"
    assert "cannot be probed: nothing was trained here" in views.status["text"]
    views.close()


def test_the_report_tells_of_the_labeler_and_of_no_training(root):
    make_run(root, name="mine", num_samples=60)
    found = report_html(record_of(label("mine", "kmeans", 4)))
    assert "Nothing was trained here: features of mine @ step 140, classes by k-means." in found
    assert "How the classes were found" in found and "times it starts anew" in found
    for heading in ("What the loss did", "Gradients and features", "The recipe, to the last number", "through time"):
        assert heading not in found


def test_compare_holds_a_labeler_against_the_runs_own_classes(root):
    make_run(root, name="mine", num_samples=60)
    run = label("mine", "kmeans", 10)
    view = Compare(["mine", run.name], live=False)
    assert view.comparison is not None and len(view.comparison.images.first) == 60
    assert view.comparison.agreement > 0.5
    view.close()


def test_add_labels_colors_a_map_by_another_opinion(root):
    path = make_run(root, name="mine", num_samples=60)
    own = np.asarray(record_of(Run(path)).snapshot().assignment)
    explorer = twist.ClassExplorer("mine")
    try:
        explorer.add_labels("renamed", (own + 3) % 10)  # the same groups under other numbers
        column, palette = explorer.extra_columns["renamed"], explorer.palette["classes"]
        codes = np.frombuffer(column["values"], np.int32)
        assert [column["colors"][code] for code in codes] == [palette[each] for each in own]
        run = label("mine", "kmeans", 4)
        explorer.add_labels("k-means", run)
        explorer.color_by = "k-means"
        assert len(set(explorer.extra_columns["k-means"]["colors"])) == 4
        assert set(explorer.table["k-means"]) == {f"mine-kmeans {each}" for each in range(4)}
        with pytest.raises(ConfigError, match="a whole number for each of the 60 images"):
            explorer.add_labels("short", [0, 1])
        with pytest.raises(ConfigError, match="there is no run 'nobody'"):
            explorer.add_labels("nobody", "nobody")
    finally:
        explorer.close()


def test_features_of_pixels_are_those_of_all_images_and_computed_once(images, root, monkeypatch):
    run = label("pixels", "kmeans", data=images)
    record = record_of(run)
    assert run.name == "pixels-kmeans" and record.frozen["model"].startswith("pixels")
    assert record.snapshot().num_classes == 2  # as many as there are labels
    assert run.scores.matched_accuracy == 1.0
    assert record.watch().label_names == ["dark", "bright"]

    def computed_again(*_):
        raise AssertionError("the features were computed a second time")

    monkeypatch.setattr("twist.learn.evaluation.features._compute", computed_again)
    again = label("pixels", "kmeans", data=images)
    assert again.name == "pixels-kmeans-2"
    assert np.array_equal(record_of(again).snapshot().top_probs, record.snapshot().top_probs)


def test_an_array_without_images_gets_placeholders_and_says_so(tmp_path, root):
    features = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    np.savez(tmp_path / "theirs.npz", features=features)
    run = label(tmp_path / "theirs.npz", "kmeans", 3)
    record = record_of(run)
    assert record.watch().labels is None and record.watch().tile == 4
    assert "The file has no images" in record.frozen["notes"][0]
    np.testing.assert_allclose(record.snapshot().features, features, atol=2e-3)
    explorer = twist.ClassExplorer(run)
    assert "The file has no images" in explorer.status["text"]
    explorer.close()


def test_an_array_with_images_and_labels_shows_them(tmp_path, root):
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    images = rng.integers(0, 255, (20, 6, 6, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "theirs.npz", features=np.eye(2)[labels] + 1e-3 * rng.random((20, 2)), labels=labels, images=images
    )
    run = label(tmp_path / "theirs.npz")
    assert run.scores.matched_accuracy == 1.0 and not run.record.frozen["notes"]
    assert run.record.watch().tile == 6


def test_placeholders_order_images_along_their_widest_direction():
    line = torch.arange(10.0)[:, None] * torch.tensor([[3.0, 4.0]])
    pictures = placeholders(line)
    assert pictures.shape == (10, 1, 4, 4) and pictures.dtype == np.uint8
    first = pictures[:, 0, 0, 0].astype(int)
    assert (np.diff(first) > 0).all() or (np.diff(first) < 0).all()


def test_large_features_are_kept_within_half_precision(tmp_path, root):
    np.savez(tmp_path / "large.npz", features=np.eye(6) * 1e9)
    assert np.isfinite(record_of(label(tmp_path / "large.npz", "kmeans", 2)).snapshot().features).all()


def without(array: str) -> dict[str, np.ndarray]:
    arrays = {"features": np.eye(4), "labels": np.array([0, 1, 0, 1]), "images": np.zeros((4, 4, 4), np.uint8)}
    return {name: value for name, value in arrays.items() if name != array}


BAD = {
    "no features": (without("features"), "has no array 'features'.*twist label pixels --data"),
    "fewer images": (without("images") | {"images": np.zeros((3, 4, 4), np.uint8)}, "3 images for 4 features"),
    "not finite": ({"features": np.array([[0.0, np.inf], [1, 1]])}, "not finite in 1 of 2 rows"),
    "labels of others": ({"features": np.eye(4), "labels": np.array([0, 1])}, "labels"),
    "one image": ({"features": np.ones((1, 3))}, "1 image has features"),
    "all alike": ({"features": np.ones((5, 3))}, "all 5 images have the same features"),
}


@pytest.mark.parametrize(("arrays", "words"), BAD.values(), ids=BAD)
def test_bad_features_are_refused_and_nothing_is_written(tmp_path, root, arrays, words):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ConfigError, match=words):
        label(tmp_path / "bad.npz", "kmeans", 2)
    assert list(root.iterdir()) == []


def test_mistakes_of_asking_are_named_with_the_fix(images, root, capsys):
    assert main(["label", "pixels", "--data", str(images), "--with", "turtel"]) == 2
    assert main(["label", "pixels"]) == 2
    assert main(["label", "pixels", "--data", str(images), "--classes", "41"]) == 2
    assert main(["label", "nobody"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'turtle'" in said or "turtle" in said
    assert "pixels needs images: name a set, a folder or an .npz file with --data" in said
    assert "num_classes is 41 for 40 images: give a whole number from 2 to 40" in said
    assert "there is no run 'nobody'" in said
    assert list(root.iterdir()) == []


def test_the_command_prints_what_it_found(images, root, capsys):
    assert main(["label", "pixels", "--data", str(images), "--name", "theirs", "--json"]) == 0
    *said, last = capsys.readouterr().out.splitlines()
    facts = json.loads(last)
    assert (facts["run"], facts["labeler"], facts["count"], facts["matched_accuracy"]) == ("theirs", "k-means", 40, 1.0)
    assert "Nothing was trained here" in said[0] and any("twist app classes theirs" in line for line in said)


def test_a_frozen_run_can_be_labelled_again_and_keeps_its_model(images, root):
    label("pixels", "kmeans", data=images, name="first")
    again = record_of(label("first", "kmeans", 3))
    assert again.frozen["model"].startswith("pixels") and again.snapshot().num_classes == 3
