import math

import numpy as np
import pytest
import synthetic
from synthetic import cut, read

from twist.runs import kinds
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunWriter
from twist.runs.store import RecordError
from twist.runs.verdict import ALARMS, verdict, verdict_history

KIND_OF = {
    "healthy": "healthy",
    "uniform": "uniform collapse",
    "one-class": "one-class collapse",
    "partial": "partial collapse",
    "inconsistent": "inconsistent views",
    "not-finite": "not finite",
    "early": "too early to say",
    "noise": "overconfident noise",
    "shortcut": "shortcut",
    "low-rank": "dimensional collapse",
}


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


@pytest.mark.parametrize("kind", synthetic.KINDS + synthetic.HISTORY_KINDS)
@pytest.mark.parametrize("num_classes", [10, 64])
def test_every_kind_of_run_gets_exactly_its_verdict(tmp_path, kind, num_classes):
    found = verdict(read(synthetic.make_run(tmp_path, kind, num_classes=num_classes)))
    assert found.kind == KIND_OF[kind]
    assert found.sentence and found.advice and found.title
    assert found.alarm == (found.kind not in ("healthy", "too early to say"))


def test_every_kind_can_be_said_and_every_other_is_an_alarm():
    # The two that no synthetic run shows have tests of their own below.
    others = {"batch too small", "plateau near uniform"}
    assert {*KIND_OF.values(), *others} == set(kinds.Kind.__args__)
    assert set(KIND_OF.values()) - ALARMS == {"healthy", "too early to say"}


@pytest.mark.parametrize(("batch_size", "kind"), [(4, "batch too small"), (64, "healthy")])
def test_a_batch_too_small_for_its_classes_is_told(tmp_path, batch_size, kind):
    start, row = (0.9, 4.4, 4.6, 0.2), (0.1, 3.6, 4.6, 0.9)
    if kind == "healthy":
        row = (0.1, 1.6, 4.5, 0.9)
    found = verdict(run_of(tmp_path, start, row, num_classes=100, batch_size=batch_size))
    assert found.kind == kind
    if kind != "healthy":
        assert found.advice.startswith("Raise optim.batch_size to 100 or more")


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
    assert (found.kind, found.title) == ("plateau near uniform", "Plateau near uniform") and not found.alarm
    assert "objective.consistency_weight" in found.advice


def test_a_run_that_never_leaves_its_start_is_stuck(tmp_path):
    found = verdict(run_of(tmp_path, (0.84, 1.92, 2.30, 0.3), (0.8, 1.90, 2.30, 0.35)))
    assert (found.kind, found.title) == ("plateau near uniform", "Stuck at the start")


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
def test_what_may_be_the_start_is_not_named_before_a_hundred_steps(tmp_path, steps, kind):
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


def changing(root, rows, **more):
    """A run of 200 steps that goes through the given rows of loss terms."""
    return run_of(root, *rows, optim__warmup_epochs=0, **more)


WELL, START = (0.07, 1.2, 2.3, 0.9), (0.9, 1.9, 2.3, 0.2)


@pytest.mark.parametrize("lost", [(0.0, 2.302, 2.302, 0.1), (0.0, 0.0, 0.0, 1.0)])
def test_a_certain_collapse_is_named_before_a_hundred_steps(tmp_path, lost):
    found = verdict(changing(tmp_path, [START, lost, lost, lost, lost], steps=90))
    assert found.alarm and found.step == 90 and kinds.EARLIEST_STEPS <= found.since < kinds.EARLY_STEPS


def test_the_start_of_a_healthy_run_is_never_called_ill(tmp_path):
    for num_classes in (10, 100):
        record = read(synthetic.make_run(tmp_path, num_classes=num_classes, snapshots=21))
        assert {found.kind for found in verdict_history(record)} == {"too early to say", "healthy"}


@pytest.mark.parametrize("kind", ["healthy", "uniform", "partial", "inconsistent", "not-finite", "noise", "low-rank"])
@pytest.mark.parametrize("step", [0, 1, 69, 105, 131])
def test_the_verdict_on_an_earlier_step_is_that_of_the_run_cut_there(tmp_path, kind, step):
    path = synthetic.make_run(tmp_path, kind)
    earlier = verdict(read(path), step)
    assert earlier.step == step
    assert earlier._replace(missing=()) == verdict(read(cut(path, step)))._replace(missing=())


def test_what_is_missing_at_an_earlier_step_is_what_the_run_cut_there_misses(tmp_path):
    path = synthetic.make_run(tmp_path)
    earlier = verdict(read(path), 0)
    assert earlier.missing == verdict(read(cut(path, 0))).missing


@pytest.mark.parametrize("kind", ["uniform", "partial", "not-finite", "noise", "low-rank"])
def test_it_holds_since_the_first_step_from_which_it_was_said(tmp_path, kind):
    record = read(synthetic.make_run(tmp_path, kind))
    every = verdict_history(record, at_most=1000)
    assert [one.step for one in every] == record.metrics().index.tolist()
    found = verdict(record)
    first = max(one.step for one in every if one.kind != found.kind) + 1
    assert every[-1].since == first
    assert 0 <= found.since - first <= math.ceil(found.step / 60)
    assert verdict(record, found.since).kind == found.kind


def test_since_is_exact_in_a_long_run_too(tmp_path):
    record = changing(tmp_path, [WELL, COLLAPSED], steps=1000)
    assert verdict(record).since == verdict_history(record, at_most=1000)[-1].since


def test_what_was_said_before_and_then_not_does_not_count(tmp_path):
    record = changing(tmp_path, [WELL, COLLAPSED, WELL, COLLAPSED], steps=800)
    assert 600 < verdict(record).since <= 800
    assert 200 < verdict(record, 400).since <= 400 < verdict(record, 600).since


def test_too_early_holds_since_no_step(tmp_path):
    assert verdict(changing(tmp_path, [START], steps=50)).since is None
    assert {found.since for found in verdict_history(changing(tmp_path / "b", [START], steps=50))} == {None}


def test_a_history_is_of_evenly_spread_steps_and_ends_at_the_newest(tmp_path):
    record = changing(tmp_path, [START, COLLAPSED], steps=500)
    history = verdict_history(record, at_most=10)
    assert len(history) == 10 and (history[0].step, history[-1].step) == (1, 500)
    assert np.ptp(np.diff([found.step for found in history])) <= 1
    for found in history:
        assert found == verdict(record, found.step)._replace(since=found.since, missing=())
    assert [found.step for found in verdict_history(record, at_most=1)] == [500]


@pytest.mark.parametrize("step", [-1, 141, 10**9, 1.5, "3"])
def test_a_step_that_the_run_does_not_have_is_refused(tmp_path, step):
    record = read(synthetic.make_run(tmp_path, "healthy"))
    with pytest.raises(RecordError, match=f"has no step {step}: give 0 to 140"):
        verdict(record, step)


def test_a_run_that_resumed_is_judged_by_the_steps_in_force(tmp_path):
    path = changing(tmp_path, [START, COLLAPSED], steps=200, ended=True).path
    names = ("train/consistency", "train/sharpness", "train/diversity", "train/agreement")
    writer = RunWriter(path, 2)
    writer.event("start", step=90, from_step=90, steps_per_epoch=10, total_steps=1000, batch_size=256)
    for step in range(91, 151):
        writer.metrics(step, step / 10, dict(zip(names, WELL, strict=True)))
    record = read(path)
    found = verdict(record)
    assert (found.kind, found.title, found.step) == ("healthy", "Healthy so far", 150)
    with pytest.raises(RecordError, match="give 0 to 150"):
        verdict(record, 200)
    assert not any(one.alarm for one in verdict_history(record))


def test_a_record_polled_half_way_is_judged_as_far_as_it_is_read(tmp_path):
    path = synthetic.make_run(tmp_path, "uniform")
    segment = path / "events" / "0001.jsonl"
    whole = segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:20]) + lines[20][:30])
    record = read(path)
    assert verdict(record).kind == "too early to say"
    segment.write_bytes(whole)
    record.poll()
    assert verdict(record) == verdict(read(path)) and verdict(record).kind == "uniform collapse"
