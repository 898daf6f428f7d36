"""The probe's process: it agrees with the record, answers wrong questions with a sentence, and ends when it should."""

from __future__ import annotations

import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

import twist
from twist.runs.config import ConfigError
from twist.runs.frames import FrameError, read_frame, write_frame
from twist.runs.probing import Probe, ProbeFailed
from twist.runs.record import RunRecord


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run, once for all tests here."""
    from conftest import TINY

    root = tmp_path_factory.mktemp("probed")
    pixels = np.random.default_rng(0).integers(0, 256, (200, 12, 12), np.uint8)
    np.savez(root / "set.npz", images=pixels, labels=np.arange(200) % 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(root / "runs"))
        changes = {name.replace(".", "__"): value for name, value in TINY.items()}
        changes |= {"data__source": str(root / "set.npz"), "record__keep_checkpoints": 3}
        run = twist.launch("digits", name="tiny", **changes)
        run.wait(120)
    return run


@pytest.fixture(scope="module")
def probe(trained):
    with Probe(trained.path) as probe:
        yield probe


def fingerprint(folder):
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_its_numbers_are_those_of_the_snapshot_at_the_same_step(trained, probe):
    record = RunRecord(trained.path)
    record.poll()
    snapshot = record.snapshot(probe.facts["step"])
    assert probe.facts["origin"] == "source" and probe.facts["step"] == 12
    for row in range(0, 200, 17):
        facts, arrays = probe.ask("views", row=row)
        assert arrays["probs"][0].argmax() == snapshot.assignment[row]
        np.testing.assert_allclose(np.sort(arrays["probs"][0])[-3:][::-1], snapshot.top_probs[row], atol=1e-5)
        assert facts["entropy"][0] == pytest.approx(snapshot.sample_entropy[row], abs=1e-5)


def test_an_older_checkpoint_gives_the_older_snapshots_numbers(trained, probe):
    record = RunRecord(trained.path)
    record.poll()
    probe.ask("load", step=4)
    _, arrays = probe.ask("views", row=5)
    assert arrays["probs"][0].max() == pytest.approx(record.snapshot(4).confidence[5], abs=1e-5)
    assert probe.ask("load")[0]["step"] == probe.facts["step"] == 12


def test_the_same_question_has_the_same_answer_and_another_draw_another(probe):
    first, again, other = (probe.ask("views", row=3, draw=draw)[1]["pixels"] for draw in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"row": 200}, "image 200 is not watched: give a row from 0 to 199"),
        ({"row": 0, "fields": {"rotation_degrees": 900}}, "views.rotation_degrees is 900.0: give 0 to 180"),
        ({"row": 0, "fields": {"rotate": 9}}, "unknown field 'views.rotate'"),
        ({"row": 0, "fields": {"noise": "much"}}, "views.noise is 'much': expected a finite number"),
    ],
)
def test_a_question_without_answer_is_told_in_a_sentence_and_the_next_is_answered(probe, question, words):
    with pytest.raises(ConfigError, match=words):
        probe.ask("views", **question)
    assert probe.ask("views", row=0)[0]["row"] == 0


def test_other_questions_without_answer(probe):
    with pytest.raises(ConfigError, match="keeps no checkpoint of step 7: there are 4, 8, 12"):
        probe.ask("load", step=7)
    with pytest.raises(ConfigError, match="the probe was asked 'dance'"):
        probe.ask("dance")
    with pytest.raises(ConfigError, match="not finite"):
        probe.ask("views", row=0, fields={"noise": float("nan")})
    assert probe.ask("facts")[0]["step"] == 12


def test_an_error_of_the_process_comes_with_its_traceback(probe):
    with pytest.raises(ProbeFailed, match="the probe failed with KeyError") as caught:
        probe.ask("views")
    assert "Traceback" in caught.value.details and "two_views" not in str(caught.value)
    assert probe.ask("facts")[0]["step"] == 12


def test_it_leaves_the_run_folder_as_it_was(trained):
    before = fingerprint(trained.path)
    with Probe(trained.path) as probe:
        probe.ask("views", row=1)
        probe.ask("sensitivity", row=1, augmentation="rotation", draws=5)
    assert fingerprint(trained.path) == before


def test_moved_images_are_replaced_by_the_thumbnails_and_a_sentence(trained, tmp_path):
    path = tmp_path / "moved"
    shutil.copytree(trained.path, path)
    text = (path / "recipe.json").read_text().replace("set.npz", "gone.npz")
    (path / "recipe.json").write_text(text)
    with Probe(path) as probe:
        assert probe.facts["origin"] == "thumbnails"
        assert "gone.npz" in probe.facts["note"] and "with every pixel" in probe.facts["note"]
        moved = probe.ask("views", row=4)[1]["probs"]
    with Probe(trained.path) as probe:
        np.testing.assert_allclose(moved, probe.ask("views", row=4)[1]["probs"], atol=1e-6)


def test_other_images_than_the_run_began_with_are_not_taken_for_them(trained, tmp_path):
    path = tmp_path / "other"
    shutil.copytree(trained.path, path)
    np.savez(tmp_path / "set.npz", images=np.zeros((200, 12, 12), np.uint8))
    source = trained.recipe.data.source
    (path / "recipe.json").write_text((path / "recipe.json").read_text().replace(source, str(tmp_path / "set.npz")))
    with Probe(path) as probe:
        assert probe.facts["origin"] == "thumbnails" and "others than when the run began" in probe.facts["note"]


def test_checkpoints_that_are_damaged_are_refused_by_name(trained, tmp_path):
    run = shutil.copytree(trained.path, tmp_path / "tiny")
    for folder in (run / "checkpoints").glob("step-*"):
        weights = folder / "network.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises((ConfigError, ProbeFailed), match="no checkpoint of tiny is whole"):
        Probe(run).ask("views", row=0)
    with pytest.raises((ConfigError, ProbeFailed), match=r"tiny: .*network\.safetensors"):
        Probe(run, step=8).ask("views", row=0)


def test_a_run_without_checkpoint_is_refused_in_a_sentence(tmp_path):
    from synthetic import make_run

    with pytest.raises(ConfigError, match="has no sound checkpoint yet: wait for the first"):
        Probe(make_run(tmp_path, name="bare"))


def test_a_killed_process_is_told_and_can_be_started_anew(trained):
    probe = Probe(trained.path)
    os.kill(probe.pid, signal.SIGKILL)
    with pytest.raises(ProbeFailed, match="ended with status -9 .*start it anew"):
        probe.ask("views", row=0)
    assert not probe.alive
    probe.close()


def test_too_late_an_answer_is_dropped(trained):
    with Probe(trained.path) as probe:
        with pytest.raises(ProbeFailed, match="has not answered in 0 s"):
            probe.ask("sensitivity", row=0, augmentation="rotation", draws=4000, timeout_s=0)
        assert probe.ask("views", row=6)[0]["row"] == 6


def test_it_ends_when_it_is_closed_or_idle(trained):
    probe = Probe(trained.path, idle_s=0.3)
    deadline = time.monotonic() + 20
    while probe.alive and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(ProbeFailed, match="after its idle time"):
        probe.ask("facts")
    probe.close()
    with Probe(trained.path) as other:
        pid = other.pid
    assert not psutil.pid_exists(pid)


def test_it_ends_when_it_is_forgotten(trained):
    probe = Probe(trained.path)
    pid = probe.pid
    del probe
    gc.collect()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline, "the probe outlives its last reference"
        time.sleep(0.1)


def test_it_ends_with_a_parent_that_is_killed(trained):
    code = (
        "import sys, time; from pathlib import Path; from twist.runs.probing import Probe\n"
        "probe = Probe(Path(sys.argv[1])); sys.stdout.write(f'{probe.pid}\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(trained.path)], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the probe outlives its parent"
        time.sleep(0.1)


def test_frames_that_are_none_are_refused():
    for content in (b"hello\n", b'{"a":1}\n', b'{"arrays":{"x":99}}\nshort', b'{"arrays":{"x":-1}}\n', b"[1]\n"):
        with pytest.raises(FrameError):
            read_frame(io.BytesIO(content))
    with pytest.raises(ValueError):
        write_frame(io.BytesIO(), {"x": float("nan")})


def test_asking_loads_no_torch():
    code = "import sys, twist.runs.probing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
