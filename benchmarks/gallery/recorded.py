"""Figures drawn from committed records of experiments that took too long to be made again with the others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go

from benchmarks.gallery.drawn import dots
from benchmarks.gallery.trained import HOME
from twist.runs.outcomes import read_outcomes
from twist.view.outcomes import outcome_planes

RECORDS = HOME / "benchmarks" / "records"
#: What is asked: words, protocol, share of the labels, and its score.
_ASKED = (
    ("kNN, k = 20", "knn", None, "accuracy_k20"),
    ("linear probe", "linear", None, "accuracy"),
    ("1 % of the labels", "finetune", 0.01, "accuracy"),
)
_MODELS = {"twist": "TWIST", "untrained": "untrained", "pixels": "pixels"}


def where(*, dark: bool) -> go.Figure:
    """Where runs ended in the entropy plane, by weight of consistency, temperature and views."""
    return outcome_planes(read_outcomes(RECORDS / "where_it_learns.json"), dark=dark)


def honest(*, dark: bool) -> go.Figure:
    """What a trained net adds to the same net untrained and to the pixels, on two sets."""
    rows = []
    for name, title in (("digits", "Digits"), ("cifar10-6000", "CIFAR-10, 6,000")):
        rows += [(f"{title}: {words}", scores) for words, scores in _scores(name)]
    return dots("What did training add?", "mean and standard deviation of three seeds", rows, dark=dark)


def _scores(name: str) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """For each question, the models with mean and standard deviation over seeds."""
    found = json.loads((RECORDS / "results" / f"{name}.json").read_text())["rows"]
    answers = []
    for words, protocol, fraction, score in _ASKED:
        rows = [row for row in found if row["protocol"] == protocol and row["fraction"] == fraction]
        values = {row["method"]: np.array(row["scores"][score]) for row in rows if row["method"] in _MODELS}
        spread = {model: float(v.std(ddof=1)) if len(v) > 1 else 0.0 for model, v in values.items()}
        answers.append((words, [(_MODELS[model], float(v.mean()), spread[model]) for model, v in values.items()]))
    return answers


def source(name: str) -> str:
    """Where a record comes from, in a line."""
    found: dict[str, Any] = json.loads((RECORDS / name).read_text())
    return f"record benchmarks/records/{name} · {found.get('date', '')} · {found.get('command', '')}".strip(" ·")
