"""End to end: our loop against the same net fed by a PIL DataLoader, and against lightly's loop."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.speed.nets import CIFAR_IMAGES, ModelAlone, Subject, build_subject, resnet18, thin_conv
from benchmarks.speed.pace import Paced, our_loop
from benchmarks.speed.peers import pil
from benchmarks.speed.rows import Goal, Part, Row, at_least, at_most, best, compare, figures_of, missing
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, nothing, settle, take_turns, wall_seconds
from twist.learn.objective import twist_loss
from twist.learn.optim import make_optimizer

LIGHTLY_MISSING = "lightly is not installed: make bench installs it"


def measure_pil(settings: Settings) -> Part:
    """A thin net of four layers: our loop, and the plainest one around a DataLoader, with the workers that suit it."""
    subject = thin_conv(4096 if settings.gpu else 128)
    ours = _ours(subject)
    counts = (8, 16) if settings.gpu else (0, 2) if settings.quick else (0, 1, 2)
    contenders = [Contender("our loop", lambda: ours.advance() * subject.changes["optim.batch_size"])]
    contenders += [_pil_loop(subject, workers, settings) for workers in counts]
    seconds = 0.5 if settings.quick else 1.0
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds, seconds=seconds)
    ours.close()
    figures = figures_of(rates, "images/s")
    of_pil = best([figure for name, figure in figures.items() if name != "our loop"])
    what = f"{subject.name}: our loop against a PIL DataLoader"
    return Part("e", [compare("loop/pil", what, figures["our loop"], of_pil, at_least(2.5))], list(figures.values()))


def measure_lightly(settings: Settings) -> Part:
    """A small net and a ResNet-18: our loop, and lightly's with the workers that suit it."""
    small = thin_conv(1024 if settings.gpu else 128)
    large = resnet18(512 if settings.gpu else 32)
    # A worker more than the net needs only takes its cores.
    counts = ((8, 16), (8, 16)) if settings.gpu else ((0, 2), (0, 1))
    goals = (at_least(2.5), at_least(4 if settings.gpu else 1.3))
    rows, figures = [], []
    measured = list(zip((small, large), goals, counts, strict=True))
    for subject, goal, worker_counts in measured[:1] if settings.quick else measured:
        found = _against_lightly(subject, goal, worker_counts, settings)
        rows += found.rows
        figures += found.figures
    return Part("f", rows, figures)


def _against_lightly(subject: Subject, goal: Goal, worker_counts: Sequence[int], settings: Settings) -> Part:
    batch = subject.changes["optim.batch_size"]
    key, what = f"loop/lightly/{subject.name}", f"{subject.name}, N = {batch}: our loop against lightly's"
    try:
        from benchmarks.speed.peers import lightly_loop
    except ImportError:
        return Part("f", [missing(key, what, goal, LIGHTLY_MISSING)])
    recipe, arrays = subject.resolved(), _arrays(subject)
    loops: dict[str, Any] = {"our loop": _ours(subject)}
    enter = {}
    for workers in worker_counts:
        network = build_subject(recipe, 3).to(settings.device)
        name = f"lightly's loop, {workers} workers"
        loops[name] = lightly_loop.Training(arrays, recipe, network, make_optimizer(network, recipe.optim), workers)
        # As long as the batches last that its workers prepared meanwhile, the loop seems faster than it is.
        enter[name] = lambda name=name, batches=2 * workers: loops[name].advance(batches)
    contenders = [
        Contender(name, lambda loop=loop: loop.advance() * batch, enter.get(name, nothing), settle)
        for name, loop in loops.items()
    ]
    seconds = 1.0 if settings.quick else 2.0
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds, seconds=seconds)
    for loop in loops.values():
        loop.close()
    figures = figures_of(rates, "images/s", work=subject.name)
    ours, *of_lightly = figures.values()
    rows = [compare(key, what, ours, best(of_lightly), goal)]
    if settings.gpu and recipe.network.backbone == "resnet18":
        epochs = [CIFAR_IMAGES / value for value in ours.values]
        what = f"{subject.name}, N = {batch}: an epoch of CIFAR-10"
        rows.append(Row("epoch/cifar10", what, statistics.median(epochs), at_most(1.8), "", "", epochs, "s"))
    return Part("f", rows, list(figures.values()))


def _ours(subject: Subject) -> Paced:
    loop = our_loop(subject.recipe, images=subject.images(), changes=subject.changes)
    loop.advance(2)
    return loop


def _arrays(subject: Subject) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).contiguous().numpy() for image in subject.images()]


def _pil_loop(subject: Subject, workers: int, settings: Settings) -> Contender:
    """The same net, loss and optimizer, fed by Pillow."""
    model = ModelAlone(subject, settings.device)
    batch = model.recipe.optim.batch_size
    fed = pil.Fed(pil.Views(_arrays(subject), model.recipe.views), batch, workers)
    temperature = model.recipe.objective.temperature

    def work() -> int:
        model.views = [view.to(settings.device) for view in fed.next()]
        model.optimizer.zero_grad(set_to_none=True)
        _, heads = model.forward()
        losses = [twist_loss(rows.float().unflatten(0, (2, -1)), temperature=temperature).total for rows in heads]
        torch.stack(losses).mean().backward()
        model.optimizer.step()
        return batch

    return Contender(f"PIL, {workers} workers", work, fed.enter, fed.leave)
