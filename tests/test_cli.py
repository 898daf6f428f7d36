import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from synthetic import cut, make_run

from twist.cli import looking, main, training
from twist.cli.interrupts import Interrupts
from twist.runs.folders import run_paths
from twist.runs.handle import Run
from twist.runs.launcher import attach

pytestmark = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")


def sets(tiny, **more):
    changes = {**tiny, **more}
    return [
        word
        for name, value in changes.items()
        for word in ("--set", f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    ]


def last_json(capfd):
    out = capfd.readouterr().out
    return json.loads(out.rstrip().splitlines()[-1])


def test_train_prints_verdict_scores_and_one_json_object_last(runs, tiny, capfd):
    assert main(["train", "digits", "--name", "mine", "--json", *sets(tiny, seed=3)]) == 0
    facts = last_json(capfd)
    assert facts["run"] == "mine"
    assert facts["seed"] == 3
    assert facts["state"] == "COMPLETED"
    assert 0 <= facts["matched_accuracy"] <= 1
    assert 0 <= facts["nmi"] <= 1
    assert facts["kmeans_matched_accuracy"] > 0.5
    assert facts["verdict"] == "too early to say"
    assert main(["show", "mine", "--json"]) == 0
    assert last_json(capfd)["matched_accuracy"] == facts["matched_accuracy"]
    assert main(["list", "--json"]) == 0
    assert [run["name"] for run in last_json(capfd)["runs"]] == ["mine"]
    assert main(["verdict", "mine", "--json"]) == 0
    found = last_json(capfd)
    assert (found["kind"], found["step"]) == ("too early to say", 12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "digits", "--set", "optim.epoch=3"], "did you mean 'optim.epochs'"),
        (["train", "digits", "--set", "optim.epochs"], "--set FIELD=VALUE"),
        (["train", "digits", "--set", "optim.epochs=x"], "a whole number"),
        (["train", "digits", "--set", "data.source=digit"], "did you mean 'digits'"),
        (["train", "digits", "--set", "optim.batch_size=1"], "batch norm"),
        (["train", "digits", "--set", "optim.batch_size=2000"], "only 1797 images"),
        (["train", "digits", "--set", "network.num_classes=1"], "2 or more"),
        (["train", "digits", "--name", "../x"], "cannot name a folder"),
        (["train", "cifar10", "--set", "data.root=nowhere"], "nowhere"),
        (["train", "digits", "--set", "device=cuda:9"], "CUDA devices were found"),
        (["train", "./no-such-folder"], "no-such-folder"),
        (["show", "nothing"], "there is no run 'nothing'"),
        (["resume"], "there is no run in"),
        (["fields", "digit"], "did you mean 'digits'"),
        (["sweep", "digits", "--classes", "1,x"], "--classes is '1,x'"),
        (["sweep", "digits", "--classes", ""], "whole numbers with commas"),
        (["sweep", "digits", "--classes", "5,1"], "classes has 1"),
        (["sweep", "digits", "--classes", "5,10,5"], "classes has 5 twice"),
        (["sweep", "digits", "--classes", "5", "--seeds", "0,a"], "--seeds is '0,a'"),
        (["sweep", "digits", "--classes", "5", "--seeds", "0,0"], "seeds has 0 twice"),
        (["sweep", "digits", "--classes", "5", "--seeds=-1"], "seeds has -1"),
        (["sweep", "digits", "--classes", "5", "--jobs", "0"], "jobs is 0"),
        (["sweep", "digits", "--classes", "5", "--jobs", "all"], "--jobs is 'all'"),
        (["sweep", "digits", "--classes", "5", "--set", "network.num_classes=7"], "network.num_classes"),
        (["sweep", "digits", "--classes", "5", "--name", "../x"], "cannot name a folder"),
        (["sweep", "digit", "--classes", "5"], "did you mean 'digits'"),
        (["verdict", "nothing"], "there is no run 'nothing'"),
        (["zoo", "--seeds", "one"], "--seeds is 'one'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(runs, capfd, arguments, said):
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert said in captured.err
    assert captured.err.startswith("twist: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert run_paths(runs) == []


def test_a_mistake_that_only_the_trainer_can_see_leaves_nothing_either(runs, tiny, capfd, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    from PIL import Image

    for index in range(60):
        Image.fromarray(np.full((8, 8), index, np.uint8)).save(folder / f"{index}.png")
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:40])
    tiny |= {"data.max_images": "none"}
    assert main(["train", str(folder), *sets(tiny)]) == 2
    assert "7.png" in capfd.readouterr().err
    assert os.listdir(runs) == []


def test_a_taken_name_is_refused_and_the_old_run_is_untouched(runs, tiny, capfd):
    assert main(["train", "digits", "--name", "mine", *sets(tiny)]) == 0
    before = sorted(path.name for path in (runs / "mine").rglob("*"))
    assert main(["train", "digits", "--name", "mine", *sets(tiny)]) == 2
    assert "exists already" in capfd.readouterr().err
    assert sorted(path.name for path in (runs / "mine").rglob("*")) == before


def test_control_c_checkpoints_and_stops_and_resume_goes_on(runs, tiny, capfd):
    changes = sets(tiny, **{"optim.epochs": 3000})
    command = [sys.executable, "-m", "twist", "train", "digits", "--name", "mine", *changes]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def wait_for_step(step):
        deadline = time.monotonic() + 90
        while not (runs / "mine").exists() or attach("mine").status.step < step:
            assert time.monotonic() < deadline, f"step {step} never came"
            time.sleep(0.05)

    wait_for_step(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "twist resume mine" in errors
    stopped = attach("mine").status
    assert stopped.state == "STOPPED"
    assert main(["resume", "mine", "--detach"]) == 0
    wait_for_step(stopped.step + 2)
    assert main(["stop", "mine", "--json"]) == 0
    assert last_json(capfd)["state"] == "STOPPED"
    run = attach("mine")
    run.record.poll()
    assert run.record.last("start")["from_step"] == stopped.step


def test_control_c_is_held_back_once_and_then_interrupts_at_once():
    with Interrupts() as interrupts:
        interrupts.raise_if_asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_if_asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_an_ignored_control_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupts.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_control_c_in_any_other_command_ends_it_with_a_status_and_no_traceback(capfd, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(looking, "_list", interrupted)
    assert main(["list"]) == 130
    assert capfd.readouterr().err == ""


def test_a_detached_run_goes_on_after_the_command(runs, tiny, capfd):
    assert main(["train", "digits", "--name", "mine", "--detach", "--json", *sets(tiny)]) == 0
    assert last_json(capfd)["run"] == "mine"
    assert attach("mine").wait(timeout_s=120).state == "COMPLETED"


def test_a_sweep_prints_its_table_its_recommendation_and_one_json_object(runs, tiny, capfd):
    command = ["sweep", "digits", "--classes", "4", "--seeds", "0,1", "--name", "few", "--json", *sets(tiny)]
    assert main(command) == 0
    captured = capfd.readouterr()
    swept = json.loads(captured.out.rstrip().splitlines()[-1])
    assert swept["runs"] == ["few-classes4-seed0", "few-classes4-seed1"]
    (row,) = swept["rows"]
    assert (row["num_classes"], row["seeds"]) == (4, 2)
    assert row["marginal_entropy"] - row["conditional_entropy"] == pytest.approx(row["mutual_information"], abs=1e-5)
    assert swept["sentence"] in captured.out
    for title in ("C", "H(Y|X)", "H(Y)", "stability", "score", "NMI*"):
        assert title in captured.out
    assert "few-classes4-seed0: completed" in captured.err
    attempts = [attach(name).status.attempt for name in swept["runs"]]
    assert main(command) == 0
    assert [attach(name).status.attempt for name in swept["runs"]] == attempts == [1, 1]


def test_a_verdict_shows_its_evidence_at_any_step_of_the_record(runs, capfd):
    make_run(runs, "uniform", name="flat")
    assert main(["verdict", "flat", "--json"]) == 0
    captured = capfd.readouterr().out
    found = json.loads(captured.rstrip().splitlines()[-1])
    assert found["kind"] == "uniform collapse"
    assert found.keys() >= {"title", "sentence", "advice", "causes", "evidence", "step", "since", "missing"}
    assert found["evidence"]
    for row in found["evidence"]:
        assert row.keys() == {"name", "value", "reference", "meaning", "unit"}
        assert row["name"] in captured
    shown = found["evidence"][0]
    assert f"{shown['value']:.3f} {shown['unit']}" in captured
    assert main(["verdict", "flat", "--step", "7", "--json"]) == 0
    early = last_json(capfd)
    assert (early["kind"], early["step"]) == ("too early to say", 7)


@pytest.mark.parametrize(
    ("step", "words"), [("-1", "no step -1: give 0 to 140"), ("141", "no step 141"), ("many", "--step is 'many'")]
)
def test_a_step_that_was_not_recorded_is_refused(runs, capfd, step, words):
    make_run(runs, name="mine")
    assert main(["verdict", "mine", f"--step={step}"]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith("twist: ") and words in errors
    assert errors.count("\n") == 1


def test_a_verdict_says_what_a_run_without_snapshots_lacks(runs, capfd):
    make_run(runs, name="blind", snapshots=0)
    assert main(["verdict", "blind", "--json"]) == 0
    assert any("snapshot" in what for what in last_json(capfd)["missing"])


@pytest.mark.parametrize("command", ["verdict", "show"])
def test_of_an_interrupted_run_it_is_said_that_it_rests_and_what_goes_on(runs, capfd, command):
    make_run(runs, name="whole")
    cut(make_run(runs, name="half", ended=False), 70)
    assert main([command, "half", "--json"]) == 0
    shown, facts = capfd.readouterr().out.rstrip().rsplit("\n", 1)
    assert "half: interrupted at step 70" in shown
    assert shown.count("goes on") == shown.count("`twist resume half` goes on") == 1
    assert json.loads(facts)["state"] == "INTERRUPTED"
    assert main([command, "whole"]) == 0
    assert "twist resume" not in capfd.readouterr().out


def test_the_zoo_is_asked_for_what_the_command_says(capfd, monkeypatch):
    asked = {}

    class Result:
        def table(self):
            return "healthy 3 of 3"

        def as_json(self):
            return {"total": 3, "right": 3, "false_alarms": 0}

    def run_zoo(seeds, *, only=None, jobs=None, download=False, on_done=None, on_progress=None):
        on_done("healthy-digits-0 is right")
        asked.update(seeds=seeds, only=only, jobs=jobs)
        return Result()

    monkeypatch.setitem(sys.modules, "twist.runs.zoo", types.SimpleNamespace(run_zoo=run_zoo))
    assert main(["zoo", "--seeds", "0,1,2", "--only", "healthy, uniform", "--jobs", "2", "--json"]) == 0
    assert asked == {"seeds": [0, 1, 2], "only": ["healthy", "uniform"], "jobs": 2}
    captured = capfd.readouterr()
    assert "healthy 3 of 3" in captured.out
    assert "is right" in captured.err
    assert json.loads(captured.out.splitlines()[-1])["right"] == 3


def test_recipes_and_fields_explain_themselves(capfd):
    assert main(["recipes", "--json"]) == 0
    assert "digits" in last_json(capfd)["recipes"]
    assert main(["fields", "digits", "--json"]) == 0
    fields = last_json(capfd)["fields"]
    assert fields["network.num_classes"]["value"] == 10
    assert fields["network.num_classes"]["help"]


def test_without_a_command_the_help_is_shown(capfd):
    assert main([]) == 0
    assert "COMMAND" in capfd.readouterr().out


def test_an_alarm_is_said_once_while_a_run_is_followed(runs, capfd, monkeypatch):
    monkeypatch.setattr(training, "ALARM_EVERY_S", 0.0)
    monkeypatch.setattr(training, "ALARM_EVERY_LOOKS", 0)
    run = Run(make_run(runs, "uniform", name="flat"))
    progress = training._Progress(run)
    progress.draw(run)
    progress.draw(run)
    progress.close()
    said = capfd.readouterr().err
    assert said.count("Uniform collapse, since step") == 1 and "objective.consistency_weight" in said
