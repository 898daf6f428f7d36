"""The command line: ``twist train|list|show|verdict|sweep|…``; ``twist --help`` names every command.

Each command imports its half of the package itself, so that ``twist list`` answers without loading torch or plotly.
"""

from __future__ import annotations

import argparse
import sys

from twist.cli import (
    apps,
    assigning,
    estimating,
    evaluating,
    handover,
    keeping,
    labeling,
    lessons,
    looking,
    sweeping,
    training,
    turning,
)
from twist.cli.command import INTERRUPTED, USER_ERROR
from twist.runs.config import ConfigError
from twist.runs.store import RecordError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 1 when a run failed, 2 when what was asked for cannot be, 124 when a
    training stopped at the end of the minutes it was given, 130 when a Ctrl-C ended it.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if getattr(options, "command", None) is None:
        parser.print_help()
        return 0
    try:
        return options.command(options)
    except (ConfigError, RecordError) as error:
        print(f"twist: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
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
    for room in (
        training,
        turning,
        estimating,
        looking,
        lessons,
        evaluating,
        assigning,
        labeling,
        keeping,
        apps,
        sweeping,
        handover,
    ):
        room.add_commands(commands)
    return parser
