"""Records of evaluations: written whole, read back, damage named, questions told apart, no folder of the machine."""

from __future__ import annotations

import dataclasses
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_result, make_run

from twist.runs import result_tables
from twist.runs.config import ConfigError
from twist.runs.keeping import delete, rename
from twist.runs.placeless import without_folders
from twist.runs.result_tables import results
from twist.runs.results import (
    Found,
    ImageFacts,
    ModelFacts,
    Overlap,
    Result,
    check_place,
    find_results,
    read_result,
    read_results,
    result_bytes,
    results_root,
    write_result,
)
from twist.runs.store import RecordError


def test_a_record_is_read_back_as_it_was_written_in_the_folder_of_its_run(runs):
    path = make_run(runs, name="mine")
    written = write_result(make_result(), path)
    assert written.file.parent == path / "evaluations"
    assert read_result(written.file) == written
    assert find_results("mine").results == [written] == find_results().results
    assert written.run == "mine" and written.question == make_result().question


@given(st.lists(st.floats(allow_infinity=False), min_size=2, max_size=4), st.text(max_size=40))
def test_any_scores_and_words_survive_the_file(tmp_path_factory, values, words):
    result = make_result(seeds=tuple(range(len(values))), scores={"nmi": tuple(values)}, notes=(words,))
    file = tmp_path_factory.getbasetemp() / "one.json"
    file.write_bytes(result_bytes(result))
    again = read_result(file)
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(again.scores["nmi"], values, strict=True))
    assert again.notes == (without_folders(words),)


def test_what_is_no_run_has_its_results_beside_the_folder_of_runs(runs):
    runs.mkdir()
    model = ModelFacts("timm:resnet18", "timm", "ffff")
    written = write_result(make_result(model=model))
    assert written.file.parent == results_root() == runs.parent / "results"
    assert find_results("timm:resnet18").results == [written]
    with pytest.raises(ConfigError, match="no run and no result called 'timm:resnet19'.*timm:resnet18"):
        find_results("timm:resnet19")


def test_no_folder_of_the_machine_gets_into_a_record(runs):
    path = make_run(runs, name="mine")
    facts = {"run": "mine", "file": "/home/me/nets/net.pth"}
    told = make_result(
        command=f"twist evaluate {path} --data=/home/me/images",
        model=ModelFacts("/home/me/nets/net.pth", "file", "ab", facts),
        notes=("(/var/data/x.npz) was read", "3/4 of all"),
    )
    content = write_result(told, path).file.read_text()
    assert "/home" not in content and str(runs) not in content and "/var" not in content
    assert "twist evaluate mine --data=images" in content and "3/4 of all" in content


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[: len(raw) // 2], "is left out"),
        (lambda raw: raw.replace(b"0.9", b"0.99"), "differs from its checksum"),
        (lambda raw: b"[1, 2]", "holds no record"),
        (lambda raw: b"\xff\xfe\x00", "is left out"),
        (lambda raw: raw.replace(b'"schema": 1', b'"schema": 7'), "newer twist, schema 7"),
        (lambda raw: b"[" * 100_000, "is left out"),
        (lambda raw: b'{"a": ' + b"1" * 1_100_000 + b"}", "too large"),
    ],
)
def test_a_damaged_record_is_named_and_the_others_are_read(runs, damage, says):
    path = make_run(runs, name="mine")
    sound = write_result(make_result(), path)
    bad = path / "evaluations" / "bad.json"
    bad.write_bytes(damage(sound.file.read_bytes()))
    (path / "evaluations" / ".half.json").write_bytes(b"{")
    found = read_results(path / "evaluations")
    assert found.results == [sound]
    assert len(found.problems) == 1 and "mine/evaluations/bad.json" in found.problems[0] and says in found.problems[0]
    assert results("mine").attrs["problems"] == found.problems


def test_a_record_with_a_right_checksum_and_missing_fields_is_named(tmp_path):
    from twist.runs.results import _checksum

    for record in ({"schema": 1}, {"schema": 1, "scores": {"a": [1, 2]}, "seeds": [0]}):
        file = tmp_path / "strange.json"
        file.write_text(json.dumps({**record, "checksum": _checksum(record)}))
        with pytest.raises(RecordError, match="strange.json is left out"):
            read_result(file)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "linear"},
        {"settings": {"k": [10]}},
        {"model": ModelFacts("mine @ step 140", "run", "another")},
        {"asked": ImageFacts("digits", "test", 359, "cccc")},
        {"known": None},
        {"seeds": (1,)},
    ],
)
def test_another_question_has_another_identity(change):
    assert make_result(**change).question != make_result().question


def test_names_notes_time_and_numbers_do_not_make_another_question():
    other = make_result(
        model=ModelFacts("renamed", "run", "0123456789abcdef"), notes=(), created="", scores={"accuracy_k10": (0.1,)}
    )
    assert other.question == make_result().question


def test_the_newest_answer_is_shown_and_a_different_one_is_said():
    first = make_result()
    same = make_result(created="2026-11-26T10:00:00+00:00")
    other = make_result(
        created="2026-11-27T10:00:00+00:00",
        scores={"accuracy_k10": (0.9,), "accuracy_k20": (0.7,)},
        hardware={"processor": "one", "threads": 8},
    )
    assert Found([first, same], []).disagreements == []
    found = Found([first, same, other], [])
    assert found.newest == [other]
    (sentence,) = found.disagreements
    assert "accuracy_k20 0.8000" in sentence and "0.7000" in sentence and "threads 1 and 8" in sentence
    nan = make_result(scores={"nmi": (math.nan,)})
    assert Found([nan, dataclasses.replace(nan)], []).disagreements == []


def test_results_follow_a_renamed_run_and_bring_back_none_that_is_gone(runs):
    path = make_run(runs, name="mine")
    write_result(make_result(), path)
    rename(path, "yours")
    (found,) = find_results("yours").results
    assert found.source == "yours @ step 140" and found.run == "yours"
    assert write_result(make_result(), path).run == "yours"  # an evaluation that began before
    assert not path.exists()
    delete(runs / "yours", confirm="yours")
    with pytest.raises(RecordError, match="deleted or moved"):
        write_result(make_result(), runs / "yours")
    assert not (runs / "yours").exists()


def test_the_table_has_a_row_for_every_score_with_mean_and_sample_std(runs):
    path = make_run(runs, name="mine")
    write_result(make_result(seeds=(0, 1, 2), scores={"accuracy": (0.1, 0.2, 0.3), "nmi": (0.5, 0.5, 0.5)}), path)
    write_result(make_result(protocol="linear", scores={"accuracy": (0.7,)}), path)
    table = results("mine").set_index(["protocol", "score"])
    assert len(table) == 3
    assert table.loc[("knn", "accuracy"), "mean"] == pytest.approx(0.2)
    assert table.loc[("knn", "accuracy"), "std"] == pytest.approx(0.1)
    assert table.loc[("knn", "accuracy"), "seeds"] == 3
    assert math.isnan(table.loc[("linear", "accuracy"), "std"])
    assert table.attrs["problems"] == []
    assert list(results(make_run(runs, name="empty")).columns) == list(results("mine").columns)


def test_models_stand_side_by_side_on_the_same_images_only():
    mine = make_result()
    random = make_result(model=ModelFacts("random:mine", "random", "cc"), scores={"accuracy_k10": (0.5,)})
    elsewhere = make_result(asked=ImageFacts("mnist", "test", 10, "zz"))
    classes = make_result(
        protocol="classes", known=None, overlap=None, scores={"matched_accuracy": (0.95,), "ari": (0.9,)}
    )
    groups = result_tables.groups([mine, random, elsewhere, classes])
    assert [group.models for group in groups] == [["mine @ step 140", "random:mine"], ["mine @ step 140"]]
    table = result_tables.side_by_side(groups[0])
    assert table.loc["mine @ step 140"].tolist() == ["0.900", "0.950"]
    assert table.loc["random:mine"].tolist() == ["0.500", "–"]
    assert list(table.columns) == ["kNN k = 10", "its classes matched"]
    text = result_tables.markdown([mine, random])
    assert "| random:mine | 0.500 |" in text and "1,438 known" in text


def test_overlap_is_said_in_words_and_makes_the_scores_no_test():
    said = " ".join(result_tables.words([make_result(overlap=Overlap(36, 36 / 359))]))
    assert "36 of the 359 asked images (10.0 %) stand among the known ones" in said and "no test" in said
    said = " ".join(result_tables.words([make_result()]))
    assert "None of the asked images stands among the known" in said
    assert "0.900 is known to ± 0.016" in said and "Nothing was augmented." in said


def test_runs_that_differ_in_their_seed_alone_are_one_row_with_their_spread():
    def one(seed: int, score: float, recipe: str = "aa") -> Result:
        facts = {"run": f"r{seed}", "recipe": "digits", "recipe_hash": recipe, "seed": seed, "step": 140}
        return make_result(
            model=ModelFacts(f"r{seed} @ step 140", "run", f"id{seed}", facts), scores={"accuracy": (score,)}
        )

    merged = result_tables.over_runs([one(0, 0.8), one(1, 0.9), one(2, 0.1, "bb"), make_result()])
    assert [result.model.name for result in merged] == ["digits, 2 runs", "r2 @ step 140", "mine @ step 140"]
    assert merged[0].scores["accuracy"] == (0.8, 0.9) and merged[0].seeds == (0, 1)


def test_a_place_that_takes_no_record_is_refused_before_anything_is_computed(runs, monkeypatch):
    path = make_run(runs, name="mine")
    check_place(path)
    check_place(None)
    asked = []
    monkeypatch.setattr(os, "access", lambda folder, mode: asked.append(folder))
    with pytest.raises(ConfigError, match="'mine' cannot be written to.*TWIST_RUNS"):
        check_place(path)
    assert asked == [path]  # the nearest folder that exists


def test_scores_are_spelled_with_their_spread():
    assert result_tables.spell([0.5, math.nan]) == "–"
    assert result_tables.standard_error(0.5, 100) == pytest.approx(0.05)
    assert result_tables.score_words("accuracy_k20_t0.1").endswith("nearer ones count more")
    assert (
        result_tables.protocol_title(make_result(protocol="finetune", settings={"fraction": 0.01})) == "fine-tuned, 1 %"
    )
    few = make_result(protocol="finetune", settings={"fraction": 1e-6, "labels": 10})
    assert result_tables.protocol_title(few) == "fine-tuned, 10 labels"
