"""Every variant of the method on one image set: does each run end with terms as they should be.

``python benchmarks/variants.py [digits | FILE.npz] [--only NAME …] [--scale 1.0]``: two views; multi-crop; multi-crop
and self-labelling; a momentum teacher; a vision transformer with a teacher. One row of a Markdown table each, from the
last training batch and the last snapshot. Labels are used for the NMI alone. ``--scale`` multiplies the epochs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

CROPS = {"views.num_local_views": 4, "views.crop_scale": (0.4, 1.0), "views.local_crop_scale": (0.1, 0.4)}
# A tenth of a digit is a stroke that all digits share: with such crops everything slides to uniform (LOG.md).
MILD = {"views.num_local_views": 4, "views.crop_scale": (0.8, 1.0), "views.local_crop_scale": (0.5, 0.9)}
TEACHER = {"teacher.enabled": True, "teacher.momentum": (0.9, 1.0), "network.num_heads": 1}
VIT = {
    **TEACHER,
    "teacher.momentum": (0.99, 1.0),
    "network.backbone": "vit_t",
    "network.activation": "gelu",
    "optim.learning_rate": 1e-3,
    "optim.weight_decay": 0.06,
    "optim.clip_norm": 3.0,
}


def variants(source: str) -> dict[str, dict]:
    """Changes of each variant for an image set."""
    if source == "digits":
        base = {"record.checkpoint_every_epochs": 1000}
        crops, epochs, vit_epochs, labelled = {**MILD, "views.local_size": 12}, 20, 30, 5
        patch, agreeing = 8, {}
        harder = {"self_label.crop_scale": (0.7, 1.0), "self_label.local_crop_scale": (0.4, 0.8)}
    else:
        base = {"network.num_classes": 64, "optim.batch_size": 256, "record.checkpoint_every_epochs": 1000}
        crops, epochs, vit_epochs, labelled = {**CROPS, "views.local_size": 16}, 5, 2, 2
        # A fixed target pulls one way only: its consistency weighs half of what two views pulling at each other have.
        patch, agreeing = 8, {"objective.consistency_weight": 2.0}
        harder = {"self_label.crop_scale": (0.3, 1.0), "self_label.local_crop_scale": (0.1, 0.3)}
    stage = {"self_label.epochs": labelled, "self_label.warmup_epochs": 1, "self_label.learning_rate": 5e-4}
    stage |= harder
    base["optim.epochs"] = epochs
    return {
        "two views": base,
        "multi-crop": {**base, **crops},
        "multi-crop, self-labelling": {**base, **crops, **stage},
        "teacher": {**base, **TEACHER, **agreeing},
        "ViT-T, teacher": {**base, **VIT, "network.patch_size": patch, "optim.epochs": vit_epochs},
    }


def main() -> None:
    """Train each variant, print its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default="digits")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    os.environ.setdefault("TWIST_RUNS", tempfile.mkdtemp())
    from twist.learn.train import train
    from twist.runs.recipes import recipe
    from twist.runs.record import RunRecord
    from twist.runs.verdict import verdict

    columns = "variant, steps, consistency, sharpness, diversity, I, agreement, row std, in use, NMI, verdict, seconds"
    print("|", columns.replace(", ", " | "), "|")
    print("|" + "---|" * (columns.count(",") + 1), flush=True)
    for name, changes in variants(options.source).items():
        if options.only and name not in options.only:
            continue
        changes = {**changes, "optim.epochs": max(1, round(options.scale * changes["optim.epochs"]))}
        began = time.perf_counter()
        run = train(recipe(options.source).replace(**{key.replace(".", "__"): v for key, v in changes.items()}))
        seconds = time.perf_counter() - began
        record = RunRecord(run.path)
        record.poll()
        metrics = record.metrics()
        last = metrics.ffill().iloc[-1]
        terms = [last[f"train/{term}"] for term in ("consistency", "sharpness", "diversity", "mutual_information")]
        row = [name, str(len(metrics)), *(f"{term:.2f}" for term in terms)]
        row += [
            f"{last['train/agreement']:.2f}",
            f"{last['train/row_std']:.2f}",
            f"{last['train/class_perplexity']:.1f}",
        ]
        nmi = "" if run.scores is None else f"{run.scores.nmi:.3f}"
        print("|", " | ".join([*row, nmi, verdict(record).title.lower(), f"{seconds:.0f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
