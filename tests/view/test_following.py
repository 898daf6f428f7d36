"""Maps that follow a live run: each snapshot as it appears, from the map before, by one process, which ends with it."""

import json
import os
import shutil
import threading
import time

import numpy as np
import pytest
from synthetic import add_snapshot, make_run

from twist.view import beside, placing
from twist.view import following as following_maps
from twist.view import layout as maps


@pytest.fixture
def live(tmp_path):
    """A run that goes on as far as its readers know: it has no end, and its heartbeat is on another machine."""
    path = make_run(tmp_path, num_samples=200)
    for end in path.glob("attempts/*/end.json"):
        end.unlink()
    beat(path)
    return path


def beat(path):
    (path / "heartbeat.json").write_text(json.dumps({"time": time.time() + 300, "host": "elsewhere", "pid": 1}))


def end(path):
    (path / "heartbeat.json").unlink(missing_ok=True)
    for folder in (path / "attempts").iterdir():
        (folder / "end.json").write_text(json.dumps({"reason": "completed", "step": 140}))


def wait_for(there, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while (found := there()) is None or found is False:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def following(live, monkeypatch):
    """`follow` in a thread of this process, with umap-learn's import spared."""
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)
    thread = threading.Thread(target=following_maps.follow, args=[live], daemon=True)
    thread.start()
    yield live
    if live.exists():
        end(live)
    thread.join(60)
    assert not thread.is_alive()


def test_every_new_snapshot_gets_a_map_that_starts_from_the_one_before(following):
    first = wait_for(lambda: maps.layout(following, 140))
    assert first.facts["by"] == "twist" and "from_step" not in first.facts and not first.final
    record = maps.RunRecord(following)
    record.poll()
    add_snapshot(following, 150, record.snapshot(140))
    second = wait_for(lambda: maps.layout(following, 150))
    assert second.facts["from_step"] == 140 and "started from the map of step 140" in second.caption
    moved = np.linalg.norm(second.xy - first.xy, axis=1)
    apart = placing.onto(placing.preview(record.snapshot(0).features), first.xy) - first.xy
    assert np.median(moved) < 0.2 * np.median(np.linalg.norm(apart, axis=1))
    assert second.trust.shape == (200,) and second.neighbors.shape == (200, 15)


def test_when_the_run_ends_its_last_snapshot_gets_the_full_map(following):
    live = wait_for(lambda: maps.layout(following, 140))
    end(following)
    made = wait_for(lambda: (found := maps.layout(following, 140)) is not None and found.final and found)
    assert made.facts["by"].startswith("umap-learn")
    assert np.median(np.linalg.norm(made.xy - live.xy, axis=1)) < 0.2 * live.xy.std()  # it started from that one


def test_after_a_map_the_process_rests_so_that_fast_snapshots_do_not_take_a_core(following, monkeypatch):
    monkeypatch.setattr(following_maps, "_REST", 1e9)
    wait_for(lambda: maps.layout(following, 140))
    time.sleep(0.5)  # the rest begins after the map is kept
    record = maps.RunRecord(following)
    record.poll()
    add_snapshot(following, 150, record.snapshot(140))
    time.sleep(1.5)
    assert maps.layout(following, 150) is None
    end(following)  # the last one is laid out all the same
    assert wait_for(lambda: (found := maps.layout(following, 150)) is not None and found.final)


def test_a_damaged_snapshot_is_passed_over(following):
    wait_for(lambda: maps.layout(following, 140))
    record = maps.RunRecord(following)
    record.poll()
    add_snapshot(following, 150, record.snapshot(140))
    (following / "snapshots" / "step-000000150" / "features.npy").write_bytes(b"short")
    add_snapshot(following, 160, record.snapshot(140))
    assert wait_for(lambda: maps.layout(following, 160)).facts["of"] == 200


@pytest.mark.skipif(beside.fcntl is None, reason="this system has no process locks")
def test_a_second_process_does_not_follow_the_same_run_and_the_first_ends_with_the_folder(live):
    first = maps.start_layout(live, follow=True)
    wait_for(lambda: maps.layout(live, 140))
    second = maps.start_layout(live, follow=True)
    assert second.wait(60) == 0 and "another process follows" in second.log.read_text()
    assert first.poll() is None
    if hasattr(os, "getpriority"):
        assert os.getpriority(os.PRIO_PROCESS, first.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    shutil.rmtree(live)
    assert first.wait(30) == 1 and not live.exists()


def test_a_full_disk_is_said_in_the_log_and_the_map_before_stays(live, monkeypatch, capfd):
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    record = maps.RunRecord(live)
    record.poll()
    before = maps.make_layout(live, 105)
    monkeypatch.setattr(maps, "write_sealed_folder", full)
    assert following_maps._follow_step(record, 140, before) is before
    assert "no map of step 140" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="No space left"):
        maps.main([str(live)])


def test_a_quick_map_that_finds_no_room_does_not_spoil_the_map_itself(live, monkeypatch, capfd):
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)
    write = maps.write_sealed_folder

    def full_at_first(folder, *arguments):
        if folder.name.startswith("early"):
            raise OSError(28, "No space left on device")
        write(folder, *arguments)

    monkeypatch.setattr(maps, "write_sealed_folder", full_at_first)
    assert maps.make_layout(live).step == 140 and maps.layout(live, 140).final
    assert "the quick map of step 140 is not kept" in capfd.readouterr().err


def test_the_quick_map_is_there_before_the_map_and_gone_after(live, monkeypatch):
    seen = {}

    def look(ground, start, tell):
        tell(0.5)
        seen["early"], seen["map"] = maps.early_layout(live, 140), maps.layout(live, 140)
        seen["progress"] = maps.layout_progress(live, 140)
        return start + 1

    monkeypatch.setattr(placing, "_umap", look)
    assert maps.layout_progress(live, 140) is None and maps.early_layout(live, 140) is None
    made = maps.make_layout(live)
    assert seen["map"] is None and seen["early"].facts["by"] == "twist" and 0 < seen["progress"] < 1
    assert maps.layout_progress(live, 140) is None and not list((live / "layouts").glob("early-*"))
    assert np.allclose(maps.early_layout(live, 140).x, made.x)


def test_the_word_of_a_process_that_was_killed_is_not_believed_for_long(live):
    file = live / "layouts" / "progress-step-000000140.json"
    file.parent.mkdir()
    file.write_text('{"share": 0.4, "stage": "map"}')
    assert maps.layout_progress(live, 140) == 0.4
    os.utime(file, (time.time() - 600,) * 2)
    assert maps.layout_progress(live, 140) is None
    file.write_text('{"share": ')
    assert maps.layout_progress(live, 140) is None


def test_logs_of_yesterday_that_say_nothing_are_removed(live):
    folder = live / "layouts"
    folder.mkdir()
    for name, words in (("log-0", ""), ("log-1", "no room"), ("log-2", "")):
        (folder / name).write_text(words)
    for name in ("log-0", "log-1"):
        os.utime(folder / name, (time.time() - 100_000,) * 2)
    process = beside.start_beside("twist.view.layout", live, "--step", "9999")
    assert process.wait(60) == 1 and "no snapshot at step 9999" in process.log.read_text()
    assert {log.name for log in folder.glob("log-*")} == {"log-1", "log-2", process.log.name}


def test_maps_of_older_versions_are_read(live):
    from twist.runs.store import npy_bytes, write_sealed_folder

    facts = {"step": 140, "method": "umap", "seed": 0, "points": 200, "of": 200}
    facts |= {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "umap": "0.5.9"}
    columns = {name: npy_bytes(np.arange(200, dtype=np.float32)) for name in ("umap_x.npy", "umap_y.npy")}
    write_sealed_folder(live / "layouts" / "step-000000140", columns, facts)
    found = maps.layout(live, 140)
    assert found.trust is None and found.neighbors is None and found.final
    assert found.caption == "UMAP of the features, cosine metric, 15 neighbors, min_dist 0.1, seed 0, 200 of 200 images"


def test_the_map_of_features_that_were_written_anew_is_none(live, monkeypatch):
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)
    maps.make_layout(live, 105)
    maps.make_layout(live, 140)
    record = maps.RunRecord(live)
    record.poll()
    add_snapshot(live, 140, record.snapshot(105))
    assert maps.layout(live, 140) is None and maps.layout(live).step == 105
    assert maps.make_layout(live, 140).step == 140 and maps.layout(live).step == 140


def test_the_mean_trust_is_told(live, monkeypatch):
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)
    made = maps.make_layout(live)
    assert made.facts["trust"] == pytest.approx(made.trust.mean(), abs=1e-3)
    assert f"trust {made.trust.mean():.0%}" in made.caption


def test_a_run_that_never_starts_is_not_followed_for_ever(tmp_path, monkeypatch):
    from twist.runs.config import Recipe
    from twist.runs.folders import create_run

    monkeypatch.setattr(following_maps, "LONGEST_START_S", 0.2)
    with pytest.raises(SystemExit, match="was not started"):
        following_maps.follow(create_run(Recipe(), name="new", root=tmp_path))
