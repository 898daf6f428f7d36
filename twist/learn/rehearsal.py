"""A few steps of a recipe, measured: ``python -m twist.learn.rehearsal RUN`` on a run folder made for that alone.

The steps are those of training, by `twist.learn.loop.Loop`, in a process tuned as a trainer is. What was measured goes
to stdout as `twist.runs.frames` writes it; `twist.runs.estimates` makes an estimate of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import torch

from twist.learn import checkpoints, snapshots
from twist.learn.loop import Loop
from twist.learn.process import Requests, tune_arithmetic, tune_malloc
from twist.runs.answering import error_message
from twist.runs.attempts import begin_attempt
from twist.runs.frames import write_frame
from twist.runs.record import EPOCH_SAMPLES, RunRecord, RunWriter

WARM_UP = 2  # steps that set up what later ones find ready
LEAST = 3


def rehearse(path: Path, say: Callable[[str], object], *, steps: int = 20, seconds: float = 8.0) -> dict[str, Any]:
    """Begin a run, take some steps, a snapshot and a checkpoint, and tell what each took.

    Parameters
    ----------
    path
        A run folder that nobody needs afterwards, of a recipe that does not end within the steps.
    say
        Called with what is under way.
    steps
        Most steps measured, after two that are not.
    seconds
        Time after which no more than the least number of steps, three, are begun.

    Returns
    -------
    dict
        Seconds, bytes and counts by name; ``step_s`` are medians, ``step_low_s`` and ``step_high_s`` the 10 % and
        90 % quantiles, ``others_busy`` the processor cores that other processes used meanwhile.
    """
    writer = RunWriter(path, begin_attempt(path))
    loop = Loop(path, writer, Requests(path, supervisor=None))
    try:
        say("loading the images and the network")
        loop.begin()
        began = time.perf_counter()
        say("warming up")
        for _ in range(WARM_UP):
            _timed(loop)
        warm_s = time.perf_counter() - began
        busy, own, clock = _busy_seconds(), time.process_time(), time.perf_counter()
        plain, diagnosed = _steps(loop, say, steps, seconds)
        elapsed = time.perf_counter() - clock
        others = max(0.0, _busy_seconds() - busy - (time.process_time() - own)) / elapsed
        say("measuring a snapshot and a checkpoint")
        return {
            **_of_steps(plain or diagnosed, diagnosed, loop),
            **_of_records(loop, path, writer),
            "warm_s": warm_s,
            "others_busy": round(others, 2),
            "memory_bytes": _peak_memory(),
            "gpu_bytes": torch.cuda.max_memory_reserved(loop.device) if loop.device.type == "cuda" else None,
        }
    finally:
        loop.close()
        writer.close()


def _steps(loop: Loop, say: Callable[[str], object], steps: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of the steps without and with collapse numbers."""
    plain: list[float] = []
    diagnosed: list[float] = []
    deadline = time.perf_counter() + seconds
    for done in range(steps):
        if done >= LEAST and time.perf_counter() > deadline:
            break
        say(f"step {done + 1} of {steps}")
        took = _timed(loop)
        (diagnosed if loop.step % loop.recipe.record.diagnose_every_steps == 0 else plain).append(took)
    return plain, diagnosed


def _timed(loop: Loop) -> float:
    began = time.perf_counter()
    loop.advance()
    if loop.device.type == "cuda":
        torch.cuda.synchronize(loop.device)
    elif loop.device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - began


def _of_steps(plain: list[float], diagnosed: list[float], loop: Loop) -> dict[str, Any]:
    middle = statistics.median(plain)
    cuts = statistics.quantiles(plain, n=10, method="inclusive") if len(plain) > 1 else [middle]
    return {
        "steps_measured": len(plain) + len(diagnosed),
        "step_s": middle,
        "step_low_s": cuts[0],
        "step_high_s": cuts[-1],
        "diagnosed_step_s": statistics.median(diagnosed) if diagnosed else middle,
        "images_per_s": loop.recipe.optim.batch_size / middle,
        "steps_per_epoch": loop.steps_per_epoch,
        "device": str(loop.device),
        "threads": torch.get_num_threads(),
        "precision": str(loop.facts["precision"]),
    }


def _of_records(loop: Loop, path: Path, writer: RunWriter) -> dict[str, Any]:
    """What one snapshot, one checkpoint, one epoch and one step cost in seconds and on the disk."""
    began = time.perf_counter()
    snapshots.take(loop.state.network, loop.watched, loop.recipe, labels=loop.watch_labels)
    snapshot_s = time.perf_counter() - began
    writer.sync()
    record = RunRecord(path)
    record.poll()
    num_images = (record.last("start") or {})["num_images"]
    began = time.perf_counter()
    saved = checkpoints.save(path, loop.state, loop.facts, keep=1)
    checkpoint_s = time.perf_counter() - began
    return {
        "snapshot_s": snapshot_s,
        "snapshot_bytes": _bytes_in(path / "snapshots") // max(1, len(list((path / "snapshots").iterdir()))),
        "checkpoint_s": checkpoint_s,
        "checkpoint_bytes": _bytes_in(saved),
        "watch_bytes": _bytes_in(path / "watch"),
        "epoch_bytes": EPOCH_SAMPLES.itemsize * num_images if loop.state.visits is not None else 0,
        "event_bytes": _bytes_in(path / "events") // max(1, loop.step),
    }


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _busy_seconds() -> float:
    """Seconds that all processors together have worked."""
    times = psutil.cpu_times()._asdict()
    return sum(value for name, value in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))


def _peak_memory() -> int:
    """Most bytes of memory that this process held."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _end_with_asker(path: Path) -> None:
    """Leave, with the folder, at the end of stdin: whoever asked is gone, and may have been killed before it could."""
    while os.read(0, 4096):
        pass
    for _ in range(20):  # the steps go on meanwhile, and may write
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            break
        time.sleep(0.1)
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # the temporary folder that held it alone
    os._exit(1)


def _rehearse_and_tell(path: Path, answers: IO[bytes], *, steps: int, seconds: float) -> int:
    def say(words: str) -> None:
        write_frame(answers, {"under_way": words})

    try:
        write_frame(answers, rehearse(path, say, steps=steps, seconds=seconds))
        return 0
    except BrokenPipeError:
        raise
    except Exception as error:
        message = error_message(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            advice = "out of memory: use a smaller network, smaller views or a smaller optim.batch_size"
            message["error"] = f"{advice} ({error})"
        write_frame(answers, message)
        return 1


def main(arguments: list[str]) -> int:
    """The process; stdout holds messages alone, and what a library prints goes to stderr."""
    path, steps, seconds = Path(arguments[0]), int(arguments[1]), float(arguments[2])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asker = threading.Thread(target=_end_with_asker, args=(path,), name="asker", daemon=True)
    asker.start()
    tune_malloc()
    tune_arithmetic()
    try:
        return _rehearse_and_tell(path, answers, steps=steps, seconds=seconds)
    except BrokenPipeError:
        asker.join()  # it takes the folder away, and ends the process
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
