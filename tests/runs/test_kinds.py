"""The rules of the verdict, each on both sides of its boundary."""

import math
import re

import numpy as np
import pytest
from synthetic import facts

from twist.runs import kinds
from twist.runs.bounds import log_classes, sharpness_floor
from twist.runs.config import field_names
from twist.runs.evidence import evidence
from twist.runs.recipes import recipe
from twist.runs.shortcuts import Shortcut

C = 100
TOP = log_classes(C)
BEST = TOP - facts().floor
NEAR = 1e-3
FIELD = re.compile(r"\b(?:objective|optim|views|network|record|data)\.\w+")
UNITS = {"nats", "share", "classes", "directions", "logits"}


def batch(sharpness, diversity, **more):
    """Loss terms as shares of log C."""
    return {"sharpness": sharpness * TOP, "diversity": diversity * TOP, **more}


def informed(information, **more):
    """Diverse batches that hold so much, nats."""
    return {"sharpness": 0.99 * TOP - information, "diversity": 0.99 * TOP, **more}


def lit(**explained):
    together = explained.pop("together", 0.0)
    return Shortcut(explained, together, max(explained, key=explained.get), ())


FLAT = {**batch(0.99, 1.0), "row_std": 0.0}
APART = {"agreement": kinds.AGREE - NEAR, "consistency": 2.0}
FEW_ROWS = C ** (kinds.ROOM - 0.1)
LOW = {"watch/effective_rank": 10.0}
MUCH, LITTLE = (lit(brightness=kinds.EXPLAINED + side, blur=0.1) for side in (NEAR, -NEAR))
MUCH_TOGETHER, LITTLE_TOGETHER = (
    lit(brightness=0.1, blur=0.0, together=kinds.EXPLAINED_TOGETHER + side) for side in (NEAR, -NEAR)
)
# Rule, kind, what every case has, what is on its side of the boundary, what is on the other.
CASES = [
    ("uniform", "uniform collapse", {"row_std": 0.0}, batch(kinds.FLAT + NEAR, 1), batch(kinds.FLAT - NEAR, 1)),
    ("uniform", "uniform collapse", {}, batch(0.6, 0.6 + kinds.SAME - NEAR), batch(0.6, 0.6 + kinds.SAME + NEAR)),
    ("uniform", "uniform collapse", FLAT, {"row_std": kinds.STILL_ROWS - NEAR}, {"row_std": kinds.STILL_ROWS + NEAR}),
    ("uniform", "uniform collapse", {**FLAT, "row_std": math.nan}, {}, {"sharpness": math.nan}),
    ("uniform", "uniform collapse", {**FLAT, "warmup_steps": 200.0, "total_steps": 2000}, {"step": 200}, {"step": 199}),
    ("uniform", "uniform collapse", {**FLAT, "start_information": 0.0}, {"step": 100}, {"step": kinds.EARLY_STEPS - 1}),
    (
        "uniform",
        "uniform collapse",
        {**batch(1.0, 1.0), "start_information": 1.0},
        {"step": kinds.EARLIEST_STEPS},
        {"step": kinds.EARLIEST_STEPS - 1},
    ),
    (
        "one_class",
        "one-class collapse",
        {},
        batch(0.02, kinds.ONE_CLASS - NEAR),
        batch(0.02, kinds.ONE_CLASS + NEAR),
    ),
    (
        "one_class",
        "one-class collapse",
        {"step": kinds.EARLY_STEPS},
        batch(0.4, 0.4 + kinds.SAME - NEAR),
        batch(0.4, 0.4 + kinds.SAME + NEAR),
    ),
    (
        "one_class",
        "one-class collapse",
        batch(0.0, 0.0),
        {"step": kinds.EARLIEST_STEPS},
        {"step": kinds.EARLIEST_STEPS - 1},
    ),
    ("one_class", "one-class collapse", batch(0.01, 0.2), {"largest_share": 0.95}, {"largest_share": 0.5}),
    ("too_early", "too early to say", {}, {"step": kinds.EARLY_STEPS - 1}, {"step": kinds.EARLY_STEPS}),
    ("too_early", "too early to say", {"warmup_steps": 200.0, "total_steps": 2000}, {"step": 199}, {"step": 200}),
    ("too_early", "too early to say", {}, {"diversity": math.nan}, {}),
    (
        "batch_too_small",
        "batch too small",
        informed(0.1),
        {"cap": (kinds.ROOM - NEAR) * TOP},
        {"cap": (kinds.ROOM + NEAR) * TOP},
    ),
    (
        "batch_too_small",
        "batch too small",
        {"batch_size": int(FEW_ROWS), "cap": math.log(FEW_ROWS)},
        informed((kinds.ATTAINED - NEAR) * BEST),
        informed((kinds.ATTAINED + NEAR) * BEST),
    ),
    (
        "partial",
        "partial collapse",
        {},
        {"live_classes": (kinds.FEW - NEAR) * C},
        {"live_classes": (kinds.FEW + NEAR) * C},
    ),
    (
        "partial",
        "partial collapse",
        {"sharpness": 0.5, "live_classes": math.nan},
        {"diversity": math.log((kinds.FEW - NEAR) * C)},
        {"diversity": math.log((kinds.FEW + NEAR) * C)},
    ),
    (
        "partial",
        "partial collapse",
        {"batch_size": 50},
        {"live_classes": (kinds.FEW - NEAR) * 50},
        {"live_classes": (kinds.FEW + NEAR) * 50},
    ),
    ("noise", "overconfident noise", APART, {"stability": kinds.STABLE - NEAR}, {"stability": kinds.STABLE + NEAR}),
    (
        "noise",
        "overconfident noise",
        informed((kinds.SURE + NEAR) * BEST),
        {"stability": kinds.STABLE_WHEN_SURE - NEAR},
        {"stability": kinds.STABLE_WHEN_SURE + NEAR},
    ),
    (
        "noise",
        "overconfident noise",
        {"stability": kinds.STABLE_WHEN_SURE - NEAR},
        informed((kinds.SURE + NEAR) * BEST),
        informed((kinds.SURE - NEAR) * BEST),
    ),
    (
        "partial_already",
        "partial collapse",
        {"step": kinds.EARLY_STEPS - 1},
        {"diversity": math.log((kinds.VERY_FEW - NEAR) * C)},
        {"diversity": math.log((kinds.VERY_FEW + NEAR) * C)},
    ),
    (
        "partial_already",
        "partial collapse",
        {"live_classes": 1.0},
        {"step": kinds.EARLY_STEPS // 2},
        {"step": kinds.EARLY_STEPS // 2 - 1},
    ),
    (
        "dimensional",
        "dimensional collapse",
        {"start": {"watch/effective_rank": 100.0, "watch/centered_rank": 100.0}},
        {"watch": {"watch/effective_rank": kinds.CONE - NEAR, "watch/centered_rank": 90.0}},
        {"watch": {"watch/effective_rank": kinds.CONE + NEAR, "watch/centered_rank": 90.0}},
    ),
    ("noise", "overconfident noise", APART, {"stability": 0.0}, {"stability": math.nan}),
    (
        "inconsistent",
        "inconsistent views",
        {"consistency": 2.0},
        {"agreement": kinds.AGREE - NEAR},
        {"agreement": kinds.AGREE + NEAR},
    ),
    (
        "inconsistent",
        "inconsistent views",
        {"consistency": 2.0, "num_classes": 3},
        {"agreement": kinds.CHANCES / 3 - NEAR},
        {"agreement": kinds.CHANCES / 3 + NEAR},
    ),
    ("inconsistent", "inconsistent views", APART, {"consistency": 1.5}, {"consistency": 0.5}),
    (
        "dimensional",
        "dimensional collapse",
        {"start": {"watch/effective_rank": 1000.0}},
        {"watch": {"watch/effective_rank": (kinds.DIRECTIONS - NEAR) * C}},
        {"watch": {"watch/effective_rank": (kinds.DIRECTIONS + NEAR) * C}},
    ),
    (
        "dimensional",
        "dimensional collapse",
        {"start": {"watch/effective_rank": 20.0}},
        {"watch": {"watch/effective_rank": (kinds.LOST - NEAR) * 20}},
        {"watch": {"watch/effective_rank": (kinds.LOST + NEAR) * 20}},
    ),
    (
        "dimensional",
        "dimensional collapse",
        {"start": {"watch/effective_rank": 50.0, "watch/centered_rank": 40.0}},
        {"watch": {**LOW, "watch/centered_rank": (kinds.LOST - NEAR) * 40}},
        {"watch": {**LOW, "watch/centered_rank": (kinds.LOST + NEAR) * 40}},
    ),
    ("shortcut", "shortcut", {}, {"shortcuts": 2 * [MUCH]}, {"shortcuts": 2 * [LITTLE]}),
    ("shortcut", "shortcut", {}, {"shortcuts": 2 * [MUCH_TOGETHER]}, {"shortcuts": 2 * [LITTLE_TOGETHER]}),
    ("shortcut", "shortcut", {}, {"shortcuts": [MUCH, MUCH_TOGETHER]}, {"shortcuts": [MUCH, LITTLE]}),
    ("shortcut", "shortcut", {"shortcuts": [MUCH]}, {"end_reason": "completed"}, {"end_reason": None}),
    ("plateau", "plateau near uniform", {}, informed(0.02 * TOP), informed(0.5 * BEST)),
    (
        "plateau",
        "plateau near uniform",
        informed(0.3 * BEST),
        {"start_information": 0.3 * BEST + 0.01},
        {"start_information": 0.1 * BEST},
    ),
    ("not_finite", "not finite", {}, {"nonfinite": ("train/total",)}, {}),
]


def of_case(*parts, **more):
    """Facts of a case's parts; ``shortcuts`` among them are what the newest snapshots show."""
    changes = {**more}
    for part in parts:
        changes |= part
    return facts(*changes.pop("shortcuts", ()), **changes)


@pytest.mark.parametrize(("rule", "kind", "base", "inside", "outside"), CASES)
def test_each_rule_fires_on_its_side_of_its_boundary_alone(rule, kind, base, inside, outside):
    assert getattr(kinds, rule)(of_case(base, inside)).kind == kind
    assert getattr(kinds, rule)(of_case(base, outside)) is None


def test_every_rule_but_healthy_has_a_boundary_here_and_says_nothing_of_a_healthy_run():
    assert {rule.__name__ for rule in kinds.RULES} - {"healthy"} == {case[0] for case in CASES}
    assert [rule.__name__ for rule in kinds.RULES if rule(facts()) is not None] == ["healthy"]


GUILTY = {
    "objective__consistency_weight": 0.5,
    "objective__sharpness_weight": 0.0,
    "objective__diversity_weight": 0.0,
    "objective__temperature": 3.0,
    "network__final_norm": "none",
    "network__backbone_norm": "none",
    "optim__learning_rate": 1.0,
    "optim__final_learning_rate": 1.0,
    "optim__weight_decay": 10.0,
    "views__crop_scale": (0.01, 1.0),
    "views__noise": 0.5,
    "views__jitter_probability": 0.0,
}


@pytest.mark.parametrize("asked", [{}, GUILTY, {"objective__consistency_weight": 4.0}], ids=["plain", "guilty", "loud"])
@pytest.mark.parametrize(("rule", "kind", "base", "inside", "outside"), CASES)
def test_words_are_there_and_name_fields_that_exist(rule, kind, base, inside, outside, asked):
    found = getattr(kinds, rule)(of_case(base, inside, recipe=asked))
    assert found.title and found.sentence.endswith(".") and found.advice.endswith(".")
    words = " ".join([found.sentence, found.advice, *found.causes])
    assert set(FIELD.findall(words)) <= set(field_names())
    assert not re.search(r"\b(nan|inf)\b", words)


@pytest.mark.parametrize(
    "rule", ["uniform", "one_class", "partial", "noise", "inconsistent", "dimensional", "shortcut"]
)
def test_an_alarm_says_which_field_to_change(rule):
    base, inside = next((case[2], case[3]) for case in CASES if case[0] == rule)
    assert FIELD.search(getattr(kinds, rule)(of_case(base, inside)).advice)


def test_the_likeliest_cause_gives_the_advice_and_all_are_told():
    found = kinds.uniform(facts(recipe=GUILTY, **FLAT))
    assert found.advice == "Raise objective.sharpness_weight from 0 toward 1."
    assert [FIELD.search(cause).group() for cause in found.causes] == [
        "objective.sharpness_weight",
        "objective.temperature",
        "views.crop_scale",
        "views.noise",
    ]


@pytest.mark.parametrize("end_reason", [None, "completed", "stopped", "failed"])
def test_healthy_words_tell_how_far_it_is_from_the_most_that_can_be(end_reason):
    found = kinds.healthy(facts(end_reason=end_reason, **informed(0.5 * BEST)))
    assert "(50%)" in found.sentence and f"of at most {BEST:.2f} nats" in found.sentence
    assert found.title == ("Healthy" if end_reason == "completed" else "Healthy so far")


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("num_classes", [2, 10, 4096])
@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_every_rule_bears_the_ends_of_every_scale(temperature, num_classes, batch_size):
    asked = recipe("digits").replace(network__num_classes=num_classes, objective__temperature=temperature)
    for level in np.linspace(0, 1, 5):
        for number in (level, math.nan):
            at_end = facts(
                recipe=asked,
                batch_size=batch_size,
                floor=sharpness_floor(num_classes, temperature),
                sharpness=level * log_classes(num_classes),
                diversity=log_classes(num_classes),
                **dict.fromkeys(("consistency", "agreement", "row_std", "live_classes", "stability"), number),
            )
            found = next(found for rule in kinds.RULES if (found := rule(at_end)) is not None)
            assert found.sentence and not re.search(r"\b(nan|inf)\b", found.sentence)
            assert all(math.isfinite(row.value) for row in evidence(at_end))


def test_evidence_has_a_unit_and_a_line_to_hold_it_against():
    watch = {"watch/mutual_information": 1.0, "watch/dead_classes": 3.0, "watch/effective_rank": 9.0}
    shares = {"consistency": 0.2, "sharpness": 0.3, "diversity": 0.5}
    full = facts(lit(brightness=0.2), watch=watch, start=watch, gradient_shares=shares)
    rows = {row.name: row for row in evidence(full)}
    assert {
        *watch,
        "watch/explained_by_brightness",
        "watch/explained_by_all",
        "train/sharpness_gradient_share",
        "train/row_std",
    } <= set(rows)
    for row in rows.values():
        assert row.unit in UNITS and row.reference is not None and math.isfinite(row.reference) and row.meaning
    for row in (row for row in rows.values() if row.unit == "share"):
        assert 0 <= row.value <= 1 and 0 <= row.reference <= 1


def test_evidence_leaves_out_what_is_not_known_and_names_what_is_not_finite_first():
    unknown = facts(agreement=math.nan, stability=math.nan, nonfinite=("train/total",))
    first, *rest = evidence(unknown)
    assert first.name == "train/total" and math.isnan(first.value) and first.meaning == "must be finite"
    assert not {"train/agreement", "watch/stability"} & {row.name for row in rest}


def test_few_watch_images_cap_their_mutual_information():
    watch = {"watch/mutual_information": 0.0}
    row = next(row for row in evidence(facts(num_watch=4, watch=watch)) if row.name in watch)
    assert row.reference == pytest.approx(math.log(4))


def test_a_run_that_was_stopped_early_may_be_resumed():
    assert "Resume" in kinds.too_early(facts(step=50, end_reason="stopped")).advice


@pytest.mark.parametrize(("rule", "terms"), [(kinds.uniform, FLAT), (kinds.plateau, informed(0.02 * TOP))])
def test_a_weight_of_nothing_is_not_to_be_lowered(rule, terms):
    found = rule(facts(recipe={"objective__consistency_weight": 0.0}, **terms))
    assert not re.search("ower objective.consistency_weight", found.advice)


def test_too_early_names_a_step_that_is_still_to_come():
    said = kinds.too_early(facts(step=150, total_steps=None, warmup_steps=400.0)).sentence
    assert int(re.search(r"before (\d+)", said).group(1)) > 150


def test_a_shortcut_through_blur_is_answered_with_blur():
    found = kinds.shortcut(facts(*2 * [lit(blur=0.9, brightness=0.1)]))
    assert "views.blur_probability" in found.advice


def test_what_is_not_finite_has_the_unit_it_has_otherwise():
    assert evidence(facts(nonfinite=("watch/effective_rank",)))[0].unit == "directions"
