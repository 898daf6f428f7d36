"""A run, watched: its state, its verdict in plain words, its alarms and its pictures, each second while it trains."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from typing import Any

import ipywidgets
import numpy as np

from twist.runs.config import ConfigError
from twist.runs.folders import run_paths
from twist.runs.record import RunRecord
from twist.runs.status import Status
from twist.runs.store import RecordError
from twist.runs.verdict import Verdict
from twist.view import board as words
from twist.view.arguments import is_newest
from twist.view.asking import Asking
from twist.view.board import NO_RUN, Board, duration
from twist.view.ghosts import MOST, Ghost
from twist.view.keepsake import keepsake
from twist.view.moment import Moment, moment_of
from twist.view.overview import overview, points_drawn, summary, waiting
from twist.view.provenance import file_name
from twist.view.scene import run_path
from twist.view.seen import Seen, judge
from twist.view.widgets import Tail, span

__all__ = ["RunMonitor", "duration", "judge"]

#: Seconds between two looks: while a run lives, and while nothing can be new or nobody can see it.
LOOK_EVERY_S, REST_S = 1.0, 5.0
_DRAWING = 0.08  # drawing takes at most this share of the time
_CHOICES_EVERY_S = 10.0
_WIDTH_STEP = 24  # pixels: a smaller change of the width is no reason to draw anew
_MOST_CHOICES = 60


class RunMonitor(ipywidgets.VBox):
    """Watch a run live, or look at one that has ended; any number of monitors may watch the same run.

    Everything shown is read from the run folder, so a restart of the kernel loses nothing: make the monitor again.

    Parameters
    ----------
    run
        A handle from `twist.launch` or `twist.attach`, a name, a path, or ``last`` for the newest run.
    ghosts
        Earlier runs (handles, names, paths) to draw faintly behind its terms and in its entropy plane.
    dark
        Whether to draw for a dark page; None follows the page.
    live
        Whether to keep looking; ``refresh`` looks once.

    Raises
    ------
    ConfigError
        When there is no such run. For ``last`` an empty folder of runs is no error: the monitor waits for the first.

    Examples
    --------
    ::

        run = twist.launch("digits")
        monitor = twist.RunMonitor(run, ghosts=["digits-yesterday"])
        monitor.jump(200)  # every view of the run shows step 200; monitor.jump(None) follows it again
    """

    _tail: Tail | None = None
    _parts: tuple[ipywidgets.Widget, ...] = ()
    moment: Moment | None = None

    def __init__(self, run: Any = "last", *, ghosts: Iterable[Any] = (), dark: bool | None = None, live: bool = True):
        from twist.view.widgets import LiveFigure

        self._run, self._dark = run, dark
        self._looking = threading.RLock()
        self.seen: Seen | None = None
        self.ghosts: list[Ghost] = []
        self._asking = Asking()
        self._trouble: dict[str, str] = {}
        self._dismissed: set[str] = set()
        self._choices: tuple[float, list[str]] = (-_CHOICES_EVERY_S, [])
        self._drawn: Any = None
        self._draw_again, self._took, self._points = 0.0, 0.0, 0
        self._summary, self._alarms_first = "", not live
        self._lag: float | None = None
        if not is_newest(run):
            self._watch(Seen(run_path(run)))
        self.board = Board(self._do, shown=words.before_a_look(self.seen))
        self.figure = LiveFigure(waiting(NO_RUN, dark=bool(dark)))
        self._figure_class = f"twist-figure-{secrets.token_hex(4)}"
        self.figure.add_class(self._figure_class)
        super().__init__([self.board, self.figure], layout={"width": "100%"})
        self._parts = (self.board, self.figure)
        for ghost in ghosts:
            self.add_ghost(ghost)
        self._try_refresh()
        self.board.observe(self._on_change, ["dark", "paper", "width", "seen"])
        self._tail = Tail(self.refresh, self._show_problem, name="twist-monitor") if live else None
        self._set_pace()

    @property
    def record(self) -> RunRecord | None:
        """The run's reader, None before there is a run."""
        return self.seen.record if self.seen else None

    @property
    def status(self) -> Status:
        """How the run was at the last look."""
        return self.seen.status if self.seen else Status("EMPTY")

    @property
    def verdict(self) -> Verdict | None:
        """The verdict shown: the newest, or that of the step looked at."""
        if self.seen is None:
            return None
        step = self._step()
        return self.seen.verdict if step is None else self.seen.verdict_at(step)

    def refresh(self) -> None:
        """Look at the run folder once, and redraw what is new."""
        with self._looking:
            began = time.monotonic()
            if self.seen is None:
                try:
                    self._watch(Seen(run_path(self._run)))
                except ConfigError:
                    self._show()
                    return
            assert self.seen is not None
            self.seen.look(alarms=self._alarms_first)
            self._alarms_first = True  # but not in the cell that makes the monitor: of a long log they take a second
            self._asking.hear(self.seen)
            self._draw()
            self._took += 0.3 * (time.monotonic() - began - self._took)
            self._show()
        self._set_pace()

    def jump(self, step: int | None) -> None:
        """Show a step in every view of the run: a line through the pictures, and the verdict as it was.

        Parameters
        ----------
        step
            A step on record; None or -1 follows the run again.

        Raises
        ------
        ValueError
            When there is no such step, or no run yet.
        """
        if self.seen is None or self.moment is None:
            raise ValueError("there is no run yet, and so no step to look at")
        if step is None or step == -1:
            self.moment.step = -1
            return
        newest = self.seen.newest
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or not 0 <= step <= newest:
            raise ValueError(
                f"run {self.seen.record.name} has no step {step!r}: give 0 to {newest}, or None to follow it"
            )
        self.moment.step = int(step)

    def add_ghost(self, run: Any) -> None:
        """Draw an earlier run faintly behind this one.

        Raises
        ------
        ConfigError
            When there is no such run, it is this one, or there are six already.
        RecordError
            When its folder is damaged.
        """
        with self._looking:
            path = run_path(run).resolve()
            taken = {ghost.record.path.resolve(): ghost for ghost in self.ghosts}
            if path in taken:
                return
            if self.seen is not None and path == self.seen.record.path.resolve():
                raise ConfigError(f"run {path.name} is the one that is watched: give another as a ghost")
            if len(self.ghosts) >= MOST:
                raise ConfigError(f"{MOST} earlier runs are drawn already: remove one before adding {path.name}")
            letter = next(letter for letter in "abcdef" if all(ghost.letter != letter for ghost in self.ghosts))
            self.ghosts = sorted([*self.ghosts, Ghost(path, letter)], key=lambda ghost: ghost.letter)
        self._stir()

    def remove_ghost(self, name: str) -> None:
        """Take an earlier run out of the pictures."""
        with self._looking:
            self.ghosts = [ghost for ghost in self.ghosts if ghost.name != name]
        self._stir()

    def close(self) -> None:
        """End the thread and close every widget of the monitor; the run goes on."""
        if self._tail is not None:
            self._tail.close()
        if self.moment is not None:
            self.moment.unobserve(self._on_change, "step")
            self.moment = None  # closing again, as when it is forgotten, is no error
        layouts = [self.layout, self.board.layout] if self._parts else []  # the figure's own is plotly's
        for widget in (*self._parts, *layouts):
            widget.close()
        super().close()

    # -- looking and drawing ------------------------------------------------------------------------------------------

    def _watch(self, seen: Seen) -> None:
        self.seen, self.moment = seen, moment_of(seen.record.path)
        self.moment.observe(self._on_change, "step")

    def _step(self) -> int | None:
        """The step looked at, None for the newest."""
        if self.moment is None or self.seen is None or self.moment.step < 0:
            return None
        return min(self.moment.step, self.seen.newest)

    def _draw(self) -> None:
        """Draw the pictures where anything in them has changed, and anyone can see it."""
        seen = self.seen
        assert seen is not None
        dark = self.board.dark if self._dark is None else self._dark
        paper = self.board.paper if dark == self.board.dark else ""
        look = (dark, paper, self.board.width // _WIDTH_STEP, self._step(), tuple(ghost.name for ghost in self.ghosts))
        for ghost in self.ghosts:
            ghost.look()
        lines = len(seen.record.events), *(len(ghost.record.events) for ghost in self.ghosts)
        want = (lines, look)
        if want == self._drawn:
            return
        if self._drawn is not None:
            only_new_lines = self._drawn[1] == look and seen.status.alive
            if not self.board.seen or (only_new_lines and time.monotonic() < self._draw_again):
                return
        began = time.monotonic()
        step, width = self._step(), self.board.width
        figure = overview(seen, width=width, dark=dark, paper=paper, step=step, ghosts=self.ghosts)
        self.figure.draw(figure)
        self._name_file(seen)
        self._drawn, self._points, self._lag = want, points_drawn(figure), seen.log_age_s
        self._summary = summary(seen)
        self._draw_again = began + (time.monotonic() - began) / _DRAWING

    def _name_file(self, seen: Seen) -> None:
        options = {"filename": file_name(seen.record, "monitor", self._step()), "format": "png", "scale": 2}
        config = {**self.figure._config, "toImageButtonOptions": options}
        if config != self.figure._config:
            self.figure._config = config

    def _show(self) -> None:
        seen, step = self.seen, self._step()
        try:
            found = self.verdict
        except RecordError as error:
            found, self._trouble["verdict"] = None, str(error)
        else:
            self._trouble.pop("verdict", None)
        judged = words.verdict_words(found)
        if judged is not None:
            judged["at"] = step
        now = time.time()
        self.board.shown = {
            "status": words.status_words(seen),
            "asks": words.asks_of(seen, self._asking.pending),
            "answers": self._asking.answers,
            "problem": " ".join(self._trouble.values()),
            "failure": words.failure_words(seen),
            "verdict": judged,
            "alarms": words.alarm_words(seen.alarms if seen else [], self._dismissed),
            "look": {"step": step, "steps": self._steps()},
            "ghosts": {"shown": self._ghost_words(), "choices": self._ghost_choices()},
            "foot": self._foot(),
            "figure": self._figure_class if seen else "",
            "summary": self._summary,
            "file": file_name(seen.record, "monitor", seen.newest if step is None else step) if seen else "",
            "beat": int(now / 2) if self.status.alive else 0,  # so that the browser notices when the kernel is gone
        }

    def _steps(self) -> list[int]:
        """Steps of the slider: those of the snapshots, and the newest."""
        if self.seen is None:
            return []
        return sorted({*self.seen.record.snapshot_metrics().index.tolist(), self.seen.newest})

    def _foot(self) -> str:
        seen = self.seen
        if seen is None:
            return ""
        lines, shots = len(seen.record.events), len(seen.record.snapshot_metrics())
        kept = f"{shots:,} snapshot{'' if shots == 1 else 's'}"
        facts = [f"{self._points:,} points drawn, of {lines:,} log lines and {kept}"]
        facts.append(f"a look takes {1000 * self._took:.0f} ms")
        if seen.status.alive and self._lag is not None:
            facts.append(f"drawn {self._lag:.1f} s after the newest line was written")
        if not seen.status.alive:
            facts.append(f"looks are {REST_S:.0f} s apart while the run rests")
        return " · ".join(facts)

    def _set_pace(self) -> None:
        if self._tail is not None:
            resting = (self.seen is not None and not self.status.alive) or not self.board.seen
            self._tail.period_s = LOOK_EVERY_S if self._asking.pending or not resting else REST_S

    def _stir(self) -> None:
        """Look at once: in the thread where there is one."""
        if self._tail is not None:
            self._tail.wake()
        elif self._parts:
            self._try_refresh()

    def _on_change(self, _: Any) -> None:
        self._stir()

    def _show_problem(self, error: Exception | None) -> None:
        self._tell_trouble("look", error)

    def _tell_trouble(self, place: str, error: Exception | None) -> None:
        with self._looking:
            self._trouble.pop(place, None)
            if error is not None:
                self._trouble[place] = f"{type(error).__name__}: {error}"
            self.board.shown = {**self.board.shown, "problem": " ".join(self._trouble.values())}

    def _try_refresh(self) -> None:
        try:
            self.refresh()
        except (RecordError, OSError, ImportError) as error:
            self._show_problem(error)

    # -- what a person does -------------------------------------------------------------------------------------------

    def _do(self, message: dict[str, Any]) -> None:
        """Do what the browser sent; a callback has no cell to raise in, so the person sees an error in the widget."""
        try:
            match message.get("do"):
                case "ask" if self.seen is not None:
                    self._asking.ask(str(message.get("ask")), self._handle())
                case "jump":
                    self.jump(int(message["step"]))
                case "dismiss":
                    self._dismissed.add(str(message.get("key")))
                case "undismiss":
                    self._dismissed.clear()
                case "haunt" if message.get("run") in self._choices[1]:
                    assert self.record is not None
                    self.add_ghost(self.record.path.parent / str(message["run"]))
                case "unhaunt":
                    self.remove_ghost(str(message.get("run")))
        except Exception as error:
            self._tell_trouble("do", error)
            return
        self._tell_trouble("do", None)
        with self._looking:
            self._show()
        self._stir()

    def _handle(self) -> Any:
        from twist.runs.launcher import attach

        assert self.record is not None
        return attach(str(self.record.path.resolve()))

    def _ghost_words(self) -> list[dict[str, str]]:
        count = self.seen.record.recipe.network.num_classes if self.seen else None
        return [{"name": ghost.name, "words": ghost.words(count or ghost.num_classes)} for ghost in self.ghosts]

    def _ghost_choices(self) -> list[str]:
        """Names of the runs beside this one that are not drawn yet, the newest first."""
        if self.seen is None or len(self.ghosts) >= MOST:
            return []
        read, names = self._choices
        if time.monotonic() - read > _CHOICES_EVERY_S:
            names = [path.name for path in run_paths(self.seen.record.path.parent)][::-1]
            self._choices = time.monotonic(), names
        drawn = {self.seen.record.name, *(ghost.name for ghost in self.ghosts)}
        return [name for name in names if name not in drawn][:_MOST_CHOICES]

    # -- a copy that needs no kernel ----------------------------------------------------------------------------------

    def static_html(self) -> str:
        """What is shown now as two small pictures and a few words of HTML that need neither kernel nor script."""
        if self.seen is None:
            return span(NO_RUN, tag="p")
        try:
            return keepsake(self.seen)
        except (RecordError, OSError) as error:  # a run of which hardly anything is there
            return span(f"{self.seen.record.name} cannot be read: {error}", tag="p")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/html": self.static_html(), "text/plain": f"RunMonitor({self.record!r})"}

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, folded, a static copy that a saved notebook keeps."""
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)
        name = self.record.name if self.record else "no run"
        told = f"Static copy of {name} at step {self.status.step:,}, kept in the notebook"
        folded = f"<details>{span(told, 'opacity:.72', tag='summary')}{self.static_html()}</details>"
        display({"text/html": folded, "text/plain": f"static copy of {name}"}, raw=True)
