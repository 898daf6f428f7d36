"""What the report says of a frozen run: where its features come from, and what the labeler was asked for."""

from __future__ import annotations

from typing import Any

from twist.runs.record import RunRecord
from twist.view.pages import table_html, text

_SETTINGS = {
    "num_classes": "number of classes C",
    "dimensions": "principal directions of the features, at most",
    "seed": "seed",
    "restarts": "times it starts anew; the tightest clusters are taken",
    "gamma": "weight of the entropy of the mean distribution",
    "outer_steps": "steps of the labels",
    "inner_steps": "steps of the linear classifiers for each of these",
    "warm_start": "whether the classifiers go on from where they were",
    "outer_rate": "learning rate of the labels",
    "inner_rate": "learning rate of the classifiers",
    "batch_size": "images of a step, at most",
    "neighbors": "nearest images of which one is an image's second view",
    "hidden_dim": "width of the head's hidden layer",
    "num_heads": "heads trained side by side; that of least loss speaks",
    "temperature": "divisor of the logits",
    "steps": "steps of the head",
    "learning_rate": "learning rate at the start; a cosine ends at 0",
}
_FACTS = {
    "spread_kept": "share of the features' spread in the directions kept",
    "within": "share of the spread that is left within the clusters",
    "cross_entropy": "cross-entropy of the classifiers on the labels at the end, nats",
    "marginal_entropy": "entropy of the mean label at the end, nats",
    "classes_in_use": "classes that hold an image",
    "head_losses": "loss of each head at the end, nats",
}


def frozen_facts_of(record: RunRecord, num_watch: int) -> dict[str, str]:
    """The facts at the head of a frozen run's report."""
    frozen = record.frozen
    count = int(frozen.get("count") or num_watch)
    return {
        "state": "nothing was trained here",
        "features": str(frozen.get("model")),
        "width of a feature, D": f"{frozen.get('width', 0):,}",
        "classes by": str(frozen.get("labeler")),
        "classes, C": f"{record.recipe.network.num_classes:,}",
        "images": str(frozen.get("images") or record.recipe.data.source),
        "images labelled": f"{count:,}",
        "images shown": f"{num_watch:,} of {count:,}",
        "seed of the labeler": str(record.recipe.seed),
        "labeling": f"{frozen.get('seconds', 0):.1f} s",
        "created": str(record.identity.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
    }


def frozen_chapter(record: RunRecord) -> str:
    """The labeler's settings and what became of it, in place of the recipe of a training."""
    frozen = record.frozen
    settings, facts = frozen.get("settings") or {}, frozen.get("facts") or {}
    rows = [
        (text(name), text(_spell(settings[name])), text(words)) for name, words in _SETTINGS.items() if name in settings
    ]
    rows += [(text(name), text(_spell(facts[name])), text(words)) for name, words in _FACTS.items() if name in facts]
    notes = "".join(f"<p>{text(str(note))}</p>" for note in frozen.get("notes") or ())
    return (
        f"<section><h2>How the classes were found</h2><p>Features of {text(str(frozen.get('model')))}, as they are; "
        f"{text(str(frozen.get('labeler')))} sorted the images by them. No label was used.</p>{notes}"
        f"{table_html(('name', 'value', 'what it says'), rows, numbers=(1,))}</section>"
    )


def _spell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_spell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
