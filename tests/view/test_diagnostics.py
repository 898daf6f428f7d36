"""Figures of gradients, features and shortcuts: units, caps, and sentences where nothing was recorded."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import make_run

from twist.runs.kinds import EXPLAINED, EXPLAINED_TOGETHER, STILL_ROWS, few_directions
from twist.runs.record import RunRecord
from twist.runs.shortcuts import shortcut_at
from twist.view import diagnostics
from twist.view.lines import Axis, Line, Reference, lines_panel
from twist.view.scene import Scene
from twist.view.shortcuts import shortcut_shares, thumbnails
from twist.view.tables import or_empty

SCENE = Scene(run="r", num_classes=10, batch_size=100)


def words(figure) -> str:
    return "\n".join([figure.layout.title.text, *(note.text for note in figure.layout.annotations)])


def table(**columns) -> pd.DataFrame:
    columns = {f"train/{name}": values for name, values in columns.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, 1 + len(next(iter(columns.values()))), name="step"))


def test_shares_of_the_gradient_add_up_to_one_and_carry_the_norms():
    metrics = table(
        consistency_gradient=[3.0, np.nan, 1], sharpness_gradient=[1.0, np.nan, 1], diversity_gradient=[0.0, np.nan, 2]
    )
    figure = diagnostics.gradient_shares(metrics, SCENE)
    assert [list(trace.y) for trace in figure.data] == [[0.75, 0.25], [0.25, 0.25], [0, 0.5]]
    assert list(figure.data[0].customdata) == [3, 1] and list(figure.data[0].x) == [1, 3]


def test_gradients_that_are_all_zero_have_no_share():
    metrics = table(consistency_gradient=[0.0], sharpness_gradient=[0.0], diversity_gradient=[0.0])
    assert [list(trace.y) for trace in diagnostics.gradient_shares(metrics, SCENE).data] == [[0], [0], [0]]


def test_the_norm_of_the_gradient_stands_below_the_line_where_it_is_clipped():
    metrics = table(gradient_norm=np.linspace(0.1, 0.5, 50))
    assert "clipped above 2" in words(diagnostics.gradient_norms(metrics, SCENE, clip_norm=2.0))
    assert "clipped" not in words(diagnostics.gradient_norms(metrics, SCENE))


def test_the_rank_has_its_cap():
    figure = diagnostics.effective_ranks(table(effective_rank=[20.0, 30]), or_empty(None), SCENE, 200, 64)
    assert [shape.y0 for shape in figure.layout.shapes] == [64, few_directions(SCENE.num_classes)]
    assert "200 views, 64 features" in words(figure)


def test_spectra_are_drawn_over_the_flat_one():
    figure = diagnostics.feature_spectra({0: np.full(4, 0.25), 10: np.array([0.7, 0.2, 0.1, 0])}, SCENE, 4)
    assert [shape.y0 for shape in figure.layout.shapes] == [0.25]
    assert np.isnan(figure.data[1].y[3]) and "step 10" in words(figure)


def test_the_norm_and_the_flat_rows_are_lines_of_the_spread():
    metrics = table(row_std=[0.9, 0.8], column_std=[1.0, 1.0])
    assert [shape.y0 for shape in diagnostics.logit_spreads(metrics, SCENE).layout.shapes] == [STILL_ROWS, 1.0]
    free = Scene(run="r", num_classes=10, batch_size=100, final_norm="none")
    assert [shape.y0 for shape in diagnostics.logit_spreads(metrics, free).layout.shapes] == [STILL_ROWS]


@pytest.mark.parametrize(
    "figure",
    [
        diagnostics.gradient_shares(or_empty(None), SCENE),
        diagnostics.gradient_norms(or_empty(None), SCENE),
        diagnostics.feature_geometry(or_empty(None), SCENE),
        diagnostics.feature_spectra({}, SCENE, 0),
        diagnostics.effective_ranks(or_empty(None), or_empty(None), SCENE, 0, 0),
        diagnostics.logit_spreads(or_empty(None), SCENE),
    ],
    ids=["shares", "norms", "geometry", "spectra", "ranks", "spreads"],
)
def test_what_was_not_recorded_is_said_and_every_axis_has_a_title(figure):
    assert "recorded" in words(figure) or "no snapshot keeps a spectrum" in words(figure)
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        assert axis.title.text


def test_labels_beside_the_ends_of_curves_do_not_cover_each_other():
    x = np.arange(50.0)
    lines = [Line(f"line {number}", x, np.full(50, 0.5 + 0.001 * number), "#000000") for number in range(5)]
    panel = lines_panel("t", "n", lines, Axis("share", 0, 1, ".0%"), [Reference(0.5, "half"), Reference(7, "beyond")])
    heights = sorted(note["y"] for note in panel.annotations if "span" in note["text"])
    assert len(heights) == 5 and min(np.diff(heights)) >= 0.06
    assert [note["text"] for note in panel.annotations if "span" not in note["text"]] == ["half"]


def test_shortcuts_have_a_bar_for_each_statistic_and_one_for_all(tmp_path):
    record = RunRecord(make_run(tmp_path))
    record.poll()
    found = shortcut_at(record, 140)
    figure = shortcut_shares(found, SCENE, 140)
    (bars,) = figure.data
    assert dict(zip(figure.layout.yaxis.ticktext, bars.x, strict=True)) == pytest.approx(
        {**found.explained, "all together": found.together}
    )
    assert {shape.x0 for shape in figure.layout.shapes} == {EXPLAINED, EXPLAINED_TOGETHER}


def test_thumbnails_are_the_images_side_by_side(tmp_path):
    record = RunRecord(make_run(tmp_path))
    watch = record.watch()
    strip = np.asarray(Image.open(io.BytesIO(thumbnails(watch, np.array([3, 41])))).convert("L"))
    sheet = np.asarray(Image.open(watch.sheets[0]).convert("L"))
    assert strip.shape == (40, 84)
    assert (strip[::5, :40:5] == sheet[:8, 24:32]).all()
    assert (strip[::5, 44::5] == sheet[8:16, 8:16]).all()
