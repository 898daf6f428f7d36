"""The training loop: the only file that wires images, views, network, objective, optimizer and record together."""

from __future__ import annotations

import dataclasses
import faulthandler
import functools
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twist.learn import checkpoints, datasets, diagnostics, snapshots
from twist.learn.batches import Batches
from twist.learn.networks import build_network
from twist.learn.optim import make_optimizer
from twist.learn.own_code import fingerprint, load_own
from twist.learn.process import CONTROL_EVERY_S, Requests, choose_device, environment, tune_malloc
from twist.learn.random import permutation
from twist.learn.schedules import StepValues, values_at
from twist.learn.step import StepReport, TrainState, evaluate_loss, make_teacher, move_weights
from twist.learn.views import make_views
from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.batch import batch_warnings
from twist.runs.config import ConfigError, Recipe, ViewsConfig
from twist.runs.launcher import Run, check_batch, discard_unstarted, prepare
from twist.runs.lock import free_lock, take_lock
from twist.runs.own_code import own_parts
from twist.runs.progress import ProgressBar
from twist.runs.record import RunRecord, RunWriter
from twist.runs.store import read_json, sweep, write_json
from twist.runs.supervisor import HEARTBEAT_S, beat, who_holds

READING_SHARE = 0.1  # of the images, between two words on how many are decoded


class _StoppedReading(Exception):
    """A request to stop that came while images were decoded."""


class NotFiniteError(ArithmeticError):
    """A loss that is not a number: raised before the update, so that the weights stay sound."""


def train(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    **changes: Any,
) -> Run:
    """Train in this very process, with a progress bar; for toy sizes, and for systems without detached processes.

    Arguments and errors are those of `twist.launch`, and the run folder is the same. An interrupt writes a checkpoint
    and stops.
    """
    path = prepare(recipe, name=name, images=images, labels=labels, label_names=label_names, changes=changes)
    if take_lock(path) is None:
        raise ConfigError(f"{who_holds(path)} works on run {path.name} already")
    attempt = begin_attempt(path)
    requests = Requests(path, supervisor=None)
    requests.listen_to(signal.SIGINT, once=True)
    bar: ProgressBar | None = None
    last_beat = 0.0

    def show(step: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal bar, last_beat
        if time.monotonic() - last_beat > HEARTBEAT_S:
            last_beat = time.monotonic()
            beat(path, os.getpid())
        bar = bar or ProgressBar(total)
        bar.update(step, metrics)

    try:
        outcome, error = _attempt(path, attempt, requests, show)
        write_json(attempt_folder(path, attempt) / "end.json", outcome)
    finally:
        requests.release()
        if bar is not None:
            bar.close()
        free_lock(path)
    if isinstance(error, ConfigError):
        discard_unstarted(Run(path))
    if error is not None:
        raise error
    return Run(path)


def _attempt(
    path: Path, attempt: int, requests: Requests, on_metrics: Callable[[int, int, dict[str, float]], None] | None = None
) -> tuple[dict[str, Any], BaseException | None]:
    """One attempt from start or checkpoint to its end, and what became of it."""
    writer = RunWriter(path, attempt)
    loop: Loop | None = None
    error: BaseException | None = None
    try:
        loop = Loop(path, writer, requests, on_metrics)
        reason = loop.run()
        outcome = {"reason": reason, "step": loop.step, "message": ""}
    except (Exception, KeyboardInterrupt) as caught:
        error = caught
        outcome = _describe(caught, loop.step if loop else 0)
    finally:
        if loop is not None:
            loop.close()
    writer.event("end", **{key: outcome[key] for key in ("step", "reason", "message")})
    writer.close()
    return outcome, error


def _describe(error: BaseException, step: int) -> dict[str, Any]:
    kind = "config" if isinstance(error, ConfigError) else "error"
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, ConfigError | NotFiniteError):
        message = str(error)
    elif isinstance(error, torch.OutOfMemoryError):
        message = f"out of memory: use a smaller network or optim.batch_size (log N caps what is learned) ({error})"
    text = "".join(traceback.format_exception(error))
    for prefix in (str(Path(__file__).resolve().parents[2]), sys.prefix, str(Path.home())):
        text = text.replace(prefix + os.sep, "")  # no path of this machine in the record
    return {
        "reason": "failed",
        "step": step,
        "kind": kind,
        "type": type(error).__name__,
        "message": message,
        "traceback": text,
    }


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
        self.recipe = RunRecord(path).recipe
        self.state: TrainState
        self.nobody_taught_before = False
        self.gradient_norm: Tensor | None = None
        self.batches: Batches | None = None
        self.order = functools.lru_cache(maxsize=1)(permutation)  # a pure function of the epoch, asked for every step
        self.next_share_said = READING_SHARE

    @property
    def step(self) -> int:
        """Steps done; 0 before the images are loaded."""
        return self.state.step if hasattr(self, "state") else 0

    def run(self) -> str:
        """Train to the end or to a request to stop; returns ``completed`` or ``stopped``."""
        recipe, optim = self.recipe, self.recipe.optim
        self.device = choose_device(recipe.device)
        try:
            images = datasets.load(recipe.data, run_folder=self.path, on_progress=self._say_reading)
        except _StoppedReading:
            return "stopped"
        check_batch(recipe, len(images))
        self.num_images = len(images)
        self.steps_per_epoch = len(images) // optim.batch_size
        self.total_steps = recipe.total_epochs * self.steps_per_epoch
        network = build_network(
            recipe.network,
            in_channels=images.images.shape[1],
            seed=recipe.seed,
            image_size=recipe.views.size,
            run_folder=self.path,
        )
        network = network.to(self.device).to(memory_format=torch.channels_last)
        teacher = make_teacher(network) if recipe.teacher.enabled else None
        self.state = TrainState(network, make_optimizer(network, optim), teacher)
        self.extra_term = self._own(recipe.objective.extra)
        self.extra_augmentation = self._own(recipe.views.extra)
        torch.manual_seed(recipe.seed)  # for dropout alone; everything else hashes its own counters
        self._begin(images)
        watched = self._watch(images)
        batches = self.batches = Batches(images, self._rows, self.total_steps, self.device)
        network.train()
        if self.step == 0:
            self._snapshot(watched)
        while self.step < self.total_steps:
            if not self._answer():
                return "stopped"
            began = time.perf_counter()
            values = values_at(self.step, recipe, self.steps_per_epoch)
            epoch = self.step // self.steps_per_epoch
            batch, ids = batches.batch(self.step)
            stage = self._views_of_stage(values)
            views = make_views(batch, ids, stage, seed=recipe.seed, epoch=epoch, extra=self.extra_augmentation)
            self._train_step(views, values, began)
            if self._due(recipe.record.snapshot_every_epochs):
                self._snapshot(watched)
            if self._due(recipe.record.checkpoint_every_epochs):
                self._checkpoint()
        return "completed"

    def close(self) -> None:
        """End what reads images in the background."""
        if self.batches is not None:
            self.batches.close()

    def _rows(self, step: int) -> Tensor:
        """Rows of the images in the batch of a step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        size = self.recipe.optim.batch_size
        return self.order(self.num_images, seed=self.recipe.seed, epoch=epoch)[index * size : (index + 1) * size]

    def _say_reading(self, done: int, count: int) -> None:
        """Say now and then how many images are decoded, and end that when a stop is asked for."""
        self.requests.look(self.writer, self.step)
        if self.requests.stop:
            raise _StoppedReading
        if self.next_share_said * count <= done < count:
            self.next_share_said = done / count + READING_SHARE
            self.writer.event("reading", step=self.step, done=done, count=count)

    def _answer(self) -> bool:
        """Do what was asked since the last step; whether the loop goes on."""
        self.requests.look(self.writer, self.step)
        if self.requests.hold and not self.requests.stop:
            self._hold()
        if self.requests.stop or self.requests.checkpoint:
            self._checkpoint()
        return not self.requests.stop

    def _begin(self, images: datasets.ImageSet) -> None:
        """Load the newest checkpoint, and say what this attempt starts from and runs on."""
        facts = {**environment(self.device), "images": self._check_same_images(images)}
        for name, reference in own_parts(self.recipe).items():
            facts[name] = fingerprint(reference, run_folder=self.path)
        for folder in ("snapshots", "checkpoints"):
            sweep(self.path / folder)
        saved, notes = checkpoints.load_newest(self.path, self.state)
        self.writer.event(
            "start",
            step=self.step,
            from_step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            batch_size=self.recipe.optim.batch_size,
            num_images=len(images),
            num_classes=self.recipe.network.num_classes,
            device=str(self.device),
            threads=torch.get_num_threads(),
            images=images.name,
            keep=images.keep,
        )
        for note in [*notes, *images.notes, *batch_warnings(self.recipe, len(images))]:
            self.writer.event("warning", step=self.step, message=note)
        if saved is not None and saved != facts:
            changed = ", ".join(
                f"{key}: {saved.get(key)} → {facts[key]}" for key in facts if saved.get(key) != facts[key]
            )
            message = f"this resume is not bitwise exact: {changed}"
            self.writer.event("warning", step=self.step, message=message)
        self.facts = facts
        write_json(attempt_folder(self.path, self.writer.attempt) / "environment.json", facts)

    def _check_same_images(self, images: datasets.ImageSet) -> str:
        """The fingerprint that the run began with, or that of these images at its first attempt."""
        # The watch images, and with them every snapshot, belong to the images of the first attempt.
        first = read_json(attempt_folder(self.path, 1) / "environment.json").get("images")
        if first is not None and not images.has_fingerprint(first):
            raise ConfigError(
                f"{self.recipe.data.source} holds other images than when {self.path.name} began "
                f"({images.fingerprint}, then {first}): bring the old ones back, or launch a new run"
            )
        return first or images.fingerprint

    def _watch(self, images: datasets.ImageSet) -> Tensor:
        """Choose the watch images and write down, once, what views show of them."""
        chosen = snapshots.watch_indices(len(images), self.recipe.record.watch_images, images.labels)
        watched = images.images[chosen]
        if not (self.path / "watch" / "manifest.json").is_file():
            self.writer.watch(
                watched.numpy(),
                images.sample_ids[chosen].numpy(),
                None if images.labels is None else images.labels[chosen].numpy(),
                images.label_names,
            )
        return watched

    def _own(self, reference: str | None) -> Callable[..., Any] | None:
        return None if reference is None else load_own(reference, run_folder=self.path)

    def _views_of_stage(self, values: StepValues) -> ViewsConfig:
        """The recipe's views; harder crops in the self-labelling stage."""
        if not values.self_labelling:
            return self.recipe.views
        harder = self.recipe.self_label
        return dataclasses.replace(
            self.recipe.views, crop_scale=harder.crop_scale, local_crop_scale=harder.local_crop_scale
        )

    def _train_step(self, views: list[Tensor], values: StepValues, began: float) -> None:
        """One update from one batch of views, and its metrics when they are due."""
        recipe = self.recipe
        if values.self_labelling and self.step == recipe.optim.epochs * self.steps_per_epoch:
            self.writer.event("stage", step=self.step, name="self_labelling")
        report = evaluate_loss(self.state, views, recipe, values, extra=self.extra_term)
        self._check_gradient()
        numbers = self._finite(report)
        if numbers.get("self_label_share") == 0:
            self._say_that_nobody_teaches(numbers["self_label_threshold"])
        self.gradient_norm = move_weights(self.state, report.total, recipe, values)
        if self.step % recipe.record.log_every_steps and self.step != self.total_steps:
            return
        metrics = {f"train/{name}": value for name, value in numbers.items()}
        metrics["train/mutual_information"] = numbers["diversity"] - numbers["sharpness"]
        if self.step == 1 or self.step % recipe.record.diagnose_every_steps == 0 or self.step == self.total_steps:
            collapse = diagnostics.summarize(
                [view.detach() for view in report.logits],
                report.features.detach(),
                temperature=recipe.objective.temperature,
            )
            metrics.update({f"train/{name}": value for name, value in collapse.items()})
        metrics["train/learning_rate"] = values.learning_rate
        metrics["train/images_per_s"] = recipe.optim.batch_size / (time.perf_counter() - began)
        self.writer.metrics(self.step, self._epoch(), metrics)
        if self.on_metrics is not None:
            self.on_metrics(self.step, self.total_steps, metrics)

    def _say_that_nobody_teaches(self, threshold: float) -> None:
        if self.nobody_taught_before:
            return
        self.nobody_taught_before = True
        self.writer.event(
            "warning",
            step=self.step,
            message=f"no sample of the batch is more confident than {threshold:.3f}, so nothing was learned in this "
            "step (train/self_label_share tells of later ones); raise self_label.quantile or optim.batch_size",
        )

    def _finite(self, report: StepReport) -> dict[str, float]:
        """The numbers of a step; when one is no number, the run ends here, before the update."""
        numbers = report.numbers()
        broken = [name for name, value in numbers.items() if not math.isfinite(value)]
        if broken:
            self.writer.metrics(
                self.step + 1, self._epoch(), {f"train/{name}": value for name, value in numbers.items()}
            )
            if "extra" in broken:
                raise NotFiniteError(
                    f"objective.extra became {numbers['extra']} at step {self.step + 1}, before the update: see what "
                    f"{self.recipe.objective.extra} makes of ordinary logits"
                )
            raise NotFiniteError(
                f"{' and '.join(broken)} became {numbers[broken[-1]]} at step {self.step + 1}, before the update; "
                f"launch a new run with a lower optim.learning_rate (now {self.recipe.optim.learning_rate:g}) or with "
                "optim.clip_norm=1; resuming this one would meet the same number"
            )
        return numbers

    def _check_gradient(self) -> None:
        """End the run when the last step's gradient was no number: asked when the device is waited for anyway."""
        if self.gradient_norm is not None and not math.isfinite(self.gradient_norm.item()):
            raise NotFiniteError(
                f"the gradient's norm became {self.gradient_norm.item()} at step {self.step}, the loss being finite; "
                "the last checkpoint is from before it; launch a new run with a lower optim.learning_rate "
                f"(now {self.recipe.optim.learning_rate:g}) or without your own backbone or term"
            )

    def _epoch(self) -> float:
        return self.step / self.steps_per_epoch

    def _due(self, every_epochs: float) -> bool:
        every = max(1, round(every_epochs * self.steps_per_epoch))
        return self.step % every == 0 or self.step == self.total_steps

    def _snapshot(self, watched: Tensor) -> None:
        columns, summary = snapshots.take(self.state.network, watched, self.recipe)
        self.writer.snapshot(self.step, self._epoch(), columns, summary)

    def _checkpoint(self) -> None:
        self._check_gradient()
        self.requests.checkpoint = False
        self.writer.sync()
        folder = checkpoints.save(self.path, self.state, self.facts, keep=self.recipe.record.keep_checkpoints)
        self.writer.event("checkpoint", step=self.step, folder=folder.name)

    def _hold(self) -> None:
        self.writer.event("hold", step=self.step)
        while self.requests.hold and not self.requests.stop:
            if self.requests.checkpoint:
                self._checkpoint()
            time.sleep(CONTROL_EVERY_S)
            self.requests.look(self.writer, self.step)
        self.writer.event("continue", step=self.step)


def main(arguments: list[str]) -> int:
    """One attempt in a process of its own, under a supervisor: ``python -m twist.learn.train RUN ATTEMPT``."""
    path, attempt = Path(arguments[0]), int(arguments[1])
    faulthandler.enable()
    tune_malloc()
    requests = Requests(path, supervisor=os.getppid())
    requests.listen_to(signal.SIGTERM, signal.SIGINT)
    outcome, error = _attempt(path, attempt, requests)
    write_json(attempt_folder(path, attempt) / "outcome.json", outcome)
    if error is not None and outcome["kind"] != "config":
        traceback.print_exception(error)
    return {"completed": 0, "stopped": 143}.get(outcome["reason"], 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
