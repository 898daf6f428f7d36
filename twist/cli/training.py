"""Commands that start, follow, stop and resume a training."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from twist.cli.command import (
    FAILED,
    INTERRUPTED,
    OUT_OF_TIME,
    add_changes,
    add_command,
    add_run,
    changes_of,
    print_json,
)
from twist.cli.interrupts import Interrupts
from twist.cli.looking import facts_of, notes_of, print_summary
from twist.runs.config import ConfigError, with_fields

if TYPE_CHECKING:
    from twist.runs.batch import Derived
    from twist.runs.config import Recipe
    from twist.runs.launcher import Run
    from twist.runs.progress import ProgressBar
    from twist.runs.status import Status

#: Least seconds between two looks for an alarm while a run is followed, and least multiple of what the last one took:
#: thirty milliseconds in a run of hundreds of steps, more where the log is long.
ALARM_EVERY_S, ALARM_EVERY_LOOKS = 5.0, 50


def add_commands(commands: Any) -> None:
    """Add train, resume and stop."""
    train = add_command(commands, "train", _train, "train a recipe, or a folder of images, or an .npz file")
    train.add_argument("recipe", help="name of a recipe (see `twist recipes`), or the path of images")
    train.add_argument("--name", help="name of the run; made from the recipe and the time when left out")
    add_changes(train)
    train.add_argument(
        "--batch-size",
        metavar="N",
        help="train with N images a step, and scale the learning rates and the bunch of the final norm with it; "
        "a field given by --set stays as given",
    )
    resume = add_command(commands, "resume", _resume, "go on exactly where a run was stopped or killed")
    add_run(resume)
    for command, more in ((train, " (UMAP warms up meanwhile)"), (resume, "")):
        command.add_argument("--detach", action="store_true", help="return at once; the run goes on in the background")
        command.add_argument(
            "--max-minutes",
            metavar="M",
            help="after M minutes write a checkpoint and stop, with exit status 124; `twist resume` goes on exactly "
            "there",
        )
        command.add_argument("--report", action="store_true", help=f"write a report at the end{more}")
    add_run(add_command(commands, "stop", _stop, "checkpoint and stop a run; `resume` goes on"))


def _train(options: argparse.Namespace) -> int:
    from twist.runs.handle import check_minutes
    from twist.runs.launcher import Run, discard_unstarted, prepare, start

    changes = changes_of(options.changes)
    minutes = check_minutes(options.max_minutes, "--max-minutes")
    asked: str | Recipe = options.recipe
    derived: list[Derived] = []
    if options.batch_size is not None:
        asked, derived = _at_batch_size(options, changes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = Run(prepare(asked, name=options.name, changes=changes))
    for one in derived:
        if one.field not in changes:
            print(f"{one.field}: {one.before:g} → {one.after:g} ({one.why})")
    for warning in said:  # what too small a batch will cost
        print(f"twist: warning: {warning.message}", file=sys.stderr)
    try:
        with Interrupts() as interrupts:  # before it starts: nobody is left with a run that they stopped
            start(run.path, max_minutes=minutes)
            return follow(run, options, interrupts)
    except ConfigError:
        run.wait_until_free()
        discard_unstarted(run)
        raise


def _at_batch_size(options: argparse.Namespace, changes: dict[str, str]) -> tuple[Recipe, list[Derived]]:
    """The recipe asked for, at the batch size asked for; ``--set`` comes after it and so has the last word."""
    from twist.runs.batch import scaled_to_batch
    from twist.runs.recipes import recipe

    if "optim.batch_size" in changes:
        raise ConfigError(
            f"the batch size is given twice, by --batch-size {options.batch_size} and by --set "
            f"optim.batch_size={changes['optim.batch_size']}: give one; --batch-size scales the learning rates too"
        )
    named = recipe(options.recipe)
    size = with_fields(named, {"optim.batch_size": options.batch_size}).optim.batch_size
    return scaled_to_batch(named, size)


def _resume(options: argparse.Namespace) -> int:
    from twist.runs.handle import check_minutes
    from twist.runs.launcher import attach

    run = attach(options.run)
    minutes = check_minutes(options.max_minutes, "--max-minutes")
    with Interrupts() as interrupts:
        return follow(run.resume(max_minutes=minutes), options, interrupts)


class _Progress:
    """What a waiting person sees of a run: images decoded, a bar, notes, and alarms as soon as they can be said."""

    def __init__(self, run: Run):
        self._bar: ProgressBar | None = None
        run.record.poll()
        self._images_read = (run.record.last("reading") or {}).get("done", 0)  # of an earlier attempt
        self._notes_said = len(notes_of(run))
        self._alarms_said: set[str] = set()
        self._next_look = 0.0

    def draw(self, run: Run) -> None:
        """Show what is new."""
        from twist.runs.progress import ProgressBar

        run.record.poll()
        start, newest = run.record.last("start"), run.record.last("metrics")
        reading = run.record.last("reading")
        if reading is not None and reading["done"] != self._images_read and self._bar is None:
            self._images_read = reading["done"]
            print(f"{self._images_read:,} of {reading['count']:,} images are decoded", file=sys.stderr)
        if self._bar is None and start is not None:
            self._bar = ProgressBar(start["total_steps"], start["from_step"])
        if self._bar is None:
            return
        for note in notes_of(run)[self._notes_said :]:
            self._bar.say(note)
            self._notes_said += 1
        if newest is not None:
            self._bar.update(newest["step"], newest)
        if time.monotonic() >= self._next_look:
            began = time.monotonic()
            self._say_alarm(run)
            now = time.monotonic()
            self._next_look = now + max(ALARM_EVERY_S, ALARM_EVERY_LOOKS * (now - began))

    def _say_alarm(self, run: Run) -> None:
        from twist.runs.verdict import verdict

        found = verdict(run.record)
        if self._bar is not None and found.alarm and found.kind not in self._alarms_said:
            self._alarms_said.add(found.kind)
            self._bar.say(
                f"step {found.step}: {found.title}, since step {found.since}. {found.sentence} {found.advice}"
            )

    def close(self) -> None:
        """Free the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def follow(run: Run, options: argparse.Namespace, interrupts: Interrupts) -> int:
    """Wait for a run with a progress bar and tell how it ended; ``--detach`` and ``--report`` are among the options."""
    from twist.runs.launcher import TrainingFailed
    from twist.runs.status import end_record

    if options.detach:
        print(f"run {run.name} goes on in the background; `twist show {run.name}` looks at it")
        return print_json(options, {"run": run.name, "state": run.status.state, "path": str(run.path)})
    placing = _start_layout(run) if options.report else None
    progress = _Progress(run)

    def on_poll(run: Run) -> None:
        progress.draw(run)
        interrupts.raise_if_asked()

    try:
        status = run.wait(on_poll=on_poll)
    except KeyboardInterrupt:
        progress.close()
        print(f"\nstopping {run.name} at its next step …", file=sys.stderr)
        status = _stop_run(run)
        print(f"run {run.name} is {status}; `twist resume {run.name}` goes on", file=sys.stderr)
        print_json(options, facts_of(run))
        return INTERRUPTED
    except TrainingFailed as error:
        print(f"twist: {error}", file=sys.stderr)
        print_json(options, facts_of(run))
        return FAILED
    finally:
        progress.close()
        if placing is not None and not run.status.state == "COMPLETED":
            placing.terminate()
    facts = facts_of(run)
    if options.report and status.state == "COMPLETED":
        from twist.view.report import write_report

        facts["report"] = str(write_report(run))
    print_summary(run, facts)
    print_json(options, facts)
    if status.state == "STOPPED" and end_record(run.path, status.attempt).get("kind") == "time":
        return OUT_OF_TIME
    return 0 if status.state == "COMPLETED" else FAILED


def _stop_run(run: Run) -> Status:
    """Stop a run; when it does not answer in time, or a person will not wait, it still stops at its next step."""
    try:
        return run.stop()
    except (TimeoutError, KeyboardInterrupt):
        print(f"still stopping; `twist show {run.name}` tells when it has", file=sys.stderr)
        return run.status


def _start_layout(run: Run) -> Any:
    from twist.view.layout import start_layout

    return start_layout(run.path, wait=True)


def _stop(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run = attach(options.run)
    status = _stop_run(run)
    print(f"{run.name}: {status}")
    print_json(options, {"run": run.name, "state": status.state, "step": status.step})
    return FAILED if status.alive else 0
