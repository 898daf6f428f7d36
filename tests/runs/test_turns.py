"""Which knobs turn, what stands in a run's plan, the one dial of the augmentation, and what readers make of turns."""

import dataclasses
import json
import math
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import read

from twist.runs.config import ConfigError, Recipe, ViewsConfig, field_names, field_value
from twist.runs.folders import create_run
from twist.runs.outputs import LiveOutputs, output_steps, read_outputs
from twist.runs.recipes import recipe, recipe_names
from twist.runs.record import RunWriter
from twist.runs.status import logged_progress
from twist.runs.store import RecordError
from twist.runs.turns import (
    LIVE_FIELDS,
    TURNS,
    Plan,
    Turn,
    check_steps,
    check_turn,
    make_turn,
    newest_values,
    read_plan,
    recipe_at,
    strength_changes,
    strength_of,
    turns_of,
    with_strength,
    with_turns,
    write_plan,
)
from twist.runs.verdict import verdict, verdict_history
from twist.view.scene import Scene

FLAT = {"objective.sharpness_weight": 0.0}


def turned(root, *turns, steps=200, flat_after=None, **fields):
    """A healthy run of ten classes whose answers are flat after a step, with these turns in its plan."""
    path = create_run(Recipe().replace(**fields), name="run", root=root)
    writer = RunWriter(path, 1)
    writer.event("start", step=0, from_step=0, steps_per_epoch=10, total_steps=1000, batch_size=256)
    for step in range(1, steps + 1):
        late = flat_after is not None and step > flat_after
        row = {"sharpness": 2.3, "diversity": 2.3} if late else {"sharpness": 0.6, "diversity": 2.28}
        row |= {"consistency": 0.1, "agreement": 0.9}
        writer.metrics(step, step / 10, {f"train/{name}": value for name, value in row.items()})
        for turn in turns:
            if turn.step == step:
                writer.event("turn", step=step, changes=turn.changes, before=turn.before)
    writer.close()
    write_plan(path, Plan(turns))
    return read(path)


def test_live_fields_are_fields_and_every_other_one_is_refused_with_a_way_out():
    assert set(LIVE_FIELDS) < set(field_names())
    for name in set(field_names()) - set(LIVE_FIELDS):
        with pytest.raises(ConfigError, match=f"{name} acts only from the start: launch again"):
            check_turn(Recipe(), {name: field_value(Recipe(), name)})


@pytest.mark.parametrize("name", LIVE_FIELDS)
def test_every_live_field_takes_its_own_kind_of_value_and_no_nonsense(name):
    base = Recipe().replace(objective__consistency_temperature=0.5)
    value = field_value(base, name)
    other = tuple(0.5 for _ in value) if isinstance(value, tuple) else 0.5
    assert field_value(check_turn(base, {name: other}), name) == other
    assert field_value(check_turn(base, {name: ",".join(map(str, other)) if isinstance(other, tuple) else "0.5"}), name)
    for nonsense in (math.nan, "inf", "much", [], {}, None, True, 10**400):
        with pytest.raises(ConfigError, match=name):
            check_turn(base, {name: nonsense})


def test_a_temperature_of_its_own_turns_only_where_the_run_began_with_one():
    with pytest.raises(ConfigError, match="its one dial is objective.temperature"):
        check_turn(Recipe(), {"objective.consistency_temperature": 1.0})
    with pytest.raises(ConfigError, match="against a teacher"):
        base = Recipe().replace(teacher__enabled=True, objective__consistency_temperature=1.0)
        check_turn(base, {"objective.temperature": 0.5})


def test_a_turn_holds_what_changed_in_plain_values():
    turn = make_turn(Recipe(), 7, {"views.crop_scale": "0.5,1", "views.hue": 0.1, **FLAT})
    assert turn == Turn(
        7,
        {"views.crop_scale": [0.5, 1.0], "objective.sharpness_weight": 0.0},
        {"views.crop_scale": [0.2, 1.0], "objective.sharpness_weight": 1.0},
    )
    assert with_turns(Recipe(), [turn]).views.crop_scale == (0.5, 1.0)
    assert json.loads(json.dumps(dataclasses.asdict(turn)))["changes"] == turn.changes


def test_later_turns_of_one_step_win_and_pulls_at_one_dial_are_one():
    turns = [Turn(5, {"views.noise": 0.1}, {"views.noise": 0.0}), Turn(5, {"views.noise": 0.3}, {"views.noise": 0.1})]
    assert with_turns(Recipe(), turns).views.noise == 0.3
    assert newest_values(turns) == {"views.noise": (5, 0.0)}
    assert newest_values([*turns, Turn(99, {"views.noise": 0.0}, {"views.noise": 0.3})]) == {"views.noise": (99, 0.3)}


@pytest.mark.parametrize("count", [0, -1, 1.0, "1", True, None, 10**9])
def test_a_count_of_steps_that_is_none_is_refused(count):
    with pytest.raises(ConfigError, match="give a whole number from 1"):
        check_steps(count)


def test_a_plan_is_read_back_and_a_damaged_one_loses_only_what_is_damaged(tmp_path):
    plan = Plan((Turn(3, FLAT, {"objective.sharpness_weight": 1.0}),), stop=9, hold=4, rewound={"to": 2, "from": 8})
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    good = {"step": 3, "changes": {"views.noise": 0.1}}
    bad = [
        *(3, None, {}, {"step": 1, "changes": []}, {"step": "x", "changes": FLAT}, {"step": -1, "changes": FLAT}),
        *({"step": 1, "changes": {"seed": 3}}, {"step": 1, "changes": {"views.noise": "loud"}}),
    ]
    (tmp_path / TURNS).write_text(json.dumps({"turns": [*bad, good], "stop": "soon", "rewound": {"to": None}}))
    assert read_plan(tmp_path) == Plan((Turn(3, {"views.noise": 0.1}),))
    for content in ("", "[1, 2", "7", '{"turns": 3}'):
        (tmp_path / TURNS).write_text(content)
        assert read_plan(tmp_path) == Plan()


def test_turns_to_come_are_not_among_those_of_the_record(tmp_path):
    record = turned(tmp_path, Turn(50, FLAT), Turn(500, {"views.noise": 0.1}), steps=60)
    assert [turn.step for turn in turns_of(record)] == [50]
    assert recipe_at(record).views.noise == 0.0
    assert [recipe_at(record, step).objective.sharpness_weight for step in (0, 49, 50, 60)] == [1, 1, 0, 0]


def test_the_verdict_names_the_turned_knob_and_rests_on_the_steps_since(tmp_path):
    turn = Turn(150, FLAT, {"objective.sharpness_weight": 1.0})
    record = turned(tmp_path, turn, steps=156, flat_after=150)
    found = verdict(record)  # within the last tenth of the steps most are of before
    assert found.kind == "uniform collapse" and found.since == 151
    assert found.causes[0].startswith("objective.sharpness_weight is 0 (turned from 1 at step 150): nothing asks")
    assert verdict(record, 150).kind == "healthy"
    assert [each.kind for each in verdict_history(record)][-7:] == ["healthy"] + ["uniform collapse"] * 6


def test_the_verdict_of_a_recipe_that_began_so_names_no_turn(tmp_path):
    record = turned(tmp_path, flat_after=0, objective__sharpness_weight=0.0)
    assert verdict(record).causes[0].startswith("objective.sharpness_weight is 0: nothing asks")


def test_lines_of_reference_follow_a_turned_temperature(tmp_path):
    turn = Turn(100, {"objective.temperature": 4.0}, {"objective.temperature": 1.0})
    record = turned(tmp_path, turn)
    floors = {step: dict((e.name, e.reference) for e in verdict(record, step).evidence) for step in (100, 101)}
    assert floors[101]["train/sharpness"] > floors[100]["train/sharpness"] + 0.5
    assert Scene.of(record).temperature == 4.0


def test_numbers_of_snapshots_before_a_turn_say_nothing_of_now(tmp_path):
    path = turned(tmp_path, Turn(100, FLAT, {"objective.sharpness_weight": 1.0}), steps=120).path
    writer = RunWriter(path, 2)
    writer.event("start", step=120, from_step=120, steps_per_epoch=10, total_steps=1000, batch_size=256)
    for step in (90, 130):
        writer.event("snapshot", step=step, epoch=step / 10, **{"watch/effective_rank": float(step)})
    writer.close()
    from twist.runs.facts import Timeline

    timeline = Timeline(read(path))
    ranks = [timeline.at(step).watch.get("watch/effective_rank") for step in (95, 120, 130)]
    assert ranks == [90.0, None, 130.0]


def test_a_held_run_is_held_however_many_knobs_were_turned_meanwhile(tmp_path):
    path = turned(tmp_path, steps=7).path
    writer = RunWriter(path, 1)
    writer.event("hold", step=7)
    for number in range(400):
        writer.event("turn", step=7, changes={"views.noise": number / 1000}, before={"views.noise": 0.0})
        writer.event("request", step=7, id=f"{number:040d}", operation="turn", accepted=True, held=True)
    writer.close()
    facts = logged_progress(path, 1)
    assert (facts["last_kind"], facts["step"], facts["epoch"]) == ("hold", 7, 0.7)


# ---------------------------------------------------------------------------------------------------------------------
# One dial


@pytest.mark.parametrize("name", recipe_names())
def test_strength_one_is_the_recipe_zero_is_plain_and_two_is_valid(name):
    views = recipe(name).views
    assert with_strength(views, views, 1) == views
    plain = with_strength(views, views, 0)
    assert plain.crop_scale == plain.crop_ratio == plain.zoom == (1, 1)
    still = ("flip_probability", "rotation_degrees", "shift", "shear_degrees", "brightness", "hue", "noise")
    assert not any(getattr(plain, each) for each in still)
    strong = with_strength(views, views, 2)
    assert strong != views and strong.size == views.size


@given(st.sampled_from(recipe_names()), st.floats(0, 2))
def test_the_strength_of_views_is_the_one_they_were_given(name, strength):
    views = recipe(name).views
    found = strength_of(with_strength(views, views, strength), views)
    assert found is not None
    assert with_strength(views, views, found) == with_strength(views, views, strength) or found == pytest.approx(
        strength, abs=1e-9
    )


def test_a_strength_is_a_turn_and_other_views_have_none():
    base = recipe("lab").views
    changes = strength_changes(base, base, 0.5)
    assert changes["views.rotation_degrees"] == 7.5 and changes["views.shift"] == 0.0625
    assert check_turn(recipe("lab"), changes).views == with_strength(base, base, 0.5)
    assert strength_changes(base, base, 1) == {}
    assert strength_of(dataclasses.replace(base, noise=0.5), base) is None
    assert strength_of(ViewsConfig(), ViewsConfig()) == 1
    for wrong in (-0.1, 2.1, math.nan, "1", True):
        with pytest.raises(ConfigError, match=r"views\.strength is"):
            with_strength(base, base, wrong)


# ---------------------------------------------------------------------------------------------------------------------
# Outputs of every image


def test_outputs_are_read_when_they_are_there_and_never_torn_into_an_error(tmp_path):
    reader = LiveOutputs(tmp_path)
    assert reader.read() is None and output_steps(tmp_path) == []
    folder = tmp_path / "outputs"
    folder.mkdir()
    np.save(folder / "live.npy", np.zeros((4, 2, 3), np.float16))
    assert reader.read() is None
    np.save(folder / "visited.npy", np.full(4, -1, np.int32))
    probs, visited = reader.read()
    assert probs.shape == (4, 2, 3) and (visited == -1).all()
    (folder / "live.npy").write_bytes((folder / "live.npy").read_bytes()[:140])
    assert reader.read() is None
    np.save(folder / "live.npy", np.zeros((5, 2, 3), np.float16))
    assert reader.read() is None


def test_frames_are_found_by_their_step(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    for step in (20, 5, 100):
        np.save(folder / f"step-{step:08d}.npy", np.full((4, 3), step, np.uint8))
    (folder / "step-7.npy").write_bytes(b"")
    (folder / ".frame.npy").write_bytes(b"")
    assert output_steps(tmp_path) == [5, 20, 100]
    assert (read_outputs(tmp_path, 20) == 20).all()
    with pytest.raises(RecordError, match="no outputs of step 6; it has 3 from 5 to 100"):
        read_outputs(tmp_path, 6)
    (folder / "step-00000005.npy").write_bytes(b"nothing")
    with pytest.raises(RecordError, match=r"step-00000005\.npy cannot be read"):
        read_outputs(tmp_path, 5)


def test_hundreds_of_turns_slow_no_verdict(tmp_path):
    turns = tuple(Turn(step, {"views.noise": (step % 10) / 100}, {"views.noise": 0.0}) for step in range(1, 501))
    record = turned(tmp_path, *turns, steps=500)
    began = time.process_time()
    verdict(record)
    assert time.process_time() - began < 5
    assert os.path.getsize(record.path / TURNS) < 200_000
