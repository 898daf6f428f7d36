"""How many classes: one recipe with several numbers of classes and seeds, compared without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from twist.runs import bounds
from twist.runs.clustering import scores_of
from twist.runs.config import ConfigError, Recipe, with_fields
from twist.runs.handle import Run
from twist.runs.recipes import recipe as recipe_named
from twist.runs.record import RunRecord
from twist.runs.reproducible import Pair, Reproduced, pair_of, reproduced, resampled_scores
from twist.runs.sweep import run_many
from twist.runs.verdict import ALARMS

if TYPE_CHECKING:
    import pandas as pd

#: A class is in use when it takes at least this share of what it would take if all were even.
IN_USE = 0.1
#: A choice can be told apart from the best when it is as good in less than this share of the draws.
LEVEL = 0.05
#: With less of what classes say said again, they are taken for accidents of the training.
LEAST_STABILITY = 0.1


class ClassCount(NamedTuple):
    """What a number of classes came to: means over the seeds whose runs are complete; NaN where there is nothing.

    Attributes
    ----------
    num_classes
        C.
    seeds
        How many of its runs are complete.
    conditional_entropy, marginal_entropy, mutual_information
        H(Y|X), H(Y) and I of the watch images, nats.
    attained
        Mutual information as a share of the most that M watch images and C classes can have, log min(M, C). The batch
        caps what is learned, not this; nor does the final norm's floor of sharpness lift H(Y|X) here, for single images
        go through running statistics.
    class_perplexity
        exp H(Y), classes in use; at most C.
    classes_in_use
        Classes that take at least a tenth of an even share of the watch images.
    stability
        Adjusted mutual information of two trainings' assignments; 1 is perfect, 0 is chance.
    shared
        Mutual information of the same two, less chance, nats.
    agreement
        Share of training images whose two views fall into one class.
    verdict
        Kinds of the verdicts on its runs.
    score, score_low, score_high
        `reproducibility_scores` and the range of nine in ten draws of the bootstrap.
    matched_accuracy, nmi
        Agreement with the labels; for information only, they decide nothing.
    """

    num_classes: int
    seeds: int
    conditional_entropy: float
    marginal_entropy: float
    mutual_information: float
    attained: float
    class_perplexity: float
    classes_in_use: float
    stability: float
    shared: float
    agreement: float
    verdict: str
    score: float
    score_low: float
    score_high: float
    matched_accuracy: float
    nmi: float


class ClassSweep(NamedTuple):
    """Several numbers of classes compared.

    Attributes
    ----------
    rows
        One for each number of classes, ascending.
    recommended
        The number of classes with the best score among those of whose runs no verdict is an alarm, or None when none
        deserves it.
    alike
        Numbers of classes that cannot be told apart from it, itself included.
    sentence
        The recommendation and its uncertainty.
    caveats
        What the score does not know, one sentence each.
    runs
        Names of the runs behind it.
    """

    rows: tuple[ClassCount, ...]
    recommended: int | None
    alike: tuple[int, ...]
    sentence: str
    caveats: tuple[str, ...]
    runs: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """The rows as a table indexed by the number of classes; columns of labels only where there are any."""
        import pandas as pd

        table = pd.DataFrame(self.rows).set_index("num_classes")
        return table.drop(columns=[name for name in ("matched_accuracy", "nmi") if table[name].isna().all()])

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values; what is not a number is None."""
        rows = [{name: _plain(value) for name, value in row._asdict().items()} for row in self.rows]
        return {**self._asdict(), "rows": rows}


def sweep_classes(
    recipe: str | Recipe,
    classes: Sequence[int],
    *,
    seeds: Sequence[int] = (0, 1),
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
    jobs: int | None = None,
    on_done: Callable[[Run], Any] | None = None,
    on_progress: Callable[[str], Any] | None = None,
) -> ClassSweep:
    """Train a recipe with several numbers of classes and seeds, and recommend a number, without labels.

    The same call again takes the runs that are there, goes on with those that were cut, and compares anew.

    Parameters
    ----------
    recipe
        Name of a recipe, path of images, or a `Recipe`.
    classes
        Numbers of classes, each 2 or more.
    seeds
        Seeds for each. With one, the middle of its training stands for another seed.
    changes
        Fields to change, by dotted name.
    name
        First part of the runs' names; the recipe's name when left out.
    jobs, on_done, on_progress
        As in `run_many`.

    Raises
    ------
    ConfigError
        For numbers of classes or seeds that cannot be, and as `run_many`; also when every run failed, with the reason
        of the first.

    Examples
    --------
    ::

        sweep = twist.sweep_classes("digits", [5, 10, 20], seeds=[0, 1, 2])
        sweep.table()
        print(sweep.sentence)
    """
    for what, values, least in (("classes", classes, 2), ("seeds", seeds, 0)):
        _check_numbers(what, values, least)
    base = recipe_named(recipe) if isinstance(recipe, str) else recipe
    for field in ("network.num_classes", "seed"):
        if field in (changes or {}):
            raise ConfigError(f"{field} is what a sweep varies: leave it to classes and seeds")
    base = with_fields(base, dict(changes or {}))
    cells = [(count, seed) for count in sorted(classes) for seed in seeds]
    runs = run_many(
        [base.replace(network__num_classes=count, seed=seed) for count, seed in cells],
        names=[f"{name or base.name}-classes{count}-seed{seed}" for count, seed in cells],
        jobs=jobs,
        on_done=on_done,
        on_progress=on_progress,
    )
    return compare_classes(runs)


def _check_numbers(what: str, values: Sequence[int], least: int) -> None:
    if not values:
        raise ConfigError(f"no {what} are given: give whole numbers from {least}, as in 5,10,20")
    for value in values:
        if value < least:
            raise ConfigError(f"{what} has {value}: give whole numbers from {least}")
        if list(values).count(value) > 1:
            raise ConfigError(f"{what} has {value} twice: give each number once")


def compare_classes(runs: Sequence[Run]) -> ClassSweep:
    """Compare runs of one recipe that differ in seed and number of classes alone, and recommend a number.

    Raises
    ------
    ConfigError, TrainingFailed
        When none of them is complete: the reason of the first.
    """
    if not any(_complete(runs)):
        runs[0].wait()  # raises its failure
        raise ConfigError(f"run {runs[0].name} is {runs[0].status}: start the sweep again to finish it")
    for run in runs:
        run.record.poll()
    counts = sorted({run.recipe.network.num_classes for run in runs})
    groups = {count: [run for run in runs if run.recipe.network.num_classes == count] for count in counts}
    one_seed = len({run.recipe.seed for run in runs}) == 1
    pairs = {count: _pairs([run.record for run in _complete(group)], one_seed) for count, group in groups.items()}
    draws = _draws({count: found for count, found in pairs.items() if found})
    rows = tuple(_row(count, groups[count], pairs[count], draws.get(count)) for count in counts)
    standing = [row for row in rows if not math.isnan(row.score) and not _alarms(row)]
    best = max(standing, key=lambda row: row.score, default=None)
    alike: tuple[int, ...] = ()
    if best is not None and best.stability >= LEAST_STABILITY:
        top = draws[best.num_classes]
        alike = tuple(row.num_classes for row in standing if (draws[row.num_classes] >= top).mean() >= LEVEL)
    num_pairs = max(len(found) for found in pairs.values())
    return ClassSweep(
        rows=rows,
        recommended=best.num_classes if best is not None and alike else None,
        alike=alike,
        sentence=_sentence(rows, standing, best, alike, one_seed, num_pairs),
        caveats=_caveats(rows, alike, one_seed, num_pairs),
        runs=tuple(run.name for run in runs),
    )


def _alarms(row: ClassCount) -> bool:
    """Whether the verdict on any of its runs is an alarm."""
    return not ALARMS.isdisjoint(row.verdict.split(", "))


def _complete(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.status.state == "COMPLETED"]


def _draws(pairs: Mapping[int, Sequence[Pair]]) -> dict[int, np.ndarray]:
    """Scores of each number of classes as other images and other seeds would give them; their mean is the score."""
    return dict(zip(pairs, resampled_scores(list(pairs.values())).T, strict=True)) if pairs else {}


def _pairs(records: Sequence[RunRecord], one_seed: bool) -> list[Pair]:
    """Every two seeds of one number of classes; for a single seed, two epochs of its training."""
    if one_seed:
        return [_two_epochs(record) for record in records if len(record.epoch_numbers()) > 1]
    ends = [record.snapshot().assignment for record in records]
    return [pair_of(first, second) for i, first in enumerate(ends) for second in ends[:i]]


def _two_epochs(record: RunRecord) -> Pair:
    """The classes of every image in the last epoch and in the middle one.

    Not of the watch images: one network gives an image that is not augmented the same class again at any number of
    classes, and more classes than there is reason for would look good. In training each epoch shows another view.
    """
    epochs = record.epoch_numbers()
    middle = min(epochs[:-1], key=lambda epoch: abs(epoch - epochs[-1] / 2))
    first, second = (record.epoch_samples(epoch)["assignment"] for epoch in (middle, epochs[-1]))
    seen = (first >= 0) & (second >= 0)
    return pair_of(first[seen], second[seen])


def _row(count: int, runs: Sequence[Run], pairs: Sequence[Pair], draws: np.ndarray | None) -> ClassCount:
    watched = [_watched(run) for run in _complete(runs)]
    found = Reproduced(*np.mean([reproduced(pair) for pair in pairs], 0)) if pairs else None
    return ClassCount(
        num_classes=count,
        seeds=len(watched),
        stability=float(found.stability) if found else math.nan,
        shared=float(found.shared) if found else math.nan,
        verdict=", ".join(sorted({run.verdict.kind for run in runs})),
        score=math.nan if draws is None else float(draws.mean()),
        score_low=math.nan if draws is None else float(np.quantile(draws, 0.05)),
        score_high=math.nan if draws is None else float(np.quantile(draws, 0.95)),
        **{name: float(np.mean([numbers[name] for numbers in watched])) if watched else math.nan for name in _WATCHED},
    )


_WATCHED = (
    "conditional_entropy",
    "marginal_entropy",
    "mutual_information",
    "attained",
    "class_perplexity",
    "classes_in_use",
    "agreement",
    "matched_accuracy",
    "nmi",
)


def _watched(run: Run) -> dict[str, float]:
    """The numbers of one run's end, by the names of `_WATCHED`."""
    summary, snapshot, metrics = run.record.last("snapshot") or {}, run.record.snapshot(), run.metrics
    named = {name: summary.get(f"watch/{name}", math.nan) for name in _WATCHED[:3] + ("class_perplexity",)}
    cap = bounds.mutual_information_cap(len(snapshot.assignment), snapshot.num_classes)
    agreement = metrics["train/agreement"].dropna().to_numpy() if "train/agreement" in metrics else np.empty(0)
    scores = scores_of(run.record)
    return named | {
        "attained": named["mutual_information"] / cap,
        "classes_in_use": float((snapshot.class_usage >= IN_USE / snapshot.num_classes).sum()),
        "agreement": float(agreement[-1]) if len(agreement) else math.nan,
        "matched_accuracy": scores.matched_accuracy if scores else math.nan,
        "nmi": scores.nmi if scores else math.nan,
    }


def _sentence(
    rows: Sequence[ClassCount],
    standing: Sequence[ClassCount],
    best: ClassCount | None,
    alike: Sequence[int],
    one_seed: bool,
    num_pairs: int,
) -> str:
    other = "of another view, half-way through the training" if one_seed else "with another seed"
    if best is None:
        return (
            "No number of classes can be recommended: none has runs to compare that are complete, with no alarm among "
            "their verdicts."
        )
    if not alike:
        return (
            f"No number of classes can be recommended: at best {best.stability:.0%} of what the classes say about an "
            f"image is said again {other}, so they are accidents of the training. Train longer (optim.epochs)."
        )
    most = max(row.shared for row in rows if not math.isnan(row.shared))
    text = (
        f"{best.num_classes} classes: {best.stability:.0%} of what they say about an image is said again {other}, "
        f"{best.shared:.2f} nats of at most {most:.2f} for any number tried."
    )
    others = [count for count in alike if count != best.num_classes]
    if others:
        return f"{text} Nearly as good, and not to be told apart from it: {_listed(others)}."
    beaten = [row.num_classes for row in standing if row is not best]
    if not beaten:
        return text
    resampled = "images" if num_pairs == 1 else "images and seeds"
    against = ("each of " if len(beaten) > 1 else "") + _listed(beaten)
    return f"{text} Against {against} it is better in at least {1 - LEVEL:.0%} of the draws of other {resampled}."


def _listed(counts: Sequence[int]) -> str:
    return " and ".join(str(count) for count in counts)


def _caveats(rows: Sequence[ClassCount], alike: Sequence[int], one_seed: bool, num_pairs: int) -> tuple[str, ...]:
    said = ["The score knows what training repeats, not what you want told apart; a shortcut is repeated too."]
    if one_seed:
        said.append("One seed: the middle of its training stood for another seed; two seeds or more say it better.")
    elif num_pairs == 1:
        said.append(
            "Two seeds make one pair: the range holds what other images would change, not what other seeds would."
        )
    if len(rows) > 1 and rows[0].num_classes in alike:
        said.append(f"{rows[0].num_classes} is the smallest number tried: try smaller ones too.")
    if len(rows) > 1 and rows[-1].num_classes in alike:
        said.append(f"{rows[-1].num_classes} is the largest number tried: try larger ones too.")
    for row in rows:
        if row.num_classes in alike and row.verdict != "healthy":
            said.append(f"The verdict at {row.num_classes} classes is {row.verdict}: `twist verdict` says what to do.")
        if math.isnan(row.score):
            said.append(f"{row.num_classes} classes could not be compared: {row.seeds} of its runs are complete.")
        elif _alarms(row):
            said.append(f"{row.num_classes} classes are not recommended whatever their score: {row.verdict}.")
    return tuple(said)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
