"""The small process above a trainer: it holds the lock, beats the heart, and says how the trainer ended.

It never loads torch, lives in a session of its own (a restart or a kill of the kernel does not reach it), and is
started as ``python -m twist.runs.supervisor RUN [MINUTES]``, which returns as soon as an attempt has begun.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.lock import lock_holder, take_lock

if TYPE_CHECKING:
    import psutil

HEARTBEAT_S = 1.0
LOG_TAIL_LINES = 40

#: Exit status of the command when another process holds the run.
HELD_BY_ANOTHER = 3


def main(arguments: list[str]) -> int:
    """Detach, take the lock, begin an attempt and supervise it; returns to the caller once the attempt has begun."""
    run = Path(arguments[0])
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        answer = os.read(reader, 1)  # empty when the child died before it could answer
        return {b"+": 0, b"-": HELD_BY_ANOTHER}.get(answer, 1)
    os.close(reader)
    if take_lock(run) is None:
        os.write(writer, b"-")
        os._exit(HELD_BY_ANOTHER)
    try:
        wait_for_orphan(run)
        attempt = begin_attempt(run)
        os.write(writer, b"+")
        os.close(writer)
        supervise(run, attempt, *arguments[1:])
    except BaseException:
        traceback.print_exc()  # to supervisor.log
    finally:
        sys.stderr.flush()
        os._exit(0)


def supervise(run: Path, attempt: int, *limit: str) -> dict[str, Any]:
    """Run one attempt of a training process to its end; returns (and writes) the end record.

    ``limit``, when given, is the number of minutes after which the trainer stops by itself.
    """
    import subprocess

    from twist.runs.store import write_json

    folder = attempt_folder(run, attempt)
    with open(folder / "log.txt", "ab") as log:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "twist.learn.train", str(run), str(attempt), *limit],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: trainer.send_signal(signal.SIGTERM))
    while True:
        with contextlib.suppress(OSError):  # a full disk: the next beat may succeed, and training goes on
            beat(run, trainer.pid)
        try:
            returncode = trainer.wait(HEARTBEAT_S)
            break
        except subprocess.TimeoutExpired:
            continue
    end = diagnose(run, attempt, returncode)
    write_json(folder / "end.json", end)
    return end


def living_trainer(run: Path) -> int | None:
    """Process id of the newest trainer when it still lives, as that of a killed supervisor does for a while."""
    process = _trainer(run)
    return None if process is None else process.pid


def wait_for_orphan(run: Path, timeout_s: float = 60.0) -> None:
    """Let a trainer whose supervisor was killed write its checkpoint and leave, before another one starts."""
    import psutil

    orphan = _trainer(run)
    if orphan is None:
        return
    try:
        orphan.wait(timeout_s)
    except psutil.TimeoutExpired:
        orphan.kill()
    except psutil.Error:
        return


def _trainer(run: Path) -> psutil.Process | None:
    try:
        heartbeat = json.loads((run / "heartbeat.json").read_bytes())
        trainer, born = heartbeat["trainer"], heartbeat["trainer_born"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    import psutil

    try:
        process = psutil.Process(trainer)
        return process if process.create_time() == born and process.pid != os.getpid() else None
    except (psutil.Error, TypeError, ValueError):
        return None


def beat(run: Path, trainer: int) -> None:
    """Write the heartbeat: who supervises, who trains, when."""
    content = {
        "time": time.time(),
        "host": platform.node(),
        "boot": boot_id(),
        "supervisor": os.getpid(),
        "trainer": trainer,
        "trainer_born": _birth(trainer),
    }
    # Not synced: a heartbeat that a power cut loses was of no use anyway.
    temporary = run / f".heartbeat.{os.getpid()}"
    temporary.write_text(json.dumps(content))
    os.replace(temporary, run / "heartbeat.json")


@functools.cache
def _birth(process: int) -> float | None:
    """When a process was created: with it a number that was given anew is not taken for the old process."""
    import psutil

    try:
        return psutil.Process(process).create_time()
    except psutil.Error:
        return None


def boot_id() -> str:
    """Changes with every start of the machine, so that an old process id is not taken for a living one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))


def diagnose(run: Path, attempt: int, returncode: int) -> dict[str, Any]:
    """The end record: what the trainer said of itself, or what its exit status tells when it said nothing."""
    from twist.runs.status import logged_progress
    from twist.runs.store import read_json

    folder = attempt_folder(run, attempt)
    end = read_json(folder / "outcome.json")
    if not end:
        end = {"reason": "failed", "kind": "vanished", "message": explain_exit(returncode)}
        end["step"] = logged_progress(run, attempt)["step"]
    end["returncode"] = returncode
    if end["reason"] == "failed":
        end["log"] = log_tail(folder / "log.txt")
    return end


def explain_exit(returncode: int) -> str:
    """What an exit status without a word of the trainer means, and what to try."""
    if returncode >= 0:
        return f"the training process ended with status {returncode} before it could say why; see its log"
    name = signal.Signals(-returncode).name
    hint = {
        "SIGKILL": "killed from outside, often because memory ran out: try a smaller batch or network, then resume",
        "SIGBUS": "shared memory or disk is full: free some, then resume",
        "SIGSEGV": "a native library crashed; the log holds its stack",
        "SIGTERM": "it was asked to end before it could write a checkpoint",
    }.get(name, "see its log")
    return f"the training process was ended by {name}: {hint}"


def log_tail(path: Path) -> list[str]:
    """The last lines that the training process printed."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 32_768))
            return file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        return []


def who_holds(run: Path) -> str:
    """A phrase that names the process working on a run."""
    holder = lock_holder(run)
    return f"process {holder}" if holder else "another process"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
