"""Where the objective learns: a record of many short runs over consistency weight, temperature and augmentation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twist.runs.bounds import largest_weight
from twist.runs.config import ConfigError

if TYPE_CHECKING:
    import pandas as pd

#: Spread of a row of logits below which a run counts as having slid to uniform: the norm before the softmax allows 1,
#: whatever the temperature, so less than a quarter of its variance tells classes apart.
SLID = 0.5
_COLUMNS = (
    *("strength", "temperature", "weight", "sharpness", "diversity", "mutual_information", "consistency", "row_std"),
    *("correlation", "best_direction", "balance", "knn", "verdict"),
)


@dataclass(frozen=True)
class Outcomes:
    """The ends of many runs that differ in three things alone.

    Attributes
    ----------
    runs
        A row for each: ``strength`` of the augmentation (text), ``temperature``, ``weight`` of consistency; at its end
        ``sharpness``, ``diversity``, ``mutual_information``, ``consistency`` in nats, ``row_std``, ``correlation``,
        ``best_direction`` and ``balance`` (`twist.learn.onset.Onset`), ``knn`` (0 to 1) and ``verdict``.
    starts
        A row for each strength, with ``correlation`` and ``best_direction`` of the network as it was drawn.
    untrained
        Accuracy of nearest neighbors that costs no training, by name, 0 to 1.
    num_classes
        C of all runs.
    note
        What was trained, in a line.
    """

    runs: pd.DataFrame
    starts: pd.DataFrame
    untrained: Mapping[str, float]
    num_classes: int
    note: str = ""


def read_outcomes(path: str | Path) -> Outcomes:
    """The outcomes of a record of ``python -m benchmarks.where_it_learns``.

    Raises
    ------
    ConfigError
        When the file is missing or no such record.
    """
    import pandas as pd

    try:
        record = json.loads(Path(path).read_text())
        runs, starts = pd.DataFrame(record["cells"]), pd.DataFrame(record["starts"])
        runs[list(_COLUMNS)], starts[["strength", "correlation", "best_direction"]]  # noqa: B018
        return Outcomes(runs, starts, record["untrained"], record["classes"], record["note"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no record of where the objective learns ({error}): "
            "write one with `python -m benchmarks.where_it_learns`"
        ) from None


def transitions(outcomes: Outcomes) -> pd.DataFrame:
    """Both edges of learning for each strength and temperature, as consistency weights, and what the start foretold.

    Returns
    -------
    DataFrame
        ``noise_below``: weight above which the runs' information exceeds their consistency, so that more of an answer
        is shared by both views than not. ``slides_above``: weight at which the spread of a row of logits falls below
        `SLID`. Both between two runs, on a logarithmic scale; not a number where all runs are on one side.
        ``foretold``: `twist.runs.bounds.largest_weight` of the best direction at the start. ``best_knn`` and
        ``best_weight``: the best accuracy of the row, and where.
    """
    import pandas as pd

    best = outcomes.starts.set_index("strength").best_direction
    rows = []
    for (strength, temperature), ends in outcomes.runs.groupby(["strength", "temperature"], sort=False):
        ends = ends.sort_values("weight")
        shared = (ends.mutual_information - ends.consistency).to_numpy()
        left = ends.row_std.to_numpy() - SLID
        weights, top = ends.weight.to_numpy(), ends.loc[ends.knn.idxmax()]
        rows.append(
            {
                "strength": strength,
                "temperature": temperature,
                "noise_below": _crossing(weights, shared, rising=True),
                "slides_above": _crossing(weights, left, rising=False),
                "foretold": largest_weight(float(best[strength])),
                "best_weight": float(top.weight),
                "best_knn": float(top.knn),
            }
        )
    return pd.DataFrame(rows)


def _crossing(weights: np.ndarray, values: np.ndarray, *, rising: bool) -> float:
    """Where values pass 0 for the first time when rising, for the last when falling, between two weights."""
    signs = values > 0
    places = np.flatnonzero((signs[1:] & ~signs[:-1]) if rising else (~signs[1:] & signs[:-1]))
    if not len(places):
        return math.nan
    place = places[0] if rising else places[-1]
    share = values[place] / (values[place] - values[place + 1])
    return float(weights[place] * (weights[place + 1] / weights[place]) ** share)
