"""The scatter's Python side, without a kernel or a browser: columns, selection, messages, and words for mistakes."""

from __future__ import annotations

import base64
import gc
import io
import weakref

import numpy as np
import pytest
import traitlets
from PIL import Image
from synthetic import make_run

from twist.runs.config import ConfigError
from twist.runs.record import RunRecord
from twist.runs.sheets import contact_sheet
from twist.runs.store import RecordError
from twist.view.scatter import TwistScatter, link

XY = np.stack([np.arange(20.0), np.arange(20.0) % 4], axis=1)


@pytest.fixture
def scatter():
    made = TwistScatter(XY, color=np.arange(20) % 3)
    yield made
    made.close()


def from_browser(scatter: TwistScatter, **state) -> None:
    """What a browser sends when a person acts."""
    content = {"data": {"method": "update", "state": state, "buffer_paths": []}}
    scatter._handle_msg({"content": content, "buffers": []})


def answers(scatter: TwistScatter, message: dict) -> list[tuple[dict, list[bytes]]]:
    """What Python answers to a browser's message."""
    said: list[tuple[dict, list[bytes]]] = []
    scatter.send = lambda content, buffers=None: said.append((content, buffers or []))
    scatter._handle_custom_msg(message, [])
    return said


def test_positions_are_sent_once_as_bytes_on_the_scale_of_the_map(scatter):
    drawn = np.frombuffer(scatter.points["xy"], "<f4").reshape(-1, 2)
    assert drawn[:, 0].min() == -1 and drawn[:, 0].max() == 1  # the longer side spans it
    back = drawn / scatter.points["scale"] + scatter.points["center"]
    assert np.allclose(back, XY, atol=1e-5)


def test_large_offsets_lose_nothing():
    stamps = 1.7e9 + np.arange(20.0)
    made = TwistScatter(stamps, np.arange(20.0))
    x = np.frombuffer(made.points["xy"], "<f4").reshape(-1, 2)[:, 0]
    assert np.allclose(np.diff(x), np.diff(x)[0], rtol=1e-4)
    made.close()


def test_two_columns_have_a_scale_each_and_one_array_has_one():
    wide = np.arange(20.0) * 1000
    each, both = TwistScatter(wide, np.arange(20.0)), TwistScatter(np.stack([wide, np.arange(20.0)], 1))
    assert each.points["scale"][1] > 100 * each.points["scale"][0]
    assert both.points["scale"][1] == both.points["scale"][0]
    each.close(), both.close()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_points_are_fine(count):
    made = TwistScatter(XY[:count], color=np.arange(count))
    assert len(made) == count and np.isfinite(np.frombuffer(made.points["xy"], "<f4")).all()
    made.close()


def test_points_without_a_finite_position_have_no_place():
    xy = XY.copy()
    xy[3, 0], xy[5, 1] = np.nan, np.inf
    made = TwistScatter(xy)
    drawn = np.frombuffer(made.points["xy"], "<f4").reshape(-1, 2)
    assert np.flatnonzero(np.isnan(drawn).all(axis=1)).tolist() == [3, 5]
    made.close()


def test_text_is_categories_and_many_numbers_are_a_ramp():
    kinds = ["b", None, "a", "b"] * 5
    made = TwistScatter(XY, color=kinds)
    assert made.coloring["names"] == ["a", "b"] and made.coloring["counts"] == [5, 10]
    assert np.frombuffer(made.coloring["codes"], "<u2")[:4].tolist() == [1, 65535, 0, 1]
    made.update(color=np.linspace(2, 5, 20))
    assert (made.coloring["kind"], made.coloring["low"], made.coloring["high"]) == ("numbers", 2, 5)
    made.update(color=np.linspace(-2, 5, 20))
    assert (made.coloring["low"], made.coloring["high"]) == (-5, 5)  # zero in the middle
    made.close()


def test_a_class_keeps_its_color_whichever_classes_are_there():
    made = TwistScatter(XY, color=np.full(20, 5))
    assert made.coloring["names"][5] == "5" and made.coloring["palette"][5] == "#D55E00"
    made.close()


def test_the_name_of_a_pandas_column_is_the_legends():
    import pandas as pd

    made = TwistScatter(XY, color=pd.Series(np.arange(20) % 2 > 0, name="odd"))
    assert made.coloring["name"] == "odd" and made.coloring["names"] == ["False", "True"]
    made.close()


def test_selection_is_an_array_of_rows_settable_and_observable(scatter):
    seen = []
    scatter.observe(lambda change: seen.append(change["new"].tolist()), "selection")
    scatter.selection = [4, 2]
    scatter.selection = np.array([4, 2])
    scatter.selection = np.arange(20) > 17
    assert seen == [[4, 2], [18, 19]]  # equal rows are no event
    with pytest.raises(traitlets.TraitError, match="row 20: the scatter has rows 0 to 19"):
        scatter.selection = [20]
    assert scatter.selection.tolist() == [18, 19]


def test_a_lasso_in_the_browser_is_one_event_with_rows_and_polygon(scatter):
    seen = []
    scatter.observe(lambda change: seen.append((scatter.selection.tolist(), scatter.selected_polygon)), "selection")
    rows = memoryview(np.array([7, 9], "<i4").tobytes())
    corners = [[0.0, 0.0], [9.0, 0.0], [9.0, 3.0]]
    from_browser(scatter, selection=rows, selected_polygon=corners)
    assert seen == [([7, 9], corners)]


def test_full_state_is_in_traits_so_that_a_reload_shows_the_same(scatter):
    scatter.selection = [1, 2]
    scatter.update(XY * 2)
    state = scatter.get_state()
    assert np.frombuffer(state["selection"], "<i4").tolist() == [1, 2]
    assert state["points"]["number"] == 2 and {"map_view", "frame", "coloring", "columns"} <= state.keys()


def test_update_moves_the_same_points_on_the_same_scale_or_a_new_one(scatter):
    scatter.update(XY / 2, refit=False)
    assert np.frombuffer(scatter.points["xy"], "<f4").max() == pytest.approx(0, abs=0.2)
    scatter.update(XY / 2)
    assert np.frombuffer(scatter.points["xy"], "<f4").max() == 1
    with pytest.raises(ConfigError, match="xy has 3 points, but the scatter 20"):
        scatter.update(XY[:3])


def test_frames_share_one_scale():
    made = TwistScatter(frames=np.stack([XY, XY * 2]), frame_names=["early", "late"])
    drawn = np.frombuffer(made.moments["xy"], "<f4").reshape(2, 20, 2)
    assert np.allclose((drawn[1] - drawn[1].mean(0)), 2 * (drawn[0] - drawn[0].mean(0)), atol=1e-6)
    assert made.moments["names"] == ["early", "late"] and np.abs(drawn).max() == 1
    made.close()


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {}, "neither x nor frames: pass xy of shape"),
        ((XY,), {"frames": XY[None]}, "both x and frames"),
        ((np.zeros((4, 3)),), {}, r"xy has shape \(4, 3\): pass an array of shape \[N, 2\]"),
        ((XY[:, 0], XY[:5, 1]), {}, r"shapes \(20,\) and \(5,\)"),
        ((["a", "b"],), {}, "holds no numbers"),
        ((XY,), {"color": np.arange(19)}, r"color has shape \(19,\), but there are 20 points"),
        ((np.zeros((2000, 2)),), {"color": [f"kind {i}" for i in range(2000)]}, "color has 2,000 categories"),
        ((XY,), {"color": np.arange(20), "names": ["a"]}, "color holds 19: with 1 names pass 0 to 0"),
        (
            (XY,),
            {"color": np.linspace(0, 1, 20), "names": ["a"]},
            "names names categories, but color has dtype float64",
        ),
        ((XY,), {"hover": {"file": ["a"]}}, r"hover\['file'\] has shape \(1,\)"),
        ((XY,), {"shape": np.full(20, 9)}, "shape holds other than 0 to 5"),
        ((XY,), {"size": np.full(20, np.nan)}, "size spans nan"),
        ((XY,), {"images": np.zeros((20, 8, 8))}, r"images has dtype float64: pass uint8"),
        (
            (XY,),
            {"images": np.zeros((20, 3, 8, 8), np.uint8)},
            r"channels come last, as by images.transpose\(0, 2, 3, 1\)",
        ),
        ((XY,), {"images": np.zeros((19, 8, 8), np.uint8)}, "images holds 19 images, but there are 20 points"),
        ((), {"frames": XY}, r"frames has shape \(20, 2\)"),
        ((), {"frames": XY[None], "frame_names": ["a", "b"]}, "frame_names has 2 names for 1 frames"),
    ],
)
def test_a_mistake_is_told_with_the_thing_the_value_and_the_fix(arguments, options, words):
    with pytest.raises(ConfigError, match=words):
        TwistScatter(*arguments, **options)


def test_thumbnails_come_as_one_sheet_in_the_order_asked_for():
    images = np.stack([np.full((8, 8), 10 * row, np.uint8) for row in range(20)])
    made = TwistScatter(XY, images=images)
    ((head, (content,)),) = answers(made, {"type": "tiles", "id": 7, "rows": [4, 19, 2]})
    assert (head["type"], head["id"], head["tile"], head["mime"]) == ("tiles", 7, 8, "image/png")
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    assert [sheet[4, 8 * k + 4] for k in range(3)] == [40, 190, 20]
    made.close()


def test_large_color_images_are_reduced_and_oblong_ones_stand_in_the_middle():
    made = TwistScatter(XY, images=lambda row: np.full((40, 300, 3), 200, np.uint8))
    ((head, (content,)),) = answers(made, {"type": "tiles", "id": 1, "rows": [0]})
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    assert head["tile"] == 96 and sheet.shape == (96, 96, 3)
    assert sheet[48, 48].min() > 190 and sheet[5, 48].max() < 10
    made.close()


def test_an_image_that_cannot_be_made_is_told_and_nothing_is_raised():
    def broken(row):
        raise OSError("the disk is gone")

    made = TwistScatter(XY, images=broken)
    assert answers(made, {"type": "tiles", "id": 1, "rows": [3]}) == [
        ({"type": "tiles", "id": 1, "problem": "No image: OSError: the disk is gone"}, [])
    ]
    assert answers(made, {"type": "other"}) == [] and answers(made, "nonsense") == []
    made.close()


def test_a_runs_watch_images_are_thumbnails_too(tmp_path):
    watch = RunRecord(make_run(tmp_path)).watch()
    content, mime = contact_sheet(watch, [7, 250])
    assert mime == "image/png"
    sheet = np.asarray(Image.open(io.BytesIO(content)))
    whole = np.asarray(Image.open(watch.sheets[0]))
    side, columns = watch.tile, watch.columns
    for at, row in enumerate([7, 250]):
        y, x = divmod(row % watch.per_sheet, columns)
        expected = whole[y * side : (y + 1) * side, x * side : (x + 1) * side]
        assert (sheet[:side, at * side : (at + 1) * side] == expected).all()
    with pytest.raises(RecordError, match="row 900 is asked for, but the run watches 300 images"):
        contact_sheet(watch, [900])


@pytest.mark.parametrize(
    "color", [None, np.arange(20) % 3, np.where(np.arange(20) > 3, np.linspace(-1, 1, 20), np.nan)]
)
def test_a_saved_notebook_keeps_a_picture(color):
    xy = XY.copy()
    xy[0] = np.nan
    made = TwistScatter(xy, color=color)
    bundle = made._repr_mimebundle_()
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB")).astype(int)
    assert pixels.shape == (460, 840, 3) and (pixels.max(2) - pixels.min(2) > 60).sum() > 200
    assert "application/vnd.jupyter.widget-view+json" in bundle
    made.close()


def test_linked_scatters_choose_the_same_rows_until_the_link_ends(scatter):
    other = TwistScatter(XY[::-1])
    end = link(scatter, other)
    scatter.selection = [2]
    assert other.selection.tolist() == [2] and other.links == scatter.links
    other.selection = [5, 6]
    assert scatter.selection.tolist() == [5, 6]
    end()
    other.selection = []
    assert scatter.selection.tolist() == [5, 6] and scatter.links == []
    other.close()


def test_scatters_of_different_points_can_share_the_view_only(scatter):
    other = TwistScatter(XY[:5])
    with pytest.raises(ConfigError, match="scatters of 5 and 20 points"):
        link(scatter, other)
    link(scatter, other, selection=False, hover=False)
    assert scatter.links[0]["traits"] == ["map_view"]
    other.close()


def test_a_closed_scatter_is_forgotten():
    seen = []
    for _ in range(3):
        one = TwistScatter(XY, images=np.zeros((20, 4, 4), np.uint8))
        two = TwistScatter(XY)
        link(one, two)
        seen += [weakref.ref(one), weakref.ref(two)]
        one.close(), two.close()
    del one, two
    gc.collect()
    assert [ref() for ref in seen] == [None] * 6
