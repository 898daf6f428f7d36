"""``python -m benchmarks.speed``: measure, print the table, write the record.

``make bench`` runs all of it, ``make bench QUICK=1`` less of it; ``--rows a,c`` single parts, ``--list`` names them.
``--guard`` compares with the committed record, ``--readme`` rewrites the table in README.md from it, ``--profile
digits`` prints the operators of a step.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.readme import README, RECORDS
from benchmarks.speed import guard
from benchmarks.speed.parts import PARTS
from benchmarks.speed.plot import scaling_svg
from benchmarks.speed.record import Record, machine_text, rewrite_readme, table
from benchmarks.speed.rows import Part, broken
from benchmarks.speed.settings import device_slug, machine

PART_TIMEOUT_S = 900
# The profiler need not announce itself.
ENVIRONMENT = {**os.environ, "KINETO_LOG_LEVEL": "99"}


def main() -> int:
    """Do what was asked for; 1 when the guard found a fall."""
    options = _options()
    path = RECORDS / f"{device_slug()}.json"
    if options.list:
        print("\n".join(f"{letter}  {part.what}" for letter, part in PARTS.items()))
        return 0
    if options.profile:
        command = [sys.executable, "-m", "benchmarks.speed.profile", options.profile]
        return subprocess.run(command, env=ENVIRONMENT, check=False).returncode
    if options.readme:
        README.write_text(rewrite_readme(README.read_text(), Record.read(path)))
        return 0
    letters = options.rows.split(",") if options.rows else list(PARTS)
    if unknown := [letter for letter in letters if letter not in PARTS]:
        print(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}, see --list", file=sys.stderr)
        return 2
    record = Record(device_slug(), machine(), datetime.date.today().isoformat(), {})
    record = record.with_parts({letter: measure(letter, quick=options.quick) for letter in letters})
    fallen: list[str] = []
    if options.guard:
        if not path.is_file():
            print(f"no committed record {path.name} to compare with: run `make bench` and commit it", file=sys.stderr)
            return 2
        again = lambda letter: measure(letter, quick=options.quick)  # noqa: E731
        fallen, parts = guard.check(record.parts, Record.read(path).parts, again)
        record = record.with_parts(parts)
    print(f"\n{machine_text(record)}\n\n{table(record.rows)}")
    if not options.guard:
        _write(record, options.output or path, partly=bool(options.rows))
    for key in fallen:
        print(
            f"fell below {guard.TOLERANCE:.0%} of the committed record {guard.MEASUREMENTS} times: {key}",
            file=sys.stderr,
        )
    return 1 if fallen else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--rows", metavar="LETTERS", help="parts to measure, separated by commas")
    parser.add_argument("--quick", action="store_true", help="about two minutes; numbers to look at, not to quote")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--guard", action="store_true", help="compare with the committed record; writes nothing")
    parser.add_argument(
        "--readme", action="store_true", help="rewrite the table in README.md from the committed record"
    )
    parser.add_argument("--profile", metavar="NET", help="operators of a step: digits, small_conv, thin_conv, resnet18")
    parser.add_argument("--output", type=Path, help="file of the record; by default benchmarks/records/DEVICE.json")
    return parser.parse_args()


def measure(letter: str, *, quick: bool) -> Part:
    """One part in a fresh process; when it fails, a row that says so."""
    part = PARTS[letter]
    began = time.perf_counter()
    print(f"{letter}  {part.what} …", end=" ", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="twist-bench-") as folder:
        file = Path(folder) / "part.json"
        command = [sys.executable, "-m", "benchmarks.speed.measure", letter, str(file), *(["--quick"] if quick else [])]
        try:
            done = subprocess.run(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=PART_TIMEOUT_S)
            error = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            error = [f"not done after {PART_TIMEOUT_S} s"]
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
        if error or not file.is_file():
            return broken(letter, part.what, "".join(error) or "no result")
        return Part.from_dict(json.loads(file.read_text()))


def _write(record: Record, path: Path, *, partly: bool) -> None:
    if partly and path.is_file():
        record = Record.read(path).with_newer(record)
    record.write(path)
    if "i" in record.parts and "curves" in record.parts["i"].details:
        path.with_suffix(".svg").write_text(scaling_svg(record.parts["i"].details["curves"]))


if __name__ == "__main__":
    sys.exit(main())
