"""Names of classes: kept whole, plain text, two writers at once."""

from __future__ import annotations

import json
import threading

import pytest

from twist.runs.class_names import FILE, ClassName, class_names, name_class
from twist.runs.config import ConfigError
from twist.runs.store import RecordError


def test_a_name_and_a_note_are_kept_and_taken_away(tmp_path):
    assert class_names(tmp_path) == {}
    name_class(tmp_path, 3, name="cats")
    name_class(tmp_path, 3, note="mostly indoors\nsome dogs")
    name_class(tmp_path, 0, name="sky")
    assert class_names(tmp_path) == {0: ("sky", ""), 3: ("cats", "mostly indoors\nsome dogs")}
    name_class(tmp_path, 0, name="  ")
    assert name_class(tmp_path, 3, name="") == {3: ClassName("", "mostly indoors\nsome dogs")} == class_names(tmp_path)


def test_text_is_plain_and_of_bounded_length(tmp_path):
    name_class(tmp_path, 1, name="<img src=x>\x1b[31m\n two \u202e lines")
    assert class_names(tmp_path)[1].name == "<img src=x> [31m two lines"
    with pytest.raises(ConfigError, match="the name of class 1 has 81 characters: give 80 at most"):
        name_class(tmp_path, 1, name="x" * 81)
    for wrong in (-1, True, "3"):
        with pytest.raises(ConfigError, match="no class of a run"):
            name_class(tmp_path, wrong, name="x")


def test_a_damaged_file_is_told_and_not_overwritten(tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(RecordError, match="holds no names of classes"):
        name_class(tmp_path, 1, name="x")
    assert (tmp_path / FILE).read_text() == "{"


def test_entries_that_are_no_names_are_left_out(tmp_path):
    entries = {
        "1": {"name": 5, "note": "kept"},
        "-2": {"name": "a"},
        "x": {"name": "b"},
        "4": "c",
        "²": {"name": "d"},
        "9" * 5000: {"name": "e"},
    }
    (tmp_path / FILE).write_text(json.dumps({"schema": 1, "classes": entries}))
    assert class_names(tmp_path) == {1: ("", "kept")}


def test_writers_in_turn_lose_nothing(tmp_path):
    threads = [threading.Thread(target=name_class, args=(tmp_path, k, f"class {k}")) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(class_names(tmp_path)) == 12
