"""The half of the class explorer that reads: traits, a thread that follows the run, and the link to its other views."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from twist.runs.class_names import class_names
from twist.runs.config import ConfigError
from twist.runs.frozen import frozen_words
from twist.runs.histories import sample_traits
from twist.runs.record import RunRecord
from twist.runs.status import Status, read_status
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view.arguments import check_traits, is_newest
from twist.view.explorer_history import Checkpoints
from twist.view.explorer_maps import Maps, motion_table
from twist.view.explorer_page import SCRIPT, STYLE
from twist.view.explorer_tables import COLOR_BY, names_table, palette_table, snapshot_table, watch_table
from twist.view.moment import Moment, moment_of
from twist.view.provenance import provenance
from twist.view.rows import Rows
from twist.view.scene import run_path

_LOOK_EVERY_S = 0.5
_LINKED = ["selected_class", "selected_samples", "shown_step"]


class ExplorerCore(anywidget.AnyWidget):
    """What the browser shows of a run, kept current; `twist.view.classes.ClassExplorer` adds what a person asks."""

    _esm = SCRIPT
    _css = STYLE

    status = traitlets.Dict({"state": "empty", "text": ""}).tag(sync=True)
    watch = traitlets.Dict().tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)
    placement = traitlets.Dict().tag(sync=True)
    history = traitlets.Dict().tag(sync=True)
    motion = traitlets.Dict().tag(sync=True)
    palette = traitlets.Dict().tag(sync=True)
    extra_columns = traitlets.Dict().tag(sync=True)
    class_names = traitlets.Dict().tag(sync=True)
    provenance = traitlets.Unicode().tag(sync=True)
    selected_class = traitlets.Int(-1, min=-1).tag(sync=True)
    selected_samples = Rows()
    torn = traitlets.Tuple(traitlets.Int(min=-1), traitlets.Int(min=-1), default_value=(-1, -1)).tag(sync=True)
    shown_step = traitlets.Int(-1, min=-1).tag(sync=True)
    color_by = traitlets.Unicode("class").tag(sync=True)
    shape_by = traitlets.Enum(["none", "odd", "label"], "none").tag(sync=True)
    gallery_order = traitlets.Enum(["most", "least", "entropy", "flips", "close", "margin"], "most").tag(sync=True)
    trust_overlay = traitlets.Bool(False).tag(sync=True)
    map_view = traitlets.List(traitlets.Float(), default_value=[0.0, 0.0, 1.0], minlen=3, maxlen=3).tag(sync=True)

    _thread: threading.Thread | None = None
    _moment: Moment | None = None

    def __init__(self, run: Any = "last", step: int | None = None, **traits: Any):
        self._closed = threading.Event()
        check_traits(type(self), traits)
        self._record: RunRecord | None = None if is_newest(run) else RunRecord(run_path(run))
        self._added: dict[str, Any] = {}
        super().__init__(**traits)
        self._run, self._step = run, step
        self._run_status = Status("EMPTY")
        self._snapshot: Snapshot | None = None
        self._watch: Watch | None = None
        self._checkpoints: Checkpoints | None = None
        self._maps: Maps | None = None
        self._problems: dict[str, str] = {}
        self._lock = threading.RLock()
        self.refresh()

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
        if self._moment is not None:
            self._moment.unobserve(self._from_moment)
            self._moment = None
            self.unobserve(self._to_moment, _LINKED)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        super().close()

    # -- reading the run ----------------------------------------------------------------------------------------------

    def _waits(self) -> bool:
        return self.status["state"] in ("empty", "waiting", "running") or bool(self._maps and self._maps.aligning)

    def _follow(self) -> None:
        """Until there is nothing to wait for: look for snapshots, and for maps."""
        while not self._closed.wait(_LOOK_EVERY_S):
            with self._lock:
                if not self._waits():
                    self._thread = None
                    return
                self._attempt(self._look)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (ConfigError, RecordError) as error:
            missing = is_newest(self._run) and self._record is None
            self._say("empty" if missing else "error", str(error))
        except Exception as error:  # a thread has nobody to raise to: the person sees it in the widget
            self._say("error", f"{type(error).__name__}: {error}")

    def _say(self, state: str, text: str = "", *, aside: str = "") -> None:
        """Tell the state, in words above the map, or aside where they may come and go."""
        said = " ".join(filter(None, [text, *self._problems.values()]))
        told: dict[str, Any] = {"state": state, "text": said, "run": self._record.name if self._record else ""}
        told |= {"live": self._run_status.alive, "run_state": self._run_status.state.lower(), "aside": aside}
        if self._record is not None and self._record.frozen:
            told["frozen"] = True
        if told != self.status:
            self.status = told

    def _look(self) -> None:
        if self._snapshot is None or self._record is None:
            self._load()
            return
        new, lived = self._record.poll(), self._run_status.alive
        self._run_status = read_status(self._record.path)
        if new and self._step is None and self._record.snapshot_steps()[-1:] > [self._snapshot.step]:
            self._load()
        else:
            self._show_map(self._snapshot)
            self._take_frames()
        if lived and not self._run_status.alive:
            self._align()

    def _load(self) -> None:
        if self._record is None:
            self._record = RunRecord(run_path(self._run))
        record = self._record
        if record.frozen:
            self._problems["frozen"] = frozen_words(record.frozen)
        record.poll()
        self._run_status = read_status(record.path)
        watch = self._watch or record.watch()
        if watch is None or not record.snapshot_steps():
            self._say("empty", self._why_empty(record))
            return
        snapshot = self._read_snapshot(record)
        self._maps = self._maps or Maps(record.path)
        checkpoints = self._checkpoints or Checkpoints(record)
        found = self._maps.frames()
        with self.hold_sync():  # one message: the browser never sees a class without its color
            if self._watch is None:
                self.watch, self._problems["pictures"] = watch_table(watch)
            several = len(record.snapshot_steps()) > 1  # of one, no class changed and nothing settled
            self.snapshot = snapshot_table(snapshot, sample_traits(record, snapshot.step) if several else None)
            self.history = checkpoints.table(snapshot.step, prefer=None if found is None else found.steps)
            self.motion = motion_table(found, self.history, self.motion)
            self.palette = palette_table(snapshot.num_classes, len(self.watch["label_names"]))
            self.provenance = provenance(record, snapshot.step)
            self._read_names(record)
            self._watch, self._snapshot, self._checkpoints = watch, snapshot, checkpoints
            if self.shown_step not in (-1, *(self.history.get("steps") or ())):
                self.shown_step = -1
            self._show_map(snapshot)
        self._link(moment_of(record.path))
        if found is None or found.facts.get("stale"):
            self._align()

    def _show_map(self, snapshot: Snapshot) -> None:
        assert self._maps is not None
        alive, follows = self._run_status.alive, self._step is None
        state = self._maps.look(snapshot, alive=alive, follows=follows)
        with self.hold_sync():
            if state.table is not None:
                self.placement = state.table
            if alive and follows and (state.waits and self.placement.get("made") or not state.waits):
                self._say("running", aside=state.text)  # the next map is never long in coming
            else:
                self._say("waiting" if state.waits else "ready", state.text)

    def _take_frames(self) -> None:
        """Show the aligned maps when they are made, else how far they are."""
        if not self._maps or not self._maps.aligning or not self._snapshot or not self._checkpoints:
            return
        found, facts = self._maps.aligned()
        with self.hold_sync():
            if found is not None:
                self.history = self._checkpoints.table(self._snapshot.step, prefer=found.steps)
                self.motion = motion_table(found, self.history, {})
            elif {name: self.motion.get(name) for name in facts} != facts:
                self.motion = {**self.motion, **facts}

    def _align(self) -> None:
        """Have the maps of all checkpoints aligned; while the run trains, they would be old at once."""
        if self._maps and self._record and self.history and not self._run_status.alive:
            self._maps.align(self._record.snapshot_steps()[-1])

    def _why_empty(self, record: RunRecord) -> str:
        status = self._run_status
        if status.ended:
            if record.last("snapshot"):
                return (f"The snapshots or the watch images of {record.name} are gone from its folder, though its log "
                        "names them: put them back to explore its classes.")  # fmt: skip
            return (f"{record.name} ended ({status.state.lower()}) before it had looked at its watch images: there is "
                    f"nothing to explore. {status.message}").strip()  # fmt: skip
        return (f"No snapshot yet: {record.name} has not looked at its watch images. "
                "The first one appears here by itself.")  # fmt: skip

    def _read_snapshot(self, record: RunRecord) -> Snapshot:
        """The snapshot to show: the newest that can be read, unless one was asked for."""
        self._problems.pop("snapshot", None)
        if self._step is not None:
            return record.snapshot(self._step)
        for step in reversed(record.snapshot_steps()):
            try:
                return record.snapshot(step)
            except RecordError as error:
                self._problems.setdefault("snapshot", f"Step {step:,} is left out: {error}.")
        return record.snapshot()  # none can be read: the newest says why

    def _read_names(self, record: RunRecord) -> None:
        self._problems.pop("names", None)
        try:
            self.class_names = names_table(class_names(record.path))
        except RecordError as error:
            self._problems["names"] = str(error)

    # -- what can be chosen -------------------------------------------------------------------------------------------

    @traitlets.validate("shown_step")
    def _is_checkpoint(self, proposal: Any) -> int:
        step, steps = proposal["value"], self.history.get("steps") or ()
        if steps and step not in (-1, *steps):
            shown = f"one of {len(steps)} from {steps[0]} to {steps[-1]} (history['steps'])"
            raise ConfigError(f"no checkpoint of step {step} is shown: give {shown}, or -1 for the newest")
        return step

    @traitlets.validate("selected_class")
    def _is_class(self, proposal: Any) -> int:
        chosen, count = proposal["value"], self.snapshot.get("num_classes")
        if count and chosen >= count:
            raise ConfigError(f"there is no class {chosen}: give one from 0 to {count - 1}, or -1 for none")
        return chosen

    @traitlets.validate("selected_samples")
    def _are_images(self, proposal: Any) -> Any:
        rows, count = proposal["value"], self.watch.get("count")
        if count and rows.max(initial=-1) >= count:
            raise ConfigError(f"there is no image {rows.max()}: give rows from 0 to {count - 1}")
        return rows

    # -- linked views -------------------------------------------------------------------------------------------------

    def _link(self, moment: Moment) -> None:
        """Show what the other views of this run show, and the reverse."""
        if self._moment is not None:
            return
        self._moment = moment
        if self.selected_class < 0 and not len(self.selected_samples):
            self.selected_class, self.selected_samples = moment.selected_class, moment.selected_samples
        if self._step is None and self.shown_step < 0:
            self.shown_step = self._nearest_step(moment.step)
        moment.observe(self._from_moment)
        self.observe(self._to_moment, _LINKED)

    def _from_moment(self, change: Any) -> None:
        if change["name"] == "step":
            if self._step is None and change["new"] != self._moment_step():
                self.shown_step = self._nearest_step(change["new"])
        elif change["name"] in ("selected_class", "selected_samples"):
            setattr(self, change["name"], change["new"])

    def _to_moment(self, change: Any) -> None:
        assert self._moment is not None
        if change["name"] == "selected_samples":
            self._moment.selected_samples = tuple(self.selected_samples.tolist())
        elif change["name"] == "selected_class":
            self._moment.selected_class = self.selected_class
        elif self._step is None and self.shown_step != self._nearest_step(self._moment.step):
            self._moment.step = self.shown_step

    def _moment_step(self) -> int:
        return self.shown_step

    def _nearest_step(self, step: int) -> int:
        """The slider's checkpoint nearest to a step; -1 stays, for the newest."""
        steps = self.history.get("steps") or []
        return min(steps, key=lambda each: abs(each - step)) if steps and step >= 0 else -1

    @traitlets.validate("color_by")
    def _known_color(self, proposal: Any) -> str:
        value = proposal["value"]
        if value in COLOR_BY or value in self._added:
            return str(value)
        own = ", ".join([*COLOR_BY, *self._added])
        raise traitlets.TraitError(f"there is no column {value!r} to color by: give one of {own}, or add_column first")
