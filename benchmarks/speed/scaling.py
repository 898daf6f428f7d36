"""How cost grows with samples, views, classes and images: slopes on doubly logarithmic axes, over a decade each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.speed.loss import passes
from benchmarks.speed.nets import LONG, thin_conv
from benchmarks.speed.pace import our_loop
from benchmarks.speed.pictures import pictures
from benchmarks.speed.rows import Figure, Part, Row, at_most
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, cpu_seconds, nothing, take_turns, wall_seconds
from benchmarks.speed.views import SMALL, our_views
from twist.learn.objective import twist_loss

STEEPEST = 1.1


def measure(settings: Settings) -> Part:
    """Four sweeps; a slope of 1 is linear, less is a fixed cost that shows."""
    more = 8 if settings.gpu else 1
    sweeps = {
        "samples N (two views, net, loss, update)": ([16, 32, 64, 160], lambda n: _steps(n * more)),
        "views V (loss)": ([2, 4, 8, 20], lambda v: _loss(v, 128, 2048 * more, settings)),
        "classes C (loss)": ([1024, 2048, 4096, 10240], lambda c: _loss(4, 64, c * more, settings)),
        "images (two views of each)": ([64, 128, 256, 640], lambda n: _views(n * more, settings)),
        "images (an epoch of training)": ([128, 256, 512, 1280], lambda n: _epoch(n * more)),
    }
    clock = wall_seconds if settings.gpu else cpu_seconds
    rows, figures, curves = [], [], {}
    for what, (sizes, make) in sweeps.items():
        contenders = {size: make(size) for size in sizes}
        turns = [Contender(f"{what}, {size}", work) for size, (work, _) in contenders.items()]
        rates = take_turns(turns, repeats=settings.repeats, clock=clock, seconds=0.1)
        for _, close in contenders.values():
            close()
        seconds = [[1 / value for value in values] for values in rates.values()]
        found = [Figure(str(size), values, "s", work=what) for size, values in zip(sizes, seconds, strict=True)]
        slopes = [slope(sizes, [values[repeat] for values in seconds]) for repeat in range(settings.repeats)]
        medians = [figure.median for figure in found]
        ours = ", ".join(f"{size}: {1000 * median:.3g} ms" for size, median in zip(sizes, medians, strict=True))
        name = f"cost against {what}: slope"
        rows.append(Row(f"scaling/{what}", name, statistics.median(slopes), at_most(STEEPEST), ours, "", slopes, ""))
        figures += found
        curves[what] = {"sizes": sizes, "seconds": medians}
    return Part("i", rows, figures, {"curves": curves})


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Exponent of the power law through the points, by least squares of the logarithms.

    Examples
    --------
    >>> round(slope([1, 10, 100], [2, 200, 20000]), 3)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


Sized = tuple[Callable[[], int], Callable[[], None]]


def _loss(num_views: int, batch: int, classes: int, settings: Settings) -> Sized:
    logits = torch.randn(num_views, batch, classes, device=settings.device, requires_grad=True)
    return passes(lambda: twist_loss(logits).total, [logits]), nothing


def _views(count: int, settings: Settings) -> Sized:
    images, views = pictures(count, (32, 32)).to(settings.device), our_views(SMALL)
    return lambda: len(views(images)) // 2, nothing


def _steps(batch: int) -> Sized:
    subject = thin_conv(batch)
    steps = our_loop(subject.recipe, images=subject.images(), changes=subject.changes)
    steps.advance(2)
    return steps.advance, steps.close


def _epoch(count: int) -> Sized:
    """An epoch over so many images, with its share of the record, in batches of the same size."""
    changes = {**thin_conv(64).changes, **LONG, "optim.batch_size": 64, "record.snapshot_every_epochs": 1.0}
    steps = our_loop("images", images=pictures(count, (32, 32)), changes=changes, records=True)
    steps.advance(1)

    def epoch() -> int:
        steps.advance(steps.loop.steps_per_epoch)
        return 1

    return epoch, steps.close
