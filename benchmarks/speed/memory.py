"""Peak memory of a piece of work, counted at the allocator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes of tensors alive at once during the work, beyond what was alive before it.

    On a GPU what its caching allocator says; on the CPU every allocation and release that torch's allocator reports to
    the profiler, in order. That is exact and free of noise, other than the resident size of a process, which also holds
    what malloc keeps for later. Memory outside of torch (Pillow, NumPy) is not in it.

    Examples
    --------
    >>> peak_bytes(lambda: torch.zeros(1000) + torch.zeros(1000))
    12000
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        work()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    return highest_sum(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))


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
