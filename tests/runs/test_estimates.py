"""Estimates: from parts to a whole by arithmetic, and measured by a real rehearsal of a tiny recipe."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from twist.cli import main
from twist.runs.config import ConfigError, with_fields
from twist.runs.estimates import (
    Cancelled,
    EstimateFailed,
    Rehearsal,
    as_rehearsed,
    estimate_of,
)
from twist.runs.recipes import recipe, recipe_names

MEASURED = {
    "steps_measured": 12,
    "step_s": 0.1,
    "step_low_s": 0.09,
    "step_high_s": 0.2,
    "diagnosed_step_s": 0.3,
    "images_per_s": 1000.0,
    "steps_per_epoch": 10,
    "snapshot_s": 2.0,
    "snapshot_bytes": 1_000_000,
    "checkpoint_s": 1.0,
    "checkpoint_bytes": 5_000_000,
    "watch_bytes": 300_000,
    "epoch_bytes": 700,
    "event_bytes": 100,
    "warm_s": 4.0,
    "memory_bytes": 310_000_000,
    "gpu_bytes": None,
    "device": "cpu",
    "threads": 2,
    "precision": "float32",
    "others_busy": 0.0,
}


@pytest.fixture
def plan():
    """Ten epochs of ten steps: a snapshot every fifth, a checkpoint every fourth epoch."""
    return recipe("digits").replace(
        optim__epochs=10,
        record__snapshot_every_epochs=5,
        record__checkpoint_every_epochs=4,
        record__diagnose_every_steps=50,
        record__log_every_steps=1,
        record__keep_checkpoints=2,
    )


def test_the_whole_is_the_sum_of_its_parts(plan):
    found = estimate_of(plan, MEASURED, setup_s=3.0)
    around = 3.0 + 3 * 2.0 + 3 * 1.0 + 4 * 0.2  # start, snapshots, checkpoints, collapse numbers
    assert found.seconds == pytest.approx(around + 100 * 0.1)
    assert (found.low, found.high) == (pytest.approx(around + 9), pytest.approx(around + 20))
    assert found.total_steps == 100
    assert found.disk_bytes == 300_000 + 3 * 1_000_000 + 2 * 5_000_000 + 10 * 700 + 100 * 100


def test_it_is_said_in_plain_words(plan):
    found = estimate_of(plan, MEASURED, setup_s=107.2)
    assert str(found) == "about 2 min 7 s on this machine, measured over 12 steps; 310 MB memory; 13.3 MB disk"
    wide = estimate_of(plan, {**MEASURED, "step_high_s": 3.0, "gpu_bytes": 2_000_000_000}, setup_s=1.0)
    assert "about 21 s (20 s to 5 min 11 s) on" in str(wide) and "and 2 GB on the GPU" in str(wide)


def test_what_makes_it_unsure_is_noted(plan):
    busy = estimate_of(plan, {**MEASURED, "others_busy": 1.6}, setup_s=1.0)
    assert busy.notes == ("Other processes kept 1.6 processor cores busy meanwhile: alone it is faster.",)
    growing = plan.replace(views__start_size=8, views__grow_epochs=2)
    assert "Views grow" in estimate_of(growing, MEASURED, setup_s=1.0).notes[0]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_rehearsed(name):
    tried = as_rehearsed(recipe(name))
    assert not tried.data.download and tried.views.size == recipe(name).views.size


def test_a_rehearsal_measures_and_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    words: list[str] = []
    found = Rehearsal(with_fields(recipe("digits"), tiny), steps=6).wait(words.append)
    assert found.total_steps == 12 and found.steps_measured == 6 and found.device == "cpu"
    assert 0 < found.low <= found.seconds <= found.high and math.isfinite(found.high)
    assert found.memory_bytes > 50_000_000 and found.disk_bytes > 10_000
    assert words[0] == "starting torch" and "step 6 of 6" in words
    assert list(tmp_path.iterdir()) == []


def test_the_disk_that_is_promised_is_what_a_run_takes(tiny, runs):
    import twist

    chosen = with_fields(recipe("digits"), tiny)
    found = Rehearsal(chosen, steps=3).wait()
    run = twist.launch(chosen, name="real")
    run.wait(120)
    parts = ("watch", "snapshots", "checkpoints", "epochs", "events")
    used = sum(f.stat().st_size for part in parts for f in (run.path / part).rglob("*") if f.is_file())
    assert used == pytest.approx(found.disk_bytes, rel=0.15)


def test_a_recipe_that_would_be_refused_is_refused_at_once(tiny):
    chosen = with_fields(recipe("digits"), tiny)
    with pytest.raises(ConfigError, match="optim.batch_size is 500, but digits has only 200 images"):
        Rehearsal(chosen.replace(optim__batch_size=500))
    with pytest.raises(ConfigError, match="'/nowhere"):
        Rehearsal(chosen.replace(data__source="/nowhere"))
    with pytest.raises(ConfigError, match="give at least one step"):
        Rehearsal(chosen, steps=0)


def test_it_can_be_cancelled(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rehearsal = Rehearsal(with_fields(recipe("digits"), tiny))
    threading.Timer(0.3, rehearsal.cancel).start()
    with pytest.raises(Cancelled):
        rehearsal.wait()
    rehearsal.cancel()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_rehearsal_and_a_late_one_are_told(tiny):
    rehearsal = Rehearsal(with_fields(recipe("digits"), tiny))
    threading.Timer(0.3, os.kill, (rehearsal._process.pid, signal.SIGKILL)).start()
    with pytest.raises(EstimateFailed, match="ended with status -9 .killed: the machine may be out of memory"):
        rehearsal.wait()
    with pytest.raises(EstimateFailed, match="gave no figures in 0 s"):
        Rehearsal(with_fields(recipe("digits"), tiny)).wait(timeout_s=0.05)


def test_a_rehearsal_ends_and_leaves_nothing_when_its_parent_is_killed(tiny, tmp_path):
    code = (
        "import sys, time; from twist.runs.config import with_fields; from twist.runs.estimates import Rehearsal\n"
        "from twist.runs.recipes import recipe\n"
        f"rehearsal = Rehearsal(with_fields(recipe('digits'), {tiny!r}), steps=10**6, seconds=1e6)\n"
        "print(rehearsal._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    pid = int(parent.stdout.readline())
    assert list(tmp_path.glob("twist-rehearsal-*/rehearsal/run.json"))
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the rehearsal outlives its parent"
        time.sleep(0.1)
    assert not list(tmp_path.glob("twist-rehearsal-*"))


def test_an_own_augmentation_that_fails_is_told_as_a_mistake(tiny, tmp_path):
    (tmp_path / "mine.py").write_text("def broken(view, ids, seed, epoch, number):\n    return view.nothing\n")
    chosen = with_fields(recipe("digits"), {**tiny, "views.extra": f"{tmp_path / 'mine.py'}:broken"})
    with pytest.raises(ConfigError, match="views.extra failed with AttributeError"):
        Rehearsal(chosen, steps=3).wait()


def test_the_command_says_it_and_prints_json(tiny, capsys):
    changes = [
        f"--set={name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in tiny.items()
    ]
    assert main(["estimate", "digits", *changes, "--steps", "3", "--json"]) == 0
    said = capsys.readouterr()
    first, *_, last = said.out.splitlines()
    assert first.startswith("digits: about ") and "measured over 3 steps" in first
    assert json.loads(last)["total_steps"] == 12
    assert "step 1 of 3" in said.err and "warning: " in said.err
    assert main(["estimate", "digitz"]) == 2


def test_estimating_loads_no_torch():
    code = "import sys, twist.runs.estimates; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "False"
