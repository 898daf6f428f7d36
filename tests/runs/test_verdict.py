import dataclasses
import math

import pytest
import synthetic

from twist.runs import verdict as module
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunRecord, RunWriter
from twist.runs.verdict import verdict

KIND_OF = {
    "healthy": "healthy",
    "uniform": "uniform collapse",
    "one-class": "one-class collapse",
    "partial": "partial collapse",
    "inconsistent": "inconsistent views",
    "not-finite": "not finite",
    "early": "too early to say",
}


def read(path):
    record = RunRecord(path)
    record.poll()
    return record


def run_of(root, *rows, num_classes=10, batch_size=256, steps=200, ended=False, snapshot=None, **fields):
    """A run whose loss terms go evenly through the given rows (consistency, sharpness, diversity, agreement)."""
    recipe = Recipe().replace(network__num_classes=num_classes, optim__batch_size=batch_size, **fields)
    path = create_run(recipe, name="run", root=root)
    writer = RunWriter(path, 1)
    writer.event("start", step=0, from_step=0, steps_per_epoch=10, total_steps=1000, batch_size=batch_size)
    names = ("train/consistency", "train/sharpness", "train/diversity", "train/agreement")
    for step in range(1, steps + 1):
        row = dict(zip(names, rows[(step - 1) * len(rows) // steps], strict=True))
        writer.metrics(step, step / 10, {name: value for name, value in row.items() if value is not None})
    if snapshot is not None:
        writer.event("snapshot", step=steps, epoch=steps / 10, **snapshot)
    if ended:
        writer.event("end", step=steps, reason="completed")
    writer.close()
    return read(path)


@pytest.mark.parametrize("kind", synthetic.KINDS)
@pytest.mark.parametrize("num_classes", [10, 64])
def test_exactly_the_intended_verdict_fires(tmp_path, kind, num_classes):
    record = read(synthetic.make_run(tmp_path, kind, num_classes=num_classes))
    found = verdict(record)
    assert found.kind == KIND_OF[kind]
    assert found.sentence and found.advice and found.title
    facts = module._gather(record)
    diseases = {
        module._not_finite: "not finite",
        module._uniform_collapse: "uniform collapse",
        module._partial_collapse: "partial collapse",
        module._one_class_collapse: "one-class collapse",
        module._inconsistent_views: "inconsistent views",
    }
    fired = {name for rule, name in diseases.items() if rule(facts) is not None}
    # One class in use is also few classes in use.
    allowed = {"partial collapse"} if kind == "one-class" else set()
    assert fired - allowed == {KIND_OF[kind]} & set(diseases.values())


# method.md section 12: classes, final norm, and the measured consistency, sharpness, diversity, agreement.
MEASURED = [
    ("healthy", 10, "batch", (0.07, 1.17, 2.30, 0.94)),
    ("healthy", 10, "batch", (0.085, 1.71, 2.28, 0.61)),
    ("healthy", 10, "none", (0.25, 0.60, 1.83, 0.85)),
    ("uniform collapse", 10, "batch", (0.0, 2.302, 2.302, 0.13)),
    ("uniform collapse", 10, "none", (0.0, 2.228, 2.228, 1.00)),
    ("uniform collapse", 100, "batch", (0.0, 4.60, 4.60, 0.03)),
    ("one-class collapse", 10, "none", (0.0, 0.0, 0.0, 1.0)),
    ("inconsistent views", 10, "batch", (1.87, 1.15, 2.30, 0.19)),
    ("inconsistent views", 10, "none", (8.4, 0.05, 1.94, 0.23)),
    ("inconsistent views", 100, "batch", (4.8, 1.54, 4.48, 0.09)),
    ("healthy", 100, "batch", (0.10, 3.82, 4.59, 0.26)),
    ("partial collapse", 100, "none", (0.30, 1.20, 2.67, 0.88)),
    ("inconsistent views", 64, "batch", (2.73, 1.52, 3.72, 0.24)),
]


@pytest.mark.parametrize(("kind", "num_classes", "final_norm", "row"), MEASURED)
def test_measured_runs_get_the_verdict_of_their_reading(tmp_path, kind, num_classes, final_norm, row):
    beginning = (0.9, math.log(num_classes) - 0.4, math.log(num_classes), 0.2)
    record = run_of(tmp_path, beginning, row, num_classes=num_classes, network__final_norm=final_norm)
    assert verdict(record).kind == kind


@pytest.mark.parametrize(
    "row", [(0.22, 3.75, 3.87, 0.34), (0.20, 3.97, 4.07, 0.15), (0.11, 4.05, 4.13, 0.21), (0.17, 4.00, 4.14, 0.21)]
)
def test_the_measured_plateau_is_told_from_a_collapse(tmp_path, row):
    found = verdict(run_of(tmp_path, (0.9, 3.66, 4.15, 0.2), row, num_classes=64, steps=156, ended=True))
    assert (found.kind, found.title) == ("too early to say", "Plateau near uniform")
    assert "objective.consistency_weight" in found.advice


def test_a_run_that_never_leaves_its_start_is_stuck(tmp_path):
    found = verdict(run_of(tmp_path, (0.84, 1.92, 2.30, 0.3), (0.8, 1.90, 2.30, 0.35)))
    assert (found.kind, found.title) == ("too early to say", "Stuck at the start")


def test_sharpness_is_held_against_its_floor_and_not_against_zero(tmp_path):
    found = verdict(run_of(tmp_path, (0.9, 1.9, 2.3, 0.2), (0.07, 1.17, 2.30, 0.94), ended=True))
    sharpness = next(row for row in found.evidence if row.name == "train/sharpness")
    assert sharpness.reference == pytest.approx(1.089, abs=1e-3)
    assert (
        found.title == "Healthy" and "its floor is 1.09" in found.sentence and "1.13 of at most 1.21" in found.sentence
    )


def test_a_healthy_run_that_goes_on_is_healthy_so_far(tmp_path):
    assert verdict(run_of(tmp_path, (0.9, 1.9, 2.3, 0.2), (0.07, 1.2, 2.3, 0.9))).title == "Healthy so far"


def test_a_healthy_run_that_was_stopped_may_be_resumed(tmp_path):
    path = synthetic.make_run(tmp_path, "healthy")
    record = read(path)
    record.last("end")["reason"] = "stopped"
    found = verdict(record)
    assert found.title == "Healthy so far" and "Resume" in found.advice


@pytest.mark.parametrize(
    ("row", "fields", "advice"),
    [
        ((0.0, 2.302, 2.302, 0.1), {"objective__sharpness_weight": 0.0}, "Raise objective.sharpness_weight from 0"),
        ((0.0, 2.302, 2.302, 0.1), {}, "Lower objective.consistency_weight (now 1)"),
        ((0.0, 0.0, 0.0, 1.0), {"network__final_norm": "none"}, "Set network.final_norm to batch"),
        ((0.0, 0.0, 0.0, 1.0), {"objective__diversity_weight": 0.5}, "Raise objective.diversity_weight from 0.5"),
        ((0.2, 0.1, 0.69, 0.9), {}, "Raise objective.diversity_weight above 1"),
        ((2.0, 1.15, 2.3, 0.1), {"objective__consistency_weight": 0.3}, "Raise objective.consistency_weight from 0.3"),
        ((2.0, 1.15, 2.3, 0.1), {}, "Make the views milder"),
    ],
)
def test_advice_starts_from_what_the_recipe_says(tmp_path, row, fields, advice):
    assert verdict(run_of(tmp_path, (0.9, 1.9, 2.3, 0.2), row, **fields)).advice.startswith(advice)


COLLAPSED = (0.0, 2.302, 2.302, 0.1)


@pytest.mark.parametrize(("steps", "kind"), [(99, "too early to say"), (100, "uniform collapse")])
def test_nothing_is_said_before_a_hundred_steps(tmp_path, steps, kind):
    assert verdict(run_of(tmp_path, COLLAPSED, steps=steps, optim__warmup_epochs=0)).kind == kind


@pytest.mark.parametrize(
    ("warmup_epochs", "steps", "kind"),
    [(11, 109, "uniform collapse"), (9, 100, "uniform collapse"), (20, 100, "uniform collapse")],
)
def test_a_long_warm_up_does_not_hide_a_collapse_past_a_tenth_of_the_run(tmp_path, warmup_epochs, steps, kind):
    assert verdict(run_of(tmp_path, COLLAPSED, steps=steps, optim__warmup_epochs=warmup_epochs)).kind == kind


def test_warm_up_inside_the_first_tenth_of_a_long_run_is_too_early(tmp_path):
    record = run_of(tmp_path, COLLAPSED, steps=150, optim__warmup_epochs=20)
    record.last("start")["total_steps"] = 10_000
    assert verdict(record).kind == "too early to say"


def test_a_short_run_that_ended_is_told_to_be_longer(tmp_path):
    found = verdict(run_of(tmp_path, COLLAPSED, steps=20, ended=True))
    assert (
        found.kind == "too early to say" and "optim.epochs" in found.advice and "ended after 20 steps" in found.sentence
    )


def test_a_run_without_a_line_is_too_early(tmp_path):
    found = verdict(read(create_run(Recipe(), name="empty", root=tmp_path)))
    assert (found.kind, found.step, found.evidence) == ("too early to say", 0, ())


def test_not_finite_speaks_before_anything_else(tmp_path):
    found = verdict(run_of(tmp_path, COLLAPSED, (math.nan, 2.3, 2.3, 0.1), steps=4))
    assert found.kind == "not finite" and "train/consistency" in found.sentence


def test_a_run_that_recovered_from_a_lost_step_is_judged_by_its_newest_loss(tmp_path):
    sick, well = (math.nan, 1.2, 2.3, 0.9), (0.07, 1.2, 2.3, 0.9)
    assert verdict(run_of(tmp_path, (0.9, 1.9, 2.3, 0.2), sick, well)).kind == "healthy"


def test_watch_images_that_are_not_finite_are_told(tmp_path):
    record = run_of(tmp_path, (0.07, 1.2, 2.3, 0.9), snapshot={"watch/marginal_entropy": math.inf})
    found = verdict(record)
    assert found.kind == "not finite" and "watch/marginal_entropy" in found.sentence


def test_eps_does_not_hide_a_uniform_collapse_among_very_many_classes(tmp_path):
    top = -math.log(1 / 32768 + 1e-5)
    found = verdict(run_of(tmp_path, (0.0, top, top, 0.0), num_classes=32768, batch_size=2048))
    assert found.kind == "uniform collapse"


def test_agreement_by_chance_among_two_classes_is_no_agreement(tmp_path):
    start = (0.2, 0.6, 0.69, 0.5)
    assert verdict(run_of(tmp_path, start, (1.2, 0.37, 0.69, 0.5), num_classes=2)).kind == "inconsistent views"


def test_numbers_recorded_rarely_are_still_found(tmp_path):
    rows = [(0.9, 1.9, 2.3, 0.2), (0.07, 1.2, 2.3, 0.9), (0.07, 1.2, 2.3, None)]
    found = verdict(run_of(tmp_path, *rows))
    assert {row.name: row.value for row in found.evidence}["train/agreement"] == 0.9


def test_without_collapse_numbers_the_loss_terms_suffice(tmp_path):
    assert verdict(run_of(tmp_path, (0.9, 1.9, 2.3, None), (0.07, 1.2, 2.3, None))).kind == "healthy"


def facts(**changes):
    values = dict.fromkeys((field.name for field in dataclasses.fields(module._Facts)), 0.0)
    values |= {
        "step": 500,
        "total_steps": None,
        "end_reason": None,
        "recipe": Recipe(),
        "num_classes": 100,
        "batch_size": 256,
        "top": 4.6,
        "cap": 4.6,
    }
    values |= {"consistency": 0.1, "sharpness": 2.0, "diversity": 4.5, "agreement": 0.9, "row_std": 1.0}
    values |= {"live_classes": 100.0, "largest_share": 0.05, "watch": {}, "nonfinite": ()}
    return module._Facts(**{**values, **changes})


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("_uniform_collapse", {"sharpness": 4.52, "diversity": 4.6}, {"sharpness": 4.50, "diversity": 4.6}),
        ("_uniform_collapse", {"sharpness": 2.51, "diversity": 2.52}, {"sharpness": 2.51, "diversity": 2.55}),
        ("_one_class_collapse", {"sharpness": 0.05, "diversity": 0.45}, {"sharpness": 0.05, "diversity": 0.47}),
        ("_one_class_collapse", {"sharpness": 0.22, "largest_share": 0.91}, {"sharpness": 0.24, "largest_share": 0.91}),
        ("_one_class_collapse", {"sharpness": 2.29, "diversity": 2.3}, {"sharpness": 2.31, "diversity": 2.32}),
        ("_partial_collapse", {"diversity": math.log(29)}, {"diversity": math.log(31)}),
        ("_partial_collapse", {"live_classes": 29.0}, {"live_classes": 31.0}),
        ("_partial_collapse", {"batch_size": 40, "live_classes": 11.0}, {"batch_size": 40, "live_classes": 13.0}),
        ("_inconsistent_views", {"agreement": 0.29, "consistency": 1.1}, {"agreement": 0.31, "consistency": 1.1}),
        ("_inconsistent_views", {"agreement": 0.29, "consistency": 1.1}, {"agreement": 0.29, "consistency": 0.9}),
        ("_plateau", {"sharpness": 4.28}, {"sharpness": 4.26}),
        ("_plateau", {"sharpness": 3.5, "start_information": 1.04}, {"sharpness": 3.5, "start_information": 1.06}),
    ],
)
def test_each_rule_fires_on_its_side_of_the_boundary_alone(rule, inside, outside):
    assert getattr(module, rule)(facts(**inside)) is not None
    assert getattr(module, rule)(facts(**outside)) is None
    assert module._healthy(facts()).kind == "healthy"
