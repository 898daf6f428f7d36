"""Exercises of the lecture: unanswered, right, wrong, and answers of kinds that nobody thought of."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from twist.lecture import exercise
from twist.lecture.exercise import AskedExercise, Exercise, exercises_of, lesson_names
from twist.lecture.judges import array_near, choice, near, rows_of
from twist.runs.config import ConfigError

ALL = [(lesson, each) for lesson in lesson_names() for each in exercises_of(lesson)]
every = pytest.mark.parametrize(("lesson", "each"), ALL, ids=[f"{lesson}.{each.name}" for lesson, each in ALL])
#: Answers of kinds that fit few questions.
ODD = (None, "", "banana", 1e9, float("nan"), [], {}, object(), np.zeros((0, 3)), lambda: None)


@every
def test_an_exercise_has_all_its_parts_and_its_solution_sets_the_answer(lesson, each):
    assert each.question and each.hint and each.solution and each.mistakes
    assert re.search(r"^(answer = |def answer\()", each.solution, re.M)
    assert len(each.solution.splitlines()) <= 8
    asked = exercise(f"{lesson}.{each.name}")
    assert each.hint in repr(asked.hint()) and each.solution in repr(asked.solution())
    assert repr(asked) == each.question


@every
def test_three_dots_are_no_answer_and_raise_nothing(lesson, each):
    said = exercise(f"{lesson}.{each.name}").check(...)
    assert said.state == "unanswered" and not said.passed
    assert "Not answered yet" in said._repr_html_()


@every
def test_every_usual_mistake_is_refused_with_a_sentence(lesson, each):
    for mistake in each.mistakes:
        said = exercise(f"{lesson}.{each.name}").check(mistake)
        assert said.state == "wrong" and said.sentence.endswith((".", "!", "?")), f"{mistake!r}: {said}"


@every
def test_odd_answers_are_refused_and_raise_nothing(lesson, each):
    for odd in ODD:
        assert not exercise(f"{lesson}.{each.name}").check(odd).passed, repr(odd)


def test_names_of_exercises_are_unique_and_an_unknown_one_names_the_nearest():
    assert len({(lesson, each.name) for lesson, each in ALL}) == len(ALL)
    with pytest.raises(ConfigError, match="three_terms.coin"):
        exercise("three_terms.coim")
    with pytest.raises(ConfigError, match="did you mean 'three_terms'"):
        exercise("three_term.coin")


def test_what_is_said_is_text_in_a_page_and_marks_are_words_too():
    asked = AskedExercise(
        Exercise(name="x", question="?", judge=lambda answer: f"<b>{answer}</b> is wrong.", hint="`1 < 2`", solution="")
    )
    assert "<code>1 &lt; 2</code>" in asked.hint()._repr_html_()
    shown = asked.check("<script>")._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "✗ Not yet." in shown and 'role="status"' in shown


def test_a_judge_of_numbers_takes_what_holds_one_and_says_which_side_it_is_off():
    judge = near(2.0, within=0.1, unit="nats", known={1.0: "That is in bits."})
    assert [judge(value) for value in (2, 2.05, np.float32(1.95), np.array([[2.0]]))] == [""] * 4
    assert judge(1.0) == "That is in bits."
    assert "too small" in judge(0.5) and "too large" in judge(3)
    assert judge(float("inf")) != ""


def test_a_judge_of_numbers_recognizes_a_mistake_by_its_own_size_and_names_a_share_as_one():
    asked = exercise("few_labels.standard_error")
    assert "in points of percent" in asked.check(0.0207).sentence and "square root" in asked.check(0.0429).sentence
    assert "epoch" not in exercise("a_table.hours").check(5).sentence
    judge = near(0.9, unit="the share")
    assert judge(0.5) == "The share is larger than that." and "in percent" in judge(90)
    assert near(0.9)([0.9]) == ""


def test_rows_are_taken_in_every_form_that_names_them():
    torch = pytest.importorskip("torch")
    forms = ([3, 1], (1, 3), {1, 3}, np.array([1, 3]), torch.tensor([3, 1]), [1.0, 3.0], range(1, 4, 2))
    masks = ([False, True, False, True], np.arange(4) % 2 == 1, torch.arange(4) % 2 == 1)
    assert [rows_of(form, 4).tolist() for form in (*forms, *masks)] == [[1, 3]] * 10
    for wrong in ([0.5], [True, False], ["one"], [float("nan")]):
        with pytest.raises(ValueError):
            rows_of(wrong, 4)
    risers = exercise("three_terms.risers")
    assert all(risers.check(form).passed for form in (0, [0], {0}, np.array([True, False, False])))
    assert not risers.check([0.5]).passed  # the probability of the class in place of its number


def test_who_names_only_the_row_is_told_that_the_run_is_asked_for_as_well():
    for name, answer in (("first_run.least-sure", 5), ("per_sample_entropy.least-sure", np.arange(40))):
        assert "answer = run, row" in exercise(name).check(answer).sentence


def test_a_judge_of_choices_answers_each_wrong_one_and_never_names_the_right_one_alone():
    judge = choice("Left", {"right": "There all is flat."})
    assert judge(" left ") == "" and judge("RIGHT") == "There all is flat."
    assert judge("up") == "Choose one of 'Left', 'right'."
    for name, word in (
        ("four_collapses.name-it", "Partial collapse"),
        ("four_collapses.usage", "mutual information"),
        ("exploring.far-apart", "Neither."),
        ("your_own_images.forget", "views__gray_probability"),
        ("your_own_images.forget", "gray_probability"),
    ):
        assert exercise(name).check(word).passed, word
    assert "near 0" in exercise("four_collapses.name-it").check("one class").sentence
    assert not exercise("four_collapses.name-it").check("not partial").passed


def test_a_judge_of_arrays_names_the_first_number_that_is_off():
    judge = array_near([1.0, 2.0, 3.0], within=0.1)
    assert judge((1, 2, 3.05)) == ""
    assert "Number 2 of 3" in judge([1, 5, 9]) and "(3,)" in judge([1.0])
    assert "Number 1 of 3" in judge([np.nan, 2, 3])


def test_the_exercises_load_no_torch_no_figures_and_no_widgets():
    code = (
        "import sys\nfrom twist.lecture.exercise import exercises_of, lesson_names\n"
        "for lesson in lesson_names(): exercises_of(lesson)\n"
        "print([name for name in ('torch', 'plotly', 'ipywidgets', 'umap', 'sklearn') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
