"""The whole step of the real loop against the model alone on ready-made views, and where the rest of it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from benchmarks.speed.loss import count_syncs, passes
from benchmarks.speed.memory import peak_bytes
from benchmarks.speed.nets import ModelAlone, Subject, digits, ready_views, resnet18, small_conv
from benchmarks.speed.pace import our_loop
from benchmarks.speed.rows import Figure, Part, Row, at_most, compare, figures_of
from benchmarks.speed.settings import Settings
from benchmarks.speed.turns import Contender, take_turns, wall_seconds
from twist.learn.objective import twist_loss


def measure(settings: Settings) -> Part:
    """Digits' own net, a small net at 32 pixels and a ResNet-18."""
    subjects = [
        (digits(), 1.15),
        (small_conv(1024 if settings.gpu else 256), 1.15),
        (resnet18(512 if settings.gpu else 8 if settings.quick else 32), 1.05),
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
    whole = our_loop(subject.recipe, images=_given(subject), changes=subject.changes)
    whole.advance(2)
    model = ModelAlone(subject, settings.device, whole.loop.precision)
    views, batch = ready_views(model), model.recipe.optim.batch_size
    contenders = [
        Contender("whole step", whole.advance),
        Contender("model alone", model.step),
        Contender("forward and backward", model.forward_backward),
        Contender("views", views),
        Contender("loss", _loss_alone(model)),
        Contender("optimizer", model.update),
    ]
    measured = (("whole step", whole.advance), ("model alone", model.step), ("views", views))
    memory = {name: peak_bytes(work) for name, work in measured}
    # Many short turns: what else the machine does changes within seconds.
    repeats, seconds = (3, 0.1) if settings.quick else (11, 0.15)
    rates = take_turns(contenders, repeats=repeats, clock=wall_seconds, seconds=seconds)
    figures = figures_of(rates, "images/s", work=subject.name, amount=batch, memory=memory)
    shares = shares_of(figures)
    what = f"{subject.name}, N = {batch}"
    step = compare(
        f"step/{subject.name}",
        f"whole step against the model alone, {what}",
        figures["whole step"],
        figures["model alone"],
        at_most(bound),
        slower=True,
    )
    rows = [step, _row_of_shares(subject, shares)]
    if settings.gpu:
        key = f"step/{subject.name}"
        waits = count_syncs(whole.advance)
        rows.append(Row(f"{key}/waits", f"waits for the device in a step, {what}", waits, at_most(0), unit="waits"))
        share = 100 * shares["views"]
        rows.append(Row(f"{key}/views", f"views, of the step, {what}", share, at_most(3), unit="%"))
    whole.close()
    return Part("d", rows, list(figures.values()), shares)


def shares_of(figures: Mapping[str, Figure]) -> dict[str, float]:
    """What each part takes of a whole step, and the rest; the parts were measured by themselves."""
    whole = figures["whole step"].median
    shares = {part: whole / figures[part].median for part in ("forward and backward", "views", "loss", "optimizer")}
    return {**shares, "the rest": 1 - sum(shares.values())}


def _row_of_shares(subject: Subject, shares: dict[str, float]) -> Row:
    value = 100 * (1 - shares["forward and backward"])
    spelled = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
    what = f"share of the step that is not model arithmetic, {subject.name}"
    return Row(f"share/{subject.name}", what, value, None, spelled, unit="%")


def _loss_alone(model: ModelAlone) -> Callable[[], int]:
    """Loss of all heads, forward and backward, on logits as the net gave them."""
    _, heads = model.forward()
    heads = [rows.detach().float().unflatten(0, (len(model.views), -1)).requires_grad_() for rows in heads]
    temperature = model.recipe.objective.temperature
    return passes(
        lambda: torch.stack([twist_loss(logits, temperature=temperature).total for logits in heads]).mean(), heads
    )


def _given(subject: Subject) -> torch.Tensor | None:
    return subject.images() if subject.made_up else None
