"""What every command needs: its parser, its numbers on the line, its last line of JSON, its exit status."""

from __future__ import annotations

import argparse
import json
from typing import Any

from twist.runs.config import ConfigError

USER_ERROR = 2
FAILED = 1
INTERRUPTED = 130
#: The minutes that a training was given were over, as of `timeout`.
OUT_OF_TIME = 124


def add_command(commands: Any, name: str, function: Any, help_text: str) -> argparse.ArgumentParser:
    """A command with its help and the option every command has; ``function`` takes its options, returns the status."""
    command = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
    command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    command.set_defaults(command=function)
    return command


def add_run(command: argparse.ArgumentParser) -> None:
    """The argument that names a run."""
    command.add_argument("run", nargs="?", default="last", help="name or path of a run; the newest when left out")


def add_changes(command: argparse.ArgumentParser) -> None:
    """The option that changes fields of a recipe; `changes_of` reads it."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="changes",
        help="change a field of the recipe, as in optim.epochs=5 (see `twist fields`); may be repeated",
    )


def changes_of(pairs: list[str]) -> dict[str, str]:
    """Fields and values of ``--set FIELD=VALUE``."""
    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r} has no '=': write --set FIELD=VALUE, as in --set optim.epochs=5")
        changes[name.strip()] = value.strip()
    return changes


def number_of(option: str, text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{option} is {text!r}: give a whole number") from None


def numbers_of(option: str, text: str) -> list[int]:
    """Whole numbers written with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} is {text!r}: give whole numbers with commas between, as in 0,1,2") from None


def print_json(options: argparse.Namespace, facts: Any) -> int:
    """Print the facts as the last line where ``--json`` asks for it; returns 0, the status of success."""
    if options.json:
        print(json.dumps(facts, allow_nan=False), flush=True)
    return 0
