"""Commands that ask a model how good it is, and tables of what was found."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from twist.cli.command import INTERRUPTED, USER_ERROR, add_command, number_of, numbers_of, print_json
from twist.cli.interrupts import Interrupts
from twist.cli.line import Line
from twist.runs.config import ConfigError, DataConfig
from twist.runs.placeless import without_folders

if TYPE_CHECKING:
    from twist.runs.result_tables import Group
    from twist.runs.results import Result

_WIDTH = 118
_MOST_COLUMNS = 4
_DRAWN_EVERY_S = 0.1


def add_commands(commands: Any) -> None:
    """Add evaluate and results."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "ask a run, or any model, by kNN, linear probes, its classes, k-means, few labels",
    )
    evaluate.add_argument(
        "sources",
        nargs="*",
        default=["last"],
        metavar="SOURCE",
        help="a run (RUN, RUN@STEP), random:RUN (the same net untrained), a checkpoint file, timm:NAME, "
        "torchvision:NAME, pixels, or an .npz of features; several stand side by side; the newest run when left out",
    )
    evaluate.add_argument(
        "--protocol",
        metavar="NAME,…",
        help="knn, linear, linear-sgd, finetune, supervised, classes, kmeans; when left out: knn, linear, kmeans, and "
        "classes of what has some",
    )
    evaluate.add_argument(
        "--data", metavar="IMAGES", help="a named set, a folder or an .npz; what a run learned from when left out"
    )
    evaluate.add_argument(
        "--test",
        metavar="IMAGES",
        help="images that are asked about; when left out the test part of the data, or a fifth of it held out",
    )
    evaluate.add_argument(
        "--seeds", default="0", metavar="S,S,…", help="seeds of what is drawn by chance (default 0); three say more"
    )
    evaluate.add_argument(
        "--fraction", default="0.01", metavar="F", help="share of the known labels for finetune (default 0.01)"
    )
    evaluate.add_argument("--max-images", metavar="N", help="at most so many known images, and asked ones")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    results = add_command(commands, "results", _results, "show what evaluations found, models side by side")
    results.add_argument("sources", nargs="*", metavar="RUN", help="runs, or names of other models; all when left out")
    results.add_argument(
        "--mean", action="store_true", help="take runs that differ in their seed alone as one row, mean ± std"
    )
    results.add_argument(
        "--to", type=Path, metavar="FILE", help="write FILE.csv (every score in a row) or FILE.md (tables for a paper)"
    )
    results.add_argument("--force", action="store_true", help="replace the file of --to when it is there")


# ---------------------------------------------------------------------------------------------------------------------
# twist evaluate


def _evaluate(options: argparse.Namespace) -> int:
    seeds = numbers_of("--seeds", options.seeds)
    fraction = _share("--fraction", options.fraction)
    most = None if options.max_images is None else number_of("--max-images", options.max_images)
    _yield_to_trainers(options.sources)
    shared = {} if options.data else _shared_data(options.sources)
    line, problems = _Progress(), list[str]()
    found: list[Result] = []
    left_out: dict[str, dict[str, str]] = {}
    began = time.perf_counter()
    try:
        with Interrupts() as interrupts:  # an exception in the midst of an import would end the command uncleanly
            from twist.learn.evaluation.evaluate import evaluation
            from twist.learn.evaluation.protocols import check_protocols
        interrupts.raise_if_asked()
        check_protocols(options.protocol)
        for source in dict.fromkeys(options.sources):
            try:
                done = evaluation(
                    source,
                    options.protocol,
                    data=options.data or shared.get(source),
                    test=options.test,
                    seeds=seeds,
                    fraction=fraction,
                    max_images=most,
                    device=options.device,
                    on_progress=line.draw,
                    on_result=found.append,
                )
            except ConfigError as error:
                problems.append(str(error))
            else:
                left_out[source] = done.left_out
    except KeyboardInterrupt:
        line.clear()
        kept = f"{len(found)} results are recorded" if len(found) != 1 else "1 result is recorded"
        print(f"\nstopped; {kept}, and features that were whole are kept", file=sys.stderr)
        return INTERRUPTED
    line.clear()
    _print_groups(found)
    _print_rest(found, left_out, time.perf_counter() - began)
    for problem in problems:
        print(f"twist: {problem}", file=sys.stderr)
    print_json(
        options,
        {"results": [_as_json(result) for result in found], "left_out": left_out, "problems": problems},
    )
    return USER_ERROR if problems else 0


def _share(option: str, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ConfigError(f"{option} is {text!r}: give a share above 0 and at most 1, as in 0.01 or 10%")
    return share


def _yield_to_trainers(sources: list[str]) -> None:
    """Take the lowest place at the processor while one of these runs is being trained."""
    from twist.runs.folders import run_named
    from twist.runs.status import read_status

    for path in filter(None, map(run_named, sources)):
        status = read_status(path)
        if status.alive and hasattr(os, "nice"):
            os.nice(max(0, 15 - os.nice(0)))
            print(
                f"{path.name} is training (step {status.step:,}): the evaluation reads only, and gives way",
                file=sys.stderr,
            )
            return


def _shared_data(sources: list[str]) -> dict[str, DataConfig]:
    """For what is no run, the images of the first run beside it: so they can be compared."""
    from twist.runs.folders import run_named
    from twist.runs.record import RunRecord
    from twist.runs.store import RecordError

    paths = {source: run_named(source) for source in sources}
    first = next((path for path in paths.values() if path is not None), None)
    if first is None or None not in paths.values():
        return {}
    try:
        data = dataclasses.replace(RunRecord(first).recipe.data, download=False)
    except RecordError:
        return {}
    others = [source for source, path in paths.items() if path is None and not source.endswith(".npz")]
    if others:
        named = without_folders(data.source)
        print(f"{', '.join(others)}: asked about {named}, the images of {first.name}", file=sys.stderr)
    return dict.fromkeys(others, data)


class _Progress:
    """The line of an evaluation: what is under way, and how much of it is done."""

    def __init__(self) -> None:
        self._line, self._next = Line(), 0.0

    def draw(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next and 0 < done < total:
            return
        self._next = now + _DRAWN_EVERY_S
        self._line.draw(f"{what}: {done:,} of {total:,}" if total else f"{what} …")

    def clear(self) -> None:
        self._line.clear()


# ---------------------------------------------------------------------------------------------------------------------
# What a person reads


def _print_groups(results: list[Result], *, headlines: bool = False) -> None:
    from twist.runs.result_tables import groups, words

    for group in groups(results):
        print(f"\n  {group.data}\n")
        _print_table(group, headlines=headlines)
        print()
        for sentence in words(group.results):
            print(fill(sentence, _WIDTH, initial_indent="  · ", subsequent_indent="    "))


def _print_table(group: Group, *, headlines: bool) -> None:
    from twist.runs.result_tables import score_title, score_words, spell

    rows = group.rows(all_scores=not headlines)
    models = group.models
    cells = [
        [spell(found.scores[name]) if (found := group.one_of(model, (title, name))) else "–" for model in models]
        for title, name in rows
    ]
    first = max(9, *(len(title) for title, _ in rows))
    second = max(len(score_title(name)) for _, name in rows)
    widths = [max(len(model), *(len(row[k]) for row in cells)) for k, model in enumerate(models)]
    if len(models) > 1:
        heads = "  ".join(f"{model:>{width}}" for model, width in zip(models, widths, strict=True))
        print(f"  {'':<{first}}  {'':<{second}}  {heads}")
    else:
        widths = [max(len(row[0]) for row in cells)]
        print(f"  {models[0]}\n")
    before = ""
    for (title, name), row in zip(rows, cells, strict=True):
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        meaning = f"  {score_words(name)}" if len(models) == 1 else ""
        print(
            f"  {title if title != before else '':<{first}}  {score_title(name):<{second}}  {numbers}{meaning}".rstrip()
        )
        before = title


def _print_rest(found: list[Result], left_out: dict[str, dict[str, str]], seconds: float) -> None:
    for reasons in left_out.values():
        for name, reason in reasons.items():
            print(
                fill(
                    f"Not asked: {name}. {reason[0].upper()}{reason[1:]}.",
                    _WIDTH,
                    initial_indent="  · ",
                    subsequent_indent="    ",
                )
            )
    if not found:
        return
    features = {result.source: result.feature_seconds for result in found}
    spent = ", ".join(
        f"{name} {sum(r.seconds for r in found if r.protocol == name):.1f}"
        for name in dict.fromkeys(r.protocol for r in found)
    )
    print(f"\n  seconds  {seconds:.1f} in all: features {sum(features.values()):.1f}, {spent}")
    folders = dict.fromkeys(_shown_folder(result) for result in found if result.file is not None)
    print(f"  records  {len(found)} in {', '.join(folders)}; `twist results` shows them again\n")


def _shown_folder(result: Result) -> str:
    assert result.file is not None
    folder = result.file.parent
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _as_json(result: Result) -> dict[str, Any]:
    from twist.runs.results import result_bytes

    found = json.loads(result_bytes(result))
    means = {name: _finite(result.mean(name)) for name in result.scores}
    stds = {name: _finite(result.std(name)) for name in result.scores}
    return {**found, "mean": means, "std": stds, "run": result.run, "file": result.file.name if result.file else None}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


# ---------------------------------------------------------------------------------------------------------------------
# twist results


def _results(options: argparse.Namespace) -> int:
    from twist.runs.folders import runs_root
    from twist.runs.result_tables import markdown, over_runs, tidy
    from twist.runs.results import find_results

    if options.to is not None and options.to.suffix not in (".csv", ".md"):
        raise ConfigError(f"--to is {str(options.to)!r}: give a file that ends in .csv or .md")
    if options.to is not None and options.to.exists() and not options.force:
        raise ConfigError(f"{str(options.to)!r} exists already: name another file, or replace it with --force")
    found = find_results(*options.sources)
    shown = over_runs(found.newest) if options.mean else found.newest
    if options.to is not None:
        content = markdown(shown) if options.to.suffix == ".md" else tidy(shown).to_csv(index=False)
        try:
            options.to.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{str(options.to)!r} cannot be written ({error.strerror}): name another file") from None
        print(f"{len(shown)} results are in {options.to}")
    elif not shown:
        of = ", ".join(options.sources) or f"the runs in {runs_root()}"
        print(f"no result of {of} yet: ask with `twist evaluate {options.sources[0] if options.sources else 'RUN'}`")
    else:
        _print_wide(shown)
    for problem in (*found.problems, *found.disagreements):
        print(f"twist: warning: {problem}", file=sys.stderr)
    facts = {"results": [_as_json(result) for result in shown], "problems": found.problems}
    return print_json(options, {**facts, "disagreements": found.disagreements})


def _print_wide(results: list[Result]) -> None:
    from twist.runs.result_tables import groups, side_by_side

    for group in groups(results):
        print(f"\n  {group.data}\n")
        if len(group.models) <= _MOST_COLUMNS:
            _print_table(group, headlines=True)
            continue
        table = side_by_side(group, count=False)
        lines = table.rename_axis(None).to_string(justify="right").splitlines()
        print("\n".join(f"  {line}".rstrip() for line in lines))
    print("\n  Shares from 0 to 1. Every score and setting: --to FILE.csv, or --json; in words: `twist report RUN`.\n")
