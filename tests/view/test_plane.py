"""The entropy plane draws what is possible, what is not, and where the run went; its words do not cover each other."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from twist.runs.bounds import balanced_sharpness, norm_frontier, sharpness_floor
from twist.view.plane import IN_GRID, attainable, entropy_plane, plane_panel
from twist.view.scene import Scene
from twist.view.tables import MAX_POINTS, or_empty

TOP = math.log(10)


def scene(**changes) -> Scene:
    return Scene(**{"run": "r", "num_classes": 10, "batch_size": 256, **changes})


def way(x, y, names=("train/sharpness", "train/diversity")) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(names, (x, y), strict=True)), index=pd.RangeIndex(1, len(x) + 1, name="step"))


def learning(top: float = TOP, steps: int = 200) -> pd.DataFrame:
    return way(np.linspace(0.9 * top, 0.5 * top, steps), np.full(steps, 0.99 * top))


def by_name(figure) -> dict:
    return {trace.name: trace for trace in figure.data if trace.name}


def words(figure) -> str:
    return "\n".join(note.text for note in figure.layout.annotations)


def corners_of(shape) -> np.ndarray:
    return np.array(
        [[float(value) for value in pair.split(",")] for pair in re.findall(r"[-\d.]+,[-\d.]+", shape.path)]
    )


def test_the_triangle_is_drawn_and_its_corners_are_named():
    figure = entropy_plane(learning(), scene(final_norm="none"))
    top = math.log(10)
    assert corners_of(figure.layout.shapes[0]) == pytest.approx(np.array([(0, 0), (0, top), (top, top)]), abs=1e-4)
    for corner in ("healthy", "uniform", "one-class"):
        assert corner in words(figure)


def test_without_norm_and_with_large_batches_the_whole_triangle_is_in_reach():
    assert attainable(scene(final_norm="none")).tolist() == [[0, math.log(10)], [0, 0], [math.log(10)] * 2]
    assert "norm" not in words(entropy_plane(learning(), scene(final_norm="none")))


def test_few_images_cut_off_the_corner_of_most_information():
    edge = attainable(scene(num_classes=1000, batch_size=64, final_norm="none"))
    cap, top = math.log(64), math.log(1000)
    assert edge[:2] == pytest.approx(np.array([(top - cap, top), (0, cap)]))
    assert (edge[:, 1] - edge[:, 0]).max() == pytest.approx(cap)
    figure = entropy_plane(learning(top), scene(num_classes=1000, batch_size=64, final_norm="none"))
    line = next(shape for shape in figure.layout.shapes if shape.type == "line" and shape.line.dash)
    assert line.y0 - line.x0 == pytest.approx(cap) == line.y1 - line.x1
    assert "64 images tell at most<br>log N = 4.16 nats" in words(figure)


@pytest.mark.parametrize(("num_classes", "batch_size"), [(2, 256), (10, 256), (100, 256), (4096, 64), (4096, 10_000)])
def test_what_is_in_reach_behind_the_norm_obeys_every_bound(num_classes, batch_size):
    edge = attainable(scene(num_classes=num_classes, batch_size=batch_size))
    top = math.log(num_classes)
    assert edge[0, 1] == pytest.approx(top) and edge[-1] == pytest.approx((top, top))
    assert edge[0, 0] >= sharpness_floor(num_classes) - 1e-9
    assert (edge[:, 1] - edge[:, 0]).max() <= math.log(min(num_classes, batch_size)) + 1e-9
    frontier = norm_frontier(num_classes)
    assert (edge[:, 1] >= np.interp(edge[:, 0], *frontier.T) - 1e-9).all()


def test_lines_of_equal_information_say_their_nats():
    figure = entropy_plane(learning(), scene(final_norm="none"))
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    labels = by_name(figure)["lines of equal information"]
    values = [float(text.removeprefix("I = ")) for text in labels.text]
    assert values == pytest.approx([line.y0 - line.x0 for line in lines]) == [line.y1 - line.x1 for line in lines]
    assert np.array(labels.y) - np.array(labels.x) == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("num_classes", [2, 10, 300, 4096])
def test_a_grid_holds_few_lines_of_equal_information_whatever_the_classes(num_classes):
    facts = scene(num_classes=num_classes)
    panel = plane_panel(learning(math.log(num_classes)), or_empty(None), facts, IN_GRID)
    assert 1 <= len(panel.traces[1]["text"]) <= 3


def test_ticks_stand_where_balanced_groups_do():
    ticks = by_name(entropy_plane(learning(), scene()))["groups told apart"]
    assert set(ticks.customdata) >= {1, 2, 5, 10}
    assert ticks.x == pytest.approx([balanced_sharpness(k, 10) for k in ticks.customdata], abs=1e-5)
    free = by_name(entropy_plane(learning(), scene(final_norm="none")))["groups told apart"]
    assert free.x == pytest.approx([math.log(10 / k) for k in free.customdata], abs=1e-5)


def test_hover_says_step_information_and_numbers_of_classes():
    path = by_name(entropy_plane(learning(), scene()))["path of the batches"]
    step, information, used, hesitating = np.array(path.customdata)[-1]
    assert step == 200 and information == pytest.approx(path.y[-1] - path.x[-1])
    assert (used, hesitating) == pytest.approx((math.exp(path.y[-1]), math.exp(path.x[-1])))
    assert "classes in use" in path.hovertemplate and "nats" in path.hovertemplate


def test_start_now_and_a_step_are_marked():
    metrics = learning()
    traces = by_name(entropy_plane(metrics, scene(), step=120))
    for name, step in (("start of the batches", 1), ("marked step", 120), ("batches now", 200)):
        assert traces[name].x == pytest.approx([metrics["train/sharpness"][step]])
    figure = entropy_plane(metrics, scene(), step=120)
    for word in ("start", "now", "step 120"):
        assert f">{word}<" in words(figure)
    assert len(by_name(entropy_plane(metrics, scene()))["marked step"].x) == 0


def test_numbers_that_are_not_finite_leave_the_path():
    metrics = learning()
    metrics.iloc[50:60] = np.nan
    path = by_name(entropy_plane(metrics, scene()))["path of the batches"]
    assert np.isfinite(path.x).all() and len(path.x) == 190


def test_a_long_path_keeps_its_ends():
    path = by_name(entropy_plane(learning(steps=50_000), scene()))["path of the batches"]
    assert len(path.x) <= MAX_POINTS and path.customdata[0][0] == 1 and path.customdata[-1][0] == 50_000


def test_a_thin_strip_in_reach_is_magnified_and_a_wide_plane_is_not():
    assert "magnified" in words(entropy_plane(learning(), scene()))
    assert "magnified" not in words(entropy_plane(learning(), scene(temperature=0.3)))
    assert "magnified" not in words(entropy_plane(learning(), scene(final_norm="none")))


@pytest.mark.parametrize("end", [(0, 0), (2.3, 2.3), (0, 2.3), (1.1, 2.3)])
def test_names_of_the_path_do_not_cover_each_other(end):
    steps = 100
    metrics = way(np.linspace(2.2, end[0], steps), np.linspace(2.3, end[1], steps))
    watched = way(
        np.linspace(2.3, end[0], 9),
        np.linspace(2.3, end[1], 9),
        ("watch/conditional_entropy", "watch/marginal_entropy"),
    )
    figure = entropy_plane(metrics, scene(final_norm="none"), snapshots=watched, step=50)
    (left, right), (low, high), boxes = figure.layout.xaxis.range, figure.layout.yaxis.range, []
    for note in figure.layout.annotations:
        if "color" in note.text:
            x = (note.x - left) / (right - left) * 440 + note.xshift
            y = (note.y - low) / (high - low) * 370 + note.yshift
            half = 2.9 * len(re.sub("<.*?>", "", note.text))
            boxes.append((x - half, x + half, y - 6, y + 6))
    assert 1 <= len(boxes) <= 4
    for number, (start, end_, foot, head) in enumerate(boxes):
        assert all(start >= b[1] or b[0] >= end_ or foot >= b[3] or b[2] >= head for b in boxes[:number])


def test_an_empty_run_says_so():
    assert "no step recorded yet" in words(entropy_plane(or_empty(None), scene()))
