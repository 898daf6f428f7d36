"""Why a run may look the way it does: what in its recipe is known to lead there, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from twist.runs.facts import Facts

# From the diary's maps of small settings: beyond these a field is worth a word.
STRONG_CROP = 0.15
HIGH_RATE = {"adamw": 0.02, "sgd": 1.0, "lars": 10.0}
STRONG_DECAY = 1.0
LOUD_SHARE = 0.6


class Cause(NamedTuple):
    """One thing in the recipe that leads to what is seen.

    Attributes
    ----------
    sentence
        What it is and how it leads there.
    advice
        What to change, by the recipe's field names.
    """

    sentence: str
    advice: str


def causes(facts: Facts, *suspects: Callable[[Facts], Iterator[Cause]]) -> list[Cause]:
    """What the suspects have to say of a run, in their order; of a knob turned while it trained, when and from what."""
    return [_as_turned(cause, facts) for suspect in suspects for cause in suspect(facts)]


def _as_turned(cause: Cause, facts: Facts) -> Cause:
    sentence = cause.sentence
    for name, (step, before) in facts.turned.items():
        was = f"{before:g}" if isinstance(before, int | float) else ", ".join(f"{each:g}" for each in before or ())
        if (said := re.match(rf"{re.escape(name)} (?:is|begins at) [^\s:,]+", sentence)) is not None:
            end = said.end()
            sentence = f"{sentence[:end]} (turned from {was} at step {step:,}){sentence[end:]}"
    return cause._replace(sentence=sentence)


def no_sharpness(facts: Facts) -> Iterator[Cause]:
    """A sharpness weight below the usual 1."""
    weight = facts.recipe.objective.sharpness_weight
    if weight < 1:
        asks = "nothing asks" if weight == 0 else "little asks"
        yield Cause(
            f"objective.sharpness_weight is {weight:g}: {asks} a sample to choose, and flat answers agree best.",
            f"Raise objective.sharpness_weight from {weight:g} toward 1.",
        )


def too_much_consistency(facts: Facts) -> Iterator[Cause]:
    """A consistency weight above 1, or a term that outshouts the others."""
    weight = facts.recipe.objective.consistency_weight
    share = facts.gradient_shares.get("consistency", 0.0)
    lower = f"Lower objective.consistency_weight (now {weight:g})"
    if weight > 1:
        yield Cause(
            f"objective.consistency_weight is {weight:g}: views agree most cheaply where every answer is flat.",
            f"{lower} toward 1.",
        )
    elif share > LOUD_SHARE:
        yield Cause(
            f"Consistency makes {share:.0%} of the gradient at the logits and outshouts sharpness and diversity.",
            f"{lower} a little.",
        )


def strong_views(facts: Facts) -> Iterator[Cause]:
    """Views that share little."""
    views = facts.recipe.views
    if views.crop_scale[0] < STRONG_CROP:
        yield Cause(
            f"views.crop_scale begins at {views.crop_scale[0]:g}: two such crops often show different things.",
            "Raise the lower end of views.crop_scale.",
        )
    if views.noise >= 0.2:
        yield Cause(f"views.noise is {views.noise:g}: it hides what two views share.", "Lower views.noise.")


def high_temperature(facts: Facts) -> Iterator[Cause]:
    """A temperature that leaves answers flat."""
    temperature = facts.recipe.objective.temperature
    if temperature > 1.5:
        yield Cause(
            f"objective.temperature is {temperature:g}: it flattens every answer.", "Lower objective.temperature."
        )


def no_diversity(facts: Facts) -> Iterator[Cause]:
    """A diversity weight below the usual 1."""
    weight = facts.recipe.objective.diversity_weight
    if weight < 1:
        yield Cause(
            f"objective.diversity_weight is {weight:g}: little keeps the images from crowding into few classes.",
            f"Raise objective.diversity_weight from {weight:g} toward 1.",
        )


def no_final_norm(facts: Facts) -> Iterator[Cause]:
    """No norm before the softmax."""
    if facts.recipe.network.final_norm == "none":
        yield Cause(
            "network.final_norm is none: a class that is ahead for one image can win for all.",
            "Set network.final_norm to batch.",
        )


def more_diversity(facts: Facts) -> Iterator[Cause]:
    """Nothing unusual: a stronger pull is all that is left."""
    weight = facts.recipe.objective.diversity_weight
    yield Cause(
        f"The pull toward an even use of the classes (objective.diversity_weight {weight:g}) is too weak here.",
        f"Raise objective.diversity_weight above {weight:g}, or raise optim.batch_size.",
    )


def small_batch(facts: Facts) -> Iterator[Cause]:
    """A batch that cannot hold its classes."""
    if facts.cap < facts.top - 0.01 and facts.batch_size < facts.num_classes:
        yield Cause(
            f"optim.batch_size is {facts.batch_size} for {facts.num_classes} classes: a batch cannot use more classes "
            f"than it has images, and tells at most log N = {facts.cap:.2f} nats.",
            f"Raise optim.batch_size to {facts.num_classes} or more, or lower network.num_classes to "
            f"{max(2, facts.batch_size)}.",
        )


def too_little_consistency(facts: Facts) -> Iterator[Cause]:
    """A consistency weight below the usual 1."""
    weight = facts.recipe.objective.consistency_weight
    if weight < 1:
        asks = "nothing asks" if weight == 0 else "little asks"
        yield Cause(
            f"objective.consistency_weight is {weight:g}: {asks} two views of an image to agree.",
            f"Raise objective.consistency_weight from {weight:g} toward 1.",
        )


def high_rate(facts: Facts) -> Iterator[Cause]:
    """A learning rate beyond what its optimizer is known to bear."""
    optim = facts.recipe.optim
    if optim.learning_rate > HIGH_RATE[optim.optimizer]:
        yield Cause(
            f"optim.learning_rate is {optim.learning_rate:g}, high for {optim.optimizer}.",
            f"Lower optim.learning_rate (now {optim.learning_rate:g}), or set optim.clip_norm to 1.",
        )


def rate_that_stays(facts: Facts) -> Iterator[Cause]:
    """A learning rate that never comes down."""
    if facts.recipe.optim.final_learning_rate > 0.3:
        yield Cause(
            f"optim.final_learning_rate is {facts.recipe.optim.final_learning_rate:g} of the peak: the weights never "
            "come to rest, and with them the classes.",
            "Lower optim.final_learning_rate to 0.001.",
        )


def strong_decay(facts: Facts) -> Iterator[Cause]:
    """Weight decay that wipes out what the gradient does not renew."""
    optim = facts.recipe.optim
    # AdamW multiplies rate and decay too, but its steps have the size of the rate whatever the gradient.
    limit = STRONG_DECAY if optim.optimizer == "adamw" else 0.01
    if optim.weight_decay > limit:
        yield Cause(
            f"optim.weight_decay is {optim.weight_decay:g}: directions that the gradient does not renew die out.",
            "Lower optim.weight_decay to 1e-4.",
        )


def no_backbone_norm(facts: Facts) -> Iterator[Cause]:
    """A backbone whose features nothing keeps apart."""
    network = facts.recipe.network
    if network.backbone == "small_conv" and network.backbone_norm == "none":
        yield Cause(
            "network.backbone_norm is none: nothing keeps the channels of the features alive.",
            "Set network.backbone_norm to batch.",
        )


def own_term(facts: Facts) -> Iterator[Cause]:
    """A person's own term that became no number."""
    if "train/extra" in facts.nonfinite:
        yield Cause(
            f"objective.extra ({facts.recipe.objective.extra}) became no number.",
            "See what objective.extra makes of ordinary logits.",
        )


def same_light(facts: Facts) -> Iterator[Cause]:
    """Views that leave the light of an image as it is, where the classes follow light."""
    views = facts.recipe.views
    still = views.jitter_probability == 0 or (views.brightness == 0 and views.contrast == 0)
    if still and _strongest(facts) in ("brightness", "contrast"):
        yield Cause(
            "The views leave brightness and contrast as they are, so both tell two views of an image from others.",
            "Set views.jitter_probability to 0.8, views.brightness and views.contrast to 0.4.",
        )


def same_hue(facts: Facts) -> Iterator[Cause]:
    """Views that leave the colors of an image as they are, where the classes follow color."""
    views = facts.recipe.views
    still = views.jitter_probability == 0 or (views.hue == 0 and views.saturation == 0)
    if still and views.gray_probability == 0 and _strongest(facts) in ("red-green", "blue-yellow"):
        yield Cause(
            "The views leave hue and saturation as they are, so color tells two views of an image from others.",
            "Set views.jitter_probability to 0.8, views.hue to 0.1, views.saturation to 0.2.",
        )


def same_blur(facts: Facts) -> Iterator[Cause]:
    """Views that leave the blur of an image as it is, where the classes follow blur."""
    if _strongest(facts) == "blur" and max(facts.recipe.views.blur_probability) == 0:
        yield Cause(
            "The views leave every image as sharp as it is, so its blur tells two views of it from others.",
            "Set views.blur_probability to 0.5,0.5.",
        )


def _strongest(facts: Facts) -> str:
    """The statistic that explains most of the newest assignment; empty where that is unknown."""
    return next((found.strongest for found in facts.shortcuts), "")
