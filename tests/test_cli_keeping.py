"""Renaming, tagging, deleting, thinning, forking and comparing runs from the command line."""

import io
import json
import os

import pytest
from synthetic import make_result, make_run

from twist.cli import main
from twist.runs.folders import run_paths
from twist.runs.keeping import tags_of
from twist.runs.launcher import attach, prepare, start
from twist.runs.results import write_result
from twist.runs.store import step_folder, write_sealed_folder


@pytest.fixture
def pair(runs):
    make_run(runs, name="good", num_samples=60, snapshots=12)
    make_run(runs, "uniform", name="flat", num_samples=60)
    return runs


def names(root):
    return [path.name for path in run_paths(root)]


def last_json(capfd):
    return json.loads(capfd.readouterr().out.rstrip().splitlines()[-1])


def typing(monkeypatch, words):
    monkeypatch.setattr("sys.stdin", io.StringIO(words))


def test_rename_and_tag(pair, capfd):
    assert main(["rename", "good", "better", "--json"]) == 0
    facts = last_json(capfd)
    assert (facts["run"], facts["before"]) == ("better", "good") and names(pair) == ["better", "flat"]
    assert main(["show", "good"]) == 2
    assert "it is called 'better' now" in capfd.readouterr().err
    assert main(["tag", "better", "paper", "seed 0", "--json"]) == 0
    assert last_json(capfd)["tags"] == ["paper", "seed 0"]
    assert main(["tag", "better", "new", "--remove", "paper"]) == 0
    assert tags_of(pair / "better") == ("seed 0", "new")
    assert main(["list", "--json"]) == 0
    said = capfd.readouterr().out.rstrip().splitlines()
    tags = {run["name"]: run["tags"] for run in json.loads(said[-1])["runs"]}
    assert tags == {"better": ["seed 0", "new"], "flat": []} and any("seed 0, new" in line for line in said[:-1])
    assert main(["tag", "flat"]) == 0
    assert "flat: no tags" in capfd.readouterr().out


def test_delete_asks_for_the_name_or_takes_yes(pair, capfd, monkeypatch):
    for slip in ("", "\n", "flat\n", "last\n"):
        typing(monkeypatch, slip)
        assert main(["delete", "good"]) == 2
        assert "confirm it with its name" in capfd.readouterr().err
    assert main(["delete", "last", "--yes"]) == 2
    assert "names no run to delete" in capfd.readouterr().err
    assert names(pair) == ["good", "flat"]
    typing(monkeypatch, "good\n")
    assert main(["delete", "good", "--json"]) == 0
    assert last_json(capfd)["deleted"] is True
    assert main(["delete", str(pair / "flat"), "--yes"]) == 0
    assert names(pair) == []


def test_thin_says_its_rule_and_acts_after_a_yes(pair, capfd, monkeypatch):
    folder = pair / "good" / "snapshots"
    before = sorted(os.listdir(folder))
    assert main(["thin", "good", "--dry-run", "--json"]) == 0
    facts = last_json(capfd)
    assert "newest sound checkpoint always stays" in facts["rule"]
    assert not facts["done"] and facts["snapshots"] and facts["bytes"] > 0
    typing(monkeypatch, "no\n")
    assert main(["thin", "good"]) == 2
    assert "is left as it is" in capfd.readouterr().err
    assert sorted(os.listdir(folder)) == before
    typing(monkeypatch, "yes\n")
    assert main(["thin", "good", "--json"]) == 0
    assert last_json(capfd)["freed"] == facts["bytes"]
    assert sorted(os.listdir(folder)) == [step_folder(step) for step in facts["kept_snapshots"]]
    assert main(["thin", "good", "--yes"]) == 0
    assert "Nothing of good would go" in capfd.readouterr().out


def test_features_are_thinned_when_asked_and_results_are_counted_before_a_deletion(pair, capfd, monkeypatch):
    write_sealed_folder(pair / "good" / "features" / "abc", {"values.npy": b"1" * 4000}, {})
    write_result(make_result(), pair / "good")
    assert main(["thin", "good", "--yes", "--json"]) == 0
    assert last_json(capfd)["features"] == 0 and (pair / "good" / "features" / "abc").is_dir()
    assert main(["thin", "good", "--features", "--yes", "--json"]) == 0
    assert last_json(capfd)["features"] == 1 and not (pair / "good" / "features" / "abc").exists()
    assert main(["disk", "good"]) == 0
    assert " features" in capfd.readouterr().out
    typing(monkeypatch, "no\n")
    assert main(["delete", "good"]) == 2
    assert "holds 1 result of an evaluation; deleting it is for good" in capfd.readouterr().err


def test_disk_adds_up(pair, capfd):
    write_sealed_folder(pair / "good" / "checkpoints" / step_folder(9), {"w": b"1" * 5000}, {"step": 9})
    assert main(["disk", "--json"]) == 0
    facts = last_json(capfd)
    assert [run["run"] for run in facts["runs"]] == ["good", "flat"]
    assert facts["total"] == sum(run["total"] for run in facts["runs"])
    assert facts["runs"][0]["checkpoints"] > 5000 and facts["runs"][1]["checkpoints"] == 0
    assert main(["disk", "flat", "--json"]) == 0
    assert [run["run"] for run in last_json(capfd)["runs"]] == ["flat"]


def test_compare_tells_recipes_scores_and_classes(pair, capfd):
    make_run(pair, name="wide", num_samples=60, num_classes=20, epochs=10)
    assert main(["compare", "good", "flat", "wide", "--json"]) == 0
    out = capfd.readouterr().out
    facts = json.loads(out.rstrip().splitlines()[-1])
    assert [run["verdict"] for run in facts["runs"]][:2] == ["healthy", "uniform collapse"]
    assert facts["differences"]["network.num_classes"] == [10, 10, 20]
    assert [pair["runs"] for pair in facts["pairs"]] == [["good", "flat"], ["good", "wide"]]
    assert facts["pairs"][0]["images"] == 60
    assert "network.num_classes" in out and "% of the images are in matched classes" in out
    assert main(["compare", "good", "flat"]) == 0
    assert "the recipes are equal, field by field" in capfd.readouterr().out


def test_runs_without_snapshots_or_of_other_images_compare_as_far_as_they_can(pair, capfd):
    make_run(pair, name="blind", num_samples=60, snapshots=0, labels=False)
    make_run(pair, "shortcut", name="lit", num_samples=60)
    assert main(["compare", "good", "blind", "lit", "--json"]) == 0
    facts = last_json(capfd)
    assert facts["pairs"] == [] and len(facts["problems"]) == 2
    assert "has no snapshot yet" in facts["problems"][0] and "watch other images" in facts["problems"][1]
    assert facts["runs"][1]["nmi"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rename", "good", "../x"], "cannot name a folder"),
        (["rename", "good", "flat"], "is taken"),
        (["rename", "nothing", "x"], "there is no run 'nothing'"),
        (["tag", "good", "a,b"], "is no tag"),
        (["tag", "good", "--remove", "x"], "no tag 'x'"),
        (["delete", "nothing", "--yes"], "there is no run 'nothing'"),
        (["thin", "good", "--snapshots", "0"], "snapshots to keep is 0"),
        (["thin", "good", "--checkpoints", "x"], "--checkpoints is 'x'"),
        (["disk", "nothing"], "there is no run 'nothing'"),
        (["compare", "good"], "one run is given: compare two to 6"),
        (["compare", "good", "good"], "good is given twice"),
        (["compare", "good", "nothing"], "there is no run 'nothing'"),
        (["fork", "good"], "has no checkpoint yet"),
        (["fork", "good", "--set", "optim.epoch=3"], "did you mean 'optim.epochs'"),
        (["fork", "good", "--step", "x"], "--step is 'x'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(pair, capfd, arguments, said):
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("twist: ") and said in captured.err
    assert names(pair) == ["good", "flat"]


@pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")
def test_a_fork_is_followed_like_a_training(runs, tiny, capfd):
    start(prepare("digits", name="parent", changes=tiny))
    attach("parent").wait(120)
    assert main(["fork", "parent", "--name", "child", "--step", "8", "--set", "optim.epochs=4", "--json"]) == 0
    facts = last_json(capfd)
    assert (facts["run"], facts["state"], facts["step"]) == ("child", "COMPLETED", 16)
    assert main(["compare", "parent", "child", "--json"]) == 0
    assert last_json(capfd)["differences"] == {"optim.epochs": [3, 4]}
