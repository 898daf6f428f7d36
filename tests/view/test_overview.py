"""The six pictures of a run share one figure, one axis of steps, and the width of the page."""

import numpy as np
import pytest
from synthetic import HISTORY_KINDS, KINDS, make_run

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunRecord
from twist.view.ghosts import Ghost
from twist.view.overview import arrangement, overview, points_drawn, speed_panel
from twist.view.seen import Seen
from twist.view.tables import MAX_POINTS


def seen(path) -> Seen:
    found = Seen(path)
    found.look()
    return found


def texts(figure) -> str:
    return "\n".join(note.text or "" for note in figure.layout.annotations)


def names(figure) -> list:
    return [trace.name for trace in figure.data]


TITLES = (
    "How the terms of the loss move",
    "Where the run stands",
    "How sure the network is of each image",
    "classes live",
    "Which term pulls",
    "How fast it trains",
)


@pytest.mark.parametrize("kind", [*KINDS, *HISTORY_KINDS])
def test_every_kind_of_run_has_all_pictures_and_the_same_traces(tmp_path, kind):
    figure = overview(seen(make_run(tmp_path, kind, num_samples=60)))
    assert all(title in texts(figure) for title in TITLES)
    assert names(figure) == names(overview(seen(create_run(Recipe().replace(network__num_classes=10), root=tmp_path))))


def test_an_empty_run_says_so_in_every_picture(tmp_path):
    text = texts(overview(seen(create_run(Recipe(), name="new", root=tmp_path))))
    for words in ("no step recorded yet", "no snapshot recorded yet", "not recorded", "nothing recorded yet"):
        assert words in text


def test_all_pictures_over_steps_share_their_axis_and_leave_room_for_the_labels(tmp_path):
    layout = overview(seen(make_run(tmp_path))).layout
    axes = [layout.xaxis, layout.xaxis3, layout.xaxis4, layout.xaxis5, layout.xaxis6]
    assert {axis.range for axis in axes} == {layout.xaxis.range}
    assert [axis.matches for axis in axes] == [None, "x", "x", "x", "x"]
    assert layout.xaxis.range[1] > 1.2 * 140


@pytest.mark.parametrize("width", [300, 600, 859, 860, 1400, 1560, 2400, 0])
def test_pictures_never_overlap_and_stay_on_the_page(width):
    placed = arrangement(width)
    cells = list(placed.cells.values())
    assert len(cells) == 6
    assert all(0 <= c.left < c.right <= placed.width + 1e-6 and -1e-6 <= c.low < c.high for c in cells)
    for number, one in enumerate(cells):
        for other in cells[number + 1 :]:
            assert one.right <= other.left or other.right <= one.left or one.low >= other.high or other.low >= one.high


def test_a_marked_step_is_one_line_through_all_pictures_over_steps_and_a_ring_in_the_plane(tmp_path):
    figure = overview(seen(make_run(tmp_path)), step=70)
    lines = [shape for shape in figure.layout.shapes if shape.type == "line" and shape.x0 == shape.x1 == 70]
    assert {shape.xref for shape in lines} == {"x", "x3", "x4", "x5", "x6"}
    assert "step 70" in texts(figure)
    (ring,) = (trace for trace in figure.data if trace.name == "marked step")
    assert ring.customdata[0][0] == 70
    assert "step 70" not in texts(overview(seen(make_run(tmp_path))))


def test_curves_of_a_long_run_have_few_points(tmp_path):
    path = make_run(tmp_path, epochs=500, steps_per_epoch=10, num_samples=60)
    figure = overview(seen(path))
    assert max(len(trace.x) for trace in figure.data if trace.x is not None) <= MAX_POINTS
    assert points_drawn(figure) > 5_000


def test_where_it_comes_from_stands_in_the_figure(tmp_path):
    assert "run first" in texts(overview(seen(make_run(tmp_path, name="first"))))


def test_dead_classes_are_counted_and_named(tmp_path):
    text = texts(overview(seen(make_run(tmp_path, "partial"))))
    assert "2 of 10 classes live" in text and "8 without an image: 2, 3, 4" in text


def test_a_damaged_snapshot_spoils_its_own_column_and_is_said(tmp_path):
    path = make_run(tmp_path, snapshots=5)
    (path / "snapshots" / "step-000000070" / "sample_entropy.npy").write_bytes(b"")
    steps = sorted(path.glob("snapshots/*"))
    (steps[2] / "sample_entropy.npy").write_bytes(b"")
    figure = overview(seen(path))
    (heat,) = (trace for trace in figure.data if trace.type == "heatmap")
    shares = np.asarray(heat.z, float).sum(0)
    assert shares[2] == 0 and np.allclose(np.delete(shares, 2), 1)
    assert "sample_entropy.npy" in texts(figure)


def test_ghosts_are_faint_named_in_hover_and_in_words(tmp_path):
    ghost = Ghost(make_run(tmp_path, "uniform", name="earlier"), "a")
    figure = overview(seen(make_run(tmp_path)), ghosts=[ghost])
    faint = [trace for trace in figure.data if (trace.name or "").startswith("a: ")]
    assert len(faint) == 5
    assert all(trace.opacity < 0.5 and "earlier" in trace.hovertemplate for trace in faint)
    assert "faint: a = earlier" in texts(figure)


def test_a_ghost_with_another_number_of_classes_is_drawn_as_shares_of_log_c(tmp_path):
    ghost = Ghost(make_run(tmp_path, "uniform", name="earlier", num_classes=100), "a")
    figure = overview(seen(make_run(tmp_path)), ghosts=[ghost])
    (line,) = (trace for trace in figure.data if trace.name == "a: diversity")
    assert line.y[-1] == pytest.approx(np.log(10), rel=1e-3)  # that of 100 classes is at its own top
    assert line.customdata[-1] == pytest.approx(np.log(100), rel=1e-3)
    assert "share of log C" in line.hovertemplate and "shares of log C" in texts(figure)


HOSTILE = "<img src=x onerror=alert(1)>"


def test_the_name_of_a_ghost_stays_text(tmp_path):
    ghost = Ghost(make_run(tmp_path, name="earlier").rename(tmp_path / HOSTILE), "a")
    figure = overview(seen(make_run(tmp_path)), ghosts=[ghost])
    assert "<img" not in str(figure.to_json())


def test_a_ghost_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError):
        Ghost(tmp_path / "nothing", "a")


def test_pauses_and_resumes_are_marked_in_the_speed(tmp_path):
    found = seen(make_run(tmp_path))
    panel = speed_panel(found.record.metrics(), [("held", 30), ("resumed", 60)], found.scene())
    assert [note["text"] for note in panel.annotations if note["text"] in ("held", "resumed")] == ["held", "resumed"]
    assert RunRecord(found.record.path).bad_lines == 0
