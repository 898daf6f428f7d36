"""What recording costs: the same training with and without its record, taking turns epoch by epoch in one process.

For a ResNet-18 on a CPU, whose epoch takes hours, the parts of a record are measured one by one and added up on the
recipe's own schedule.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.speed.nets import CIFAR_IMAGES, resnet18
from benchmarks.speed.pace import Paced, our_loop
from benchmarks.speed.pictures import pictures
from benchmarks.speed.rows import Part, Row, at_most
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, take_turns, wall_seconds
from twist.learn import checkpoints, snapshots
from twist.learn.diagnosis import diagnose
from twist.learn.objective import twist_loss
from twist.learn.random import permutation
from twist.learn.step import StepReport, TrainState
from twist.learn.visits import Visits
from twist.runs.recipes import recipe as recipe_named


def measure(settings: Settings) -> Part:
    """Digits in turns; a ResNet-18 in turns on a GPU and by its parts on a CPU."""
    epochs = 10 if settings.quick else 20
    # The recipe's schedule, shortened with the run: a snapshot every ten epochs, a checkpoint every twenty.
    digits = in_turns("digits", {"optim.epochs": epochs}, repeats=1 if settings.quick else 3)
    parts: dict[str, float] = {}
    if settings.gpu:
        large = in_turns("cifar10", {"optim.epochs": 10}, images=pictures(CIFAR_IMAGES, (32, 32)), repeats=3)
    else:
        large, parts = resnet18_by_parts(settings)
    rows = [_row("digits", digits, 5, "taking turns"), _row("resnet18", large, 2, "its parts on the recipe's schedule")]
    return Part("g", rows, details={"resnet18, seconds": parts})


def _row(name: str, shares: list[float], bound: float, how: str) -> Row:
    values = [100 * share for share in shares]
    value = statistics.median(values)
    return Row(f"recording/{name}", f"recording adds to training, {name}", value, at_most(bound), how, "", values, "%")


def in_turns(recipe: str, changes: dict[str, Any], *, repeats: int, images: Any = None) -> list[float]:
    """Share that recording adds to the time of a whole training, in each repeat."""
    shares = []
    for _ in range(repeats):
        silent = {**changes, "record.train_samples": False}
        players = [
            our_loop(recipe, images=images, changes=changes if records else silent, records=records)
            for records in (True, False)
        ]
        seconds = [0.0, 0.0]
        for player in players:
            player.advance(0)  # up to the first step: what is loaded then is loaded with and without a record
        while not all(player.over for player in players):
            for number, player in enumerate(players):
                seconds[number] += _seconds_of(player, player.loop.steps_per_epoch)
        shares.append(seconds[0] / seconds[1] - 1)
    return shares


def _seconds_of(loop: Paced, steps: int) -> float:
    began = wall_seconds()
    loop.advance(steps)
    return wall_seconds() - began


def resnet18_by_parts(settings: Settings) -> tuple[list[float], dict[str, float]]:
    """Share that recording adds for the recipe ``cifar10``, in each repeat; and the seconds of each part."""
    subject = resnet18(8 if settings.quick else 32)
    recipe = recipe_named("cifar10")
    steps = our_loop(subject.recipe, images=subject.images(), changes=subject.changes)
    steps.advance(2)
    loop = steps.loop
    batch, classes = recipe.optim.batch_size, recipe.network.num_classes
    report = _report(batch, classes)
    visits = Visits(CIFAR_IMAGES, steps_per_epoch=CIFAR_IMAGES // batch, batch_size=batch, device=torch.device("cpu"))
    order = permutation(CIFAR_IMAGES, seed=0, epoch=0)
    few = pictures(256, (32, 32))
    labels = torch.arange(len(few)) % 10
    numbers = {f"train/number_{index}": 1 / (index + 3) for index in range(20)}

    def snapshot() -> int:
        agreement = visits.take_agreement(0, order)[: len(few)]
        shown, values = snapshots.take(loop.state.network, few, recipe, agreement=agreement, labels=labels)
        loop.writer.snapshot(time.monotonic_ns(), 0.0, shown, values)
        return 1

    def checkpoint() -> int:
        state = TrainState(loop.state.network, loop.state.optimizer, step=time.monotonic_ns())
        checkpoints.save(loop.path, state, loop.facts, keep=1)
        return 1

    def line() -> int:
        loop.writer.metrics(1, 0.0, numbers)
        return 1

    def diagnosis() -> int:
        diagnose(report, recipe)
        return 1

    def visit() -> int:
        visits.put(0, report.global_logits)
        return 1

    def epoch() -> int:
        loop.writer.epoch(1, 1, visits.end_epoch(order))
        return 1

    contenders = [
        Contender("step", steps.advance),
        Contender("line", line),
        Contender("diagnosis", diagnosis),
        Contender("visit", visit),
        Contender("epoch", epoch),
        Contender("snapshot", snapshot),
        Contender("checkpoint", checkpoint),
    ]
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds)
    steps.close()
    every, per_epoch = recipe.record, CIFAR_IMAGES // batch
    larger_step = batch / subject.changes["optim.batch_size"]
    larger_snapshot = every.watch_images / len(few)
    shares = []
    for repeat in range(settings.repeats):
        seconds = {name: 1 / values[repeat] for name, values in rates.items()}
        added = seconds["line"] / every.log_every_steps + seconds["diagnosis"] / every.diagnose_every_steps
        added += seconds["visit"] + seconds["epoch"] / per_epoch
        added += larger_snapshot * seconds["snapshot"] / (every.snapshot_every_epochs * per_epoch)
        added += seconds["checkpoint"] / (every.checkpoint_every_epochs * per_epoch)
        shares.append(added / (larger_step * seconds["step"]))
    return shares, {name: 1 / statistics.median(values) for name, values in rates.items()}


def _report(batch: int, classes: int) -> StepReport:
    """What a step of two views would report."""
    logits = torch.randn(2, batch, classes)
    terms = twist_loss(logits)
    features = torch.randn(2 * batch, 512).relu()
    return StepReport(terms.total, terms, None, None, features, [logits], [logits.flatten(0, 1)], None, None)
