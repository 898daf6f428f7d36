"""The zoo's settings, its counts, and a small one trained."""

import json
import os

import pytest

from twist.runs.config import ConfigError
from twist.runs.folders import create_run
from twist.runs.handle import Run
from twist.runs.kinds import Kind
from twist.runs.launcher import refuse_another_recipe
from twist.runs.recipes.zoo import specimens
from twist.runs.verdict import ALARMS
from twist.runs.zoo import IN_TIME, ZooResult, ZooRow, run_zoo


def failing():
    return [specimen for specimen in specimens() if specimen.shows != "healthy"]


def healthy():
    return [specimen for specimen in specimens() if specimen.shows == "healthy"]


def test_there_are_at_least_twelve_ways_to_fail_and_six_healthy_settings():
    names = [specimen.name for specimen in specimens()]
    assert len(set(names)) == len(names) and len(failing()) >= 12 and len(healthy()) >= 6
    assert len({specimen.recipe for specimen in specimens()}) == len(names)


def test_every_kind_that_can_be_shown_is_shown():
    assert {specimen.shows for specimen in specimens()} == set(Kind.__args__) - {"too early to say"}
    assert {specimen.shows for specimen in failing()} == ALARMS | {"plateau near uniform"}


def test_the_healthy_settings_are_of_every_sort():
    recipes = [specimen.recipe for specimen in healthy()]
    assert {recipe.network.final_norm for recipe in recipes} == {"batch", "none"}
    classes = [recipe.network.num_classes for recipe in recipes]
    assert (min(classes), max(classes)) == (10, 100)
    assert len({recipe.network.widths for recipe in recipes}) >= 2
    assert len({recipe.data.source for recipe in recipes}) == 2


def test_settings_run_alike_everywhere():
    for specimen in specimens():
        recipe = specimen.recipe
        assert (recipe.device, recipe.seed, recipe.name) == ("cpu", 0, "zoo"), specimen.name
        assert recipe.record.snapshot_every_epochs <= recipe.optim.epochs / 10  # enough to follow stability
        assert specimen.cause


def row(name="a", truth="healthy", said="healthy", *, seed=0, **more):
    values = {"arrived": None, "flagged": None, "alarmed": None, "withdrawn": None, "delay": None, **more}
    return ZooRow(name=name, seed=seed, truth=truth, said=said, right=truth == said, seconds=1.0, **values)


ROWS = (
    row("well"),
    row("cried wolf", alarmed=120, withdrawn=120),
    row("slid", withdrawn=130),
    row("flat", "uniform collapse", "uniform collapse", arrived=100, flagged=110, delay=0.03),
    row("flat", "uniform collapse", "uniform collapse", seed=1, arrived=100, flagged=90, delay=-0.03),
    row("slow", "uniform collapse", "one-class collapse", arrived=100, flagged=200, delay=0.3),
    row("unseen", "partial collapse", "healthy", arrived=100),
)


def test_rows_are_counted():
    result = ZooResult(ROWS)
    assert (result.total, result.right, result.false_alarms, result.late) == (7, 5, 1, 2)
    assert result.confusion == {
        "healthy": {"healthy": 3},
        "uniform collapse": {"uniform collapse": 2, "one-class collapse": 1},
        "partial collapse": {"healthy": 1},
    }
    assert result.delays == {"uniform collapse": 0.03}


@pytest.mark.parametrize(("delay", "in_time"), [(None, False), (IN_TIME, True), (IN_TIME + 0.01, False), (-0.5, True)])
def test_a_failure_is_in_time_within_its_share_of_the_steps(delay, in_time):
    assert row(truth="shortcut", delay=delay).in_time == in_time
    assert row(truth="healthy", delay=delay).in_time


def test_the_table_holds_the_confusion_the_delays_and_what_went_wrong():
    head, rule, *lines = (
        ZooResult(ROWS, left_out=("clothes",), unfinished=("run lost is stopped",)).table().splitlines()
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, rule, *lines[:3])]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert cells[0][:2] == ["what it was", "runs"] and cells[0][2:-1] == [
        "healthy",
        "uniform collapse",
        "partial collapse",
        "one-class collapse",
    ]
    by_kind = {line[0]: line[1:] for line in cells[2:]}
    assert by_kind["uniform collapse"] == ["3", "", "2", "", "1", "+0.03 (-0.03 … +0.30)"]
    assert by_kind["healthy"] == ["3", "3", "", "", "", ""]
    words = "\n".join(lines[3:])
    assert "5 of 7 runs named right (71.4%)" in words and "at any time: 1" in words
    assert "False alarms: cried wolf (seed 0) at step 120." in words
    assert "called a plateau for a while: slid (seed 0) at step 130." in words
    assert "slow (seed 0): uniform collapse, called one-class collapse" in words
    assert "slow (seed 0): +0.30" in words and "unseen (seed 0): never flagged" in words
    assert "clothes" in words and "run lost is stopped" in words


def test_an_empty_zoo_has_a_table_too():
    result = ZooResult(())
    assert (result.total, result.confusion, result.delays) == (0, {}, {})
    assert "0 of 0 runs named right;" in result.table()


def test_the_json_holds_plain_values_that_come_back():
    result = ZooResult(ROWS, left_out=("clothes",))
    plain = result.as_json()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["total"], plain["right"], plain["false_alarms"], plain["late"]) == (7, 5, 1, 2)
    assert plain["left_out"] == ["clothes"]
    assert [one["in_time"] for one in plain["rows"]] == [True, True, True, True, True, False, False]
    assert ZooRow(**{name: plain["rows"][3][name] for name in ZooRow._fields}) == ROWS[3]


@pytest.mark.parametrize(
    ("seeds", "only", "said"),
    [
        ([], ["healthy"], r"seeds are \[\]: give one seed or more"),
        ([0, 1, 0], ["healthy"], r"seeds are \[0, 1, 0\]: .*each once"),
        ([0], ["helthy"], "unknown setting 'helthy'.*did you mean 'healthy'"),
        ([-1], ["healthy"], "seed is -1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(runs, seeds, only, said):
    with pytest.raises(ConfigError, match=said):
        run_zoo(seeds, only=only)
    assert not runs.exists()


def test_settings_without_their_images_are_left_out_and_named(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("TWIST_DATA", str(tmp_path / "nothing"))
    result = run_zoo([0], only=["clothes-healthy"])
    assert (result.total, result.left_out) == (0, ("clothes-healthy",))
    assert "clothes-healthy" in result.table()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")
def test_a_small_zoo_is_named_right_and_read_again_without_training(tmp_path):
    names = ["flat-consistency-alone", "one-class-no-diversity", "not-finite"]
    said = []
    result = run_zoo([0], only=names, jobs=2, root=tmp_path, on_done=said.append)
    assert {one.name: one.truth for one in result.rows} == {
        "flat-consistency-alone": "uniform collapse",
        "one-class-no-diversity": "one-class collapse",
        "not-finite": "not finite",
    }
    assert (result.right, result.false_alarms, result.late) == (3, 0, 0), result.table()
    assert len(said) == 3 and all(name in " ".join(said) for name in names)
    logs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/events/*.jsonl")}
    assert len(logs) == 3
    assert run_zoo([0], only=names[::-1], jobs=2, root=tmp_path).as_json() == result.as_json()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/events/*.jsonl")} == logs


def test_leave_to_download_makes_no_other_runs(tmp_path):
    run = Run(create_run(specimens()[-1].recipe, root=tmp_path))
    refuse_another_recipe(run, specimens()[-1].recipe.replace(data__download=True))
    with pytest.raises(ConfigError, match="seed"):
        refuse_another_recipe(run, specimens()[-1].recipe.replace(seed=7))
