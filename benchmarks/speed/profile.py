"""The operators that a step of the real loop spends its time in: ``python -m benchmarks.speed --profile digits``."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.measure import measuring_process
from benchmarks.speed.nets import Subject, digits, resnet18, small_conv, thin_conv
from benchmarks.speed.pace import our_loop

SUBJECTS: dict[str, Callable[[], Subject]] = {
    "digits": digits,
    "small_conv": small_conv,
    "thin_conv": thin_conv,
    "resnet18": lambda: resnet18(32),
}
WARM, PROFILED = 3, 5


def profile_steps(name: str, *, lines: int = 25) -> str:
    """A table of the operators of a few steps, the most expensive first."""
    subject = SUBJECTS[name]()
    gpu = torch.cuda.is_available()
    images = subject.images() if subject.made_up else None
    steps = our_loop(subject.recipe, images=images, changes=subject.changes)
    steps.advance(WARM)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as seen:
        steps.advance(PROFILED)
    order = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    title = f"{PROFILED} steps, {subject.name}, N = {steps.loop.recipe.optim.batch_size}"
    return f"{title}\n{seen.key_averages().table(sort_by=order, row_limit=lines, max_name_column_width=60)}"


if __name__ == "__main__":
    with measuring_process(threads=2, tuned_malloc=True):
        print(profile_steps(sys.argv[1]))
