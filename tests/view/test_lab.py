"""The collapse lab without a browser: knobs, frames, what a pane says of its run, and the runs that are kept."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
import pytest

import twist
from twist.runs.config import ConfigError
from twist.runs.experiments import EXPERIMENTS
from twist.runs.folders import create_run, run_paths
from twist.runs.handle import Run
from twist.runs.keeping import tag
from twist.runs.record import RunRecord, RunWriter
from twist.runs.supervisor import living_trainer
from twist.view import lab_lane, lab_runs
from twist.view.lab_frames import MOST_POINTS, Frames
from twist.view.lab_knobs import KNOBS, STRENGTH, as_fields, as_knobs, check_knobs, healthy_knobs, knobs_of, recipe_of
from twist.view.lab_lane import Lane

ROWS, CLASSES = 30, 3


def until(claim, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


class Trainer:
    """Writes what a training process would, step by step."""

    def __init__(self, root, recipe=None):
        self.recipe = recipe or recipe_of({})
        self.path = create_run(self.recipe, root=root)
        (self.path / "attempts" / "0001").mkdir()
        (self.path / "outputs").mkdir()
        self.writer, self.step = RunWriter(self.path, 1), 0
        self.probs = np.full((ROWS, 2, CLASSES), 1 / CLASSES, np.float16)
        self.visited = np.full(ROWS, -1, np.int32)
        self.begin(0)

    def begin(self, step: int) -> None:
        self.writer.event("start", step=step, from_step=step, steps_per_epoch=3, total_steps=900, batch_size=10)

    def take_step(self, sharpness: float = 0.4) -> np.ndarray:
        """One step on a third of the images; returns their rows."""
        rows = np.arange(10) + 10 * (self.step % 3)
        self.step += 1
        self.probs[rows] = np.random.default_rng(self.step).dirichlet(np.ones(CLASSES), (10, 2)).astype(np.float16)
        self.visited[rows] = self.step
        np.save(self.path / "outputs" / "live.npy", self.probs)
        np.save(self.path / "outputs" / "visited.npy", self.visited)
        terms = {"consistency": 0.1, "sharpness": sharpness, "diversity": 1.0, "total": -0.5}
        self.writer.metrics(self.step, self.step / 3, {f"train/{name}": value for name, value in terms.items()})
        return rows


def arrays_of(facts, buffers):
    """The arrays of a frame, by name."""
    kinds = {"rows": "i4", "probs": "f4", "visits": "i4", "batch": "i4", "views": "f4", "steps": "i4"}
    kinds |= {"sharpness": "f4", "diversity": "f4", "consistency": "f4"}
    found = {name: np.frombuffer(one, kind) for (name, kind), one in zip(kinds.items(), buffers, strict=True)}
    found["probs"] = found["probs"].reshape(-1, facts["classes"])
    found["views"] = found["views"].reshape(2, -1, facts["classes"])
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Knobs


def test_every_experiment_of_digits_is_a_recipe_and_its_knobs_are_read_back():
    for each in EXPERIMENTS:
        knobs = check_knobs(each.digits)
        assert set(knobs) == set(KNOBS) and all(knobs[name] == value for name, value in each.digits.items())
        assert knobs_of(recipe_of(knobs)) == knobs


def test_the_strength_becomes_ranges_of_the_views_and_comes_back():
    recipe = recipe_of({})
    fields = as_fields({STRENGTH: 2}, recipe)
    assert fields["views.rotation_degrees"] == 2 * recipe.views.rotation_degrees
    turned = recipe_of({STRENGTH: 2})
    assert turned.views.rotation_degrees == fields["views.rotation_degrees"]
    assert as_knobs(fields, turned) == {STRENGTH: 2.0}
    assert as_knobs({"views.noise": 0.3}, recipe.replace(views__noise=0.3)) == {"views.noise": 0.3}


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"objective.sharpnes_weight": 0}, "did you mean 'objective.sharpness_weight'"),
        ({STRENGTH: 3}, "views.strength is 3: give a number from 0"),
        ({"optim.batch_size": 5000}, "optim.batch_size is 5000"),
        ({"network.final_norm": "layer"}, "network.final_norm is 'layer'"),
    ],
)
def test_a_knob_that_cannot_be_so_is_refused_in_one_sentence(knobs, said):
    with pytest.raises(ConfigError, match=said):
        check_knobs(knobs)


# ---------------------------------------------------------------------------------------------------------------------
# Frames


def test_a_frame_holds_what_is_new_and_all_of_them_together_what_is_there(tmp_path):
    trainer = Trainer(tmp_path)
    record = RunRecord(trainer.path)
    frames, shown, way = Frames(record), np.full((ROWS, CLASSES), np.nan, np.float32), []
    assert frames.take() is None
    for count in (1, 2, 4, 1):
        rows = [trainer.take_step() for _ in range(count)][-1]
        record.poll()
        frames.look()
        facts, buffers = frames.take()
        arrays = arrays_of(facts, buffers)
        assert facts["step"] == trainer.step and facts["whole"] == (trainer.step == 1)
        assert len(arrays["rows"]) <= 10 * count
        shown[arrays["rows"]] = arrays["probs"]
        way.extend(arrays["steps"].tolist())
        assert arrays["batch"].tolist() == rows.tolist()
        assert np.array_equal(arrays["views"], trainer.probs[rows].astype(np.float32).transpose(1, 0, 2))
        assert facts["agreement"] == np.mean(arrays["views"][0].argmax(1) == arrays["views"][1].argmax(1))
    assert np.allclose(shown, trainer.probs.astype(np.float32).mean(1)) and way == list(range(1, 9))
    assert not frames.new
    frames.want_whole()
    facts, buffers = frames.take()
    assert facts["whole"] and len(arrays_of(facts, buffers)["rows"]) == ROWS and facts["points"] == 8


def test_a_long_way_is_sent_in_few_points_that_end_where_it_ends(tmp_path):
    trainer = Trainer(tmp_path)
    trainer.take_step()
    for step in range(2, MOST_POINTS + 1000):
        trainer.writer.metrics(step, step / 3, {"train/sharpness": 0.1, "train/diversity": 1.0})
    record = RunRecord(trainer.path)
    frames = Frames(record)
    record.poll()
    frames.look()
    facts, buffers = frames.take()
    steps = arrays_of(facts, buffers)["steps"]
    assert len(steps) <= MOST_POINTS and steps[0] == 1 and steps[-1] == MOST_POINTS + 999


def test_a_run_that_went_back_is_sent_anew_without_what_came_later(tmp_path):
    trainer = Trainer(tmp_path)
    for _ in range(6):
        trainer.take_step()
    record = RunRecord(trainer.path)
    frames = Frames(record)
    record.poll()
    frames.look()
    frames.take()
    (trainer.path / "attempts" / "0002").mkdir()
    trainer.writer, trainer.step = RunWriter(trainer.path, 2), 3
    trainer.begin(3)
    trainer.take_step()
    record.poll()
    frames.look()
    facts, buffers = frames.take()
    assert facts["whole"] and arrays_of(facts, buffers)["steps"].tolist() == [1, 2, 3, 4]


# ---------------------------------------------------------------------------------------------------------------------
# A pane


class Pane:
    """A lane and what it said; its pages draw every frame at once while `draws`."""

    def __init__(self, knobs=None):
        self.states, self.frames, self.draws = [], [], True
        self.lane = Lane("a", knobs or {}, on_state=lambda lane: self.states.append(lane.state), on_frame=self._frame)

    def _frame(self, facts, buffers):
        self.frames.append(facts)
        if self.draws:
            self.lane.drawn(facts["number"])

    def is_in(self, state: str) -> bool:
        return self.lane.state["state"] == state


@pytest.fixture
def trainers(runs, monkeypatch):
    """Lanes start synthetic runs; these are they. A process lives on them as long as `alive` is true."""
    started = []

    def launch(recipe):
        started.append(Trainer(runs, recipe))
        return Run(started[-1].path)

    def status(path):
        trainer = next(each for each in started if each.path == path)
        found = lab_lane.Status(getattr(trainer, "state", "RUNNING"), step=trainer.step, attempt=1)
        return found

    monkeypatch.setattr(lab_lane, "launch_in_lab", launch)
    monkeypatch.setattr(lab_lane, "read_status", status)
    monkeypatch.setattr(lab_lane, "UNSEEN_S", 0.05)
    return started


@pytest.fixture
def pane(trainers):
    pane = Pane()
    yield pane
    pane.lane.close(stop=False)


def test_nothing_trains_before_a_page_shows_it(trainers, pane):
    assert pane.lane.run is None and not pane.lane.alive
    pane.lane.ask("open")
    until(lambda: trainers and pane.lane.run is not None)
    assert pane.is_in("starting")
    trainers[0].take_step()
    until(lambda: pane.frames and pane.is_in("running"))
    assert pane.frames[0]["step"] == 1 and pane.frames[0]["whole"]


def test_a_page_that_does_not_draw_gets_no_pile_of_frames(trainers, pane):
    pane.draws = False
    pane.lane.ask("open")
    until(lambda: trainers)
    for _ in range(20):
        trainers[0].take_step()
        time.sleep(0.03)
    assert len(pane.frames) <= 2
    pane.draws = True
    pane.lane.drawn(pane.frames[-1]["number"])
    trainers[0].take_step()
    until(lambda: pane.frames[-1]["step"] == 21)


def test_a_second_page_has_everything_sent_once_more(trainers, pane):
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    until(lambda: pane.frames)
    pane.lane.ask("open")
    until(lambda: len(pane.frames) == 2)
    assert pane.frames[1]["whole"] and len(trainers) == 1


def test_a_knob_that_acts_from_the_start_begins_anew_from_the_same_seed(trainers, pane):
    pane.lane.ask("open", knobs={"seed": 5})
    until(lambda: trainers)
    pane.lane.ask("turn", changes={"network.final_norm": "none"}, view="me", ticket=7)
    until(lambda: len(trainers) == 2 and pane.lane.state["heard"] == {"view": "me", "ticket": 7})
    assert trainers[1].recipe.network.final_norm == "none" and trainers[1].recipe.seed == 5
    assert [run.path for run in pane.lane.runs] == [each.path for each in trainers]


def test_a_turned_knob_is_asked_of_the_run_and_said_when_it_acted(trainers, pane):
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    pane.lane.ask("turn", changes={"objective.temperature": -1})
    until(lambda: "objective.temperature is -1" in pane.lane.state["problem"])
    pane.lane.ask("undo")
    until(lambda: "no knob was turned" in pane.lane.state["problem"])


def test_a_turn_that_could_not_be_taken_back_still_can_be(trainers, pane, monkeypatch):
    asked = []
    monkeypatch.setattr(Run, "turn", lambda run, **changes: asked.append(changes))
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    until(lambda: pane.is_in("running"))
    pane.lane.ask("turn", changes={"objective.sharpness_weight": 0})
    until(lambda: asked)
    trainers[0].state = "STOPPED"
    pane.lane.ask("undo")
    until(lambda: "does not train now" in pane.lane.state["problem"])
    trainers[0].state = "RUNNING"
    pane.lane.ask("undo")
    until(lambda: len(asked) == 2)
    assert asked[1] == {"objective__sharpness_weight": 1.0}
    pane.lane.ask("undo")
    until(lambda: "nothing to take back" in pane.lane.state["problem"])


def test_a_folder_that_was_deleted_is_told_with_what_to_do(trainers, pane):
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    until(lambda: pane.frames)
    shutil.rmtree(trainers[0].path)
    until(lambda: pane.is_in("failed"))
    assert "was deleted or moved. Press restart" in pane.lane.state["message"]
    pane.lane.ask("restart")
    until(lambda: len(trainers) == 2 and not pane.is_in("failed"))


@pytest.mark.parametrize(
    ("state", "shown", "words"),
    [
        ("INTERRUPTED", "failed", "vanished at step 1: it was killed.*Press play"),
        ("FAILED", "failed", "Training failed at step 1.*Change a knob and press restart"),
        ("STOPPED", "paused", "stopped at step 1: press play"),
        ("COMPLETED", "finished", "all of its 1 steps. Press restart"),
    ],
)
def test_how_a_run_ended_is_told_with_what_to_do(trainers, pane, state, shown, words):
    import re

    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    trainers[0].state = state
    until(lambda: pane.is_in(shown))
    assert re.search(words, pane.lane.state["message"])


def test_a_run_at_which_nobody_looks_is_held_and_goes_on_when_it_is_seen(trainers, pane, monkeypatch):
    monkeypatch.setattr(lab_lane, "HOLD_AFTER_S", 0.2)
    asked = []
    monkeypatch.setattr(Run, "request", lambda run, operation, **_: asked.append(operation))
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    until(lambda: pane.is_in("running"))
    pane.lane.seen = False
    until(lambda: asked == ["hold"])
    trainers[0].writer.event("hold", step=1)
    until(lambda: pane.is_in("paused") and "nobody has looked" in pane.lane.state["message"])
    pane.lane.seen = True
    until(lambda: asked == ["hold", "continue"])


def test_a_page_that_was_closed_without_a_word_is_nobody(trainers, pane, monkeypatch):
    monkeypatch.setattr(lab_lane, "NOBODY_S", 0.3)
    monkeypatch.setattr(lab_lane, "HOLD_AFTER_S", 0.1)
    asked = []
    monkeypatch.setattr(Run, "request", lambda run, operation, **_: asked.append(operation))
    pane.lane.ask("open")
    until(lambda: trainers)
    trainers[0].take_step()
    until(lambda: asked == ["hold"])
    trainers[0].writer.event("hold", step=1)
    until(lambda: pane.is_in("paused"))
    pane.lane.drawn()
    until(lambda: asked == ["hold", "continue"])


# ---------------------------------------------------------------------------------------------------------------------
# Runs that are kept


def test_the_newest_unnamed_runs_are_kept_and_those_with_a_name_or_a_tag(runs):
    def made(name, origin=lab_runs._ORIGIN):
        return create_run(recipe_of({}), name=name, root=runs, origin=origin)

    unnamed = [made(f"lab-20260101-00000{k}") for k in range(9)]
    named = made("shown-to-all")
    other = made("lab-20260101-000099", None)  # by `twist train lab`: a person's own
    for k, path in enumerate([*unnamed, named, other]):
        os.utime(path / "run.json", (1e9 + k, 1e9 + k))
    tag(unnamed[0], "first")
    assert lab_runs.tidy({unnamed[1]}, kept=4) == [path.name for path in unnamed[2:5]]
    assert set(run_paths(runs)) == {*unnamed[:2], *unnamed[5:], named, other}


def test_a_run_is_not_kept_under_a_name_that_the_lab_gives(runs):
    path = create_run(recipe_of({}), root=runs)
    with pytest.raises(ConfigError, match="a name that the lab gives"):
        lab_runs.keep_run(Run(path), "lab-20260101-000000")
    assert lab_runs.keep_run(Run(path), "mine").name == "mine"


# ---------------------------------------------------------------------------------------------------------------------
# The widget


def test_the_lab_of_points_needs_no_run_and_tells_its_page(runs, monkeypatch):
    lab = twist.CollapseLab(experiment="uniform", hide=["share"])
    sent = []
    monkeypatch.setattr(lab, "send", lambda message, buffers=None: sent.append(message))
    assert lab.knobs == dict(EXPERIMENTS[1].toy) and lab.run is None and lab.runs == [] and lab.turns == []
    lab.turn(objective__sharpness_weight=1)
    assert sent == [{"type": "python", "do": "turn", "pane": "a", "changes": {"objective.sharpness_weight": 1}}]
    assert not runs.exists()
    lab.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": "mnist"}, "data is 'mnist': give 'toy'"),
        ({"experiment": "healhty"}, "did you mean 'healthy'"),
        ({"data": "digits", "knobs": {"objective.temperature": -1}}, "objective.temperature is -1"),
        ({"knobs": {"temperature": 1}}, "the lab has no knob 'temperature'"),
        ({"sideways": True}, "CollapseLab takes no 'sideways'"),
    ],
)
def test_what_a_lab_cannot_be_is_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        twist.CollapseLab(**arguments)


def test_a_lab_of_digits_trains_turns_rewinds_and_survives_a_kill(runs):
    """The whole way through a real training process."""
    lab = twist.CollapseLab("digits", knobs={"optim.batch_size": 50})
    frames = []

    def send(message, buffers=None):
        frames.append(message)
        lab._hear(lab, {"type": "lab", "pane": "a", "do": "drawn", "number": message.get("number", 0)}, [])

    lab.send = send
    assert not runs.exists()
    lab._hear(lab, {"type": "lab", "pane": "a", "do": "open", "view": "v", "ticket": 1}, [])

    def state():
        return lab.panes.get("a", {}).get("state")

    until(lambda: state() == "running" and len(frames) > 3)
    assert lab.run.recipe.optim.batch_size == 50 and frames[0]["images"] == 1797
    lab.turn(objective__sharpness_weight=0)
    until(lambda: lab.turns)
    (turn,) = lab.turns
    assert turn["changes"] == {"objective.sharpness_weight": 0.0} and turn["before"]["objective.sharpness_weight"] == 1
    assert [each.changes for each in lab.run.turns] == [turn["changes"]]
    lab._hear(lab, {"type": "lab", "pane": "a", "do": "rewind", "view": "v", "ticket": 2}, [])
    until(lambda: state() == "paused" and lab.panes["a"]["step"] == turn["step"])
    assert lab.turns == [] and lab.panes["a"]["knobs"] == {**healthy_knobs(), "optim.batch_size": 50}
    os.kill(living_trainer(lab.run.path), signal.SIGKILL)
    until(lambda: state() == "failed")
    assert "killed" in lab.panes["a"]["message"]
    lab._hear(lab, {"type": "lab", "pane": "a", "do": "play", "view": "v", "ticket": 3}, [])
    until(lambda: state() == "running")
    lab.keep("kept")
    run = lab.run
    lab.close()
    assert (runs / "kept" / "run.json").is_file() and not run.path.exists()
