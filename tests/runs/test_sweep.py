"""Several runs, some at a time, through the launcher."""

import os
import signal
import subprocess
import sys
import time

import pytest

from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.config import ConfigError, with_fields
from twist.runs.handle import HeldByAnother, Run
from twist.runs.launcher import attach, prepare
from twist.runs.lock import free_lock, take_lock
from twist.runs.recipes import recipe
from twist.runs.store import write_json
from twist.runs.sweep import run_many

pytestmark = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")


def tiny_recipe(tiny, **more):
    return with_fields(recipe("digits"), {**tiny, **more})


def test_a_failed_run_is_a_result_and_the_others_go_on_with_their_share_of_the_cores(runs, tiny, monkeypatch):
    monkeypatch.setattr("twist.runs.sweep.usable_cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what the sweep gives has the last word
    good = tiny_recipe(tiny)
    bad = tiny_recipe(tiny, **{"optim.learning_rate": 1e30, "optim.warmup_epochs": 0})
    said, ended = [], []
    names = ["bad", "good", "other"]
    swept = run_many(
        [bad, good, good.replace(seed=1)],
        names=names,
        jobs=2,
        on_done=lambda run: ended.append(run.name),
        on_progress=said.append,
    )
    assert [run.name for run in swept] == names
    assert [run.status.state for run in swept] == ["FAILED", "COMPLETED", "COMPLETED"]
    assert "became nan" in swept[0].status.message
    assert sorted(ended) == names
    assert said[-1] == "3 of 3 runs ended"
    assert any("good" in line for line in said)
    swept[1].record.poll()
    assert swept[1].record.last("start")["threads"] == 1


@pytest.fixture
def one_core(monkeypatch):
    """Runs one at a time, each with one thread: two on a busy machine wait for each other."""
    monkeypatch.setattr("twist.runs.sweep.usable_cores", lambda: 1)


def test_a_rerun_takes_what_is_there_and_finishes_the_rest(runs, tiny, one_core):
    asked = [tiny_recipe(tiny), tiny_recipe(tiny, seed=1)]
    (first,) = run_many(asked[:1], names=["one"])
    prepare(asked[1], name="two")  # cut before it was started
    again = run_many(asked, names=["one", "two"])
    assert [run.status.attempt for run in again] == [1, 1]
    assert again[1].status.state == "COMPLETED"
    with pytest.raises(ConfigError, match="another recipe"):
        run_many([asked[1]], names=["one"])
    with pytest.raises(ConfigError, match="exists already"):
        run_many(asked[:1], names=["one"], exist_ok=False)
    assert first.status.state == "COMPLETED"


def test_an_interrupted_sweep_stops_its_runs_and_a_rerun_resumes_them(runs, tiny, one_core):
    rarely = {f"record.{what}_every_epochs": 100 for what in ("snapshot", "checkpoint")}
    long = {**tiny, **rarely, "record.diagnose_every_steps": 1000, "optim.epochs": 40}
    code = (
        "from twist.runs.config import with_fields; from twist.runs.recipes import recipe;"
        "from twist.runs import sweep; sweep.usable_cores = lambda: 1;"
        f"sweep.run_many([with_fields(recipe('digits'), {long!r})] * 2, names=['one', 'two'])"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (runs / "one").exists() or attach("one").status.step < 3:
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.05)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=60) != 0
    stopped = attach("one").status
    assert (stopped.state, attach("two").status.state) == ("STOPPED", "CREATED")
    (resumed,) = run_many([with_fields(recipe("digits"), long)], names=["one"])
    assert resumed.status.state == "COMPLETED"
    resumed.record.poll()
    assert resumed.record.last("start")["from_step"] == stopped.step


@pytest.mark.parametrize(
    ("names", "jobs", "said"),
    [
        (["one"], None, "one name for each"),
        (["one", "one"], None, "given twice"),
        (["one", "../two"], None, "cannot name a folder"),
        (["one", "two"], 0, "jobs is 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(runs, tiny, names, jobs, said):
    with pytest.raises(ConfigError, match=said):
        run_many([tiny_recipe(tiny)] * 2, names=names, jobs=jobs)
    assert not runs.exists()


def test_when_one_recipe_cannot_be_no_folder_is_left(runs, tiny):
    with pytest.raises(ConfigError, match="only 200 images"):
        run_many([tiny_recipe(tiny), tiny_recipe(tiny, **{"optim.batch_size": 300})], names=["one", "two"])
    assert os.listdir(runs) == []


def end(path, reason="completed", **more):
    """A new attempt that has ended."""
    write_json(attempt_folder(path, begin_attempt(path)) / "end.json", {"reason": reason, "step": 1, **more})


@pytest.fixture
def started(monkeypatch):
    """Names of the runs that were started, with their threads; they complete at once, without training."""
    calls = {}

    def start(path, *, threads):
        calls[path.name] = threads
        end(path)

    monkeypatch.setattr("twist.runs.sweep.start", start)
    return calls


def test_an_interrupted_sweep_stops_only_what_it_started(runs, tiny, monkeypatch):
    stopped = []
    monkeypatch.setattr(Run, "stop", lambda run, **_: stopped.append(run.name))
    monkeypatch.setattr("twist.runs.sweep.start", lambda path, **_: take_lock(path))
    theirs = prepare(tiny_recipe(tiny), name="theirs")
    take_lock(theirs)

    def interrupt(_):
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            run_many([tiny_recipe(tiny)] * 2, names=["theirs", "ours"], jobs=2, on_progress=interrupt)
        assert set(stopped) == {"ours"}
    finally:
        free_lock(theirs)
        free_lock(runs / "ours")


@pytest.mark.parametrize(("reason", "started_here"), [("completed", ["ours"]), ("stopped", ["ours", "theirs"])])
def test_a_run_that_another_process_was_faster_to_start_is_waited_for(
    runs, tiny, started, monkeypatch, reason, started_here
):
    from twist.runs import sweep

    complete = sweep.start
    lost = []

    def start(path, *, threads):
        if path.name == "theirs" and not lost:
            lost.append(take_lock(path))
            raise HeldByAnother("process 7 works on it")
        complete(path, threads=threads)

    looks = []

    def other_process(_):
        looks.append(attach("theirs").status.alive)
        if looks == [True, True]:
            end(runs / "theirs", reason)
            free_lock(runs / "theirs")

    monkeypatch.setattr("twist.runs.sweep.start", start)
    swept = run_many([tiny_recipe(tiny)] * 2, names=["theirs", "ours"], jobs=2, on_progress=other_process)
    assert looks[:2] == [True, True]
    assert sorted(started) == started_here
    assert [run.status.state for run in swept] == ["COMPLETED", "COMPLETED"]


def test_a_run_that_ran_out_of_memory_is_tried_again_and_one_that_failed_otherwise_is_not(runs, tiny, started):
    errors = {"memory": "OutOfMemoryError", "nan": "NotFiniteError"}
    for name, error in errors.items():
        end(prepare(tiny_recipe(tiny), name=name), "failed", kind="error", type=error)
    swept = run_many([tiny_recipe(tiny)] * 2, names=list(errors))
    assert list(started) == ["memory"]
    assert [run.status.state for run in swept] == ["COMPLETED", "FAILED"]


@pytest.mark.parametrize(
    ("device", "gpus", "threads"), [("auto", 0, 2), ("auto", 1, 4), ("cuda", 1, 4), ("cuda:1", 2, 4), ("cpu", 1, 2)]
)
def test_runs_that_share_a_gpu_train_one_at_a_time(runs, tiny, started, monkeypatch, device, gpus, threads):
    monkeypatch.setattr("twist.runs.sweep.usable_cores", lambda: 4)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")  # else auto means Metal on a Mac
    for module in ("sweep", "devices"):
        monkeypatch.setattr(f"twist.runs.{module}.count_cuda_devices", lambda: gpus)
    run_many([tiny_recipe(tiny, device=device)] * 2, names=["one", "two"])
    assert started == {"one": threads, "two": threads}  # all cores when alone, else half of them
    started.clear()
    run_many([tiny_recipe(tiny, device=device)] * 2, names=["three", "four"], jobs=2)
    assert set(started.values()) == {2}
