"""The verdict on a run, from its record alone: what is going on, why one thinks so, and what to change.

Rules are tried in a fixed order, one small function each; the first that finds its condition speaks. Finiteness comes
first, because the class of a row of NaN is 0 for every image, which looks like a collapse. The loss terms are medians
over the last tenth of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from twist.runs import bounds
from twist.runs.config import Recipe
from twist.runs.record import RunRecord

Kind = Literal[
    "healthy",
    "uniform collapse",
    "one-class collapse",
    "partial collapse",
    "inconsistent views",
    "not finite",
    "too early to say",
]

EARLY_STEPS = 100
LOSS_TERMS = ("train/total", "train/consistency", "train/sharpness", "train/diversity")


class Evidence(NamedTuple):
    """One number of a verdict.

    Attributes
    ----------
    name
        Glossary name, such as ``train/sharpness``.
    value
        What was measured.
    reference
        What to hold it against, or None.
    meaning
        What the reference is, in a few words.
    """

    name: str
    value: float
    reference: float | None
    meaning: str


class Verdict(NamedTuple):
    """What a run's numbers say.

    Attributes
    ----------
    kind
        One of a few fixed names, for programs.
    title
        The same in one line, for people.
    sentence
        Why: the numbers in plain words.
    advice
        What to change, by the recipe's field names.
    evidence
        The numbers with their references.
    step
        The step up to which the record was read.
    """

    kind: Kind
    title: str
    sentence: str
    advice: str
    evidence: tuple[Evidence, ...]
    step: int


@dataclass(frozen=True)
class _Facts:
    """The numbers the rules look at; entropies in nats, NaN where nothing was recorded."""

    step: int
    total_steps: int | None
    warmup_steps: float
    end_reason: str | None  # of the newest attempt; None while it goes on
    recipe: Recipe
    num_classes: int
    batch_size: int
    top: float  # entropy of the uniform distribution, as the loss sees it
    cap: float  # of the mutual information
    floor: float  # of the sharpness
    consistency: float
    sharpness: float
    diversity: float
    start_information: float
    agreement: float
    row_std: float
    live_classes: float
    largest_share: float
    watch: dict[str, float]
    nonfinite: tuple[str, ...]

    @property
    def information(self) -> float:
        return self.diversity - self.sharpness

    @property
    def best_information(self) -> float:
        return min(self.cap, self.top - self.floor)

    @property
    def one_distribution(self) -> bool:
        """Whether all images have the same distribution to within rounding, whatever it looks like."""
        return self.information < 0.005 * self.top


def verdict(record: RunRecord) -> Verdict:
    """The verdict on a run as far as its record was polled.

    Parameters
    ----------
    record
        A run's reader; `RunRecord.poll` it first.

    Returns
    -------
    Verdict
        The first of these that holds: not finite, too early to say, uniform collapse, one-class collapse, partial
        collapse, inconsistent views, plateau near uniform (of the kind "too early to say"), healthy.
    """
    facts = _gather(record)
    return next(found for rule in _RULES if (found := rule(facts)) is not None)


# ---------------------------------------------------------------------------------------------------------------------
# Rules


def _not_finite(facts: _Facts) -> Verdict | None:
    if not facts.nonfinite:
        return None
    names = ", ".join(facts.nonfinite)
    return Verdict(
        "not finite",
        "Not finite",
        f"At step {facts.step} {names} is not finite: nothing that the network computes means anything any more.",
        "Launch it anew with a lower optim.learning_rate or with optim.clip_norm (1 is a start).",
        tuple(Evidence(name, math.nan, None, "must be finite") for name in facts.nonfinite),
        facts.step,
    )


def _too_early(facts: _Facts) -> Verdict | None:
    """Fewer than 100 steps; or inside the warm-up and the first tenth of the run."""
    warming_up = facts.step < min(facts.warmup_steps, (facts.total_steps or math.inf) / 10)
    if facts.step >= EARLY_STEPS and not warming_up and not math.isnan(facts.information):
        return None
    needed = max(EARLY_STEPS, math.ceil(min(facts.warmup_steps, (facts.total_steps or 0) / 10)))
    if facts.end_reason:
        sentence = f"The run ended after {facts.step} steps; before {needed} the loss terms say more about the start."
        advice = "Raise optim.epochs, or lower optim.batch_size for more steps per epoch."
    else:
        sentence = f"{_steps(facts.step)} are done; before {needed} the loss terms say more about the start."
        advice = "Wait."
    return Verdict("too early to say", "Too early to say", sentence, advice, _evidence(facts), facts.step)


def _uniform_collapse(facts: _Facts) -> Verdict | None:
    flat = facts.sharpness > 0.98 * facts.top and facts.information < 0.02 * facts.top
    flattish = facts.one_distribution and facts.sharpness > 0.5 * facts.top
    if not (flat or flattish):
        return None
    return Verdict(
        "uniform collapse",
        "Uniform collapse",
        f"Every image gets nearly the same flat distribution: a sample's entropy is {facts.sharpness:.2f} of at most "
        f"{facts.top:.2f} nats, and the classes hold {facts.information:.3f} nats about the images.",
        _raise("sharpness_weight", facts)
        or f"Lower objective.consistency_weight (now {facts.recipe.objective.consistency_weight:g}), or make the views "
        "milder (views.crop_scale).",
        _evidence(facts),
        facts.step,
    )


def _one_class_collapse(facts: _Facts) -> Verdict | None:
    one_class = facts.diversity < 0.1 * facts.top or facts.largest_share > 0.9
    sharp = one_class and facts.sharpness < 0.05 * facts.top
    sharpish = facts.one_distribution and facts.sharpness <= 0.5 * facts.top
    if not (sharp or sharpish):
        return None
    return Verdict(
        "one-class collapse",
        "One-class collapse",
        f"Every image gets the same sharp distribution: the classes in use number "
        f"{math.exp(facts.diversity):.1f} of {facts.num_classes}"
        + (f", and one takes {facts.largest_share:.0%} of the images." if facts.largest_share > 0 else "."),
        _spread(facts),
        _evidence(facts),
        facts.step,
    )


def _partial_collapse(facts: _Facts) -> Verdict | None:
    reachable = min(facts.num_classes, facts.batch_size)
    live = np.nanmin([math.exp(facts.diversity), facts.live_classes])
    if not live < 0.3 * reachable:
        return None
    return Verdict(
        "partial collapse",
        "Partial collapse",
        f"Only about {live:.1f} of {facts.num_classes} classes are in use; {reachable} could be.",
        _spread(facts),
        _evidence(facts),
        facts.step,
    )


def _inconsistent_views(facts: _Facts) -> Verdict | None:
    # Chance agrees in 1/C of the cases, which for a few classes is above 0.3.
    expected = max(0.3, 1.5 / facts.num_classes)
    if not (facts.agreement < expected and facts.consistency > 1 and facts.information > 0.1 * facts.top):
        return None
    return Verdict(
        "inconsistent views",
        "Inconsistent views",
        f"Classes are sharp and diverse, but two views of an image agree in only {facts.agreement:.0%} of the cases "
        f"and diverge by {facts.consistency:.2f} nats: the classes follow the augmentation, not the image.",
        _raise("consistency_weight", facts)
        or "Make the views milder: a higher lower end of views.crop_scale, less jitter.",
        _evidence(facts),
        facts.step,
    )


def _plateau(facts: _Facts) -> Verdict | None:
    """Near uniform but not collapsed, or no step away from the start: longer runs decide."""
    near_uniform = facts.information < 0.05 * facts.cap
    stuck = abs(facts.information - facts.start_information) < 0.05 and facts.information < 0.4 * facts.best_information
    if not (near_uniform or stuck):
        return None
    if near_uniform:
        title = "Plateau near uniform"
        reason = f"only {facts.information:.2f} of at most {facts.best_information:.2f} nats about the images"
    else:
        title = "Stuck at the start"
        reason = f"{facts.information:.2f} nats about the images, as at the start ({facts.start_information:.2f})"
    return Verdict(
        "too early to say",
        title,
        f"After {_steps(facts.step)} the classes hold {reason}. This is no collapse yet, and no learning either.",
        "Train longer (optim.epochs); if it stays, lower objective.consistency_weight a little (it wins too early) or "
        "make the views milder (views.crop_scale).",
        _evidence(facts),
        facts.step,
    )


def _healthy(facts: _Facts) -> Verdict:
    used = f"{math.exp(facts.diversity):.1f} of {facts.num_classes} classes are in use"
    agree = "" if math.isnan(facts.agreement) else f", views agree in {facts.agreement:.0%} of the cases"
    floor = f" (its floor is {facts.floor:.2f})" if facts.floor >= 0.01 else ""
    completed = facts.end_reason == "completed"
    if completed:
        advice = "Nothing needs to change; look at the classes. A longer run (optim.epochs) may sharpen them further."
    else:
        advice = "Resume it." if facts.end_reason else "Let it go on."
    return Verdict(
        "healthy",
        "Healthy" if completed else "Healthy so far",
        f"In training batches the classes hold {facts.information:.2f} of at most {facts.best_information:.2f} nats "
        "about the images: "
        f"{used}{agree}, and a sample's entropy is {facts.sharpness:.2f} nats{floor}.",
        advice,
        _evidence(facts),
        facts.step,
    )


_RULES: tuple[Callable[[_Facts], Verdict | None], ...] = (
    _not_finite,
    _too_early,
    _uniform_collapse,
    _one_class_collapse,
    _partial_collapse,
    _inconsistent_views,
    _plateau,
    _healthy,
)


def _raise(weight: str, facts: _Facts) -> str:
    """Advice to raise a weight that is below the usual 1; empty when it is not."""
    value = getattr(facts.recipe.objective, weight)
    return f"Raise objective.{weight} from {value:g} toward 1." if value < 1 else ""


def _spread(facts: _Facts) -> str:
    """Advice for images that crowd into few classes, the likeliest cause first."""
    if facts.recipe.network.final_norm == "none":
        return "Set network.final_norm to batch: without it a class can win for all images."
    weight = facts.recipe.objective.diversity_weight
    return _raise("diversity_weight", facts) or (
        f"Raise objective.diversity_weight above {weight:g}, or raise optim.batch_size."
    )


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _evidence(facts: _Facts) -> tuple[Evidence, ...]:
    rows = [
        Evidence("train/mutual_information", facts.information, facts.best_information, "the most it can be"),
        Evidence("train/sharpness", facts.sharpness, facts.floor, "the least it can be"),
        Evidence("train/diversity", facts.diversity, facts.top, "the most it can be"),
        Evidence("train/consistency", facts.consistency, 1.0, "views disagree above"),
        Evidence("train/agreement", facts.agreement, 1 / facts.num_classes, "by chance"),
        Evidence("train/row_std", facts.row_std, 0.1, "flat distributions below"),
        Evidence("train/largest_class_share", facts.largest_share, 1 / facts.num_classes, "when balanced"),
    ]
    cap = bounds.log_classes(facts.num_classes)
    if "watch/mutual_information" in facts.watch:
        value = facts.watch["watch/mutual_information"]
        rows.append(Evidence("watch/mutual_information", value, cap, "the most it can be"))
    if "watch/dead_classes" in facts.watch:
        rows.append(Evidence("watch/dead_classes", facts.watch["watch/dead_classes"], 0.0, "all classes assigned"))
    return tuple(row for row in rows if not math.isnan(row.value))


# ---------------------------------------------------------------------------------------------------------------------
# Reading the record


def _gather(record: RunRecord) -> _Facts:
    table = record.metrics()
    step = int(table.index[-1]) if len(table) else 0
    # Collapse numbers are recorded more rarely than loss terms: an empty window falls back to the newest number.
    window = table[table.index > 0.9 * step]

    def median(name: str) -> float:
        if name not in table:
            return math.nan
        recent = window[name].dropna()
        if recent.empty:
            recent = table[name].dropna().tail(1)
        return float(recent.median()) if len(recent) else math.nan

    recipe = record.recipe
    start = record.last("start") or {}
    num_classes = recipe.network.num_classes
    batch_size = int(start.get("batch_size", recipe.optim.batch_size))
    objective = recipe.objective
    information = _column(table, "train/diversity") - _column(table, "train/sharpness")
    first = information[np.isfinite(information)][:3]
    return _Facts(
        step=step,
        total_steps=start.get("total_steps"),
        warmup_steps=recipe.optim.warmup_epochs * (record.steps_per_epoch or 0),
        end_reason=_end_reason(record),
        recipe=recipe,
        num_classes=num_classes,
        batch_size=batch_size,
        top=bounds.marginal_entropy_top(num_classes, objective.eps),
        cap=bounds.mutual_information_cap(batch_size, num_classes),
        floor=bounds.sharpness_floor(num_classes, objective.temperature, recipe.network.final_norm),
        consistency=median("train/consistency"),
        sharpness=median("train/sharpness"),
        diversity=median("train/diversity"),
        start_information=float(np.median(first)) if len(first) else math.nan,
        agreement=median("train/agreement"),
        row_std=median("train/row_std"),
        live_classes=num_classes - median("train/dead_classes"),
        largest_share=median("train/largest_class_share"),
        watch=_numbers(record.last("snapshot")),
        nonfinite=_nonfinite(record),
    )


def _column(table: Any, name: str) -> np.ndarray:
    return table[name].to_numpy(float) if name in table else np.full(len(table), math.nan)


def _end_reason(record: RunRecord) -> str | None:
    newest = next((event for event in reversed(record.events) if event["kind"] in ("start", "end")), None)
    return newest["reason"] if newest is not None and newest["kind"] == "end" else None


def _numbers(event: dict[str, Any] | None) -> dict[str, float]:
    return {name: value for name, value in (event or {}).items() if name.startswith("watch/") and value is not None}


def _nonfinite(record: RunRecord) -> tuple[str, ...]:
    """Names of loss terms and watch numbers that are not finite in the newest lines that hold any."""
    losses = _newest(record, "metrics", LOSS_TERMS)
    watched = record.last("snapshot") or {}
    bad = [name for name in losses.get("nonfinite", ()) if name in LOSS_TERMS]
    return tuple(bad + [name for name in watched.get("nonfinite", ()) if name.startswith("watch/")])


def _newest(record: RunRecord, kind: str, names: Iterable[str]) -> dict[str, Any]:
    wanted = set(names)
    return next((e for e in reversed(record.events) if e["kind"] == kind and wanted & e.keys()), {})
