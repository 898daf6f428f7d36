"""What recording costs: the same training with and without it, taking turns epoch by epoch in one process.

``python benchmarks/recording_cost.py [--recipe digits] [--set FIELD=VALUE …] [--repeats 3]``: events, diagnostics,
snapshots and checkpoints on the recipe's own schedule against none of them. A shared machine's speed drifts by more
within a minute than recording costs; turns of one epoch see the same drift. Prints the seconds of both in each repeat,
and the share that recording adds (median).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time


class Turns:
    """Lets two threads run one after the other, and adds up the seconds of each."""

    def __init__(self):
        self.seconds = [0.0, 0.0]
        self._change = threading.Condition()
        self._turn, self._began, self._ended = 0, 0.0, [False, False]

    def wait_for(self, player: int) -> None:
        """Block until it is the player's turn, and start its clock."""
        with self._change:
            self._change.wait_for(lambda: self._turn == player)
        self._began = time.perf_counter()

    def pass_on(self, player: int, *, ended: bool = False) -> None:
        """Stop the clock; the other one's turn."""
        self.seconds[player] += time.perf_counter() - self._began
        with self._change:
            self._ended[player] = ended
            if not self._ended[1 - player]:
                self._turn = 1 - player
            self._change.notify_all()


def main() -> None:
    """Take turns, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    changes = dict(change.split("=", 1) for change in options.changes)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TWIST_RUNS"] = folder
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # the waiting one's threads must not spin
        from twist.learn.process import Requests, tune_malloc
        from twist.learn.train import Loop
        from twist.runs.attempts import attempt_folder
        from twist.runs.launcher import prepare
        from twist.runs.record import RunWriter

        class InTurns(Loop):
            """Training that hands over after every epoch."""

            def play(self, turns: Turns, player: int) -> None:
                self.turns, self.player = turns, player
                turns.wait_for(player)
                try:
                    self.run()
                finally:
                    turns.pass_on(player, ended=True)

            def _answer(self) -> bool:
                if self.step % self.steps_per_epoch == 0:
                    self.turns.pass_on(self.player)
                    self.turns.wait_for(self.player)
                return super()._answer()

        class Silent(InTurns):
            """The same training, writing nothing."""

            def _snapshot(self, watched):
                pass

            def _checkpoint(self):
                pass

        quiet = {"record.log_every_steps": 10**9, "record.diagnose_every_steps": 10**9}

        def seconds(extra: dict) -> list[float]:
            turns, players = Turns(), []
            for kind, more in ((InTurns, {}), (Silent, quiet)):
                path = prepare(options.recipe, changes={**changes, **more, **extra})
                attempt_folder(path, 1).mkdir(parents=True)
                loop = kind(path, RunWriter(path, 1), Requests(path, supervisor=None))
                players.append(threading.Thread(target=loop.play, args=(turns, len(players))))
            for player in players:
                player.start()
            for player in players:
                player.join()
            return turns.seconds

        tune_malloc()
        seconds({"optim.epochs": 2})  # the first run pays for what torch sets up once
        rows = []
        for repeat in range(options.repeats):
            on, off = seconds({})
            rows.append({"with_s": on, "without_s": off, "share": on / off - 1})
            print(f"{repeat}  with {on:.2f} s  without {off:.2f} s  recording adds {on / off - 1:.1%}", flush=True)
    share = statistics.median(row["share"] for row in rows)
    print(f"recording adds {share:.1%} (median)")
    print(json.dumps({"recipe": options.recipe, "changes": changes, "share": share, "repeats": rows}))


if __name__ == "__main__":
    main()
