"""The collapse zoo, trained and counted: how often the verdict is right, how early, and how often it cries wolf."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from twist.runs.config import ConfigError, nearest
from twist.runs.handle import Run
from twist.runs.oracle import truth
from twist.runs.recipes.zoo import Specimen, specimens
from twist.runs.sources import check_source
from twist.runs.sweep import run_many
from twist.runs.verdict import Verdict, verdict, verdict_history

_PLATEAU = "plateau near uniform"
#: Share of all steps within which a failure must be flagged, counted from the step at which hindsight sees it.
IN_TIME = 0.15


class ZooRow(NamedTuple):
    """One run of the zoo.

    Attributes
    ----------
    name, seed
        Which setting, which seed.
    truth
        What the run showed in the end, by `twist.runs.oracle.truth`.
    said
        Kind of the verdict at its end.
    right
        Whether the two are the same.
    arrived
        Step from which hindsight sees the failure; None for a healthy run.
    flagged
        First step from which on the verdict says that something is wrong, up to the end; None when it does not.
    alarmed
        First step at which it sounded an alarm, which a plateau is not; None when it never did.
    withdrawn
        First step at which it said that something is wrong and took it back; None when it never did.
    delay
        From one to the other, as a share of all steps; negative when flagged before; None for a healthy run.
    seconds
        Of training.
    """

    name: str
    seed: int
    truth: str
    said: str
    right: bool
    arrived: int | None
    flagged: int | None
    alarmed: int | None
    withdrawn: int | None
    delay: float | None
    seconds: float

    @property
    def false_alarm(self) -> bool:
        """Whether an alarm was ever sounded in a run that ended healthy."""
        return self.truth == "healthy" and self.alarmed is not None

    @property
    def in_time(self) -> bool:
        """Whether a failure was flagged within `IN_TIME` of all steps; a healthy run is always in time."""
        if self.truth == "healthy":
            return True
        return self.delay is not None and self.delay <= IN_TIME


@dataclass(frozen=True)
class ZooResult:
    """Every run of a zoo, counted.

    Attributes
    ----------
    rows
        One for each run.
    left_out
        Names of the settings whose images are missing here.
    unfinished
        What became of the runs that have no end to judge.
    """

    rows: tuple[ZooRow, ...]
    left_out: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of runs."""
        return len(self.rows)

    @property
    def right(self) -> int:
        """Runs named right at their end."""
        return sum(row.right for row in self.rows)

    @property
    def false_alarms(self) -> int:
        """Healthy runs in which an alarm was sounded at any time."""
        return sum(row.false_alarm for row in self.rows)

    @property
    def late(self) -> int:
        """Failures flagged too late, or never; a plateau, which is none yet, is not counted."""
        return sum(not row.in_time and row.truth != _PLATEAU for row in self.rows)

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Number of runs by truth, then by verdict."""
        table: dict[str, Counter[str]] = {}
        for row in self.rows:
            table.setdefault(row.truth, Counter())[row.said] += 1
        return {kind: dict(said) for kind, said in table.items()}

    @property
    def delays(self) -> dict[str, float]:
        """Median delay of each kind of failure, as a share of all steps."""
        by_kind: dict[str, list[float]] = {}
        for row in self.rows:
            if row.delay is not None:
                by_kind.setdefault(row.truth, []).append(row.delay)
        return {kind: round(statistics.median(delays), 4) for kind, delays in by_kind.items()}

    def as_json(self) -> dict[str, Any]:
        """Counts, confusion matrix, delays and rows as plain values."""
        return {
            "total": self.total,
            "right": self.right,
            "false_alarms": self.false_alarms,
            "late": self.late,
            "confusion": self.confusion,
            "delays": self.delays,
            "left_out": list(self.left_out),
            "unfinished": list(self.unfinished),
            "rows": [{**row._asdict(), "in_time": row.in_time, "false_alarm": row.false_alarm} for row in self.rows],
        }

    def table(self) -> str:
        """The confusion matrix with delays as a Markdown table, and a line that sums it up."""
        said = list(dict.fromkeys([*self.confusion, *(row.said for row in self.rows)]))
        lines = [
            f"| what it was | runs | {' | '.join(said)} | flagged after, share of all steps |",
            f"|---|---|{'---|' * len(said)}---|",
        ]
        for kind, counts in self.confusion.items():
            cells = [str(counts.get(name, "")) for name in said]
            delays = [row.delay for row in self.rows if row.truth == kind and row.delay is not None]
            span = f"{statistics.median(delays):+.2f} ({min(delays):+.2f} … {max(delays):+.2f})" if delays else ""
            lines.append(f"| {kind} | {sum(counts.values())} | {' | '.join(cells)} | {span} |")
        share = f" ({self.right / self.total:.1%})" if self.total else ""
        lines.append("")
        lines.append(
            f"{self.right} of {self.total} runs named right{share}; false alarms in healthy runs at any time: "
            f"{self.false_alarms}; collapses flagged more than {IN_TIME:.0%} of all steps after hindsight: {self.late}."
        )
        wrong = [f"{row.name} (seed {row.seed}): {row.truth}, called {row.said}" for row in self.rows if not row.right]
        lines += [f"Named wrong: {'; '.join(wrong)}."] if wrong else []
        late = [f"{row.name} (seed {row.seed}): {_spell(row.delay)}" for row in self.rows if not row.in_time]
        lines += [f"Late, plateaus among them: {'; '.join(late)}."] if late else []
        alarms = [f"{row.name} (seed {row.seed}) at step {row.alarmed}" for row in self.rows if row.false_alarm]
        lines += [f"False alarms: {'; '.join(alarms)}."] if alarms else []
        slides = [
            f"{row.name} (seed {row.seed}) at step {row.withdrawn}"
            for row in self.rows
            if row.truth == "healthy" and row.withdrawn is not None and not row.false_alarm
        ]
        lines += [f"Healthy, and called a plateau for a while: {'; '.join(slides)}."] if slides else []
        lines += [f"Not counted, since they did not end: {'; '.join(self.unfinished)}."] if self.unfinished else []
        if self.left_out:
            names = ", ".join(self.left_out)
            lines.append(f"Left out, since Fashion-MNIST is not here: {names}; with download they are run too.")
        return "\n".join(lines)


def run_zoo(
    seeds: Sequence[int],
    *,
    only: Sequence[str] | None = None,
    jobs: int | None = None,
    download: bool = False,
    root: Path | None = None,
    on_done: Callable[[str], Any] | None = None,
    on_progress: Callable[[str], Any] | None = None,
) -> ZooResult:
    """Train every setting of the zoo with every seed, and hold the verdicts against what the runs showed.

    Runs that were trained before are read, not trained again.

    Parameters
    ----------
    seeds
        Seeds of each setting.
    only
        Names of the settings to train; none means all.
    jobs
        Runs at a time; none means one for each core, since all of them compute there.
    download
        Whether Fashion-MNIST may be fetched where it is missing; else the settings that need it are left out.
    root
        Folder of the runs; none means the usual one.
    on_done
        Called with a line for each run that has ended.
    on_progress
        Called a few times a second with a line on how far it is.

    Raises
    ------
    ConfigError
        For no or doubled seeds, or an unknown setting (names the nearest one).
    """
    chosen = [one._replace(recipe=one.recipe.replace(data__download=download)) for one in _chosen(only)]
    left_out = tuple(specimen.name for specimen in chosen if not _has_images(specimen))
    chosen = [specimen for specimen in chosen if specimen.name not in left_out]
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds are {list(seeds)}: give one seed or more, each once")
    pairs = [(specimen, seed) for seed in seeds for specimen in chosen]

    def say(run: Run) -> None:
        if on_done is not None:
            on_done(f"{run.name}: {run.status.state.lower()}, {run.verdict.kind}")

    runs = run_many(
        [specimen.recipe.replace(seed=seed) for specimen, seed in pairs],
        names=[f"zoo-{specimen.name}-{seed}" for specimen, seed in pairs],
        jobs=jobs,
        root=root,
        on_done=say,
        on_progress=on_progress,
    )
    rows, unfinished = [], []
    for (specimen, seed), run in zip(pairs, runs, strict=True):
        try:
            rows.append(row_of(specimen.name, seed, run))
        except ValueError as error:
            unfinished.append(str(error))
    return ZooResult(tuple(rows), left_out, tuple(unfinished))


def row_of(name: str, seed: int, run: Run) -> ZooRow:
    """A run that has ended, its verdicts held against what it showed.

    Raises
    ------
    ValueError
        When the run has not ended, or ended by an error of its own: says so.
    """
    shown, said, history = truth(run), verdict(run.record), verdict_history(run.record)
    total = (run.record.last("start") or {}).get("total_steps") or 1
    complaints = [one.step for one in history if _complains(one)]
    well = [one.step for one in history if not _complains(one)]
    lasting = [step for step in complaints if not well or step > well[-1]]
    flagged = lasting[0] if lasting else None
    return ZooRow(
        name=name,
        seed=seed,
        truth=shown.kind,
        said=said.kind,
        right=said.kind == shown.kind,
        arrived=shown.arrived,
        flagged=flagged,
        alarmed=next((one.step for one in history if one.alarm), None),
        withdrawn=next((step for step in complaints if step not in lasting), None),
        delay=None if shown.arrived is None or flagged is None else round((flagged - shown.arrived) / total, 4),
        seconds=round(run.record.train_seconds, 1),
    )


def _complains(said: Verdict) -> bool:
    return said.alarm or said.kind == _PLATEAU


def _chosen(only: Sequence[str] | None) -> list[Specimen]:
    known = {specimen.name: specimen for specimen in specimens()}
    for name in only or ():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{nearest(name, known)}; the zoo has {', '.join(known)}")
    return [specimen for specimen in known.values() if only is None or specimen.name in only]


def _has_images(specimen: Specimen) -> bool:
    try:
        check_source(specimen.recipe.data)
    except ConfigError:
        return False
    return True


def _spell(delay: float | None) -> str:
    return "never flagged" if delay is None else f"{delay:+.2f}"
