"""The tables of published results, out of their records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.result_sets import ResultSet

BEGIN = "<!-- results: begin, written by `python -m benchmarks.results --readme` -->"
END = "<!-- results: end -->"

_METHODS = {
    "twist": "TWIST",
    "untrained": "the same net, untrained",
    "supervised": "the same net, all labels from scratch",
    "pixels": "pixels",
}
#: Title, protocol, share of the labels, score.
_COLUMNS = (
    ("kNN, k = 20", "knn", None, "accuracy_k20"),
    ("linear", "linear", None, "accuracy"),
    ("linear, SGD", "linear-sgd", None, "accuracy"),
    ("1 % of labels", "finetune", 0.01, "accuracy"),
    ("10 %", "finetune", 0.1, "accuracy"),
    ("100 %", "finetune", 1.0, "accuracy"),
    ("own classes, matched", "classes", None, "matched_accuracy"),
    ("NMI", "classes", None, "nmi"),
    ("k-means, matched", "kmeans", None, "matched_accuracy"),
    ("NMI", "kmeans", None, "nmi"),
)


def readme_block(records: Sequence[dict[str, Any]], open_sets: Mapping[str, ResultSet]) -> str:
    """A table for every record, each with what was asked, how, and on what; then what is still to be measured."""
    parts = [*map(_table, records), *([_protocols(records)] if records else [])]
    return "\n\n".join([*parts, *([_open(open_sets)] if open_sets else [])])


def _open(open_sets: Mapping[str, ResultSet]) -> str:
    """What was never measured, what is aimed at, and the command that will tell."""
    lines = []
    for name, one in open_sets.items():
        aims = [f"{column} above {first:g} %, then {then:g} %" for column, first, then in one.goals]
        if one.minutes_to is not None:
            accuracy, first, then = one.minutes_to
            aims.append(f"kNN of {accuracy:g} % in {first:g} minutes, then {then:g}")
        lines.append(f"* {one.title}: {'; '.join(aims)}: `make results-gpu SET={name}`")
    return "\n".join(
        [
            "**Open**, as it was never run on a GPU; learned from training images alone, the last epoch, three seeds:",
            "",
            *lines,
        ]
    )


def _table(record: dict[str, Any]) -> str:
    columns = [column for column in _COLUMNS if any(_row(record, method, column) for method in _METHODS)]
    lines = [
        f"**{record['title']}.** {record['said']}",
        "",
        "| in % | " + " | ".join(title for title, *_ in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for method, title in _METHODS.items():
        cells = [_cell(record, method, column) for column in columns]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _facts(record)])


def _row(record: dict[str, Any], method: str, column: tuple) -> dict[str, Any] | None:
    _, protocol, fraction, score = column
    for row in record["rows"]:
        if (row["method"], row["protocol"], row["fraction"]) == (method, protocol, fraction) and score in row["mean"]:
            return row
        # All labels from the start stand in the column of all labels.
        if method == row["method"] == "supervised" and (protocol, fraction) == ("finetune", 1.0):
            return row
    return None


def _cell(record: dict[str, Any], method: str, column: tuple) -> str:
    row = _row(record, method, column)
    if row is None:
        return ""
    score = column[3]
    mean = f"{100 * row['mean'][score]:.1f}"
    return f"{mean} ± {100 * row['std'][score]:.1f}" if score in row["std"] else mean


def _facts(record: dict[str, Any]) -> str:
    training, network, asked = record["training"], record["network"], record["asked"]
    wall = [one["wall_seconds"] / 60 for one in training]
    busy = [one["processor_seconds"] / 60 for one in training if one["processor_seconds"] is not None]
    spent = f"{_span(wall, 'minutes')} a run"
    if len(busy) == len(training):
        others = ", beside much other work" if sum(wall) > 1.5 * sum(busy) else ""
        spent = f"{_span(busy, 'processor minutes')} a run ({_span(wall, 'minutes')} on the wall{others})"
    where = record["machine"].get("gpu") or record["machine"]["processor"]
    overlap = record["overlap"] or {"count": 0}
    copies = (
        f" {overlap['count']} of the {asked['count']:,} asked images also stand among the known ones, pixel for pixel."
        if overlap["count"]
        else ""
    )
    way = _way(record.get("way_of_knn", ()))
    verdicts = sorted({one["verdict"] for one in training})
    return (
        f"`{record['trains_like']}`: {network['backbone']} of {network['parameters']:,} parameters, "
        f"{network['num_classes']} classes, {training[0]['epochs']} epochs; {spent}, "
        f"{training[0]['threads']} thread{'s' if training[0]['threads'] != 1 else ''} ({where}); seeds "
        f"{', '.join(map(str, record['seeds']))}, mean ± standard deviation; verdict {', '.join(verdicts)}. "
        f"All of it: `{record['command']}`, {record['date']}.{copies}{way}"
    )


def _span(values: Sequence[float], unit: str) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _protocols(records: Sequence[dict[str, Any]]) -> str:
    by_share = {row["fraction"]: row["settings"] for row in records[0]["rows"] if row["protocol"] == "finetune"}
    tuned = "; ".join(f"{100 * share:g} %: {_said_of(by_share[share])}" for share in sorted(by_share))
    said = [
        "*kNN*: the labels of the 20 nearest known images by cosine vote, each counting alike.",
        "*Linear*: a logistic regression on the known images' features; *SGD* is the paper's way, 100 epochs, on the "
        "same features, so without augmentation.",
        "*Shares of labels*: the whole network goes on training with so many labels, lists drawn by seed with as many "
        f"of each label, crop and flip as the run has them ({tuned}; rates of backbone and classifier); the settings "
        "were chosen on training images. All labels from scratch, the run's own views and epochs, stand under 100 %.",
        "*Own classes*: what the head calls the asked images, each class matched with one label at most, so that with "
        "more classes than labels most of them count as wrong.",
        "*k-means*: as many clusters as labels on the asked images' features.",
        "Untrained nets have the norm statistics of the images.",
        "No test image of a named set chose a setting. Of digits, the asked ones were among the 1,797 by whose labels "
        "the recipe was once chosen; no setting of a protocol was.",
    ]
    return " ".join(said)


def _said_of(settings: dict[str, Any]) -> str:
    least = f", {settings['least_steps']:,} steps at least" if settings["least_steps"] else ""
    return f"{settings['epochs']} epochs{least}, {settings['backbone_rate']:g} and {settings['classifier_rate']:g}"


def _way(way: Sequence[dict[str, Any]], accuracy: float = 0.9) -> str:
    """When the runs first reached an accuracy of kNN, of the checkpoints that were kept."""
    if not way:
        return ""
    seeds = sorted({one["seed"] for one in way})
    first = [
        min((one["seconds"] for one in way if one["seed"] == seed and one["accuracy_k20"] >= accuracy), default=None)
        for seed in seeds
    ]
    reached = [seconds / 60 for seconds in first if seconds is not None]
    if len(reached) < len(seeds):
        return f" {len(reached)} of {len(seeds)} runs reached {100 * accuracy:g} % by kNN."
    return f" {100 * accuracy:g} % by kNN after {_span(reached, 'minutes')}."
