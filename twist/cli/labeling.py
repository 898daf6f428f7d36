"""The command that sorts images into classes by the features of a model as it is, without training it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from twist.cli.command import add_command, number_of, print_json


def add_commands(commands: Any) -> None:
    """Add label."""
    label = add_command(
        commands, "label", _label, "sort images into classes by the features of any model, as a run to explore"
    )
    label.add_argument(
        "source",
        help="a run (its watch images; RUN@STEP at a snapshot), timm:NAME, torchvision:NAME, a backbone file, pixels, "
        "or an .npz with features",
    )
    label.add_argument(
        "--with",
        dest="labeler",
        default="kmeans",
        metavar="LABELER",
        help="kmeans; turtle: what linear classifiers learn most easily; twist: a head by our own objective",
    )
    label.add_argument(
        "--classes", metavar="C", help="number of classes; as many as the run or the labels have when left out"
    )
    label.add_argument("--data", help="images for a model: a named set, a folder or an .npz file")
    label.add_argument("--name", help="name of the new run; made from source and labeler when left out")
    label.add_argument("--seed", default="0", metavar="N", help="seed of the labeler")
    label.add_argument("--max-images", metavar="N", help="use the first N images of --data only")


def _label(options: argparse.Namespace) -> int:
    from twist.learn.frozen import label

    told: list[str] = []

    def say(what: str, done: int, total: int) -> None:
        if not told or told[-1] != what:
            told.append(what)
            print(f"{what} …", file=sys.stderr, flush=True)

    run = label(
        options.source,
        options.labeler,
        None if options.classes is None else number_of("--classes", options.classes),
        data=options.data,
        name=options.name,
        seed=number_of("--seed", options.seed),
        max_images=None if options.max_images is None else number_of("--max-images", options.max_images),
        on_progress=say,
    )
    run.record.poll()
    frozen, scores = run.record.frozen, run.scores
    usage = run.record.snapshot().class_usage
    print(f"{run.name}: {run.verdict.sentence}")
    for note in frozen["notes"]:
        print(f"  note: {note}")
    rows = [("images", f"{frozen['count']:,}"), ("classes", str(len(usage)))]
    rows += [("largest and smallest class", f"{usage.max():.1%} and {usage.min():.1%} of the images shown")]
    if scores is not None:
        rows += [("matched accuracy (labels only used here)", f"{scores.matched_accuracy:.3f}")]
        rows += [("normalized mutual information", f"{scores.nmi:.3f}")]
    rows += [("labeling, seconds", f"{frozen['seconds']:.1f}")]
    for words, value in rows:
        print(f"  {words:<44} {value}")
    of = (frozen["of"] or {}).get("name")
    print(f"\n  twist app classes {run.name}" + (f"   or   twist.Compare([{of!r}, {run.name!r}])" if of else ""))
    facts: dict[str, Any] = {"run": run.name, "path": str(run.path), **frozen}
    if scores is not None:
        facts |= {name: round(float(value), 6) for name, value in scores._asdict().items()}
    return print_json(options, facts)
