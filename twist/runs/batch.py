"""What hangs on the batch size: one dial that turns all of it, and warnings of too small a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

from twist.runs import bounds
from twist.runs.config import Recipe

# The fewest images that must share the statistics of a norm: the final one decides every answer, the others do not.
FINAL_NORM_IMAGES = 64
BATCH_NORM_IMAGES = 16
# Share of log C that a batch must be able to reach, and the authors' smallest batch with more classes than images
# (ViT-S: 1,024 for 4,096 classes). Below both, log N is what stops the mutual information.
LEAST_SHARE = 0.6
LEAST_BATCH = 1024
# Share of log C above which the final norm allows little but flat answers; ten classes at temperature 1 have 0.47 of it
# and learn.
MOST_FLOOR = 0.5


class BatchWarning(UserWarning):
    """A recipe asks of its batch what it cannot carry; it trains all the same."""


class Derived(NamedTuple):
    """A field that followed the batch size.

    Attributes
    ----------
    field
        Dotted name.
    before, after
        Its value in the recipe, and at the new batch size.
    why
        The rule, in a few words.
    """

    field: str
    before: float
    after: float
    why: str


def scaled_to_batch(recipe: Recipe, batch_size: int) -> tuple[Recipe, list[Derived]]:
    """The recipe at another batch size, with what has to follow it.

    The learning rates of both stages are multiplied by the ratio of the batch sizes, and a bunch that does not divide
    the new batch becomes the largest one that does. What has no rule stays: epochs, warm-up, weight decay, the
    teacher's momentum, and the number of classes, which `batch_warnings` holds against the batch.

    Parameters
    ----------
    recipe
        Any recipe; it is left as it is.
    batch_size
        Images per step, N, of all processes together.

    Returns
    -------
    Recipe
        Of the new batch size.
    list of Derived
        The fields that changed with it, in reading order; empty at the recipe's own batch size.

    Raises
    ------
    ConfigError
        For a batch size that is no whole number of 2 or more.

    Notes
    -----
    Linear scaling is the authors' for every optimizer, AdamW included (method section 5.3). For AdamW the root of the
    ratio is as common: after a large change try a rate between the two.

    Examples
    --------
    >>> from twist.runs.recipes import recipe
    >>> scaled, derived = scaled_to_batch(recipe("resnet50"), 128)
    >>> [(one.field, one.before, one.after) for one in derived]  # doctest: +NORMALIZE_WHITESPACE
    [('network.bunch_size', 256, 128), ('optim.learning_rate', 4.0, 0.25), ('self_label.learning_rate', 0.4, 0.025)]
    """
    scaled = recipe.replace(optim__batch_size=batch_size)
    old, new = recipe.optim.batch_size, scaled.optim.batch_size
    derived = []
    if recipe.network.bunch_size is not None:
        bunch = _bunch_of(new, recipe.network.bunch_size)
        why = "the whole batch" if bunch == new else f"divides the batch of {new}"
        derived.append(Derived("network.bunch_size", recipe.network.bunch_size, bunch, why))
    for field, rate in (
        ("optim.learning_rate", recipe.optim.learning_rate),
        ("self_label.learning_rate", recipe.self_label.learning_rate),
    ):
        derived.append(Derived(field, rate, rate * new / old, f"linear in the batch size, {new} / {old}"))
    derived = [one for one in derived if one.after != one.before]
    return scaled.replace(**{one.field.replace(".", "__"): one.after for one in derived}), derived


def _bunch_of(batch_size: int, wanted: int) -> int:
    """The largest divisor of the batch that is not above what is wanted, unless that is a handful of images.

    A prime batch has no divisor but 1 and itself: then the smallest one above what is wanted, in the end the batch.
    """
    divisors = [size for size in range(1, batch_size + 1) if batch_size % size == 0]
    largest = max(size for size in divisors if size <= wanted)
    if largest >= min(wanted, batch_size, FINAL_NORM_IMAGES):
        return largest
    return min(size for size in divisors if size > wanted)


def batch_warnings(recipe: Recipe, num_images: int, processes: int = 1) -> list[str]:
    """What a recipe asks of too small a batch, one sentence each with the numbers and what to change.

    Everything here trains, and the loss falls; it only learns less than the recipe seems to promise. None of the
    recipes that come with twist is warned about at its own batch size.

    Parameters
    ----------
    recipe
        Batch size, classes, norms, views and self-labelling.
    num_images
        Size of the image set; ``data.max_images`` still counts.
    processes
        Processes that share a batch.

    Returns
    -------
    list of str
        Empty when there is nothing to say.

    Examples
    --------
    >>> [sentence] = batch_warnings(Recipe().replace(optim__batch_size=64, network__num_classes=100), 10_000)
    >>> sentence.partition(":")[0]
    'optim.batch_size is 64 for 100 classes'
    """
    count = min(num_images, recipe.data.max_images or num_images)
    sentences = [
        _information_cap(recipe),
        _floor_of_sharpness(recipe),
        _final_norm(recipe, processes),
        _batch_norm(recipe, processes),
        _few_batches(recipe, count),
        _local_size(recipe),
        _empty_mask(recipe, processes),
    ]
    return [sentence for sentence in sentences if sentence is not None]


def _information_cap(recipe: Recipe) -> str | None:
    batch, classes = recipe.optim.batch_size, recipe.network.num_classes
    enough = min(classes, max(LEAST_BATCH, math.ceil(classes**LEAST_SHARE)))
    if batch >= enough:
        return None
    cap, top = bounds.mutual_information_cap(batch, classes), bounds.log_classes(classes)
    most = ", so that most classes are out of reach" if cap < LEAST_SHARE * top else ""
    return (
        f"optim.batch_size is {batch} for {classes} classes: the mutual information of a batch cannot pass "
        f"log N = {cap:.2f} nats, {100 * cap / top:.0f} % of log C = {top:.2f}{most}; "
        f"set optim.batch_size to {enough} or more, or network.num_classes to {batch} or fewer"
    )


def _floor_of_sharpness(recipe: Recipe) -> str | None:
    classes, temperature = recipe.network.num_classes, recipe.objective.temperature
    top = bounds.log_classes(classes)

    def floor(at_temperature: float) -> float:
        return bounds.sharpness_floor(classes, at_temperature, recipe.network.final_norm)

    if floor(temperature) <= MOST_FLOOR * top:
        return None
    cooler = temperature / 2
    while floor(cooler) > MOST_FLOOR * top:
        cooler /= 2
    return (
        f"{classes} classes at temperature {temperature:g}: the norm before the softmax keeps the sharpness at "
        f"{floor(temperature):.2f} nats or more, {100 * floor(temperature) / top:.0f} % of log C = {top:.2f}; "
        f"set objective.temperature to {cooler:g} (then {floor(cooler):.2f}), or ask for more classes"
    )


def _final_norm(recipe: Recipe, processes: int) -> str | None:
    network, batch = recipe.network, recipe.optim.batch_size
    if network.final_norm == "none":
        return None
    of_process = batch // processes
    shared = batch if network.final_norm == "sync" else min(network.bunch_size or of_process, batch)
    if shared >= FINAL_NORM_IMAGES:
        return None
    if batch < FINAL_NORM_IMAGES:
        bunch = " and network.bunch_size" if network.bunch_size and network.final_norm == "batch" else ""
        fix = f"set optim.batch_size{bunch} to {FINAL_NORM_IMAGES} or more"
    elif network.bunch_size:
        fix = f"set network.bunch_size to {FINAL_NORM_IMAGES} or more"
    else:
        fix = f"set network.bunch_size to {FINAL_NORM_IMAGES} or more, or network.final_norm to sync"
    return (
        f"the norm before the softmax takes its statistics from {shared} images (optim.batch_size {batch}, "
        f"{_count(processes, 'process', 'processes')}): with fewer than {FINAL_NORM_IMAGES} an image's answer hangs on "
        f"those it is batched with; {fix}"
    )


def _batch_norm(recipe: Recipe, processes: int) -> str | None:
    network, batch = recipe.network, recipe.optim.batch_size
    if network.backbone.startswith("vit_") and network.head_norm != "batch":
        return None
    shared = batch if network.sync_norm else batch // processes
    if shared >= BATCH_NORM_IMAGES:
        return None
    if batch >= BATCH_NORM_IMAGES:
        fix = "set network.sync_norm to true"
    else:
        fix = f"set optim.batch_size to {BATCH_NORM_IMAGES} or more"
    return (
        f"the batch norms of the network take their statistics from {_count(shared, 'image', 'images')} "
        f"(optim.batch_size {batch}, {_count(processes, 'process', 'processes')}): fewer than {BATCH_NORM_IMAGES} make "
        f"training and evaluation disagree; {fix}"
    )


def _few_batches(recipe: Recipe, count: int) -> str | None:
    batch = recipe.optim.batch_size
    if count >= 2 * batch:
        return None
    return (
        f"{_count(count, 'image', 'images')} are fewer than two batches of {batch}: an epoch is a single step, on a "
        f"part of them; set optim.batch_size to {max(2, count // 2)} or less, or give more images"
    )


def _local_size(recipe: Recipe) -> str | None:
    views = recipe.views
    if views.num_local_views == 0 or views.local_size < views.size:
        return None
    return (
        f"views.local_size is {views.local_size} and views.size is {views.size}: local views are no smaller than the "
        f"global ones, so each of the {views.num_local_views} costs as much; set views.local_size to about "
        f"{max(4, round(views.size * 96 / 224))}, or views.num_local_views to 0"
    )


def _empty_mask(recipe: Recipe, processes: int) -> str | None:
    stage, batch = recipe.self_label, recipe.optim.batch_size
    quantiles = [quantile for quantile in stage.quantile if quantile > 0]  # 0 means the fixed threshold
    asked = batch if stage.global_quantile else batch // processes
    if stage.epochs == 0 or not quantiles or min(quantiles) * asked >= 1:
        return None
    return (
        f"self_label.quantile goes down to {min(quantiles):g}, of {_count(asked, 'image', 'images')} that is less than "
        f"one: no image teaches, and nothing is learned there; set it to {math.ceil(100 / max(2, asked)) / 100:g} or "
        "more, or to 0 for the fixed self_label.threshold"
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
