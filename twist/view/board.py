"""What stands above a monitor's pictures: state, verdict, alarms, the steps to look at, and what may be asked.

The browser's half (``browser/board.js``) shows one plain dictionary and sends back what a person does; this file makes
the dictionary out of what was read. Text in it is text: the browser shows it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from twist.runs.alarms import Alarm
from twist.runs.status import Status
from twist.runs.verdict import Verdict
from twist.view.browser import script, style
from twist.view.lighting import OnAPage
from twist.view.seen import Seen
from twist.view.verdicts import measure, sign, since_words

STATES = {
    "EMPTY": ("○", "no run yet"),
    "UNREAD": ("○", "not read yet"),
    "CREATED": ("○", "not started"),
    "STARTING": ("◌", "starting"),
    "RUNNING": ("▶", "running"),
    "HELD": ("⏸", "held"),
    "STALLED": ("⚠", "stalled"),
    "STOPPED": ("■", "stopped"),
    "COMPLETED": ("✓", "completed"),
    "INTERRUPTED": ("⚠", "interrupted"),
    "FAILED": ("✕", "failed"),
    "GONE": ("⚠", "its folder is gone"),
}
NO_RUN = "No run here yet: start one with twist.launch('digits'). This view looks again every second."
#: What may be asked of a run: the words on the button, and what it does.
ASKS = {
    "stop": ("Stop", "Write a checkpoint and end the training process; Resume goes on exactly there"),
    "hold": ("Hold", "Pause at the next step and stay in memory; Continue goes on at once"),
    "continue": ("Continue", "Go on from where it is held"),
    "checkpoint": ("Checkpoint", "Write a checkpoint at the next step, and train on"),
    "resume": ("Resume", "Start a training process that goes on from the newest checkpoint"),
}
_MOST_ALARMS = 50
_SHOWN_TRACEBACK = 20_000


class Board(OnAPage, anywidget.AnyWidget):
    """The widget above the pictures.

    Attributes
    ----------
    shown
        All that it shows.
    """

    shown = traitlets.Dict().tag(sync=True)

    _esm = script("dom", "lighting", "board")
    _css = style("base", "board")

    def __init__(self, on_ask: Callable[[dict[str, Any]], None], **options: Any):
        super().__init__(**options)
        self._on_ask = on_ask
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, buffers: Any) -> None:
        if not self.hear_of_page(message) and isinstance(message, dict):
            self._on_ask(message)


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


def state_of(seen: Seen | None) -> str:
    """The state as the board names it: that of the run, or that it or its folder is not there, or was not read."""
    if seen is None:
        return "EMPTY"
    if seen.gone:
        return "GONE"
    return "UNREAD" if seen.status.state == "EMPTY" else seen.status.state


def before_a_look(seen: Seen | None) -> dict[str, Any]:
    """What a board shows of a run before it was looked at, and where it cannot be."""
    return {
        "status": status_words(seen),
        "asks": [],
        "answers": [],
        "alarms": alarm_words([], set()),
        "look": {"step": None, "steps": []},
        "ghosts": {"shown": [], "choices": []},
    }


def status_words(seen: Seen | None) -> dict[str, Any]:
    """State, facts and progress of a run; None is no run yet."""
    state = state_of(seen)
    glyph, words = STATES.get(state, ("?", state.lower()))
    if seen is None:
        return {"state": state, "glyph": glyph, "words": words, "name": "", "facts": [], "message": NO_RUN, "done": 0}
    status, stale, message = seen.status, "", seen.status.message
    if state == "GONE":
        message = f"{seen.record.path} is not there any more: what is shown was read before. This view looks again."
    if seen.stale and seen.log_age_s is not None and seen.usual_s is not None:
        usual = duration(seen.usual_s) if seen.usual_s >= 1 else f"{seen.usual_s:.1g} s"
        stale = f"data shown is {duration(seen.log_age_s)} old; a line comes every {usual} as a rule"
    done = min(1.0, status.step / status.total_steps) if status.total_steps else 0.0
    return {
        "state": state,
        "glyph": glyph,
        "words": words,
        "name": seen.record.name,
        "facts": _facts(seen, status),
        "stale": stale,
        "message": message if state != "FAILED" else "",
        "done": done,
        "alive": status.alive and not seen.gone,
    }


def _facts(seen: Seen, status: Status) -> list[str]:
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
    if seen.record.bad_lines:
        lines = "1 damaged log line" if seen.record.bad_lines == 1 else f"{seen.record.bad_lines} damaged log lines"
        facts.append(f"{lines} left out")
    return facts


def asks_of(seen: Seen | None, pending: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The buttons that make sense now; one whose answer is awaited is not pressed twice."""
    state = state_of(seen)
    if state in ("STARTING", "RUNNING", "STALLED"):
        names = ["stop", "hold", "checkpoint"]
    elif state == "HELD":
        names = ["stop", "continue", "checkpoint"]
    else:
        names = ["resume"] if state in ("STOPPED", "INTERRUPTED", "FAILED") else []
    return [
        {"ask": name, "words": ASKS[name][0], "tooltip": ASKS[name][1], "enabled": name not in pending}
        for name in names
    ]


def verdict_words(found: Verdict | None) -> dict[str, Any] | None:
    """A verdict with its numbers in words."""
    if found is None:
        return None
    return {
        "kind": found.kind,
        "sign": sign(found.kind),
        "title": found.title,
        "sentence": found.sentence,
        "advice": found.advice,
        "causes": list(found.causes),
        "missing": " ".join(found.missing),
        "since": since_words(found),
        "look": found.since if found.since is not None and found.since < found.step else None,
        "evidence": [
            [name, measure(value, unit), measure(reference, unit), meaning]
            for name, value, reference, meaning, unit in found.evidence
        ],
    }


def alarm_words(alarms: list[Alarm], dismissed: set[str]) -> dict[str, Any]:
    """The alarms that a person has not put away, and how many were."""
    kept = [alarm for alarm in alarms if alarm.key not in dismissed]
    rows = [
        {
            "key": alarm.key,
            "step": alarm.step,
            "sign": "△" if alarm.kind == "warning" else "▲",
            "title": alarm.title,
            "sentence": alarm.sentence,
            "when": _when(alarm),
        }
        for alarm in kept[:_MOST_ALARMS]
    ]
    return {"rows": rows, "more": len(kept) - len(rows), "dismissed": len(alarms) - len(kept)}


def _when(alarm: Alarm) -> str:
    if alarm.until is None:
        return f"since step {alarm.step:,}, goes on"
    if alarm.until == alarm.step:
        return f"at step {alarm.step:,}"
    return f"steps {alarm.step:,} to {alarm.until:,}, over"


def failure_words(seen: Seen | None) -> dict[str, str] | None:
    """Why a run failed, its traceback, and the end of its log; None for one that did not."""
    if seen is None or seen.gone or seen.status.state != "FAILED":
        return None
    message, traceback, log = seen.failure()
    return {
        "message": message or seen.status.message or "It ended in an error that it left no word of.",
        "traceback": traceback[-_SHOWN_TRACEBACK:],
        "log": log[-_SHOWN_TRACEBACK:],
    }
