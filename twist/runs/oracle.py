"""What a run of the collapse zoo did show in the end: the truth that verdicts are counted against.

It looks at what the rules of the verdict never see or ask in another way: single images instead of batch means, labels
that the training never saw, the end of the run instead of its course, and how the run itself ended. It needs labels and
hindsight, so it is no verdict: it judges one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from twist.runs.handle import Run
from twist.runs.kinds import Kind
from twist.runs.record import RunRecord
from twist.runs.shortcuts import shortcut_at
from twist.runs.status import end_record, read_status

#: All but one in twenty images give no class more than this multiple of 1/C: flat; more than the second: not even that
#: far from flat.
FLAT_TIMES, NEARLY_FLAT_TIMES = 1.5, 5.0
CROWDED_SHARE = 0.85  # of the images in one class
FEW_SHARE = 0.25  # of the classes hold 19 of 20 images
PAIRS_APART = 0.4  # of the visits of an image, at most, put its two views into one class
FLIPPING = 0.6  # adjusted mutual information of one snapshot's assignment with the next
MATCHED = 0.5  # adjusted mutual information with the labels above which a run has learned what an image shows
LIT = 0.1  # of the assignment must light explain at the least, or both are chance
CONE = 0.9  # mean cosine of the features of two images
TINY_BATCH = 8  # times more classes than images in a batch
LEARNED = 0.03  # kNN accuracy above that of the untrained network; half of it is the error of some 500 images
NEAR = 0.1  # of its final value: the quantity that fails has arrived


class Truth(NamedTuple):
    """What a run showed in the end.

    Attributes
    ----------
    kind
        Which kind of verdict is right.
    quantity
        The quantity in which it shows, empty for a healthy run.
    arrived
        First step after which that quantity stays within a tenth of its final value; None for a healthy run.
    """

    kind: Kind
    quantity: str
    arrived: int | None


def truth(run: Run) -> Truth:
    """What a run that has ended did show.

    Raises
    ------
    ValueError
        When the run has not ended well, or has no labels, probes or second snapshot: then nothing is known of it.
    """
    record = run.record
    record.poll()
    status = read_status(run.path)
    if status.state == "FAILED" and end_record(run.path, status.attempt).get("type") == "NotFiniteError":
        return Truth("not finite", "train/total", status.step)
    if status.state != "COMPLETED":
        raise ValueError(f"run {run.name} is {status}: only a run that has ended shows what it is")
    kind = _kind(record)
    quantity = _QUANTITIES.get(kind, "")
    return Truth(kind, quantity, _arrived(record, quantity) if quantity else None)


_QUANTITIES: dict[Kind, str] = {
    "uniform collapse": "train/sharpness",
    "one-class collapse": "usage",
    "partial collapse": "usage",
    "dimensional collapse": "watch/effective_rank",
    "inconsistent views": "train/agreement",
    "overconfident noise": "train/agreement",
    "shortcut": "shortcut",
    "plateau near uniform": "train/mutual_information",
    "batch too small": "train/mutual_information",
}


def _kind(record: RunRecord) -> Kind:
    from sklearn.metrics import adjusted_mutual_info_score

    watch, steps = record.watch(), record.snapshot_steps()
    probes = record.snapshot_metrics().get("watch/knn_accuracy")
    if watch is None or watch.labels is None or probes is None or len(steps) < 2:
        raise ValueError(f"run {record.name} has no labels or fewer than two snapshots: its truth cannot be told")
    last, before = record.snapshot(steps[-1]), record.snapshot(steps[-2])
    num_classes = last.num_classes
    usage = np.sort(last.class_usage)[::-1]
    clearest = float(np.quantile(last.confidence, 0.95)) * num_classes
    if clearest < FLAT_TIMES:
        return "uniform collapse"
    if usage[0] > CROWDED_SHARE:
        return "one-class collapse"
    if record.recipe.optim.batch_size * TINY_BATCH <= num_classes and clearest < NEARLY_FLAT_TIMES:
        return "batch too small"
    if int((usage.cumsum() < 0.95).sum()) + 1 <= FEW_SHARE * num_classes:
        return "partial collapse"
    by_labels = adjusted_mutual_info_score(watch.labels, last.assignment)
    apart = last.agreement is not None and np.nanmean(last.agreement) < PAIRS_APART
    if apart and clearest > NEARLY_FLAT_TIMES and by_labels < MATCHED:
        same = adjusted_mutual_info_score(before.assignment, last.assignment)
        return "overconfident noise" if same < FLIPPING else "inconsistent views"
    if _mean_cosine(np.asarray(last.features, np.float64)) > CONE:
        return "dimensional collapse"
    by_light = shortcut_at(record, steps[-1])
    if by_light is not None and max(by_light.together, *by_light.explained.values()) > max(by_labels, LIT):
        return "shortcut"
    unlearned = by_labels < MATCHED and probes.iloc[-1] <= probes.iloc[0] + LEARNED
    if clearest < NEARLY_FLAT_TIMES and unlearned:
        return "plateau near uniform"
    return "healthy"


def _mean_cosine(features: np.ndarray) -> float:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.where(norms > 0, norms, 1)
    count = len(directions)
    return float((np.square(directions.sum(0)).sum() - count) / (count * (count - 1)))


def _arrived(record: RunRecord, quantity: str) -> int | None:
    steps, values = _course(record, quantity)
    if not len(values):
        return None
    final = values[-1]
    away = np.flatnonzero(np.abs(values - final) > NEAR * max(abs(final), 1e-9))
    return int(steps[away[-1] + 1]) if len(away) else int(steps[0])


def _course(record: RunRecord, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """A quantity over the steps; batch numbers as running medians of five, since a single batch is noise.

    ``usage`` is the perplexity of the class usage of the watch images, ``shortcut`` what light explains of it.
    """
    steps = np.array(record.snapshot_steps())
    if quantity == "usage":
        usages = [record.snapshot(int(step)).class_usage for step in steps]
        return steps, np.array([math.exp(-sum(share * math.log(share) for share in u if share > 0)) for u in usages])
    if quantity == "shortcut":
        found = [shortcut_at(record, int(step)) for step in steps]
        return steps, np.array([max(one.explained.values()) if one else math.nan for one in found])
    table = record.snapshot_metrics() if quantity.startswith("watch/") else record.metrics()
    column = table[quantity].dropna()
    if quantity.startswith("train/"):
        column = column.rolling(5, min_periods=1).median()
    return column.index.to_numpy(), column.to_numpy(float)
