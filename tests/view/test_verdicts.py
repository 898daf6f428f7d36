"""A verdict is shown whole: since when, why, what is missing, and every number with its unit and reference."""

import html
import re

import pytest

from twist.runs.verdict import ALARMS, Evidence, Verdict
from twist.view.verdicts import evidence_table, measure, sign, since_words, verdict_html

EVIDENCE = (
    Evidence("train/sharpness", 1.19, 1.0886, "the least it can be", "nats"),
    Evidence("train/agreement", 0.125, 0.1, "by chance", "share"),
    Evidence("watch/dead_classes", 3.0, None, "all classes assigned", "classes"),
)


def found(**changes) -> Verdict:
    usual = Verdict(
        "uniform collapse", "Uniform collapse", "Flat.", "Raise it.", EVIDENCE, 200, ("A.", "B."), 120, ("C.",)
    )
    return usual._replace(**changes)


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", page)).split())


def test_the_box_says_since_when_why_and_what_is_missing():
    said = words(verdict_html(found()))
    for part in (
        "▲ Uniform collapse",
        "could first be said at step 120, and holds since",
        "Flat. Raise it.",
        "A. B.",
        "Missing: C.",
    ):
        assert part in said


def test_what_there_is_not_is_not_said():
    said = verdict_html(found(causes=(), since=None, missing=(), evidence=()))
    for part in ("causes", "step", "Missing", "<details", "<ul"):
        assert part not in said


def test_every_number_has_its_unit_and_reference():
    said = words(evidence_table(found()))
    for part in (
        "train/sharpness 1.19 nats 1.089 nats",
        "train/agreement 12.5 % 10 % by chance",
        "watch/dead_classes 3 classes",
    ):
        assert part in said


def test_what_could_be_said_only_now_does_not_claim_to_have_held():
    assert since_words(found(since=200)) == "could first be said at step 200"
    assert since_words(found(since=None)) == ""


@pytest.mark.parametrize("kind", sorted(ALARMS))
def test_every_alarm_has_the_sign_of_one(kind):
    assert sign(kind) == "▲"


def test_health_and_doubt_are_no_alarm():
    assert (sign("healthy"), sign("too early to say"), sign("plateau near uniform")) == ("✓", "…", "…")


def test_numbers_that_are_not_finite_are_spelled_out():
    assert measure(float("nan"), "nats") == "not finite" and measure(None, "share") == ""


def test_hostile_words_stay_text():
    hostile = "<img src=x onerror=alert(1)>"
    page = verdict_html(
        found(title=hostile, sentence=hostile, advice=hostile, causes=(hostile,), missing=(hostile,))._replace(
            evidence=(Evidence(hostile, 1.0, 1.0, hostile, hostile),)
        )
    )
    assert "<img" not in page
