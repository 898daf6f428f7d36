"""Chapters of the report say what is damaged, and go on."""

import json
import re

import numpy as np
import pytest
from synthetic import make_history, make_result, make_run, read

from twist.runs.results import ModelFacts, Overlap, write_result
from twist.runs.store import step_folder
from twist.view.chapters import classes_chapter, evaluations_chapter, images_chapter, shortcut_chapter
from twist.view.scene import Scene


@pytest.mark.parametrize("wrong", [4, -1, 2**30])
def test_a_class_that_the_run_does_not_have_is_named_and_ends_no_chapter(wrong, tmp_path):
    assignments = np.random.default_rng(0).integers(0, 4, (3, 40))
    record = read(make_history(tmp_path, assignments, num_classes=4, num_heads=2))
    file = record.path / "snapshots" / step_folder(10) / "assignment.npy"
    np.save(file, np.where(np.arange(40) == 7, wrong, assignments[1]).astype(np.int32))
    html = classes_chapter(record, Scene.of(record))
    assert f"step-000000010/assignment.npy names class {wrong}, of a run with 4 classes" in html
    assert "Every image through time" in images_chapter(record, Scene.of(record))


@pytest.mark.parametrize("facts", [{"sheets": []}, {"per_sheet": 7}])
def test_without_usable_thumbnails_the_chapter_on_shortcuts_says_so(facts, tmp_path):
    record = read(make_run(tmp_path, "shortcut"))
    assert re.search("<img class=.strip.", shortcut_chapter(record, Scene.of(record)))
    path = record.path / "watch" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    assert "one of them is missing or damaged" in shortcut_chapter(record, Scene.of(record))


def test_results_of_evaluations_stand_side_by_side_with_how_they_were_asked(tmp_path):
    record = read(make_run(tmp_path, name="mine"))
    assert "`twist evaluate mine random:mine`" in evaluations_chapter(record)
    untrained = ModelFacts("mine, <untrained>", "random", "cc", {"run": "mine"})
    write_result(make_result(model=untrained, scores={"accuracy_k10": (0.5, 0.6)}, seeds=(0, 1)), record.path)
    write_result(make_result(overlap=Overlap(7, 0.02)), record.path)
    (record.path / "evaluations" / "torn.json").write_text("{")
    html = evaluations_chapter(record)
    heads = re.findall("<th(?: [^>]*)?>(.*?)</th>", html)
    assert heads == ["protocol", "score", "mine @ step 140", "mine, &lt;untrained&gt;", "what it says"]
    assert re.findall('<td class="number">(.*?)</td>', html) == ["0.900", "0.550 ± 0.071 (2 seeds)", "0.800", "–"]
    assert "7 of the 359 asked images (2.0 %) stand among the known ones" in html and "Nothing was augmented." in html
    assert "mine/evaluations/torn.json is left out" in html and "<code>twist evaluate mine</code>" in html
