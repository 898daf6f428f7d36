"""Peak memory of a piece of work, counted at the allocator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


class PeakBytes:
    """Counts the most bytes of tensors alive at once between `start` and `stop`, beyond what was alive at the start.

    On a GPU it is what the caching allocator says; on the CPU every allocation and release that torch's allocator
    reports to the profiler, in order. That is exact and free of noise, other than the resident size of a process, which
    also holds what malloc keeps for later. Memory outside of torch (Pillow, NumPy) is not in it, nor, on the CPU, what
    other threads allocate.
    """

    def start(self) -> None:
        """Count from here on."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self._before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        else:
            self._seen = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
            self._seen.start()

    def stop(self) -> int:
        """The most bytes since `start`."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - self._before
        self._seen.stop()
        events = self._seen.profiler.kineto_results.events()
        changes = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
        return highest_sum(event.nbytes() for event in changes)


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes of tensors alive at once during the work, beyond what was alive before it: see `PeakBytes`.

    Examples
    --------
    >>> peak_bytes(lambda: torch.zeros(1000) + torch.zeros(1000))
    12000
    """
    counter = PeakBytes()
    counter.start()
    work()
    return counter.stop()


def highest_sum(changes: Iterable[int]) -> int:
    """Highest running sum of allocations (above 0) and releases (below 0), at least 0.

    Examples
    --------
    >>> highest_sum([4, 8, -4, -8, 6])
    12
    """
    alive = highest = 0
    for change in changes:
        alive += change
        highest = max(highest, alive)
    return highest
