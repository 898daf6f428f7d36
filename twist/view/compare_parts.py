"""The two widgets of a comparison that live in the browser: the table of runs, and two runs on the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from twist.runs.sheets import contact_sheet
from twist.runs.store import RecordError
from twist.runs.watched import Watch
from twist.view.browser import script, style
from twist.view.lighting import OnAPage
from twist.view.overlays import MOST_RUNS, RUN_INKS


class RunsTable(OnAPage, anywidget.AnyWidget):
    """All runs with filters, what may be done to each, and where the recipes of the chosen ones differ.

    Attributes
    ----------
    rows
        The runs, newest first, see `twist.view.compare_tables.row_table`.
    living
        Rows that changed since ``rows`` was sent, by name: what is alive moves every second, the rest does not.
    selected
        Names of the runs compared, in the order of their letters.
    query, order
        Filters, and the column sorted by.
    differences
        Fields of the recipes of the selected runs that differ.
    question
        What is asked before something is done to a run; empty when nothing is.
    notice
        What was done last, or what went wrong.
    """

    _esm = script("dom", "lighting", "compare_question", "compare_table")
    _css = style("base", "compare")

    rows: Any = traitlets.List().tag(sync=True)
    living = traitlets.Dict().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode(), maxlen=MOST_RUNS).tag(sync=True)
    query = traitlets.Dict().tag(sync=True)
    order = traitlets.Dict({"column": "created", "down": True}).tag(sync=True)
    differences = traitlets.Dict().tag(sync=True)
    question = traitlets.Dict().tag(sync=True)
    notice = traitlets.Dict().tag(sync=True)
    folder = traitlets.Unicode().tag(sync=True)
    hues = traitlets.List([ink.color for ink in RUN_INKS]).tag(sync=True)

    def __init__(self, on_message: Callable[[dict[str, Any]], None], **traits: Any):
        super().__init__(**traits)
        self._answer = on_message
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, __: Any) -> None:
        if not self.hear_of_page(message) and isinstance(message, dict):
            self._answer(message)


class RunPair(anywidget.AnyWidget):
    """Two runs on the same images: which class of one holds the images of which class of the other.

    Attributes
    ----------
    choices
        Names of the runs that may be chosen, in the order of their letters.
    pair
        The two that are.
    table
        See `twist.view.compare_tables.pair_table`; empty when there is none.
    watch
        Thumbnails of the images, as for the explorer.
    cell
        Classes of the chosen cell, -1 for none.
    show
        ``cell``, ``differ`` (most different first) or ``alike``.
    status
        State and words for when there is nothing to compare.
    """

    _esm = script("dom", "thumbnails", "compare_matrix", "compare_pair")
    _css = style("base", "compare")

    choices: Any = traitlets.List().tag(sync=True)
    pair = traitlets.List(traitlets.Unicode(), maxlen=2).tag(sync=True)
    table = traitlets.Dict().tag(sync=True)
    watch = traitlets.Dict().tag(sync=True)
    cell = traitlets.List(traitlets.Int(), default_value=[-1, -1], minlen=2, maxlen=2).tag(sync=True)
    show = traitlets.Enum(["cell", "differ", "alike"], "differ").tag(sync=True)
    status = traitlets.Dict({"state": "empty", "text": ""}).tag(sync=True)
    hues = traitlets.List([ink.color for ink in RUN_INKS]).tag(sync=True)

    def __init__(self, **traits: Any):
        super().__init__(**traits)
        self.images: Watch | None = None
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, __: Any) -> None:
        if not isinstance(message, dict) or message.get("type") != "tiles" or self.images is None:
            return
        answer = {"type": "tiles", "id": message.get("id")}
        rows = [row for row in message.get("rows", []) if isinstance(row, int)]
        try:
            picture, mime = contact_sheet(self.images, rows)
        except RecordError:  # the browser shows gray tiles
            self.send(answer)
            return
        columns = max(1, min(len(rows), self.images.columns))
        self.send({**answer, "columns": columns, "tile": self.images.tile, "mime": mime}, [picture])
