"""Figures say whose they are, in which unit, and what is possible."""

import re

import numpy as np
import pandas as pd
import pytest
from synthetic import make_run

from twist.runs.record import RunRecord
from twist.view import figures
from twist.view.overview import waiting
from twist.view.theme import INKS, class_color, class_colors, escape


def record_of(tmp_path, kind="healthy", **options) -> RunRecord:
    record = RunRecord(make_run(tmp_path, kind, **options))
    record.poll()
    return record


def scene(**changes) -> figures.Scene:
    return figures.Scene(**{"run": "r", "num_classes": 10, "batch_size": 256, **changes})


def texts(figure) -> str:
    title = figure.layout.title
    parts = [title.text, *(note.text for note in figure.layout.annotations)]
    return "\n".join(filter(None, parts))


def heights_of_lines(figure) -> list[float]:
    return [shape.y0 for shape in figure.layout.shapes if shape.type == "line" and shape.y0 == shape.y1]


def all_figures(record):
    facts = figures.Scene.of(record)
    snapshot = record.snapshot()
    metrics, summaries = record.metrics(), record.snapshot_metrics()
    return {
        "curves": figures.entropy_curves(metrics, facts, snapshots=summaries),
        "plane": figures.entropy_plane(metrics, facts, snapshots=summaries),
        "usage": figures.class_usage(snapshot, facts),
        "histogram": figures.sample_entropy_histogram(snapshot, facts),
    }


def test_every_figure_names_run_step_seed_counts_and_units(tmp_path):
    for name, figure in all_figures(record_of(tmp_path, name="first-run")).items():
        text = texts(figure)
        assert "first-run" in text and "seed 0" in text and "step 140" in text, name
        assert "N = 256" in text or "300 of 300 images" in text, name
        for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
            assert axis.title.text, name
    curves = all_figures(record_of(tmp_path))["curves"]
    assert curves.layout.yaxis.title.text == "nats"
    assert curves.layout.yaxis2.title.text == "share of log C"


def test_the_share_axis_is_the_nats_axis_divided_by_log_c(tmp_path):
    layout = all_figures(record_of(tmp_path))["curves"].layout
    assert np.allclose(np.array(layout.yaxis.range) / np.log(10), layout.yaxis2.range)
    assert layout.yaxis2.overlaying == "y"


def test_curves_carry_their_reference_lines(tmp_path):
    record = record_of(tmp_path)
    figure = figures.entropy_curves(record.metrics(), figures.Scene.of(record))
    assert np.log(10) == pytest.approx(heights_of_lines(figure)[0])
    assert heights_of_lines(figure)[-1] == pytest.approx(1.089, abs=1e-3)
    assert re.search("floor of sharpness in batches = 1.09|sharpness floor 1.09", texts(figure))


def test_without_a_final_norm_there_is_no_floor(tmp_path):
    record = record_of(tmp_path)
    figure = figures.entropy_curves(record.metrics(), scene(final_norm="none"))
    assert heights_of_lines(figure) == [pytest.approx(np.log(10))]


def test_small_batches_cap_the_information_below_log_c(tmp_path):
    record = record_of(tmp_path)
    figure = figures.entropy_curves(record.metrics(), scene(num_classes=1000, batch_size=128))
    assert heights_of_lines(figure)[:2] == pytest.approx([np.log(1000), np.log(128)])


def test_terms_keep_their_color_and_dash(tmp_path):
    record = record_of(tmp_path)
    traces = figures.entropy_curves(record.metrics(), figures.Scene.of(record)).data
    for trace, name in zip(traces, ("consistency", "sharpness", "diversity", "mutual_information"), strict=False):
        assert (trace.line.color, trace.line.dash) == INKS[name][:2]
    assert INKS["consistency"][:2] == ("#0072B2", "solid")
    assert INKS["sharpness"][:2] == ("#D55E00", "dash")
    assert INKS["diversity"][:2] == ("#009E73", "dot")


def test_the_floor_is_not_drawn_for_the_watch_images_alone(tmp_path):
    figure = all_figures(record_of(tmp_path))["histogram"]
    assert "floor" not in texts(figure)


def test_curves_mark_where_the_self_labelling_stage_begins(tmp_path):
    record = record_of(tmp_path)
    metrics = record.metrics()
    plain = figures.entropy_curves(metrics, figures.Scene.of(record))
    metrics["train/self_label_share"] = np.where(metrics.index > 100, 0.5, np.nan)
    marked = figures.entropy_curves(metrics, figures.Scene.of(record))
    (begin,) = {shape.x0 for shape in marked.layout.shapes if shape.x0 == shape.x1} - {
        shape.x0 for shape in plain.layout.shapes if shape.x0 == shape.x1
    }
    assert begin == metrics.index[metrics.index > 100][0]
    assert "self-labelling" in texts(marked) and "self-labelling" not in texts(plain)


def test_labels_of_curves_do_not_overlap(tmp_path):
    record = record_of(tmp_path, "one-class")
    figure = figures.entropy_curves(record.metrics(), figures.Scene.of(record))
    heights = sorted(note.y for note in figure.layout.annotations if "span" in note.text)
    low, high = figure.layout.yaxis.range
    assert len(heights) == 4
    assert min(np.diff(heights)) >= 0.05 * (high - low)
    assert low < heights[0] and heights[-1] < high


def crowded(steps=200, **ends) -> pd.DataFrame:
    """Curves that hold the given values from the first step to the last, with a little noise."""
    noise = 0.005 * np.random.default_rng(0).standard_normal(steps)
    columns = {f"train/{name}": value + noise for name, value in ends.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, steps + 1, name="step"))


@pytest.mark.parametrize(
    "ends",
    [
        {"consistency": 0.02, "sharpness": 1.14, "diversity": 2.29, "mutual_information": 1.15},
        {"consistency": 1.1, "sharpness": 1.1, "diversity": 2.2, "mutual_information": 1.1},
        {"consistency": 2.3, "sharpness": 2.3, "diversity": 2.3, "mutual_information": 2.3},
        {"consistency": 0.0, "sharpness": 0.0, "diversity": 0.0, "mutual_information": 0.0},
    ],
)
def test_no_label_of_crowded_curves_covers_another_or_a_curve(ends):
    figure = figures.entropy_curves(crowded(**ends), scene(step=200, total_steps=200))
    (low, high), (_, right) = figure.layout.yaxis.range, figure.layout.xaxis.range
    width, height = 560, 440 - 84 - 72
    boxes = []
    for note in figure.layout.annotations:
        across = (note.x if note.xref == "x domain" else note.x / right) * width + (note.xshift or 0)
        foot = (note.y - low) / (high - low) * height - {"bottom": 0, "top": 14, None: 7}[note.yanchor]
        boxes.append((across, across + 5.6 * len(re.sub("<.*?>", "", note.text)), foot, foot + 14))
    assert len(boxes) == 6
    for number, (left, end, foot, head) in enumerate(boxes):
        assert all(left >= b[1] or b[0] >= end or foot >= b[3] or b[2] >= head for b in boxes[:number])
        for value in ends.values():
            inside = foot < (value - low) / (high - low) * height < head
            assert not inside or left > 200 / right * width
    names = texts(figure)
    assert "mutual information" in names and "log C" in names and "floor" in names


def test_labels_beside_the_curves_hide_the_reference_lines_below_them(tmp_path):
    notes = all_figures(record_of(tmp_path))["curves"].layout.annotations
    at_ends = [note for note in notes if "span" in note.text]
    assert at_ends and all(note.bgcolor is None for note in at_ends)  # the template's, which is the paper
    for dark in (False, True):
        shade = waiting("x", dark=dark).layout.template.layout
        assert shade.annotationdefaults.bgcolor == shade.paper_bgcolor


@pytest.mark.parametrize("count", [1, 2, 1_999, 2_000, 2_001, 50_000])
def test_decimation_keeps_ends_and_extremes(count):
    y = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    x = np.arange(count, dtype=np.float32)
    few_x, few_y = figures.decimate(x, y)
    assert len(few_x) == len(few_y) <= figures.MAX_POINTS
    assert few_x[0] == x[0] and few_x[-1] == x[-1] and (np.diff(few_x) > 0).all()
    assert few_y.min() == y.min() and few_y.max() == y.max()


def test_no_trace_is_longer_than_the_limit():
    table = pd.DataFrame({"train/consistency": np.sin(np.arange(30_000.0))}, index=np.arange(30_000))
    for figure in (figures.entropy_curves(table, scene()), figures.entropy_plane(table, scene())):
        assert max(len(trace.x) for trace in figure.data if trace.x is not None) <= figures.MAX_POINTS


def test_numbers_that_are_not_finite_leave_a_gap_and_a_cross(tmp_path):
    record = record_of(tmp_path, "not-finite")
    figure = figures.entropy_curves(record.metrics(), figures.Scene.of(record))
    by_name = {trace.name: trace for trace in figure.data}
    crosses = by_name["a term was not finite"]
    broken = by_name["consistency"]
    assert len(crosses.x) > 0 and crosses.marker.symbol == "x"
    assert np.isnan(broken.y[np.isin(broken.x, crosses.x)]).all()
    assert broken.connectgaps is False


def test_arrays_travel_as_small_binary_numbers(tmp_path):
    for figure in all_figures(record_of(tmp_path)).values():
        for trace in figure.data:
            for values in (trace.x, trace.y):
                assert not isinstance(values, np.ndarray) or values.dtype in (np.float32, object)


def test_unused_classes_are_crossed_out_and_counted(tmp_path):
    record = record_of(tmp_path, "partial")
    figure = figures.class_usage(record.snapshot(), figures.Scene.of(record))
    assert figure.layout.title.text.startswith("<b>2 of 10 classes are used</b>")
    assert list(figure.data[1].customdata) == list(range(2, 10))
    assert "8 without an image" in texts(figure)
    assert heights_of_lines(figure) == [pytest.approx(0.1)]


def test_class_bars_keep_the_class_color_when_sorted(tmp_path):
    record = record_of(tmp_path)
    for by_size in (True, False):
        bars = figures.class_usage(record.snapshot(), figures.Scene.of(record), by_size=by_size).data[0]
        assert list(bars.marker.color) == [class_color(int(index)) for index in bars.customdata]


def test_many_classes_show_the_largest_and_say_so(tmp_path):
    record = record_of(tmp_path, num_classes=1000, snapshots=2)
    figure = figures.class_usage(record.snapshot(), figures.Scene.of(record))
    assert len(figure.data[0].x) == 400
    assert "the 400 largest of 1,000 classes" in texts(figure)


def test_the_histogram_counts_every_image_and_ends_at_log_c(tmp_path):
    record = record_of(tmp_path)
    figure = figures.sample_entropy_histogram(record.snapshot(), figures.Scene.of(record))
    assert figure.data[0].y.sum() == pytest.approx(1)
    assert figure.layout.shapes[0].x0 == pytest.approx(np.log(10))
    assert figure.layout.xaxis.ticktext[-1] == "2.30<br>10"
    assert "number of classes" in figure.layout.xaxis.title.text


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "$\\href{javascript:alert(1)}{x}$",
    "a&lt;b",
    "%{x}<a href='javascript:1'>",
    "\u202e\x00\n",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path, name):
    text = texts(figures.entropy_curves(pd.DataFrame(index=pd.Index([], name="step")), scene(run=name)))
    ours = r"</?b>|<br>|<span style='font-size:11px'>|</span>"
    assert not any(mark in re.sub(ours, "", text) for mark in ("<", "$", "%{", "\x00", "\u202e"))


@pytest.mark.parametrize("name", HOSTILE)
def test_escaped_text_reads_as_it_was_written(name):
    import html

    printable = "".join(character if character.isprintable() else " " for character in name)
    assert html.unescape(escape(name)) == printable


def test_class_colors_are_distinct_and_do_not_depend_on_the_number_of_classes():
    assert len(set(class_colors(40))) == 40
    assert class_colors(8) == class_colors(40)[:8]
    assert all(len(color) == 7 for color in class_colors(3000))
