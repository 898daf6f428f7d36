"""Live figures keep their state, send little, and can be forgotten; the tail shows errors and ends."""

import gc
import json
import threading
import time
import weakref

import numpy as np
import plotly.graph_objects as go
import pytest

from twist.view.widgets import LiveFigure, Tail, span


def figure(count=3, title="first", high=1.0) -> go.Figure:
    x = np.arange(count, dtype=np.float32)
    layout = {"title": {"text": title}, "xaxis": {"range": [0, count]}, "yaxis": {"range": [0, high]}}
    return go.Figure([{"type": "scatter", "x": x, "y": x * 2}, {"type": "bar", "x": x, "y": x}], layout)


class Wire:
    """Stands in for the browser's end of a widget's comm."""

    def __init__(self, widget):
        self.messages = []
        widget.comm.send = self.send

    def send(self, data=None, metadata=None, buffers=None):
        self.messages.append((data, buffers or []))

    def updates(self):
        return [data["state"]["_py2js_update"] for data, _ in self.messages if data["state"].get("_py2js_update")]


def test_a_reload_gets_the_figure_as_it_is_now():
    live = LiveFigure(figure())
    live.draw(figure(5, "late"))
    live.update_layout(dragmode="lasso")
    state = live.get_state()
    assert state["_widget_layout"]["title"]["text"] == "late"
    assert state["_widget_layout"]["dragmode"] == "lasso"
    assert state["_widget_data"][0]["x"]["shape"] == (5,)


def test_a_page_that_still_loads_gets_the_figure_as_it_is_now():
    live = LiveFigure(figure())
    live.draw(figure(5, "late"))
    wire = Wire(live)
    live.send_whole()
    sent = {name: value for data, _ in wire.messages for name, value in data["state"].items()}
    assert sent["_widget_layout"]["title"]["text"] == "late" and len(sent["_widget_data"]) == 2


def test_closed_figures_are_collected():
    alive = []
    for _ in range(3):
        live = LiveFigure(figure())
        alive.append(weakref.ref(live))
        live.close()
    del live
    gc.collect()
    assert [ref() for ref in alive] == [None, None, None]


def test_the_private_names_it_stands_on_are_there():
    live = LiveFigure(figure())
    assert isinstance(live._esm, str) and len(live._esm) > 1_000_000
    assert live._layout_obj._props["title"]["text"] == "first" and len(live._data) == 2
    assert {"_widget_layout", "_widget_data"} <= set(live.trait_names(sync=True))


def test_drawing_sends_only_what_changed_in_one_update():
    live = LiveFigure(figure())
    wire = Wire(live)
    live.draw(figure())
    assert wire.updates() == []
    live.draw(figure(title="second"))
    (update,) = wire.updates()
    assert list(update["layout_data"]) == ["title"] or list(update["layout_data"]) == ["title.text"]
    assert not any(update["style_data"].values())
    live.draw(figure(4, title="second"))
    assert len(wire.updates()) == 2


def test_drawing_ends_with_the_new_figure_even_when_traces_come_and_go():
    live = LiveFigure(figure())
    one = go.Figure([{"type": "scatter", "x": [1.0], "y": [2.0], "name": "alone"}])
    for target in (one, figure(7), figure(2)):
        live.draw(target)
        assert [trace.type for trace in live.data] == [trace.type for trace in target.data]
        for mine, theirs in zip(live.data, target.data, strict=True):
            assert np.array_equal(mine.x, theirs.x) and mine.name == theirs.name


def test_shapes_and_annotations_that_are_gone_disappear():
    first = figure()
    first.add_hline(y=1, annotation_text="reference")
    live = LiveFigure(first)
    live.draw(figure())
    assert live.layout.shapes == () and live.layout.annotations == ()


def test_a_zoom_by_hand_is_kept_and_other_axes_move_on():
    live = LiveFigure(figure())
    live.draw(figure(10, high=2))
    assert live.layout.xaxis.range == (0, 10) and live.layout.yaxis.range == (0, 2)
    live.layout.xaxis.range = (3, 4)
    for count in (20, 30):
        live.draw(figure(count, high=count))
        assert live.layout.xaxis.range == (3, 4) and live.layout.yaxis.range == (0, count)


def wait_for(condition, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_the_tail_looks_until_it_is_closed():
    looks = []
    tail = Tail(lambda: looks.append(1), print, period_s=0.05)
    wait_for(lambda: len(looks) >= 3)
    tail.close()
    count = len(looks)
    time.sleep(0.15)
    assert len(looks) == count and not tail.alive


def test_the_tail_shows_an_error_once_goes_on_and_says_when_it_is_over():
    shown, looks = [], []

    def look():
        looks.append(1)
        if len(looks) < 4:
            raise OSError("disk is away")

    tail = Tail(look, shown.append, period_s=0.05)
    wait_for(lambda: len(looks) >= 6)
    tail.close()
    assert [str(error) for error in shown] == ["disk is away", "None"]


def test_a_slow_look_does_not_pile_up():
    looks = []

    def look():
        looks.append(time.monotonic())
        time.sleep(0.1)

    tail = Tail(look, print, period_s=0.02)
    wait_for(lambda: len(looks) >= 3)
    tail.close()
    assert min(np.diff(looks)) >= 0.1


def test_the_tail_can_be_closed_from_its_own_look():
    holder = []
    ready = threading.Event()

    def look():
        ready.wait(2)
        holder[0].close()

    holder.append(Tail(look, print, period_s=0.01))
    ready.set()
    wait_for(lambda: not holder[0].alive)


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "</span><script>", '"&'])
def test_text_in_a_span_stays_text(text):
    shown = span(text, "color:red")
    assert shown.count("<") == 2 and "<script" not in shown


def test_a_page_that_missed_a_change_gets_the_whole_figure_and_one_that_knows_it_nothing():
    live = LiveFigure(figure())
    live.draw(figure(5, "late"))
    wire = Wire(live)
    known = f"{live._last_layout_edit_id} {live._last_trace_edit_id}"
    live._handle_custom_msg({"do": "whole", "known": known}, [])
    assert wire.messages == []
    live._handle_custom_msg({"do": "whole", "known": "0 0"}, [])
    (sent,) = (data["state"] for data, _ in wire.messages)  # one message: no page sees half of it
    assert sent["_widget_layout"]["title"]["text"] == "late" and len(sent["_widget_data"]) == 2
    assert sent["_whole"] == known == live.get_state()["_whole"]


def test_plotly_lies_in_the_script_as_a_string_that_costs_a_page_nothing_until_it_is_shown():
    first, *rest = LiveFigure(figure())._esm.strip().splitlines()
    plotly = json.loads(first.removeprefix("const PLOTLY = ").removesuffix(";"))
    assert "plotlywidget-after-render" in plotly and len("".join(rest)) < 20_000
