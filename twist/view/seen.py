"""What a monitor has read of one run, each thing worked out once however often it looks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twist.runs.alarms import Alarm, AlarmLog
from twist.runs.columns import COLUMNS, read_assignment, read_rows
from twist.runs.record import RunRecord
from twist.runs.status import Status, end_record, read_status
from twist.runs.store import RecordError, step_folder
from twist.runs.verdict import Verdict, timeline_of, verdict
from twist.view.histories import Densities, density
from twist.view.provenance import provenance
from twist.view.scene import Scene

#: Judging a run takes at most this share of the time: where a look takes long, looks are rarer.
JUDGING = 0.02
#: Times the usual time between two lines of the log after which what is shown is called old, and seconds at least.
STALE_TIMES, STALE_S = 3.0, 3.0


def judge(record: RunRecord) -> Verdict | None:
    """The verdict on a record, or None while nothing is recorded."""
    return verdict(record) if record.last("metrics") or record.last("snapshot") else None


class UseOfClasses(NamedTuple):
    """Share of the watch images in each class ``[T, C]`` at steps ``[T]``."""

    steps: np.ndarray
    usage: np.ndarray


class _Column(NamedTuple):
    shares: np.ndarray
    quantiles: np.ndarray
    usage: np.ndarray
    problem: str


class Seen:
    """One run as far as it was looked at; `look` again, then read the attributes.

    Attributes
    ----------
    record, status
        The run's reader, and how it was at the last look.
    verdict
        The newest verdict, None before anything is recorded.
    alarms
        Every alarm so far, the newest first.
    pauses
        Words (held, resumed) and step of every pause.
    gone
        Whether its folder has vanished; what was read before is kept.
    log_age_s, usual_s
        Seconds since the newest line of its log was written, and between two lines as a rule; None where not known.
    """

    def __init__(self, path: Path):
        self.record = RunRecord(path)
        self.status = Status("EMPTY")
        self.verdict: Verdict | None = None
        self.alarms: list[Alarm] = []
        self.pauses: list[tuple[str, int]] = []
        self.gone = False
        self.log_age_s: float | None = None
        self.usual_s: float | None = None
        self._alarm_log = AlarmLog()
        self._judged, self._judge_again = (-1, False, False), 0.0
        self._columns: dict[tuple[int, int], _Column] = {}
        self._verdicts: dict[int, Verdict] = {}
        self._provenance: dict[int, str] = {}

    def look(self, *, alarms: bool = True) -> int:
        """Read what is new; returns the number of new lines.

        Without ``alarms`` those are left to the next look: of a long log they take a second to find.
        """
        self.gone = not (self.record.path / "run.json").is_file()
        if self.gone:
            return 0
        new = self.record.poll()
        self.status = read_status(self.record.path)
        self._see_ages()
        for event in self.record.events[-new:] if new else ():
            if event["kind"] == "start":
                self._verdicts.clear()
                first = event.get("from_step") or 0
                self.pauses = [pause for pause in self.pauses if pause[1] <= first]
                self.pauses += [("resumed", first)] if first else []
            elif event["kind"] == "hold":
                self.pauses.append(("held", int(event["step"])))
        self._judge(alarms)
        return new

    @property
    def stale(self) -> bool:
        """Whether a living run has written nothing for longer than it usually takes."""
        if self.status.state != "RUNNING" or self.log_age_s is None or self.usual_s is None:
            return False
        return self.log_age_s > max(STALE_S, STALE_TIMES * self.usual_s)

    @property
    def newest(self) -> int:
        """Newest step with training numbers or a snapshot."""
        tables = self.record.metrics(), self.record.snapshot_metrics()
        return int(max([0, *(table.index[-1] for table in tables if len(table))]))

    def verdict_at(self, step: int) -> Verdict | None:
        """The verdict as it was, or could have been, at a step."""
        if step not in self._verdicts:
            if not self._has_numbers():
                return None
            self._verdicts[step] = verdict(self.record, step)
        return self._verdicts[step]

    def spreads(self) -> tuple[Densities, UseOfClasses, str]:
        """Entropies and classes of the watch images at every snapshot, and one sentence on what cannot be read."""
        steps = self.record.snapshot_steps()
        attempts = self.record.snapshot_metrics().get("attempt")
        keys = [(step, int(attempts[step])) for step in steps] if attempts is not None else []
        for key in keys:
            if key not in self._columns:
                self._columns[key] = self._read(key[0])
        columns = [self._columns[key] for key in keys]
        problem = next((column.problem for column in reversed(columns) if column.problem), "")
        count, times = self.record.recipe.network.num_classes, np.array(steps, np.int64)
        if not columns:
            return Densities.of(times, np.zeros((0, 0)), count), UseOfClasses(times, np.zeros((0, count))), problem
        spread = Densities(
            times,
            np.stack([column.shares for column in columns], 1),
            np.stack([column.quantiles for column in columns], 1),
        )
        return spread, UseOfClasses(times, np.stack([column.usage for column in columns])), problem

    def scene(self) -> Scene:
        """What a reader must know beside the pictures."""
        return Scene.of(self.record)

    def provenance(self) -> str:
        """Where the pictures come from, in one line."""
        attempt = self.status.attempt
        if attempt not in self._provenance:
            self._provenance[attempt] = provenance(self.record)
        return self._provenance[attempt]

    def failure(self) -> tuple[str, str, str]:
        """Message, traceback and end of the log of an attempt that failed; empty where there is none."""
        if self.status.state != "FAILED":
            return "", "", ""
        end = end_record(self.record.path, self.status.attempt)
        log = end.get("log") or []
        return str(end.get("message", "")), str(end.get("traceback") or ""), "\n".join(map(str, log))

    # -- how it is worked out -----------------------------------------------------------------------------------------

    def _has_numbers(self) -> bool:
        return len(self.record.metrics()) > 0 or len(self.record.snapshot_metrics()) > 0

    def _see_ages(self) -> None:
        segments = list((self.record.path / "events").glob("*.jsonl"))
        self.log_age_s = max(0.0, time.time() - max(f.stat().st_mtime for f in segments)) if segments else None
        recent = [event for event in self.record.events[-40:] if event["kind"] == "metrics"]
        between = np.diff([event["clock_s"] for event in recent if event["attempt"] == recent[-1]["attempt"]])
        self.usual_s = float(np.median(between)) if len(between) else None

    def _judge(self, alarms: bool) -> None:
        """Find verdict and alarms anew, when there is something new and its turn has come."""
        want = (len(self.record.events), self.status.alive, alarms)
        ended = want[1:] != self._judged[1:] and not self.status.alive
        if want == self._judged or (time.monotonic() < self._judge_again and not ended):
            return
        if not self._has_numbers():
            self.verdict, self.alarms = None, []
            return
        began = time.monotonic()
        timeline = timeline_of(self.record)
        self.verdict = verdict(self.record, timeline=timeline)
        if alarms:
            self.alarms = self._alarm_log.update(self.record, timeline)
        self._judged = want
        self._judge_again = began + (time.monotonic() - began) / JUDGING if alarms else 0.0

    def _read(self, step: int) -> _Column:
        count = self.record.recipe.network.num_classes
        folder = self.record.path / "snapshots" / step_folder(step)
        problem, usage = "", np.full(count, np.nan)
        shares, quantiles = density(np.zeros(0), count)
        try:
            shares, quantiles = density(read_rows(folder / "sample_entropy.npy", np.float32), count)
            classes = read_assignment(folder / COLUMNS["assignment"].file, count)
            usage = np.bincount(classes, minlength=count) / max(1, len(classes))
        except RecordError as error:
            problem = str(error)
        return _Column(shares, quantiles, usage, problem)
