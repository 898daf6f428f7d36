"""The class explorer: a map of the watch images, the learned classes, and the images of each class, linked.

Python's part is small: read a snapshot, send it as columns of bytes, and swap the map in when UMAP has placed it. All
that a person does is answered in the browser (the folder ``browser``), so the same explorer also lives in a
page without a kernel.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets

from twist.runs.config import ConfigError
from twist.runs.record import RunRecord, Snapshot, Watch
from twist.runs.store import RecordError
from twist.view.browser import ALONE, script, style
from twist.view.layout import Layout, LayoutProcess, layout, pca_positions, start_layout
from twist.view.scene import run_path
from twist.view.theme import class_colors

if TYPE_CHECKING:
    import pandas as pd

_SCRIPT = script("dom", "thumbnails", "scatter", "explorer")
_STYLE = style("base", "explorer")

# Viridis from 25 % to 95 %: its ends can hardly be seen on dark paper (contrast 1.2) and on light paper (1.3).
_RAMP = "#3b528b #2f6c8d #25858d #249d87 #33b37a #5ec962 #9dd83a #dde329".split()
_LOOK_EVERY_S = 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Tables: what the browser gets, as plain values and bytes


def watch_table(watch: Watch) -> dict[str, Any]:
    """The watch images as the browser gets them: ids, labels, and the contact sheets as they lie on disk."""
    labels = b"" if watch.labels is None else _bytes(watch.labels, np.int32)
    num_labels = 0 if watch.labels is None else int(watch.labels.max(initial=-1)) + 1
    return {
        "count": len(watch),
        "sample_ids": _bytes(watch.sample_ids, np.float64),  # exact up to 2^53; JavaScript has no other integers
        "labels": labels,
        "label_names": [str(watch.label_name(label)) for label in range(num_labels)],
        "tile": watch.tile,
        "columns": watch.columns,
        "per_sheet": watch.per_sheet,
        "sheet_type": "image/jpeg" if watch.sheets and watch.sheets[0].suffix == ".jpg" else "image/png",
        "sheets": [path.read_bytes() for path in watch.sheets],
    }


def snapshot_table(snapshot: Snapshot) -> dict[str, Any]:
    """What the network says of each watch image, as the browser gets it: one column of bytes per quantity."""
    return {
        "step": int(snapshot.step),
        "epoch": float(snapshot.epoch),
        "num_classes": int(snapshot.num_classes),
        "top_k": int(snapshot.top_classes.shape[1]),
        "assignment": _bytes(snapshot.assignment, np.int32),
        "confidence": _bytes(snapshot.confidence, np.float32),
        "sample_entropy": _bytes(snapshot.sample_entropy, np.float32),
        "top_classes": _bytes(snapshot.top_classes, np.int32),
        "top_probs": _bytes(snapshot.top_probs, np.float32),
    }


def palette_table(num_classes: int, num_labels: int) -> dict[str, list[str]]:
    """Colors of classes and labels, and the anchors of the ramp for entropy and confidence."""
    return {"classes": class_colors(num_classes), "labels": class_colors(num_labels), "ramp": _RAMP}


def map_table(found: Layout) -> dict[str, Any]:
    """A finished map as the browser gets it; images that were not laid out have places that are not numbers."""
    xy = np.stack([found.x, found.y], axis=1)
    return {"method": found.facts["method"], "step": found.step, "made": found.caption, "xy": _bytes(xy, np.float32)}


def stand_in_table(snapshot: Snapshot, reason: str = "") -> dict[str, Any]:
    """A map by PCA, there at once, to look at until the real one is made, or with the reason why there is none."""
    xy, made = pca_positions(snapshot.features), f"PCA of the features ({reason})" if reason else ""
    return {"method": "pca", "step": int(snapshot.step), "made": made, "xy": _bytes(xy, np.float32)}


def _bytes(column: np.ndarray, dtype: type) -> bytes:
    return np.ascontiguousarray(column, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


# ---------------------------------------------------------------------------------------------------------------------
# The widget


class ClassExplorer(anywidget.AnyWidget):
    """What the network learned to tell apart: a map of the watch images, the classes, and each class's images.

    Every image is a point; hover shows it, a click selects its class, Shift and drag chooses any group. While UMAP
    places the images (in its own process) they stand where PCA puts them. Everything is answered in the browser: the
    explorer stays alive while the kernel works.

    Parameters
    ----------
    run
        Name of a run, its path, ``"last"``, or anything with a ``path``.
    step
        Step of the snapshot; none means the newest, and `refresh` follows the run.

    Attributes
    ----------
    selected_class
        The selected class, -1 for none. Set it and the view follows.
    selected_samples
        Rows of the watch images chosen one by one or by lasso.
    color_by
        ``class``, ``label``, ``entropy`` or ``confidence``.
    gallery_order
        ``most`` or ``least`` (confident first), or ``entropy`` (highest first).

    Raises
    ------
    ConfigError
        When there is no such run. For ``last`` an empty folder of runs is no error: the explorer waits for the first.

    Notes
    -----
    A run that has no snapshot yet is waited for; what cannot be read is told in the widget.
    """

    _esm = _SCRIPT
    _css = _STYLE

    status = traitlets.Dict({"state": "empty", "text": ""}).tag(sync=True)
    watch = traitlets.Dict().tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)
    placement = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    selected_class = traitlets.Int(-1, min=-1).tag(sync=True)
    selected_samples = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    color_by = traitlets.Enum(["class", "label", "entropy", "confidence"], "class").tag(sync=True)
    gallery_order = traitlets.Enum(["most", "least", "entropy"], "most").tag(sync=True)
    map_view = traitlets.List(traitlets.Float(), default_value=[0.0, 0.0, 1.0], minlen=3, maxlen=3).tag(sync=True)

    def __init__(self, run: Any = "last", step: int | None = None, **traits: Any):
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._record: RunRecord | None = None if run == "last" else RunRecord(run_path(run))
        super().__init__(**traits)
        self._run = run
        self._step = step
        self._snapshot: Snapshot | None = None
        self._watch: Watch | None = None
        self._placing: LayoutProcess | None = None
        self._lock = threading.RLock()
        self.on_msg(lambda _, content, __: self.refresh() if content.get("type") == "refresh" else None)
        self.refresh()

    def __repr__(self) -> str:
        name = self._record.name if self._record else self._run
        return f"ClassExplorer({str(name)!r}, step={self.snapshot.get('step')})"

    @property
    def selection(self) -> pd.DataFrame:
        """The chosen images, or those of the selected class, as a table with one row per image.

        Its columns are ``sample_id``, ``assignment``, ``confidence``, ``sample_entropy`` (nats), and ``label`` where
        the set has labels; its index is the row among the watch images. Empty when nothing is selected.
        """
        import pandas as pd

        if self._snapshot is None or self._watch is None:
            return pd.DataFrame(columns=["sample_id", "assignment", "confidence", "sample_entropy"])
        table = pd.DataFrame(
            {
                "sample_id": np.array(self._watch.sample_ids),
                "assignment": np.array(self._snapshot.assignment),
                "confidence": np.array(self._snapshot.confidence),
                "sample_entropy": np.array(self._snapshot.sample_entropy),
            }
        )
        if self._watch.labels is not None:
            table["label"] = [self._watch.label_name(label) for label in self._watch.labels]
        if self.selected_samples:
            return table.loc[[row for row in self.selected_samples if row < len(table)]]
        return table[table["assignment"] == self.selected_class]

    def refresh(self) -> None:
        """Show the run's newest snapshot (or the one step asked for), and place its images."""
        with self._lock:
            if self._closed.is_set():
                return
            self._attempt(self._load)
            if self._waits() and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._follow, name="class-explorer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the widget and its thread; a map that is being placed is finished all the same."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        super().close()

    def _waits(self) -> bool:
        return self.status["state"] in ("empty", "waiting")

    def _follow(self) -> None:
        """Until there is nothing to wait for: look for a first snapshot, then for the map."""
        while not self._closed.wait(_LOOK_EVERY_S):
            with self._lock:
                if not self._waits():
                    self._thread = None
                    return
                self._attempt(self._load if self._snapshot is None else self._take_map)

    def _attempt(self, work: Any) -> None:
        try:
            work()
        except (ConfigError, RecordError) as error:
            missing = self._run == "last" and self._record is None
            self._say("empty" if missing else "error", str(error))
        except Exception as error:  # a thread has nobody to raise to: the person sees it in the widget
            self._say("error", f"{type(error).__name__}: {error}")

    def _say(self, state: str, text: str = "") -> None:
        self.status = {"state": state, "text": text, "run": self._record.name if self._record else ""}

    def _load(self) -> None:
        if self._record is None:
            self._record = RunRecord(run_path(self._run))
        self._record.poll()
        watch = self._watch or self._record.watch()
        if watch is None or not self._record.snapshot_steps():
            self._say("empty", f"No snapshot yet: {self._record.name} has not looked at its watch images. "
                      "The first one appears here by itself.")  # fmt: skip
            return
        snapshot = self._record.snapshot(self._step)
        found = layout(self._record.path, snapshot.step)
        with self.hold_sync():  # one message: the browser never sees a class without its color
            if self._watch is None:
                self.watch = watch_table(watch)
            self.snapshot = snapshot_table(snapshot)
            self.palette = palette_table(snapshot.num_classes, len(self.watch["label_names"]))
            self._watch, self._snapshot = watch, snapshot
            if found is not None:
                self._show_map(found)
                return
            if self.placement.get("made"):  # the map of an earlier step is a better stand-in than PCA
                meanwhile = f"the map of step {self.placement['step']:,}"
            else:
                meanwhile = "PCA"
                self.placement = stand_in_table(snapshot)
            self._say("waiting", f"Placing {len(watch):,} images with UMAP … showing {meanwhile} meanwhile.")
        self._placing = start_layout(self._record.path, snapshot.step)

    def _take_map(self) -> None:
        assert self._record and self._snapshot and self._placing
        ended = self._placing.poll() is not None  # asked before looking: a map made in between is not missed
        found = layout(self._record.path, self._snapshot.step)
        if found is not None:
            self._show_map(found)
        elif ended:
            log = f"{self._record.name}/layouts/{self._placing.log.name}"
            self._say("ready", f"UMAP could not place the images; {log} says why.")

    def _show_map(self, found: Layout) -> None:
        with self.hold_sync():
            self.placement = map_table(found)
            self._say("ready")


# ---------------------------------------------------------------------------------------------------------------------
# Without a kernel


def explorer_html(record: RunRecord, step: int | None = None, *, no_map: str = "") -> str:
    """The explorer of one snapshot as a self-contained piece of HTML: no kernel, no network, several on one page.

    Parameters
    ----------
    record
        The run.
    step
        Step of the snapshot; none means the newest.
    no_map
        Why PCA stands in for the map, where that is known; it is then shown below it.

    Raises
    ------
    RecordError
        When the run has no watch images or no such snapshot.
    """
    record.poll()
    watch = record.watch()
    if watch is None:
        raise RecordError(f"run {record.name} has no watch images yet: there is nothing to explore")
    snapshot = record.snapshot(step)
    found = None if no_map else layout(record.path, snapshot.step)
    images = watch_table(watch)
    values = {
        "status": {"state": "ready", "text": "", "run": record.name},
        "watch": images,
        "snapshot": snapshot_table(snapshot),
        "placement": stand_in_table(snapshot, no_map) if found is None else map_table(found),
        "palette": palette_table(snapshot.num_classes, len(images["label_names"])),
        "selected_class": -1,
        "selected_samples": [],
        "color_by": "class",
        "gallery_order": "most",
        "map_view": [0, 0, 1],
    }
    # "<" never appears: a label named "</script>" ends nothing
    data = json.dumps(values, default=_base64, allow_nan=False).replace("<", "\\u003c")
    identity = f"twist-{secrets.token_hex(6)}"
    return (
        f'<div id="{identity}"><script type="application/json">{data}</script></div>\n'
        f"<style>{_STYLE}</style>\n"
        f'<script type="module">{_SCRIPT}{ALONE}\nrenderAlone(document.getElementById("{identity}"));</script>\n'
    )


def _base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode("ascii")}
