"""Commands that turn the knobs of a run that trains, take it back, and make it once more."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from twist.cli.command import FAILED, add_changes, add_command, add_run, changes_of, number_of, print_json
from twist.cli.interrupts import Interrupts
from twist.cli.looking import spell_value
from twist.cli.training import follow
from twist.runs.config import ConfigError


def add_commands(commands: Any) -> None:
    """Add turn, rewind and replay."""
    turn = add_command(commands, "turn", _turn, "turn knobs of a run that trains; they act from its next step on")
    add_run(turn)
    add_changes(turn)
    rewind = add_command(
        commands, "rewind", _rewind, "take a run back to a step, without the knobs turned from there on, and go on"
    )
    add_run(rewind)
    rewind.add_argument("--step", metavar="N", required=True, help="step to go back to")
    rewind.add_argument("--hold", action="store_true", help="wait at that step")
    replay = add_command(
        commands, "replay", _replay, "make a run once more, with the same knobs turned at the same steps"
    )
    add_run(replay)
    replay.add_argument("--name", help="name of the new run; made from the other's when left out")
    replay.add_argument("--until", metavar="N", help="step at which it stops; where the other stands when left out")
    replay.add_argument("--detach", action="store_true", help="return at once; the run goes on in the background")
    replay.set_defaults(report=False)


def _turn(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run = attach(options.run)
    if not options.changes:
        raise ConfigError("nothing is turned: write --set FIELD=VALUE, as in --set objective.sharpness_weight=0")
    changes = changes_of(options.changes)
    asked = run.turn(**{name.replace(".", "__"): value for name, value in changes.items()})
    try:
        answer = run.answer_to(asked)
    except TimeoutError as error:
        print(f"twist: {error}", file=sys.stderr)
        return FAILED
    if not answer["accepted"]:
        raise ConfigError(answer.get("reason", "the run did not accept it"))
    turned = [turn for turn in run.turns if turn.step == answer["step"]][-1:] if answer.get("turned") else []
    for turn in turned:
        for name, value in turn.changes.items():
            print(
                f"{run.name}: {name} {spell_value(turn.before.get(name))} → {spell_value(value)} after step {turn.step}"
            )
    if not turned:
        print(f"{run.name}: nothing changed, it has these values already")
    step = answer["step"]
    return print_json(options, {"run": run.name, "step": step, "changes": turned[0].changes if turned else {}})


def _rewind(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach

    run, step = attach(options.run), number_of("--step", options.step)
    try:
        chosen = run.rewind(step, hold=options.hold)
    except TimeoutError as error:
        print(f"twist: {error}", file=sys.stderr)
        return FAILED
    then = f", and waits at step {step}" if options.hold else ""
    print(f"run {run.name} goes on from its checkpoint of step {chosen}{then}; `twist show {run.name}` looks at it")
    return print_json(options, {"run": run.name, "checkpoint": chosen, "step": step, "hold": options.hold})


def _replay(options: argparse.Namespace) -> int:
    from twist.runs.launcher import attach
    from twist.runs.turns import read_plan

    until = None if options.until is None else number_of("--until", options.until)
    with Interrupts() as interrupts:
        run = attach(options.run).replay(options.name, until=until)
        print(f"run {run.name} repeats {options.run}, {len(read_plan(run.path).turns)} turned knobs with it")
        status = follow(run, options, interrupts)
    stop = read_plan(run.path).stop
    return 0 if stop is not None and run.status.step == stop else status
