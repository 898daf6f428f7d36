"""Maps that follow a live run: every snapshot is laid out as it appears, started from the map before.

``python -m twist.view.following RUN`` stays while the run lives, on one core. It yields to the training, and rests
after every map for four times the processor time that the map took: however fast snapshots come, it takes a fifth of a
core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from twist.runs.folders import find_run
from twist.runs.record import RunRecord
from twist.runs.status import read_status
from twist.runs.store import RecordError
from twist.view.beside import LONGEST_START_S, LOOK_EVERY_S, claim, say, yield_to_training
from twist.view.layout import Layout, keep, layout, make_layout, once
from twist.view.placing import ground_of, quick

_REST = 4.0


def follow(path: Path) -> None:
    """Lay out the snapshots of a live run as they appear, and the last one by umap-learn when it has ended.

    Of several that wait only the newest is laid out: the map on the screen keeps up with the run.
    """
    with claim(path, "follow", f"another process follows {path.name}", wait=False) as ours:
        if not ours:
            return
        created, record, seen, rested = time.monotonic(), RunRecord(path), -1, 0.0
        try:
            before = layout(path)
        except RecordError as error:
            say(f"the newest map is left aside: {error}")
            before = None
        while True:
            state = read_status(path)  # asked before looking: a snapshot written in between is not missed
            record.poll()
            step = max(record.snapshot_steps(), default=-1)
            if step != seen and (state.ended or time.monotonic() >= rested):
                seen, began = step, time.process_time()
                before = _follow_step(record, step, before)
                rested = time.monotonic() + _REST * (time.process_time() - began)
            if state.ended:
                break
            if not state.alive and time.monotonic() - created > LONGEST_START_S:
                raise SystemExit(f"run {path.name} was not started in {LONGEST_START_S:.0f} s: no map is made")
            time.sleep(LOOK_EVERY_S)
        if seen >= 0:
            make_layout(path, seen, better=True)


def _follow_step(record: RunRecord, step: int, before: Layout | None) -> Layout | None:
    """The quick map of a step, started from the one before; that one where this cannot be made, and the log says so."""

    def make(tell: Callable[[float, str], None]) -> Layout:
        ground = ground_of(snapshot.features, tell)
        if before is None or len(before.x) != ground.total:
            return keep(record, step, quick(ground))
        return keep(record, step, quick(ground, before.xy), from_step=before.step)

    try:
        snapshot = record.snapshot(step)
        return once(record, snapshot, lambda: layout(record.path, step), make)
    except (RecordError, OSError) as error:
        say(f"no map of step {step}: {error}")
        return before


def main(arguments: list[str] | None = None, *, alone: bool = False) -> None:
    """Entry of ``python -m twist.view.following``; ``alone`` it yields to training and ends with the run."""
    parser = argparse.ArgumentParser(prog="python -m twist.view.following", description="Make maps of a live run.")
    parser.add_argument("run", help="name or folder of the run, or last")
    path = find_run(parser.parse_args(arguments).run)
    if alone:
        yield_to_training(path, niceness=5)
    try:
        follow(path)
    except (RecordError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(alone=True)
