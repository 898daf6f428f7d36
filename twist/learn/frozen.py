"""Frozen runs: features of any model, classes by a labeler, as the folder of a run that every view opens.

Nothing is trained but the labeler's few weights, and the run says so wherever a training would be told of.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.frozen_sources import Said, Subject, subject_of
from twist.learn.labelers.head import HeadSettings, label_by_head
from twist.learn.labelers.kmeans import KMeansSettings, label_by_kmeans
from twist.learn.labelers.labeling import Labeling, check_task
from twist.learn.labelers.turtle import TurtleSettings, label_by_turtle
from twist.learn.model import Model
from twist.learn.process import choose_device
from twist.learn.snapshots import describe
from twist.runs.attempts import attempt_folder, begin_attempt
from twist.runs.config import ConfigError, DataConfig, nearest
from twist.runs.folders import create_run
from twist.runs.frozen import KEY, RECIPE, frozen_sentence
from twist.runs.handle import Run
from twist.runs.record import RunWriter
from twist.runs.store import write_json

#: Labelers by the word a person types, with what they do.
LABELERS = {
    "kmeans": "clusters of least squared distance",
    "turtle": "the labels that linear classifiers learn most easily (arXiv 2406.07236)",
    "twist": "a head by our own objective, an image's second view is one of its nearest neighbors",
}
_HALF_TOP = 60_000.0  # snapshots keep features in half precision


def label(
    source: str | Path | Run | Model,
    labeler: str = "kmeans",
    num_classes: int | None = None,
    *,
    data: str | Path | DataConfig | None = None,
    name: str | None = None,
    seed: int = 0,
    max_images: int | None = None,
    device: str = "auto",
    on_progress: Said | None = None,
) -> Run:
    """Sort images into classes by the features of a model as it is, and keep the result as a run to explore.

    No label is used. Of a run the features are those of a snapshot, so its own watch images get classes a second time,
    and ``twist.Compare`` holds both against each other.

    Parameters
    ----------
    source
        A run (name, path, handle; ``mine@340`` at that snapshot), anything else that `twist.load_model` takes
        (``timm:resnet18``, a backbone file, ``pixels``), or an ``.npz`` file with ``features`` and, where wanted,
        ``labels``, ``label_names`` and ``images``.
    labeler
        kmeans, turtle or twist.
    num_classes
        Number of classes; none means as many as the run has, else as many as there are labels, else 10.
    data
        Images: a named set, a folder or an ``.npz`` file. A model needs them; with a run they take the place of its
        watch images, by its newest checkpoint.
    name
        Name of the new run; none makes one from source and labeler.
    seed
        Of the labeler.
    max_images
        Use the first images of ``data`` only.
    device
        Where a model computes.
    on_progress
        Called with what is under way, how much of it is done and how much there is.

    Raises
    ------
    ConfigError
        When something asked for cannot be: the message names it and the fix, and nothing was written.

    Examples
    --------
    ::

        twist.label("mine", "turtle", 10)  # the run mine-turtle
        twist.ClassExplorer("mine").add_labels("turtle", "mine-turtle")
    """
    if labeler not in LABELERS:
        raise ConfigError(f"labeler is {labeler!r}{nearest(labeler, LABELERS)}: give one of {', '.join(LABELERS)}")
    say = on_progress or _nothing
    subject = subject_of(source, data, max_images, device, say)
    count = num_classes or subject.usual_classes
    check_task(subject.features, count)
    began = time.perf_counter()
    found = label_features(subject.features, labeler, count, seed=seed, on_progress=say)
    seconds = round(time.perf_counter() - began, 2)
    return Run(write_frozen(subject, found, stem=f"{subject.stem}-{labeler}", name=name, seed=seed, seconds=seconds))


def label_features(
    features: Float[Tensor, "N D"], labeler: str, num_classes: int, *, seed: int = 0, on_progress: Said | None = None
) -> Labeling:
    """Classes for features by the labeler of that name, with its usual settings."""
    say = on_progress or _nothing

    def steps(done: int, total: int) -> None:
        say(f"labeling by {labeler}", done, total)

    if labeler == "turtle":
        return label_by_turtle(features, TurtleSettings(num_classes=num_classes, seed=seed), on_progress=steps)
    if labeler == "twist":
        return label_by_head(features, HeadSettings(num_classes=num_classes, seed=seed), on_progress=steps)
    return label_by_kmeans(features, KMeansSettings(num_classes=num_classes, seed=seed))


def _nothing(what: str, done: int, total: int) -> None:
    """Say nothing."""


# ---------------------------------------------------------------------------------------------------------------------
# The run folder


def write_frozen(
    subject: Subject, found: Labeling, *, stem: str, name: str | None = None, seed: int = 0, seconds: float = 0.0
) -> Path:
    """Write the run folder of features and their classes; it appears whole, or not at all. Returns its path."""
    recipe = subject.recipe.replace(
        name=RECIPE, network__num_classes=found.num_classes, network__num_heads=1, seed=seed
    )
    frozen: dict[str, Any] = {
        "model": subject.title,
        "labeler": found.labeler,
        "settings": found.settings,
        "facts": found.facts,
        "seconds": seconds,
        "count": len(found),
        "width": subject.features.shape[1],
        **subject.facts,
        "of": subject.of,
        "notes": list(subject.notes),
    }
    origin = {KEY: json.loads(json.dumps(frozen, allow_nan=False, default=str))}

    def fill(folder: Path) -> None:
        begin_attempt(folder)
        writer = RunWriter(folder, 1)
        try:
            _record(writer, subject, found, frozen_sentence(frozen))
        finally:
            writer.close()

    return create_run(recipe, name=name, root=subject.root, stem=stem, origin=origin, fill=fill)


def _record(writer: RunWriter, subject: Subject, found: Labeling, sentence: str) -> None:
    count = len(found)
    writer.event(
        "start",
        step=0,
        from_step=0,
        steps_per_epoch=1,
        total_steps=0,
        batch_size=count,
        num_images=count,
        num_classes=found.num_classes,
        device=str(choose_device("cpu")),
    )
    for note in subject.notes:
        writer.event("note", step=0, message=note)
    labels = None if subject.labels is None else subject.labels[subject.watched]
    if subject.watch is not None:
        shutil.copytree(subject.watch, writer.path / "watch")
    else:
        assert subject.pictures is not None and subject.sample_ids is not None
        known = None if labels is None else labels.numpy()
        writer.watch(subject.pictures, subject.sample_ids, known, subject.label_names)
    features = subject.features[subject.watched]
    if (top := features.abs().max().item()) > _HALF_TOP:
        features = features * (_HALF_TOP / top)
    columns, summary = describe(features, found.log_probs[subject.watched], labels=labels)
    writer.snapshot(0, 0.0, columns, summary)
    end = {"reason": "completed", "step": 0, "message": sentence}
    writer.event("end", **end)
    attempt = attempt_folder(writer.path, writer.attempt)
    write_json(attempt / "environment.json", {"images": subject.fingerprint, "torch": torch.__version__})
    write_json(attempt / "end.json", end)
