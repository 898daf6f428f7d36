"""Start, watch, stop and resume runs from anywhere that sees their folders."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twist.runs.attempts import last_attempt
from twist.runs.config import ConfigError, Recipe, field_names, field_value, with_fields
from twist.runs.devices import check_device
from twist.runs.folders import check_name, create_run, find_run, run_paths, runs_root
from twist.runs.lock import fcntl, lock_holder
from twist.runs.record import RunRecord
from twist.runs.status import Status, end_record, read_status
from twist.runs.store import write_json
from twist.runs.supervisor import HELD_BY_ANOTHER, who_holds

if TYPE_CHECKING:
    import pandas as pd

    from twist.runs.clustering import ClusterScores
    from twist.runs.verdict import Verdict


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

    def stop(self, *, wait: bool = True, timeout_s: float = 120.0) -> Status:
        """Checkpoint and end the training process; `resume` goes on exactly where it was."""
        if self.status.alive:
            self.request("stop")
            if wait:
                self._wait_for(lambda status: not status.alive, timeout_s)
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

    def resume(self) -> Run:
        """Go on from the newest checkpoint in a new process; a completed run is left as it is."""
        status = self.status
        if status.alive:
            raise ConfigError(f"run {self.name} is {status}: it needs no resuming")
        if status.state == "COMPLETED":
            raise ConfigError(f"run {self.name} is complete ({status.step} steps): launch a longer recipe instead")
        start(self.path)
        return self

    def _wait_for(self, done: Callable[[Status], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done(self.status):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not answered in {timeout_s:.0f} s; it is {self.status}")
            time.sleep(0.1)


def launch(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    exist_ok: bool = False,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    **changes: Any,
) -> Run:
    """Start a run in a process of its own and return at once; it survives a restart of the kernel.

    Parameters
    ----------
    recipe
        Name of a recipe, path of images, or a `Recipe`; none means ``images`` when images are given, else ``digits``.
    name
        Name of the run; none makes one from the recipe and the time.
    exist_ok
        When a run of that name and recipe exists: attach to it instead of refusing, so that a cell can be run twice.
    images, labels, label_names
        Images in memory (uint8 ``[N, H, W]``, ``[N, H, W, 3]`` or ``[N, C, H, W]``; arrays or tensors) instead of the
        recipe's; they are kept with the run. Labels are only shown, never learned from.
    **changes
        Fields to change, with two underscores for the dot: ``optim__epochs=5``.

    Raises
    ------
    ConfigError
        When something asked for cannot be: the message names it and the fix, and nothing was written.

    Examples
    --------
    ::

        run = twist.launch("digits", name="first", optim__epochs=20)
    """
    if exist_ok and name is not None and (runs_root() / check_name(name) / "run.json").is_file():
        existing = attach(name)
        _refuse_another_recipe(existing, _resolve(recipe, changes, with_images=images is not None))
        return existing
    path = prepare(recipe, name=name, images=images, labels=labels, label_names=label_names, changes=changes)
    start(path)
    return Run(path)


def prepare(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Check what was asked for and make the run's folder, without starting it; warn of what a batch cannot carry."""
    from twist.runs.batch import BatchWarning, batch_warnings
    from twist.runs.own_code import check_own_code, keep_own_code
    from twist.runs.sources import arrays_for_run, check_source

    recipe = _resolve(recipe, changes or {}, with_images=images is not None)
    check_device(recipe.device)
    arrays = None
    if images is not None:
        arrays = arrays_for_run(images, labels, label_names)
        count = len(arrays["images"])
    else:
        count = check_source(recipe.data)
    check_batch(recipe, count)
    check_own_code(recipe)
    for sentence in batch_warnings(recipe, count):
        warnings.warn(sentence, BatchWarning, stacklevel=3)
    path = create_run(recipe, name=name, arrays=arrays)
    keep_own_code(recipe, path)
    return path


def _resolve(recipe: str | Recipe | None, changes: Mapping[str, Any], *, with_images: bool) -> Recipe:
    from twist.runs.recipes import recipe as recipe_named

    if recipe is None:
        recipe = "images" if with_images else "digits"
    if isinstance(recipe, str):
        recipe = recipe_named(recipe)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"recipe is a {type(recipe).__name__}: give the name of a recipe, or a Recipe")
    recipe = with_fields(recipe, {key.replace("__", "."): value for key, value in changes.items()})
    return recipe.replace(data__source="@run/images.npz") if with_images else recipe


def _refuse_another_recipe(run: Run, asked: Recipe) -> None:
    differences = [
        f"{name} is {field_value(run.recipe, name)!r} there, {field_value(asked, name)!r} here"
        for name in field_names()
        if field_value(run.recipe, name) != field_value(asked, name)
    ]
    if differences:
        raise ConfigError(
            f"a run named {run.name!r} exists with another recipe ({'; '.join(differences)}): choose another name"
        )


def check_batch(recipe: Recipe, num_images: int) -> None:
    """Refuse a recipe whose batch is larger than its image set, or no whole number of bunches."""
    count = min(num_images, recipe.data.max_images or num_images)
    if count < 2:
        raise ConfigError(f"{recipe.data.source} has {count} image to learn from: give at least 2, better thousands")
    if count < recipe.optim.batch_size:
        raise ConfigError(
            f"optim.batch_size is {recipe.optim.batch_size}, but {recipe.data.source} has only {count} images: "
            f"set optim.batch_size to {count} or less, or give more images"
        )
    bunch, batch = recipe.network.bunch_size, recipe.optim.batch_size
    if recipe.network.final_norm == "batch" and bunch is not None and bunch < batch and batch % bunch:
        raise ConfigError(
            f"network.bunch_size is {bunch}: give a divisor of optim.batch_size, {batch}, or none; "
            "--batch-size scales both"
        )


def attach(name: str = "last") -> Run:
    """A handle on an existing run: by name, by path, or ``last`` for the newest."""
    return Run(find_run(str(name)))


def list_runs(root: Path | None = None) -> pd.DataFrame:
    """All runs as a table, newest first: name, recipe, state, step, seed, time of creation."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for path in reversed(run_paths(root)):
        try:
            identity = RunRecord(path).identity
        except RuntimeError as error:
            rows.append({"name": path.name, "state": f"UNREADABLE: {error}"})
            continue
        status = read_status(path)
        rows.append(
            {
                "name": path.name,
                "recipe": identity.get("recipe"),
                "state": status.state,
                "step": status.step,
                "total_steps": status.total_steps,
                "seed": identity.get("seed"),
                "created": identity.get("created"),
            }
        )
    return pd.DataFrame(rows, columns=["name", "recipe", "state", "step", "total_steps", "seed", "created"])


def start(path: Path) -> None:
    """Start a training process on a run that has none, detached from this one."""
    if fcntl is None:
        raise ConfigError("this system has no process locks: train in the notebook's own process with twist.train(...)")
    # TWIST_RUNS and the working folder travel along, so that relative paths of the recipe mean the same there.
    with open(path / "supervisor.log", "ab") as log:
        starter = subprocess.run(
            [sys.executable, "-m", "twist.runs.supervisor", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=False,
        )
    if starter.returncode == HELD_BY_ANOTHER and lock_holder(path):
        raise ConfigError(f"{who_holds(path)} works on run {path.name} already: attach to it, or stop it first")
    if starter.returncode != 0:
        raise TrainingFailed(
            f"the supervisor of {path.name} did not start (status {starter.returncode}):\n"
            + (path / "supervisor.log").read_text(errors="replace")[-2000:]
        )


def discard_unstarted(run: Run) -> None:
    """Delete the folder of a run that failed before its first step: it holds nothing but the mistake."""
    run.record.poll()
    if run.record.last("metrics") is None and last_attempt(run.path) <= 1 and not lock_holder(run.path):
        shutil.rmtree(run.path, ignore_errors=True)
