"""The table of all runs: right, cheap the second time, and never stopped by a damaged folder."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from synthetic import make_run, read

from twist.runs import keeping, listing
from twist.runs.clustering import scores_of
from twist.runs.listing import CACHE, Listing
from twist.runs.lock import free_lock, take_lock


@pytest.fixture
def three(runs):
    for name, kind in (("good", "healthy"), ("flat", "uniform"), ("short", "early")):
        make_run(runs, kind, name=name, num_samples=60)
    return runs


def rows_of(table):
    return {row.name: row for row in table.rows}


def test_the_plain_table_has_every_run_and_its_tags_newest_first(three):
    keeping.tag(three / "flat", "paper", "bad")
    table = listing.list_runs()
    assert table["name"].tolist() == ["short", "flat", "good"]
    assert table["tags"].tolist() == [(), ("paper", "bad"), ()]
    assert set(table["state"]) == {"COMPLETED"} and set(table["recipe"]) == {"synthetic"}
    assert listing.list_runs(three / "nowhere").empty


def test_a_look_is_cheap_and_settling_adds_verdicts_scores_time_and_size(three):
    table = Listing()
    assert [row.verdict for row in table.look()] == [None] * 3
    assert all(row.state == "COMPLETED" and row.recipe == "synthetic" for row in table.rows)
    assert table.settle(60)
    rows = rows_of(table)
    assert rows["good"].verdict == "healthy" and not rows["good"].alarm
    assert rows["flat"].verdict == "uniform collapse" and rows["flat"].alarm
    assert rows["short"].verdict == "too early to say"
    assert rows["good"].matched_accuracy > 0.9 and rows["good"].nmi > 0.9
    scores = scores_of(read(three / "good"))
    assert np.isclose(rows["good"].nmi, scores.nmi) and rows["good"].matched_accuracy == scores.matched_accuracy
    assert rows["good"].information > 1 > rows["flat"].information
    assert rows["good"].bytes > 10_000 and rows["good"].seconds >= 0


def test_what_was_settled_is_not_worked_out_again_until_its_files_change(three, monkeypatch):
    table = Listing()
    table.look()
    table.settle(60)
    table.save()
    asked = []
    monkeypatch.setattr(listing, "_dear_facts", lambda path: asked.append(path.name) or {})
    again = Listing()
    again.look()
    assert again.settle(60) and not asked
    assert rows_of(again) == rows_of(table)
    keeping.tag(three / "good", "paper")  # costs nothing
    again.look()
    assert again.settle(60) and not asked and rows_of(again)["good"].tags == ("paper",)
    with open(three / "flat" / "events" / "0001.jsonl", "ab") as log:
        log.write(b"\n")
    again.look()
    assert rows_of(again)["flat"].verdict == "uniform collapse"  # until it is known anew
    again.settle(60)
    assert asked == ["flat"]


def test_another_version_a_damaged_cache_and_an_unwritable_folder_cost_time_alone(three, monkeypatch):
    for damage in (b"", b"[1]", b'{"made_by": "x", "runs": {}}', b'{"runs": 3}'):
        (three / CACHE).write_bytes(damage)
        assert not Listing().look()[0].settled
    made_by = listing._made_by()
    odd = {"good": {"stamp": "?"}, "flat": 3, "short": {"stamp": list(listing._stamp(three / "short")), "odd": 1}}
    (three / CACHE).write_text(json.dumps({"made_by": made_by, "runs": odd}))
    assert [row.settled for row in Listing().look()] == [False] * 3
    table = Listing()
    table.look()
    table.settle(60)
    monkeypatch.setattr(listing, "write_json", lambda *_: (_ for _ in ()).throw(PermissionError()))
    table.save()


def test_damaged_and_half_written_runs_are_rows_with_their_state_in_words(three):
    (three / "good" / "run.json").write_bytes(b'{"schema": 1, "na')
    (three / "flat" / "recipe.json").write_bytes(b"[]")
    (three / "torn").mkdir()
    (three / "torn" / "recipe.json").write_text("{}")
    (three / "newer").mkdir()
    (three / "newer" / "run.json").write_text('{"schema": 99}')
    (three / "odd").mkdir()
    (three / "odd" / "run.json").write_text('{"schema": 1, "created": 3, "seed": "x", "forked_from": 1}')
    (three / "odd" / "recipe.json").write_text('{"optim": {"epochs": "many"}}')
    (three / "photos").mkdir()
    (three / ".twist-trash-old-00000000").mkdir()
    (three / "file").write_text("")
    (three / "bare").mkdir()
    table = Listing()
    table.look()
    table.settle(60)
    rows = rows_of(table)
    assert set(rows) == {"good", "flat", "short", "torn", "newer", "odd"}
    assert rows["good"].state == "UNREADABLE" and "run.json cannot be read" in rows["good"].message
    assert rows["torn"].state == "UNREADABLE" and "no run.json" in rows["torn"].message
    assert rows["newer"].state == "UNREADABLE" and "newer twist" in rows["newer"].message
    assert rows["odd"].state == "UNREADABLE" and rows["odd"].message
    assert rows["flat"].title and rows["short"].verdict == "too early to say"
    states = listing.list_runs().set_index("name")["state"]
    assert states["short"] == "COMPLETED" and states["newer"].startswith("UNREADABLE: newer was recorded by a newer")


def test_a_fork_names_its_parent_as_it_is_called_now(three):
    parent, child = (json.loads((three / name / "run.json").read_text()) for name in ("good", "flat"))
    child["forked_from"] = {"id": parent["id"], "name": "good"}
    (three / "flat" / "run.json").write_text(json.dumps(child))
    table = Listing()
    table.look()
    assert {name: row.parent for name, row in rows_of(table).items()} == {"good": "", "flat": "good", "short": ""}
    keeping.rename(three / "good", "better")
    table.look()
    assert rows_of(table)["flat"].parent == "better"
    keeping.delete(three / "better", confirm="better")
    table.look()
    assert rows_of(table)["flat"].parent == "good"


def test_a_living_run_is_read_at_every_look_and_a_vanished_one_goes(three):
    end = three / "good" / "attempts" / "0001" / "end.json"
    end.unlink()
    table = Listing()
    table.look()
    assert rows_of(table)["good"].state == "INTERRUPTED"
    assert take_lock(three / "good") is not None
    try:
        table.look()
        assert rows_of(table)["good"].alive
    finally:
        free_lock(three / "good")
    shutil.rmtree(three / "flat")
    os.rename(three / "short", three / "renamed")
    table.look()
    assert set(rows_of(table)) == {"good", "renamed"}
    table.settle(60)
    assert Listing(three / "nowhere").look() == []
