"""What changes with the step: stage, rates, weight decay, teacher momentum, quantile, side of the views; all pure.

Nothing here remembers anything, so a resumed run is in the same stage, with the same values, as one that never stopped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from twist.runs.config import Recipe, ViewsConfig


class StepValues(NamedTuple):
    """The values in force at one step.

    Attributes
    ----------
    self_labelling
        Whether the step is one of the self-labelling stage.
    learning_rate, bias_learning_rate
        Of the weights; of biases and norms.
    weight_decay
        Of the weights alone.
    teacher_momentum
        Share of itself that the teacher keeps after the step.
    quantile
        Share of the samples that teach in the self-labelling stage; of no meaning before it.
    view_size
        Side of the global views in pixels.
    """

    self_labelling: bool
    learning_rate: float
    bias_learning_rate: float
    weight_decay: float
    teacher_momentum: float
    quantile: float
    view_size: int


def values_at(step: int, recipe: Recipe, steps_per_epoch: int) -> StepValues:
    """The values of a step (0 is the first) of a run of so many steps an epoch.

    Examples
    --------
    >>> recipe = Recipe().replace(optim__epochs=8, optim__warmup_epochs=2, self_label__epochs=4)
    >>> [values_at(epoch * 10, recipe, 10).self_labelling for epoch in (0, 7, 8, 11)]
    [False, False, True, True]
    """
    optim, labelling, teacher = recipe.optim, recipe.self_label, recipe.teacher
    first, second = optim.epochs * steps_per_epoch, labelling.epochs * steps_per_epoch
    self_labelling = step >= first and second > 0
    if self_labelling:
        peak = labelling.learning_rate
        begin, length, warmup = first, second, labelling.warmup_epochs
    else:
        peak, begin, length, warmup = optim.learning_rate, 0, first, optim.warmup_epochs
    rate = _warm_cosine(step - begin, length, round(warmup * steps_per_epoch), peak, optim.final_learning_rate * peak)
    decay_end = optim.weight_decay if optim.final_weight_decay is None else optim.final_weight_decay
    return StepValues(
        self_labelling=self_labelling,
        learning_rate=rate,
        bias_learning_rate=optim.bias_learning_rate * rate,
        weight_decay=cosine(step, first + second, optim.weight_decay, decay_end),
        teacher_momentum=cosine(step, first, *teacher.momentum),
        quantile=cosine(max(0, step - first), second, *labelling.quantile),
        view_size=_view_size(step, first + second, round(recipe.views.grow_epochs * steps_per_epoch), recipe.views),
    )


def cosine(step: int, length: int, begin: float, end: float) -> float:
    """From one value to another along half a wave, reached at ``length`` and kept from there on.

    Examples
    --------
    >>> [round(cosine(step, 4, 1.0, 0.0), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    if step >= length:
        return end
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * step / length))


def _view_size(step: int, length: int, growing: int, views: ViewsConfig) -> int:
    """Three smaller sides for a third of the growth each, as every new one is compiled anew; then the final one.

    A growth that would not end takes half, so that a run made short still sees whole views.
    """
    growing = growing if growing < length else length // 2
    if views.start_size is None or step >= growing:
        return views.size
    return views.start_size + 4 * round((views.size - views.start_size) * (3 * step // growing) / 12)


def _warm_cosine(step: int, length: int, warmup: int, peak: float, end: float) -> float:
    """Linear from 0 through the warm-up; one that would not end takes half, so that a run made short still trains."""
    warmup = warmup if warmup < length else length // 2
    return peak * step / warmup if step < warmup else cosine(step - warmup, length - warmup, peak, end)
