"""The command that says how long a recipe takes, before it is started."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from twist.cli.command import FAILED, INTERRUPTED, add_changes, add_command, changes_of, number_of, print_json
from twist.runs.config import with_fields


def add_commands(commands: Any) -> None:
    """Add estimate."""
    estimate = add_command(
        commands, "estimate", _estimate, "say how long a recipe takes here, and its memory and disk, by a few steps"
    )
    estimate.add_argument("recipe", help="name of a recipe (see `twist recipes`), or the path of images")
    add_changes(estimate)
    estimate.add_argument("--steps", default="20", metavar="N", help="measure at most N steps, 20 when left out")


def _estimate(options: argparse.Namespace) -> int:
    from twist.runs.batch import batch_warnings
    from twist.runs.estimates import EstimateFailed, Rehearsal
    from twist.runs.recipes import recipe
    from twist.runs.sources import check_source

    asked = with_fields(recipe(options.recipe), changes_of(options.changes))
    rehearsal = Rehearsal(asked, steps=number_of("--steps", options.steps))
    for sentence in batch_warnings(asked, check_source(asked.data)):
        print(f"twist: warning: {sentence}", file=sys.stderr)
    try:
        found = rehearsal.wait(lambda words: print(f"{words} …", file=sys.stderr))
    except KeyboardInterrupt:
        return INTERRUPTED
    except EstimateFailed as error:
        print(f"twist: {error}\n{error.details}".rstrip(), file=sys.stderr)
        return FAILED
    print(f"{options.recipe}: {found}")
    for note in found.notes:
        print(note)
    return print_json(options, {"recipe": options.recipe, **dataclasses.asdict(found)})
