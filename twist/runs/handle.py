"""A handle on one run: what its folder knows, and what may be asked of its training process."""

from __future__ import annotations

import importlib
import math
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twist.runs.config import ConfigError, Recipe
from twist.runs.frozen import refuse_frozen
from twist.runs.lock import fcntl, lock_holder
from twist.runs.record import RunRecord
from twist.runs.rewinding import checkpoint_before, prepare_replay, rewind_record, threads_of
from twist.runs.status import Status, end_record, read_status
from twist.runs.store import write_json
from twist.runs.supervisor import HELD_BY_ANOTHER, who_holds
from twist.runs.turns import Turn, check_steps, check_turn, recipe_at, turns_of

if TYPE_CHECKING:
    import pandas as pd

    from twist.runs.class_histories import ClassHistories
    from twist.runs.clustering import ClusterScores
    from twist.runs.histories import SampleTraits
    from twist.runs.verdict import Verdict

#: Variables by which the libraries under numpy and torch learn how many threads they may start.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class HeldByAnother(ConfigError):
    """Another process works on the run already."""


class TrainingFailed(RuntimeError):
    """A run that ended in an error; the message holds the remote error, its traceback and the end of its log."""


class Run:
    """A handle on one run: everything it knows stands in the run's folder, so any number of handles agree.

    Examples
    --------
    ::

        run = twist.launch("digits")
        run.status
        run.wait()
        run.verdict
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.record = RunRecord(self.path)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.status})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Name of the run: its folder's name."""
        return self.path.name

    @property
    def recipe(self) -> Recipe:
        """The recipe it was made with."""
        return self.record.recipe

    @property
    def status(self) -> Status:
        """How it is right now."""
        return read_status(self.path)

    @property
    def metrics(self) -> pd.DataFrame:
        """Training metrics so far, indexed by step."""
        self.record.poll()
        return self.record.metrics()

    @property
    def verdict(self) -> Verdict:
        """Which collapse, if any, why, and what to change."""
        from twist.runs.verdict import verdict

        self.record.poll()
        return verdict(self.record)

    def verdict_at(self, step: int) -> Verdict:
        """The verdict as it was, or could have been, at an earlier step.

        Raises
        ------
        RecordError
            For a step below 0 or beyond the newest on record.
        """
        from twist.runs.verdict import verdict

        self.record.poll()
        return verdict(self.record, step)

    def sample_history(self, index: int) -> pd.DataFrame:
        """Entropy in nats, confidence, margin, class and agreement of one watch image, a row for each snapshot.

        Raises
        ------
        ValueError
            When there is no such image.
        """
        from twist.runs.histories import sample_history

        self.record.poll()
        return sample_history(self.record, index)

    def epoch_history(self, index: int) -> pd.DataFrame:
        """What training saw of one watch image, a row for each epoch: entropy in nats, class and agreement.

        Of its augmented views, where `sample_history` has the plain image; only of runs with ``record.train_samples``.

        Raises
        ------
        ValueError
            When there is no such image.
        """
        from twist.runs.histories import epoch_history

        self.record.poll()
        return epoch_history(self.record, index)

    @property
    def sample_traits(self) -> SampleTraits:
        """Of every watch image: when it settled, how often it changed its class, how sure it was and how steadily."""
        from twist.runs.histories import sample_traits

        self.record.poll()
        return sample_traits(self.record)

    @property
    def class_histories(self) -> ClassHistories:
        """The classes at every snapshot: usage, mean entropy in nats, perplexity, dead ones, stability."""
        from twist.runs.class_histories import class_histories

        self.record.poll()
        return class_histories(self.record)

    @property
    def scores(self) -> ClusterScores | None:
        """Agreement of the newest assignments with the labels, or None without labels or snapshots."""
        from twist.runs.clustering import scores_of

        self.record.poll()
        return scores_of(self.record)

    @property
    def pixel_kmeans_accuracy(self) -> float | None:
        """Matched accuracy of k-means on the thumbnails' pixels, the baseline beside `scores`.

        None when the images are too large, and when classes and labels differ in number: a one-to-one matching of
        many clusters to few labels says little.
        """
        from twist.runs.clustering import pixel_kmeans_scores

        watch = self.record.watch()
        if watch is None or watch.labels is None or len(set(watch.labels) - {-1}) != self.recipe.network.num_classes:
            return None
        scores = pixel_kmeans_scores(watch, self.recipe.network.num_classes)
        return None if scores is None else scores.matched_accuracy

    def load(self, step: int | None = None) -> Any:
        """The network with its preprocessing, a `twist.learn.model.Model`: ``model.classify(images)``, ``.features``.

        Reads only: a run that trains goes on undisturbed.

        Parameters
        ----------
        step
            Step of a checkpoint; none means the newest sound one.

        Raises
        ------
        ConfigError
            When there is no such checkpoint.

        Examples
        --------
        ::

            answers = run.load().classify(images)
            answers.assignment, answers.confidence, answers.sample_entropy
        """
        # Named and not imported: what a run is loads no torch, asking its network does.
        return importlib.import_module("twist.learn.model").load_model(self, checkpoint_step=step)

    @property
    def train_seconds(self) -> float:
        """Seconds of training over all attempts, from the first step's start to each attempt's last event."""
        self.record.poll()
        return self.record.train_seconds

    def wait(self, timeout_s: float | None = None, *, on_poll: Callable[[Run], Any] | None = None) -> Status:
        """Return when the run has ended; an error that ended it is raised here, with its remote traceback.

        Parameters
        ----------
        timeout_s
            Longest wait; none waits for ever.
        on_poll
            Called about four times a second with this handle.

        Raises
        ------
        ConfigError
            When the recipe or the data were at fault: one sentence.
        TrainingFailed
            For any other error.
        TimeoutError
            When ``timeout_s`` went by first; the run goes on.
        KeyboardInterrupt
            When the person interrupted the waiting; the run goes on, `stop` ends it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while True:
                status = self.status
                if on_poll is not None:
                    on_poll(self)
                if not status.alive:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{self.name} still {status}; it goes on")
                time.sleep(0.25)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped waiting; run {self.name} goes on, run.stop() ends it") from None
        if status.state == "FAILED":
            self._raise_failure(status)
        return status

    @property
    def failure_kind(self) -> str | None:
        """Why its newest attempt failed: config, memory (it ran out), error (any other), vanished (killed), or None."""
        status = self.status
        if status.state != "FAILED":
            return None
        end = end_record(self.path, status.attempt)
        # OutOfMemoryError of torch, MemoryError of Python, _ArrayMemoryError of numpy
        return "memory" if end.get("type", "").endswith("MemoryError") else end.get("kind")

    def _raise_failure(self, status: Status) -> None:
        end = end_record(self.path, status.attempt)
        if end.get("kind") == "config":
            raise ConfigError(end["message"])
        parts = [f"run {self.name} failed at step {status.step}: {status.message}"]
        if end.get("traceback"):
            parts.append(f"Traceback of the training process:\n{end['traceback'].rstrip()}")
        if end.get("log"):
            parts.append("End of its log:\n" + "\n".join(end["log"]))
        raise TrainingFailed("\n\n".join(parts))

    def wait_until_free(self, timeout_s: float = 10.0) -> None:
        """Return when no process holds the run any more."""
        deadline = time.monotonic() + timeout_s
        while lock_holder(self.path) and time.monotonic() < deadline:
            time.sleep(0.05)

    def request(self, operation: str, **fields: Any) -> str:
        """Leave a request for the trainer; it is read at the next step and acknowledged by an event.

        Returns the request's id, which the event ``request`` repeats.
        """
        identity = f"{time.time_ns()}-{secrets.token_hex(4)}"
        (self.path / "control").mkdir(exist_ok=True)
        write_json(self.path / "control" / f"{identity}.json", {"id": identity, "operation": operation, **fields})
        return identity

    def answer_to(self, identity: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The event with which the trainer answered a request: ``accepted``, its ``step``, and a ``reason`` if not.

        Raises
        ------
        ConfigError
            When the run ended before it answered.
        TimeoutError
            When it has not answered in time; the request stays.
        """
        deadline, last_look = time.monotonic() + timeout_s, False
        while True:
            self.record.poll()
            for event in reversed(self.record.events):
                if event["kind"] == "request" and event.get("id") == identity:
                    return event
            if last_look:
                raise ConfigError(f"run {self.name} is {self.status}: it ended before it answered")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not answered in {timeout_s:.0f} s; it is {self.status}")
            last_look = not self.status.alive  # what it wrote last is still to be read
            time.sleep(0.02)

    def stop(self, *, wait: bool = True, timeout_s: float = 120.0) -> Status:
        """Checkpoint and end the training process; `resume` goes on exactly where it was."""
        if self.status.alive:
            self.request("stop")
            if wait:
                self._wait_for(lambda status: not status.alive, timeout_s)
                self.wait_until_free()  # its supervisor says how it ended a moment before it lets go
        return self.status

    def checkpoint(self) -> None:
        """Ask for a checkpoint at the next step."""
        if not self.status.alive:
            raise ConfigError(f"run {self.name} is {self.status}: only a living run can write a checkpoint")
        self.request("checkpoint")

    def hold(self) -> None:
        """Ask the trainer to pause at the next step and stay in memory; `proceed` goes on."""
        self.request("hold")

    def proceed(self) -> None:
        """Let a held trainer go on."""
        self.request("continue")

    def turn(self, **changes: Any) -> str:
        """Turn knobs of a run that trains, from its next step on: ``run.turn(objective__sharpness_weight=0)``.

        Every turn is an event of the run and stands in `turns`; a resume, and a `replay`, turn again at the same step.

        Parameters
        ----------
        **changes
            New values, with two underscores for the dot; `twist.runs.turns.LIVE_FIELDS` names the fields.

        Returns
        -------
        str
            The request's id; the event ``request`` of that id says whether it was accepted.

        Raises
        ------
        ConfigError
            For a field that is unknown or acts only from the start, a value that it cannot hold, and a run that is not
            alive.
        """
        asked = {name.replace("__", "."): value for name, value in changes.items()}
        refuse_frozen(self.path, "turned")
        self.record.poll()
        check_turn(recipe_at(self.record), asked, self_labelling=self._labels_itself())
        self._require_living("turned")
        return self.request("turn", changes=asked)

    @property
    def turns(self) -> list[Turn]:
        """Knobs turned so far, oldest first; without those that a rewind took back."""
        self.record.poll()
        return turns_of(self.record)

    def recipe_at(self, step: int | None = None) -> Recipe:
        """The recipe that was in force at a step: with every knob turned by then; none means the newest step."""
        self.record.poll()
        return recipe_at(self.record, step)

    def take_steps(self, count: int = 1) -> str:
        """Ask the trainer for so many steps, after which it is held; asked again before that, for so many more.

        Returns the request's id, as `request` does.
        """
        check_steps(count)
        refuse_frozen(self.path, "stepped")
        self._require_living("stepped")
        return self.request("steps", count=count)

    def rewind(
        self, step: int, *, hold: bool = False, timeout_s: float = 120.0, max_minutes: float | None = None
    ) -> int:
        """Go back to a step and on from there, without the knobs that were turned at that step or later.

        What is newer than the newest checkpoint at or before that step is lost for good; the steps between the two are
        trained again as they were.

        Parameters
        ----------
        step
            The step to go back to.
        hold
            Whether it waits when it is there; `proceed` goes on.
        timeout_s
            Longest wait for the trainer to end.
        max_minutes
            As of `resume`.

        Returns
        -------
        int
            Step of that checkpoint.

        Raises
        ------
        ConfigError
            When the run has not come that far, or keeps no checkpoint at or before that step: says which it keeps; and
            when the minutes are none.
        """
        check_minutes(max_minutes)
        threads = threads_of(self.path)
        checkpoint_before(self.path, step)
        if self.status.alive:
            self.request("stop", checkpoint=False)  # one more might take the place of the one that is needed
            self._wait_for(lambda status: not status.alive, timeout_s)
        self.wait_until_free()
        chosen = rewind_record(self.path, step, hold=hold)
        start(self.path, threads=threads, max_minutes=max_minutes)
        return chosen

    def replay(self, name: str | None = None, *, until: int | None = None) -> Run:
        """Start a run with the same recipe and seed in which the same knobs are turned at the same steps.

        On a CPU, with as many threads, it ends with the very same weights.

        Parameters
        ----------
        name
            Name of the new run; none makes one from this one's.
        until
            Step at which it stops with a checkpoint; none means the newest step of this one.

        Raises
        ------
        ConfigError
            When this run has taken no step, or the name is taken.
        """
        path = prepare_replay(self.path, name, until)
        start(path, threads=threads_of(self.path))
        return Run(path)

    def _require_living(self, done: str) -> None:
        if not (status := self.status).alive:
            raise ConfigError(f"run {self.name} is {status}: only a living run can be {done}")

    def _labels_itself(self) -> bool:
        start, newest = self.record.last("start"), self.record.last("metrics")
        first_stage = self.recipe.optim.epochs * start["steps_per_epoch"] if start else math.inf
        return newest is not None and newest["step"] >= first_stage

    def resume(self, *, max_minutes: float | None = None) -> Run:
        """Go on: a held run in the process that holds it, any other from its newest checkpoint in a new one.

        Parameters
        ----------
        max_minutes
            Minutes after which it checkpoints and stops once more, from the start of that process; none sets no limit.

        Raises
        ------
        ConfigError
            When the run trains or is complete, the minutes are none, or are given to a run that is held.
        """
        check_minutes(max_minutes)
        status = self.status
        if status.state == "HELD":
            if max_minutes is not None:
                raise ConfigError(f"run {self.name} is held by a process that has its time: leave max_minutes out")
            self.proceed()
            return self
        if status.alive:
            raise ConfigError(f"run {self.name} is {status}: it needs no resuming")
        if status.state == "COMPLETED":
            refuse_frozen(self.path, "resumed")
            raise ConfigError(f"run {self.name} is complete ({status.step} steps): launch a longer recipe instead")
        start(self.path, max_minutes=max_minutes)
        return self

    def _wait_for(self, done: Callable[[Status], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done(self.status):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not answered in {timeout_s:.0f} s; it is {self.status}")
            time.sleep(0.1)


def check_minutes(minutes: float | str | None, name: str = "max_minutes") -> float | None:
    """Minutes that a training may take, or none for no limit; a `ConfigError` when they are no number above 0."""
    if minutes is None:
        return None
    try:
        number = math.nan if isinstance(minutes, bool) else float(minutes)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"{name} is {minutes!r}: give a number of minutes above 0, as in 30 or 0.5")
    return number


def start(path: Path, *, threads: int | None = None, max_minutes: float | None = None) -> None:
    """Start a training process on a run that has none, detached from this one.

    Parameters
    ----------
    path
        The run folder.
    threads
        Threads it computes with; none leaves that to torch and to the environment: one per core.
    max_minutes
        Minutes after which it checkpoints and stops by itself, whether anybody waits for it or not.

    Raises
    ------
    HeldByAnother
        When another process works on the run.
    ConfigError
        When the system cannot start one apart from this.
    TrainingFailed
        When its supervisor did not start; the message holds the end of its log.
    """
    if fcntl is None:
        raise ConfigError("this system has no process locks: train in the notebook's own process with twist.train(...)")
    minutes = check_minutes(max_minutes)
    limit = [] if minutes is None else [str(minutes)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    # TWIST_RUNS and the working folder travel along, so that relative paths of the recipe mean the same there.
    with open(path / "supervisor.log", "ab") as log:
        starter = subprocess.run(
            [sys.executable, "-m", "twist.runs.supervisor", str(path), *limit],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            check=False,
        )
    if starter.returncode == HELD_BY_ANOTHER and lock_holder(path):
        raise HeldByAnother(f"{who_holds(path)} works on run {path.name} already: attach to it, or stop it first")
    if starter.returncode != 0:
        raise TrainingFailed(
            f"the supervisor of {path.name} did not start (status {starter.returncode}):\n"
            + (path / "supervisor.log").read_text(errors="replace")[-2000:]
        )
