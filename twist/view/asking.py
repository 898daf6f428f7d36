"""What a person asked of a run, and what came of it: asked, acknowledged by the trainer, done, or not answered."""

from __future__ import annotations

import time
from typing import Any

from twist.runs.config import ConfigError
from twist.view.board import ASKS
from twist.view.seen import Seen

#: Seconds that an answer is shown, and without one after which that is said.
ANSWER_S, WORRY_S = 12.0, 10.0


class Asking:
    """The requests of one monitor.

    Attributes
    ----------
    pending
        What was asked and not answered yet: the id of its request (for a resume the attempt before), and when it was
        asked.
    """

    def __init__(self) -> None:
        self.pending: dict[str, tuple[str, float]] = {}
        self._answers: dict[str, tuple[str, float]] = {}

    @property
    def answers(self) -> list[str]:
        """What came of it, in words."""
        return [answer for answer, _ in self._answers.values()]

    def ask(self, ask: str, run: Any) -> None:
        """Ask something of a run, given its handle.

        Raises
        ------
        ConfigError
            For what no run can do, or this one cannot do now.
        """
        if ask not in ASKS:
            raise ConfigError(f"there is no {ask!r} to ask of a run: it takes {', '.join(ASKS)}")
        now = time.monotonic()
        if ask == "resume":
            before = run.status.attempt
            run.resume()
            self.pending[ask] = str(before), now
            self._answers[ask] = "Asked to resume: a process is starting.", now
            return
        if not run.status.alive:
            raise ConfigError(f"run {run.name} is {run.status}: nobody is there to {ask}")
        self.pending[ask] = run.request(ask), now
        words = ask.replace("checkpoint", "write a checkpoint")
        self._answers[ask] = f"Asked to {words}; it answers between two steps.", now

    def hear(self, seen: Seen) -> None:
        """Take note of what the trainer acknowledged, and forget answers that have been read."""
        now, status = time.monotonic(), seen.status
        heard = {event.get("id"): event for event in seen.record.events[-300:] if event["kind"] == "request"}
        for ask, (identity, asked) in list(self.pending.items()):
            told = ASKS[ask][0]
            if ask == "resume" and status.alive:
                self._answers[ask] = "Resume: it trains again.", now
            elif ask == "resume" and status.attempt > int(identity):
                self._answers[ask] = "Resume: it began, and has ended already.", now
            elif event := heard.get(identity):
                done = "acknowledged" if event.get("accepted") else "refused"
                self._answers[ask] = f"{told}: {done} at step {event.get('step', 0):,}.", now
            elif not status.alive and ask != "resume":
                self._answers[ask] = f"{told}: the run has ended.", now
            else:
                if now - asked > WORRY_S:
                    self._answers[ask] = f"{told}: no answer for {now - asked:.0f} s; a step may be slow.", now
                continue
            del self.pending[ask]
        self._answers = {
            ask: answer for ask, answer in self._answers.items() if ask in self.pending or now - answer[1] < ANSWER_S
        }
