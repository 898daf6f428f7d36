"""Pictures of where the objective learns show every run, at its place, with what it must exceed."""

import math

import numpy as np
import pandas as pd
import pytest

from twist.runs.outcomes import Outcomes
from twist.view.outcomes import growth_lines, outcome_curves, outcome_planes

WEIGHTS, TEMPERATURES, STRENGTHS = (0.5, 1.0, 2.0), (0.5, 1.0), ("mild", "strong")
FIGURES = (outcome_planes, growth_lines, outcome_curves)


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    rows = []
    for strength in STRENGTHS:
        for temperature in TEMPERATURES:
            for weight in WEIGHTS:
                kept = 2 / weight if strength == "mild" else 0.5 / weight
                rows.append(
                    {
                        **{"strength": strength, "temperature": temperature, "weight": weight},
                        **{"sharpness": 4.1 - kept, "diversity": 4.1, "mutual_information": kept},
                        **{"consistency": kept / 2, "correlation": 0.6, "best_direction": 0.7},
                        **{"balance": 1.25, "knn": 0.3, "verdict": "healthy"},
                    }
                )
    starts = pd.DataFrame([{"strength": "mild", "best_direction": 0.5}, {"strength": "strong", "best_direction": 0.1}])
    return Outcomes(pd.DataFrame(rows), starts, {"pixels": 0.25}, 64, "a note")


def points(figure) -> list:
    return [trace for trace in figure.data if trace.text is not None]


def words(figure) -> str:
    return "\n".join(note.text for note in figure.layout.annotations)


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("dark", [False, True])
def test_every_run_is_drawn_and_says_on_hover_what_it_was(draw, dark, outcomes):
    figure = draw(outcomes, dark=dark)
    each = sum(len(trace.x) for trace in points(figure))
    assert each == len(outcomes.runs) * (3 if draw is outcome_curves else 1)
    assert all("weight" in text and "nats" in text and "kNN" in text for trace in points(figure) for text in trace.text)
    assert "a note" in figure.layout.title.text and "temperature" in figure.layout.title.text
    assert all(strength in words(figure) for strength in STRENGTHS)


def test_a_run_stands_at_its_entropies_in_the_plane(outcomes):
    figure = outcome_planes(outcomes)
    first = points(figure)[0]
    assert first.x == pytest.approx([4.1 - 2 / weight for weight in WEIGHTS])
    assert first.y == pytest.approx(3 * [4.1])
    low, high = figure.layout.yaxis.range
    assert low < 4.1 < math.log(64) < high


def test_full_points_are_those_whose_information_still_grows(outcomes):
    symbols = points(growth_lines(outcomes))[0].marker.symbol
    assert [symbol.endswith("-open") for symbol in symbols] == [False, False, True]  # balance 1.25 against 0.5, 1, 2


def test_the_line_that_a_correlation_must_exceed_and_where_the_start_meets_it_are_drawn(outcomes):
    figure = growth_lines(outcomes)
    line = next(trace for trace in figure.data if trace.name and trace.name.startswith("growth line"))
    weights, need = np.array(line.x[:-2]), np.array(line.y[:-2])
    assert need == pytest.approx(1 - 0.5 / weights)
    assert "w = 1.00" in words(figure) and "w = 0.56" in words(figure)
    crossings = sorted(shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1)
    assert crossings == pytest.approx([0.5 / 0.9, 1.0])


def test_what_costs_no_training_stands_beside_the_accuracies(outcomes):
    assert "pixels" in words(outcome_curves(outcomes))
