"""Figures of images through time hold every image, name their units, and say what is missing."""

import math

import numpy as np
import pytest
from synthetic import make_run

from twist.runs.columns import column_through_time
from twist.runs.histories import SampleTraits, confident_above, sample_traits
from twist.runs.record import RunRecord
from twist.view.histories import confidence_map, entropy_history, pick, regions, trajectories
from twist.view.scene import Scene


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> RunRecord:
    record = RunRecord(make_run(tmp_path_factory.mktemp("run"), histories=True))
    record.poll()
    return record


def words(figure) -> str:
    return "\n".join([figure.layout.title.text, *(note.text for note in figure.layout.annotations)])


def by_name(figure) -> dict:
    return {trace.name: trace for trace in figure.data if trace.name}


def lines_across(figure) -> list[float]:
    return [shape.y0 for shape in figure.layout.shapes if shape.type == "line" and shape.y0 == shape.y1]


def traits(**changes) -> SampleTraits:
    count = len(changes["mean_confidence"])
    no = np.zeros(count, bool)
    usual = {"settled_step": no.astype(int), "flips": no.astype(int), "never_confident": no, "forgotten": no}
    return SampleTraits(**{**usual, "variability": np.full(count, 0.1), "damaged": (), **changes})


def test_every_image_stands_in_every_column_of_the_heat_map(record):
    steps, values, _ = column_through_time(record, "sample_entropy")
    heat = by_name(entropy_history(steps, values, Scene.of(record)))["share of images"]
    assert list(heat.x) == list(steps)
    assert np.nansum(heat.z, axis=0) == pytest.approx(np.ones(len(steps)))


def test_the_lines_over_the_heat_map_are_the_quantiles_of_the_images_that_have_an_entropy(record):
    steps, values, _ = column_through_time(record, "sample_entropy")
    values = values.copy()
    values[2, :100] = np.nan
    traces = by_name(entropy_history(steps, values, Scene.of(record)))
    assert traces["median"].y == pytest.approx(np.nanmedian(values, axis=1), rel=1e-5)
    assert traces["90 %"].y == pytest.approx(np.nanquantile(values, 0.9, axis=1), rel=1e-5)


def test_the_floor_stands_in_the_picture_of_training_alone(record):
    steps, values, _ = column_through_time(record, "sample_entropy")
    watched = entropy_history(steps, values, Scene.of(record))
    training = entropy_history(np.arange(1, 6), values, Scene.of(record), of_training=True)
    assert lines_across(watched) == [pytest.approx(math.log(10))]
    assert lines_across(training) == [pytest.approx(math.log(10)), pytest.approx(1.0886, abs=1e-3)]
    assert "least mean of a batch: 1.09" in words(training) and training.layout.xaxis.title.text == "epoch"
    assert "nats" in watched.layout.yaxis.title.text and "classes" in watched.layout.yaxis2.title.text
    assert list(watched.layout.yaxis2.tickvals) == pytest.approx(
        [math.log(int(k)) for k in watched.layout.yaxis2.ticktext]
    )


def test_epochs_without_a_number_leave_an_empty_column():
    figure = entropy_history(
        np.array([1, 2]), np.array([[0.1, 0.2], [np.nan] * 2]), Scene(run="r", num_classes=10, batch_size=8)
    )
    heat = by_name(figure)["share of images"]
    assert (np.array(heat.z, float)[:, 1] == 0).all()


def test_no_snapshot_is_said(record):
    figure = entropy_history(np.zeros(0, int), np.zeros((0, 300)), Scene.of(record))
    assert "no snapshot recorded yet" in words(figure)


def test_followed_images_keep_their_path_and_name_their_class(record):
    steps, values, _ = column_through_time(record, "sample_entropy")
    classes = column_through_time(record, "assignment").values[-1]
    picked = pick(sample_traits(record))
    figure = trajectories(steps, values, picked, classes, Scene.of(record))
    for image in picked:
        assert by_name(figure)[image.words].y == pytest.approx(values[:, image.row])
        assert f"{image.words} · class {classes[image.row]}" in words(figure)
    assert "log C = 2.30" in words(figure)


def test_one_telling_image_of_each_kind_is_picked_and_none_twice():
    found = pick(
        traits(
            mean_confidence=np.array([0.9, 0.6, 0.7, 0.2, 0.5]),
            flips=np.array([0, 5, 1, 2, 1]),
            settled_step=np.array([0, 10, 90, 0, 50]),
            never_confident=np.array([False, False, False, True, False]),
            forgotten=np.array([False, False, False, False, True]),
        )
    )
    assert {image.words: image.row for image in found} == {
        "surest": 0,
        "learned late": 2,
        "most flips": 1,
        "never confident": 3,
        "forgotten": 4,
    }


def test_every_known_image_is_in_one_region():
    some = traits(
        mean_confidence=np.array([0.9, 0.3, 0.2, 0.8, np.nan]),
        never_confident=np.array([False, False, True, False, False]),
        forgotten=np.array([False, False, False, True, False]),
    )
    assert [members.tolist().index(True) for members in regions(some, 10)] == [0, 1, 2, 3]
    assert np.sum(regions(some, 10)) == 4


def test_the_map_of_confidence_draws_its_lines_and_the_shares_of_its_regions():
    some = traits(mean_confidence=np.array([0.9, 0.9, 0.3, 0.3]), forgotten=np.array([False, False, False, True]))
    figure = confidence_map(some, Scene(run="r", num_classes=10, batch_size=8, num_watch=4))
    assert lines_across(figure) == [confident_above(10), pytest.approx(0.1)]
    for part in ("settled and sure</b> 50%", "hesitating</b> 25%", "never confident</b> 0%", "forgotten</b> 25%"):
        assert part in words(figure)
    assert [len(by_name(figure)[name].x) for name in ("images", "forgotten")] == [3, 1]


def test_no_confidence_varies_more_than_the_outer_curve(record):
    found = sample_traits(record)
    curve = by_name(confidence_map(found, Scene.of(record)))["most variability possible"]
    bound = np.interp(found.mean_confidence, curve.y, curve.x)
    assert (found.variability <= bound + 1e-3).all()


def test_many_images_are_thinned_and_that_is_said():
    many = traits(mean_confidence=np.linspace(0.1, 1, 9_000))
    figure = confidence_map(many, Scene(run="r", num_classes=10, batch_size=8, num_watch=9_000))
    assert len(by_name(figure)["images"].x) == 2_000 and "2,000 of them drawn" in words(figure)
