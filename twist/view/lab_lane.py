"""One pane of the lab over digits: its run, and the thread that starts it, watches it, and turns its knobs.

A page asks through `Lane.ask` and is never waited for: whatever takes time is done in the thread. What a pane is
(`Lane.state`) is a small dictionary that every page sees at any time; what its pictures see travels as frames, each
after the page has drawn the one before, so that a slow page never piles them up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twist.runs.config import ConfigError
from twist.runs.folders import gone
from twist.runs.handle import Run, TrainingFailed
from twist.runs.keeping import tag
from twist.runs.record import RunRecord
from twist.runs.status import Status, read_status
from twist.runs.store import RecordError
from twist.runs.turns import Turn, check_turn
from twist.runs.verdict import verdict
from twist.view.lab_frames import Frames
from twist.view.lab_knobs import FROM_THE_START, as_fields, as_knobs, check_knobs, knobs_of, recipe_of
from twist.view.lab_runs import check_kept_name, keep_run, launch_in_lab, resume_in_lab, rewind_in_lab
from twist.view.lab_words import CLOSED, STARTING, UNSEEN, UNSEEN_LONG, at_rest, living_state, verdict_words

#: Seconds between two looks: at a run that trains and is seen, at one that rests, and while no page can be seen.
LOOK_EVERY_S, REST_S, UNSEEN_S = 1 / 13, 0.25, 1.0
#: Seconds after which a frame that no page has drawn is followed by another, and without a word after which no page is
#: there: one says so every ten.
UNDRAWN_S, NOBODY_S = 0.7, 30.0
#: Seconds unseen after which a run is held, and after which it is stopped.
HOLD_AFTER_S, STOP_AFTER_S = 120.0, 1200.0
_STATUS_EVERY_S, _JUDGE_EVERY_S = 0.8, 1.0
#: Turns of one knob with less than this between them are one: a hand that drags.
_ONE_GESTURE_S = 1.0

_SAYING = threading.Lock()  # two threads change what a pane is


class Lane:
    """One pane: a run of the lab and everything that is asked of it.

    Parameters
    ----------
    pane
        Its letter.
    knobs
        Knobs that differ from the healthy ones when it begins.
    on_state
        Called, in the thread, when `state` has changed.
    on_frame
        Sends a frame to the pages: facts, and arrays as bytes.
    on_launch
        Called, in the thread, when a run was started, with the lane.

    Attributes
    ----------
    knobs
        Every knob as it stands now.
    run
        The run shown, None before anybody has looked.
    runs
        All that it started, oldest first.
    state
        What a page shows of it beside the pictures; never changed, always replaced.
    seen
        Whether a page with it can be seen.
    """

    def __init__(
        self,
        pane: str,
        knobs: Mapping[str, Any],
        *,
        on_state: Callable[[Lane], object],
        on_frame: Callable[[dict[str, Any], list[bytes]], object],
        on_launch: Callable[[Lane], object] = lambda lane: None,
    ):
        self.pane = pane
        self.knobs: dict[str, Any] = check_knobs(knobs)
        self.run: Run | None = None
        self.runs: list[Run] = []
        self.seen = True
        self.state: dict[str, Any] = {
            **{"state": "starting", "message": "", "problem": "", "run": "", "step": -1, "steps": 0},
            **{"knobs": self.knobs, "turns": [], "verdict": None, "heard": {}},
            **{"experiment": "", "launched": 0, "kept": ""},
        }
        self._on_state, self._on_frame, self._on_launch = on_state, on_frame, on_launch
        self._asked: deque[dict[str, Any]] = deque()
        self._stirred, self._closed = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._frames: Frames | None = None
        self._number, self._drawn, self._sent_at, self._heard_at = 0, 0, 0.0, time.monotonic()
        self._status: Status | None = None
        self._status_at, self._unseen_since = 0.0, 0.0
        self._waits = ""  # held or stopped by us, because nobody looks
        self._gestures: list[Turn] = []  # turned by hand: from what to what, at which step of ours
        self._gesture_at = 0.0
        self._keep_as, self._left = "", False
        self._starting = STARTING

    # -- what any thread may do ---------------------------------------------------------------------------------------

    def ask(self, what: str, **details: Any) -> None:
        """Have something done soon: open, play, pause, step, restart, turn, undo, rewind, keep, stop."""
        if self._closed.is_set():
            return
        self._asked.append({"do": what, **details})
        self._stirred.set()
        if not self._threads:
            for work, name in ((self._work, "lab"), (self._judge, "lab-verdict")):
                self._threads.append(threading.Thread(target=work, name=f"twist-{name}-{self.pane}", daemon=True))
            for thread in self._threads:
                thread.start()

    def drawn(self, number: int = 0) -> None:
        """A page has drawn a frame, or says without a number that it is there."""
        self._drawn, self._heard_at = max(self._drawn, number), time.monotonic()

    def keep(self, name: str) -> None:
        """Keep the run under a name: where it rests at once, else as soon as it does; its tag spares it until then.

        Raises
        ------
        ConfigError
            When nothing has trained yet, or the name cannot be had.
        """
        if self.run is None:
            raise ConfigError("nothing has trained yet: there is no run to keep")
        check_kept_name(name, self.run.path)
        tag(self.run.path, name[:40])
        self._keep_as = name
        self._say(kept=name)
        self._status_at = 0.0
        self._stirred.set()

    def close(self, *, stop: bool = True) -> None:
        """End the threads; the run is stopped, too, unless it is to go on by itself."""
        self._closed.set()
        self._stirred.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10)
        if stop:
            self._leave_run()

    @property
    def alive(self) -> bool:
        """Whether it watches anything."""
        return any(thread.is_alive() for thread in self._threads)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            self._stirred.clear()
            try:
                while self._asked and not self._closed.is_set():
                    self._obey(self._asked.popleft())
                self._look()
            except (ConfigError, TrainingFailed, TimeoutError) as error:
                self._say(problem=str(error))
            except (RecordError, OSError) as error:
                self._lost(error)
            except Exception as error:  # there is no cell to raise it in
                self._say(problem=f"{type(error).__name__}: {error}")
                self._closed.wait(0.5)
            busy = self.state["state"] in ("starting", "running")
            pause = (LOOK_EVERY_S if busy else REST_S) if self._anybody() else UNSEEN_S
            self._stirred.wait(max(0.005, pause - (time.monotonic() - began)))

    def _obey(self, asked: dict[str, Any]) -> None:
        heard: dict[str, Any] = {"heard": {"view": asked.get("view", ""), "ticket": asked.get("ticket", 0)}}
        try:
            match asked["do"]:
                case "open":
                    self._open(asked.get("knobs") or {}, str(asked.get("experiment", "")))
                case "restart":
                    self._restart(asked.get("knobs") or {}, asked.get("experiment"))
                case "turn":
                    self._turn(asked.get("changes") or {})
                case "undo":
                    self._undo()
                case "rewind":
                    self._rewind()
                case "play":
                    self._play()
                case "pause":
                    self._pause()
                case "step":
                    self._step()
                case "keep":
                    self.keep(str(asked.get("name", "")))
                case "leave":
                    self._leave()
                case "stop":
                    self._leave_run()
        except (ConfigError, TrainingFailed, TimeoutError, RecordError) as error:
            heard["problem"] = str(error)
        else:
            heard["problem"] = ""
        self._status_at = 0.0
        self._say(**heard, knobs=self.knobs)

    def _open(self, knobs: Mapping[str, Any], experiment: str) -> None:
        """A page shows the pane: start the first run, or have everything sent once more."""
        self._left = False
        if self._frames is not None:
            self._frames.want_whole()
            self._heard_at = time.monotonic()
        elif self.run is None:
            self._restart(knobs, experiment)

    def _leave(self) -> None:
        """The last view of the pane is gone: wait for another one."""
        self._left = True
        if self._living() and not self._waits:
            self._waits = CLOSED
            self.run.hold()  # type: ignore[union-attr]

    def _restart(self, changes: Mapping[str, Any], experiment: str | None = None) -> None:
        """Start a run with the present knobs and these changes, from its seed, in place of the one shown."""
        knobs = check_knobs({**self.knobs, **changes})
        recipe = recipe_of(knobs)
        self._leave_run()
        self.knobs, self._gestures, self._waits = knobs, [], ""
        experiment = self.state["experiment"] if experiment is None else experiment
        self._frames, self._starting = None, STARTING
        self._say(
            **{"state": "starting", "message": STARTING, "problem": "", "run": ""},
            **{"step": -1, "steps": 0, "turns": [], "verdict": None, "knobs": knobs, "experiment": experiment},
            launched=self.state["launched"] + 1,
        )
        self._show(launch_in_lab(recipe))
        self._on_launch(self)

    def _show(self, run: Run) -> None:
        self.run = run
        earlier = [each.path for each in self.runs if (each.path / "run.json").is_file()]
        self.runs = [*map(Run, earlier), run]  # new handles: what the old ones have read is let go
        self._frames = Frames(RunRecord(run.path))
        self._status, self._status_at = None, 0.0
        self._say(run=run.name)

    def _turn(self, changes: Mapping[str, Any], *, undoes: bool = False) -> None:
        """Turn knobs: those that act from the start begin anew, the others act at the next step."""
        if any(name in FROM_THE_START for name in changes):
            self._restart(changes)
            return
        frames = self._frames
        if self.run is None or frames is None:
            self.knobs = check_knobs({**self.knobs, **changes})
            return
        fields = as_fields(changes, frames.recipe)
        check_turn(frames.recipe, fields)
        before = {name: self.knobs.get(name) for name in changes}
        if not self._living():  # it acts when the run goes on: there is no process to tell
            raise ConfigError(f"{self.run.name} does not train now: press play, then turn the knob")
        self.run.turn(**{name.replace(".", "__"): value for name, value in fields.items()})
        self.knobs = {**self.knobs, **changes}
        if not undoes:
            self._note_gesture(Turn(max(0, frames.step), dict(changes), before))

    def _note_gesture(self, turn: Turn) -> None:
        """Keep what a hand turned, so that it can be taken back; what a hand drags is one turn."""
        now = time.monotonic()
        dragged = now - self._gesture_at < _ONE_GESTURE_S and self._gestures
        if dragged and set(self._gestures[-1].changes) == set(turn.changes):
            self._gestures[-1].changes.update(turn.changes)
        else:
            self._gestures.append(turn)
        self._gesture_at = now

    def _undo(self) -> None:
        """Turn the last knob back."""
        if not self._gestures:
            raise ConfigError("no knob was turned in this run: there is nothing to take back")
        self._turn(self._gestures[-1].before, undoes=True)
        self._gestures.pop()
        self._gesture_at = 0.0  # the next turn is one of its own

    def _rewind(self) -> None:
        """Go back to where the last knob was turned, as if it had not been."""
        if not self._gestures or self.run is None or self._frames is None:
            raise ConfigError("no knob was turned in this run: press restart to go back to its beginning")
        last = self._gestures[-1]
        turned = [turn.step for turn in self._frames.turns if turn.step >= last.step]
        step = min(turned, default=last.step)
        self._starting = f"Going back to step {step:,}, where the knob was turned …"
        self._say(state="starting", message=self._starting)
        rewind_in_lab(self.run, step)
        self._gestures.pop()
        self.knobs = {**self.knobs, **last.before}

    def _play(self) -> None:
        self._waits = ""
        if self.run is None:
            self._restart({})
            return
        status = read_status(self.run.path)
        if status.alive:  # a run that just starts may find a request to pause of a moment ago
            self.run.proceed()
        elif status.state == "COMPLETED":
            raise ConfigError(f"{self.run.name} has taken all of its {status.step:,} steps: press restart")
        elif status.ended or status.state == "CREATED":
            self._starting = f"Going on from the newest checkpoint of {self.run.name} …"
            self._say(state="starting", message=self._starting)
            resume_in_lab(self.run)

    def _pause(self) -> None:
        self._waits = ""
        if self._living():
            self.run.hold()  # type: ignore[union-attr]

    def _step(self) -> None:
        self._waits = ""
        if self._living():
            self.run.take_steps(1)  # type: ignore[union-attr]
        else:
            self._play()

    def _rename_at_rest(self) -> None:
        if not self._keep_as or self.run is None or read_status(self.run.path).alive:
            return
        self.run.wait_until_free()
        kept, self._keep_as = keep_run(self.run, self._keep_as), ""
        self.runs = [kept if run is self.run else run for run in self.runs]
        self.run, self._frames = kept, Frames(RunRecord(kept.path))
        self._say(run=kept.name, kept=kept.name)

    def _leave_run(self) -> None:
        """Let the run shown end; it keeps its name and record."""
        if self.run is None:
            return
        try:
            self.run.stop(wait=bool(self._keep_as), timeout_s=20)
            self._rename_at_rest()
        except (RecordError, ConfigError, TimeoutError, OSError, NameError):
            pass  # its folder is gone, its process, or Python itself ends: there is nothing to be done

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        run, frames = self.run, self._frames
        if run is None or frames is None:
            return
        if not (run.path / "run.json").is_file():  # a trainer may have made the folder again
            raise RecordError(gone(run.path))
        frames.record.poll()
        new = frames.look()
        self._say_how_it_is(frames)
        if any(event["kind"] in ("start", "turn") for event in new):
            self._say_turns(frames)
        self._send_frame(frames)
        self._mind_the_unseen()

    def _say_how_it_is(self, frames: Frames) -> None:
        now = time.monotonic()
        if self._status is None or now - self._status_at >= _STATUS_EVERY_S:
            assert self.run is not None
            self._status, self._status_at = read_status(self.run.path), now
            if self._status.ended and self._keep_as:
                self._rename_at_rest()
        status = self._status
        if status.alive:
            state = living_state(frames, status.attempt)
            words = {"paused": self._waits or "Paused.", "running": "", "starting": self._starting}[state]
        else:
            vanished = status.state == "FAILED" and self.run is not None and self.run.failure_kind == "vanished"
            state, words = at_rest(status, self._waits, vanished=vanished)
        steps = (frames.record.last("start") or {}).get("total_steps", 0)
        step = frames.step if state != "running" or self._status_at == now else self.state["step"]  # frames say it
        self._say(state=state, message=words, step=step, steps=steps)

    def _say_turns(self, frames: Frames) -> None:
        """Say which knobs were turned, and where they stand, whoever turned them."""
        turns, recipe = [], frames.record.recipe
        for turn in frames.turns:
            before = as_knobs(turn.before, recipe)
            recipe = check_turn(recipe, turn.changes)
            turns.append({"step": turn.step, "changes": as_knobs(turn.changes, recipe), "before": before})
        known = knobs_of(frames.recipe)
        if not self._asked:  # a knob that was turned meanwhile is ahead of the record
            recent = time.monotonic() - self._gesture_at < 2 * _ONE_GESTURE_S
            self.knobs = {**known, **self.knobs} if recent else {**self.knobs, **known}
        self._say(turns=turns, knobs=self.knobs)

    def _send_frame(self, frames: Frames) -> None:
        now = time.monotonic()
        waiting = self._drawn < self._number
        patience = UNDRAWN_S if self._anybody() else 4.0
        if not frames.new or (waiting and now - self._sent_at < patience):
            return
        if not self.seen and now - self._sent_at < 2.0:
            return
        taken = frames.take()
        if taken is None:
            return
        self._number += 1
        self._sent_at = now
        facts, arrays = taken
        name = frames.record.name
        self._on_frame({"type": "frame", "pane": self.pane, "number": self._number, "run": name, **facts}, arrays)

    def _anybody(self) -> bool:
        """Whether a page that can be seen still draws."""
        lost = time.monotonic() - self._heard_at > NOBODY_S
        return self.seen and not lost and not self._left

    def _mind_the_unseen(self) -> None:
        """Hold, later stop, a run at which nobody looks, and let it go on when somebody does."""
        now, run = time.monotonic(), self.run
        assert run is not None
        if self._anybody():
            self._unseen_since = 0.0
            if self._waits and self.state["state"] == "paused" and self._living():
                self._waits = ""
                run.proceed()
            return
        self._unseen_since = self._unseen_since or now
        unseen = now - self._unseen_since
        if self.state["state"] == "running" and unseen > HOLD_AFTER_S and not self._waits:
            self._waits = UNSEEN.format(minutes=round(HOLD_AFTER_S / 60))
            run.hold()
        elif self.state["state"] == "paused" and unseen > STOP_AFTER_S and self._living():
            self._waits = UNSEEN_LONG.format(minutes=round(STOP_AFTER_S / 60))
            run.stop(wait=False)

    def _living(self) -> bool:
        return self.run is not None and read_status(self.run.path).alive

    def _lost(self, error: Exception) -> None:
        """Its folder cannot be read any more."""
        self._frames = None
        told = f"{error}" if isinstance(error, RecordError) else f"Its folder cannot be read ({error})"
        self._say(state="failed", message=f"{told[:1].upper()}{told[1:]}. Press restart for a new run.")

    # -- the verdict --------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Say once a second what Python's verdict is, from a reader of its own, so that frames never wait for it."""
        record: RunRecord | None = None
        told: tuple[Any, int] = (None, -1)
        while not self._closed.wait(_JUDGE_EVERY_S):
            run = self.run
            step = self.state["step"]
            if run is None or step < 0 or not self.seen or told == (run.path, step):
                continue
            began = time.monotonic()
            try:
                if record is None or record.path != run.path:
                    record = RunRecord(run.path)
                record.poll()
                told = run.path, step
                found = verdict(record)
            except (RecordError, ConfigError, OSError, ValueError):
                continue  # the other thread says what is the matter
            if run is self.run:
                self._say(verdict=verdict_words(found))
            self._closed.wait(min(5.0, 9 * (time.monotonic() - began)))  # at most a tenth of the time

    def _say(self, **changes: Any) -> None:
        with _SAYING:
            state = {**self.state, **changes}
            if state == self.state:
                return
            self.state = state
        self._on_state(self)
