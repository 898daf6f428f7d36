"""The checkpoints of the slider: which are chosen, what the browser can read back, what became of the classes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import make_history, make_run, read

from twist.view.explorer_history import Checkpoints, as_shown, choose_steps, frames_table


def column(table, name, count):
    return np.frombuffer(table[name], "<u2").reshape(len(table["steps"]), count)


def test_checkpoints_are_evenly_chosen_and_said():
    steps = list(range(0, 1000, 10))
    chosen = choose_steps(steps, 24, home=330)
    assert len(chosen) == 24 and chosen[0] == 0 and chosen[-1] == 990 and 330 in chosen
    assert max(np.diff(chosen)) <= 70
    assert choose_steps(steps, 24, prefer=np.array([0, 500, 990])) == [0, 500, 990]
    assert choose_steps(steps, 24, prefer=np.array([0, 500, 980])) != [0, 500, 980, 990]  # of an older run


def test_columns_read_back_are_those_of_the_snapshots(tmp_path):
    record = read(make_run(tmp_path))
    table = Checkpoints(record).table()
    assert table["steps"] == record.snapshot_steps() == [0, 35, 70, 105, 140]
    assert table["said"] == ""
    for row, step in enumerate(table["steps"]):
        snapshot = record.snapshot(step)
        np.testing.assert_array_equal(column(table, "assignment", 300)[row], snapshot.assignment)
        np.testing.assert_array_equal(column(table, "second", 300)[row], snapshot.top_classes[:, 1])
        entropy = column(table, "entropy", 300)[row] / 65_534 * np.log(10)
        np.testing.assert_allclose(entropy, snapshot.sample_entropy, atol=3e-5)
        np.testing.assert_allclose(column(table, "confidence", 300)[row] / 65_534, snapshot.confidence, atol=2e-5)


def test_many_values_are_thinned_in_words(tmp_path):
    table = Checkpoints(read(make_run(tmp_path))).table(35, most_values=900)
    assert table["steps"] == [0, 35, 140]
    assert table["said"] == "3 of 5 checkpoints are shown, evenly chosen."


def test_births_deaths_splits_and_merges_are_told(tmp_path):
    before = np.repeat([0, 1], 50)
    after = np.concatenate([np.repeat([0, 2], 25), np.ones(50, int)])
    last = np.ones(100, int)
    table = Checkpoints(read(make_history(tmp_path, np.stack([before, after, last]), num_classes=3))).table()
    first, second = table["changes"]
    assert (first["born"], first["splits"], first["died"]) == ([2], [[0, 0, 2]], [])
    assert first["kept"] == 0.75
    assert (second["died"], second["born"]) == ([0, 2], [])


def test_classes_of_several_heads_keep_the_newest_names(tmp_path):
    late = np.repeat([0, 1, 2], 20)
    early = np.repeat([2, 0, 1], 20)
    record = read(make_history(tmp_path, np.stack([early, late]), num_classes=3, num_heads=2))
    table = Checkpoints(record).table()
    assert (column(table, "assignment", 60) == late).all()
    assert "matched to the newest" in table["said"]
    assert table["changes"][0]["kept"] == 1
    shown = as_shown(record.snapshot(table["steps"][0]), table)
    assert (shown.assignment == late).all()
    np.testing.assert_array_equal(shown.top_classes[:, 1], column(table, "second", 60)[0])
    assert shown.margin.tolist() == record.snapshot(table["steps"][0]).margin.tolist()


def test_a_long_run_keeps_only_the_checkpoints_that_are_shown(tmp_path, monkeypatch):
    record = read(make_run(tmp_path, snapshots=9))
    checkpoints, steps = Checkpoints(record), record.snapshot_steps()
    for newest in range(3, 9):
        shown = checkpoints.table(most=4, until=steps[newest])["steps"]
    assert sorted(checkpoints._kept) == shown and len(shown) == 4
    monkeypatch.setattr(record, "snapshot", lambda step: pytest.fail(f"step {step} is read again"))
    checkpoints.table(most=4)


def test_a_damaged_checkpoint_is_left_out_in_words(tmp_path):
    path = make_run(tmp_path)
    (path / "snapshots" / "step-000000070" / "confidence.npy").write_bytes(b"x")
    table = Checkpoints(read(path)).table()
    assert table["steps"] == [0, 35, 105, 140]
    assert "A damaged checkpoint is left out: step-000000070/confidence.npy has 1 bytes" in table["said"]


def test_one_snapshot_needs_no_slider(tmp_path):
    assert Checkpoints(read(make_run(tmp_path, snapshots=1))).table() == {}


def test_frames_lie_on_one_scale_and_the_nearest_stands_in():
    xy = np.array([[[0, 0], [1, 1]], [[0, 0], [4, 2]], [[np.nan, np.nan], [4, 2]]], np.float32)
    found = SimpleNamespace(steps=np.array([0, 10, 20]), xy=xy, trust=np.full((3, 2), 0.5), caption="made so")
    table = frames_table(found, [0, 9, 20, 30])
    shares = np.frombuffer(table["xy"], "<u2").reshape(4, 2, 2).astype(float)
    shares[shares == 65_535] = np.nan
    places = shares / 65_534 * 2 - 1
    assert table["own"] == [0, 10, 20, 20]
    np.testing.assert_allclose(places[1], [[-1, -0.5], [1, 0.5]], atol=1e-4)
    assert np.isnan(places[2][0]).all() and np.isnan(places[3][0]).all()
    assert np.frombuffer(table["trust"], "<u2")[0] / 65_534 == pytest.approx(0.5, abs=1e-4)
