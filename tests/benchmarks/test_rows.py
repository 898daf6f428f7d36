"""Ratios, goals and the table of the bench."""

import json

import pytest

from benchmarks.speed.record import (
    BEGIN,
    END,
    Record,
    goal_text,
    machine_text,
    readme_block,
    rewrite_readme,
    table,
    value_text,
)
from benchmarks.speed.rows import (
    Figure,
    Part,
    Row,
    at_least,
    at_most,
    best,
    compare,
    compare_memory,
    figures_of,
    missing,
)

OURS, PEER = Figure("ours", [20.0, 40.0, 60.0], "images/s"), Figure("theirs", [10.0, 10.0, 10.0], "images/s")
MACHINE = {"processor": "CPU", "cores": 2, "memory_gib": 24, "torch": "2", "python": "3", "load": 0.1}


def record(*rows):
    return Record("cpu", MACHINE, "2026-11-23", {"a": Part("a", list(rows), [OURS])})


def test_a_ratio_is_the_median_of_the_ratios_of_each_turn():
    drifting = Figure("theirs", [10.0, 40.0, 15.0], "images/s")
    row = compare("key", "what", OURS, drifting)
    assert row.values == [2, 1, 4]
    assert row.value == 2


def test_how_many_times_as_long_is_the_inverse_of_how_many_times_as_fast():
    faster, longer = (compare("key", "what", OURS, PEER, slower=slower) for slower in (False, True))
    assert [a * b for a, b in zip(faster.values, longer.values, strict=True)] == pytest.approx([1, 1, 1])


def test_contenders_of_different_numbers_of_turns_are_not_compared():
    with pytest.raises(ValueError, match="shorter"):
        compare("key", "what", OURS, Figure("theirs", [1.0], "images/s"))


@pytest.mark.parametrize(("goal", "value", "holds"), [(at_least(2), 2, True), (at_least(2), 1.9, False)])
def test_a_goal_from_below_includes_its_bound(goal, value, holds):
    assert Row("key", "what", value, goal).holds is holds


@pytest.mark.parametrize(("goal", "value", "holds"), [(at_most(2), 2, True), (at_most(2), 2.1, False)])
def test_a_goal_from_above_includes_its_bound(goal, value, holds):
    assert Row("key", "what", value, goal).holds is holds


def test_a_row_that_could_not_be_measured_neither_holds_nor_fails_and_says_why():
    row = missing("key", "kornia", at_least(7), "kornia is not installed")
    assert row.holds is None
    assert "?" in table([row]) and "kornia is not installed" in table([row])
    assert "kornia is not installed" in readme_block(record(row))


def test_memory_is_compared_as_how_many_times_less_we_take():
    mine, theirs = (
        Figure(name, [1.0], "steps/s", peak_bytes=count) for name, count in (("a", 2**20), ("b", 15 * 2**20))
    )
    row = compare_memory("key", "what", mine, theirs, at_least(15))
    assert row.holds and row.value == 15 and row.ours == "a: 1 MiB" and row.peer == "b: 15 MiB"


def test_the_best_of_several_peers_is_the_one_of_the_highest_median():
    lucky_once = Figure("lucky once", [1.0, 1.0, 100.0], "images/s")
    assert best([PEER, lucky_once]) is PEER


def test_rates_in_steps_become_images_by_the_batch():
    (figure,) = figures_of({"ours": [1.0, 2.0]}, "images/s", amount=64).values()
    assert figure.values == [64, 128]


def test_the_spread_is_from_the_lowest_to_the_highest_as_a_share_of_the_median():
    assert OURS.spread == 1


def test_a_record_reads_back_as_it_was_written(tmp_path):
    before = record(compare("key", "what", OURS, PEER, at_least(3)), missing("other", "what", None, "why"))
    before.write(tmp_path / "cpu.json")
    assert Record.read(tmp_path / "cpu.json") == before


def test_a_record_holds_numbers_of_five_digits_and_no_more(tmp_path):
    record(Row("key", "what", 1.23456789)).write(tmp_path / "cpu.json")
    assert json.loads((tmp_path / "cpu.json").read_text())["parts"]["a"]["rows"][0]["value"] == 1.2346


def test_a_record_of_another_schema_is_refused(tmp_path):
    (tmp_path / "cpu.json").write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="schema 0.*make bench"):
        Record.read(tmp_path / "cpu.json")


def test_parts_measured_anew_replace_their_old_ones_and_leave_the_others():
    old = record(Row("old", "what", 1.0)).with_parts({"b": Part("b", [Row("kept", "what", 1.0)])})
    new = old.with_parts({"a": Part("a", [Row("new", "what", 2.0)])})
    assert [row.key for row in new.rows] == ["new", "kept"]


def test_parts_measured_anew_say_when_and_where_and_the_others_keep_their_own(tmp_path):
    old = record(Row("old", "what", 1.0)).with_parts({"b": Part("b", []), "c": Part("c", [])})
    newer = Record("cpu", {**MACHINE, "load": 7.5}, "2026-12-24", {"b": Part("b", [Row("new", "what", 2.0)])})
    old.with_newer(newer).write(tmp_path / "cpu.json")
    before, after = machine_text(Record.read(tmp_path / "cpu.json")).split(". ")
    assert before.startswith("Parts a, c: CPU") and before.endswith("load 0.1 at the start; 2026-11-23")
    assert after.startswith("Parts b: CPU") and after.endswith("load 7.5 at the start; 2026-12-24")


def test_a_record_measured_in_one_go_names_its_machine_once():
    assert machine_text(record(Row("key", "what", 1.0))).count("CPU") == 1


def test_a_record_from_before_parts_had_dates_of_their_own_reads(tmp_path):
    before = record(Row("key", "what", 1.0))
    before.write(tmp_path / "cpu.json")
    plain = json.loads((tmp_path / "cpu.json").read_text())
    del plain["parts"]["a"]["date"], plain["parts"]["a"]["machine"]
    (tmp_path / "cpu.json").write_text(json.dumps(plain))
    assert Record.read(tmp_path / "cpu.json") == before


def test_the_readme_keeps_everything_outside_the_block_of_speed():
    text = f"# twist\n\n{BEGIN}\nold\n{END}\n\nmore\n"
    changed = rewrite_readme(text, record(compare("key", "two views", OURS, PEER, at_least(3))))
    assert changed.startswith("# twist\n\n" + BEGIN) and changed.endswith(END + "\n\nmore\n")
    assert "| two views | 4.00 x | ≥ 3 | yes |" in changed and "\nold\n" not in changed
    assert rewrite_readme(changed, record(compare("key", "two views", OURS, PEER, at_least(3)))) == changed


@pytest.mark.parametrize("text", ["no marks", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_its_marks_is_left_alone(text):
    with pytest.raises(ValueError, match="README.md needs one line"):
        rewrite_readme(text, record())


def test_every_line_of_the_readme_table_has_as_many_cells_as_its_head():
    block = readme_block(record(Row("key", "a | b", 1.0), missing("other", "what", at_most(1), "why")))
    lines = [line for line in block.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row("", "", 3.14159), "3.14 x"),
        (Row("", "", 17.5), "17.5 x"),
        (Row("", "", 3.456, unit="%"), "3.46 %"),
        (Row("", "", 2_345_678.0, unit="views/s"), "2,345,678 views/s"),
        (Row("", "", None), "-"),
    ],
)
def test_a_value_is_shown_with_three_digits_and_its_unit(row, text):
    assert value_text(row) == text


def test_a_goal_is_shown_with_its_direction():
    assert [goal_text(Row("", "", 1.0, goal)) for goal in (at_least(15), at_most(1.15), None)] == ["≥ 15", "≤ 1.15", ""]
