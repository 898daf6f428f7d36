"""Lessons to hand out: a recorded experiment, or the toy lab, as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from twist.cli.command import add_command, print_json


def add_commands(commands: Any) -> None:
    """Add export-lesson."""
    lesson = add_command(
        commands,
        "export-lesson",
        _export,
        "write a recorded run, or two side by side, or the toy lab, as one HTML file that works without the network",
    )
    lesson.add_argument(
        "runs",
        nargs="*",
        default=["last"],
        metavar="run",
        help="name or path of a run, or of two, or `toy` for the lab that trains in the browser; the newest run when "
        "left out",
    )
    lesson.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write; lesson.html in the first run's folder when left out, toy.html here for the toy",
    )
    lesson.add_argument("--title", default="", help="what stands on top; the names of the runs when left out")
    lesson.add_argument(
        "--notes",
        type=Path,
        metavar="FILE",
        help="notes in Markdown to show below; `Q:` and `A:` begin a question and its hidden answer, a link to "
        "#step=120 moves the page there",
    )


def _export(options: argparse.Namespace) -> int:
    from twist.view.lesson import write_lesson

    runs = options.runs[0] if len(options.runs) == 1 else options.runs
    path = write_lesson(runs, options.output, title=options.title, notes=options.notes)
    size = path.stat().st_size
    print(f"{path}  {size / 1e6:.1f} MB")
    return print_json(options, {"runs": options.runs, "lesson": str(path), "bytes": size})
