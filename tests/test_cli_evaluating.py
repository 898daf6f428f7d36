"""Evaluating and its results from the command line."""

import json
import os
import shutil

import pytest
from conftest import TINY
from loop import attempt
from synthetic import make_result, make_run

from twist.cli import evaluating, main
from twist.runs.launcher import prepare
from twist.runs.lock import free_lock, take_lock
from twist.runs.results import ModelFacts, read_results, write_result


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(tmp_path_factory.mktemp("asked") / "runs"))
        path = prepare("digits", name="tiny", changes=TINY)
        attempt(path, 1)
    return path


@pytest.fixture
def tiny(trained_once, runs):
    """A copy of a run of a few steps."""
    return shutil.copytree(trained_once, runs / "tiny")


def last_json(out):
    return json.loads(out.rstrip().splitlines()[-1])


def test_evaluate_prints_scores_words_and_where_the_records_lie(tiny, capfd):
    assert main(["evaluate", "--protocol", "knn,classes", "--json"]) == 0
    out, err = capfd.readouterr()
    said = last_json(out)
    assert [one["protocol"] for one in said["results"]] == ["knn", "classes"] and said["problems"] == []
    assert said["results"][0]["mean"]["accuracy_k10"] == said["results"][0]["scores"]["accuracy_k10"][0]
    text = " ".join(out.split())
    assert "digits 20 % held out (seed 0): 40 images asked, 160 known" in text
    assert "tiny @ step 12" in text and "k = 10" in text and "its classes, C = 10 matched" in text
    assert "digits has no test part" in text and "None of the asked images stands among the known ones" in text
    assert "`twist evaluate random:tiny`" in text and "records 2 in" in text and "seconds" in text
    assert "kNN" not in err  # progress on a terminal only


def test_models_stand_side_by_side_and_what_is_no_run_is_asked_about_the_same_images(tiny, capfd):
    assert main(["evaluate", "tiny", "random:tiny", "pixels", "--protocol", "knn", "--seeds", "0,1"]) == 0
    out, err = capfd.readouterr()
    heads = next(line for line in out.splitlines() if "pixels" in line)
    assert heads.split() == ["tiny", "@", "step", "12", "tiny,", "untrained", "pixels"]
    row = next(line for line in out.splitlines() if "k = 10 " in line)
    assert row.count(".") == 4 and row.count("±") == 1  # only the untrained network was drawn twice
    assert "pixels: asked about digits, the images of tiny" in err
    assert main(["results", "--json"]) == 0
    out, _ = capfd.readouterr()
    assert {one["model"]["kind"] for one in last_json(out)["results"]} == {"run", "random", "pixels"}


def test_one_source_that_cannot_be_asked_costs_the_others_nothing(tiny, capfd):
    assert main(["evaluate", "nobody", "tiny", "--protocol", "classes", "--json"]) == 2
    out, err = capfd.readouterr()
    assert "there is no run 'nobody'" in err
    assert len(last_json(out)["results"]) == 1 and len(last_json(out)["problems"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--protocol", "knnn"], "protocol 'knnn' is unknown"),
        (["--seeds", "a"], "--seeds is 'a'"),
        (["--fraction", "2"], "--fraction is '2'"),
        (["--max-images", "x"], "--max-images is 'x'"),
        (["--max-images", "1"], "max_images is 1"),
        (["--data", "nowhere"], "data.source is 'nowhere'"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(tiny, capfd, arguments, says):
    assert main(["evaluate", "tiny", *arguments]) == 2
    out, err = capfd.readouterr()
    assert says in err and err.count("twist:") == 1
    assert not (tiny / "evaluations").exists()


def test_ctrl_c_keeps_whole_records_and_says_so(tiny, capfd, monkeypatch):
    def interrupt(self, what, done, total):
        if what.startswith("k-means"):
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluating._Progress, "draw", interrupt)
    assert main(["evaluate", "tiny", "--protocol", "knn,kmeans"]) == 130
    assert "1 result is recorded" in capfd.readouterr().err
    assert [one.protocol for one in read_results(tiny / "evaluations").results] == ["knn"]


def test_a_run_that_trains_is_given_way_to(tiny, capfd, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "nice", lambda by: steps.append(by) or 0)
    assert take_lock(tiny) is not None
    try:
        assert main(["evaluate", "tiny", "--protocol", "classes"]) == 0
    finally:
        free_lock(tiny)
    assert steps == [0, 15]
    assert "reads only, and gives way" in capfd.readouterr().err
    assert main(["evaluate", "tiny", "--protocol", "classes"]) == 0
    assert steps == [0, 15]


def test_results_are_tables_for_people_files_for_papers_and_say_what_is_wrong(runs, tmp_path, capfd):
    for seed in (0, 1):
        facts = {"run": f"r{seed}", "recipe": "digits", "recipe_hash": "aa", "seed": seed, "step": 9}
        model = ModelFacts(f"r{seed} @ step 9", "run", f"id{seed}", facts)
        write_result(make_result(model=model, scores={"accuracy": (0.8 + seed / 10,)}), make_run(runs, name=f"r{seed}"))
    (runs / "r0" / "evaluations" / "torn.json").write_text("{")
    assert main(["results", "--json"]) == 0
    out, err = capfd.readouterr()
    assert "r0 @ step 9" in out and "0.800" in out and "torn.json is left out" in err
    assert len(last_json(out)["results"]) == 2 and len(last_json(out)["problems"]) == 1
    assert main(["results", "r1"]) == 0
    out, err = capfd.readouterr()
    assert "0.900" in out and "r0" not in out and err == ""
    assert main(["results", "--mean"]) == 0
    assert "digits, 2 runs" in (out := capfd.readouterr().out) and "0.850 ± 0.071" in out
    for name in ("table.csv", "table.md"):
        assert main(["results", "--to", str(tmp_path / name)]) == 0
    assert (
        (tmp_path / "table.csv").read_text().splitlines()[0].startswith("model,kind,run,protocol,settings,score,mean")
    )
    assert "| r0 @ step 9 | 0.800 |" in (tmp_path / "table.md").read_text()
    (tmp_path / "notes.md").write_text("mine")
    assert main(["results", "--to", str(tmp_path / "notes.md")]) == 2
    assert "exists already" in capfd.readouterr().err and (tmp_path / "notes.md").read_text() == "mine"
    assert main(["results", "--to", str(tmp_path / "notes.md"), "--force"]) == 0
    assert "| r0 @ step 9 | 0.800 |" in (tmp_path / "notes.md").read_text()
    capfd.readouterr()
    assert main(["results", "--to", "table.xls"]) == 2
    assert "ends in .csv or .md" in capfd.readouterr().err
    assert main(["results", "nobody"]) == 2


def test_show_names_what_was_evaluated_and_an_empty_place_invites(runs, capfd):
    path = make_run(runs, name="mine")
    assert main(["results"]) == 0
    assert "no result of" in capfd.readouterr().out
    write_result(make_result(), path)
    assert main(["show", "mine", "--json"]) == 0
    out, _ = capfd.readouterr()
    assert "kNN, k = 10" in out and last_json(out)["evaluations"][0]["value"] == 0.9
