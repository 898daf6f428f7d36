"""How often the verdict is right: the collapse zoo over seeds, its record, and its table in the README.

``python -m benchmarks.zoo``: trains every setting of the zoo with seeds 0 to 12 (377 runs, about an hour on two idle
cores; Fashion-MNIST must be there), writes ``benchmarks/records/zoo.json`` and the table in README.md. Rules were
fixed on seeds 0 to 7 (LOG.md tells what the first look at seeds 3 to 7 gave); the others count. ``--runs FOLDER``
keeps the runs, and a second call reads them. ``--readme`` only rewrites the table from the committed record.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.readme import README, RECORDS, rewritten
from benchmarks.speed.settings import machine
from twist.runs.zoo import ZooResult, ZooRow, run_zoo

RECORD = RECORDS / "zoo.json"
BEGIN, END = "<!-- zoo: begin, written by `python -m benchmarks.zoo --readme` -->", "<!-- zoo: end -->"
FIXED_ON, COUNTED = (0, 1, 2, 3, 4, 5, 6, 7), (8, 9, 10, 11, 12)


def main() -> None:
    """Train or read the zoo, write its record and its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; a temporary one when left out")
    parser.add_argument("--readme", action="store_true", help="rewrite the table from the committed record")
    options = parser.parse_args()
    if not options.readme:
        with tempfile.TemporaryDirectory() as passing:
            root = options.runs or Path(passing)
            root.mkdir(parents=True, exist_ok=True)
            result = run_zoo((*FIXED_ON, *COUNTED), root=root, on_done=_say)
        if result.left_out:
            sys.exit(f"Fashion-MNIST is needed for {', '.join(result.left_out)}: put it in data/images or TWIST_DATA")
        RECORD.write_text(json.dumps(_as_record(result), indent=0) + "\n")
    record = json.loads(RECORD.read_text())
    README.write_text(rewritten(README.read_text(), BEGIN, END, readme_block(record)))
    print(readme_block(record))


def readme_block(record: dict[str, Any]) -> str:
    """The table of the seeds that count, and what it was measured on."""
    counted, fixed_on = _result(record, COUNTED), _result(record, FIXED_ON)
    facts = record["machine"]
    return "\n".join(
        [
            counted.table(),
            "",
            f"Seeds {COUNTED[0]} to {COUNTED[-1]}, which no rule was fixed on; on seeds {FIXED_ON[0]} to "
            f"{FIXED_ON[-1]}, which they were, {fixed_on.right} of {fixed_on.total} are right, with "
            f"{fixed_on.false_alarms} false alarms and {fixed_on.late} collapses flagged late. "
            f"{facts['processor']}, {facts['cores']} cores, torch {facts['torch']}, {record['date']}.",
        ]
    )


def _as_record(result: ZooResult) -> dict[str, Any]:
    return {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "rows": [list(row) for row in result.rows],
    }


def _result(record: dict[str, Any], seeds: tuple[int, ...]) -> ZooResult:
    rows = (ZooRow(*values) for values in record["rows"])
    return ZooResult(tuple(row for row in rows if row.seed in seeds))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
