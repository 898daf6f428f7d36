"""Which map the explorer shows now, and the processes that make a better one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from twist.runs.store import RecordError
from twist.runs.watched import Snapshot
from twist.view.aligned import Frames, frames, frames_progress, start_frames
from twist.view.beside import LayoutProcess
from twist.view.explorer_history import frames_table
from twist.view.explorer_tables import map_table, stand_in_table
from twist.view.layout import Layout, early_layout, layout, layout_progress, start_layout


class MapState(NamedTuple):
    """What to show.

    Attributes
    ----------
    table
        The map as the browser gets it; None when it is the one that is shown already.
    waits
        Whether a better one is being made.
    text
        What to tell the person; may be empty.
    """

    table: dict[str, Any] | None
    waits: bool
    text: str


class Maps:
    """The maps of one run, asked for and waited for.

    Parameters
    ----------
    path
        The run folder.
    """

    def __init__(self, path: Path):
        self._path = Path(path)
        self._shown: tuple[Any, ...] = ()
        self._placing: LayoutProcess | None = None
        self._started: tuple[int, str] = (-1, "")  # step and kind of the newest process
        self._aligning: LayoutProcess | None = None
        self._aligned_for = -1  # newest step that the newest alignment was started for

    @property
    def aligning(self) -> bool:
        """Whether the maps of all checkpoints are being aligned by a process that was started here."""
        return self._aligning is not None

    def look(self, snapshot: Snapshot, *, alive: bool, follows: bool) -> MapState:
        """The best map of a snapshot that there is; one that is missing is asked for.

        Parameters
        ----------
        snapshot
            What to show a map of.
        alive
            Whether the run still trains.
        follows
            Whether every new snapshot of it is shown.
        """
        ended = self._placing is None or self._placing.poll() is not None  # asked before looking: no map is missed
        try:
            found = layout(self._path, snapshot.step)
        except RecordError as error:
            again = f"delete {self._path.name}/layouts to have it made again"
            return MapState(self._pca(snapshot), False, f"The map is damaged ({error}); PCA is shown: {again}.")
        if found is not None and (found.final or alive):
            return MapState(self._new(found, snapshot), False, "")
        live = alive and follows
        if found is not None:  # a quick one from while the run lived; umap-learn's follows
            gave_up = not self._start(snapshot.step, "better", ended)
            words = "" if gave_up else "UMAP places the images once more, with time; the map is a quick one meanwhile."
            return MapState(self._new(found, snapshot), not gave_up, words)
        if not self._start(snapshot.step, "follow" if live else "plain", ended):
            assert self._placing is not None
            log = f"{self._path.name}/layouts/{self._placing.log.name}"
            return MapState(self._stand_in(snapshot)[0], False, f"UMAP could not place the images; {log} says why.")
        table, meanwhile = self._stand_in(snapshot)
        share = layout_progress(self._path, snapshot.step)
        done = f" ({share:.0%})" if share else ""
        count = len(snapshot.assignment)
        return MapState(table, True, f"Placing {count:,} images with UMAP{done} … showing {meanwhile} meanwhile.")

    def _start(self, step: int, kind: str, ended: bool) -> bool:
        """See to it that a process makes the map of a step; False when one tried already, and failed."""
        if not ended and (self._started[0] == step or self._started[1] == "follow"):
            return True
        if ended and self._started == (step, kind) and kind != "follow":
            return False
        if not (ended and self._started[1] == "follow" == kind):  # another process follows the run already: wait
            follow = {"follow": True} if kind in ("follow", "better") else {}
            self._placing = start_layout(self._path, None if follow else step, **follow)
        self._started = (step, kind)
        return True

    def _stand_in(self, snapshot: Snapshot) -> tuple[dict[str, Any] | None, str]:
        """What is shown while there is no map: a quick one, that of another step, or PCA."""
        early = early_layout(self._path, snapshot.step)
        if early is not None:
            return self._new(early, snapshot), "a quick map"
        if (other := self._other(snapshot)) is not None:
            return self._new(other, snapshot), f"the map of step {other.step:,}"
        return self._pca(snapshot), "PCA"

    def _pca(self, snapshot: Snapshot) -> dict[str, Any] | None:
        key = ("pca", int(snapshot.step))
        table = None if key == self._shown else stand_in_table(snapshot)
        self._shown = key
        return table

    def _other(self, snapshot: Snapshot) -> Layout | None:
        try:
            other = layout(self._path)
        except RecordError:  # its own snapshot says so
            return None
        return other if other is not None and len(other.x) == len(snapshot.assignment) else None

    def _new(self, found: Layout, snapshot: Snapshot) -> dict[str, Any] | None:
        key = (found.step, found.facts.get("by"), found.facts.get("from_step"), found.final)
        if key == self._shown:
            return None
        if len(found.x) != len(snapshot.assignment):
            raise RecordError(f"the map of step {found.step} has {len(found.x):,} places for "
                              f"{len(snapshot.assignment):,} images: delete {self._path.name}/layouts")  # fmt: skip
        self._shown = key
        return map_table(found)

    # -- the maps of all checkpoints ----------------------------------------------------------------------------------

    def frames(self) -> Frames | None:
        """The aligned maps if they are made; damaged ones are none."""
        try:
            return frames(self._path)
        except RecordError:
            return None

    def align(self, newest: int) -> None:
        """Have the maps of all checkpoints aligned, once for a newest step."""
        if self._aligning is None and self._aligned_for != newest:
            self._aligned_for = newest
            self._aligning = start_frames(self._path)

    def aligned(self) -> tuple[Frames | None, dict[str, Any]]:
        """The aligned maps once they are made, else how far they are, or why they could not be made."""
        assert self._aligning is not None
        ended = self._aligning.poll() is not None
        if not ended:
            progress = frames_progress(self._path)
            return None, {"progress": list(progress)} if progress else {}
        log, self._aligning = self._aligning.log.name, None
        found = self.frames()
        if found is None:
            return None, {"problem": f"The checkpoints' maps could not be aligned; layouts/{log} says why."}
        return found, {}


def motion_table(found: Frames | None, history: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Places at the slider's checkpoints; what is shown already stays when there is nothing new."""
    steps = history.get("steps")
    if found is None or not steps or len(found.steps) < 2:
        return before if before.get("steps") == steps else {}
    return frames_table(found, steps)
