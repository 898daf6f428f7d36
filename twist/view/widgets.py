"""Widgets that keep what they show: a plotly figure that survives a reload, and the thread that keeps it current."""

from __future__ import annotations

import functools
import html
import json
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from twist.view.browser import script

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from plotly.graph_objects import FigureWidget
else:
    FigureWidget = object


# One for all figures of a page, begun when the first is shown; a string until then, which costs the page nothing.
_LOAD_PLOTLY = """
const PLOTLY = %s;
const loadPlotly = () => (window.twistPlotly ??= import(
  URL.createObjectURL(new Blob([PLOTLY], { type: "text/javascript" })),
));
"""


def __getattr__(name: str) -> Any:
    """`LiveFigure`, built when first asked for: plotly's widget loads nbformat, which costs two seconds."""
    if name == "LiveFigure":
        return _live_figure()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _live_figure() -> type[Redrawn]:
    import plotly.graph_objects as go

    class LiveFigure(Redrawn, go.FigureWidget):
        __doc__ = Redrawn.__doc__
        _esm = _live_script()
        # Up to which edits of layout and traces the whole figure goes that was sent last.
        _whole = traitlets.Unicode("0 0").tag(sync=True)

    return LiveFigure


def _live_script() -> str:
    plotly = (resources.files("plotly") / "package_data" / "widgetbundle.js").read_text("utf-8")
    parts = script("dom", "live_figure", widget="makeLiveFigure")
    return _LOAD_PLOTLY % json.dumps(plotly, ensure_ascii=False) + parts


class Redrawn(FigureWidget):
    """A `plotly` figure widget that can be redrawn from a thread, reloaded, and forgotten.

    What `LiveFigure` adds to plotly's widget. plotly's own hands a reloaded page (and Voila) the figure it was
    constructed with, not the present one, loses what changes while a page loads its script, and is never
    garbage-collected, because its script is a path that anywidget watches (anywidget issue 929). All three are mended
    here and in ``browser/live_figure.js`` with private names of plotly; a test guards them.

    Every live figure sends five megabytes of script once: use one per view.
    """

    def __init__(self, figure: go.Figure):
        self._drawn_ranges: dict[str, tuple] = {}
        self._drawing = threading.RLock()
        super().__init__(figure)
        self._config = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}
        self.layout.autosize = True
        self._remember_ranges(figure.layout.to_plotly_json())
        self.on_msg(self._hear)
        self.send_whole()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The widget's state; a full one (reload, Voila, second page) is that of the figure as it is now."""
        if key is None and hasattr(self, "_data"):
            self.send_whole()
        return super().get_state(key, drop_defaults)

    def send_whole(self) -> None:
        """Send the figure as it is now; what changes is otherwise sent as changes.

        A page asks for it when it may have missed one, or has kept many.
        """
        with self._drawing, self.hold_sync():
            self.set_trait("_widget_layout", deepcopy(self._layout_obj._props))
            self.set_trait("_widget_data", deepcopy(self._data))
            self.set_trait("_whole", self._edits())

    def _edits(self) -> str:
        return f"{self._last_layout_edit_id} {self._last_trace_edit_id}"

    def _hear(self, _: Any, message: Any, buffers: Any) -> None:
        if isinstance(message, dict) and message.get("do") == "whole":
            with self._drawing:
                if message.get("known") != self._edits():
                    self.send_whole()

    def draw(self, figure: go.Figure) -> None:
        """Show another figure in place: only what changed is sent, in one message, and a person's zoom is kept."""
        with self._drawing:
            present: tuple[Any, ...] = self.data  # type: ignore[has-type]
            if [trace.type for trace in present] != [trace.type for trace in figure.data]:
                self.data = ()
                self.add_traces([trace.to_plotly_json() for trace in figure.data])
            with self.batch_update():
                present = self.data
                mine: Any
                for mine, theirs in zip(present, figure.data, strict=True):
                    if change := _difference(mine.to_plotly_json(), theirs.to_plotly_json()):
                        mine.update(change, overwrite=True)
                layout = figure.layout.to_plotly_json()
                moved = [name for name in layout if name[1:5] == "axis" and self._moved_by_hand(name)]
                for axis in moved:
                    layout[axis]["range"] = self.layout[axis].range
                if change := _difference(self.layout.to_plotly_json(), layout, keep=("autosize", "width", "dragmode")):
                    self.layout.update(change, overwrite=True)
                if _paper(figure) != _paper(self):
                    self.layout.template = figure.layout.template
            self._remember_ranges({name: value for name, value in layout.items() if name not in moved})

    def _moved_by_hand(self, axis: str) -> bool:
        if axis not in self._drawn_ranges or self.layout[axis].range is None:
            return False
        return not np.allclose(self._drawn_ranges[axis], self.layout[axis].range, rtol=1e-6, atol=1e-9)

    def _remember_ranges(self, layout: dict[str, Any]) -> None:
        for name, value in layout.items():
            if name[1:5] == "axis" and value.get("range") is not None:
                self._drawn_ranges[name] = tuple(value["range"])


def _paper(figure: Any) -> Any:
    """What tells the template of one lighting from that of the other; comparing them whole takes long."""
    return figure.layout.template.layout.paper_bgcolor


def _difference(old: dict[str, Any], new: dict[str, Any], *, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Entries of ``new`` that differ from ``old``; what is gone becomes None."""
    keep += ("type", "uid", "template")
    changed = {name: value for name, value in new.items() if name not in keep and not _same(old.get(name), value)}
    return changed | {name: None for name in old.keys() - new.keys() if name not in keep}


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in new)
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        old, new = np.asarray(old), np.asarray(new)
        numbers = old.dtype.kind == "f" and new.dtype.kind == "f"
        return old.shape == new.shape and bool(np.array_equal(old, new, equal_nan=numbers))
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)


class Tail:
    """A thread that looks at something once a second until it is closed.

    The next look begins when the last one is done and a period has gone by, so a slow page never piles up work: what
    is shown is always the latest. An error is handed to ``on_error`` (once, while it repeats) and looking goes on.

    Parameters
    ----------
    look
        Called again and again, in the thread; cheap when nothing is new.
    on_error
        Shows an error to the person, in the thread; called with None when the error is over.
    period_s
        Seconds between the starts of two looks.
    """

    def __init__(
        self,
        look: Callable[[], object],
        on_error: Callable[[Exception | None], object],
        *,
        period_s: float = 1.0,
        name: str = "twist-tail",
    ):
        self._look, self._on_error, self.period_s = look, on_error, period_s
        self._closed, self._woken = threading.Event(), threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still looks."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Look at once; during a look, once more after it."""
        self._woken.set()

    def close(self) -> None:
        """Look no more; returns when the last look is done."""
        self._closed.set()
        self._woken.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            self._woken.clear()
            self._look_once()
            self._woken.wait(max(0.05, self.period_s - (time.monotonic() - began)))

    def _look_once(self) -> None:
        try:
            self._look()
        except Exception as error:  # shown to the person, never swallowed: there is no cell to raise it in
            if self._problem != repr(error):
                self._problem = repr(error)
                self._on_error(error)
        else:
            if self._problem:
                self._problem = ""
                self._on_error(None)


def span(text: object, style: str = "", *, tag: str = "span") -> str:
    """HTML of an element whose text stays text."""
    return f'<{tag} style="{html.escape(style)}">{html.escape(str(text))}</{tag}>'
