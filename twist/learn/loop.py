"""The training loop: images, views, network, objective, optimizer and record, wired together."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twist.learn import checkpoints, compute, datasets, finite, snapshots
from twist.learn.diagnosis import diagnose
from twist.learn.feed import Feed
from twist.learn.finite import NotFiniteError
from twist.learn.kernels import passes_self_test
from twist.learn.networks import build_network
from twist.learn.optim import make_optimizer
from twist.learn.outputs import Outputs
from twist.learn.own_code import fingerprint, load_own
from twist.learn.pixels import require_compiler
from twist.learn.process import CONTROL_EVERY_S, Requests, choose_device, environment
from twist.learn.readings import Reading, Readings
from twist.learn.schedules import StepValues, values_at
from twist.learn.step import StepReport, TrainState, evaluate_loss, make_teacher, move_weights, over_processes
from twist.learn.view_parameters import NUM_GLOBAL_VIEWS
from twist.learn.visits import Visits
from twist.learn.whitening import whiten_first_layer
from twist.runs.attempts import attempt_folder
from twist.runs.batch import batch_warnings
from twist.runs.config import ConfigError, Recipe
from twist.runs.launcher import check_batch
from twist.runs.own_code import own_parts
from twist.runs.record import RunRecord, RunWriter
from twist.runs.store import RecordError, read_json, sweep, write_json
from twist.runs.turns import Plan, Turn, make_turn, read_plan, with_turns, write_plan

SAVED_STEPS = 50  # a turned knob is preceded by a checkpoint at most so many steps old, for `Run.rewind`
READING_SHARE = 0.1  # of the images, between two words on how many are decoded


class _StoppedReading(Exception):
    """A request to stop that came while images were decoded."""


class Loop:
    """Training of one run, from its newest checkpoint to its end.

    Parameters
    ----------
    path
        The run folder.
    writer
        Where everything is recorded.
    requests
        What is asked from outside.
    on_metrics
        Called with (step, total steps, metrics) at every logged step.
    """

    def __init__(
        self,
        path: Path,
        writer: RunWriter,
        requests: Requests,
        on_metrics: Callable[[int, int, dict[str, float]], None] | None = None,
    ):
        self.path = path
        self.writer = writer
        self.requests = requests
        self.on_metrics = on_metrics
        record = RunRecord(path)
        self.recipe = record.recipe
        self.forked_from = record.forked_from
        self.state: TrainState
        self.feed: Feed
        self.background = ExitStack()
        self.nobody_taught_before = False
        self.next_share_said = READING_SHARE
        self.clock_step, self.clock_began = 0, time.perf_counter()
        self.plan, self.next_turn = Plan(), 0

    @property
    def step(self) -> int:
        """Steps done; those of the newest checkpoint before the images are loaded."""
        return self.state.step if hasattr(self, "state") else checkpoints.newest_step(self.path)

    @property
    def begins_fork(self) -> bool:
        """Whether the run is a fork that has taken no step and no snapshot of its own yet."""
        return bool(self.forked_from) and not any((self.path / "snapshots").glob("step-*"))

    def run(self) -> str:
        """Train to the end or to a request to stop; returns ``completed`` or ``stopped``."""
        if not self.begin():
            return "stopped"
        while self.step < self.total_steps:
            if not self._answer():
                return "stopped"
            self.advance()
        return "completed"

    def begin(self) -> bool:
        """Load images, network and newest checkpoint; False when a stop was asked for meanwhile."""
        recipe = self.recipe
        self.device = choose_device(recipe.device)
        if self.device.type == "cuda":
            self.background.enter_context(torch.cuda.device(self.device))
        if recipe.compute.compile != "off":
            require_compiler(self.device)
        try:
            images = datasets.load(recipe.data, run_folder=self.path, on_progress=self._say_reading)
        except _StoppedReading:
            return False
        check_batch(recipe, len(images))
        self.steps_per_epoch = len(images) // recipe.optim.batch_size
        self.total_steps = recipe.total_epochs * self.steps_per_epoch
        self.state = self._make_state(images)
        self.extra_term = self._own(recipe.objective.extra)
        self.feed = Feed(
            images, recipe, self.device, steps_per_epoch=self.steps_per_epoch, extra=self._own(recipe.views.extra)
        )
        self.background.callback(self.feed.close)
        self.readings = Readings(self.device)
        torch.manual_seed(recipe.seed)  # for dropout alone; everything else hashes its own counters
        self._take_up_checkpoint(images)
        self._take_up_plan()
        self.watched = self._watch(images)
        self.state.network.train()
        if self.step == 0 or self.begins_fork:
            self._snapshot(self.watched)
        self._restart_clock()
        return True

    def advance(self) -> None:
        """Take one step, then what is due: the end of an epoch, a snapshot, a checkpoint."""
        self._train_step()
        if self.step % self.steps_per_epoch == 0:
            self._end_epoch()
        if self._due(self.recipe.record.snapshot_every_epochs):
            self._snapshot(self.watched)
        if self._due(self.recipe.record.checkpoint_every_epochs):
            self._checkpoint()

    def _make_state(self, images: datasets.ImageSet) -> TrainState:
        recipe = self.recipe
        network = build_network(
            recipe.network,
            in_channels=images.images.shape[1],
            seed=recipe.seed,
            image_size=recipe.views.size,
            run_folder=self.path,
        )
        whiten_first_layer(network, images, recipe)
        network = network.to(self.device).to(memory_format=torch.channels_last)
        teacher = make_teacher(network) if recipe.teacher.enabled else None
        state = TrainState(network, make_optimizer(network, recipe.optim), teacher)
        if recipe.record.train_samples:
            state.visits = Visits(
                len(images),
                steps_per_epoch=self.steps_per_epoch,
                batch_size=recipe.optim.batch_size,
                device=self.device,
            )
        if recipe.record.outputs_every_steps:
            state.outputs = Outputs(
                self.path, len(images), recipe.network.num_classes, every=recipe.record.outputs_every_steps
            )
        return state

    def close(self) -> None:
        """End what reads images in the background."""
        self.background.close()

    def _say_reading(self, done: int, count: int) -> None:
        """Say now and then how many images are decoded, and end that when a stop is asked for."""
        self.requests.look(self.writer, self.step)
        if self.requests.stop:
            raise _StoppedReading
        if self.next_share_said * count <= done < count:
            self.next_share_said = done / count + READING_SHARE
            self.writer.event("reading", step=self.step, done=done, count=count)

    def _answer(self) -> bool:
        """Do what was asked since the last step, or is planned for this one; whether the loop goes on."""
        self._repeat_turns()
        self.requests.look(self.writer, self.step)
        if self.requests.hold_at is not None and self.step >= self.requests.hold_at:
            self.requests.hold, self.requests.hold_at = True, None
        if self.step == self.plan.stop:
            self.requests.stop = True
        if self.requests.hold and not self.requests.stop:
            self._hold()
        if (self.requests.stop and self.requests.save) or self.requests.checkpoint:
            self._checkpoint()
        return not self.requests.stop

    def _take_up_checkpoint(self, images: datasets.ImageSet) -> None:
        """Load the newest checkpoint, and say what this attempt starts from and runs on."""
        facts = {
            **environment(self.device),
            "images": self._check_same_images(images),
            "compile": self.recipe.compute.compile,
        }
        for name, reference in own_parts(self.recipe).items():
            facts[name] = fingerprint(reference, run_folder=self.path)
        for folder in ("snapshots", "checkpoints"):
            sweep(self.path / folder)
        saved, notes = checkpoints.load_newest(self.path, self.state)
        if self.state.outputs is not None:
            self.state.outputs.begin(self.step)
        if saved is None and self.forked_from:
            raise RecordError(f"the checkpoint that {self.path.name} was forked with is gone: fork again")
        facts["precision"] = self._prepare_network(saved or {})
        self.writer.event(
            "start",
            step=self.step,
            from_step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            snapshot_every_steps=self._every(self.recipe.record.snapshot_every_epochs),
            batch_size=self.recipe.optim.batch_size,
            num_images=len(images),
            num_classes=self.recipe.network.num_classes,
            device=str(self.device),
            threads=torch.get_num_threads(),
            precision=facts["precision"],
            images=images.name,
            keep=images.keep,
            **({} if self.requests.max_minutes is None else {"max_minutes": self.requests.max_minutes}),
        )
        if self.begins_fork:
            parent = {name: self.forked_from.get(name) for name in ("id", "name", "step", "changed")}
            self.writer.event("fork", step=self.step, **{f"from_{name}": value for name, value in parent.items()})
        if self.compiles_now:
            message = "torch.compile works in the first step, which takes seconds to minutes"
            self.writer.event("note", step=self.step, message=message)
        for note in images.notes:
            self.writer.event("note", step=self.step, message=note)
        for warning in [*notes, *batch_warnings(self.recipe, len(images))]:
            self.writer.event("warning", step=self.step, message=warning)
        changed = [f"{key}: {then} → {facts.get(key)}" for key, then in (saved or {}).items() if then != facts.get(key)]
        if changed:
            message = f"this resume is not bitwise exact: {', '.join(changed)}"
            self.writer.event("warning", step=self.step, message=message)
        self.facts = facts
        write_json(attempt_folder(self.path, self.writer.attempt) / "environment.json", facts)

    def _take_up_plan(self) -> None:
        """Turn the knobs as they were at this step, and remember what is to be turned again later."""
        self.plan = read_plan(self.path)
        done = [turn for turn in self.plan.turns if turn.step <= self.step]
        self.next_turn = len(done)
        self._turn_to(with_turns(self.recipe, done))
        if self.plan.rewound is not None:
            self.writer.event("rewind", step=self.step, **self.plan.rewound)
            self._plan(rewound=None)
        if self.plan.stop is not None and self.plan.stop <= self.step:
            self._plan(stop=None)  # whoever resumes a replay wants it to go on
        if self.plan.hold is not None:
            self.requests.hold_at = self.plan.hold
            self._plan(hold=None)
        if done:  # the log may have lost its last lines, but not the plan
            record = RunRecord(self.path)
            record.poll()
            told = [(event["step"], event["changes"]) for event in record.events if event["kind"] == "turn"]
            for turn in done:
                if (turn.step, turn.changes) not in told:
                    self._tell(turn, again=True)
        self.requests.turn = self._turn

    def _repeat_turns(self) -> None:
        """Turn what this run, or the one that it repeats, turned at this step before."""
        while self.next_turn < len(self.plan.turns) and self.plan.turns[self.next_turn].step <= self.step:
            turn = self.plan.turns[self.next_turn]
            self.next_turn += 1
            self._save_before_turn()
            self._turn_to(with_turns(self.recipe, [turn]))
            self._tell(turn, again=True)

    def _turn(self, changes: Mapping[str, Any]) -> bool:
        """Turn knobs for the next step; whether any had another value. A `ConfigError` says what cannot be turned."""
        values = values_at(self.step, self.recipe, self.steps_per_epoch)
        turn = make_turn(self.recipe, self.step, changes, self_labelling=values.self_labelling)
        if not turn.changes:
            return False
        self._save_before_turn()
        turns = self.plan.turns
        self._plan(turns=(*turns[: self.next_turn], turn, *turns[self.next_turn :]))
        self.next_turn += 1
        self._turn_to(with_turns(self.recipe, [turn]))
        self._tell(turn)
        return True

    def _save_before_turn(self) -> None:
        """Write a checkpoint to which the turn can be taken back, unless there is one of just before."""
        kept = checkpoints.checkpoint_folders(self.path)
        if kept and self.step - checkpoints.newest_step(self.path) < SAVED_STEPS:
            return
        asked = self.requests.checkpoint
        self._checkpoint()
        self.requests.checkpoint = asked

    def _turn_to(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.feed.turn(recipe)

    def _tell(self, turn: Turn, *, again: bool = False) -> None:
        more = {"again": True} if again else {}
        self.writer.event("turn", step=turn.step, changes=turn.changes, before=turn.before, **more)

    def _plan(self, **changes: Any) -> None:
        self.plan = dataclasses.replace(self.plan, **changes)
        write_plan(self.path, self.plan)

    def _prepare_network(self, saved: dict[str, Any]) -> str:
        """Choose the number format, which an automatic choice keeps for the whole run, and compile; the format."""
        state, wanted = self.state, self.recipe.compute
        state.network.train()
        precision = wanted.precision
        if precision == "auto":
            same_device = saved.get("device_name") == environment(self.device)["device_name"]
            precision = saved.get("precision", precision) if same_device else precision
            precision = compute.choose_precision(
                precision, state.network, self.device, make_views=lambda: self.feed.views(self.step)
            )
        self.precision = compute.PRECISIONS[precision]
        for network in (state.network, state.teacher):
            if network is not None:
                compute.compile_network(network, wanted.compile)
        self.compiles_now = wanted.compile != "off"
        if wanted.kernels and self.device.type == "cuda":
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                device = next(state.network.parameters()).device
                passes_self_test(device, NUM_GLOBAL_VIEWS + self.recipe.views.num_local_views)
            for warning in said:
                self.writer.event("warning", step=self.step, message=str(warning.message))
        return precision

    def _check_same_images(self, images: datasets.ImageSet) -> str:
        """The fingerprint that the run began with, or that of these images at its first attempt."""
        # The watch images, and with them every snapshot, belong to the images of the first attempt that had them all.
        earlier = [attempt_folder(self.path, number) for number in range(1, self.writer.attempt)]
        known = [read_json(folder / "environment.json").get("images") for folder in earlier]
        known.append(self.forked_from.get("images"))
        first = next((fingerprint for fingerprint in known if fingerprint is not None), None)
        if first is not None and not images.has_fingerprint(first):
            raise ConfigError(
                f"{self.recipe.data.source} holds other images than when {self.path.name} began "
                f"({images.fingerprint}, then {first}): bring the old ones back, or launch a new run"
            )
        return first or images.fingerprint

    def _watch(self, images: datasets.ImageSet) -> Tensor:
        """Choose the watch images and write down, once, what views show of them."""
        chosen = snapshots.watch_indices(len(images), self.recipe.record.watch_images, images.labels)
        self.watch_rows = chosen.numpy()
        self.watch_labels = None if images.labels is None else images.labels[chosen]
        watched = images.images[chosen]
        if not (self.path / "watch" / "manifest.json").is_file():
            self.writer.watch(
                watched.numpy(),
                images.sample_ids[chosen].numpy(),
                None if self.watch_labels is None else self.watch_labels.numpy(),
                images.label_names,
            )
        return watched

    def _own(self, reference: str | None) -> Callable[..., Any] | None:
        return None if reference is None else load_own(reference, run_folder=self.path)

    def _train_step(self) -> None:
        """One update, and whatever numbers of it and of earlier ones are there by then."""
        recipe, state = self.recipe, self.state
        values = values_at(self.step, recipe, self.steps_per_epoch)
        if values.self_labelling and self.step == recipe.optim.epochs * self.steps_per_epoch:
            self.writer.event("stage", step=self.step, name="self_labelling")
        began = time.perf_counter()
        compute.begin_step(recipe.compute.compile)
        views = self.feed.views(self.step)
        report = evaluate_loss(state, views, recipe, values, extra=self.extra_term, precision=self.precision)
        gradient_norm = move_weights(state, report.total, recipe, values)
        if state.visits is not None:
            state.visits.put(self.step - 1, report.global_logits, temperature=recipe.objective.temperature)
        if state.outputs is not None:
            rows = self.feed.rows(self.step - 1)
            state.outputs.put(self.step, rows, report.global_logits, recipe.objective.temperature)
            self._write_outputs()
        named = {**report.named(), "gradient_norm": gradient_norm}
        self.readings.put(self.step, list(named), over_processes(named), self._known(report, values))
        if self.step < self.total_steps:
            self.feed.prepare(self.step)
        if self.compiles_now:
            self._say_what_compiling_took(began)
        self._read(self.readings.all() if self.step == self.total_steps else self.readings.arrived())

    def _write_outputs(self, *, wait: bool = False) -> None:
        if self.state.outputs is not None:
            for step in self.state.outputs.write(wait=wait):
                self.writer.event("outputs", step=step)

    def _say_what_compiling_took(self, began: float) -> None:
        self._read(self.readings.all())  # the device may still be at it
        self.compiles_now = False
        seconds = time.perf_counter() - began
        message = (
            f"the first step, in which torch.compile did its work, took {seconds:.1f} s; a later run finds it cached"
        )
        self.writer.event("note", step=self.step, message=message, seconds=round(seconds, 2))
        self._restart_clock()

    def _known(self, report: StepReport, values: StepValues) -> dict[str, float]:
        """What is logged of a step beside the terms; every so often the collapse numbers, which wait for the device."""
        known = {"learning_rate": values.learning_rate}
        return known | diagnose(report, self.recipe) if self._is_diagnosed(self.step) else known

    def _is_diagnosed(self, step: int) -> bool:
        return step in (1, self.total_steps) or step % self.recipe.record.diagnose_every_steps == 0

    def _read(self, readings: Iterable[Reading]) -> None:
        """End the run at a number that is none; log the readings that are due."""
        for step, numbers, known, at_s in readings:
            self._check_finite(step, numbers)
            if numbers.get("self_label_share") == 0:
                self._say_that_nobody_teaches(step, numbers["self_label_threshold"])
            if step % self.recipe.record.log_every_steps == 0 or self._is_diagnosed(step):
                self._log(step, {**numbers, **known}, at_s)

    def _log(self, step: int, numbers: dict[str, float], at_s: float) -> None:
        metrics = {f"train/{name}": value for name, value in numbers.items()}
        metrics["train/mutual_information"] = numbers["diversity"] - numbers["sharpness"]
        count, seconds = step - self.clock_step, max(at_s - self.clock_began, 1e-9)
        if step > 1:  # the first one sets up what later ones find ready
            metrics["train/images_per_s"] = count * self.recipe.optim.batch_size / seconds
        self.clock_step, self.clock_began = step, at_s
        self.writer.metrics(step, step / self.steps_per_epoch, metrics)
        if self.on_metrics is not None:
            self.on_metrics(step, self.total_steps, metrics)

    def _restart_clock(self) -> None:
        """Count images a second from here on, after something else took its time."""
        self.clock_step, self.clock_began = self.step, time.perf_counter()

    def _say_that_nobody_teaches(self, step: int, threshold: float) -> None:
        if self.nobody_taught_before:
            return
        self.nobody_taught_before = True
        self.writer.event(
            "warning",
            step=step,
            message=f"no sample of the batch is more confident than {threshold:.3f}, so nothing was learned in this "
            "step (train/self_label_share tells of later ones); raise self_label.quantile or optim.batch_size",
        )

    def _check_finite(self, step: int, numbers: Mapping[str, float]) -> None:
        complaint = finite.complaint(step, numbers, self.recipe)
        if complaint is not None:
            terms = {f"train/{name}": value for name, value in numbers.items()}
            self.writer.metrics(step, step / self.steps_per_epoch, terms)
            raise NotFiniteError(complaint)

    def _epoch(self) -> float:
        return self.step / self.steps_per_epoch

    def _every(self, epochs: float) -> int:
        """Steps between two of what is due every so many epochs."""
        return max(1, round(epochs * self.steps_per_epoch))

    def _due(self, every_epochs: float) -> bool:
        return self.step % self._every(every_epochs) == 0 or self.step == self.total_steps

    def _end_epoch(self) -> None:
        if self.state.visits is not None:
            epoch = self.step // self.steps_per_epoch
            self.writer.epoch(epoch, self.step, self.state.visits.end_epoch(self.feed.order(epoch - 1)))

    def _snapshot(self, watched: Tensor) -> None:
        self._read(self.readings.all())
        agreement = None
        if self.state.visits is not None:
            order = self.feed.order(self.step // self.steps_per_epoch)
            agreement = self.state.visits.take_agreement(self.step, order)[self.watch_rows]
        columns, summary = snapshots.take(
            self.state.network, watched, self.recipe, agreement=agreement, labels=self.watch_labels
        )
        self.writer.snapshot(self.step, self._epoch(), columns, summary)
        self._restart_clock()

    def _checkpoint(self) -> None:
        self._read(self.readings.all())
        self._write_outputs(wait=True)
        self.requests.checkpoint = False
        self.writer.sync()
        folder = checkpoints.save(self.path, self.state, self.facts, keep=self.recipe.record.keep_checkpoints)
        self.writer.event("checkpoint", step=self.step, folder=folder.name)
        self._restart_clock()

    def _hold(self) -> None:
        self._read(self.readings.all())
        self._write_outputs(wait=True)
        self.writer.event("hold", step=self.step)
        while self.requests.hold and not self.requests.stop:
            if self.requests.checkpoint:
                self._checkpoint()
            if not (self.path / "run.json").is_file():  # nothing could be asked of it any more
                raise RecordError(f"the folder of run {self.path.name} is gone: there is nothing to go on with")
            time.sleep(CONTROL_EVERY_S)
            self.requests.look(self.writer, self.step)
        self.writer.event("continue", step=self.step)
        self._restart_clock()
