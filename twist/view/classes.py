"""The class explorer: a map of the watch images, the learned classes, and the images of each class, linked.

Python's part is small: read the snapshots, send them as columns of bytes, swap the map in when UMAP has placed the
images (`twist.view.explorer_core`), and answer what is too much to send. All else that a person does is answered in the
browser (the folder ``browser``), so the same explorer also lives in a page without a kernel.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twist.runs.class_names import ClassName, class_names, name_class
from twist.runs.comparison import shared_images
from twist.runs.config import ConfigError
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view import exports
from twist.view.explorer_answers import (
    Features,
    closest_answer,
    history_answer,
    neighbor_distances,
    tiles_answer,
)
from twist.view.explorer_core import ExplorerCore
from twist.view.explorer_history import as_shown
from twist.view.explorer_page import explorer_html, static_picture
from twist.view.explorer_tables import column_table, names_table, opinion_colors
from twist.view.layout import Layout, layout
from twist.view.provenance import file_name, provenance
from twist.view.scene import run_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClassExplorer", "explorer_html"]


class ClassExplorer(ExplorerCore):
    """What the network learned to tell apart: a map of the watch images, the classes, and each class's images.

    Every image is a point; hover shows it, a click selects its class, Shift and drag chooses any group. A slider runs
    through the checkpoints, and bands show which class became which. While UMAP places the images (in its own process)
    they stand where PCA puts them. Nearly everything is answered in the browser: the explorer stays alive while the
    kernel works.

    All views of one run in a kernel are linked: the step, the class and the images that are chosen in one of them are
    shown by the others.

    Parameters
    ----------
    run
        Name of a run, its path, ``"last"``, or anything with a ``path``.
    step
        Step of the snapshot to open at, which then stays; none means the newest, and the explorer follows the run.

    Attributes
    ----------
    selected_class
        The selected class, -1 for none. Set it and the view follows.
    selected_samples
        Rows of the watch images chosen one by one, by lasso or by a range of entropies: an int32 array. Set it from
        anything that lists rows, or from a mask.
    torn
        Two classes: the images between them are shown, those that can decide least first. ``(-1, -1)`` for none.
    shown_step
        Step of the checkpoint that is shown, -1 for the one it was opened at.
    color_by
        ``class``, ``label``, ``entropy``, ``confidence``, ``margin``, ``flips`` (changes of class over all snapshots),
        ``settled`` (the step since which the class stayed), ``agreement``, ``trust`` (of the map), or a column that
        `add_column` added.
    shape_by
        ``none``, ``odd`` (a cross where the label is not the main label of the class) or ``label`` (of at most six).
    gallery_order
        ``most`` or ``least`` (confident first), ``entropy`` (highest first), ``flips`` (most first), ``close`` (to the
        chosen image, by the cosine of the features) or ``margin`` (smallest first).
    trust_overlay
        Whether images whose place on the map says little of their features are drawn faintly.

    Raises
    ------
    ConfigError
        When there is no such run. For ``last`` an empty folder of runs is no error: the explorer waits for the first.

    Notes
    -----
    A run that has no snapshot yet is waited for; what cannot be read is told in the widget.
    """

    def __init__(self, run: Any = "last", step: int | None = None, **traits: Any):
        self._features = Features()
        self._answers: dict[str, Callable[[dict[str, Any]], None]] = {
            "refresh": lambda _: self._newest(),
            "tiles": self._answer_tiles,
            "closest": self._answer_closest,
            "history": self._answer_history,
            "name": self._answer_name,
            "export": self._answer_export,
        }
        super().__init__(run, step, **traits)
        self.on_msg(lambda _, content, __: self._answer(content))

    def __repr__(self) -> str:
        name = self._record.name if self._record else self._run
        return f"ClassExplorer({str(name)!r}, step={self.snapshot.get('step')})"

    # -- what a person asks of it in Python ---------------------------------------------------------------------------

    @property
    def table(self) -> pd.DataFrame:
        """All watch images at the step that is shown, one row per image.

        Columns are ``sample_id``, ``assignment``, ``class_name`` (where classes were named), ``label`` (where the set
        has labels), ``confidence``, ``sample_entropy`` (nats), ``margin``, the place on the map where it is made, and
        what `add_column` added; the index is the row among the watch images.
        """
        import pandas as pd

        if self._snapshot is None or self._watch is None or self._record is None:
            return pd.DataFrame(columns=["sample_id", "assignment", "confidence", "sample_entropy", "margin"])
        shown = self._shown()
        found, names = self._found(shown), self._names()
        return exports.class_table(self._watch, shown, names, found, self._added)

    @property
    def selection(self) -> pd.DataFrame:
        """The chosen images, else those between two classes, else those of the selected class: rows of `table`.

        Empty when nothing is selected.
        """
        table = self.table
        if len(self.selected_samples):
            return table.loc[[row for row in self.selected_samples.tolist() if row < len(table)]]
        if min(self.torn) >= 0 and self._snapshot is not None:
            pair = np.sort(np.asarray(self._shown().top_classes)[:, :2], axis=1)
            return table[(pair == np.sort(self.torn)).all(1)].sort_values("margin")
        return table[table["assignment"] == self.selected_class]

    def add_column(self, name: str, values: Iterable[Any], *, unit: str = "") -> None:
        """Add a column to color the points by, and to every table; then choose it with ``color_by``.

        Parameters
        ----------
        name
            What it is called.
        values
            One value per watch image, in their order: numbers, or texts that name categories. What is missing is gray.
        unit
            Unit of the numbers, for the legend.

        Raises
        ------
        ConfigError
            When it is not one value per image, or more categories than can be told apart; or when there are no images
            yet.
        """
        if self._watch is None:
            raise ConfigError(f"the column {name!r} has no images to belong to yet: wait for the first snapshot")
        listed = values if hasattr(values, "dtype") else list(values)
        column = column_table(name, listed, unit, len(self._watch))
        self._added[name] = np.asarray(listed)
        self.extra_columns = {**self.extra_columns, name: column}

    def add_labels(self, name: str, labels: Any) -> None:
        """Add a second opinion on the images as a column to color by: the classes of a labeler, or of another run.

        A class has the color of the own class that shares most images with it, found one to one, so what is of another
        color on the map is where the two disagree. Choose it with ``color_by``.

        Parameters
        ----------
        name
            What it is called.
        labels
            A run of the same watch images (name, path, handle), as `twist.label` makes one; anything with an
            ``assignment``, as a labeler gives it; or one whole number per watch image, -1 where unknown.

        Raises
        ------
        ConfigError
            When it is not one class for each image, or there is no such run; or when there are no images yet.
        RecordError
            When the run watches other images.
        """
        self._needed_watch()
        found, theirs = self._opinion(name, labels)
        shown = self._shown()
        self.add_column(name, [f"{theirs}{code}" if code >= 0 else None for code in found.tolist()])
        column = self.extra_columns[name]
        colors = opinion_colors(found, np.asarray(shown.assignment), shown.num_classes)
        order = {f"{theirs}{code}": code for code in np.unique(found[found >= 0]).tolist()}
        column = {**column, "colors": [colors[order[each]] for each in column["names"]]}
        self.extra_columns = {**self.extra_columns, name: column}

    def _opinion(self, name: str, labels: Any) -> tuple[np.ndarray, str]:
        """The class that somebody else gives each watch image, -1 for none, and a word for such a class."""
        watch, record = self._needed_watch(), self._needed_record()
        if isinstance(labels, (str, os.PathLike)) or hasattr(labels, "path"):
            other = RunRecord(run_path(labels))
            other.poll()
            shared, given = shared_images(record, other), np.asarray(other.snapshot().assignment)
            found = np.full(len(watch), -1)
            found[shared.first] = given[shared.second]
            return found, f"{other.name} "
        given = labels.assignment if hasattr(labels, "assignment") else labels
        given = np.asarray(given if hasattr(given, "__len__") else list(given))
        if given.shape != (len(watch),) or given.dtype.kind not in "iu":
            raise ConfigError(
                f"the labels {name!r} have the type {given.dtype} and the shape {given.shape}: give a run, or a whole "
                f"number for each of the {len(watch):,} images"
            )
        return given.astype(np.int64), f"{name} "

    def name_class(self, class_id: int, name: str | None = None, note: str | None = None) -> None:
        """Name a class, or note something of it; it is kept with the run, and shown wherever the class is.

        Raises
        ------
        ConfigError
            When the run has no such class, or the text is too long.
        """
        record = self._needed_record()
        count = record.recipe.network.num_classes
        whole = isinstance(class_id, (int, np.integer)) and not isinstance(class_id, bool)
        if not whole or not 0 <= class_id < count:
            raise ConfigError(f"run {record.name} has no class {class_id!r}: give one from 0 to {count - 1}")
        self.class_names = names_table(name_class(record.path, int(class_id), name, note))

    def export(self, target: Path | str | None = None, *, only_selection: bool = False) -> Path:
        """Write the classes of the images to a file, or their thumbnails into a folder per class; returns its path.

        Parameters
        ----------
        target
            A file that ends in ``.csv`` or ``.parquet``, or a folder for the images of each class. None writes CSV into
            the folder ``exports`` of the run, under a name that is free.
        only_selection
            Whether to write `selection` alone.

        Raises
        ------
        ConfigError
            When the target exists (nothing is ever overwritten), cannot be written, or needs what is not installed.
        """
        record, watch = self._needed_record(), self._needed_watch()
        table = self.selection if only_selection else self.table
        if not len(table):
            raise ConfigError("nothing is selected: select images or a class first, or export all of them")
        if target is None:
            name = file_name(record, "classes", int(self._shown().step))
            target = exports.free_target(record.path / "exports" / f"{name}.csv")
        if Path(target).suffix:
            return exports.write_table(table, target)
        return exports.write_folders(table, watch, target)

    def to_atlas(self, target: Path | str, *, only_selection: bool = False) -> Path:
        """Write a parquet file for Embedding Atlas: places, neighbors, pictures, entropies; returns its path.

        Raises
        ------
        ConfigError
            When the map is not made yet, the file exists, or pyarrow is missing.
        """
        record, watch, shown = self._needed_record(), self._needed_watch(), self._shown()
        found = layout(record.path, shown.step)
        if found is None:
            raise ConfigError(f"the map of step {shown.step} is not made yet: wait until the explorer shows it")
        near = getattr(found, "neighbors", None)
        pairs = None if near is None else (np.asarray(near), neighbor_distances(shown.features, np.asarray(near)))
        table = self.selection if only_selection else self.table
        return exports.write_atlas(table, watch, found, pairs, target)

    def to_jscatter(self) -> Any:
        """The table as a ``jscatter.Scatter``; it needs jupyter-scatter, and the map to be made."""
        return exports.jscatter_of(self.table)

    def _needed_record(self) -> RunRecord:
        if self._record is None:
            raise ConfigError("there is no run yet: start one with twist.launch('digits')")
        return self._record

    def _needed_watch(self) -> Watch:
        if self._watch is None:
            raise ConfigError(f"run {self._needed_record().name} has no snapshot yet: there is nothing to export")
        return self._watch

    def _found(self, shown: Snapshot) -> Layout | None:
        try:
            return layout(self._needed_record().path, shown.step)
        except RecordError:  # damaged: the widget says so
            return None

    def _names(self) -> dict[int, ClassName]:
        try:
            return class_names(self._needed_record().path)
        except RecordError:  # damaged: the widget says so
            return {}

    def _shown(self) -> Snapshot:
        """The snapshot at the step that is shown."""
        record, home = self._needed_record(), self._snapshot
        if home is None:
            raise ConfigError(f"run {record.name} has no snapshot yet: wait for the first")
        if self.shown_step in (-1, home.step):
            return home
        earlier = record.snapshot(self.shown_step)
        return as_shown(earlier, self.history) if record.recipe.network.num_heads > 1 else earlier

    # -- what the browser asks ----------------------------------------------------------------------------------------

    def _answer(self, content: Any) -> None:
        work = self._answers.get(str(content.get("type"))) if isinstance(content, dict) else None
        if work is None:
            return
        try:
            work(content)
        except (ConfigError, RecordError, OSError, ValueError, TypeError, KeyError) as error:
            self.send({"type": content["type"], "id": content.get("id"), "problem": str(error)})

    def _newest(self) -> None:
        self.shown_step = -1
        self.refresh()

    def _answer_tiles(self, content: dict[str, Any]) -> None:
        answer, buffers = tiles_answer(self._needed_watch(), [int(row) for row in content["rows"]])
        self.send({"type": "tiles", "id": content.get("id"), **answer}, buffers)

    def _answer_closest(self, content: dict[str, Any]) -> None:
        shown, row = self._shown(), int(content["row"])
        if not 0 <= row < len(shown.assignment):
            raise ValueError(f"there is no image {row}")
        found = self._features.closeness(shown, row)
        answer = {"type": "closest", "id": content.get("id"), "row": row, "step": int(shown.step)}
        self.send(answer, closest_answer(found))

    def _answer_history(self, content: dict[str, Any]) -> None:
        answer = history_answer(self._needed_record(), int(content["row"]))
        self.send({"type": "history", "id": content.get("id"), "row": int(content["row"]), **answer})

    def _answer_name(self, content: dict[str, Any]) -> None:
        self.name_class(int(content["class"]), content.get("name"), content.get("note"))
        self.send({"type": "name", "id": content.get("id")})

    def _answer_export(self, content: dict[str, Any]) -> None:
        record, only = self._needed_record(), bool(content.get("only_selection"))
        kind = {"csv": ".csv", "parquet": ".parquet", "atlas": ".parquet", "folders": ""}[content["kind"]]
        view = {"atlas": "atlas", "folders": "images"}.get(content["kind"], "classes")
        name = file_name(record, view, int(self._shown().step)).replace(".", "-" if not kind else ".")
        target = exports.free_target(record.path / "exports" / f"{name}{kind}")
        work = self.to_atlas if content["kind"] == "atlas" else self.export
        written = work(target, only_selection=only)
        self.send({"type": "export", "id": content.get("id"), "written": f"{record.name}/exports/{written.name}"})

    # -- what stays ---------------------------------------------------------------------------------------------------

    def static_html(self) -> str:
        """What is shown now as a small picture and a table, in HTML that needs neither kernel nor script."""
        if self._snapshot is None or self._watch is None or self._record is None:
            return f"<p>{html.escape(self.status['text'])}</p>"
        shown = self._shown()
        line = provenance(self._record, int(shown.step))
        found, names = self._found(shown), self._names()
        return static_picture(self._record.name, self._watch, shown, found, names, line)

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, folded, a static copy that a saved notebook keeps."""
        from IPython.display import display

        name = self._record.name if self._record else "no run"
        shown: Any = self._repr_mimebundle_() or {}
        display(shown[0] if isinstance(shown, tuple) else shown, raw=True)
        summary = html.escape(f"Static copy of {name} at step {self.snapshot.get('step', 0):,}, kept in the notebook")
        folded = f'<details><summary style="opacity:.72">{summary}</summary>{self.static_html()}</details>'
        display({"text/html": folded, "text/plain": f"static copy of {name}"}, raw=True)
