"""What a pane of the lab is, in words for a person: how its run is, how it ended, and what may be done about it."""

from __future__ import annotations

from typing import Any

from twist.runs.status import Status
from twist.runs.verdict import Verdict
from twist.view.lab_frames import Frames

STARTING = "Starting the training process …"
UNSEEN = "It waits, because nobody has looked for {minutes} minutes; it goes on when it is seen."
CLOSED = "It waits, because its view was closed."
UNSEEN_LONG = "Its process ended, because nobody has looked for {minutes} minutes: press play to go on."


def verdict_words(found: Verdict) -> dict[str, Any]:
    """A verdict as the lab shows it: what, why, what to change, and whether that is good, bad or open."""
    level = "bad" if found.alarm else "good" if found.kind == "healthy" else "open"
    return {
        **{"kind": found.kind, "title": found.title, "sentence": found.sentence, "why": "; ".join(found.causes)},
        **{"cure": found.advice, "level": level, "step": found.step, "since": found.since},
    }


def living_state(frames: Frames, attempt: int) -> str:
    """Whether a run that a process works on starts, runs or is paused: what came before this attempt does not count."""
    newest = {kind: (frames.record.last(kind) or {}).get("attempt") for kind in ("start", "metrics")}
    if newest["start"] != attempt:
        return "starting"
    if frames.held:
        return "paused"
    return "running" if newest["metrics"] == attempt else "starting"


def at_rest(status: Status, waits: str, *, vanished: bool = False) -> tuple[str, str]:
    """State and words of a run on which no process works.

    Parameters
    ----------
    status
        How it is.
    waits
        Why the lab itself stopped it; empty where it did not.
    vanished
        Whether its process ended without a word of its own.
    """
    match status.state:
        case "CREATED":
            return "starting", STARTING
        case "COMPLETED":
            return "finished", f"It has taken all of its {status.step:,} steps. Press restart to go again."
        case "STOPPED":
            return "paused", waits or f"Its process was stopped at step {status.step:,}: press play to go on there."
        case "INTERRUPTED":
            return "failed", (
                f"The training process vanished at step {status.step:,}: it was killed, or the machine went down. "
                "Press play to go on from its last checkpoint, or restart to begin anew."
            )
    if vanished:
        return "failed", (
            f"Training ended at step {status.step:,}: {status.message}. Press play to go on from its last checkpoint, "
            "or restart to begin anew."
        )
    return "failed", f"Training failed at step {status.step:,}: {status.message}. Change a knob and press restart."
