"""Commands that train many runs: a sweep over numbers of classes, and the zoo of ways to fail."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING, Any

from twist.cli.command import (
    FAILED,
    INTERRUPTED,
    add_changes,
    add_command,
    changes_of,
    number_of,
    numbers_of,
    print_json,
)
from twist.cli.line import Line

if TYPE_CHECKING:
    import pandas as pd


def add_commands(commands: Any) -> None:
    """Add sweep and zoo."""
    sweep = add_command(commands, "sweep", _sweep, "train with several numbers of classes, and recommend one")
    sweep.add_argument("recipe", help="name of a recipe (see `twist recipes`), or the path of images")
    sweep.add_argument("--classes", required=True, metavar="C,C,…", help="numbers of classes, as in 5,10,20,50,100")
    sweep.add_argument("--seeds", default="0,1", metavar="S,S,…", help="seeds for each; three say more (default 0,1)")
    add_changes(sweep)
    sweep.add_argument("--name", help="first part of the runs' names; the recipe's name when left out")
    zoo = add_command(commands, "zoo", _zoo, "train the zoo of ways to fail, and count how often the verdict is right")
    zoo.add_argument("--seeds", default="0", metavar="S,S,…", help="seeds for each setting (default 0)")
    zoo.add_argument("--only", metavar="NAME,…", help="names of settings; all when left out")
    zoo.add_argument(
        "--download",
        action="store_true",
        help="fetch Fashion-MNIST where it is missing; else its settings are left out",
    )
    for command in (sweep, zoo):
        command.add_argument(
            "--jobs", metavar="N", help="runs at a time; one for each core when left out, one on a GPU"
        )


def _sweep(options: argparse.Namespace) -> int:
    from twist.runs.choose_classes import sweep_classes
    from twist.runs.handle import TrainingFailed

    classes, seeds = numbers_of("--classes", options.classes), numbers_of("--seeds", options.seeds)
    line = Line()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            sweep = sweep_classes(
                options.recipe,
                classes,
                seeds=seeds,
                changes=changes_of(options.changes),
                name=options.name,
                jobs=_jobs(options),
                on_done=lambda run: line.say(f"{run.name}: {run.status}"),
                on_progress=line.draw,
            )
    except KeyboardInterrupt:
        line.clear()
        print("the sweep is stopped; the same command goes on with it", file=sys.stderr)
        return INTERRUPTED
    except TrainingFailed as error:
        line.clear()
        print(f"twist: {error}", file=sys.stderr)
        return FAILED
    line.clear()
    for message in dict.fromkeys(str(warning.message) for warning in said):  # each number of classes says its own
        print(f"twist: warning: {message}", file=sys.stderr)
    print(f"\n{_shown(sweep.table())}\n")
    print("  Entropies H and information I of the watch images, in nats; of max: I as a share of log min(images, C).")
    print("  The score, 0 to 1, needs no labels.")
    if "nmi" in sweep.table():
        print("  * against the labels: for information only, the recommendation does not look at them.")
    print(f"\n  {sweep.sentence}")
    for caveat in sweep.caveats:
        print(f"  {caveat}")
    print()
    return print_json(options, sweep.as_json())


def _jobs(options: argparse.Namespace) -> int | None:
    return None if options.jobs is None else number_of("--jobs", options.jobs)


def _shown(table: pd.DataFrame) -> str:
    """The sweep's table for a terminal: short names with units, two or three digits."""
    table = table.reset_index()
    names = {name: title for name, title in _COLUMNS.items() if name in table}
    shown = table[list(names)].rename(columns=names)
    lines = shown.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="–").splitlines()
    return "\n".join(f"  {line}" for line in lines)


_COLUMNS = {
    "num_classes": "C",
    "seeds": "seeds",
    "conditional_entropy": "H(Y|X)",
    "marginal_entropy": "H(Y)",
    "mutual_information": "I",
    "attained": "of max",
    "class_perplexity": "perplexity",
    "classes_in_use": "in use",
    "stability": "stability",
    "agreement": "views agree",
    "score": "score",
    "score_low": "low",
    "score_high": "high",
    "verdict": "verdict",
    "nmi": "NMI*",
    "matched_accuracy": "matched*",
}


def _zoo(options: argparse.Namespace) -> int:
    seeds, jobs = numbers_of("--seeds", options.seeds), _jobs(options)
    only = None if options.only is None else [name.strip() for name in options.only.split(",")]
    from twist.runs.zoo import run_zoo

    line = Line()
    try:
        result = run_zoo(
            seeds, only=only, jobs=jobs, download=options.download, on_done=line.say, on_progress=line.draw
        )
    except KeyboardInterrupt:
        line.clear()
        print("the zoo is stopped; the same command goes on with it", file=sys.stderr)
        return INTERRUPTED
    line.clear()
    print(result.table())
    return print_json(options, result.as_json())
