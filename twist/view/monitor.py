"""A run, watched: its state, its verdict in plain words, and the overview, once a second while it trains."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np

from twist.runs.config import ConfigError
from twist.runs.record import RunRecord
from twist.runs.status import Status, read_status
from twist.runs.store import RecordError
from twist.runs.verdict import Verdict, verdict
from twist.view import figures
from twist.view.scene import run_path
from twist.view.theme import INKS
from twist.view.verdicts import sign, verdict_html
from twist.view.widgets import Tail, span

_STATES = {
    "EMPTY": ("○", "no run yet"),
    "CREATED": ("○", "not started"),
    "STARTING": ("◌", "starting"),
    "RUNNING": ("▶", "running"),
    "HELD": ("⏸", "held"),
    "STALLED": ("⚠", "stalled"),
    "STOPPED": ("■", "stopped"),
    "COMPLETED": ("✓", "completed"),
    "INTERRUPTED": ("⚠", "interrupted"),
    "FAILED": ("✕", "failed"),
}
_MUTED = "opacity:.72"
_NO_RUN = "No run here yet: start one with twist.launch('digits'). This view looks again every second."


def judge(record: RunRecord) -> Verdict | None:
    """The verdict on a record, or None while nothing is recorded."""
    return verdict(record) if record.last("metrics") or record.last("snapshot") else None


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Examples
    --------
    >>> duration(8), duration(75), duration(7300)
    ('8 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class RunMonitor(ipywidgets.VBox):
    """Watch a run live, or look at one that has ended; any number of monitors may watch the same run.

    Everything shown is read from the run folder, so a restart of the kernel loses nothing: make the monitor again.

    Parameters
    ----------
    run
        A handle from `twist.launch` or `twist.attach`, a name, a path, or ``last`` for the newest run.
    dark
        Whether to draw for a dark page.
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
        twist.RunMonitor(run)
    """

    _tail: Tail | None = None
    _parts: tuple[ipywidgets.Widget, ...] = ()

    def __init__(self, run: Any = "last", *, dark: bool = False, live: bool = True):
        from twist.view.widgets import LiveFigure

        self._run, self._dark = run, dark
        self._looking = threading.Lock()
        self._drawn: tuple[Any, ...] = ()
        self._asked: dict[str, str] = {}
        self.record: RunRecord | None = None
        self.status = Status("EMPTY")
        self.verdict: Verdict | None = None
        if run != "last":
            self.record = RunRecord(run_path(run))
        self._head = ipywidgets.HTML()
        self._verdict_line = ipywidgets.HTML()
        self._problem = ipywidgets.HTML(layout={"display": "none"})
        self._stop = self._button("Stop", "Write a checkpoint and end the training; it can be resumed", self._ask_stop)
        self._checkpoint = self._button("Checkpoint", "Write a checkpoint at the next step", self._ask_checkpoint)
        self._buttons = ipywidgets.HBox([self._stop, self._checkpoint], layout={"flex": "0 0 auto"})
        self._head.layout.flex = "1 1 320px"
        row = ipywidgets.HBox(
            [self._head, self._buttons], layout={"flex_flow": "row wrap", "justify_content": "space-between"}
        )
        self.figure = LiveFigure(figures.waiting(_NO_RUN, dark=dark))
        super().__init__([row, self._problem, self._verdict_line, self.figure], layout={"width": "100%"})
        self._parts = (*row.children, *self._buttons.children, *self.children)
        self._try_refresh()
        self._tail = Tail(self.refresh, self._show_problem, name="twist-monitor") if live else None

    def refresh(self) -> None:
        """Look at the run folder once, and redraw what is new."""
        with self._looking:
            if self.record is None:
                try:
                    self.record = RunRecord(run_path(self._run))
                except ConfigError:
                    self._show_status()
                    return
            new = self.record.poll()
            self.status = read_status(self.record.path)
            self._show_status()
            if new or not self._drawn:
                self.figure.draw(figures.overview(self.record, dark=self._dark))
                self.verdict = judge(self.record)
                self._show_verdict()
                self._drawn = (len(self.record.events),)

    def close(self) -> None:
        """End the thread and close every widget of the monitor; the run goes on."""
        if self._tail is not None:
            self._tail.close()
        for widget in self._parts:
            widget.close()
        super().close()

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _show_status(self) -> None:
        status, name = self.status, self.record.name if self.record else "no run"
        glyph, words = _STATES.get(status.state, ("?", status.state.lower()))
        facts = []
        if status.total_steps:
            facts.append(f"step {status.step:,} of {status.total_steps:,}")
            facts.append(f"epoch {status.epoch:.1f} of {status.epochs}")
        if status.alive and status.images_per_s:
            facts.append(f"{status.images_per_s:,.0f} images/s")
        if status.alive and status.eta_s is not None:
            facts.append(f"{duration(status.eta_s)} left")
        if status.alive and status.heartbeat_age_s is not None:
            facts.append(f"last heartbeat {duration(status.heartbeat_age_s)} ago")
        if self.record is not None and self.record.bad_lines:
            facts.append(f"{self.record.bad_lines} damaged log lines left out")
        done = min(1.0, status.step / status.total_steps) if status.total_steps else 0.0
        lines = [
            f"{span(name, 'font-weight:700;font-size:15px')} &nbsp; {span(f'{glyph} {words}', 'font-weight:600')}",
            span(" · ".join(facts), _MUTED),
        ]
        message = _NO_RUN if self.record is None else " ".join(filter(None, [status.message, *self._asked.values()]))
        if message:
            lines.append(span(message, "font-style:italic"))
        progress = (
            f'<progress value="{done:.4f}" max="1" aria-label="share of the steps done" '
            'style="width:100%;max-width:420px;height:6px"></progress>'
        )
        set_html(self._head, f'<div role="status" style="line-height:1.5">{"<br>".join(lines)}<br>{progress}</div>')
        self._buttons.layout.display = "flex" if status.alive else "none"
        if not status.alive:
            self._asked.clear()
            self._stop.disabled = self._checkpoint.disabled = False

    def _show_verdict(self) -> None:
        set_html(self._verdict_line, "" if self.verdict is None else verdict_html(self.verdict))

    def _show_problem(self, error: Exception | None) -> None:
        words = "" if error is None else f"✕ {type(error).__name__}: {error}"
        self._problem.layout.display = "none" if error is None else "block"
        set_html(self._problem, f'<div role="alert">{span(words, "color:#c62828;font-weight:600")}</div>')

    def _try_refresh(self) -> None:
        try:
            self.refresh()
        except (RecordError, OSError, ImportError) as error:
            self._show_problem(error)

    # -- what is asked of the run -------------------------------------------------------------------------------------

    def _button(self, words: str, tooltip: str, clicked: Callable[[], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=words, tooltip=tooltip, layout={"width": "auto"})

        def on_click(_: ipywidgets.Button) -> None:
            try:
                clicked()
            except Exception as error:  # a callback has no cell to raise in: the person sees it here
                self._show_problem(error)

        button.on_click(on_click)
        return button

    def _handle(self) -> Any:
        from twist.runs.launcher import attach

        assert self.record is not None
        return attach(str(self.record.path.resolve()))

    def _ask_stop(self) -> None:
        self._handle().stop(wait=False)
        self._stop.disabled = True
        self._asked["stop"] = "Asked to stop: it writes a checkpoint and ends at its next step."
        self._show_status()

    def _ask_checkpoint(self) -> None:
        self._handle().checkpoint()
        self._asked["checkpoint"] = "Asked for a checkpoint."
        self._show_status()

    # -- a copy that needs no kernel ----------------------------------------------------------------------------------

    def static_html(self) -> str:
        """What is shown now as a small picture and a few words of HTML that need neither kernel nor script."""
        if self.record is None:
            return span(_NO_RUN, tag="p")
        found = self.verdict
        judged = f"{sign(found.kind)} {found.title}: {found.sentence}" if found else ""
        again = f"twist.RunMonitor({self.record.name!r}) shows it live again."
        words = [span(f"{self.record.name}: {self.status}", tag="p"), span(judged, tag="p"), span(again, tag="p")]
        return "".join(words) + small_curves(self.record)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/html": self.static_html(), "text/plain": f"RunMonitor({self.record!r})"}

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, folded, a static copy that a saved notebook keeps."""
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)
        name = self.record.name if self.record else "no run"
        summary = span(
            f"Static copy of {name} at step {self.status.step:,}, kept in the notebook", _MUTED, tag="summary"
        )
        folded = f"<details>{summary}{self.static_html()}</details>"
        display({"text/html": folded, "text/plain": f"static copy of {name}"}, raw=True)


def set_html(widget: ipywidgets.HTML, value: str) -> None:
    """Give an HTML widget a value; an equal one is not sent again."""
    if widget.value != value:
        widget.value = value


def small_curves(record: RunRecord) -> str:
    """The four curves of a run as a small inline SVG, labelled, for a place without scripts."""
    table, scene = record.metrics(), figures.Scene.of(record)
    width, height, names = 560, 180, ("consistency", "sharpness", "diversity", "mutual_information")
    shown = [name for name in names if f"train/{name}" in table]
    values = {name: table[f"train/{name}"].to_numpy(np.float64, na_value=np.nan) for name in shown}
    top = max([np.log(scene.num_classes), *(np.nanmax(value) for value in values.values() if np.isfinite(value).any())])
    lines = []
    for place, (name, value) in enumerate(values.items()):
        steps, value = figures.decimate(table.index.to_numpy(np.float64), value, 300)
        known = np.isfinite(value)
        x = steps[known] / max(1, scene.step) * width
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, height * (1 - value[known] / top), strict=True))
        ink = INKS[name]
        dash = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}[ink.dash]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{ink.color}" stroke-dasharray="{dash}"/>')
        words = f"{name.replace('_', ' ')} {value[known][-1]:.2f}" if known.any() else name
        lines.append(f'<text x="{width + 8}" y="{20 + 18 * place}" fill="{ink.color}" font-size="12">{words}</text>')
    label = html.escape(f"loss terms of {record.name} in nats over {scene.step} steps")
    frame = f'<path d="M0,0 V{height} H{width}" fill="none" stroke="#8a8f98"/>'
    return (
        f'<svg role="img" aria-label="{label}" viewBox="-4 -4 {width + 200} {height + 8}" width="{width + 200}" '
        f'style="max-width:100%">{frame}{"".join(lines)}</svg>'
    )
