"""What a recipe reaches in how many seconds: train it, then ask its nearest neighbors once.

``python benchmarks/speed_recipe.py [cifar10_tiny] [--seeds 0,1,2] [--set FIELD=VALUE …] [--test SOURCE]``

The protocol: training sees the train split without labels. Then every image is one feature vector, the backbone's in
evaluation mode of the plain view (the whole image, not augmented). Ten neighbors by cosine among all training images
vote with equal weights on each image of the test split. Features are neither centered nor scaled, but for
``knn_standardized``, where each has mean 0 and deviation 1 over the training images. Beside it, in the same way: the
same network untrained (norm statistics of the images, first layer whitened if it is to be), and the plain views'
pixels.

``--test SOURCE`` names the test images when the training images are a folder or file (``--set data.source=FILE.npz``).
``--held-out N`` is for tuning: the last N training images are neither trained on nor in the bank, and are asked about
in place of the test split, which is not opened.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

import torch
from torch import Tensor

from twist.learn import datasets
from twist.learn.model import load_model, model_of_recipe
from twist.learn.neighbors import knn_accuracy
from twist.learn.process import choose_device
from twist.runs.config import ConfigError, with_fields
from twist.runs.launcher import launch
from twist.runs.recipes import recipe


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="cifar10_tiny", help="name of a recipe; cifar10_tiny by default")
    parser.add_argument("--seeds", default="0", help="seeds separated by commas, a run for each; 0 by default")
    parser.add_argument(
        "--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE", help="change a field"
    )
    parser.add_argument("--test", metavar="SOURCE", help="test images, where the set has no test split")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="for tuning: ask about the last N training images"
    )
    options = parser.parse_args()
    changes = dict(change.split("=", 1) for change in options.changes)

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TWIST_RUNS"] = folder
        for seed in map(int, options.seeds.split(",")):
            figures = measure(options.recipe, {**changes, "seed": seed}, options.test, options.held_out)
            rows.append({"seed": seed, **figures})
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
    scores = [row["knn"] for row in rows]
    print(f"kNN median {statistics.median(scores):.4f}, minimum {min(scores):.4f}, over {len(rows)} seeds")
    facts = {"recipe": options.recipe, "changes": changes, "held_out": options.held_out, "runs": rows}
    print(json.dumps({**facts, "threads": torch.get_num_threads(), "torch": torch.__version__}))


def measure(name: str, changes: dict, test: str | None, held_out: int) -> dict[str, float | str]:
    """Figures of one training: seconds from the command to its end, of training alone, and accuracies."""
    made = with_fields(recipe(name), changes)
    if held_out:
        whole = datasets.load(made.data)
        made = made.replace(data__max_images=len(whole) - held_out)
    began = time.perf_counter()
    run = launch(made)
    run.wait()
    seconds = time.perf_counter() - began

    known = datasets.load(made.data)
    if held_out:
        asked, labels = whole.images[-held_out:], whole.labels[-held_out:]
    else:
        source = {"data__split": "test"} if test is None else {"data__source": test}
        tested = datasets.load(made.replace(**source, data__max_images=None).data)
        asked, labels = tested.images, tested.labels
    views, device = made.views, choose_device(made.device)
    models = {
        "knn": run.load(),
        "untrained": model_of_recipe(made, known),
        "pixels": load_model("pixels", image_size=views.size, mean=views.mean, std=views.std),
    }
    found: dict[str, float | str] = {"seconds": round(seconds, 1), "train_seconds": round(run.train_seconds, 1)}
    for row, model in models.items():
        bank, queries = (model.to(device).features(images, batch_size=1000) for images in (known.images, asked))
        found[row] = accuracy_of(bank, known.labels, queries, labels)
        if row == "knn":
            deviation, mean = torch.std_mean(bank, 0)
            bank, queries = ((rows - mean) / deviation.clamp(min=1e-6) for rows in (bank, queries))
            found["knn_standardized"] = accuracy_of(bank, known.labels, queries, labels)
    return {**found, "verdict": run.verdict.kind}


def accuracy_of(bank: Tensor, labels: Tensor, queries: Tensor, query_labels: Tensor) -> float:
    """Share of the queries that ten neighbors in the bank name right, rounded."""
    return round(knn_accuracy(bank, labels, queries, query_labels, k=10), 4)


if __name__ == "__main__":
    try:
        main()
    except ConfigError as error:
        print(f"speed_recipe: {error}", file=sys.stderr)
        sys.exit(2)
