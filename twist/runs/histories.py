"""Watch images through time: the path of one, what all of them have in common, and how well they agree with labels."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from twist.runs.class_histories import classes_followed
from twist.runs.clustering import ClusterScores, cluster_scores
from twist.runs.columns import (
    Stamped,
    assignment_path,
    check_image,
    column_through_time,
    columns_of_image,
    read_assignment,
    read_rows,
    stamped,
    steps_until,
)
from twist.runs.record import EPOCH_SAMPLES, NOT_VISITED, RunRecord, epoch_file
from twist.runs.store import RecordError

if TYPE_CHECKING:
    import pandas as pd

#: An image is held by a class when it was in it, and confident, at this many snapshots in a row.
HELD_SNAPSHOTS = 3
LABEL_SCORES = ("matched_accuracy", "nmi", "ami", "ari")
PROBES = ("watch/knn_accuracy", "watch/linear_accuracy")


def confident_above(num_classes: int) -> float:
    """The confidence from which an image counts as confident: half way from chance, 1/C, to certainty, 1.

    Behind the final norm at temperature 1 the most that all images can reach together is 0.74 (at seven classes) to
    0.88 (at two), so that a line near certainty would call nothing confident.

    Examples
    --------
    >>> confident_above(2), confident_above(10)
    (0.75, 0.55)
    """
    return (1 + 1 / num_classes) / 2


def sample_history(record: RunRecord, index: int, until: int | None = None) -> pd.DataFrame:
    """What every snapshot says of one watch image.

    Parameters
    ----------
    record
        A run's reader; `RunRecord.poll` it first.
    index
        Row of the image among the watch images.
    until
        Leave out snapshots of later steps.

    Returns
    -------
    DataFrame
        Indexed by step: ``sample_entropy`` (nats, 0 sure to log C), ``confidence``, ``margin`` (lead over the second
        class), ``assignment`` and ``agreement`` (share of its visits in training since the snapshot before in which
        both views fell into one class). NaN, or -1 for an assignment, where nothing was kept; the sentences in
        ``attrs["damaged"]`` name the files that could not be read.

    Raises
    ------
    ValueError
        When there is no such image.
    """
    import pandas as pd

    columns = columns_of_image(record, index, until)
    table = pd.DataFrame(
        {name: through.values[:, 0] for name, through in columns.items()},
        index=pd.Index(columns["assignment"].steps, name="step"),
    )
    table.attrs["damaged"] = tuple(sentence for through in columns.values() for sentence in through.damaged)
    return table


def epoch_history(record: RunRecord, index: int, until: int | None = None) -> pd.DataFrame:
    """What training itself saw of one watch image in every epoch: augmented views, batch statistics.

    Its entropies lie above those of `sample_history`, which reads the plain image, and they follow the training more
    closely: one value an epoch.

    Parameters
    ----------
    record
        A run's reader; `RunRecord.poll` it first.
    index
        Row of the image among the watch images.
    until
        Leave out epochs that ended at later steps.

    Returns
    -------
    DataFrame
        Indexed by epoch, from 1: ``sample_entropy`` (nats, the mean over both global views), ``assignment`` (of the
        first) and ``agreement`` (1 when both fell into one class, else 0); NaN and -1 in an epoch that left the image
        out, or whose file is damaged and named in ``attrs["damaged"]``.

    Raises
    ------
    ValueError
        When there is no such image.
    """
    import pandas as pd

    watch = record.watch()
    ids = np.zeros(0, int) if watch is None else watch.sample_ids
    check_image(record, index, len(ids))
    sample = int(ids[index])
    events = {event["epoch"]: event for event in record.events if event["kind"] == "epoch"}
    rows, damaged = {}, []
    for epoch in record.epoch_numbers():
        if until is not None and events[epoch]["step"] > until:
            continue
        rows[epoch] = (np.nan, -1, np.nan)
        try:
            path = record.path / "epochs" / epoch_file(epoch)
            read = read_rows(path, EPOCH_SAMPLES, sample, sample + 1, count=events[epoch]["images"])
        except RecordError as error:
            damaged.append(str(error))
        else:
            entropy, assignment, agreement = read[0]
            rows[epoch] = (float(entropy), int(assignment), np.nan if agreement == NOT_VISITED else float(agreement))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["sample_entropy", "assignment", "agreement"])
    table = table.astype({"sample_entropy": np.float32, "assignment": np.int32, "agreement": np.float32})
    table.index = pd.Index(list(rows), name="epoch", dtype=np.int64)
    table.attrs["damaged"] = tuple(damaged)
    return table


class SampleTraits(NamedTuple):
    """What sets the watch images apart, over all snapshots; every array is ``[M]``.

    Attributes
    ----------
    settled_step
        Step of the first snapshot since which the image never changed its class, -1 without a snapshot. One that
        changed at the newest snapshot has settled there: early values are the ones that say something.
    flips
        How often its class differs from that of the snapshot before.
    never_confident
        Whether its confidence was at or below `confident_above` at every snapshot: it has no class, or lies between
        two.
    forgotten
        Whether a class once held it (`HELD_SNAPSHOTS` snapshots in a row in that class, each time confident) and the
        newest snapshot finds it in another class than the last one that held it. One that went over to another class
        and was held there is not forgotten.
    mean_confidence, variability
        Mean and standard deviation of its confidence over the snapshots. High and steady: easy, or learned at once;
        low and steady: never learned, or between two classes; much variability: learned on the way, or contested. NaN
        without a snapshot.
    damaged
        One sentence for each file that could not be read; its snapshot is left out.
    """

    settled_step: np.ndarray
    flips: np.ndarray
    never_confident: np.ndarray
    forgotten: np.ndarray
    mean_confidence: np.ndarray
    variability: np.ndarray
    damaged: tuple[str, ...]


def sample_traits(record: RunRecord, until: int | None = None) -> SampleTraits:
    """Since when each watch image keeps its class, how often it changed, and how sure the network was of it.

    They need no labels, and see nothing of what happens between two snapshots. Of a run with several heads, classes
    are followed by their images (`twist.runs.class_histories.classes_followed`), for their numbers change with the head
    that speaks.
    """
    network = record.recipe.network
    assigned = column_through_time(record, "assignment", until)
    confident = column_through_time(record, "confidence", until)
    whole = (assigned.values >= 0).all(1) & ~np.isnan(confident.values).all(1)
    steps, assignment, confidence = assigned.steps[whole], assigned.values[whole], confident.values[whole]
    damaged = assigned.damaged + confident.damaged
    count = assignment.shape[1]
    if not len(steps):
        unknown = np.full(count, np.nan)
        no = np.zeros(count, bool)
        return SampleTraits(np.full(count, -1), np.zeros(count, int), no, no, unknown, unknown, damaged)
    if network.num_heads > 1:
        assignment = classes_followed(assignment, network.num_classes)
    sure = confidence > confident_above(network.num_classes)
    changed = assignment[1:] != assignment[:-1]
    last_change = np.where(changed, np.arange(1, len(steps))[:, None], 0).max(0, initial=0)
    in_a_row = np.zeros(count, int)
    holder = np.full(count, -1)
    for now, classes in enumerate(assignment):
        goes_on = ~changed[now - 1] if now else False
        in_a_row = np.where(sure[now], np.where(goes_on, in_a_row, 0) + 1, 0)
        holder = np.where(in_a_row >= HELD_SNAPSHOTS, classes, holder)
    return SampleTraits(
        settled_step=steps[last_change],
        flips=changed.sum(0),
        never_confident=~sure.any(0),
        forgotten=(holder >= 0) & (holder != assignment[-1]),
        mean_confidence=confidence.mean(0),
        variability=confidence.std(0),
        damaged=damaged,
    )


def label_scores(record: RunRecord, until: int | None = None) -> pd.DataFrame:
    """How well the classes of each snapshot agree with labels that the training never saw.

    Each snapshot is scored once in the life of a process, so that a monitor may ask at every look.

    Returns
    -------
    DataFrame
        Indexed by step: ``matched_accuracy``, ``nmi``, ``ami``, ``ari`` as in
        `twist.runs.clustering.ClusterScores`, and ``watch/knn_accuracy``, ``watch/linear_accuracy`` of the features
        where the run measured them, else NaN. Without labels it has no rows. A snapshot that cannot be scored is NaN,
        and ``attrs["damaged"]`` says why.
    """
    import pandas as pd

    watch = record.watch()
    labeled = watch is not None and watch.labels is not None and watch.labels.max(initial=-1) >= 0
    rows, damaged = {}, []
    for step in steps_until(record, until) if labeled else []:
        try:
            files = stamped(assignment_path(record, step)), stamped(record.path / "watch" / "labels.npy")
            scores = _scores(*files, record.recipe.network.num_classes)
            rows[step] = [getattr(scores, name) for name in LABEL_SCORES]
        except (RecordError, ValueError) as error:
            rows[step] = [np.nan] * len(LABEL_SCORES)
            damaged.append(f"step {step}: {error}")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(LABEL_SCORES), dtype=np.float64)
    table.index = pd.Index(list(rows), name="step", dtype=np.int64)
    probed = record.snapshot_metrics().reindex(index=table.index, columns=list(PROBES))
    table = table.join(probed.astype(np.float64))
    table.attrs["damaged"] = tuple(damaged)
    return table


@functools.lru_cache(maxsize=10_000)
def _scores(assigned: Stamped, labels: Stamped, num_classes: int) -> ClusterScores:
    assignment = read_assignment(assigned.path, num_classes)
    return cluster_scores(assignment, read_rows(labels.path, np.int32, count=len(assignment)), num_classes)
