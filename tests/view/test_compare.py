"""The comparison of runs: what its widgets are told, what they may ask for, and what each damage costs."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
from synthetic import make_history, make_run, read

import twist
from twist.runs import keeping
from twist.runs.config import ConfigError
from twist.runs.store import step_folder, write_json, write_sealed_folder
from twist.view import compare_actions
from twist.view.compare import Compare
from twist.view.compare_tables import differences_table, pair_table
from twist.view.overlays import overlay, running_mean

EVIL = '<img src=x onerror="alert(1)">$\\href{javascript:alert(1)}{x}$'


@pytest.fixture
def three(runs):
    for name, kind in (("good", "healthy"), ("flat", "uniform"), ("one", "one-class")):
        make_run(runs, kind, name=name, num_samples=60)
    return runs


@pytest.fixture
def view(three):
    """A comparison of two of three runs that looks when it is asked to."""
    made = Compare(["good", "flat"], live=False)
    yield made
    made.close()


def say(view, kind, action="", run="", **values):
    """What the browser sends."""
    view.table._hear(view.table, {"type": kind, "action": action, "run": run, "values": values or None}, [])


def rows_of(view):
    """The rows as the browser has them."""
    return {row["name"]: view.table.living.get(row["name"], row) for row in view.table.rows}


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def test_table_recipes_figure_and_classes_of_two_runs(view):
    rows = rows_of(view)
    assert set(rows) == {"good", "flat", "one"}
    assert rows["good"]["sign"] == "✓" and rows["flat"]["verdict"] == "uniform collapse" and rows["flat"]["sign"] == "▲"
    assert rows["good"]["bytes"] > 0 and rows["good"]["matched_accuracy"] > 0.9
    assert view.table.differences["rows"] == [] and view.table.differences["places"] == [0, 1]
    assert view.pair.pair == ["good", "flat"] and view.pair.status["state"] == "ready"
    assert view.comparison.names == ("good", "flat")
    assert len([trace for trace in view.figure.data if trace.name == "A good"]) > 5
    assert json.dumps(view.table.get_state(drop_defaults=False)["rows"])
    assert repr(view) == "Compare(['good', 'flat'], 3 runs)"


def test_choosing_runs_redraws_and_the_order_is_that_of_the_letters(view):
    view.table.selected = ["one", "good", "flat"]
    assert view.pair.choices == ["one", "good", "flat"] and view.pair.pair == ["good", "flat"]
    assert {trace.name[0] for trace in view.figure.data if trace.name} == {"A", "B", "C"}
    view.pair.pair = ["flat", "one"]
    assert view.comparison.names == ("flat", "one")
    view.selected = ["good"]
    assert view.pair.status["state"] == "empty" and "choose a second one" in view.pair.status["text"]
    assert view.comparison is None
    assert view.children == (view.table, view.figure, view.pair)
    view.table.selected = []
    assert view.children == (view.table,) and view.table.differences == {}
    view.table.selected = ["one", "flat"]
    assert view.children == (view.table, view.figure, view.pair) and set(view.comparison.names) == {"one", "flat"}


def test_differences_are_a_table_and_odd_values_are_spelled_as_the_command_line_takes_them(runs):
    make_run(runs, name="a", num_samples=30)
    make_run(runs, name="b", num_samples=30, num_classes=4, epochs=5)
    view = Compare(["a", "b"], live=False)
    assert view.differences.loc["network.num_classes"].tolist() == [10, 4]
    told = {row["field"]: row for row in view.table.differences["rows"]}
    assert told["optim.epochs"]["values"] == ["20", "5"] and told["optim.epochs"]["sentence"]
    axis = view.figure.layout.yaxis
    assert axis.title.text == "share of log C" and axis.tickformat == ".0%"
    view.close()


def test_a_pair_goes_to_the_browser_as_columns_of_bytes(three):
    from twist.runs.comparison import compare

    one, two = read(three / "good"), read(three / "one")
    found, snapshots = compare(one, two)
    table = pair_table(found, snapshots, one.watch())
    counts = np.frombuffer(table["counts"], "<i4").reshape(len(table["order"][0]), len(table["order"][1]))
    assert counts.sum() == 60 == table["count"]
    assert len(np.frombuffer(table["columns"]["disagreement"], "<f4")) == 60
    assert table["titles"][0][0].startswith("kind ")
    assert all(len(best) == 3 for side in table["best"] for best in side)
    unlabeled = read(make_run(three, name="blind", num_samples=60, labels=False))
    table = pair_table(*compare(unlabeled, one), unlabeled.watch())
    assert table["columns"]["label"] == b"" and set(table["titles"][0]) == {""}


def test_thumbnails_are_sent_when_they_are_asked_for(view):
    sent = []
    view.pair.send = lambda message, buffers=None: sent.append((message, buffers))
    view.pair._hear(view.pair, {"type": "tiles", "id": "7", "rows": [0, 5, 59]}, [])
    message, buffers = sent.pop()
    assert message["id"] == "7" and message["tile"] == 8 and len(buffers) == 1
    view.pair._hear(view.pair, {"type": "tiles", "id": "8", "rows": [999]}, [])
    assert sent.pop() == ({"type": "tiles", "id": "8"}, None)
    view.pair._hear(view.pair, "nonsense", [])
    assert not sent


def test_a_static_copy_needs_no_kernel_and_shows_hostile_names_as_text(three):
    keeping.tag(three / "good", EVIL[:38])
    view = Compare(["good", "flat"], live=False)
    copy = view._repr_mimebundle_()["text/html"]
    assert "good" in copy and "matched classes" in copy and "<script" not in copy and "<img" not in copy
    view.close()


# ---------------------------------------------------------------------------------------------------------------------
# What may go wrong


def test_bad_arguments_are_one_sentence(three, tmp_path):
    for runs, said in (
        (["good", "good"], "good is given twice"),
        (["good", "nothing"], "there is no run 'nothing'"),
    ):
        with pytest.raises(ConfigError, match=said):
            Compare(runs, live=False)
    for i in range(7):
        shutil.copytree(three / "good", three / f"r{i}")
    with pytest.raises(ConfigError, match="7 runs are given: compare at most 6"):
        Compare([f"r{i}" for i in range(7)], live=False)
    far = make_run(tmp_path / "elsewhere", name="far", num_samples=30)
    with pytest.raises(ConfigError, match="far lies in another folder of runs"):
        Compare(["good", far], live=False)


def test_an_empty_folder_one_run_and_runs_without_anything_are_told(runs):
    empty = Compare(live=False)
    assert empty.table.rows == [] and empty.pair.status["state"] == "empty"
    empty.close()
    make_run(runs, name="bare", num_samples=30, snapshots=0, labels=False)
    make_run(runs, name="bare2", num_samples=30, snapshots=0, labels=False)
    view = Compare(["bare", "bare2"], live=False)
    assert view.pair.status == {"state": "error", "text": "run bare has no snapshot yet"}
    assert view.comparison is None
    view.close()


def test_a_damaged_run_can_be_chosen_and_costs_its_own_part_alone(three):
    (three / "flat" / "recipe.json").write_text("[]")
    shutil.rmtree(three / "one" / "snapshots")
    view = Compare(["good", "flat", "one"], live=False)
    assert view.table.differences["problems"] == [
        "flat cannot be compared: flat/recipe.json cannot be read: not an object"
    ]
    assert view.table.differences["places"] == [0, 2]
    assert {trace.name[0] for trace in view.figure.data if trace.name} == {"A", "C"}  # letters stay those of the table
    assert view.pair.status == {"state": "error", "text": "run one has no snapshot yet"}
    view.pair.pair = ["good", "flat"]
    assert view.pair.status == {"state": "error", "text": view.table.differences["problems"][0]}
    assert set(rows_of(view)) == {"good", "flat", "one"}
    view.close()


def test_a_run_that_vanishes_leaves_the_choice_and_is_named(view, three):
    shutil.rmtree(three / "flat")
    view.refresh()
    assert view.selected == ["good"]
    assert "flat: renamed, moved or deleted meanwhile" in view.table.notice["text"]


def test_other_images_are_explained(three):
    make_run(three, "shortcut", name="lit", num_samples=60)
    view = Compare(["good", "lit"], live=False)
    assert view.pair.status["state"] == "error" and "watch other images" in view.pair.status["text"]
    view.close()


def test_hostile_text_is_escaped_in_the_figure(runs):
    path = make_history(runs, np.zeros((3, 20), int), num_classes=3)
    write_json(path / "run.json", {**json.loads((path / "run.json").read_text()), "id": EVIL})
    figure = overlay([read(path)])
    words = json.dumps(figure.to_plotly_json(), default=str)
    assert "<img" not in words and "\\href" not in words.replace("&#36;", "$").split("$")[0]


# ---------------------------------------------------------------------------------------------------------------------
# What is done to runs


def test_tags_and_rename_are_asked_then_done_and_the_choice_follows(view, three):
    say(view, "ask", "tags", "good")
    assert view.table.question["verb"] == "Keep tags"
    say(view, "do", "tags", "good", tags="paper, seed 0")
    assert view.table.question == {} and "paper, seed 0" in view.table.notice["text"]
    assert rows_of(view)["good"]["tags"] == ["paper", "seed 0"]
    say(view, "do", "tags", "good", tags="")
    assert keeping.tags_of(three / "good") == ()
    say(view, "ask", "rename", "good")
    say(view, "do", "rename", "good", name="../x")
    assert "cannot name a folder" in view.table.question["problem"]
    assert view.table.question["fields"][0]["value"] == "../x"
    say(view, "do", "rename", "good", name="better")
    assert view.selected == ["better", "flat"] and view.comparison.names == ("better", "flat")


def test_deletion_needs_the_name_and_a_confirmation(view, three):
    say(view, "ask", "delete", "flat")
    assert view.table.question["needs"] == "flat" and "nothing brings it back" in view.table.question["sentence"]
    say(view, "do", "delete", "flat", confirm="fla")
    assert "confirm it with its name" in view.table.question["problem"] and (three / "flat").is_dir()
    say(view, "close")
    assert view.table.question == {}
    say(view, "ask", "delete", "flat")
    say(view, "do", "delete", "flat", confirm="flat")
    assert not (three / "flat").exists() and view.selected == ["good"]
    assert view.table.notice == {"state": "done", "text": "flat is deleted."}


def test_thinning_is_a_dry_run_until_it_is_confirmed(three):
    path = make_run(three, name="long", num_samples=30, snapshots=21)
    view = Compare(live=False)
    say(view, "ask", "thin", "long")
    assert "11 snapshots of long would go" in view.table.question["sentence"]
    say(view, "ask", "thin", "long", checkpoints="2", snapshots="1")
    assert "14 snapshots of long would go" in view.table.question["sentence"]
    say(view, "ask", "thin", "long", checkpoints="2", snapshots="none")
    assert "give a whole number from 1" in view.table.question["problem"]
    assert len(list((path / "snapshots").iterdir())) == 21
    say(view, "do", "thin", "long", checkpoints="2", snapshots="1")
    assert "is thinned" in view.table.notice["text"] and len(list((path / "snapshots").iterdir())) == 7
    view.close()


def test_a_fork_is_made_and_joins_the_choice(three, monkeypatch):
    make_run(three, name="long", num_samples=300)
    files = {"network.safetensors": b"w", "state.json": json.dumps({"step": 70, "facts": {}}).encode()}
    write_sealed_folder(three / "long" / "checkpoints" / step_folder(70), files, {"step": 70})
    started = []
    monkeypatch.setattr(compare_actions, "start", started.append)
    view = Compare(["long"], live=False)
    say(view, "ask", "fork", "flat")
    assert "has no checkpoint yet" in view.table.notice["text"]
    say(view, "ask", "fork", "long")
    fields = {field["name"]: field for field in view.table.question["fields"]}
    assert fields["step"]["choices"] == ["70"] and fields["changes"]["value"] == "optim.epochs=40"
    assert "Passes over the images" in fields["changes"]["helps"]["optim.epochs"]
    for changes, said in (("optim.epochs", "has no '='"), ("network.num_classes=3", "a fork keeps the network")):
        say(view, "do", "fork", "long", step="70", name="child", changes=changes)
        assert said in view.table.question["problem"] and not started
    say(view, "do", "fork", "long", step="70", name="child", changes="optim.epochs=400\nseed = 5\n")
    assert [path.name for path in started] == ["child"] and view.selected == ["long", "child"]
    assert rows_of(view)["child"]["parent"] == "long"
    view.close()


def test_requests_that_nobody_could_make_change_nothing(view, three):
    before = sorted(path.name for path in three.iterdir())
    for message in ({}, [], None, {"type": "do"}, {"type": "do", "action": "delete", "run": "../good"}):
        view.table._hear(view.table, message, [])
    say(view, "do", "format", "good", confirm="good")
    say(view, "ask", "delete", str(three / "good"))
    say(view, "do", "delete", "..", confirm="..")
    assert sorted(path.name for path in three.iterdir()) == before
    assert view.table.notice["state"] == "error"


def test_every_question_is_answered_also_where_nothing_changes(view, monkeypatch):
    sent = []
    monkeypatch.setattr(view.table, "send", lambda message, buffers=None: sent.append(message["type"]))
    say(view, "ask", "fork", "flat")
    say(view, "ask", "fork", "flat")  # refused in the same words
    say(view, "ask", "rename", "good")
    for _ in range(2):
        say(view, "do", "rename", "good", name="../x")
    say(view, "close")
    assert sent == ["answered"] * 5


def test_a_run_let_go_of_during_a_look_costs_nothing(view, monkeypatch):
    """The browser sets what is selected while the thread looks."""
    shown, show = [], view._show_rows

    def meanwhile():
        show()
        if not shown:
            shown.append(True)
            view.table.selected = ["flat"]

    monkeypatch.setattr(view, "_show_rows", meanwhile)
    monkeypatch.setattr(view, "_again", lambda: None)
    view._drawn = None
    view._look()
    assert view.table.differences["names"] == ["good", "flat"]
    view._look()
    assert view.table.differences["names"] == ["flat"] and view.pair.status["state"] == "empty"


def test_a_living_run_is_refused_in_words(view, three):
    from twist.runs.lock import free_lock, take_lock

    take_lock(three / "flat")
    try:
        say(view, "ask", "delete", "flat")
        say(view, "do", "delete", "flat", confirm="flat")
        assert "cannot be deleted while" in view.table.question["problem"]
    finally:
        free_lock(three / "flat")


# ---------------------------------------------------------------------------------------------------------------------
# How much is sent, and how often


def test_nothing_is_sent_while_nothing_changes_and_living_rows_go_alone(view, three, monkeypatch):
    sent = []
    monkeypatch.setattr(view.table, "send_state", lambda key=None: sent.append(key))
    before = view.table.rows
    view.refresh()
    assert not sent
    keeping.tag(three / "good", "new")
    view.refresh()
    assert len(sent) == 1 and view.table.rows is before
    assert view.table.living["good"]["tags"] == ["new"]


def test_a_thousand_runs_are_listed_within_a_second(runs):
    first = make_run(runs, name="run0", num_samples=30, epochs=2)
    for number in range(1, 1000):
        shutil.copytree(first, runs / f"run{number}")
    from twist.runs.listing import Listing

    Listing().look()  # what is imported, and the disk's cache
    began = time.perf_counter()
    assert len(Listing().look()) == 1000
    cold = time.perf_counter() - began
    table = Listing()
    table.look()
    began = time.perf_counter()
    table.look()
    assert time.perf_counter() - began < max(1.0, cold)
    assert cold < 5  # 0.4 s on an idle machine; this one may be busy


def test_the_running_mean_keeps_ends_and_mean():
    values = np.random.default_rng(0).standard_normal(1000)
    smooth = running_mean(values)
    assert np.allclose(smooth[[0, -1]], values[[0, -1]])
    assert smooth.std() < values.std() / 2
    assert running_mean(np.zeros(0)).shape == (0,)


def test_equal_recipes_and_one_recipe_differ_in_nothing(three):
    assert differences_table([read(three / "good")]) == differences_table([]) == []


def test_compare_is_a_public_verb():
    assert twist.Compare is Compare and callable(twist.fork)
