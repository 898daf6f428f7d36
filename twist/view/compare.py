"""Runs beside each other: a table of all, recipes, curves and entropy planes of some, the classes of two."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets

from twist.runs.comparison import Comparison, compare, recipe_differences
from twist.runs.config import ConfigError
from twist.runs.folders import runs_root
from twist.runs.listing import Listing
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.turns import recipe_at
from twist.view import compare_actions
from twist.view.compare_parts import RunPair, RunsTable
from twist.view.compare_static import static_html
from twist.view.compare_tables import differences_table, pair_table, row_table
from twist.view.explorer_tables import watch_table
from twist.view.overlays import MOST_RUNS, overlay
from twist.view.scene import run_path
from twist.view.widgets import Tail, span

if TYPE_CHECKING:
    import pandas as pd

#: Contact sheets up to this size travel with the view; of larger ones the thumbnails that are looked at.
_MOST_SHEET_BYTES = 2_000_000
_SETTLE_S = 0.4
_DRAWING = 0.15  # share of the time that may go into drawing runs that train
_WIDTH_STEP = 40  # pixels by which a page must change before the figure is drawn anew


class Compare(ipywidgets.VBox):
    """All runs in a table, and those chosen there beside each other: recipes, curves, entropy planes, classes.

    From the table a run can be forked, tagged, renamed, thinned and deleted; each is said in words and done after a
    confirmation. Everything shown is read from the run folders, so a restart of the kernel loses nothing.

    Parameters
    ----------
    runs
        Up to six runs to begin with: handles, names or paths, all of one folder of runs.
    root
        Folder of the runs; none means that of the runs given, else the one in force.
    dark
        Whether to draw for a dark page; None follows the page.
    live
        Whether to keep looking; `refresh` looks once.

    Attributes
    ----------
    selected
        Names of the runs compared; set it and the view follows.
    comparison
        The two runs on the same images, see `twist.runs.comparison.Comparison`; None where they cannot be compared.

    Raises
    ------
    ConfigError
        When there is no such run, one is given twice, they are more than six or of several folders.

    Examples
    --------
    ::

        twist.Compare(["first", "second"])
    """

    _tail: Tail | None = None
    _parts: tuple[ipywidgets.Widget, ...] = ()

    def __init__(self, runs: Any = (), *, root: Path | None = None, dark: bool | None = None, live: bool = True):
        from twist.view.widgets import LiveFigure

        paths = _paths_of(runs)
        self.listing = Listing(root if root is not None else paths[0].parent if paths else runs_root())
        elsewhere = next((path for path in paths if path.parent.resolve() != self.listing.root.resolve()), None)
        if elsewhere is not None:
            raise ConfigError(
                f"{elsewhere.name} lies in another folder of runs than {self.listing.root}: compare within one"
            )
        self._lock = threading.RLock()
        self._chosen: list[str] = []  # the table's `selected`, as it was at the last look
        self._records: dict[str, RunRecord] = {}
        self._unreadable: dict[str, str] = {}
        self._drawn: Any = None
        self._draw_again = 0.0
        self._paired: Any = None
        self.comparison: Comparison | None = None
        self._dark = dark
        self.table = RunsTable(self._hear, folder=self.listing.root.name, selected=[p.name for p in paths])
        self.pair = RunPair()
        self.figure = LiveFigure(overlay([], dark=bool(dark)))
        super().__init__([self.table], layout={"width": "100%"})  # figure and pair when runs are chosen
        self._parts = (self.table, self.figure, self.pair)
        self._look(settle_s=0.0 if live else 60.0)
        self.table.observe(lambda _: self._again(), ["selected", "dark", "paper", "width", "seen"])
        self.pair.observe(lambda _: self._again(), "pair")
        self._tail = Tail(self._look, self._show_problem, name="twist-compare") if live else None

    def __repr__(self) -> str:
        return f"Compare({self.selected!r}, {len(self.table.rows)} runs)"

    @property
    def selected(self) -> list[str]:
        """Names of the runs compared, in the order of their letters."""
        return list(self.table.selected)

    @selected.setter
    def selected(self, runs: Any) -> None:
        self.table.selected = [path.name for path in _paths_of(runs)]

    @property
    def differences(self) -> pd.DataFrame:
        """The fields in which the newest recipes of the selected runs, turned knobs included, differ: a row each."""
        import pandas as pd

        with self._lock:
            found = recipe_differences([recipe_at(record) for record in self._records.values()])
            return pd.DataFrame(
                [difference.values for difference in found],
                index=pd.Index([difference.field for difference in found], name="field"),
                columns=list(self._records),
            )

    def refresh(self) -> None:
        """Look at all runs once, and show what is new."""
        self._again()

    def close(self) -> None:
        """End the thread and close every widget of the view; runs that train go on."""
        if self._tail is not None:
            self._tail.close()
        if self._parts:
            self.listing.save()
        for widget in self._parts:
            widget.close()
        super().close()

    # -- what is looked at --------------------------------------------------------------------------------------------

    def _again(self) -> None:
        try:
            self._look()
        except Exception as error:  # a callback has no cell to raise in: the person sees it here
            self._show_problem(error)

    def _look(self, settle_s: float = _SETTLE_S) -> None:
        with self._lock:
            rows = self.listing.look()
            self._choose([row.name for row in rows])
            self._show_rows()
            self._show_chosen()
            self._show_pair()
            if settle_s:
                self.listing.settle(settle_s)
                self._show_rows()
            if self._tail is not None:  # a folder of thousands is looked at less often
                busy = any(row.alive or not row.settled for row in self.listing.rows if row.state != "UNREADABLE")
                self._tail.period_s = 1.0 if busy else 3.0

    def _choose(self, names: list[str]) -> None:
        """Hold readers of the selected runs, and let go of runs that are gone."""
        gone = [name for name in self.table.selected if name not in names]
        if gone:
            self.table.notice = {"state": "error", "text": f"{', '.join(gone)}: renamed, moved or deleted meanwhile."}
            self.table.selected = [name for name in self.table.selected if name in names]
        self._chosen = list(self.table.selected)
        records: dict[str, RunRecord] = {}
        self._unreadable = {}
        for name in self._chosen:
            try:
                record = self._records.get(name) or RunRecord(self.listing.root / name)
                record.poll()
                assert record.recipe is not None  # read now: without one there is nothing to draw
                records[name] = record
            except (ConfigError, RecordError, OSError) as error:
                self._unreadable[name] = f"{name} cannot be compared: {error}"
        self._records = records

    def _show_rows(self) -> None:
        rows = [row_table(row) for row in self.listing.rows]
        shown = {row["name"]: row for row in self.table.rows}
        if [row["name"] for row in rows] != list(shown):
            with self.table.hold_sync():
                self.table.rows, self.table.living = rows, {}
            return
        changed = {row["name"]: row for row in rows if row != shown[row["name"]]}
        if len(changed) > max(20, len(rows) // 5):
            with self.table.hold_sync():
                self.table.rows, self.table.living = rows, {}
        elif changed != self.table.living:
            self.table.living = changed

    def _show_chosen(self) -> None:
        records, page = list(self._records.values()), self.table
        if not self._chosen:
            self.children, self._drawn, page.differences = self._parts[:1], None, {}
            return
        places = [self._chosen.index(name) for name in self._records]
        dark = page.dark if self._dark is None else self._dark
        paper = page.paper if dark == page.dark else ""
        lines = tuple((record.name, place, len(record.events)) for record, place in zip(records, places, strict=True))
        state = lines, tuple(self._unreadable.values()), dark, paper, page.width // _WIDTH_STEP
        if state == self._drawn or (self._drawn is not None and not page.seen):
            return
        began = time.monotonic()
        only_new_lines = self._drawn is not None and self._look_of(self._drawn) == self._look_of(state)
        if only_new_lines and began < self._draw_again:
            return
        told = {"places": places, "names": self._chosen, "problems": list(self._unreadable.values())}
        page.differences = {"rows": differences_table(records), **told}
        self.figure.draw(overlay(records, places=places, dark=dark, paper=paper, width=page.width))
        name = "-".join(["compare", *(record.name for record in records)])[:120]
        self.figure._config = {**self.figure._config, "toImageButtonOptions": {"filename": name, "scale": 2}}
        self._drawn, self._draw_again = state, began + (time.monotonic() - began) / _DRAWING
        self.children = self._parts

    @staticmethod
    def _look_of(state: Any) -> Any:
        """What a figure was drawn for, but for the numbers of lines in the logs."""
        return [line[:2] for line in state[0]], state[1:]

    def _show_pair(self) -> None:
        names = list(self._records)
        with self.pair.hold_sync():
            self.pair.choices = self._chosen
            pair = list(self.pair.pair)
            if len(names) < 2:
                words = "Two runs are held against each other here, image by image: choose a second one in the table."
                self._say_pair("empty", words)
                return
            if len(pair) != 2 or not set(pair) <= set(self._chosen) or pair[0] == pair[1]:
                pair = names[:2]
                self.pair.pair = pair
            unreadable = next((name for name in pair if name not in self._records), None)
            if unreadable is not None:
                self._say_pair("error", self._unreadable[unreadable])
                return
            records = self._records[pair[0]], self._records[pair[1]]
            state = tuple((record.name, *record.snapshot_steps()[-1:]) for record in records)
            if state == self._paired:
                return
            try:
                found, snapshots = compare(*records)
                watch = records[0].watch()
                assert watch is not None
                pictures, problem = watch_table(watch, most_sheet_bytes=_MOST_SHEET_BYTES)
            except (ConfigError, RecordError) as error:
                self._say_pair("error", str(error))
                self._paired = state
                return
            same = self._paired is not None and [s[0] for s in self._paired] == [s[0] for s in state]
            self.comparison, self._paired = found, state
            self.pair.images = watch
            if not same:
                self.pair.cell = [-1, -1]
                self.pair.show = "differ"
            self.pair.watch = pictures
            self.pair.table = pair_table(found, snapshots, watch)
            self.pair.status = {"state": "ready", "text": problem}

    def _say_pair(self, state: str, text: str) -> None:
        self.comparison, self._paired = None, None
        self.pair.table, self.pair.status = {}, {"state": state, "text": text}

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "close":
            self.table.question = {}
        elif kind in ("ask", "do"):
            self._answer(kind, message)
            self.table.send({"type": "answered"})  # also where no trait changed: nobody waits for ever

    def _answer(self, kind: str, message: dict[str, Any]) -> None:
        values = message.get("values")
        action, name = str(message.get("action")), str(message.get("run"))
        values = values if isinstance(values, dict) else None
        try:
            known = next((row.name for row in self.listing.rows if row.name == name), None)
            if known is None:
                raise ConfigError(f"there is no run {name!r} in the table")
            if kind == "ask":
                self.table.question = compare_actions.ask(action, self.listing.root / known, values)
                return
            done = compare_actions.do(action, self.listing.root / known, values or {})
        except Exception as error:  # shown to the person, in the question where there is one
            words = str(error) if isinstance(error, ConfigError | RecordError) else f"{type(error).__name__}: {error}"
            self._tell_problem(words, values)
            return
        with self._lock:
            self.table.question = {}
            self.table.notice = {"state": "done", "text": done.sentence}
            if action == "rename" and name in self.table.selected:
                self._records.pop(name, None)
                self.listing.look()
                self.table.selected = [done.name if other == name else other for other in self.table.selected]
            elif action == "delete":
                self.table.selected = [other for other in self.table.selected if other != name]
            elif action == "fork" and len(self.table.selected) < MOST_RUNS:
                self.table.selected = [*self.table.selected, done.name]
        self._again()

    def _tell_problem(self, words: str, values: dict[str, Any] | None) -> None:
        if self.table.question:
            fields = [
                {**field, "value": (values or {}).get(field["name"], field["value"])}
                for field in self.table.question.get("fields", [])
            ]
            self.table.question = {**self.table.question, "fields": fields, "problem": words}
        else:
            self.table.notice = {"state": "error", "text": words}

    def _show_problem(self, error: Exception | None) -> None:
        if error is None:
            self.table.notice = {}
        else:
            self.table.notice = {"state": "error", "text": f"{type(error).__name__}: {error}"}

    # -- a copy that needs no kernel ----------------------------------------------------------------------------------

    def static_html(self) -> str:
        """The runs compared, as tables of HTML that need neither kernel nor script."""
        with self._lock:
            rows = {row.name: row for row in self.listing.rows}
            places = [self._chosen.index(name) for name in self._records]
            chosen = [rows[name] for name in self._records if name in rows]
            return static_html(chosen, list(self._records.values()), places, self.table.differences, self.comparison)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/html": self.static_html(), "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, folded, a static copy that a saved notebook keeps."""
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)
        summary = span(f"Static copy of {repr(self)}, kept in the notebook", "opacity:.72", tag="summary")
        folded = f"<details>{summary}{self.static_html()}</details>"
        display({"text/html": folded, "text/plain": f"static copy of {self!r}"}, raw=True)


def _paths_of(runs: Any) -> list[Path]:
    given = [runs] if isinstance(runs, str) or hasattr(runs, "path") or isinstance(runs, Path) else list(runs)
    paths = [run_path(run).absolute() for run in given]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise ConfigError(f"{path.name} is given twice: compare it with another run")
    if len(paths) > MOST_RUNS:
        raise ConfigError(f"{len(paths)} runs are given: compare at most {MOST_RUNS} at a time")
    return paths
