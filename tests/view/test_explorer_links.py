"""The explorer's Python side: linked views, a person's columns and names, answers to the browser, runs that are ill."""

from __future__ import annotations

import gc
import json
import time
import weakref

import numpy as np
import pytest
import traitlets
from exploring import Process, from_browser, make_map, until
from synthetic import make_run

import twist.view.explorer_core as core
import twist.view.explorer_maps as maps
from twist.runs.config import ConfigError
from twist.runs.record import RunWriter
from twist.runs.status import Status
from twist.view.classes import ClassExplorer
from twist.view.moment import moment_of


@pytest.fixture
def explore(monkeypatch):
    """Make an explorer that is closed at the end; no test here starts UMAP."""
    made = []
    monkeypatch.setattr(maps, "start_layout", lambda path, step, **follow: Process())
    monkeypatch.setattr(maps, "start_frames", lambda path: Process())
    monkeypatch.setattr(core, "_LOOK_EVERY_S", 0.02)

    def make(*arguments, **keywords) -> ClassExplorer:
        made.append(ClassExplorer(*arguments, **keywords))
        return made[-1]

    yield make
    for explorer in made:
        explorer.close()


def asked(explorer: ClassExplorer, **content) -> tuple[dict, list]:
    """What the explorer answers to a message from the browser."""
    answers = []
    explorer.send = lambda content, buffers=None: answers.append((content, buffers or []))
    data = {"method": "custom", "content": content}
    explorer._handle_msg({"content": {"comm_id": explorer.comm.comm_id, "data": data}, "buffers": []})
    assert len(answers) == 1
    return answers[0]


def damage(path, step: int, name: str) -> None:
    (path / "snapshots" / f"step-{step:09d}" / name).write_bytes(b"x")


def test_two_explorers_of_a_run_show_the_same_selection(tmp_path, explore):
    path = make_run(tmp_path)
    one, other = explore(path), explore(path)
    from_browser(one, selected_class=3)
    assert other.selected_class == moment_of(path).selected_class == 3
    other.selected_samples = [5, 9]
    assert one.selected_samples.tolist() == [5, 9]
    assert moment_of(path).selected_samples == (5, 9)
    other.close()
    one.selected_class = 4
    assert other.selected_class == 3


def test_a_later_explorer_shows_what_was_selected_before(tmp_path, explore):
    path = make_run(tmp_path)
    first = explore(path)
    first.selected_class = 6
    moment_of(path).step = 60
    later, fixed = explore(path), explore(path, step=0)
    assert (later.selected_class, later.shown_step) == (6, 70)
    assert (fixed.selected_class, fixed.shown_step) == (6, -1)
    assert moment_of(path).step == 60


def test_the_step_of_another_view_moves_the_slider_to_the_nearest_checkpoint(tmp_path, explore):
    path = make_run(tmp_path)
    explorer, fixed = explore(path), explore(path, step=0)
    moment_of(path).step = 60  # the step of a verdict, not of a snapshot
    assert explorer.shown_step == 70
    assert moment_of(path).step == 60  # other views keep what was asked for
    from_browser(explorer, shown_step=35)
    assert moment_of(path).step == 35
    assert fixed.shown_step == -1
    assert explorer.table["confidence"].mean() < fixed._record.snapshot(140).confidence.mean()
    moment_of(path).step = -1
    assert explorer.shown_step == -1


def test_rows_from_the_browser_arrive_as_bytes_and_fast(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    rows = np.arange(50_000, dtype="<i4")
    data = {"method": "update", "state": {}, "buffer_paths": [["selected_samples"]]}
    began = time.perf_counter()
    explorer._handle_msg({"content": {"comm_id": explorer.comm.comm_id, "data": data}, "buffers": [rows.tobytes()]})
    assert time.perf_counter() - began < 0.2
    assert explorer.selected_samples.tolist() == rows.tolist()
    assert len(explorer.selection) == 300  # rows beyond the images are left out


def test_a_column_of_numbers_and_one_of_texts_color_the_points(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    explorer.add_column("brightness", np.linspace(0, 4, 300), unit="cd")
    explorer.add_column("kind", ["even" if i % 2 else None for i in range(300)])
    number, kind = explorer.extra_columns["brightness"], explorer.extra_columns["kind"]
    assert (number["kind"], number["unit"], number["low"], number["high"]) == ("number", "cd", 0, 4)
    assert (kind["kind"], kind["names"]) == ("category", ["even"])
    assert np.frombuffer(kind["values"], "<i4")[:4].tolist() == [-1, 0, -1, 0]
    explorer.color_by = "kind"
    assert {"brightness", "kind"} <= set(explorer.table)
    with pytest.raises(traitlets.TraitError, match="no column 'taste'.*add_column first"):
        explorer.color_by = "taste"


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("a", np.zeros(299), "299 values for 300 images"),
        ("class", np.zeros(300), "a column 'class' of its own"),
        ("", np.zeros(300), "give it a name"),
        ("a", np.full(300, np.nan), "no value at all"),
        ("a", np.where(np.arange(300), np.inf, np.nan), "no finite value"),
        ("a", [str(i) for i in range(300)] * 2, "600 values"),
    ],
)
def test_a_column_that_means_nothing_is_refused(tmp_path, explore, name, values, words):
    with pytest.raises(ConfigError, match=words):
        explore(make_run(tmp_path)).add_column(name, values)


def test_a_name_given_in_the_browser_is_kept_and_shown_everywhere(tmp_path, explore):
    path = make_run(tmp_path)
    explorer = explore(path)
    asked(explorer, type="name", id=1, **{"class": 3}, name="<script>x</script>")
    assert explorer.class_names == {"3": {"name": "<script>x</script>", "note": ""}}
    assert set(explorer.table.query("assignment == 3")["class_name"]) == {"<script>x</script>"}
    assert "<script>" not in explorer.static_html()
    assert explore(path).class_names == explorer.class_names
    with pytest.raises(ConfigError, match="no class 10: give one from 0 to 9"):
        explorer.name_class(10, "x")
    answer, _ = asked(explorer, type="name", id=2, **{"class": 3}, name="x" * 100)
    assert "give 80 at most" in answer["problem"]


def test_damaged_names_are_told_and_the_map_is_shown(tmp_path, explore):
    path = make_run(tmp_path)
    (path / "class_names.json").write_text("[")
    explorer = explore(path)
    assert explorer.snapshot["step"] == 140
    assert "class_names.json holds no names of classes" in explorer.status["text"]
    assert len(explorer.table) == 300 and "step 140" in explorer.static_html()


def test_closeness_is_the_cosine_of_the_features(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    answer, buffers = asked(explorer, type="closest", id="q", row=4)
    features = np.asarray(explorer._snapshot.features, np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(np.frombuffer(buffers[0], "<f4"), unit @ unit[4], atol=1e-3)
    assert (answer["id"], answer["row"], answer["step"]) == ("q", 4, 140)
    for wrong in (300, -1, "x"):
        assert "problem" in asked(explorer, type="closest", id="q", row=wrong)[0]


def test_the_history_of_an_image_is_told_for_every_snapshot(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    answer, _ = asked(explorer, type="history", id=1, row=2)
    assert answer["steps"] == [0, 35, 70, 105, 140]
    expected = [explorer._record.snapshot(step).sample_entropy[2] for step in answer["steps"]]
    np.testing.assert_allclose(answer["entropy"], expected, atol=1e-4)


def test_tiles_are_answered_with_one_sheet(tmp_path, explore):
    answer, buffers = asked(explore(make_run(tmp_path)), type="tiles", id=7, rows=[2, 200, 299])
    assert (answer["columns"], answer["tile"], answer["mime"]) == (3, 8, "image/png")
    assert buffers[0].startswith(b"\x89PNG")


def test_an_export_from_the_browser_goes_into_the_run_and_is_never_written_over(tmp_path, explore):
    path = make_run(tmp_path, name="mine")
    explorer = explore(path)
    explorer.selected_class = 3
    first, _ = asked(explorer, type="export", id=1, kind="csv", only_selection=True)
    second, _ = asked(explorer, type="export", id=2, kind="csv")
    folders, _ = asked(explorer, type="export", id=3, kind="folders", only_selection=True)
    assert first["written"] == "mine/exports/mine-step140-classes.csv"
    assert second["written"] == "mine/exports/mine-step140-classes-2.csv"
    assert len((path / "exports" / "mine-step140-classes.csv").read_text().splitlines()) == 31
    assert len(list((tmp_path / folders["written"]).glob("class-3/*.png"))) == 30
    assert "is not made yet" in asked(explorer, type="export", id=4, kind="atlas")[0]["problem"]
    assert "problem" in asked(explorer, type="export", id=5, kind="../../etc")[0]


def test_a_message_that_is_none_of_ours_is_passed_over(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    for content in ({}, {"type": "shutdown"}, "text", [1]):
        explorer._answer(content)


def test_a_damaged_newest_snapshot_is_told_and_the_one_before_shown(tmp_path, explore):
    path = make_run(tmp_path)
    damage(path, 140, "confidence.npy")
    explorer = explore(path)
    assert explorer.snapshot["step"] == 105
    assert "Step 140 is left out" in explorer.status["text"]


def test_when_no_snapshot_can_be_read_it_says_why(tmp_path, explore):
    path = make_run(tmp_path, snapshots=2)
    for step in (0, 140):
        damage(path, step, "confidence.npy")
    explorer = explore(path)
    assert explorer.status["state"] == "error"
    assert "confidence.npy has 1 bytes" in explorer.status["text"]


def test_missing_pictures_are_told_and_all_else_is_shown(tmp_path, explore):
    path = make_run(tmp_path)
    (path / "watch" / "sheet-0000.png").unlink()
    explorer = explore(path)
    assert explorer.watch["sheets"] == [] and explorer.watch["pictures"] is False
    assert explorer.placement["xy"]
    assert "watch/sheet-0000.png cannot be read" in explorer.status["text"]
    assert "problem" in asked(explorer, type="tiles", id=1, rows=[0])[0]


@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_images_is_shown(tmp_path, explore, count):
    explorer = explore(make_run(tmp_path, num_samples=count))
    assert explorer.watch["count"] == count
    assert len(explorer.table) == count


def test_one_class_alone_is_shown(tmp_path, explore):
    explorer = explore(make_run(tmp_path, "one-class", num_classes=2))
    assert explorer.snapshot["num_classes"] == 2
    assert "1 of" not in explorer.status["text"]


def test_a_running_run_is_followed_from_snapshot_to_snapshot(tmp_path, explore, monkeypatch):
    path = make_run(tmp_path, ended=False)
    make_map(path, 140, 300)
    state = Status("RUNNING")
    monkeypatch.setattr(core, "read_status", lambda path: state)
    explorer = explore(path)
    assert explorer.status["state"] == "running" and explorer.status["live"]
    record = explorer._record
    snapshot = record.snapshot()
    names = ("assignment", "confidence", "sample_entropy", "top_classes", "top_probs", "features", "mean_probs")
    writer = RunWriter(path, 1)
    writer.snapshot(150, 21.0, {name: np.array(getattr(snapshot, name)) for name in names}, {})
    writer.close()
    until(lambda: explorer.snapshot["step"] == explorer.history["steps"][-1] == 150)
    until(lambda: "showing the map of step 140 meanwhile" in explorer.status["aside"])
    assert explorer.status["state"] == "running"
    make_map(path, 150, 300)
    until(lambda: explorer.placement["step"] == 150)
    state = Status("COMPLETED")
    until(lambda: explorer.status["state"] == "ready")
    until(lambda: explorer._maps.aligning)


def test_what_stays_in_a_saved_notebook_needs_no_script(tmp_path, explore):
    path = make_run(tmp_path, label_names=["<img src=x onerror=alert(1)>"] + [f"k{i}" for i in range(9)])
    kept = explore(path).static_html()
    assert kept.count("<img") == 1 and "data:image/png;base64," in kept and "<script" not in kept
    assert "&lt;img src=x" in kept and "step 140" in kept
    assert len(kept) < 100_000


def test_frames_are_shown_when_they_are_made(tmp_path, explore, monkeypatch):
    path = make_run(tmp_path)
    make_map(path, 140, 300)
    process = Process()
    monkeypatch.setattr(maps, "start_frames", lambda path: process)
    monkeypatch.setattr(maps, "frames_progress", lambda path: (2, 5))
    explorer = explore(path)
    until(lambda: explorer.motion.get("progress") == [2, 5])
    process.returncode = 1
    until(lambda: "problem" in explorer.motion)
    assert "layouts/log-0a1b2c3d says why" in explorer.motion["problem"]


def test_the_state_can_be_sent_as_json_and_bytes(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    explorer.add_column("n", np.arange(300))

    def plain(value):
        return f"{len(value)} bytes" if isinstance(value, bytes | memoryview) else repr(value)

    json.dumps(explorer.get_state(), default=plain, allow_nan=False)


def test_explorers_that_were_closed_are_gone(tmp_path, explore):
    path = make_run(tmp_path, num_samples=30)
    make_map(path, 140, 30)
    other = explore(path)  # a view of the run that lives on
    alive = []
    for _ in range(20):
        explorer = ClassExplorer(path)
        alive.append(weakref.ref(explorer))
        explorer.close()
        del explorer
    gc.collect()
    assert sum(each() is not None for each in alive) == 0
    other.selected_class = 2


def test_a_damaged_map_is_told_and_pca_shown(tmp_path, explore):
    path = make_run(tmp_path, name="torn")
    make_map(path, 140, 300)
    (path / "layouts" / "step-000000140" / "umap_x.npy").write_bytes(b"x")
    explorer = explore(path)
    assert explorer.placement["method"] == "pca"
    assert explorer.status["state"] == "ready"
    assert "The map is damaged (step-000000140/umap_x.npy has 1 bytes" in explorer.status["text"]
    assert "delete torn/layouts" in explorer.status["text"]
    assert "umap_x" not in explorer.table and "PCA map" in explorer.static_html()
