"""How a run is: its state, derived by readers from lock, heartbeat, event log and end record, never stored.

So a kill at any instant leaves a correct answer: a run whose lock is free and that has no end record was interrupted.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twist.runs.attempts import attempt_folder, last_attempt
from twist.runs.folders import gone
from twist.runs.lock import lock_holder
from twist.runs.record import parse_line
from twist.runs.store import RecordError, read_json

STALLED_AFTER_S = 60.0

#: States in which a process works on the run.
ALIVE = ("STARTING", "RUNNING", "HELD", "STALLED")
#: States that a run can leave only by `resume`.
ENDED = ("STOPPED", "COMPLETED", "FAILED", "INTERRUPTED")


@dataclass(frozen=True)
class Status:
    """One look at a run.

    Attributes
    ----------
    state
        CREATED, STARTING, RUNNING, HELD, STALLED (alive, but no step for a minute), STOPPED (resumable), COMPLETED,
        FAILED, or INTERRUPTED (its process vanished without an end record; resumable).
    step, total_steps, epoch, epochs
        How far it is; total_steps is 0 until the images were counted.
    images_per_s, eta_s
        Speed of the newest logged step and the seconds left at that speed, or None.
    message
        One sentence for a person: why it failed, or how to go on; may be empty.
    heartbeat_age_s
        Seconds since the supervisor's last sign of life, or None.
    attempt
        Number of the newest attempt, 0 before the first.
    """

    state: str
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    epochs: int = 0
    images_per_s: float | None = None
    eta_s: float | None = None
    message: str = ""
    heartbeat_age_s: float | None = None
    attempt: int = 0

    @property
    def alive(self) -> bool:
        """Whether a process works on the run."""
        return self.state in ALIVE

    @property
    def ended(self) -> bool:
        """Whether the run rests until it is resumed."""
        return self.state in ENDED

    def __str__(self) -> str:
        if self.state == "COMPLETED" and self.message and not self.total_steps:  # there was nothing to train
            return f"completed: {self.message}"
        text = f"{self.state.lower()} at step {self.step}"
        if self.total_steps:
            text += f" of {self.total_steps} (epoch {self.epoch:.1f} of {self.epochs})"
        return text + (f": {self.message}" if self.message else "")


def read_status(path: Path) -> Status:
    """The state of a run, read from its folder in a few milliseconds.

    Raises
    ------
    RecordError
        When there is no such folder any more: says what the run is called now, where it was renamed.
    """
    path = Path(path)
    if not path.is_dir():
        raise RecordError(gone(path))
    asked = read_json(path / "recipe.json")
    epochs = sum(int((asked.get(group) or {}).get("epochs", 0)) for group in ("optim", "self_label"))
    attempt = last_attempt(path)
    holder = lock_holder(path)
    if attempt == 0:
        return Status("STARTING" if holder else "CREATED", epochs=epochs)
    facts: dict[str, Any] = {"attempt": attempt, "epochs": epochs, **logged_progress(path, attempt)}
    heartbeat = read_json(path / "heartbeat.json")
    if "time" in heartbeat:
        facts["heartbeat_age_s"] = max(0.0, time.time() - heartbeat["time"])
    end = end_record(path, attempt) or (_own_end(path, attempt) if holder is None else {})
    last_kind, log_age = facts.pop("last_kind"), facts.pop("log_age")
    if end:
        facts["step"] = end.get("step", facts["step"])
        return Status(_state_of(end), message=end.get("message", ""), **_at_rest(facts))
    if holder is None and not _foreign_or_windows_alive(heartbeat, facts.get("heartbeat_age_s")):
        message = "its process vanished without a word (killed, or the machine went down); `resume` goes on"
        return Status("INTERRUPTED", message=message, **_at_rest(facts))
    if last_kind is None:
        return Status("STARTING", **facts)
    if last_kind == "hold":
        return Status("HELD", message="held in memory; `resume` goes on", **facts)
    if log_age > STALLED_AFTER_S:
        return Status("STALLED", message=f"alive, but no step for {log_age:.0f} s", **facts)
    return Status("RUNNING", **facts)


def _own_end(path: Path, attempt: int) -> dict[str, Any]:
    """How the trainer itself ended, for a run whose supervisor was killed before it could write the end record."""
    outcome = read_json(attempt_folder(path, attempt) / "outcome.json")
    return outcome if outcome.get("reason") in ("completed", "failed") else {}


def _state_of(end: dict[str, Any]) -> str:
    return {"completed": "COMPLETED", "stopped": "STOPPED"}.get(end.get("reason", ""), "FAILED")


def _at_rest(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "eta_s": None}


def _foreign_or_windows_alive(heartbeat: dict[str, Any], age: float | None) -> bool:
    # Without record locks (Windows), or when the lock belongs to another host of a shared file system, a fresh
    # heartbeat is the only sign of life.
    trusted = os.name == "nt" or heartbeat.get("host") not in (None, platform.node())
    return trusted and age is not None and age < 10


def end_record(path: Path, attempt: int) -> dict[str, Any]:
    """How an attempt ended: reason (completed, stopped, failed), step, message, error; empty while it runs."""
    return read_json(attempt_folder(path, attempt) / "end.json")


def logged_progress(path: Path, attempt: int) -> dict[str, Any]:
    """Step, speed and time left from the two ends of the attempt's event log."""
    facts: dict[str, Any] = {"step": 0, "total_steps": 0, "last_kind": None, "log_age": 0.0}
    segment = path / "events" / f"{attempt:04d}.jsonl"
    try:
        with open(segment, "rb") as file:
            head = file.read(8192)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 32768))
            tail = file.read()
        facts["log_age"] = max(0.0, time.time() - segment.stat().st_mtime)
    except OSError:
        return facts
    images_per_step, newest, steps_per_epoch = 0, None, 0
    for line in head.split(b"\n"):
        event = parse_line(line)
        if event and event["kind"] == "start":
            facts["total_steps"] = event.get("total_steps", 0)
            facts["step"] = event.get("from_step", 0)
            images_per_step, steps_per_epoch = event.get("batch_size", 0), event.get("steps_per_epoch", 0)
            break
    for line in reversed(tail.split(b"\n")):
        event = parse_line(line)
        if event is None:
            continue
        newest = event.get("step", 0) if newest is None else newest
        if event["kind"] == "request" and event.get("held"):  # the line that says so may lie far behind
            facts["last_kind"] = facts["last_kind"] or "hold"
        if event["kind"] in ("start", "hold", "continue", "metrics", "snapshot"):
            facts["last_kind"] = facts["last_kind"] or event["kind"]
        if event["kind"] == "metrics":
            facts["step"], facts["epoch"] = event["step"], event["epoch"]
            speed = facts["images_per_s"] = event.get("train/images_per_s")
            if speed and images_per_step:
                facts["eta_s"] = (facts["total_steps"] - event["step"]) * images_per_step / speed
            return facts
    if facts["last_kind"] is not None and newest and steps_per_epoch:  # many requests since the newest metrics
        facts["step"], facts["epoch"] = newest, newest / steps_per_epoch
    return facts
