"""An exercise of the lecture: a question, a judge of answers, a hint, a solution; and what a notebook shows of it."""

from __future__ import annotations

import html
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twist.runs.fields import ConfigError, nearest

#: Judges an answer: empty when it is right, else one sentence that says what is wrong, never what would be right.
Judge = Callable[[Any], str]

_MARKS = {
    "right": ("✓", "Right", "#009E73"),
    "wrong": ("✗", "Not yet", "#D55E00"),
    "unanswered": ("…", "Not answered yet", "#0072B2"),
}
_MACHINERY = {"exercise", "judges", "pictures", "seen"}


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise of a lesson.

    Attributes
    ----------
    name
        Short name within its lesson; ``exercise("three_terms.coin")`` finds ``coin`` of `twist.lecture.three_terms`.
    question
        What is asked; the text cell above the answer holds these words.
    judge
        Returns "" for a right answer, else one sentence on what is wrong. It may raise for an answer of a wrong kind.
    hint
        Where to look, without the answer.
    solution
        Python that sets ``answer``; the folded cell of the notebook holds it below ``# Solution: click to open``.
    why
        What a right answer shows, in a sentence or two; said with it.
    mistakes
        Wrong answers as they are often given; tests hold that the judge refuses each.
    """

    name: str
    question: str
    judge: Judge
    hint: str
    solution: str
    why: str = ""
    mistakes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Feedback:
    """What is said to an answer.

    Attributes
    ----------
    state
        right, wrong or unanswered.
    sentence
        What is wrong with it; for a right answer what it shows.
    """

    state: str
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether the answer was right."""
        return self.state == "right"

    def __repr__(self) -> str:
        mark, word, _ = _MARKS[self.state]
        return f"{mark} {word}. {self.sentence}".rstrip()

    def _repr_html_(self) -> str:
        mark, word, color = _MARKS[self.state]
        return _box(f"<b>{mark} {word}.</b> {_as_html(self.sentence)}", color)


@dataclass(frozen=True)
class Note:
    """A hint or a solution, for a notebook to show."""

    title: str
    text: str
    is_code: bool = False

    def __repr__(self) -> str:
        return f"{self.title}: {self.text}" if not self.is_code else f"{self.title}:\n{self.text}"

    def _repr_html_(self) -> str:
        body = f"<pre>{html.escape(self.text)}</pre>" if self.is_code else _as_html(self.text)
        return _box(f"<b>{self.title}.</b> {body}", "#0072B2")


class AskedExercise:
    """An exercise as a student meets it: check an answer, ask for a hint, look at the solution."""

    def __init__(self, exercise: Exercise):
        self._exercise = exercise

    def check(self, answer: Any) -> Feedback:
        """Whether the answer is right, and else what is wrong with it; ``...`` counts as not answered yet.

        Nothing is raised, whatever is answered: a notebook goes on.
        """
        if answer is ...:
            return Feedback("unanswered", "Put your answer in the place of the three dots, and run the cell again.")
        try:
            wrong = self._exercise.judge(answer)
        except Exception as error:  # what a judge cannot read is an answer of a wrong kind
            kind = type(answer).__name__
            return Feedback(
                "wrong", f"An answer of type {kind} cannot be judged here ({error}): read what is asked for."
            )
        return Feedback("wrong", wrong) if wrong else Feedback("right", self._exercise.why)

    def hint(self) -> Note:
        """Where to look, without the answer."""
        return Note("Hint", self._exercise.hint)

    def solution(self) -> Note:
        """One way to the answer, as code."""
        return Note("Solution", self._exercise.solution, is_code=True)

    def __repr__(self) -> str:
        return self._exercise.question


def exercise(name: str) -> AskedExercise:
    """The exercise of a name, lesson and exercise joined by a dot.

    Raises
    ------
    ConfigError
        When there is no such lesson, or no such exercise in it.

    Examples
    --------
    >>> exercise("three_terms.coin").check(...)
    … Not answered yet. Put your answer in the place of the three dots, and run the cell again.
    >>> exercise("three_terms.coin").check(0.693).passed
    True
    """
    lesson, _, short = name.partition(".")
    lessons = lesson_names()
    if lesson not in lessons:
        known = ", ".join(lessons)
        raise ConfigError(f"no lesson is named {lesson!r}{nearest(lesson, lessons)}: choose one of {known}")
    found = {each.name: each for each in exercises_of(lesson)}
    if short not in found:
        known = ", ".join(f"{lesson}.{each}" for each in found)
        raise ConfigError(f"no exercise is named {name!r}{nearest(short, found)}: choose one of {known}")
    return AskedExercise(found[short])


def lesson_names() -> list[str]:
    """Names of the lessons with exercises: the modules of this package but its machinery."""
    import twist.lecture

    names = {module.name for module in pkgutil.iter_modules(twist.lecture.__path__)}
    return sorted(names - _MACHINERY)


def exercises_of(lesson: str) -> tuple[Exercise, ...]:
    """All exercises of a lesson, in the order of its notebook."""
    return importlib.import_module(f"twist.lecture.{lesson}").EXERCISES


def _as_html(text: str) -> str:
    """Text as it is, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _box(body: str, color: str) -> str:
    """One line beside a colored rule, in the colors of the page it stands in."""
    return (
        f'<div role="status" style="border-left: 4px solid {color}; padding: 4px 10px; margin: 2px 0; '
        f'font-family: var(--jp-content-font-family, sans-serif); max-width: 46em">{body}</div>'
    )
