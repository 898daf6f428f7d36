"""Knobs turned while a run trains act from the next step on, and a resume, a rewind and a replay turn them again."""

import json
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from loop import STEPS, assert_equal_weights

from twist.cli import main
from twist.learn import feed as feeds
from twist.learn import train as training
from twist.learn.feed import Feed
from twist.learn.loop import Loop
from twist.learn.outputs import LAG_STEPS, Outputs, _Sent
from twist.learn.process import Requests
from twist.runs.attempts import attempt_folder
from twist.runs.config import ConfigError, Recipe
from twist.runs.forking import prepare_fork
from twist.runs.handle import Run
from twist.runs.launcher import attach, launch, prepare
from twist.runs.outputs import LiveOutputs, output_steps, read_outputs
from twist.runs.record import RunRecord, RunWriter
from twist.runs.rewinding import prepare_replay, rewind_record
from twist.runs.store import write_json
from twist.runs.turns import Turn, check_turn, read_plan, recipe_at, turns_of

detached = pytest.mark.skipif(os.name == "nt", reason="detached runs need POSIX processes")
FLAT, BACK = {"objective.sharpness_weight": 0.0}, {"objective.sharpness_weight": 1.0}
MANY = {"views.noise": 0.2, "optim.learning_rate": 0.02, "objective.temperature": 0.5, "optim.weight_decay": 0.1}


def attempt(path, number, asked=None, *, stop_at=None, break_at=None):
    """One attempt of the loop in this process; ``asked`` holds requests, a list for each step at which they come."""
    attempt_folder(path, number).mkdir(parents=True, exist_ok=True)
    requests = Requests(path, supervisor=None)

    def ask(step):
        for request in (asked or {}).get(step, []):
            fields = request if "operation" in request else {"operation": "turn", "changes": request}
            Run(path).request(**fields)
        requests._next_look = 0.0

    def watch(step, total, metrics):
        ask(step)
        if step == stop_at:
            requests.stop = True
        if step == break_at:
            raise KeyboardInterrupt

    ask(0)
    outcome = training._attempt(path, number, requests, watch)[0]
    write_json(attempt_folder(path, number) / "end.json", outcome)
    return outcome


def read(path):
    record = RunRecord(path)
    record.poll()
    return record


def made(tiny, name, **changes):
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return prepare("digits", name=name, changes={**tiny, "record.keep_checkpoints": 20, **fields})


def at_steps(path):
    return [(turn.step, turn.changes) for turn in turns_of(read(path))]


def test_a_turn_acts_from_the_next_step_on_and_is_an_event(runs, tiny):
    plain, turned = made(tiny, "plain"), made(tiny, "turned")
    attempt(plain, 1)
    attempt(turned, 1, {5: [FLAT]})
    one, other = read(plain).metrics()["train/total"], read(turned).metrics()["train/total"]
    assert one.loc[:5].equals(other.loc[:5])
    assert not one.loc[6:].isin(other.loc[6:]).any()
    table = read(turned).metrics()
    loss = table["train/consistency"] - table["train/diversity"]
    assert np.allclose(table.loc[6:, "train/total"], loss.loc[6:], atol=1e-6)
    (event,) = [event for event in read(turned).events if event["kind"] == "turn"]
    assert (event["step"], event["changes"], event["before"]) == (5, FLAT, BACK)
    assert turns_of(read(turned)) == [Turn(5, FLAT, BACK)] == Run(turned).turns
    record = read(turned)
    assert recipe_at(record, 4).objective.sharpness_weight == 1
    assert recipe_at(record, 5).objective.sharpness_weight == 0 == recipe_at(record).objective.sharpness_weight
    assert record.recipe.objective.sharpness_weight == 1


@pytest.mark.parametrize(
    "end", [{"stop_at": 10}, {"break_at": 10}, {"break_at": 7}], ids=["stopped", "killed", "early"]
)
def test_a_resumed_run_turns_again_and_ends_with_the_same_weights(runs, tiny, end):
    asked = {5: [MANY], 6: [FLAT], 9: [BACK, {"views.noise": 0.0}]}
    tiny |= {"record.outputs_every_steps": 2}
    whole, broken = made(tiny, "whole"), made(tiny, "broken")
    attempt(whole, 1, asked)
    attempt(broken, 1, asked, **end)
    rest = {step: requests for step, requests in asked.items() if step > next(iter(end.values()))}
    assert attempt(broken, 2, rest)["reason"] == "completed"
    assert_equal_weights(whole, broken)
    assert at_steps(broken) == at_steps(whole) == [(s, each) for s, many in asked.items() for each in many]
    kept = ["train/total", "train/learning_rate", "train/sharpness"]
    assert read(whole).metrics()[kept].equals(read(broken).metrics()[kept])
    for one, other in zip(LiveOutputs(whole).read(), LiveOutputs(broken).read(), strict=True):
        assert np.array_equal(one, other)
    assert output_steps(whole) == output_steps(broken) == list(range(2, STEPS + 1, 2))
    assert all(np.array_equal(read_outputs(whole, s), read_outputs(broken, s)) for s in output_steps(whole))


@pytest.mark.parametrize("before_event", [True, False])
def test_a_kill_between_the_turn_and_the_next_step_neither_loses_nor_doubles_it(runs, tiny, monkeypatch, before_event):
    whole, killed = made(tiny, "whole"), made(tiny, "killed")
    attempt(whole, 1, {6: [FLAT]})
    tell = Loop._tell

    def kill(self, turn, *, again=False):
        if not before_event:
            tell(self, turn, again=again)
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_tell", kill)
    assert attempt(killed, 1, {6: [FLAT]})["step"] == 6
    monkeypatch.setattr(Loop, "_tell", tell)
    for left in (killed / "control").glob("*.json"):  # as the supervisor of the next attempt does
        left.unlink()
    attempt(killed, 2)
    assert_equal_weights(whole, killed)
    assert at_steps(killed) == [(6, FLAT)]
    told = [event for event in read(killed).events if event["kind"] == "turn"]
    assert [(event["step"], event["changes"]) for event in told] == [(6, FLAT)]


def test_views_that_were_prepared_are_made_anew(runs, tiny, monkeypatch):
    made_of = []
    make_views = feeds.make_views
    monkeypatch.setattr(feeds, "make_views", lambda *a, **o: (made_of.append(a[2].noise), make_views(*a, **o))[1])
    monkeypatch.setattr(Feed, "prepare", lambda self, step: setattr(self, "_prepared", (step, self._make(step))))

    def views(self, step):
        prepared, self._prepared = self._prepared, None
        return prepared[1] if prepared and prepared[0] == step else self._make(step)

    monkeypatch.setattr(Feed, "views", views)
    attempt(made(tiny, "ahead"), 1, {5: [{"views.noise": 0.3}]})
    assert made_of[5:7] == [0.05, 0.3]  # those of step 6 once with the old noise, dropped, and with the new one
    assert made_of[:5] == [0.05] * 5 and set(made_of[7:]) == {0.3}


def test_what_cannot_be_turned_is_refused_with_a_reason_and_changes_nothing(runs, tiny):
    plain, asked = made(tiny, "plain"), made(tiny, "asked")
    attempt(plain, 1)
    nonsense = [
        {"network.num_classes": 5},
        {"objective.temperature": 0},
        {"objective.temperature": "NaN"},
        {"optim.learning_rate": None},
        {"optim.learning_rate": [1, 2]},
        {"views.crop_scale": "wide"},
        {"nonsense": 1},
        {},
        {"operation": "turn"},
        {"operation": "turn", "changes": ["objective.temperature"]},
        {"operation": "steps", "count": 0},
        {"operation": "steps", "count": math.pi},
        {"operation": "steps"},
    ]
    assert attempt(asked, 1, {4: nonsense})["reason"] == "completed"
    answers = [event for event in read(asked).events if event["kind"] == "request"]
    assert len(answers) == len(nonsense) and not any(event["accepted"] for event in answers)
    assert "acts only from the start: launch again" in answers[0]["reason"]
    assert all(event["reason"] for event in answers)
    assert at_steps(asked) == []
    assert_equal_weights(plain, asked)


def test_files_that_are_no_requests_end_no_training(tmp_path):
    control = tmp_path / "control"
    (control / "folder.json").mkdir(parents=True)
    contents = [b"", b"\xff{", b"[1]", b'{"operation": "turn", "changes": ' + 20_000 * b"[", b'{"operation": ["turn"]}']
    contents += [json.dumps({"operation": "turn", "id": "\ud800", "changes": {"\ud801": 1}}).encode(), 70_000 * b" "]
    for number, content in enumerate(contents):
        (control / f"{number}.json").write_bytes(content)
    (tmp_path / "events").mkdir()
    writer, told = RunWriter(tmp_path, 1), []
    requests = Requests(tmp_path, supervisor=None, turn=lambda changes: check_turn(Recipe(), changes) is None)
    writer_event = writer.event
    writer.event = lambda kind, **fields: (told.append(fields), writer_event(kind, **fields))
    requests.look(writer, 5)
    writer.close()
    assert len(told) == len(contents) and not any(fields["accepted"] for fields in told)
    assert [path.name for path in control.iterdir()] == ["folder.json"]


def test_a_value_that_is_there_already_is_no_turn(runs, tiny):
    path = made(tiny, "same")
    attempt(path, 1, {4: [BACK]})
    answer = read(path).last("request")
    assert at_steps(path) == [] and answer["accepted"] and answer["turned"] is False


def test_the_self_labelling_stage_refuses_what_it_does_not_read(runs, tiny):
    tiny |= {"optim.epochs": 2, "self_label.epochs": 1}
    path = made(tiny, "stages")
    attempt(path, 1, {9: [FLAT, {"optim.learning_rate": 0.1}, {"objective.temperature": 0.5}, {"views.hue": 0.0}]})
    answers = [event for event in read(path).events if event["kind"] == "request"]
    assert [event["accepted"] for event in answers] == [False, False, True, True]
    assert "self-labelling stage" in answers[0]["reason"]
    with pytest.raises(ConfigError, match="self-labelling"):
        Run(path).turn(objective__sharpness_weight=0)


def test_steps_are_taken_one_by_one_and_then_the_run_is_held(runs, tiny):
    path = made(tiny, "stepped")
    asked = {3: [{"operation": "steps", "count": 2}], 5: []}
    seen = []
    look = Requests.look

    def then(self, writer, step):  # a person, who asks for the next steps while it is held
        look(self, writer, step)
        self._next_look = 0.0
        if self.hold and (not seen or seen[-1] != step):
            seen.append(step)
            Run(path).request("turn", changes={"views.noise": 0.02 * step})
            if step < 8:
                Run(path).request("steps", count=1)
                Run(path).request("steps", count=1)
            else:
                Run(path).request("continue")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Requests, "look", then)
        assert attempt(path, 1, asked)["reason"] == "completed"
    assert seen == [5, 7, 9]
    record = read(path)
    assert [event["step"] for event in record.events if event["kind"] == "hold"] == [5, 7, 9]
    assert [turn.step for turn in turns_of(record)] == [5, 7, 9]


def test_a_rewound_run_goes_on_as_if_nothing_had_been_turned(runs, tiny):
    plain, path = made(tiny, "plain"), made(tiny, "rewound")
    attempt(plain, 1, {3: [MANY]})
    attempt(path, 1, {3: [MANY], 8: [FLAT], 10: [BACK]}, stop_at=11)
    with pytest.raises(ConfigError, match="no checkpoint at or before step 2, those of"):
        rewind_record(path, 2)
    with pytest.raises(ConfigError, match="stands at 11"):
        rewind_record(path, 12)
    assert rewind_record(path, 8) == 8
    assert [turn.step for turn in read_plan(path).turns] == [3]
    attempt(path, 2)
    assert_equal_weights(plain, path)
    record = read(path)
    assert at_steps(path) == [(3, MANY)]
    assert [event["step"] for event in record.events if event["kind"] == "turn"] == [3]
    assert (record.last("rewind")["to"], record.last("rewind")["from"]) == (8, 11)
    attempt(path, 3)
    assert len([event for event in read(path).events if event["kind"] == "rewind"]) == 1


def test_a_rewind_within_two_checkpoints_trains_the_steps_between_again(runs, tiny):
    tiny |= {"record.checkpoint_every_epochs": 2, "record.outputs_every_steps": 1}
    plain, path = made(tiny, "plain"), made(tiny, "rewound")
    attempt(plain, 1)
    attempt(path, 1, {10: [FLAT]}, stop_at=11)
    assert rewind_record(path, 9) == 8
    attempt(path, 2, stop_at=10)
    assert output_steps(path) == list(range(1, 11))
    assert all(np.array_equal(read_outputs(plain, s), read_outputs(path, s)) for s in output_steps(path))
    attempt(path, 3)
    assert_equal_weights(plain, path)


def test_a_replay_ends_with_the_same_weights_and_stops_where_the_other_stood(runs, tiny):
    first = made(tiny, "first")
    attempt(first, 1, {0: [{"views.shift": 0.0}], 3: [MANY, FLAT], 7: [BACK]}, stop_at=10)
    again = prepare_replay(first, "again")
    assert attempt(again, 1) == {"reason": "stopped", "step": 10, "message": ""}
    assert_equal_weights(first, again, 10)
    assert at_steps(again) == at_steps(first) and len(at_steps(again)) == 4
    assert read(again).identity["replay_of"]["name"] == "first"
    for path in (first, again):
        assert attempt(path, 2)["reason"] == "completed"
    assert_equal_weights(first, again)
    shorter = prepare_replay(first, None, 6)
    assert shorter.name == "first-replay" and attempt(shorter, 1)["step"] == 6
    assert [step for step, _ in at_steps(shorter)] == [0, 3, 3]
    with pytest.raises(ConfigError, match="from 1 to 12"):
        prepare_replay(first, "more", 13)


def test_a_fork_takes_the_turned_recipe_along_and_is_replayed_from_its_own_start(runs, tiny):
    parent = made(tiny, "parent")
    attempt(parent, 1, {2: [FLAT], 9: [MANY]})
    child = prepare_fork(parent, 8, "child")
    assert read(child).recipe.objective.sharpness_weight == 0 and read(child).recipe.views.noise == 0.05
    assert [Run(parent).load(step).facts["temperature"] for step in (8, 12)] == [1.0, 0.5]
    attempt(child, 1, {10: [{"views.noise": 0.1}]})
    straight = made(tiny, "straight")
    attempt(straight, 1, {2: [FLAT], 10: [{"views.noise": 0.1}]})
    assert_equal_weights(straight, child)
    twin = prepare_replay(child, "twin")
    attempt(twin, 1)
    assert_equal_weights(child, twin)
    assert read(twin).forked_from["name"] == "parent"


def test_outputs_are_those_of_the_batch_of_each_step(runs, tiny, monkeypatch):
    tiny |= {"record.outputs_every_steps": 3, "data.max_images": 230, "objective.temperature": 0.5}
    path = made(tiny, "seen")
    seen, step = {}, Loop._train_step

    def keep(self):
        step(self)
        rows = self.feed.rows(self.step - 1)
        probs, visited = LiveOutputs(path).read()
        assert (visited[rows] == self.step).all()
        seen[self.step] = rows.numpy(), probs

    monkeypatch.setattr(Loop, "_train_step", keep)
    attempt(path, 1)
    probs, visited = LiveOutputs(path).read()
    assert probs.shape == (230, 2, 10) and probs.dtype == np.float16 and visited.dtype == np.int32
    assert np.allclose(probs[visited > 0].astype(float).sum(2), 1, atol=0.01)
    record = read(path)
    entropy = -(probs[seen[12][0]].astype(float) * np.log(probs[seen[12][0]] + 1e-5)).sum(2).mean()
    assert entropy == pytest.approx(record.metrics()["train/sharpness"].iloc[-1], abs=0.02)
    assert output_steps(path) == [3, 6, 9, 12] == [e["step"] for e in record.events if e["kind"] == "outputs"]
    frame = read_outputs(path, 3)
    unseen = np.setdiff1d(np.arange(230), np.concatenate([seen[s][0] for s in (1, 2, 3)]))
    assert (frame[unseen] == 0).all() and len(unseen) == 80
    expected = np.rint(seen[3][1].astype(np.float32).mean(1) * 255).astype(np.uint8)
    assert np.array_equal(frame, expected)


def test_outputs_from_a_gpu_are_written_late_in_order_and_at_last_all(tmp_path):
    class Arrived:
        def synchronize(self):
            pass

    outputs = Outputs(tmp_path, 6, 2, every=3)
    for step in range(1, 8):
        probs = torch.full((2, 1, 2), step / 10).half()
        outputs._sent.append(_Sent(step, np.array([step % 6]), probs, Arrived()))
        assert outputs.write() == ([3] if step == 3 + LAG_STEPS else [])
    assert LiveOutputs(tmp_path).read()[1].tolist() == [-1, 1, 2, 3, -1, -1]
    assert outputs.write(wait=True) == [6]
    assert LiveOutputs(tmp_path).read()[1].tolist() == [6, 7, 2, 3, 4, 5]
    again = Outputs(tmp_path, 6, 2, every=3)
    again.begin(5)
    assert LiveOutputs(tmp_path).read()[1].tolist() == [-1, -1, 2, 3, 4, 5] and output_steps(tmp_path) == [3]
    assert (LiveOutputs(tmp_path).read()[0][:2] == 0).all()
    other = Outputs(tmp_path, 6, 3, every=3)  # of another number of classes: begun anew
    assert LiveOutputs(tmp_path).read()[0].shape == (6, 2, 3) and other.state()["visited"].tolist() == [-1] * 6


def test_outputs_of_too_much_are_refused(runs, tiny):
    with pytest.raises(ConfigError, match="256 classes or less"):
        made(tiny, "wide", record__outputs_every_steps=1, network__num_classes=257)
    many = np.zeros((20_001, 4, 4), np.uint8)
    with pytest.raises(ConfigError, match=r"20,001 images: set data.max_images to 20000"):
        prepare(images=many, changes={"record.outputs_every_steps": 1})
    with pytest.raises(ConfigError, match=r"outputs_every_steps is -1"):
        made(tiny, "minus", record__outputs_every_steps=-1)


@detached
def test_a_living_run_is_turned_stepped_killed_rewound_and_replayed(runs, tiny, capsys):
    tiny |= {"optim.epochs": 100_000, "record.keep_checkpoints": 30, "record.snapshot_every_epochs": 50}
    tiny |= {"record.checkpoint_every_epochs": 50, "record.log_every_steps": 10}
    path = prepare("digits", name="alive", changes=tiny)
    with pytest.raises(ConfigError, match="only a living run can be turned"):
        Run(path).turn(objective__sharpness_weight=0)
    run = launch("digits", name="living", **{name.replace(".", "__"): value for name, value in tiny.items()})
    try:
        assert main(["turn", "living", "--set", "objective.sharpness_weight=0"]) == 0
        assert "objective.sharpness_weight 1 → 0 after step" in capsys.readouterr().out
        assert main(["turn", "living", "--set", "optim.epochs=3"]) == 2
        assert "acts only from the start" in capsys.readouterr().err
        first = run.turns[0].step
        run.answer_to(run.take_steps(3))
        run._wait_for(lambda status: status.state == "HELD", 120)
        answer = run.answer_to(run.turn(views__noise=0.2), 60)
        assert answer["held"] and answer["turned"] and run.turns[-1].step == answer["step"]
        assert main(["turn", "living", "--set", "views.noise=0.2"]) == 0
        assert "nothing changed, it has these values already" in capsys.readouterr().out
        assert run.status.state == "HELD"
        run.proceed()
        trainer = int((path.parent / "living" / "heartbeat.json").read_text().split('"trainer": ')[1].split(",")[0])
        os.kill(trainer, signal.SIGKILL)
        run._wait_for(lambda status: not status.alive, 60)
        run.wait_until_free()
        with pytest.raises(ConfigError, match="living is failed"):
            run.turn(views__noise=0.1)
        chosen = run.rewind(first, hold=True)
        assert chosen <= first
        run._wait_for(lambda status: status.state == "HELD", 120)
        assert run.turns == [] and run.status.step == first
        run.take_steps(5)
        deadline = time.monotonic() + 60
        while run.record.last("hold")["step"] != first + 5 and time.monotonic() < deadline:
            time.sleep(0.05)
            run.record.poll()
        run.stop()
        assert run.record.last("hold")["step"] == first + 5
        assert main(["replay", "living", "--name", "twin"]) == 0
        twin = attach("twin")
        assert_equal_weights(run.path, twin.path, first + 5)
    finally:
        run.stop()
