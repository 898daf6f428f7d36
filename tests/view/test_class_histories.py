"""Figures of the classes through time agree with the histories they are drawn from."""

import numpy as np
import pytest
from synthetic import make_history, make_run

from twist.runs.class_histories import class_flow, class_histories
from twist.runs.histories import label_scores
from twist.runs.record import RunRecord
from twist.view.class_histories import (
    births_and_deaths,
    changes_of,
    flow_figure,
    label_history,
    stability_history,
    usage_history,
)
from twist.view.scene import Scene
from twist.view.theme import class_color


def read(path) -> RunRecord:
    record = RunRecord(path)
    record.poll()
    return record


def words(figure) -> str:
    return "\n".join([figure.layout.title.text, *(note.text for note in figure.layout.annotations)])


def by_name(figure) -> dict:
    return {trace.name: trace for trace in figure.data if trace.name}


# Forty images: class 1 dies at the second snapshot, class 2 is born at the third.
STORY = np.array([[0] * 20 + [1] * 20, [0] * 40, [0] * 20 + [2] * 20])


@pytest.fixture
def story(tmp_path) -> RunRecord:
    return read(make_history(tmp_path, STORY, num_classes=4))


def test_stacked_shares_add_up_to_all_images_in_the_colors_of_the_classes(story):
    figure = usage_history(class_histories(story), Scene.of(story))
    bands = [trace for trace in figure.data if trace.stackgroup]
    assert np.sum([band.y for band in bands], axis=0) == pytest.approx(np.ones(3))
    assert [band.fillcolor for band in bands] == [class_color(index) for index in range(4)]


def test_births_and_deaths_are_marked_where_they_happen(story):
    traces = by_name(usage_history(class_histories(story), Scene.of(story)))
    assert [(int(x), int(c)) for x, c in zip(traces["born"].x, traces["born"].customdata, strict=True)] == [(20, 2)]
    assert [(int(x), int(c)) for x, c in zip(traces["died"].x, traces["died"].customdata, strict=True)] == [(10, 1)]
    assert "born: 1, died: 1" in words(usage_history(class_histories(story), Scene.of(story)))


def test_a_snapshot_that_cannot_be_read_neither_bears_nor_kills():
    usage = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, 0.5]])
    born, died = births_and_deaths(usage)
    assert not born.any() and not died.any()


def test_many_classes_are_rows_of_which_the_largest_is_at_the_top(tmp_path):
    record = read(make_run(tmp_path, num_classes=300, snapshots=3))
    figure = usage_history(class_histories(record), Scene.of(record))
    heat = by_name(figure)["share of images"]
    assert np.shape(heat.z) == (100, 3) and "100 of 300" in figure.layout.yaxis.title.text
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    totals = np.nansum(np.array(heat.z, float), axis=1)
    assert totals[0] == totals.max()


def test_stability_stands_beside_chance(story):
    figure = stability_history(class_histories(story), Scene.of(story))
    assert by_name(figure)["same class as before"].y[1:] == pytest.approx([0.5, 0.5])
    assert "chance, evenly used: 25.0%" in words(figure)
    assert [shape.y0 for shape in figure.layout.shapes] == [0.25]


def test_the_flow_carries_every_image_and_says_who_stayed_together(story):
    flow = class_flow(story, 0, 20)
    figure = flow_figure(flow, Scene.of(story))
    (sankey,) = figure.data
    assert sum(sankey.link.value) == 40 and "100% stayed together" in words(figure)
    label = sankey.node.label
    pairs = {(label[s], label[t]) for s, t in zip(sankey.link.source, sankey.link.target, strict=True)}
    assert pairs == {("0", "0"), ("1", "2")}
    assert sankey.node.color[: len(set(sankey.link.source))] == tuple(class_color(index) for index in (0, 1))
    assert changes_of(flow) == "born: 2; died: 1"


def test_a_flow_of_many_classes_is_cut_to_the_largest_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    record = read(make_history(tmp_path, rng.integers(0, 50, (2, 3000)), num_classes=50))
    figure = flow_figure(class_flow(record, 0, 10), Scene.of(record))
    assert len(figure.data[0].link.value) == 40 and "the 40 largest flows" in words(figure)


def test_tens_of_thousands_of_classes_flow_as_few_do(tmp_path):
    before = np.arange(0, 32_000, 16).repeat(2)
    record = read(make_history(tmp_path, [before, before + 1], num_classes=32_768))
    figure = flow_figure(class_flow(record, 0, 10), Scene.of(record))
    assert list(figure.data[0].link.value) == [2] * 40 and "100% stayed together" in words(figure)


def test_splits_are_told_by_number(tmp_path):
    record = read(make_history(tmp_path, [[0] * 20 + [1] * 20, [0] * 10 + [2] * 10 + [1] * 20], num_classes=3))
    assert "0 split into 0, 2" in changes_of(class_flow(record, 0, 10))


def test_scores_against_labels_are_curves_with_the_reference_of_chance(tmp_path):
    record = read(make_run(tmp_path))
    scores = label_scores(record)
    figure = label_history(scores, Scene.of(record))
    assert by_name(figure)["matched accuracy"].y == pytest.approx(scores["matched_accuracy"].to_numpy())
    assert "AMI and ARI by chance" in words(figure)


def test_without_labels_the_figure_says_so(tmp_path):
    record = read(make_run(tmp_path, labels=False))
    assert "no labels" in words(label_history(label_scores(record), Scene.of(record)))
