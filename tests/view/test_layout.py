"""The map is made beside the run, once, the same every time, and says how."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from synthetic import make_run

from twist.runs.store import RecordError
from twist.view import beside, placing
from twist.view import layout as maps


@pytest.fixture
def no_umap(monkeypatch):
    """Spare umap-learn's import and compilation: what it would answer is where it was started."""
    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)


def test_a_run_without_snapshots_gets_no_map_and_one_sentence(tmp_path):
    from twist.runs.config import Recipe
    from twist.runs.folders import create_run

    path = create_run(Recipe(), name="new", root=tmp_path)
    with pytest.raises(SystemExit, match="run new has no snapshot yet"):
        maps.main([str(path)])
    assert maps.layout(path) is None


def test_a_second_layout_of_the_same_snapshot_does_nothing(tmp_path, no_umap, monkeypatch):
    path = make_run(tmp_path)
    maps.main([str(path)])
    monkeypatch.setattr(maps, "place", None)
    maps.main([str(path)])
    made = maps.layout(path)
    assert made.step == 140 and len(made.x) == 300
    assert maps.layout(path, step=70) is None
    assert "UMAP of the features, cosine metric, 15 neighbors" in made.caption
    assert "300 of 300 images" in made.caption


def test_a_damaged_map_is_an_error_that_names_it(tmp_path, no_umap):
    path = make_run(tmp_path)
    maps.make_layout(path)
    (path / "layouts" / "step-000000140" / "umap_x.npy").write_bytes(b"short")
    with pytest.raises(RecordError, match="umap_x.npy"):
        maps.layout(path)
    maps.make_layout(path)  # made anew
    assert len(maps.layout(path).x) == 300


def test_a_process_that_fails_shows_its_last_words(tmp_path):
    path = make_run(tmp_path)
    with pytest.raises(RecordError, match="no snapshot at step 9999"):
        maps.wait_layout(path, step=9999, timeout_s=60)


def test_every_process_has_its_own_log(tmp_path):
    path = make_run(tmp_path)
    processes = [maps.start_layout(path, step) for step in (9998, 9999)]
    assert [process.wait(60) for process in processes] == [1, 1]
    assert [f"step {step};" in process.log.read_text() for process, step in zip(processes, (9998, 9999), strict=True)]
    assert len({process.log for process in processes}) == 2


@pytest.mark.skipif(beside.fcntl is None, reason="this system has no process locks")
def test_two_processes_make_one_map_between_them(tmp_path, monkeypatch):
    path, others = make_run(tmp_path), []

    def place_while_another_is_asked(features, **hooks):
        others.append(maps.start_layout(path))
        deadline = time.monotonic() + 60
        while "waiting for it" not in others[0].log.read_text():
            assert others[0].poll() is None and time.monotonic() < deadline, others[0].log.read_text()
            time.sleep(0.05)
        quick = placing.quick(placing.ground_of(features))
        return quick._replace(facts={**quick.facts, "by": "umap-learn"})

    # not `_umap`: a failed claim of this test would only make `place` fall back to the quick map
    monkeypatch.setattr(maps, "place", place_while_another_is_asked)
    made = maps.make_layout(path)
    joined = maps.wait_layout(path, made.step, process=others[0], timeout_s=60)
    assert np.array_equal(joined.x, made.x) and np.array_equal(joined.y, made.y)


@pytest.mark.skipif(beside.fcntl is None, reason="this system has no process locks")
def test_the_claim_of_a_process_that_was_killed_is_free(tmp_path, no_umap):
    path = make_run(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from twist.view.beside import claim\n"
        "with claim(Path(sys.argv[1]), 'step-000000140', ''): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    assert maps.make_layout(path).step == 140


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no such priorities")
def test_the_process_yields_to_training_and_ends_when_the_run_vanishes(tmp_path):
    path = make_run(tmp_path, ended=False)
    for end in path.glob("attempts/*/end.json"):
        end.unlink()
    process = maps.start_layout(path, wait=True)  # it would wait for the run's end
    deadline = time.monotonic() + 30
    while os.getpriority(os.PRIO_PROCESS, process.pid) <= os.getpriority(os.PRIO_PROCESS, 0):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(path)
    assert process.wait(30) == 1
    assert not path.exists()


def test_a_run_that_vanished_while_its_map_was_made_is_not_brought_back(tmp_path, monkeypatch):
    path = make_run(tmp_path)

    def place_and_lose(ground, start, tell):
        shutil.rmtree(path)
        return start

    monkeypatch.setattr(placing, "_umap", place_and_lose)
    with pytest.raises(RecordError, match="has vanished"):
        maps.make_layout(path)
    assert not path.exists()


@pytest.mark.slow
def test_the_map_follows_the_end_of_a_run_in_its_own_process_and_is_the_same_twice(tmp_path):
    paths = [make_run(tmp_path / name) for name in "ab"]
    processes = [maps.start_layout(path, wait=True) for path in paths]
    layouts = [maps.wait_layout(path, process=process) for path, process in zip(paths, processes, strict=True)]
    assert np.array_equal(layouts[0].x, layouts[1].x) and np.array_equal(layouts[0].y, layouts[1].y)
    assert layouts[0].facts["method"] == "umap" and np.isfinite(layouts[0].x).all()
    began = time.monotonic()
    assert maps.wait_layout(paths[0]).step == 140
    assert time.monotonic() - began < 1


def test_reading_a_map_does_not_load_umap():
    code = "import sys, twist.view.aligned; assert not {'umap', 'numba', 'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
