"""The committed record of where the objective learns says what the notebook and the diary claim of it."""

import math

from benchmarks.where_it_learns import RECORD, STRENGTHS, cells
from twist.runs.outcomes import SLID, read_outcomes, transitions


def test_the_record_holds_every_cell_of_the_grid_once():
    runs = read_outcomes(RECORD).runs
    found = [tuple(row) for row in runs[["strength", "temperature", "weight", "seed"]].itertuples(index=False)]
    assert sorted(found) == sorted(tuple(cell) for cell in cells())


def test_a_run_has_slid_where_its_loss_lets_information_fade_and_nowhere_else():
    runs = read_outcomes(RECORD).runs
    assert ((runs.row_std < SLID) == (runs.balance < 0.98 * runs.weight)).all()  # one lives on the edge, at 0.986


def test_the_more_the_views_share_the_larger_the_weight_that_still_learns_and_the_start_foretells_the_order():
    edges = transitions(read_outcomes(RECORD))
    edges = edges[edges.temperature == 1].set_index("strength").loc[list(STRENGTHS)]
    assert edges.slides_above.is_monotonic_decreasing and edges.foretold.is_monotonic_decreasing
    assert (edges.slides_above > 0.95 * edges.foretold).all()  # a lower bound, to less than a step of the grid
    assert (edges.slides_above < 2 * edges.foretold).all()


def test_recipes_of_the_grid_differ_in_three_things_alone():
    made = [cell.recipe("images.npz") for cell in cells()]
    assert len({recipe.network for recipe in made}) == len({recipe.optim for recipe in made}) == 1
    assert len({recipe.views for recipe in made}) == len(STRENGTHS)
    assert all(math.isfinite(recipe.objective.consistency_weight) for recipe in made) and len(set(made)) == 63
