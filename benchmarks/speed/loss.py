"""The loss, forward and backward, against pairs as the authors' code forms them: time and memory, two mallocs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.memory import peak_bytes
from benchmarks.speed.peers.pairs import pairwise_loss
from benchmarks.speed.rows import Figure, Part, Row, at_least, at_most, compare, compare_memory, figures_of
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, cpu_seconds, take_turns, wall_seconds
from twist.learn.objective import twist_loss
from twist.learn.process import tune_malloc

SHAPES = {"V14": (14, 128, 4096), "V2": (2, 512, 32768)}
TIME_GOALS = {("V14", False): 7, ("V14", True): 5, ("V2", False): 3, ("V2", True): 3}
MEMORY_GOALS = {"V14": 15, "V2": 7}


def measure(settings: Settings) -> Part:
    """Each shape in a fresh process with malloc as it comes, and in one with malloc tuned for both sides."""
    rows: list[Row] = []
    figures: list[Figure] = []
    for tuned in (False,) if settings.gpu else (True,) if settings.quick else (False, True):
        for shape in SHAPES:
            found = _in_fresh_process(shape, tuned, settings)
            rows += found.rows
            figures += found.figures
    return Part("c", rows, figures)


def _in_fresh_process(shape: str, tuned: bool, settings: Settings) -> Part:
    chosen = [shape, *(["--tuned"] if tuned else []), *(["--quick"] if settings.quick else [])]
    command = [sys.executable, "-m", "benchmarks.speed.loss", *chosen]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Part.from_dict(json.loads(done.stdout.splitlines()[-1]))


def measure_shape(name: str, tuned: bool, settings: Settings) -> Part:
    """One shape in this process."""
    shape = SHAPES[name]
    logits = torch.randn(shape, device=settings.device, requires_grad=True)
    check_equal(logits)
    # Each side as suits it: a training step has the views in one tensor, pairs would have to add up their gradients.
    views = [view.detach().clone().requires_grad_() for view in logits]
    ours, pairs = passes(lambda: twist_loss(logits).total, [logits]), passes(lambda: pairwise_loss(views), views)
    contenders = [Contender("ours", ours), Contender("pairs", pairs)]
    memory = {contender.name: peak_bytes(contender.work) for contender in contenders}
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds if settings.gpu else cpu_seconds)
    size = "V = {}, N = {}, C = {:,}".format(*shape)
    malloc = "" if settings.gpu else ", malloc tuned" if tuned else ", malloc as it comes"
    figures = figures_of(rates, "steps/s", work=size + malloc, memory=memory)
    mine, theirs = figures["ours"], figures["pairs"]
    key, goal = f"loss/{name}{'/tuned' if tuned else ''}", at_least(TIME_GOALS[name, tuned])
    rows = [compare(key, f"loss, {size}{malloc}: time", mine, theirs, goal)]
    if tuned or settings.gpu:  # once: malloc has no part in it
        goal = at_least(MEMORY_GOALS[name])
        rows.append(compare_memory(f"loss/{name}/memory", f"loss, {size}: memory", mine, theirs, goal))
    if settings.gpu:
        rows += _on_gpu(key, size, ours, mine, shape)
    return Part("c", rows, list(figures.values()))


def passes(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], int]:
    """Work that goes forward and backward once, down to the gradients of the leaves."""

    def work() -> int:
        for leaf in leaves:
            leaf.grad = None
        loss().backward()
        return 1

    return work


def check_equal(logits: Tensor) -> None:
    """Refuse to compare two losses that differ in value or gradient; logits are ``[V, N, C]``."""
    found = []
    for loss in (lambda views: twist_loss(views).total, pairwise_loss):
        few = logits[:, :8].detach().double().requires_grad_()
        value = loss(few)
        found.append([value, *torch.autograd.grad(value, few)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-12)


def _on_gpu(key: str, size: str, work: Callable[[], int], ours: Figure, shape: tuple[int, int, int]) -> list[Row]:
    """Kernels, host syncs, and time against reading the logits twice and writing the gradient once."""
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    kernels = sum(event.count for event in seen.key_averages() if event.device_type.name == "CUDA")
    floor = 3 * 4 * shape[0] * shape[1] * shape[2] / _bytes_per_second()
    slower = [1 / value / floor for value in ours.values]
    return [
        Row(f"{key}/kernels", f"loss, {size}: kernels", kernels, at_most(4), unit="kernels"),
        Row(f"{key}/syncs", f"loss, {size}: waits for the device", count_syncs(work), at_most(0), unit="waits"),
        Row(
            f"{key}/floor",
            f"loss, {size}: against the memory traffic",
            1 / ours.median / floor,
            at_most(2),
            values=slower,
        ),
    ]


def count_syncs(work: Callable[[], Any]) -> int:
    """How often the work makes the host wait for a CUDA device."""
    import warnings

    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def _bytes_per_second() -> float:
    """What a copy of 1 GiB reaches here, read and write counted."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    rates = take_turns([Contender("copy", lambda: target.copy_(source).numel() * 2)], repeats=3, clock=wall_seconds)
    return max(rates["copy"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--tuned" in sys.argv:
        tune_malloc()
    print(json.dumps(measure_shape(sys.argv[1], "--tuned" in sys.argv, Settings("--quick" in sys.argv)).as_dict()))
