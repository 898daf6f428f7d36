"""Commands that keep runs in order, and hold them against each other."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from typing import Any

from twist.cli.command import add_changes, add_command, add_run, changes_of, number_of, print_json
from twist.cli.interrupts import Interrupts
from twist.cli.training import follow
from twist.runs.config import ConfigError

MOST_COMPARED = 6


def add_commands(commands: Any) -> None:
    """Add rename, tag, delete, thin, disk, fork and compare."""
    rename = add_command(commands, "rename", _rename, "give a run another name")
    rename.add_argument("run", help="name or path of a run")
    rename.add_argument("name", help="its new name")
    tag = add_command(commands, "tag", _tag, "give a run tags, or take some away; without any, print those it has")
    tag.add_argument("run", help="name or path of a run")
    tag.add_argument("tags", nargs="*", metavar="TAG", help="words of your own, up to 40 characters")
    tag.add_argument("--remove", action="append", default=[], metavar="TAG", help="tag to take away; may be repeated")
    delete = add_command(commands, "delete", _delete, "delete a run and all that it holds, for good")
    delete.add_argument("run", help="name or path of a run")
    delete.add_argument("--yes", action="store_true", help="do not ask for the name to confirm")
    thin = add_command(commands, "thin", _thin, "take old checkpoints and snapshots of a run away, by a rule it prints")
    thin.add_argument("run", help="name or path of a run")
    thin.add_argument("--checkpoints", default="2", metavar="N", help="newest checkpoints that stay (default 2)")
    thin.add_argument("--snapshots", default="4", metavar="N", help="newest snapshots that stay (default 4)")
    thin.add_argument("--features", action="store_true", help="take cached features too: evaluating makes them again")
    thin.add_argument("--dry-run", action="store_true", help="say what would go, and do nothing")
    thin.add_argument("--yes", action="store_true", help="do not ask first")
    disk = add_command(commands, "disk", _disk, "show what runs take on the disk, the largest first")
    disk.add_argument("run", nargs="?", help="name or path of a run; all when left out")
    fork = add_command(commands, "fork", _fork, "go on from a checkpoint of a run in a new one, with fields changed")
    add_run(fork)
    fork.add_argument("--step", metavar="N", help="step of the checkpoint; the newest sound one when left out")
    fork.add_argument("--name", help="name of the new run; made from the other's when left out")
    add_changes(fork)
    fork.add_argument("--detach", action="store_true", help="return at once; the run goes on in the background")
    fork.add_argument("--report", action="store_true", help="write a report at the end")
    compare = add_command(
        commands, "compare", _compare, "show where runs differ: recipes, scores, classes of the images"
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="names or paths of two to six runs")


def _rename(options: argparse.Namespace) -> int:
    from twist.runs.folders import find_run
    from twist.runs.keeping import rename

    path = find_run(options.run)
    moved = rename(path, options.name)
    print(f"{path.name} is now {moved.name}")
    return print_json(options, {"run": moved.name, "before": path.name, "path": str(moved)})


def _tag(options: argparse.Namespace) -> int:
    from twist.runs import keeping
    from twist.runs.folders import find_run

    path = find_run(options.run)
    tags = keeping.tags_of(path)
    if options.tags or options.remove:
        tags = keeping.tag(path, *options.tags, without=options.remove)
    print(f"{path.name}: {', '.join(tags) if tags else 'no tags'}")
    return print_json(options, {"run": path.name, "tags": list(tags)})


def _delete(options: argparse.Namespace) -> int:
    from twist.runs.folders import find_run
    from twist.runs.keeping import delete
    from twist.runs.results import EVALUATIONS, read_results
    from twist.runs.thinning import disk_use, spell_bytes

    path = find_run(options.run)
    if path.name != options.run.rstrip("/").rpartition("/")[2]:
        raise ConfigError(f"{options.run!r} names no run to delete: say which, as in `twist delete {path.name}`")
    use, confirm = disk_use(path), path.name
    if not options.yes:
        count = len(read_results(path / EVALUATIONS).results)
        of = "1 result of an evaluation" if count == 1 else f"{count:,} results of evaluations"
        found = f" and holds {of}" if count else ""
        question = f"{path.name} takes {spell_bytes(use.total)}{found}; deleting it is for good. "
        question += "Type its name to confirm: "
        confirm = _answer(question)
    delete(path, confirm=confirm)
    print(f"{path.name} is deleted, {spell_bytes(use.total)} are free")
    return print_json(options, {"run": path.name, "deleted": True, "bytes": use.total})


def _thin(options: argparse.Namespace) -> int:
    from twist.runs.folders import find_run
    from twist.runs.thinning import plan_thinning, spell_bytes, thin

    plan = plan_thinning(
        find_run(options.run),
        checkpoints=number_of("--checkpoints", options.checkpoints),
        snapshots=number_of("--snapshots", options.snapshots),
        features=options.features,
    )
    print(f"{plan.rule}\n{plan.sentence}")
    facts = {"run": plan.path.name, "rule": plan.rule, "bytes": plan.bytes}
    facts |= {name: list(getattr(plan, name)) for name in ("checkpoints", "snapshots")}
    facts |= {f"kept_{name}": list(getattr(plan, f"kept_{name}")) for name in ("checkpoints", "snapshots")}
    facts["features"] = len(plan.features)
    if options.dry_run or plan.empty:
        return print_json(options, {**facts, "done": False})
    if not options.yes and _answer("Do it? Type yes: ").lower() not in ("y", "yes"):
        raise ConfigError(f"{plan.path.name} is left as it is: answer yes, or give --yes")
    freed = thin(plan)
    print(f"{spell_bytes(freed)} are free")
    return print_json(options, {**facts, "done": True, "freed": freed})


def _answer(question: str) -> str:
    """What a person types; nothing where nobody is there to type."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _disk(options: argparse.Namespace) -> int:
    from twist.runs.folders import find_run, run_paths, runs_root
    from twist.runs.thinning import DiskUse, disk_use, spell_bytes

    paths = run_paths() if options.run is None else [find_run(options.run)]
    used = sorted(((disk_use(path), path.name) for path in paths), key=lambda pair: -pair[0].total)
    if not used:
        print(f"no run in {runs_root()} yet: start one with `twist train digits`")
    else:
        width = max(5, *(len(name) for _, name in used))
        print(f"{'run':<{width}} {'total':>9} " + " ".join(f"{part:>11}" for part in DiskUse._fields))
        whole = (DiskUse(*map(sum, zip(*(use for use, _ in used), strict=True))), "total")
        for use, name in [*used, whole] if len(used) > 1 else used:
            parts = " ".join(f"{spell_bytes(count):>11}" for count in use)
            print(f"{name:<{width}} {spell_bytes(use.total):>9} {parts}")
    runs = [{"run": name, "total": use.total, **use._asdict()} for use, name in used]
    return print_json(options, {"runs": runs, "total": sum(use.total for use, _ in used)})


def _fork(options: argparse.Namespace) -> int:
    from twist.runs.forking import prepare_fork
    from twist.runs.handle import Run, start

    step = None if options.step is None else number_of("--step", options.step)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = prepare_fork(options.run, step, options.name, changes_of(options.changes))
    for warning in said:
        print(f"twist: warning: {warning.message}", file=sys.stderr)
    with Interrupts() as interrupts:
        start(path)
        return follow(Run(path), options, interrupts)


def _compare(options: argparse.Namespace) -> int:
    from twist.runs.comparison import compare, recipe_differences
    from twist.runs.folders import find_run
    from twist.runs.listing import row_of
    from twist.runs.record import RunRecord
    from twist.runs.store import RecordError

    paths = [find_run(name) for name in options.runs]
    twice = next((path.name for place, path in enumerate(paths) if path in paths[:place]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is given twice: compare it with another run")
    if not 2 <= len(paths) <= MOST_COMPARED:
        given = f"{len(paths)} runs are given" if len(paths) > 1 else "one run is given"
        raise ConfigError(f"{given}: compare two to {MOST_COMPARED}")
    records = [RunRecord(path) for path in paths]
    for record in records:
        record.poll()
    rows = [row_of(path) for path in paths]
    found = recipe_differences([record.recipe for record in records])
    _print_rows(rows)
    _print_differences([path.name for path in paths], found)
    pairs: list[dict[str, Any]] = []
    problems = []
    for record in records[1:]:
        try:
            pair, _ = compare(records[0], record)
        except RecordError as error:
            problems.append(str(error))
            print(f"\n  {error}")
            continue
        print(f"\n  {pair.names[0]} and {pair.names[1]}: {pair.sentence}\n  {pair.images.sentence}")
        pairs.append(
            {
                "runs": list(pair.names),
                "steps": list(pair.steps),
                "images": len(pair.images.first),
                "agreement": pair.agreement,
                "nmi": pair.nmi,
                "ari": pair.ari,
                "partners": pair.partner.tolist(),
            }
        )
    print()
    fields = {difference.field: list(difference.values) for difference in found}
    facts = [{"run": row.name, **{name: getattr(row, name) for name in _FACTS}, "tags": list(row.tags)} for row in rows]
    return print_json(options, {"runs": facts, "differences": fields, "pairs": pairs, "problems": problems})


_FACTS = ("state", "step", "recipe", "verdict", "matched_accuracy", "nmi", "information", "seconds", "bytes")


def _print_rows(rows: list[Any]) -> None:
    from twist.runs.thinning import spell_bytes

    def number(value: float | None, digits: int = 3) -> str:
        return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"

    width = max(len(row.name) for row in rows)
    heads = f"{'steps':>7} {'matched':>8} {'NMI':>6} {'I':>6} {'s':>7} disk"
    print(f"\n  {'run':<{width}}  {'state':<11} {'verdict':<22} {heads}")
    for row in rows:
        scores = f"{number(row.matched_accuracy):>8} {number(row.nmi):>6} {number(row.information, 2):>6}"
        end = f"{number(row.seconds, 1):>7} {'–' if row.bytes is None else spell_bytes(row.bytes)}"
        print(f"  {row.name:<{width}}  {row.state.lower():<11} {row.verdict or '–':<22} {row.step:>7,} {scores} {end}")
    print("  matched accuracy and NMI against the labels; I: mutual information of the watch images, nats")


def _print_differences(names: list[str], found: list[Any]) -> None:
    if not found:
        print("\n  the recipes are equal, field by field")
        return
    shown = [(difference.field, [_value(value) for value in difference.values]) for difference in found]
    width = max(5, *(len(field) for field, _ in shown))
    widths = [max(len(name), *(len(values[k]) for _, values in shown)) for k, name in enumerate(names)]
    print(f"\n  {'field':<{width}}  " + "  ".join(f"{name:<{w}}" for name, w in zip(names, widths, strict=True)))
    for field, values in shown:
        print(f"  {field:<{width}}  " + "  ".join(f"{value:<{w}}" for value, w in zip(values, widths, strict=True)))


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_value, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
