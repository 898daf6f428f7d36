"""Runs in processes of their own: launched, watched, stopped, killed, resumed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from twist.runs.attempts import attempt_folder
from twist.runs.config import ConfigError
from twist.runs.folders import create_run
from twist.runs.launcher import Run, TrainingFailed, attach, launch, prepare, start
from twist.runs.lock import free_lock, lock_holder, take_lock
from twist.runs.record import RunRecord
from twist.runs.status import read_status
from twist.runs.store import read_json
from twist.runs.supervisor import explain_exit

LONG = {"optim__epochs": 3000}
pytestmark = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")


def fields(tiny, **more):
    return {name.replace(".", "__"): value for name, value in tiny.items()} | more


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def trainer_of(run):
    return psutil.Process(read_json(run.path / "heartbeat.json")["trainer"])


def processes_of(run):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(run.path) in (process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.fixture
def running(runs, tiny):
    """A run far from its end that has taken its first steps."""
    run = launch("digits", name="running", **fields(tiny, **LONG))
    wait_for(lambda: run.status.step >= 3)
    yield run
    for process in processes_of(run):
        process.kill()


def test_a_launched_run_trains_to_its_end(runs, tiny):
    run = launch("digits", name="mine", **fields(tiny))
    assert run.status.state in ("STARTING", "RUNNING")
    status = run.wait(timeout_s=120)
    assert (status.state, status.step, status.total_steps) == ("COMPLETED", 12, 12)
    assert len(run.metrics) == 12
    assert run.verdict.kind == "too early to say"
    assert 0 < run.scores.matched_accuracy < 1
    assert run.train_seconds > 0
    wait_for(lambda: not processes_of(run), 10)
    with pytest.raises(ConfigError, match="is complete"):
        run.resume()


def test_launching_returns_at_once_and_a_stop_right_after_is_obeyed(runs, tiny):
    begin = time.perf_counter()
    run = launch("digits", **fields(tiny, **LONG))
    seconds = time.perf_counter() - begin
    assert run.status.state == "STARTING"
    assert run.stop(timeout_s=60).state == "STOPPED"
    assert seconds <= 0.3


def test_a_resumed_run_never_shows_the_end_of_its_former_attempt(running):
    running.stop()
    step = running.status.step
    running.resume()
    assert running.status.state == "STARTING"
    with pytest.raises(TimeoutError, match="it goes on"):
        running.wait(timeout_s=1)
    wait_for(lambda: running.status.step > step)


def test_a_stop_is_obeyed_and_a_resume_goes_on(running):
    begin = time.perf_counter()
    status = running.stop()
    assert status.state == "STOPPED"
    assert time.perf_counter() - begin < 10
    step = status.step
    assert lock_holder(running.path) is None
    running.resume()
    wait_for(lambda: running.status.step > step + 2)
    running.record.poll()
    assert running.record.last("start")["from_step"] == step
    steps = running.metrics.index.tolist()  # asked once: it grows meanwhile
    assert steps == list(range(1, steps[-1] + 1))
    with pytest.raises(ConfigError, match="needs no resuming"):
        running.resume()
    running.stop()


def test_a_held_run_waits_in_memory_and_goes_on(running):
    running.hold()
    wait_for(lambda: running.status.state == "HELD")
    step = running.status.step
    time.sleep(0.5)
    assert running.status.step == step
    running.checkpoint()
    wait_for(lambda: (running.record.poll(), running.record.last("checkpoint") or {})[1].get("step") == step)
    assert running.status.state == "HELD"
    with pytest.raises(ConfigError, match="leave max_minutes out"):
        running.resume(max_minutes=1)
    running.resume()
    wait_for(lambda: running.status.step > step)


def test_a_killed_trainer_is_diagnosed_and_resumable(running):
    trainer_of(running).kill()
    wait_for(lambda: running.status.state == "FAILED", 10)
    assert running.failure_kind == "vanished"
    with pytest.raises(TrainingFailed, match="SIGKILL"):
        running.wait()
    step = running.status.step
    running.resume()
    wait_for(lambda: running.status.step > step)


def test_a_terminated_trainer_writes_a_checkpoint_first(running):
    trainer_of(running).send_signal(signal.SIGTERM)
    wait_for(lambda: running.status.state == "STOPPED", 20)
    running.record.poll()
    assert running.record.last("checkpoint")["step"] == running.status.step


def test_when_the_supervisor_is_killed_the_trainer_saves_and_leaves(running):
    supervisor, trainer = psutil.Process(lock_holder(running.path)), trainer_of(running)
    supervisor.kill()
    wait_for(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE, 20)
    assert running.status.state == "INTERRUPTED"
    running.record.poll()
    assert running.record.last("checkpoint")["step"] == running.record.last("end")["step"]
    running.resume()
    wait_for(lambda: running.status.state == "RUNNING")


def test_the_death_of_the_launching_process_changes_nothing(runs, tiny):
    code = (
        f"import twist, os; twist.launch('digits', name='orphan', **{fields(tiny, **LONG)!r}); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = attach("orphan")
    wait_for(lambda: run.status.step >= 3)
    assert run.stop().state == "STOPPED"


def test_a_second_supervisor_is_refused_and_names_the_holder(running):
    holder = lock_holder(running.path)
    done = subprocess.run([sys.executable, "-m", "twist.runs.supervisor", str(running.path)], check=False)
    assert done.returncode == 3
    assert lock_holder(running.path) == holder
    assert running.status.attempt == 1


def test_asking_for_the_lock_never_takes_it(runs):
    path = create_run(launchable(), root=runs)
    assert lock_holder(path) is None
    descriptor = take_lock(path)
    code = f"from twist.runs.lock import *; from pathlib import Path; print(lock_holder(Path({str(path)!r})))"
    for _ in range(3):
        assert lock_holder(path) == os.getpid()
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert int(asked) == os.getpid()
    assert descriptor is not None
    free_lock(path)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert asked.strip() == "None"


def launchable():
    from twist.runs.recipes import recipe

    return recipe("digits")


def test_a_remote_error_reaches_the_person_with_its_traceback(runs, tiny):
    path = prepare("digits", name="broken", changes=tiny)
    (path / "snapshots").rmdir()
    (path / "snapshots").write_text("no folder")
    start(path)
    run = Run(path)
    with pytest.raises(TrainingFailed) as caught:
        run.wait(timeout_s=60)
    for part in ("run broken failed at step 0: FileExistsError", "Traceback of the training process", "in _snapshot"):
        assert part in str(caught.value)
    assert run.status.state == "FAILED"


def test_a_mistake_found_by_the_trainer_is_raised_as_one_sentence(runs, tiny):
    images = np.zeros((80, 8, 8), np.uint8)
    tiny |= {"views.mean": (0.1, 0.2, 0.3)}
    tiny.pop("data.max_images")
    run = launch("digits", images=images, name="gray", **fields(tiny))
    with pytest.raises(ConfigError, match=r"views\.mean has 3 numbers"):
        run.wait(timeout_s=60)
    assert run.status.state == "FAILED"
    assert run.failure_kind == "config"
    with pytest.raises(ConfigError, match=r"views\.mean has 3 numbers"):
        run.resume().wait(timeout_s=60)
    assert (run.path / "images.npz").is_file()


def test_the_supervisor_outlives_a_heartbeat_that_cannot_be_written(runs, tiny):
    path = prepare("digits", name="full", changes=tiny)
    (path / "heartbeat.json").mkdir()
    start(path)
    assert Run(path).wait(timeout_s=60).state == "COMPLETED"


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("digitz", {}, "did you mean 'digits'"),
        ("digits", {"optim__epoch": 3}, "optim.epochs"),
        ("digits", {"data__source": "cifar"}, "cifar10"),
        ("digits", {"optim__batch_size": 5000}, "only 1797 images"),
        ("digits", {"optim__batch_size": 1}, "batch norm"),
        ("digits", {"network__num_classes": 1}, "2 or more"),
        ("digits", {"device": "gpu"}, "give auto, cpu"),
        ("digits", {"device": "cuda:77"}, "CUDA devices were found"),
        ("digits", {"optim__epochs": "inf"}, "a whole number"),
        ("cifar10", {"data__root": "/nowhere/at/all"}, "data.root"),
        ("digits", {"data__source": "no-such-folder/"}, "no-such-folder"),
        (42, {}, "name of a recipe"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(runs, recipe, changes, said):
    with pytest.raises(ConfigError) as caught:
        launch(recipe, **changes)
    assert said in str(caught.value)
    assert not runs.exists() or os.listdir(runs) == []


def test_a_taken_name_is_refused_or_attached_to(runs, tiny):
    first = launch("digits", name="mine", **fields(tiny))
    with pytest.raises(ConfigError, match="exists already"):
        launch("digits", name="mine", **fields(tiny))
    again = launch("digits", name="mine", exist_ok=True, **fields(tiny))
    assert again.path == first.path
    first.wait(timeout_s=120)
    assert again.status.attempt == 1
    with pytest.raises(ConfigError, match=r"another recipe \(optim\.epochs is 3 there, 7 here\)"):
        launch("digits", name="mine", exist_ok=True, **(fields(tiny) | {"optim__epochs": 7}))


def test_a_runs_folder_that_is_a_file_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set TWIST_RUNS to a folder"):
        launch("digits")


def test_images_from_a_notebook_are_kept_with_the_run(runs, tiny):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (80, 12, 12), dtype=np.uint8)
    tiny.pop("data.max_images")
    run = launch(
        "digits", images=images, labels=np.arange(80) % 3, label_names=["a", "b", "<c>"], name="mine", **fields(tiny)
    )
    run.wait(timeout_s=120)
    watch = RunRecord(run.path).watch()
    assert len(watch) == 80
    assert watch.label_name(2) == "<c>"
    assert run.recipe.data.source == "@run/images.npz"


def test_the_last_run_is_the_newest(runs):
    for name in ("one", "two"):
        create_run(launchable(), name=name)
    assert attach("last").name == "two"
    assert "created" in repr(Run(runs / "one"))


def test_a_power_cut_leaves_an_interrupted_run(runs):
    path = create_run(launchable(), root=runs)
    attempt_folder(path, 1).mkdir()
    (path / "heartbeat.json").write_text('{"time": 1.0, "boot": "another", "supervisor": 1, "trainer": 1}')
    status = read_status(path)
    assert status.state == "INTERRUPTED"
    assert "resume" in status.message


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "memory"), (-7, "shared memory"), (-11, "native library"), (-15, "checkpoint"), (7, "status 7")],
)
def test_an_exit_status_is_explained(code, said):
    assert said in explain_exit(code)
