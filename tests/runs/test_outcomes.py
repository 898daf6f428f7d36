"""A record of many runs is read whole or refused, and the edges of learning are found between two runs."""

import json
import math

import pytest

from twist.runs.bounds import largest_weight
from twist.runs.config import ConfigError
from twist.runs.outcomes import read_outcomes, transitions

WEIGHTS = (0.25, 0.5, 1.0, 2.0)


def record(information=(3.0, 2.0, 0.75, 0.25), consistency=(4.0, 2.0, 0.5, 0.0), **changes) -> dict:
    """Four runs of one strength and temperature."""
    cells = [
        {
            **{"strength": "mild", "temperature": 1.0, "weight": weight, "sharpness": 4 - kept, "diversity": 4.0},
            **{"mutual_information": kept, "consistency": fine, "correlation": 0.5, "best_direction": 0.6},
            **{"row_std": min(1.0, kept)},
            **{"balance": 1.5, "knn": 0.3 - abs(weight - 1) / 10, "verdict": "healthy"},
        }
        for weight, kept, fine in zip(WEIGHTS, information, consistency, strict=True)
    ]
    starts = [{"strength": "mild", "correlation": 0.2, "best_direction": 0.5}]
    return {"cells": cells, "starts": starts, "untrained": {"pixels": 0.2}, "classes": 64, "note": "", **changes}


def read(tmp_path, written: dict):
    (tmp_path / "record.json").write_text(json.dumps(written))
    return read_outcomes(tmp_path / "record.json")


def test_both_edges_lie_between_the_runs_that_they_part(tmp_path):
    (row,) = transitions(read(tmp_path, record())).to_dict("records")
    assert row["noise_below"] == pytest.approx(0.5)  # where information and consistency are equal
    assert row["slides_above"] == pytest.approx(math.sqrt(2))  # half way from 0.75 to 0.25, on a logarithmic scale
    assert row["foretold"] == largest_weight(0.5) and (row["best_weight"], row["best_knn"]) == (1.0, 0.3)


def test_an_edge_that_no_two_runs_part_is_no_number(tmp_path):
    learning = record(information=(3.0, 2.5, 2.0, 1.0), consistency=(1.0, 1.0, 0.5, 0.0))
    (row,) = transitions(read(tmp_path, learning)).to_dict("records")
    assert math.isnan(row["noise_below"]) and math.isnan(row["slides_above"])


@pytest.mark.parametrize("spoiled", [{"cells": [{"strength": "mild"}]}, {"starts": []}, {"untrained": None}])
def test_what_is_no_record_is_refused_by_name(tmp_path, spoiled):
    written = {key: value for key, value in {**record(), **spoiled}.items() if value is not None}
    with pytest.raises(ConfigError, match=r"record\.json is no record of where the objective learns"):
        read(tmp_path, written)
    with pytest.raises(ConfigError, match=r"missing\.json is no record"):
        read_outcomes(tmp_path / "missing.json")
