"""Tags, names, deletion: what is a person's, what is never touched, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import psutil
import pytest
from synthetic import make_run

from twist.runs import keeping
from twist.runs.config import ConfigError
from twist.runs.folders import find_run, former_names, run_paths
from twist.runs.handle import Run
from twist.runs.lock import free_lock, take_lock
from twist.runs.store import RecordError, write_json


@pytest.fixture
def run(runs):
    return make_run(runs, name="first", num_samples=60)


def test_tags_are_kept_in_order_once_each_and_change_nothing_else(run):
    before = (run / "run.json").stat().st_mtime_ns
    assert keeping.tags_of(run) == ()
    assert keeping.tag(run, "good", " paper ", "good") == ("good", "paper")
    assert keeping.tag(run, "λ=1 <b>") == ("good", "paper", "λ=1 <b>")
    assert keeping.tag(run, without=["paper"]) == keeping.tags_of(run) == ("good", "λ=1 <b>")
    assert (run / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("bad", ["", "  ", "x" * 41, "a\nb", "a,b", "\x00", None, 3])
def test_a_bad_tag_is_refused_and_nothing_written(run, bad):
    with pytest.raises(ConfigError, match="is no tag"):
        keeping.tag(run, "good", bad)
    assert not (run / "keeping.json").exists()


def test_too_many_tags_and_missing_ones_are_refused(run):
    keeping.tag(run, *map(str, range(20)))
    with pytest.raises(ConfigError, match="would have 21 tags"):
        keeping.tag(run, "one more")
    with pytest.raises(ConfigError, match="no tag 'x': its tags are '0', '1'"):
        keeping.tag(run, "fine", without=["x"])
    with pytest.raises(ConfigError, match="would have 21 tags"):
        keeping.tag(run, "a", "b", without=["0"])
    assert keeping.tags_of(run) == tuple(map(str, range(20)))
    assert len(keeping.tag(run, "a", without=["0"])) == 20


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b'{"tags": 3}', b'{"tags": [1, null, "a", "\\u001b[31m", ""]}', b"\xff\x00"]
)
def test_a_damaged_note_costs_the_note_alone(run, damage):
    (run / "keeping.json").write_bytes(damage)
    assert keeping.tags_of(run) in ((), ("a",))
    keeping.tag(run, "new")
    assert keeping.tags_of(run)[-1] == "new"


def test_tags_given_at_once_by_two_processes_are_all_kept(run):
    code = (
        "import sys, pathlib; from twist.runs.keeping import tag\n"
        "for n in range(8): tag(pathlib.Path(sys.argv[1]), f'{sys.argv[2]}{n}')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(run), name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(keeping.tags_of(run)) == sorted(f"{name}{n}" for name in "ab" for n in range(8))


def test_whoever_waited_for_the_lock_of_a_run_that_was_renamed_meanwhile_does_not_get_it(runs, run, monkeypatch):
    opened = os.open

    def renamed_in_between(*arguments):
        descriptor = opened(*arguments)
        monkeypatch.undo()
        keeping.rename(run, "better")
        return descriptor

    monkeypatch.setattr("twist.runs.lock.os.open", renamed_in_between)
    assert take_lock(run) is None
    assert take_lock(runs / "better") is not None
    free_lock(runs / "better")
    assert not run.exists()


def test_a_renamed_run_keeps_record_and_age_and_its_old_name_says_where_it_is(runs, run):
    second = make_run(runs, name="second", num_samples=60)
    handle, identity = Run(run), json.loads((run / "run.json").read_text())
    moved = keeping.rename(run, "better")
    assert moved == runs / "better" and not run.exists()
    assert run_paths(runs) == [moved, second]
    assert json.loads((moved / "run.json").read_text()) == identity
    assert former_names(moved) == ("first",)
    with pytest.raises(ConfigError, match="there is no run 'first' in .*: it is called 'better' now"):
        find_run("first")
    with pytest.raises(RecordError, match="no run 'first' any more: it is called 'better' now"):
        _ = handle.status
    assert Run(moved).status.state == "COMPLETED"
    assert keeping.rename(moved, "first") == run  # and back
    assert former_names(run) == ("better",)


@pytest.mark.parametrize("bad", ["../x", "", "a/b", "con", ".hidden", "x" * 101, "last", "a\n"])
def test_a_bad_new_name_is_refused(run, bad):
    with pytest.raises(ConfigError, match="run name"):
        keeping.rename(run, bad)
    assert run.is_dir()


def test_a_taken_name_is_refused_even_by_a_file_or_a_broken_link(runs, run):
    make_run(runs, name="second", num_samples=60)
    (runs / "file").write_text("mine")
    (runs / "empty").mkdir()
    (runs / "link").symlink_to(runs / "nowhere")
    for taken in ("second", "file", "empty", "link", "first"):
        with pytest.raises(ConfigError, match="is taken"):
            keeping.rename(run, taken)
    assert run.is_dir()


def test_a_living_run_is_neither_renamed_nor_deleted(runs, run):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from twist.runs.lock import take_lock; "
            "print(take_lock(pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()",
            str(run),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline().strip().isdigit()
        for act in (lambda: keeping.rename(run, "other"), lambda: keeping.delete(run, confirm="first")):
            with pytest.raises(ConfigError, match=f"while process {holder.pid} works on it"):
                act()
    finally:
        holder.communicate()
    assert keeping.tag(run, "fine") == ("fine",)
    keeping.delete(run, confirm="first")


def test_a_trainer_whose_supervisor_was_killed_counts_as_alive(run):
    orphan = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        born = psutil.Process(orphan.pid).create_time()
        write_json(run / "heartbeat.json", {"trainer": orphan.pid, "trainer_born": born})
        with pytest.raises(ConfigError, match=f"while process {orphan.pid} works on it"):
            keeping.delete(run, confirm="first")
        write_json(
            run / "heartbeat.json", {"trainer": orphan.pid, "trainer_born": born - 5}
        )  # the number was given anew
        keeping.delete(run, confirm="first")
    finally:
        orphan.communicate()


def test_what_the_system_forbids_is_said_and_the_lock_is_free_again(run, monkeypatch):
    def forbidden(source, target):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("twist.runs.keeping.os.rename", forbidden)
    for act, done in (
        (lambda: keeping.rename(run, "x"), "renamed"),
        (lambda: keeping.delete(run, confirm="first"), "deleted"),
    ):
        with pytest.raises(ConfigError, match=f"first cannot be {done}: Permission denied"):
            act()
    monkeypatch.undo()
    assert former_names(run) == ()
    assert keeping.rename(run, "x").is_dir()


def test_deletion_asks_for_the_name_and_leaves_nothing(runs, run):
    for slip in ("", "First", "last", None):
        with pytest.raises(ConfigError, match="confirm it with its name"):
            keeping.delete(run, confirm=slip)
    assert run.is_dir()
    keeping.delete(run, confirm="first")
    assert list(runs.iterdir()) == []


def test_a_run_held_by_this_process_is_refused(run):
    assert take_lock(run) is not None
    try:
        with pytest.raises(ConfigError, match="works on it"):
            keeping.delete(run, confirm="first")
    finally:
        free_lock(run)


def test_links_are_not_followed(runs, run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (run / "snapshots" / "step-000000999").symlink_to(outside)
    (runs / "linked").symlink_to(run)
    for act in (
        lambda: keeping.delete(runs / "linked", confirm="linked"),
        lambda: keeping.rename(runs / "linked", "x"),
        lambda: keeping.tag(runs / "linked", "x"),
    ):
        with pytest.raises(ConfigError, match="is a link to another folder"):
            act()
    keeping.delete(run, confirm="first")
    assert (outside / "precious").read_text() == "kept"


def test_a_foreign_folder_is_left_alone(runs, run):
    foreign = runs / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text('{"name": "of another program"}')
    for act in (lambda: keeping.delete(foreign, confirm="foreign"), lambda: keeping.rename(foreign, "x")):
        with pytest.raises(ConfigError, match="is not a run folder of twist"):
            act()
    with pytest.raises(ConfigError, match="there is no run 'nothing'"):
        keeping.delete(runs / "nothing", confirm="nothing")


def test_a_run_whose_identity_is_torn_can_still_be_deleted(run):
    (run / "run.json").write_bytes(b'{"schema": 1, "na')
    keeping.delete(run, confirm="first")
    assert not run.exists()


def test_what_a_killed_deletion_left_is_hidden_and_goes_with_the_next(runs, run):
    shutil.copytree(run, runs / "second")
    os.rename(runs / "second", runs / ".twist-trash-second-00000000")  # killed right after the rename
    for foreign in (".trash-1000", ".twist-trash-mine"):
        (runs / foreign).mkdir()
    assert [path.name for path in run_paths(runs)] == ["first"]
    keeping.delete(run, confirm="first")
    assert sorted(path.name for path in runs.iterdir()) == [".trash-1000", ".twist-trash-mine"]
