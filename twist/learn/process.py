"""What a training process owes to those around it: it answers requests, names its device, and tunes its own memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from twist.runs.config import ConfigError
from twist.runs.devices import check_device
from twist.runs.record import RunWriter
from twist.runs.store import read_json
from twist.runs.turns import check_steps

CONTROL_EVERY_S = 0.05
LARGEST_REQUEST = 65_536


@dataclass
class Requests:
    """What the trainer was asked to do from outside: files in ``control/``, signals, the loss of its supervisor, or the
    end of the minutes that it was given.
    """

    run: Path
    supervisor: int | None
    stop: bool = False
    save: bool = True  # a checkpoint before it stops
    hold: bool = False
    checkpoint: bool = False
    max_minutes: float | None = None
    out_of_time: bool = False
    hold_at: int | None = None
    turn: Callable[[dict[str, Any]], bool] | None = None  # whether it changed anything; None while turns have to wait
    _deadline: float = field(default=math.inf, repr=False)
    _next_look: float = field(default=0.0, repr=False)
    _restore: Callable[[], Any] | None = field(default=None, repr=False)

    def listen_to(self, *numbers: signal.Signals, once: bool = False) -> None:
        """Take these signals as a request to stop at the next step; with ``once`` a third one acts as ever."""
        if threading.current_thread() is not threading.main_thread():
            return
        before = {number: signal.getsignal(number) for number in numbers}

        def stop(*_: Any) -> None:
            if self.stop and once:
                self.release()
            self.stop = True

        self._restore = lambda: [signal.signal(number, handler) for number, handler in before.items()]
        for number in numbers:
            signal.signal(number, stop)

    def end_after(self, minutes: float, *, age_s: float = 0.0) -> None:
        """Take the end of so many minutes as a request to stop; ``age_s`` seconds of them went by already."""
        self.max_minutes = minutes
        self._deadline = time.monotonic() + 60 * minutes - age_s

    def release(self) -> None:
        """Give the signals back to whoever had them before."""
        if self._restore is not None:
            self._restore()
            self._restore = None

    def look(self, writer: RunWriter, step: int) -> None:
        """Read what is new in ``control/`` and acknowledge it by an event; called between two steps."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + CONTROL_EVERY_S
        if self.supervisor is not None and os.getppid() != self.supervisor:
            self.stop = True
        if now >= self._deadline and not self.stop:
            self.stop = self.out_of_time = True
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.run.joinpath("control").glob("*.json")):
                if path.is_file():
                    self._obey(path, writer, step)

    def _obey(self, path: Path, writer: RunWriter, step: int) -> None:
        request = read_json(path) if path.stat().st_size < LARGEST_REQUEST else {}
        operation = request.get("operation")
        if operation == "turn" and self.turn is None:
            return  # the network is not made yet: at the first step
        problem, told = "", dict[str, Any]()
        if operation == "stop":
            self.stop, self.save = True, request.get("checkpoint") is not False
        elif operation == "checkpoint":
            self.checkpoint = True
        elif operation in ("hold", "continue"):
            self.hold, self.hold_at = operation == "hold", None
        elif operation in ("steps", "turn"):
            try:
                if operation == "steps":
                    self.hold_at = max(step, self.hold_at or 0) + check_steps(request.get("count"))
                    self.hold = False
                elif self.turn is not None:
                    told["turned"] = self.turn(_changes_of(request))
            except ConfigError as error:
                problem = str(error)
        else:
            problem = "no such operation"
        writer.event(
            "request",
            step=step,
            id=str(request.get("id", path.stem))[:100],
            operation=str(operation)[:100],
            accepted=not problem,
            **told,
            **({"held": True} if self.hold else {}),
            **({"reason": problem[:1000]} if problem else {}),
        )
        path.unlink(missing_ok=True)


def _changes_of(request: dict[str, Any]) -> dict[str, Any]:
    changes = request.get("changes")
    if not isinstance(changes, dict):
        raise ConfigError(f"changes is {changes!r}: give new values by dotted field name")
    return changes


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    ConfigError
        For a device that is not there, or that this build of torch cannot use.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name) is None:
        raise ConfigError(f"device is {name!r}: give auto, cpu, cuda, cuda:N or mps")
    check_device(name)
    device = torch.device(name)
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable[device.type]:
        raise ConfigError(f"device is {name!r}, but this build of torch cannot use it: set device to cpu or auto")
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What must be the same for a resume to be bitwise exact; holds no names, paths or secrets."""
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "denormals": "kept" if (torch.tensor(1e-310, dtype=torch.float64) * 0.5).item() else "zero",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def tune_arithmetic() -> None:
    """Trade what nobody misses for speed, in the whole process: only ever called in a training process of our own.

    Numbers below the smallest normal float become 0, as a CPU takes a hundred times longer for them. On a GPU, the
    fastest convolution is looked for.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True


def tune_malloc() -> None:
    """Keep freed activations in the process instead of returning them to the kernel after every step (glibc only).

    Blocks above 32 MB are otherwise mapped and page-faulted anew each time. Only ever called in a training process of
    our own, since the setting holds for the whole process.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
