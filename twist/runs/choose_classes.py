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
from twist.runs.reproducible import Pair, measured_scores, pair_of, reproduced, resampled_scores
from twist.runs.sweep import run_many

if TYPE_CHECKING:
    import pandas as pd

#: A class is in use when it takes at least this share of what it would take if all were even.
IN_USE = 0.1
#: A choice can be told apart from the best when it wins in less than this share of the draws.
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
        Mutual information as a share of the most it can be, log min(batch, C).
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
        The number of classes with the best score, or None when none deserves it.
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
        Seeds for each. With one, the middle of the training stands for another seed: it flatters.
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
    complete = [run for run in runs if run.status.state == "COMPLETED"]
    if not complete:
        runs[0].wait()  # raises its failure
        raise ConfigError(f"run {runs[0].name} is {runs[0].status}: start the sweep again to finish it")
    for run in complete:
        run.record.poll()
    counts = sorted({run.recipe.network.num_classes for run in runs})
    grouped = {count: [run for run in complete if run.recipe.network.num_classes == count] for count in counts}
    one_seed = len({run.recipe.seed for run in runs}) == 1
    pairs = {count: _pairs([run.record for run in group], one_seed) for count, group in grouped.items()}
    scored = [count for count in counts if pairs[count]]
    scores = measured_scores([pairs[count] for count in scored])
    draws = resampled_scores([pairs[count] for count in scored]) if scored else np.empty((1, 0))
    ranges = dict(zip(scored, zip(scores, *np.quantile(draws, (0.05, 0.95), axis=0), strict=True), strict=True))
    rows = tuple(_row(count, _of_count(count, runs), pairs[count], ranges.get(count)) for count in counts)
    best = int(np.argmax(scores)) if scored else None
    recommended = None if best is None else scored[best]
    alike: tuple[int, ...] = ()
    if best is not None:
        wins = (draws >= draws[:, [best]]).mean(0)
        alike = tuple(count for count, share in zip(scored, wins, strict=True) if share >= LEVEL)
    chosen = next((row for row in rows if row.num_classes == recommended), None)
    if chosen is not None and not chosen.stability >= LEAST_STABILITY:
        recommended, alike = None, ()
    return ClassSweep(
        rows=rows,
        recommended=recommended,
        alike=alike,
        sentence=_sentence(rows, chosen, alike, one_seed),
        caveats=_caveats(rows, recommended, alike, one_seed, max(map(len, pairs.values()))),
        runs=tuple(run.name for run in runs),
    )


def _of_count(count: int, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.recipe.network.num_classes == count]


def _pairs(records: Sequence[RunRecord], one_seed: bool) -> list[Pair]:
    """Every two seeds of one number of classes; for a single seed, its middle and its end."""
    if one_seed:
        return [_middle_and_end(record) for record in records if len(record.snapshot_steps()) > 1]
    ends = [record.snapshot().assignment for record in records]
    return [pair_of(first, second) for i, first in enumerate(ends) for second in ends[:i]]


def _middle_and_end(record: RunRecord) -> Pair:
    steps = record.snapshot_steps()
    middle = min(steps[:-1], key=lambda step: abs(step - steps[-1] / 2))
    return pair_of(record.snapshot(middle).assignment, record.snapshot().assignment)


def _row(count: int, runs: Sequence[Run], pairs: Sequence[Pair], scores: tuple[float, ...] | None) -> ClassCount:
    complete = [run for run in runs if run.status.state == "COMPLETED"]
    watched = [_watched(run) for run in complete]
    shared, said = np.mean([reproduced(pair) for pair in pairs], 0) if pairs else (math.nan, math.nan)
    score, low, high = scores or (math.nan,) * 3
    for run in runs:
        run.record.poll()
    return ClassCount(
        num_classes=count,
        seeds=len(complete),
        stability=shared / said if said > 1e-12 else math.nan if math.isnan(said) else 0.0,
        shared=shared,
        verdict=", ".join(sorted({run.verdict.kind for run in runs})),
        score=score,
        score_low=low,
        score_high=high,
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
    cap = bounds.mutual_information_cap(run.recipe.optim.batch_size, snapshot.num_classes)
    agreement = metrics["train/agreement"].dropna().to_numpy() if "train/agreement" in metrics else np.empty(0)
    scores = scores_of(run.record)
    return named | {
        "attained": named["mutual_information"] / cap,
        "classes_in_use": float((snapshot.class_usage >= IN_USE / snapshot.num_classes).sum()),
        "agreement": float(agreement[-1]) if len(agreement) else math.nan,
        "matched_accuracy": scores.matched_accuracy if scores else math.nan,
        "nmi": scores.nmi if scores else math.nan,
    }


def _sentence(rows: Sequence[ClassCount], chosen: ClassCount | None, alike: Sequence[int], one_seed: bool) -> str:
    other = "half-way through the training" if one_seed else "with another seed"
    if chosen is None:
        return "No number of classes can be recommended: none has two complete runs to compare."
    if not alike:
        return (
            f"No number of classes can be recommended: at best {chosen.stability:.0%} of what the classes say about an "
            f"image is said again {other}, so they are accidents of the training. Train longer (optim.epochs)."
        )
    most = max(row.shared for row in rows if not math.isnan(row.shared))
    text = (
        f"{chosen.num_classes} classes: {chosen.stability:.0%} of what they say about an image is said again {other}, "
        f"{chosen.shared:.2f} nats of at most {most:.2f} for any number tried."
    )
    others = [str(count) for count in alike if count != chosen.num_classes]
    if others:
        return f"{text} {' and '.join(others)} cannot be told apart from it."
    return f"{text} No other number tried comes near enough to be as good."


def _caveats(
    rows: Sequence[ClassCount], recommended: int | None, alike: Sequence[int], one_seed: bool, num_pairs: int
) -> tuple[str, ...]:
    said = ["The score knows what training repeats, not what you want told apart; a shortcut is repeated too."]
    if one_seed:
        said.append("One seed: the middle of its training stood for another seed, which flatters; give two or more.")
    elif num_pairs == 1:
        said.append("Two seeds make one pair: how much another pair would differ is not in the range; give three.")
    if recommended is not None and len(rows) > 1 and recommended in (rows[0].num_classes, rows[-1].num_classes):
        side = "smallest" if recommended == rows[0].num_classes else "largest"
        said.append(f"It is the {side} number tried: try {'smaller' if side == 'smallest' else 'larger'} ones too.")
    for row in rows:
        if row.num_classes in alike and row.verdict != "healthy":
            said.append(f"The verdict at {row.num_classes} classes is {row.verdict}: `twist verdict` says what to do.")
        if math.isnan(row.score):
            said.append(f"{row.num_classes} classes could not be compared: {row.seeds} of its runs are complete.")
    return tuple(said)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
