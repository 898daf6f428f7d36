"""The command that gives new images the classes of a run."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twist.cli.command import add_command, print_json
from twist.cli.interrupts import Interrupts
from twist.cli.line import Line
from twist.runs.config import ConfigError

if TYPE_CHECKING:
    import pandas as pd

_ROWS, _CLASSES = 20, 10  # shown on the terminal


def add_commands(commands: Any) -> None:
    """Add assign."""
    assign = add_command(
        commands, "assign", _assign, "say which class of a run new images are of, how sure it is, and how undecided"
    )
    assign.add_argument("run", help="name or path of a run, NAME@STEP for one of its checkpoints, or `last`")
    assign.add_argument(
        "images", nargs="+", help="a folder (with all folders below it), an .npz file with 'images', or image files"
    )
    assign.add_argument("--to", type=Path, metavar="FILE", help="write the table there, as .csv or .parquet")
    assign.add_argument("--force", action="store_true", help="replace that file where it exists")
    assign.add_argument(
        "--skip-damaged", action="store_true", help="leave out files that cannot be decoded, and name them"
    )
    assign.add_argument("--device", default="auto", help="where to compute: auto, cpu, cuda, cuda:N or mps")


def _assign(options: argparse.Namespace) -> int:
    if options.to is not None:
        _check_target(options.to, options.force)
    elif options.force:
        raise ConfigError("--force replaces the file that --to names: give --to too, or leave --force out")
    images = options.images[0] if len(options.images) == 1 else options.images
    line = Line()
    with Interrupts() as interrupts:
        from twist.learn.assigning import assign

        def show(done: int, count: int) -> None:
            interrupts.raise_if_asked()
            line.draw(f"{done:,} of {count:,} images")

        try:
            table = assign(
                options.run, images, skip_damaged=options.skip_damaged, device=options.device, on_progress=show
            )
        finally:
            line.clear()
    skipped: dict[str, str] = table.attrs["skipped"]
    for name, reason in skipped.items():
        print(f"twist: {name!r} {reason}: it is left out", file=sys.stderr)
    if options.to is None:
        _print_rows(table)
    else:
        _write(table, options.to)
    _print_classes(table)
    if options.to is not None:
        print(f"\n  {len(table):,} rows are in {options.to}")
    counts = table["assignment"].value_counts().sort_index()
    facts = {
        "model": table.attrs["model"],
        "num_classes": table.attrs["num_classes"],
        "images": len(table),
        "classes": {str(class_id): int(count) for class_id, count in counts.items()},
        "mean_confidence": float(table["confidence"].mean()),
        "mean_sample_entropy": float(table["sample_entropy"].mean()),
        "skipped": skipped,
        "file": None if options.to is None else str(options.to),
    }
    return print_json(options, facts)


# ---------------------------------------------------------------------------------------------------------------------
# The file


def _check_target(target: Path, force: bool) -> None:
    """Refuse a file that cannot be written, or stands there already, before anything is computed."""
    from twist.view.exports import table_kind

    if target.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--to is {str(target)!r}: give a file that ends in .csv or .parquet")
    table_kind(target)
    if target.is_dir():
        raise ConfigError(f"--to is {str(target)!r}, which is a folder: give another name")
    if os.path.lexists(target) and not force:
        raise ConfigError(f"{str(target)!r} exists already: give another name, or replace it with --force")


def _write(table: pd.DataFrame, target: Path) -> None:
    """Write the table under another name and give it its own when it is whole."""
    from twist.view.exports import write_table

    written = target.with_name(f".{target.stem}.{os.getpid()}.{secrets.token_hex(4)}{target.suffix}")
    try:
        write_table(table, written)
        os.replace(written, target)
    except OSError as error:
        raise ConfigError(f"{str(target)!r} cannot be written ({error.strerror}): give another place") from error
    finally:
        written.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# The terminal


def _print_rows(table: pd.DataFrame) -> None:
    import pandas as pd

    with pd.option_context("display.width", 118, "display.max_colwidth", 48):
        print(table.head(_ROWS).to_string(float_format="{:.3f}".format, index="file" not in table))
    if len(table) > _ROWS:
        print(f"… {len(table) - _ROWS:,} more; --to classes.csv (or .parquet) writes all")


def _print_classes(table: pd.DataFrame) -> None:
    """The largest classes, and how sure the network is on the whole."""
    bound = math.log(table.attrs["num_classes"])
    groups = table.groupby("assignment")
    counts = groups.size().sort_values(ascending=False, kind="stable")
    images = "1 image" if len(table) == 1 else f"{len(table):,} images"
    sure, undecided = table["confidence"].mean(), table["sample_entropy"].mean()
    print(
        f"\n  {table.attrs['model']}: {images} in {len(counts)} of {table.attrs['num_classes']} classes; mean "
        f"confidence {sure:.3f}, mean entropy {undecided:.3f} of at most {bound:.3f} nats"
    )
    names = dict(zip(table["assignment"], table["class_name"], strict=True)) if "class_name" in table else {}
    print(f"\n  {'class':>7} {'images':>9} {'confidence':>11} {'entropy':>8}")
    for class_id, count in counts.head(_CLASSES).items():
        rows = groups.get_group(class_id)
        sure, undecided = rows["confidence"].mean(), rows["sample_entropy"].mean()
        print(f"  {class_id:>7} {count:>9,} {sure:>11.3f} {undecided:>8.3f}  {names.get(class_id, '')}".rstrip())
    if len(counts) > _CLASSES:
        print(f"  … and {len(counts) - _CLASSES} smaller ones")
