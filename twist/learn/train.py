"""Attempts at a run: in this very process, or in one of its own under a supervisor."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from twist.learn.finite import NotFiniteError
from twist.learn.loop import Loop
from twist.learn.process import Requests, tune_arithmetic, tune_malloc
from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.config import ConfigError, Recipe
from twist.runs.handle import check_minutes
from twist.runs.launcher import Run, discard_unstarted, prepare
from twist.runs.lock import free_lock, take_lock
from twist.runs.progress import ProgressBar
from twist.runs.record import RunWriter
from twist.runs.store import write_json
from twist.runs.supervisor import HEARTBEAT_S, beat, who_holds


def train(
    recipe: str | Recipe | None = None,
    *,
    name: str | None = None,
    images: Any = None,
    labels: Any = None,
    label_names: list[str] | None = None,
    max_minutes: float | None = None,
    **changes: Any,
) -> Run:
    """Train in this very process, with a progress bar; for toy sizes, and for systems without detached processes.

    Arguments and errors are those of `twist.launch`, and the run folder is the same. An interrupt writes a checkpoint
    and stops.
    """
    check_minutes(max_minutes)
    path = prepare(recipe, name=name, images=images, labels=labels, label_names=label_names, changes=changes)
    if take_lock(path) is None:
        raise ConfigError(f"{who_holds(path)} works on run {path.name} already")
    attempt = begin_attempt(path)
    requests = Requests(path, supervisor=None)
    requests.listen_to(signal.SIGINT, once=True)
    if max_minutes is not None:
        requests.end_after(max_minutes)
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
        began_at = loop.step
        reason = loop.run()
        outcome = {"reason": reason, "step": loop.step, "message": ""}
        if reason == "stopped" and requests.out_of_time:
            outcome |= {"kind": "time", "message": _out_of_time(requests.max_minutes or 0, loop.step - began_at)}
    except (Exception, KeyboardInterrupt) as caught:
        error = caught
        outcome = _describe(caught, loop.step if loop else 0)
    finally:
        if loop is not None:
            loop.close()
    writer.event("end", **{key: outcome[key] for key in ("step", "reason", "message")})
    writer.close()
    return outcome, error


def _out_of_time(minutes: float, steps: int) -> str:
    said = "minute was" if minutes == 1 else "minutes were"
    before = "" if steps else " before its first step, so give it more"
    return f"its {minutes:g} {said} over{before}; `resume` goes on"


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


def main(arguments: list[str]) -> int:
    """One attempt in a process of its own, under a supervisor; arguments are the run, the attempt, perhaps minutes."""
    path, attempt = Path(arguments[0]), int(arguments[1])
    faulthandler.enable()
    tune_malloc()
    tune_arithmetic()
    requests = Requests(path, supervisor=os.getppid())
    requests.listen_to(signal.SIGTERM, signal.SIGINT)
    if len(arguments) > 2:
        requests.end_after(float(arguments[2]), age_s=time.time() - psutil.Process().create_time())
    outcome, error = _attempt(path, attempt, requests)
    write_json(attempt_folder(path, attempt) / "outcome.json", outcome)
    if error is not None and outcome["kind"] != "config":
        traceback.print_exception(error)
    return {"completed": 0, "stopped": 143}.get(outcome["reason"], 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
