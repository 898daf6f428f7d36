"""How long a recipe takes and how much room it needs, measured by a few of its steps in a process of its own."""

from __future__ import annotations

import dataclasses
import math
import queue
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twist.runs.answering import Answering, raise_error
from twist.runs.config import ConfigError, Recipe, with_fields
from twist.runs.devices import check_device
from twist.runs.folders import create_run
from twist.runs.launcher import check_batch
from twist.runs.own_code import check_own_code, keep_own_code
from twist.runs.sources import check_source
from twist.runs.thinning import spell_bytes

STEPS = 20
SECONDS = 8.0
_NEVER = 1e9  # epochs until a snapshot or checkpoint, which are measured apart
_DIAGNOSED = 5
_WIDE = 1.3  # where the slow steps take so much longer than the fast ones, a range is said


class EstimateFailed(RuntimeError):
    """The rehearsal ended without figures: one sentence, with its traceback or the end of its log apart."""

    def __init__(self, message: str, details: str = ""):
        super().__init__(message)
        self.details = details


class Cancelled(RuntimeError):
    """The rehearsal was ended by the one who asked for it."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take, from what a few of its steps took.

    Attributes
    ----------
    seconds, low, high
        Of the whole run: by the median step, and by the fast and the slow tenth of the steps.
    total_steps, steps_measured
        Steps of the run, and how many of them were taken.
    step_s, images_per_s
        Of the median step.
    memory_bytes, gpu_bytes
        Most memory held, in the machine and on the GPU (None without one).
    disk_bytes
        The whole record at the end of the run.
    device, threads, precision
        What it was measured on.
    others_busy
        Processor cores that other processes used meanwhile: with more or fewer of them the run takes another time.
    notes
        What the reader should know besides, a sentence each.
    """

    seconds: float
    low: float
    high: float
    total_steps: int
    steps_measured: int
    step_s: float
    images_per_s: float
    memory_bytes: int
    gpu_bytes: int | None
    disk_bytes: int
    device: str
    threads: int
    precision: str
    others_busy: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        reach = ""
        if self.high > _WIDE * self.low and self.high - self.low > 5:
            reach = f" ({spell_seconds(self.low)} to {spell_seconds(self.high)})"
        memory = f"{spell_bytes(self.memory_bytes)} memory"
        if self.gpu_bytes is not None:
            memory += f" and {spell_bytes(self.gpu_bytes)} on the GPU"
        return (
            f"about {spell_seconds(self.seconds)}{reach} on this machine, measured over {self.steps_measured} steps; "
            f"{memory}; {spell_bytes(self.disk_bytes)} disk"
        )


def spell_seconds(seconds: float) -> str:
    """Seconds as a person says them.

    Examples
    --------
    >>> spell_seconds(8.4), spell_seconds(130), spell_seconds(7300), spell_seconds(400_000)
    ('8 s', '2 min 10 s', '2 h 2 min', '4 d 15 h')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} d {minutes % 1440 // 60} h"
    )


class Rehearsal:
    """A few steps of a recipe, under way in a process of their own and a temporary folder.

    Parameters
    ----------
    recipe
        What a run would do.
    steps, seconds
        Most steps measured, and the time after which no more are begun.

    Raises
    ------
    ConfigError
        When a run of the recipe would be refused, or its images would have to be fetched first.
    """

    def __init__(self, recipe: Recipe, *, steps: int = STEPS, seconds: float = SECONDS):
        if steps < 1 or not seconds > 0:
            raise ConfigError(f"steps is {steps} and seconds is {seconds}: give at least one step, and some time")
        self.recipe = recipe
        tried = as_rehearsed(recipe)
        check_device(tried.device)
        check_batch(tried, check_source(tried.data))
        check_own_code(tried)
        self._folder = tempfile.TemporaryDirectory(prefix="twist-rehearsal-", ignore_cleanup_errors=True)
        path = create_run(tried, name="rehearsal", root=Path(self._folder.name))
        keep_own_code(tried, path)
        self._began = time.monotonic()
        self._cancelled = False
        self._process = Answering("twist.learn.rehearsal", str(path), str(steps), str(seconds))

    def wait(self, on_progress: Callable[[str], object] = lambda _: None, *, timeout_s: float = 900.0) -> Estimate:
        """The estimate, when the steps are done; what is under way is told meanwhile.

        Raises
        ------
        ConfigError
            When the recipe or the images were at fault.
        Cancelled
            When `cancel` was called.
        EstimateFailed
            For any other error, or when it took too long.
        """
        deadline = time.monotonic() + timeout_s
        begun = None
        on_progress("starting torch")
        try:
            while True:
                frame = self._process.next(deadline - time.monotonic())
                if frame is None:
                    raise Cancelled("the measuring was cancelled") if self._cancelled else self._ended()
                message, _ = frame
                if "under_way" in message:
                    if message["under_way"] == "warming up":
                        begun = time.monotonic()
                    on_progress(str(message["under_way"]))
                    continue
                raise_error(message, "rehearsal", EstimateFailed)
                return estimate_of(self.recipe, message, setup_s=(begun or time.monotonic()) - self._began)
        except queue.Empty:
            raise EstimateFailed(
                f"the rehearsal gave no figures in {timeout_s:.0f} s: the images may take long to decode",
                self._process.said(),
            ) from None
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End the process and delete its folder; a second call does nothing."""
        self._cancelled = self._cancelled or self._process.alive
        self._process.close(patience_s=0.0)  # it has nothing to save
        self._folder.cleanup()

    def _ended(self) -> EstimateFailed:
        _, why = self._process.ending()
        return EstimateFailed(f"the rehearsal ended{why} and gave no figures", self._process.said())


def as_rehearsed(recipe: Recipe) -> Recipe:
    """The recipe as it is measured: it never ends, fetches nothing, and has its final views from the start."""
    return with_fields(
        recipe,
        {
            "data.download": False,
            "views.start_size": None,
            "views.grow_epochs": 0.0,
            "optim.epochs": 100_000,
            "record.log_every_steps": 1,
            "record.diagnose_every_steps": _DIAGNOSED,
            "record.snapshot_every_epochs": _NEVER,
            "record.checkpoint_every_epochs": _NEVER,
        },
    )


def estimate_of(recipe: Recipe, measured: Mapping[str, Any], *, setup_s: float) -> Estimate:
    """The estimate for a whole run, from what its parts took.

    Parameters
    ----------
    recipe
        The run's own, not as it was rehearsed.
    measured
        What `twist.learn.rehearsal` says.
    setup_s
        Seconds from the start of the process to its first step.
    """
    per_epoch = measured["steps_per_epoch"]
    total = recipe.total_epochs * per_epoch
    record = recipe.record

    def times(every_epochs: float) -> int:
        return math.ceil(total / max(1, round(every_epochs * per_epoch)))

    snapshots, kept = 1 + times(record.snapshot_every_epochs), times(record.checkpoint_every_epochs)
    diagnosed = min(total, 2 + total // record.diagnose_every_steps)
    around = setup_s + snapshots * measured["snapshot_s"] + kept * measured["checkpoint_s"]
    around += diagnosed * max(0.0, measured["diagnosed_step_s"] - measured["step_s"])
    seconds, low, high = (around + total * measured[name] for name in ("step_s", "step_low_s", "step_high_s"))
    logged = min(total, total // record.log_every_steps + diagnosed)
    disk = measured["watch_bytes"] + snapshots * measured["snapshot_bytes"]
    disk += min(kept, record.keep_checkpoints) * measured["checkpoint_bytes"]
    disk += recipe.total_epochs * measured["epoch_bytes"] + logged * measured["event_bytes"]
    notes = []
    if recipe.views.start_size is not None:
        notes.append("Views grow during the run; the last and largest were measured, so it takes less.")
    if recipe.compute.compile != "off":
        notes.append(f"torch.compile took {spell_seconds(measured['warm_s'])} in the first steps, which is on top.")
    if measured["others_busy"] > 0.3:
        notes.append(
            f"Other processes kept {measured['others_busy']:.1f} processor cores busy meanwhile: alone it is faster."
        )
    return Estimate(
        seconds=seconds,
        low=low,
        high=high,
        total_steps=total,
        disk_bytes=disk,
        notes=tuple(notes),
        **{field.name: measured[field.name] for field in dataclasses.fields(Estimate) if field.name in measured},
    )
