"""What the verdict looks at, from records that are whole, damaged, old, or cut."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import synthetic
from synthetic import cut, read

from twist.runs.bounds import mutual_information_cap, sharpness_floor
from twist.runs.class_histories import class_histories
from twist.runs.config import Recipe
from twist.runs.facts import Timeline
from twist.runs.folders import create_run
from twist.runs.record import RunWriter, parse_line
from twist.runs.verdict import verdict, verdict_history

LOSS = {"train/consistency": 0.1, "train/sharpness": 1.2, "train/diversity": 2.3}


def written(root, rows, *, snapshots=(), **start):
    """A run of these metrics by step, and these numbers of snapshots by step."""
    path = create_run(Recipe(), root=root)
    writer = RunWriter(path, 1)
    writer.event("start", step=0, from_step=0, **start)
    for step, row in rows.items():
        writer.metrics(step, step / 10, row)
    for step, row in dict(snapshots).items():
        writer.event("snapshot", step=step, epoch=step / 10, **row)
    writer.close()
    return read(path)


def test_batch_numbers_are_medians_over_the_last_tenth_of_the_steps(tmp_path):
    values = np.random.default_rng(0).normal(size=200)
    facts = Timeline(written(tmp_path, {step + 1: {"train/row_std": values[step]} for step in range(200)}))
    assert facts.at().row_std == np.median(values[180:])
    assert facts.at(50).row_std == np.median(values[45:50])
    assert facts.at(1).row_std == values[0]


def test_a_number_recorded_seldom_is_the_newest_one(tmp_path):
    rows = {step: {**LOSS} for step in range(1, 101)}
    rows[10]["train/agreement"], rows[40]["train/agreement"] = 0.3, 0.7
    timeline = Timeline(written(tmp_path, rows))
    assert (timeline.at(9).agreement, timeline.at(39).agreement, timeline.at().agreement) == (
        pytest.approx(math.nan, nan_ok=True),
        0.3,
        0.7,
    )


def test_information_is_diversity_less_sharpness_and_begins_with_the_first_batches(tmp_path):
    rows = {step: {**LOSS, "train/sharpness": 2.3 - step / 100} for step in range(1, 101)}
    facts = Timeline(written(tmp_path, rows)).at()
    assert facts.information == pytest.approx(facts.diversity - facts.sharpness)
    assert facts.start_information == pytest.approx(0.02)
    assert facts.perplexity == pytest.approx(math.exp(2.3))


def test_reference_lines_are_those_of_the_recipe_and_of_the_batch_that_was_used(tmp_path):
    facts = Timeline(written(tmp_path, {1: LOSS}, batch_size=4)).at()
    assert (facts.batch_size, facts.cap) == (4, mutual_information_cap(4, facts.num_classes))
    assert facts.floor == sharpness_floor(facts.num_classes)
    assert facts.best_information == min(facts.cap, facts.top - facts.floor)


def test_snapshot_numbers_are_those_of_the_first_and_the_newest_by_then(tmp_path):
    record = read(synthetic.make_run(tmp_path))
    table, timeline = record.snapshot_metrics(), Timeline(record)
    first, second = record.snapshot_steps()[:2]
    for step in (first, second, second + 1):
        facts = timeline.at(step)
        assert facts.start["watch/effective_rank"] == table.loc[first, "watch/effective_rank"]
        newest = min(step, second)
        assert facts.watch["watch/effective_rank"] == table.loc[newest, "watch/effective_rank"]


def test_stability_is_the_mean_of_the_last_three_times_and_the_untrained_network_does_not_count(tmp_path):
    record = read(synthetic.make_run(tmp_path, snapshots=7))
    steps, stability = record.snapshot_steps(), class_histories(record).stability
    timeline = Timeline(record)
    assert timeline.at().stability == pytest.approx(stability[-3:].mean())
    assert timeline.at(steps[3]).stability == pytest.approx(stability[2:4].mean())
    assert all(math.isnan(timeline.at(step).stability) for step in steps[:3])


def test_shares_of_the_gradient_sum_to_1_and_are_none_where_not_recorded(tmp_path):
    norms = {
        f"train/{term}_gradient": norm
        for term, norm in zip(("consistency", "sharpness", "diversity"), (1, 2, 5), strict=True)
    }
    shares = Timeline(written(tmp_path / "a", {1: {**LOSS, **norms}})).at().gradient_shares
    assert shares == {"consistency": 0.125, "sharpness": 0.25, "diversity": 0.625}
    assert Timeline(written(tmp_path / "b", {1: LOSS})).at().gradient_shares == {}
    assert Timeline(written(tmp_path / "c", {1: {**LOSS, **dict.fromkeys(norms, 0.0)}})).at().gradient_shares == {}


def test_not_finite_is_what_the_newest_loss_and_snapshot_say(tmp_path):
    rows = {step: {**LOSS} for step in range(1, 31)}
    rows[10]["train/sharpness"] = math.inf
    rows[20]["train/row_std"] = math.nan  # no term of the loss
    snapshots = {15: {"watch/marginal_entropy": math.nan}, 25: {"watch/marginal_entropy": 2.0}}
    timeline = Timeline(written(tmp_path, rows, snapshots=snapshots))
    said = {step: timeline.at(step).nonfinite for step in (9, 10, 11, 15, 20, 24, 25)}
    watch = ("watch/marginal_entropy",)
    assert said == {9: (), 10: ("train/sharpness",), 11: (), 15: watch, 20: watch, 24: watch, 25: ()}


def test_a_run_has_ended_at_its_newest_step_alone(tmp_path):
    timeline = Timeline(read(synthetic.make_run(tmp_path)))
    assert (timeline.at().end_reason, timeline.at(140).end_reason) == ("completed", "completed")
    assert timeline.at(139).end_reason is None


@pytest.mark.parametrize("kind", ["healthy", "noise", "not-finite"])
@pytest.mark.parametrize("step", [0, 35, 104])
def test_facts_at_a_step_are_those_of_the_run_cut_there(tmp_path, kind, step):
    path = synthetic.make_run(tmp_path, kind, histories=True)
    then = dataclasses.asdict(dataclasses.replace(Timeline(read(path)).at(step), shortcut_of=None))
    alone = dataclasses.asdict(dataclasses.replace(Timeline(read(cut(path, step))).at(), shortcut_of=None))
    assert list(then) == list(alone)
    for name in then:
        assert then[name] == alone[name] or (math.isnan(then[name]) and math.isnan(alone[name])), name


def test_a_record_without_a_line_has_facts(tmp_path):
    timeline = Timeline(read(create_run(Recipe(), root=tmp_path)))
    facts = timeline.at()
    assert (timeline.last_step, facts.step, facts.total_steps, facts.watch) == (0, 0, None, {})
    assert math.isnan(facts.information) and math.isnan(facts.stability) and facts.shortcuts == []


# Bad input: what was done to a healthy run, and what is said to be missing.

OLDER = "Gradients were not recorded: the run was written by an older twist."
NO_SNAPSHOT = "No snapshot of the watch images by then"
GONE = "at step 140 are gone, though the log names them."


def edit_events(path, change):
    """The log with each event changed, or left out where the change is None."""
    segment = path / "events" / "0001.jsonl"
    events = [change(parse_line(line)) for line in segment.read_bytes().splitlines()]
    segment.unlink()
    writer = RunWriter(path, 1)
    for event in events:
        if event is not None:
            writer.event(**{name: value for name, value in event.items() if name not in ("seq", "clock_s", "crc")})
    writer.close()


def without(*names):
    return lambda event: {name: value for name, value in event.items() if name not in names}


def each_snapshot(path):
    return sorted((path / "snapshots").glob("step-*"))


def delete_snapshots(path):
    for folder in each_snapshot(path):
        shutil.rmtree(folder)


def damage_assignments(path):
    for folder in each_snapshot(path):
        (folder / "assignment.npy").write_bytes(b"x")


def damage_sheets(path):
    for sheet in (path / "watch").glob("sheet*"):
        sheet.write_bytes(b"x")


def delete_log(path):
    (path / "events" / "0001.jsonl").unlink()


def cut_a_line(path):
    segment = path / "events" / "0001.jsonl"
    segment.write_bytes(segment.read_bytes()[:-20])


def damage_a_line(path):
    segment = path / "events" / "0001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"step":77,"epoch"', b'"step":78,"epoch"'))


def damage_watch(path):
    (path / "watch" / "sample_ids.npy").write_bytes(b"x")


def delete_watch(path):
    shutil.rmtree(path / "watch")


def one_class(path):
    asked = json.loads((path / "recipe.json").read_text())
    asked["network"]["num_classes"] = 1
    (path / "recipe.json").write_text(json.dumps(asked))


def no_loss(path):
    edit_events(path, lambda event: None if event["kind"] == "metrics" else event)


def older(path):
    old = without("train/agreement", "batch_size", "steps_per_epoch", "total_steps", "watch/centered_rank")
    edit_events(path, old)


def started_alone(path):
    edit_events(path, lambda event: event if event["kind"] == "start" else None)


def no_diversity(path):
    edit_events(path, without("train/diversity"))


BAD = [
    pytest.param({}, None, "healthy", [OLDER], id="nothing"),
    pytest.param({"labels": False}, None, "healthy", [OLDER], id="no labels"),
    pytest.param({"kind": "not-finite"}, None, "not finite", [OLDER], id="NaN"),
    pytest.param({"num_samples": 1}, None, "healthy", ["Only 1 watch image: classes", OLDER], id="one watch image"),
    pytest.param({}, delete_log, "too early to say", ["The event log is empty"], id="no event"),
    pytest.param({}, started_alone, "too early to say", ["No training step is recorded"], id="start alone"),
    pytest.param({}, no_loss, "too early to say", ["No training step is recorded"], id="no metrics"),
    pytest.param({}, no_diversity, "too early to say", [OLDER], id="a loss term missing"),
    pytest.param({}, cut_a_line, "healthy", [OLDER], id="log cut in a line"),
    pytest.param({}, damage_a_line, "healthy", ["1 line of the event log were damaged", OLDER], id="damaged line"),
    pytest.param({}, delete_snapshots, "healthy", [GONE, OLDER], id="snapshots deleted"),
    pytest.param({"snapshots": 0}, None, "healthy", [NO_SNAPSHOT, OLDER], id="no snapshots"),
    pytest.param({}, damage_watch, "healthy", ["The watch images cannot be read: watch/sample_ids", OLDER], id="watch"),
    pytest.param({}, older, "healthy", ["No collapse numbers of the batches are recorded", OLDER], id="older twist"),
    pytest.param({}, damage_assignments, "healthy", ["step-000000140/assignment.npy", OLDER], id="assignments"),
    pytest.param({}, damage_sheets, "healthy", ["thumbnails", OLDER], id="contact sheets"),
    pytest.param({}, delete_watch, "healthy", ["watch images", OLDER], id="watch deleted"),
    pytest.param({}, one_class, "too early to say", ["network.num_classes is 1: give 2 or more"], id="one class"),
]


@pytest.mark.parametrize(("made", "damage", "kind", "missing"), BAD)
def test_bad_input_gets_a_verdict_that_says_what_is_missing(tmp_path, made, damage, kind, missing):
    path = synthetic.make_run(tmp_path, **made)
    if damage is not None:
        damage(path)
    record = read(path)
    found = verdict(record)
    assert found.kind == kind and found.sentence and found.advice
    assert len(found.missing) == len(missing)
    for said, expected in zip(found.missing, missing, strict=True):
        assert expected in said and said.endswith(".")
    assert [one.kind for one in verdict_history(record, at_most=5)][-1:] in ([], [kind])


def test_a_run_with_everything_misses_nothing(tmp_path):
    path = synthetic.make_run(tmp_path)
    edit_events(path, lambda event: {**event, "train/gradient_norm": 1.0} if event["kind"] == "metrics" else event)
    assert verdict(read(path)).missing == ()


def test_nan_from_the_first_step_is_told(tmp_path):
    record = written(tmp_path, {step: dict.fromkeys(LOSS, math.nan) for step in range(1, 5)})
    assert verdict(record).kind == "not finite" and verdict(record).since == 1


@pytest.mark.parametrize("snapshots", [1, 2, 3])
def test_a_healthy_run_with_few_snapshots_is_no_noise(tmp_path, snapshots):
    record = read(synthetic.make_run(tmp_path, snapshots=snapshots))
    assert {found.kind for found in verdict_history(record, at_most=20)} == {"too early to say", "healthy"}


def test_one_watch_image_that_changes_its_class_is_no_noise(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = RunWriter(path, 1)
    writer.watch(np.zeros((1, 1, 8, 8), np.uint8), np.arange(1))
    for step in range(1, 301):
        writer.metrics(step, step / 10, {**LOSS, "train/sharpness": 1.15})
        if step % 50 == 0:
            writer.snapshot(step, step / 10, {"assignment": np.int32([step // 50])}, {})
    writer.close()
    assert verdict(read(path)).kind == "healthy"


def test_lost_epochs_of_all_images_are_counted(tmp_path):
    path = synthetic.make_run(tmp_path, histories=True)
    assert not any("epochs of all images" in said for said in verdict(read(path)).missing)
    first, second, *_ = sorted((path / "epochs").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert "2 of 20 epochs of all images are gone or damaged" in " ".join(verdict(read(path)).missing)


def test_a_run_whose_last_line_was_lost_is_still_one_that_ended(tmp_path):
    path = synthetic.make_run(tmp_path)
    segment = path / "events" / "0001.jsonl"
    segment.write_bytes(segment.read_bytes()[:-20])
    found = verdict(read(path))
    assert (found.kind, found.title) == ("healthy", "Healthy") and "go on" not in found.advice


@pytest.mark.parametrize(("images", "believed"), [(300, True), (20, False)])
def test_the_agreement_of_visits_counts_where_many_images_were_visited_of_late(tmp_path, images, believed):
    path = create_run(Recipe(), root=tmp_path)
    writer = RunWriter(path, 1)
    writer.watch(np.zeros((images, 1, 8, 8), np.uint8), np.arange(images))
    for step in range(1, 401):
        writer.metrics(step, step / 10, {**LOSS, "train/agreement": 0.5})
        if step in (100, 300):
            writer.snapshot(step, step / 10, {"assignment": np.zeros(images, np.int32)}, {"watch/agreement": 0.7})
    writer.close()
    timeline = Timeline(read(path))
    assert timeline.at(150).agreement == 0.5  # one snapshot alone: its visits go back to the start
    assert timeline.at(190).agreement == 0.5
    assert timeline.at(310).agreement == 0.5  # visits from step 100 on are more than the last half
    assert timeline.at().agreement == 0.5
    writer = RunWriter(path, 1)
    writer.snapshot(390, 39.0, {"assignment": np.zeros(images, np.int32)}, {"watch/agreement": 0.9})
    writer.close()
    assert Timeline(read(path)).at().agreement == (0.9 if believed else 0.5)
