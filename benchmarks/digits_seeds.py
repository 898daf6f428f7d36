"""The digits figure: matched accuracy over seeds, k-means on pixels beside it.

``python benchmarks/digits_seeds.py [--seeds 0,1,2,3,4] [--set FIELD=VALUE …] [--recipe digits]``: trains the recipe
once per seed, one after the other, in this process's own run folders (a temporary place, deleted at the end), and
prints one line per seed, the median and the minimum, and one JSON object last. Labels are only used to score.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE")
    options = parser.parse_args()
    changes = dict(change.split("=", 1) for change in options.changes)

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TWIST_RUNS"] = folder
        from twist.runs.launcher import launch

        for seed in map(int, options.seeds.split(",")):
            began = time.perf_counter()
            run = launch(options.recipe, **{**changes, "seed": seed})
            run.wait()
            scores, metrics = run.scores, run.metrics
            rows.append(
                {
                    "seed": seed,
                    "matched_accuracy": round(scores.matched_accuracy, 4),
                    "nmi": round(scores.nmi, 4),
                    "kmeans_matched_accuracy": round(run.pixel_kmeans_accuracy, 4),
                    "train_total": round(float(metrics["train/total"].tail(50).median()), 4),
                    "verdict": run.verdict.kind,
                    "train_seconds": round(run.train_seconds, 1),
                    "seconds": round(time.perf_counter() - began, 1),
                }
            )
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
    accuracies = [row["matched_accuracy"] for row in rows]
    print(f"median {statistics.median(accuracies):.4f}, minimum {min(accuracies):.4f}, over {len(rows)} seeds")
    facts = {"median": statistics.median(accuracies), "minimum": min(accuracies), "changes": changes, "runs": rows}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
