"""The whole step of the real loop against the model alone on ready-made views, and where the rest of it goes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.speed.loss import count_syncs
from benchmarks.speed.memory import peak_bytes
from benchmarks.speed.nets import ModelAlone, Subject, default_precision, digits, ready_views, resnet18, small_conv
from benchmarks.speed.pace import our_loop, paced
from benchmarks.speed.rows import Figure, Part, Row, at_most, compare, figures_of
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, take_turns, wall_seconds
from twist.learn.objective import twist_loss


def measure(settings: Settings) -> Part:
    """Digits' own net, a small net at 32 pixels and a ResNet-18."""
    subjects = [
        (digits(), 1.15),
        (small_conv(1024 if settings.gpu else 256), 1.15),
        (resnet18(512 if settings.gpu else 16 if settings.quick else 32), 1.05),
    ]
    rows: list[Row] = []
    figures: list[Figure] = []
    shares = {}
    for subject, bound in subjects:
        found = measure_subject(subject, 1.10 if settings.gpu else bound, settings)
        rows += found.rows
        figures += found.figures
        shares[subject.name] = found.details
    return Part("d", rows, figures, {"share of the step": shares})


def measure_subject(subject: Subject, bound: float, settings: Settings) -> Part:
    """One subject: the loop's steps, the model's, and each part of a step by itself."""
    loop = our_loop(subject.recipe, images=_given(subject), changes=subject.changes)
    whole = paced(loop)
    whole.advance(2)
    model = ModelAlone(subject, settings.device, getattr(loop, "precision", default_precision(settings.device)))
    contenders = [
        Contender("whole step", whole.advance),
        Contender("model alone", model.step),
        Contender("forward and backward", model.forward_backward),
        Contender("views", ready_views(model)),
        Contender("loss", _loss_alone(model)),
        Contender("optimizer", lambda: model.optimizer.step() or 1),
    ]
    memory = {name: peak_bytes(work) for name, work in (("model alone", model.step), ("views", contenders[3].work))}
    seconds = 0.2 if settings.quick else 0.5
    rates = take_turns(contenders, repeats=settings.repeats, clock=wall_seconds, seconds=seconds)
    syncs = count_syncs(whole.advance) if settings.gpu else None
    whole.close()
    batch = model.recipe.optim.batch_size
    named = {f"{name}, {subject.name}": [batch * rate for rate in values] for name, values in rates.items()}
    figures = figures_of(named, "images/s", {f"{name}, {subject.name}": count for name, count in memory.items()})
    ours, alone = figures[f"whole step, {subject.name}"], figures[f"model alone, {subject.name}"]
    rows = [
        compare(
            f"step/{subject.name}",
            f"whole step against the model alone, {subject.name}, N = {batch}",
            ours,
            alone,
            at_most(bound),
            slower=True,
        )
    ]
    if syncs is not None:
        rows.append(
            Row(
                f"step/{subject.name}/syncs",
                f"waits for the device in a step, {subject.name}",
                syncs,
                at_most(0),
                unit="waits",
            )
        )
    return Part("d", rows, list(figures.values()), shares_of(figures, subject.name))


def shares_of(figures: dict[str, Figure], name: str) -> dict[str, float]:
    """What each part takes of a whole step, the rest included; parts were measured by themselves."""
    whole = figures[f"whole step, {name}"].median
    parts = ("forward and backward", "views", "loss", "optimizer")
    shares = {part: whole / figures[f"{part}, {name}"].median for part in parts}
    shares["the rest"] = 1 - sum(shares.values())
    shares["not model arithmetic"] = 1 - shares["forward and backward"]
    return {part: round(share, 4) for part, share in shares.items()}


def _loss_alone(model: ModelAlone) -> Callable[[], int]:
    """Loss of all heads, forward and backward, on logits as the net gave them."""
    _, heads = model.forward()
    heads = [list(rows.detach().float().chunk(len(model.views))) for rows in heads]
    for logits in heads:
        for view in logits:
            view.requires_grad_()
    temperature = model.recipe.objective.temperature

    def work() -> int:
        losses = [twist_loss(logits, temperature=temperature).total for logits in heads]
        torch.stack(losses).mean().backward()
        return 1

    return work


def _given(subject: Subject) -> torch.Tensor | None:
    return subject.images() if subject.made_up else None
