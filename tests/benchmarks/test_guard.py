"""When the guard calls a fall a fall."""

import pytest

from benchmarks.speed import __main__ as bench
from benchmarks.speed.guard import check, fallen, kept
from benchmarks.speed.rows import Part, Row, at_least, at_most, broken

FIVE = at_least(5)


def row(value, *, goal=FIVE, key="key", unit="x"):
    return Row(key, "what", value, goal, unit=unit)


def part(value):
    return Part("a", [row(value)])


def test_a_higher_share_of_what_should_be_low_is_a_fall():
    low = at_most(1.15)
    assert kept(row(1.2, goal=low), row(1.2, goal=low)) == 1
    assert kept(row(2.4, goal=low), row(1.2, goal=low)) == 0.5


def test_percents_are_compared_as_time_with_over_time_without():
    low = at_most(5)
    assert kept(row(10, goal=low, unit="%"), row(0, goal=low, unit="%")) == pytest.approx(1 / 1.1)
    assert fallen([row(4, goal=low, unit="%")], [row(1, goal=low, unit="%")]) == []


@pytest.mark.parametrize(("value", "falls"), [(7.1, False), (6.9, True)])
def test_a_ratio_falls_below_70_percent_of_the_committed_one(value, falls):
    assert bool(fallen([row(value)], [row(10)])) is falls


def test_a_row_without_a_goal_or_without_a_committed_value_is_not_guarded():
    assert fallen([row(1, goal=None)], [row(10, goal=None)]) == []
    assert fallen([row(1)], [row(None)]) == []
    assert fallen([row(1, key="new")], [row(10)]) == []


def test_a_row_that_cannot_be_measured_any_more_has_fallen():
    assert fallen([row(None)], [row(10)]) == ["key"]


def test_a_row_that_a_quick_measurement_leaves_out_is_not_guarded():
    assert fallen([row(10)], [row(10), row(10, key="slow")]) == []


def test_with_a_part_that_breaks_off_all_its_committed_rows_have_fallen():
    committed = Part("a", [row(10), row(10, key="other"), row(None, key="never measured")])
    crash = broken("a", "what", "not done after 900 s")
    assert fallen(crash.rows, committed.rows) == ["key", "other"]
    assert check({"a": crash}, {"a": committed}, lambda letter: crash)[0] == ["key", "other"]


def test_a_part_that_breaks_off_once_and_is_then_as_good_as_before_is_acquitted():
    found, parts = check({"a": broken("a", "what", "killed")}, {"a": part(10)}, measured([9]))
    assert found == [] and parts["a"] == part(9)


def test_a_measurement_that_takes_too_long_counts_as_broken_off(monkeypatch):
    monkeypatch.setattr(bench, "PART_TIMEOUT_S", 0.01)
    (only,) = bench.measure("a", quick=True).rows
    assert only.value is None and "not done after" in only.note
    assert fallen([only], [row(10)]) == ["key"]


def measured(values):
    values = iter(values)
    return lambda letter: part(next(values))


def test_three_falls_in_a_row_are_a_fault():
    found, parts = check({"a": part(1)}, {"a": part(10)}, measured([2, 3]))
    assert found == ["key"] and parts["a"] == part(3)


@pytest.mark.parametrize("values", [[8], [1, 8]])
def test_one_good_measurement_of_three_acquits(values):
    found, _ = check({"a": part(1)}, {"a": part(10)}, measured(values))
    assert found == []


def test_nothing_is_measured_again_without_a_fall():
    assert check({"a": part(9)}, {"a": part(10)}, measured([]))[0] == []


def test_a_part_without_a_committed_one_is_not_checked():
    assert check({"b": part(1)}, {"a": part(10)}, measured([]))[0] == []
