"""Contenders that take turns within one process, so that all of them see the same drift of a shared machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil
import torch


def nothing() -> None:
    """What most contenders do before and after a turn."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes
    ----------
    name
        What it is called in the table.
    work
        Does some of it and returns how much: images, steps, calls.
    enter, leave
        Before and after a turn, outside the clock: fill a pipeline, put workers to rest.
    """

    name: str
    work: Callable[[], int]
    enter: Callable[[], None] = field(default=nothing)
    leave: Callable[[], None] = field(default=nothing)


def cpu_seconds() -> float:
    """Processor seconds of this process and of its living workers."""
    seconds = time.process_time()
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return seconds


def wall_seconds() -> float:
    """Seconds on the wall, when the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def take_turns(
    contenders: Sequence[Contender], *, repeats: int, clock: Callable[[], float], seconds: float = 0.3
) -> dict[str, list[float]]:
    """Units of work per second by name, one number for each repeat; the first turn of each warms up and is dropped.

    Parameters
    ----------
    contenders
        Each repeat goes through them in order.
    repeats
        Turns that count.
    clock
        `cpu_seconds` or `wall_seconds`.
    seconds
        Least length of a turn on the wall; work is repeated until it is over.
    """
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats + 1):
        for contender in contenders:
            contender.enter()
            began, deadline, done = clock(), time.perf_counter() + (seconds if repeat else 0), contender.work()
            while time.perf_counter() < deadline:
                done += contender.work()
            rate = done / (clock() - began)
            contender.leave()
            if repeat:
                rates[contender.name].append(rate)
    return rates


def settle(patience_s: float = 5.0) -> None:
    """Wait until the workers of this process have filled their queues and idle, so that they disturb no one's turn."""
    deadline, before = time.perf_counter() + patience_s, -1.0
    while time.perf_counter() < deadline:
        now = cpu_seconds() - time.process_time()
        if now == before:
            return
        before = now
        time.sleep(0.1)
