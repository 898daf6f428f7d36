"""What recording costs: the same training with and without it, alternately, in one process.

``python benchmarks/recording_cost.py [--recipe digits] [--set FIELD=VALUE …] [--repeats 3]``: events, diagnostics,
snapshots and checkpoints on the recipe's own schedule against none of them. Prints the processor seconds and the wall
seconds of each repeat, and the share that recording adds (medians).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Alternate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    changes = dict(change.split("=", 1) for change in options.changes)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TWIST_RUNS"] = folder
        from twist.learn.process import Requests, tune_malloc
        from twist.learn.train import Loop
        from twist.runs.attempts import attempt_folder
        from twist.runs.launcher import prepare
        from twist.runs.record import RunWriter

        class Silent(Loop):
            """The same training, writing nothing."""

            def _snapshot(self, watched):
                pass

            def _checkpoint(self):
                pass

        tune_malloc()
        quiet = {"record.log_every_steps": 10**9, "record.diagnose_every_steps": 10**9}

        def seconds(kind: type[Loop], extra: dict) -> tuple[float, float]:
            path: Path = prepare(options.recipe, changes={**changes, **extra})
            attempt_folder(path, 1).mkdir(parents=True)
            loop = kind(path, RunWriter(path, 1), Requests(path, supervisor=None))
            wall, processor = time.perf_counter(), time.process_time()
            loop.run()
            return time.process_time() - processor, time.perf_counter() - wall

        seconds(Silent, {**quiet, "optim.epochs": 2})  # the first run pays for what torch sets up once
        rows = []
        for repeat in range(options.repeats):
            on, off = seconds(Loop, {}), seconds(Silent, quiet)
            rows.append({"on_cpu_s": on[0], "off_cpu_s": off[0], "on_wall_s": on[1], "off_wall_s": off[1]})
            print(repeat, *(f"{name} {value:.2f}" for name, value in rows[-1].items()), sep="  ", flush=True)
    share = {
        clock: statistics.median(row[f"on_{clock}_s"] / row[f"off_{clock}_s"] for row in rows) - 1
        for clock in ("cpu", "wall")
    }
    print(f"recording adds {share['cpu']:.1%} of processor time and {share['wall']:.1%} of wall time (medians)")
    print(json.dumps({"recipe": options.recipe, "changes": changes, "share": share, "repeats": rows}))


if __name__ == "__main__":
    main()
