"""The kinds of verdict: one small function each, from the facts to words, or None where its condition does not hold.

Thresholds were fixed on seeds 0 to 7 of the collapse zoo and counted on seeds 8 to 12; LOG.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from twist.runs import causes as why
from twist.runs.bounds import log_classes
from twist.runs.causes import Cause, causes
from twist.runs.facts import Facts
from twist.runs.shortcuts import Shortcut

Kind = Literal[
    "healthy",
    "uniform collapse",
    "one-class collapse",
    "partial collapse",
    "dimensional collapse",
    "inconsistent views",
    "overconfident noise",
    "shortcut",
    "plateau near uniform",
    "batch too small",
    "not finite",
    "too early to say",
]

#: Steps before which only what cannot be the start is named, and before which nothing is.
EARLY_STEPS, EARLIEST_STEPS = 100, 30
#: Shares of log C: information below which all images have one distribution whatever it looks like; entropy above
#: which, with as little information as that leaves, distributions are flat; diversity below which one class holds
#: everything; entropy below which a distribution is sharp, and below which one that all images share counts as such.
SAME, FLAT, ONE_CLASS, SHARP, SHARP_IF_SAME = 0.005, 0.98, 0.1, 0.05, 0.5
#: Share of the images in one class that makes it the only one.
LARGEST = 0.9
#: Share of its first information below which a run has lost it.
KEPT_INFORMATION = 0.2
#: Share of the classes that a batch could use below which few are live, and below which that is said from half of the
#: early steps on.
FEW, VERY_FEW = 0.3, 0.25
#: Agreement of two views below which they disagree, or this multiple of chance where that is more; and the divergence,
#: nats, and share of log C in information, above which it matters.
AGREE, CHANCES, DIVERGE, TOLD = 0.4, 1.5, 1.0, 0.1
#: Share of the images that must keep their class from one snapshot to the next where views disagree; and where they
#: agree, in a run that is as sure of its classes as `SURE` of what can be.
STABLE, STABLE_WHEN_SURE, SURE = 0.6, 0.4, 0.75
#: Spread of a sample's logits below which its distribution is flat, whatever the norm does to the columns.
STILL_ROWS = 0.2
#: Directions per class below which features are too few; share of the first snapshot's directions, with and without
#: the one that all images have in common, that must be lost; and the rank below which that one dwarfs all others.
DIRECTIONS, LOST, CONE = 0.4, 0.5, 1.5
#: Share of the assignment's entropy that one low-level statistic may explain, and all of them together.
EXPLAINED, EXPLAINED_TOGETHER = 0.35, 0.45
#: Share of log C that the cap log N of a batch must reach, and share of what C classes allow that must be learned.
ROOM, ATTAINED = 0.6, 0.5
#: Share of the cap below which information is near nothing; nats within which it is where it began; and share of what
#: can be below which that is no success.
NEAR_NOTHING, UNMOVED, LITTLE = 0.075, 0.05, 0.4


_FAILED = "It ended in an error: `twist show` says which."
# Fields of the views that take a statistic away from the network.
_ANSWERS = {
    "brightness": "views.brightness",
    "contrast": "views.contrast",
    "blur": "views.blur_probability",
    "red-green": "views.hue, views.saturation and views.gray_probability",
    "blue-yellow": "views.hue, views.saturation and views.gray_probability",
}


class Finding(NamedTuple):
    """What one rule says of a run at one step; `twist.runs.verdict.Verdict` adds what takes the whole record."""

    kind: Kind
    title: str
    sentence: str
    advice: str
    causes: tuple[str, ...] = ()


def not_finite(facts: Facts) -> Finding | None:
    """A loss term or a number of a snapshot that is none. First of all: argmax of a row of NaN is class 0, always."""
    if not facts.nonfinite:
        return None
    found = causes(facts, why.own_term, why.high_rate)
    return _finding(
        "not finite",
        f"At step {facts.step} {', '.join(facts.nonfinite)} {'is' if len(facts.nonfinite) == 1 else 'are'} not finite: "
        "nothing that the network computes means anything any more.",
        found,
        "Launch it anew with a lower optim.learning_rate or with optim.clip_norm (1 is a start).",
    )


def uniform(facts: Facts) -> Finding | None:
    """Every image has nearly the same flat distribution."""
    flat = facts.sharpness > FLAT * facts.top and not facts.row_std > STILL_ROWS
    same = _one_distribution(facts) and facts.sharpness > SHARP_IF_SAME * facts.top
    if not (flat or same) or _in_warmup(facts) or not (_is_late(facts) or _has_lost_information(facts)):
        return None
    found = causes(facts, why.no_sharpness, why.too_much_consistency, why.high_temperature, why.strong_views)
    return _finding(
        "uniform collapse",
        f"Every image gets nearly the same flat distribution: a sample's entropy is {facts.sharpness:.2f} of at most "
        f"{facts.top:.2f} nats, and the classes hold {facts.information:.3f} nats about the images.",
        found,
        _capital(_milder(facts)),
    )


def one_class(facts: Facts) -> Finding | None:
    """Every image has the same sharp distribution."""
    crowded = facts.diversity < ONE_CLASS * facts.top or facts.largest_share > LARGEST
    sharp = crowded and facts.sharpness < SHARP * facts.top
    same = _one_distribution(facts) and facts.sharpness <= SHARP_IF_SAME * facts.top
    if not (sharp or same) or facts.step < EARLIEST_STEPS:
        return None
    used = f"the classes in use number {facts.perplexity:.1f} of {facts.num_classes}"
    share = f"one takes {facts.largest_share:.0%} of the images"
    words = [*([used] * (facts.diversity >= 0)), *([share] * (facts.largest_share > 0))]
    return _finding(
        "one-class collapse",
        f"Every image gets the same sharp distribution: {', and '.join(words)}.",
        causes(facts, why.no_diversity, why.no_final_norm, why.high_rate) or causes(facts, why.more_diversity),
    )


def too_early(facts: Facts) -> Finding | None:
    """Fewer than 100 steps; or inside the warm-up and the first tenth of the run; or no loss term on record."""
    unknown = math.isnan(facts.information)
    if _is_late(facts) and not _in_warmup(facts) and not unknown:
        return None
    needed = max(EARLY_STEPS, math.ceil(min(facts.warmup_steps, (facts.total_steps or math.inf) / 10)))
    if unknown and (facts.step >= EARLY_STEPS or facts.end_reason is not None):
        sentence, advice = "The loss terms are not on record, and without them nothing can be said.", "Run it anew."
    elif facts.end_reason:
        sentence = f"The run ended after {facts.step} steps; before {needed} the loss terms say more about the start."
        advice = "Raise optim.epochs, or lower optim.batch_size for more steps per epoch."
        advice = {"stopped": "Resume it.", "failed": _FAILED}.get(facts.end_reason, advice)
    else:
        sentence = f"{_steps(facts.step)} are done; before {needed} the loss terms say more about the start."
        advice = "Wait; resume it if its process is gone."
    return Finding("too early to say", "Too early to say", sentence, advice)


def batch_too_small(facts: Facts) -> Finding | None:
    """Fewer images in a batch than the classes would need, and little learned of what they allow."""
    cramped = facts.cap < ROOM * log_classes(facts.num_classes)
    if not cramped or not facts.information < ATTAINED * (facts.top - facts.floor):
        return None
    return _finding(
        "batch too small",
        f"A batch of {facts.batch_size} images cannot tell more than log N = {facts.cap:.2f} of the {facts.top:.2f} "
        f"nats of {facts.num_classes} classes; it holds {facts.information:.2f} nats about them.",
        causes(facts, why.small_batch),
        f"Raise optim.batch_size to {facts.num_classes} or more.",
    )


def partial(facts: Facts) -> Finding | None:
    """Few classes are live."""
    if not live_share(facts) < FEW:
        return None
    reachable = min(facts.num_classes, facts.batch_size)
    live = live_share(facts) * reachable
    return _finding(
        "partial collapse",
        f"Only about {live:.1f} of {facts.num_classes} classes are in use; {reachable} could be.",
        causes(facts, why.no_final_norm, why.no_diversity, why.small_batch) or causes(facts, why.more_diversity),
    )


def partial_already(facts: Facts) -> Finding | None:
    """Hardly any class is live in a run that is otherwise too young for a word."""
    young = EARLY_STEPS / 2 <= facts.step < EARLY_STEPS and not _in_warmup(facts)
    return partial(facts) if young and live_share(facts) < VERY_FEW else None


def noise(facts: Facts) -> Finding | None:
    """Sharp and diverse, but the same image is in another class soon after, and mostly so is its other view."""
    if not facts.stability < needed_stability(facts):
        return None
    agree = "" if math.isnan(facts.agreement) else f", and two views of one agree in {facts.agreement:.0%} of the cases"
    return _finding(
        "overconfident noise",
        f"Classes are sharp and diverse, but only {facts.stability:.0%} of the images keep their class from one "
        f"snapshot to the next{agree}: the answers are sure and mean nothing.",
        causes(facts, why.too_little_consistency, why.rate_that_stays, why.high_rate, why.strong_views),
        "Lower optim.learning_rate.",
    )


def inconsistent(facts: Facts) -> Finding | None:
    """Sharp and diverse, but two views of an image are in different classes."""
    if not _views_disagree(facts):
        return None
    return _finding(
        "inconsistent views",
        f"Classes are sharp and diverse, but two views of an image agree in only {facts.agreement:.0%} of the cases "
        f"and diverge by {facts.consistency:.2f} nats: the classes follow the augmentation, not the image.",
        causes(facts, why.too_little_consistency, why.strong_views),
        "Make the views milder: a higher lower end of views.crop_scale, less jitter.",
    )


def dimensional(facts: Facts) -> Finding | None:
    """The features span fewer directions than their classes need, and fewer than at the start."""
    rank, at_start = facts.watch.get("watch/effective_rank"), facts.start.get("watch/effective_rank")
    if rank is None or at_start is None or not rank < few_directions(facts.num_classes, at_start):
        return None
    centered, then = facts.watch.get("watch/centered_rank"), facts.start.get("watch/centered_rank")
    shared = ""
    if centered is not None and then is not None:
        if not centered < LOST * then and rank > CONE:  # an offset, beside which images differ as much as ever
            return None
        shared = f"; without the one that all images share {centered:.0f} of {then:.0f}"
    return _finding(
        "dimensional collapse",
        f"The features of the watch images span {rank:.1f} directions, {at_start:.0f} at the start{shared}: too few "
        f"for {facts.num_classes} classes, and little for whoever builds on these features.",
        causes(facts, why.strong_decay, why.no_backbone_norm, why.high_rate),
        "Lower optim.weight_decay and optim.learning_rate.",
    )


def shortcut(facts: Facts) -> Finding | None:
    """The classes follow the light of the images, in the last two snapshots: for a moment many runs do at first."""
    recent = facts.shortcuts
    if not recent or (len(recent) < 2 and facts.end_reason is None) or not all(map(_explains_much, recent)):
        return None
    found = recent[0]
    share = found.explained[found.strongest]
    what = f"{found.strongest.capitalize()} alone explains {share:.0%} of the assignment"
    if share <= EXPLAINED:
        what = f"{', '.join(found.explained)} together explain {found.together:.0%} of the assignment".capitalize()
    return _finding(
        "shortcut",
        f"{what}: the classes follow that, not what an image shows, unless it is what you look for.",
        causes(facts, why.same_light, why.same_blur, why.same_hue, why.strong_views),
        f"Make the views differ more in {found.strongest}: raise {_ANSWERS[found.strongest]}.",
    )


def plateau(facts: Facts) -> Finding | None:
    """Near uniform but not collapsed, or no step away from the start: longer runs decide."""
    near_uniform = facts.information < NEAR_NOTHING * facts.cap
    unmoved = abs(facts.information - facts.start_information) < UNMOVED
    if not (near_uniform or (unmoved and facts.information < LITTLE * facts.best_information)):
        return None
    if near_uniform:
        reason = f"only {facts.information:.2f} of at most {facts.best_information:.2f} nats about the images"
    else:
        reason = f"{facts.information:.2f} nats about the images, as at the start ({facts.start_information:.2f})"
    finding = _finding(
        "plateau near uniform",
        f"After {_steps(facts.step)} the classes hold {reason}. This is no collapse yet, and no learning either.",
        causes(facts, why.too_much_consistency, why.strong_views, why.no_sharpness, why.small_batch),
        f"Train longer (optim.epochs); if it stays, {_milder(facts)}",
    )
    return finding if near_uniform else finding._replace(title="Stuck at the start")


def healthy(facts: Facts) -> Finding:
    """None of the others; with how far it is from the most that can be."""
    used = f"{facts.perplexity:.1f} of {facts.num_classes} classes are in use"
    agree = "" if math.isnan(facts.agreement) else f", views agree in {facts.agreement:.0%} of the cases"
    floor = f" (its floor is {facts.floor:.2f})" if facts.floor >= 0.01 else ""
    share = facts.information / facts.best_information if facts.best_information > 0 else 0.0
    completed = facts.end_reason == "completed"
    if completed and share < ATTAINED:
        advice = f"It learns, and is at {share:.0%} of what is attainable: train longer (optim.epochs)."
    elif completed:
        advice = "Nothing needs to change; look at the classes. A longer run (optim.epochs) may sharpen them further."
    else:
        advice = {None: "Let it go on; resume it if its process is gone.", "failed": _FAILED}.get(
            facts.end_reason, "Resume it."
        )
    return Finding(
        "healthy",
        "Healthy" if completed else "Healthy so far",
        f"In training batches the classes hold {facts.information:.2f} of at most {facts.best_information:.2f} nats "
        f"about the images ({share:.0%}): {used}{agree}, and a sample's entropy is {facts.sharpness:.2f} nats{floor}.",
        advice,
    )


#: In the order in which they are tried: the first that finds its condition speaks.
RULES: tuple[Callable[[Facts], Finding | None], ...] = (
    not_finite,
    uniform,
    one_class,
    partial_already,
    too_early,
    batch_too_small,
    partial,
    noise,
    inconsistent,
    dimensional,
    shortcut,
    plateau,
    healthy,
)


def live_share(facts: Facts) -> float:
    """Share of the classes that a batch could use which are live: by perplexity, or by count where that is less."""
    counts = [count for count in (facts.perplexity, facts.live_classes) if not math.isnan(count)]
    return min(counts, default=math.nan) / min(facts.num_classes, facts.batch_size)


def needed_stability(facts: Facts) -> float:
    """Share of the images that must keep their class here; 0 while a run that agrees is not sure of its classes yet."""
    if _views_disagree(facts):
        return STABLE
    return STABLE_WHEN_SURE if facts.information > SURE * facts.best_information else 0.0


def needed_agreement(facts: Facts) -> float:
    """Agreement of two views below which they disagree: chance agrees in 1/C of the cases, much for a few classes."""
    return max(AGREE, CHANCES / facts.num_classes)


def few_directions(num_classes: int, at_start: float = math.inf) -> float:
    """Directions below which features are too few, for so many classes and from so many in the first snapshot."""
    return min(DIRECTIONS * num_classes, LOST * at_start)


def _finding(kind: Kind, sentence: str, found: Sequence[Cause], otherwise: str = "") -> Finding:
    """The advice of the likeliest cause, or the usual one where the recipe shows none."""
    advice = found[0].advice if found else otherwise
    return Finding(kind, _capital(kind), sentence, advice, tuple(cause.sentence for cause in found))


def _milder(facts: Facts) -> str:
    """What takes the pull toward agreement away."""
    weight = facts.recipe.objective.consistency_weight
    lower = f"lower objective.consistency_weight (now {weight:g}), which wins too early, or " if weight > 0 else ""
    return f"{lower}make the views milder (views.crop_scale)."


def _one_distribution(facts: Facts) -> bool:
    """Whether all images have the same distribution to within rounding, whatever it looks like."""
    return facts.information < SAME * facts.top


def _has_lost_information(facts: Facts) -> bool:
    """Whether an early run is where no start is: what the first batches told is gone."""
    lost = facts.information < KEPT_INFORMATION * facts.start_information
    return facts.step >= EARLIEST_STEPS and _one_distribution(facts) and lost


def _is_late(facts: Facts) -> bool:
    return facts.step >= EARLY_STEPS


def _in_warmup(facts: Facts) -> bool:
    return facts.step < min(facts.warmup_steps, (facts.total_steps or math.inf) / 10)


def _views_disagree(facts: Facts) -> bool:
    sharp_and_diverse = facts.information > TOLD * facts.top
    return facts.agreement < needed_agreement(facts) and facts.consistency > DIVERGE and sharp_and_diverse


def _explains_much(found: Shortcut) -> bool:
    return found.explained[found.strongest] > EXPLAINED or found.together > EXPLAINED_TOGETHER


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
