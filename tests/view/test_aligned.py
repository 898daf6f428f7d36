"""Frames can be laid over one another, are kept, and say what they lack."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic import add_snapshot, make_run

from twist.runs.store import RecordError
from twist.view import aligned, beside, placing
from twist.view import layout as maps


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    """Spare umap-learn's import and compilation: what it would answer is where it was started."""
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, num_samples=200)


def moved(xy):
    """Median way of an image from each frame to the next, ``[T - 1]``."""
    return np.median(np.linalg.norm(np.diff(xy, axis=0), axis=2), axis=1)


def test_a_run_without_frames_has_none(run):
    assert aligned.frames(run) is None and aligned.frames_progress(run) is None


def test_there_is_a_frame_for_every_snapshot_with_places_and_trust(run):
    made, kept = aligned.make_frames(run), aligned.frames(run)
    assert kept.steps.tolist() == [0, 35, 70, 105, 140] and kept.steps.dtype == np.int64
    assert kept.xy.shape == (5, 200, 2) and kept.trust.shape == (5, 200)
    assert kept.xy.dtype == kept.trust.dtype == np.float32
    assert np.array_equal(made.xy, kept.xy) and np.isfinite(kept.xy).all()
    assert 0 <= np.min(kept.trust) and np.max(kept.trust) <= 1
    assert not kept.facts["stale"] and aligned.frames_progress(run) is None
    assert "5 checkpoints" in kept.caption and "starts from the next one's" in kept.caption


def test_frames_lie_nearer_to_one_another_than_maps_made_alone(run):
    kept = aligned.make_frames(run)
    record = maps.RunRecord(run)
    record.poll()
    alone = [placing.preview(record.snapshot(int(step)).features) for step in kept.steps]
    turned = np.stack([placing.onto(xy, alone[-1]) for xy in alone])
    late = slice(2, None)  # the first snapshots are of a network that knows nothing yet
    assert np.median(moved(kept.xy)[late]) < 0.5 * np.median(moved(turned)[late])


def test_no_frame_could_be_turned_nearer_to_the_next(run):
    kept = aligned.make_frames(run)
    for earlier, later in zip(kept.xy[:-1], kept.xy[1:], strict=True):
        assert placing.onto(earlier, later) == pytest.approx(earlier, abs=1e-3)


def test_the_newest_frame_of_a_run_that_ended_is_the_map_of_that_snapshot(run):
    kept = aligned.make_frames(run)
    found = maps.layout(run, 140)
    assert found.final and np.array_equal(kept.xy[-1], found.xy) and np.array_equal(kept.trust[-1], found.trust)


def test_frames_of_a_live_run_are_stale_once_its_last_map_is_there(run, monkeypatch):
    with monkeypatch.context() as living:
        living.setattr(aligned, "read_status", lambda path: SimpleNamespace(ended=False))
        kept = aligned.make_frames(run)
    assert maps.layout(run, 140) is None and not aligned.frames(run).facts["stale"]
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start[:, ::-1])
    made = maps.make_layout(run, 140)
    assert aligned.frames(run).facts["stale"]
    again = aligned.make_frames(run)
    assert np.array_equal(again.xy[-1], made.xy) and not np.array_equal(again.xy[-1], kept.xy[-1])
    assert not aligned.frames(run).facts["stale"]


def test_frames_that_are_there_are_not_made_again(run, monkeypatch):
    aligned.make_frames(run)
    monkeypatch.setattr(aligned, "ground_of", None)
    aligned.make_frames(run)


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [140]), (2, [0, 140]), (3, [0, 70, 140]), (5, [0, 35, 70, 105, 140])]
)
def test_of_many_snapshots_evenly_spaced_ones_are_laid_out(run, most, expected):
    kept = aligned.make_frames(run, most)
    assert kept.steps.tolist() == expected
    assert (f"{most} of 5 checkpoints" in kept.caption) == (most < 5)
    assert not aligned.frames(run).facts["stale"]


def test_less_than_one_frame_is_refused(run):
    with pytest.raises(ValueError, match="most is 0: ask for 1 frame or more"):
        aligned.make_frames(run, 0)


def test_a_newer_snapshot_makes_frames_stale_and_new_ones_start_from_them(run):
    before = aligned.make_frames(run)
    record = maps.RunRecord(run)
    record.poll()
    add_snapshot(run, 150, record.snapshot(140))
    assert aligned.frames(run).facts["stale"] and aligned.frames(run).steps.tolist() == before.steps.tolist()
    after = aligned.make_frames(run)
    assert after.steps.tolist() == [0, 35, 70, 105, 140, 150] and not aligned.frames(run).facts["stale"]
    assert np.median(np.linalg.norm(after.xy[-1] - before.xy[-1], axis=1)) < 0.2 * before.xy[-1].std()


def test_a_damaged_snapshot_and_a_missing_one_are_left_out_and_named(run):
    (run / "snapshots" / "step-000000070" / "features.npy").write_bytes(b"short")
    shutil.rmtree(run / "snapshots" / "step-000000035")
    kept = aligned.make_frames(run)
    assert kept.steps.tolist() == [0, 105, 140] and kept.facts["of"] == 4
    (said,) = kept.facts["left_out"]
    assert "step 70" in said and "features.npy" in said
    assert "1 left out" in kept.caption and not aligned.frames(run).facts["stale"]


def test_a_run_whose_snapshots_are_all_damaged_is_an_error(run):
    for features in run.glob("snapshots/*/features.npy"):
        features.write_bytes(b"short")
    with pytest.raises(RecordError, match="no snapshot that can be read"):
        aligned.make_frames(run)


def test_a_run_without_snapshots_is_one_sentence(tmp_path):
    from twist.runs.config import Recipe
    from twist.runs.folders import create_run

    path = create_run(Recipe(), name="new", root=tmp_path)
    with pytest.raises(SystemExit, match="run new has no snapshot that can be read"):
        aligned.main([str(path)])


def test_one_snapshot_gives_one_frame(tmp_path):
    path = make_run(tmp_path, kind="early", snapshots=1)
    kept = aligned.make_frames(path)
    assert len(kept.steps) == 1 and np.isfinite(kept.xy).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_images_has_frames(tmp_path, count):
    kept = aligned.make_frames(make_run(tmp_path, num_samples=count))
    assert kept.xy.shape == (5, count, 2) and np.isfinite(kept.xy).all()


def test_damaged_frames_are_an_error_and_are_made_anew(run):
    before = aligned.make_frames(run)
    (run / "layouts" / "frames" / "xy.npy").write_bytes(b"short")
    with pytest.raises(RecordError, match="xy.npy"):
        aligned.frames(run)
    assert np.array_equal(aligned.make_frames(run).xy, before.xy)


def test_frames_of_a_wrong_shape_are_damaged(run):
    from twist.runs.store import npy_bytes, write_sealed_folder

    columns = {"steps": np.arange(2), "xy": np.zeros((2, 200), np.float32), "trust": np.zeros((2, 200), np.float32)}
    files = {f"{name}.npy": npy_bytes(column) for name, column in columns.items()}
    write_sealed_folder(run / "layouts" / "frames", files, {"of": 2})
    with pytest.raises(RecordError, match="damaged"):
        aligned.frames(run)
    assert len(aligned.make_frames(run).steps) == 5


def test_the_progress_counts_frames(run, monkeypatch):
    seen, ground_of = [], placing.ground_of

    def look(features):
        seen.append(aligned.frames_progress(run))
        return ground_of(features)

    monkeypatch.setattr(aligned, "ground_of", look)
    aligned.make_frames(run)
    assert seen == [(done, 5) for done in range(5)]


def test_frames_of_a_run_that_vanished_do_not_bring_it_back(run, monkeypatch):
    quick = placing.quick

    def lose(*arguments, **options):
        shutil.rmtree(run, ignore_errors=True)
        return quick(*arguments, **options)

    monkeypatch.setattr(aligned, "quick", lose)
    with pytest.raises(RecordError):
        aligned.make_frames(run)
    assert not run.exists()


@pytest.mark.skipif(beside.fcntl is None, reason="this system has no process locks")
def test_two_processes_make_frames_once(run):
    processes = [aligned.start_frames(run, 3) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    said = [process.log.read_text() for process in processes]
    assert sorted("waiting for it" in words for words in said) in ([False, True], [False, False])
    assert aligned.frames(run).steps.tolist() == [0, 70, 140]
    written = (run / "layouts" / "frames" / "xy.npy").stat().st_mtime_ns
    assert aligned.start_frames(run, 3).wait(60) == 0
    assert (run / "layouts" / "frames" / "xy.npy").stat().st_mtime_ns == written
