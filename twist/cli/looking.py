"""What is there to see: runs, their states, verdicts and reports."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from twist.cli.command import add_command, add_run, number_of, print_json

if TYPE_CHECKING:
    import pandas as pd

    from twist.runs.launcher import Run

#: States from which `twist resume` goes on.
RESUMABLE = ("STOPPED", "INTERRUPTED")
#: Turned knobs that a summary tells of, the newest.
TURNS_TOLD = 8


def add_commands(commands: Any) -> None:
    """Add list, show, verdict and report."""
    add_command(commands, "list", _list, "list the runs, newest first")
    add_run(add_command(commands, "show", _show, "show the state, verdict and scores of a run"))
    verdict = add_command(
        commands, "verdict", _verdict, "say whether a run learns or collapsed, why, and what to change"
    )
    add_run(verdict)
    verdict.add_argument("--step", metavar="N", help="what could be said at step N; the newest when left out")
    report = add_command(commands, "report", _report, "write a self-contained HTML report of a run")
    add_run(report)
    report.add_argument("--output", type=Path, help="file to write; report.html in the run's folder when left out")


def facts_of(run: Run) -> dict[str, Any]:
    """State, verdict, scores and time of a run, as `--json` prints them."""
    run.record.poll()
    status, frozen = run.status, run.record.frozen
    facts: dict[str, Any] = {
        "run": run.name,
        "path": str(run.path),
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "state": status.state,
        "step": status.step,
        "total_steps": status.total_steps,
        "message": status.message,
        "train_seconds": round(float(frozen.get("seconds", 0)) if frozen else run.train_seconds, 2),
        "spent_on": "labeling" if frozen else "training",
        "notes": notes_of(run),
        "warnings": [event["message"] for event in run.record.events if event["kind"] == "warning"],
    }
    facts["turns"] = [{"step": turn.step, "changes": turn.changes, "before": turn.before} for turn in run.turns]
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
    facts["evaluations"] = _evaluations(run)
    return facts


def _evaluations(run: Run) -> list[dict[str, Any]]:
    """What evaluations of its trained network found, the first scores of each, oldest question first."""
    from twist.runs.result_tables import headline, protocol_title, score_title
    from twist.runs.results import EVALUATIONS, read_results

    found = read_results(run.path / EVALUATIONS).newest
    return [
        {
            "protocol": protocol_title(result),
            "model": result.source,
            "score": score_title(name),
            "value": round(result.mean(name), 6),
            "data": str(result.asked),
        }
        for result in found
        if result.model.kind == "run"
        for name in headline(result)
        if math.isfinite(result.mean(name))
    ]


def notes_of(run: Run) -> list[str]:
    """What the training remarked along the way."""
    return [event["message"] for event in run.record.events if event["kind"] == "note"]


def turned_lines(run: Run) -> list[str]:
    """Every knob turned while it trained, oldest first, a line each."""
    return [
        f"turned after step {turn.step}: {name} {spell_value(turn.before.get(name))} → {spell_value(value)}"
        for turn in run.turns
        for name, value in turn.changes.items()
    ]


def spell_value(value: Any) -> str:
    """A field's value as it is written on the line."""
    if isinstance(value, list | tuple):
        return ",".join(map(spell_value, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def status_line(run: Run) -> str:
    """How a run is, and the command that goes on where one does."""
    status = run.status
    line = f"{run.name}: {status}".removesuffix("; `resume` goes on")
    return f"{line}; `twist resume {run.name}` goes on" if status.state in RESUMABLE else line


def print_summary(run: Run, facts: dict[str, Any]) -> None:
    """State, verdict, scores and time of a run, for a person."""
    print(f"\n{status_line(run)}")
    for note in facts["notes"]:
        print(f"  note: {note}")
    for warning in facts["warnings"]:
        print(f"  warning: {warning}")
    for line in turned_lines(run)[-TURNS_TOLD:]:
        print(f"  {line}")
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
    if facts["evaluations"]:
        print("\n  evaluated (all of it: `twist results " + facts["run"] + "`):")
        for row in facts["evaluations"]:
            label = f"{row['protocol']}, {row['score']}"
            print(f"  {label:<48} {row['value']:>8.3f}  {row['model'].partition(' @ ')[2]}, {row['data']}")
    print(f"\n  {facts['spent_on'] + ', seconds':<48} {facts['train_seconds']:>8.1f}")
    if "report" in facts:
        print(f"  report  {facts['report']}")
    print()


def _list(options: argparse.Namespace) -> int:
    from twist.runs.folders import runs_root
    from twist.runs.listing import list_runs

    table = list_runs()
    if table.empty:
        print(f"no run in {runs_root()} yet: start one with `twist train digits`")
    else:
        print(_for_a_terminal(table).to_string(index=False))
    return print_json(options, {"runs": json.loads(table.to_json(orient="records"))})


def _for_a_terminal(table: pd.DataFrame) -> pd.DataFrame:
    """The table of runs with whole numbers whole, nothing where nothing is known, and sentences cut to a column."""
    shown = table.astype(object).where(table.notna(), "")
    for name in ("step", "total_steps", "seed"):
        shown[name] = [value if value == "" else int(value) for value in shown[name]]
    return shown.assign(tags=table["tags"].map(", ".join), state=[shorten(state, 60) for state in shown["state"]])


def _show(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run = attach(options.run)
    facts = facts_of(run)
    print_summary(run, facts)
    return print_json(options, facts)


def _verdict(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach
    from twist.runs.verdict import verdict

    step = None if options.step is None else number_of("--step", options.step)
    run = attach(options.run)
    run.record.poll()
    found = verdict(run.record, step)
    state = run.status.state
    evidence = [_plain(row._asdict()) for row in found.evidence]
    facts = {"run": run.name, "state": state, **found._asdict(), "evidence": evidence}
    if state != "COMPLETED":  # advice on a run that rests reads as on one that goes on
        print(f"\n{status_line(run)}")
    _print_verdict(facts)
    return print_json(options, facts)


def _print_verdict(facts: dict[str, Any]) -> None:
    since = "" if facts["since"] is None else f", first said at step {facts['since']}"
    when = "" if facts["kind"] == "nothing trained" else f"  at step {facts['step']}{since}"
    print(f"\n  {facts['title'].upper()}{when}\n\n  {facts['sentence']}")
    for cause in facts["causes"]:
        print(f"  likely cause: {cause}")
    print(f"  {facts['advice']}")
    if facts["evidence"]:
        print(f"\n  {'evidence':<32} {'value':>10} {'unit':<10} {'reference':>10}")
    for row in facts["evidence"]:
        value, reference = (_number(row[name]) for name in ("value", "reference"))
        print(f"  {row['name']:<32} {value:>10} {row['unit']:<10} {reference:>10}  {row['meaning']}")
    for what in facts["missing"]:
        print(f"  {what}")
    print()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The same with None for numbers that are not finite, which JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def _report(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach
    from twist.view.report import write_report

    run = attach(options.run)
    path = write_report(run, options.output)
    print(path)
    return print_json(options, {"run": run.name, "report": str(path)})
