"""The command line: ``twist train|list|show|stop|resume|report|import|export|recipes|fields``.

Each command imports its half of the package itself, so that ``twist list`` answers without loading torch or plotly.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twist.runs.config import ConfigError, field_help, field_names, field_value, with_fields
from twist.runs.store import RecordError

if TYPE_CHECKING:
    from twist.runs.batch import Derived
    from twist.runs.config import Recipe
    from twist.runs.launcher import Run
    from twist.runs.status import Status

USER_ERROR = 2
FAILED = 1
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 1 when a run failed, 2 when what was asked for cannot be."""
    options = _parser().parse_args(arguments)
    if getattr(options, "command", None) is None:
        _parser().print_help()
        return 0
    try:
        return options.command(options)
    except (ConfigError, RecordError) as error:
        print(f"twist: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    from twist import __version__

    parser = argparse.ArgumentParser(
        prog="twist", description="Self-supervised classification by twin class distributions: train, watch, explore."
    )
    parser.add_argument("--version", action="version", version=f"twist {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    train = _command(commands, "train", _train, "train a recipe, or a folder of images, or an .npz file")
    train.add_argument("recipe", help="name of a recipe (see `twist recipes`), or the path of images")
    train.add_argument("--name", help="name of the run; made from the recipe and the time when left out")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="changes",
        help="change a field of the recipe, as in optim.epochs=5 (see `twist fields`); may be repeated",
    )
    train.add_argument(
        "--batch-size",
        metavar="N",
        help="train with N images a step, and scale the learning rates and the bunch of the final norm with it; "
        "a field given by --set stays as given",
    )
    train.add_argument("--detach", action="store_true", help="return at once; the run goes on in the background")
    train.add_argument("--report", action="store_true", help="write a report at the end (UMAP warms up meanwhile)")

    resume = _command(commands, "resume", _resume, "go on exactly where a run was stopped or killed")
    resume.add_argument("run", nargs="?", default="last", help="name or path of a run; the newest when left out")
    resume.add_argument("--detach", action="store_true", help="return at once; the run goes on in the background")
    resume.add_argument("--report", action="store_true", help="write a report at the end")

    _command(commands, "list", _list, "list the runs, newest first")
    for name, function, help_text in (
        ("show", _show, "show the state, verdict and scores of a run"),
        ("stop", _stop, "checkpoint and stop a run; `resume` goes on"),
    ):
        command = _command(commands, name, function, help_text)
        command.add_argument("run", nargs="?", default="last", help="name or path of a run; the newest when left out")
    report = _command(commands, "report", _report, "write a self-contained HTML report of a run")
    report.add_argument("run", nargs="?", default="last", help="name or path of a run; the newest when left out")
    report.add_argument("--output", type=Path, help="file to write; report.html in the run's folder when left out")

    imported = _command(commands, "import", _import, "read a checkpoint of the authors safely, and say what is in it")
    imported.add_argument("file", type=Path, help="a .pth of theirs, full or backbone alone, or a .safetensors")
    export = _command(commands, "export", _export, "write a backbone for torchvision, timm or detectron2")
    export.add_argument("source", help="name or path of a run, or a checkpoint file of the authors")
    export.add_argument("folder", type=Path, help="new folder for the weights and their card")
    export.add_argument(
        "--form", default="safetensors", help="torchvision, timm, detectron2 or safetensors (our names, the default)"
    )

    _command(commands, "recipes", _recipes, "list the recipes, those of the paper and those for small images")
    fields = _command(commands, "fields", _fields, "list every field of a recipe, its value and its meaning")
    fields.add_argument("recipe", nargs="?", default="digits", help="name of a recipe")
    return parser


def _command(commands: Any, name: str, function: Any, help_text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
    command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    command.set_defaults(command=function)
    return command


def _changes(pairs: list[str]) -> dict[str, str]:
    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r} has no '=': write --set FIELD=VALUE, as in --set optim.epochs=5")
        changes[name.strip()] = value.strip()
    return changes


def _train(options: argparse.Namespace) -> int:
    from twist.runs.launcher import Run, discard_unstarted, prepare, start

    changes = _changes(options.changes)
    asked: str | Recipe = options.recipe
    derived: list[Derived] = []
    if options.batch_size is not None:
        asked, derived = _at_batch_size(options, changes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = Run(prepare(asked, name=options.name, changes=changes))
    for one in derived:
        if one.field not in changes:
            print(f"{one.field}: {one.before:g} → {one.after:g} ({one.why})")
    for warning in said:  # what too small a batch will cost
        print(f"twist: warning: {warning.message}", file=sys.stderr)
    start(run.path)
    try:
        return _follow(run, options)
    except ConfigError:
        run.wait_until_free()
        discard_unstarted(run)
        raise


def _at_batch_size(options: argparse.Namespace, changes: dict[str, str]) -> tuple[Recipe, list[Derived]]:
    """The recipe asked for, at the batch size asked for; ``--set`` comes after it and so has the last word."""
    from twist.runs.batch import scaled_to_batch
    from twist.runs.recipes import recipe

    if "optim.batch_size" in changes:
        raise ConfigError(
            f"the batch size is given twice, by --batch-size {options.batch_size} and by --set "
            f"optim.batch_size={changes['optim.batch_size']}: give one; --batch-size scales the learning rates too"
        )
    named = recipe(options.recipe)
    size = with_fields(named, {"optim.batch_size": options.batch_size}).optim.batch_size
    return scaled_to_batch(named, size)


def _resume(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    return _follow(attach(options.run).resume(), options)


def _follow(run: Run, options: argparse.Namespace) -> int:
    """Wait for a run with a progress bar and tell how it ended."""
    from twist.runs.launcher import TrainingFailed
    from twist.runs.progress import ProgressBar

    if options.detach:
        print(f"run {run.name} goes on in the background; `twist show {run.name}` looks at it")
        return _print_json(options, {"run": run.name, "state": run.status.state, "path": str(run.path)})
    placing = _start_layout(run) if options.report else None
    bar: ProgressBar | None = None
    run.record.poll()
    images_read = (run.record.last("reading") or {}).get("done", 0)  # of an earlier attempt
    said = len(_notes(run))

    def draw(run: Run) -> None:
        nonlocal bar, said, images_read
        run.record.poll()
        start, newest = run.record.last("start"), run.record.last("metrics")
        reading = run.record.last("reading")
        if reading is not None and reading["done"] != images_read and bar is None:
            images_read = reading["done"]
            print(f"{images_read:,} of {reading['count']:,} images are decoded", file=sys.stderr)
        if bar is None and start is not None:
            bar = ProgressBar(start["total_steps"], start["from_step"])
        if bar is None:
            return
        for note in _notes(run)[said:]:
            bar.say(note)
            said += 1
        if newest is not None:
            bar.update(newest["step"], newest)

    try:
        status = run.wait(on_poll=draw)
    except KeyboardInterrupt:
        if bar is not None:
            bar.close()
            bar = None
        print(f"\nstopping {run.name} at its next step …", file=sys.stderr)
        status = _stop_run(run)
        print(f"run {run.name} is {status}; `twist resume {run.name}` goes on", file=sys.stderr)
        _print_json(options, _facts(run))
        return INTERRUPTED
    except TrainingFailed as error:
        print(f"twist: {error}", file=sys.stderr)
        _print_json(options, _facts(run))
        return FAILED
    finally:
        if bar is not None:
            bar.close()
        if placing is not None and not run.status.state == "COMPLETED":
            placing.terminate()
    facts = _facts(run)
    if options.report and status.state == "COMPLETED":
        from twist.view.report import write_report

        facts["report"] = str(write_report(run))
    _print_summary(run, facts)
    _print_json(options, facts)
    return 0 if status.state == "COMPLETED" else FAILED


def _stop_run(run: Run) -> Status:
    """Stop a run; when it does not answer in time, or a person will not wait, it still stops at its next step."""
    try:
        return run.stop()
    except (TimeoutError, KeyboardInterrupt):
        print(f"still stopping; `twist show {run.name}` tells when it has", file=sys.stderr)
        return run.status


def _start_layout(run: Run) -> Any:
    from twist.view.layout import start_layout

    return start_layout(run.path, wait=True)


def _facts(run: Run) -> dict[str, Any]:
    """State, verdict, scores and time of a run, as `--json` prints them."""
    run.record.poll()
    status = run.status
    facts: dict[str, Any] = {
        "run": run.name,
        "path": str(run.path),
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "state": status.state,
        "step": status.step,
        "total_steps": status.total_steps,
        "message": status.message,
        "train_seconds": round(run.train_seconds, 2),
        "notes": _notes(run),
        "warnings": [event["message"] for event in run.record.events if event["kind"] == "warning"],
    }
    verdict = run.verdict
    facts |= {"verdict": verdict.kind, "sentence": verdict.sentence, "advice": verdict.advice}
    scores = run.scores
    if scores is not None:
        facts |= {name: round(float(value), 6) for name, value in scores._asdict().items()}
        if (baseline := run.pixel_kmeans_accuracy) is not None:
            facts["kmeans_matched_accuracy"] = round(baseline, 6)
    summary = run.record.last("snapshot")
    if summary is not None:
        facts |= {name: value for name, value in summary.items() if name.startswith("watch/")}
    last = run.record.last("metrics") or {}
    facts |= {name: value for name, value in last.items() if name.startswith("train/self_label")}
    return facts


def _notes(run: Run) -> list[str]:
    return [event["message"] for event in run.record.events if event["kind"] == "note"]


def _print_summary(run: Run, facts: dict[str, Any]) -> None:
    print(f"\n{run.name}: {run.status}")
    for note in facts["notes"]:
        print(f"  note: {note}")
    for warning in facts["warnings"]:
        print(f"  warning: {warning}")
    print(f"\n  {facts['verdict'].upper()}  {facts['sentence']}\n  {facts['advice']}")
    rows = [
        ("matched accuracy (labels only used here)", facts.get("matched_accuracy")),
        ("  k-means on pixels, the same way", facts.get("kmeans_matched_accuracy")),
        ("normalized mutual information with the labels", facts.get("nmi")),
        ("H(Y|X), mean sample entropy, nats", facts.get("watch/conditional_entropy")),
        ("H(Y), entropy of the mean distribution, nats", facts.get("watch/marginal_entropy")),
        ("I(X;Y), mutual information, nats", facts.get("watch/mutual_information")),
        ("classes in use (perplexity)", facts.get("watch/class_perplexity")),
        ("share of a batch that taught, self-labelling", facts.get("train/self_label_share")),
    ]
    rows = [(label, value) for label, value in rows if value is not None]
    if rows:
        print("\n  the watch images, not augmented:")
        for label, value in rows:
            print(f"  {label:<48} {value:>8.3f}")
    print(f"\n  {'training, seconds':<48} {facts['train_seconds']:>8.1f}")
    if "report" in facts:
        print(f"  report  {facts['report']}")
    print()


def _print_json(options: argparse.Namespace, facts: Any) -> int:
    if options.json:
        print(json.dumps(facts, allow_nan=False), flush=True)
    return 0


def _list(options: argparse.Namespace) -> int:
    from twist.runs.folders import runs_root
    from twist.runs.launcher import list_runs

    table = list_runs()
    if table.empty:
        print(f"no run in {runs_root()} yet: start one with `twist train digits`")
    else:
        print(table.fillna("").to_string(index=False))
    return _print_json(options, {"runs": json.loads(table.to_json(orient="records"))})


def _show(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run = attach(options.run)
    facts = _facts(run)
    _print_summary(run, facts)
    return _print_json(options, facts)


def _stop(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run = attach(options.run)
    status = _stop_run(run)
    print(f"{run.name}: {status}")
    _print_json(options, {"run": run.name, "state": status.state, "step": status.step})
    return FAILED if status.alive else 0


def _report(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach
    from twist.view.report import write_report

    run = attach(options.run)
    path = write_report(run, options.output)
    print(path)
    return _print_json(options, {"run": run.name, "report": str(path)})


def _import(options: argparse.Namespace) -> int:
    from twist.learn.handover import import_checkpoint

    network, report = import_checkpoint(options.file)
    arguments = {name: value for name, value in report.arguments.items() if value is not None}
    print(report)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {"file": options.file.name, "part": report.part, "head": report.head, "parameters": parameters}
    facts |= {"tensors": report.num_tensors, "epoch": report.epoch, "arguments": arguments}
    return _print_json(options, facts)


def _export(options: argparse.Namespace) -> int:
    from twist.learn.handover import export_checkpoint, export_run
    from twist.runs.folders import find_run

    if Path(options.source).is_file():
        written = export_checkpoint(options.source, options.folder, form=options.form)
    else:
        written = export_run(find_run(options.source), options.folder, form=options.form)
    print(f"{written}, with its card {written.with_name('README.md')}")
    return _print_json(options, {"source": options.source, "form": options.form, "file": str(written)})


def _recipes(options: argparse.Namespace) -> int:
    from twist.runs.recipes import recipe, recipe_facts, recipe_groups, recipe_summary

    table: dict[str, dict[str, Any]] = {}
    for group, names in recipe_groups().items():
        print(f"{group}{' (published: linear top-1 on ImageNet, the authors)' if group == 'paper' else ''}")
        for name in names:
            facts, made, summary = recipe_facts(name), recipe(name), recipe_summary(name)
            shown = "" if facts.published is None else f"{100 * facts.published:.1f} %"
            print(f"  {name:<19} {shown:>6}  {facts.hardware:<24} {summary}")
            table[name] = {
                "group": group,
                "summary": summary,
                "published": facts.published,
                "hardware": facts.hardware,
                "batch_size": made.optim.batch_size,
                "epochs": made.total_epochs,
            }
        print()
    return _print_json(options, {"recipes": table})


def _fields(options: argparse.Namespace) -> int:
    from twist.runs.recipes import recipe

    chosen = recipe(options.recipe)
    rows = {}
    for name in field_names():
        value = field_value(chosen, name)
        rows[name] = {"value": value, "help": field_help(name)}
        shown = ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value
        print(f"{name:<34} {shown!s:<14} {field_help(name)}")
    return _print_json(options, {"fields": rows})


if __name__ == "__main__":
    sys.exit(main())
