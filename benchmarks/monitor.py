"""What a look of the monitor costs while a run's log grows: ``python benchmarks/monitor.py``.

A run of so many log lines is made without training, then grows by ten lines a second of its own time; a monitor
without a browser looks once per second of that time. Times are of the processor, so that other work on the machine
does not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    """Measure at each length of the log, and print a row for each."""
    from synthetic import make_run

    from twist.runs.record import RunWriter
    from twist.runs.status import Status
    from twist.view import seen as reading
    from twist.view.monitor import RunMonitor

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--looks", type=int, default=40)
    arguments = parser.parse_args()
    reading.read_status = lambda path: Status("RUNNING", step=1)
    # The run's own clock stands still between two looks but for the second that it takes.
    now = [time.monotonic()]
    fake = type("Clock", (), {"monotonic": staticmethod(lambda: now[0] + time.process_time()), "time": time.time})
    reading.time = fake
    sys.modules["twist.view.monitor"].time = fake
    print("log lines | first look, s | look, mean ms | redraw, ms | slowest look, ms")
    for lines in arguments.lines:
        with tempfile.TemporaryDirectory() as folder:
            path = make_run(Path(folder), num_samples=2_000, epochs=lines // 100, steps_per_epoch=100, snapshots=50)
            began = time.process_time()
            monitor = RunMonitor(path, live=False)
            first = time.process_time() - began
            writer, values = RunWriter(path, 1), {f"train/{name}": 1.0 for name in ("sharpness", "diversity")}
            took, redraws = [], []
            for look in range(arguments.looks):
                for line in range(10):
                    writer.metrics(lines + 10 * look + line + 1, 1.0, values | {"train/consistency": 0.1})
                now[0] += 1.0
                before, drawn = time.process_time(), monitor._drawn
                monitor.refresh()
                took.append(1000 * (time.process_time() - before))
                if monitor._drawn != drawn:
                    redraws.append(took[-1])
            writer.close()
            monitor.close()
        print(f"{lines:9,} | {first:13.2f} | {np.mean(took):13.0f} | {np.median(redraws):10.0f} | {max(took):16.0f}")


if __name__ == "__main__":
    main()
