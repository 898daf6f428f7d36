"""A table of events that is read again and again while the log grows: only what is new is worked through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Entries of an event that are about the log, not about the run.
_OF_THE_LOG = frozenset({"seq", "kind", "crc", "nonfinite"})


class GrowingTable:
    """The events of one kind as a table indexed by step; of two for one step the later counts.

    Parameters
    ----------
    kind
        Kind of the events.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._seen = 0
        self._steps = np.zeros(0, np.int64)
        self._columns: dict[str, np.ndarray] = {}
        self._table: pd.DataFrame | None = None

    def read(self, events: list[dict[str, Any]]) -> pd.DataFrame:
        """The table of all events, of which those given at the last call are the first."""
        import pandas as pd

        new = [event for event in events[self._seen :] if event["kind"] == self.kind]
        self._seen = len(events)
        if new:
            self._append(new)
        if self._table is None or new:
            index = pd.Index(self._steps, name="step") if self._columns else pd.Index([], name="step")
            self._table = pd.DataFrame(self._columns, index=index)
        return self._table.copy(deep=False)

    def _append(self, events: list[dict[str, Any]]) -> None:
        had, count = len(self._steps), len(events)
        names = dict.fromkeys(name for event in events for name in event if name not in _OF_THE_LOG and name != "step")
        columns = {}
        for name in dict.fromkeys([*self._columns, *names]):
            old = self._columns.get(name)
            fresh = _values([event.get(name) for event in events]) if name in names else np.full(count, np.nan)
            before = (
                [np.full(had, np.nan) if old is None else old] if had else []
            )  # of no rows it would make ints floats
            columns[name] = np.concatenate([*before, fresh])
        steps = np.concatenate([self._steps, np.array([event["step"] for event in events], np.int64)])
        if (np.diff(steps[max(0, had - 1) :]) <= 0).any():
            last = len(steps) - 1 - np.unique(steps[::-1], return_index=True)[1]  # ascending, the newest of each
            steps, columns = steps[last], {name: values[last] for name, values in columns.items()}
        self._steps, self._columns = steps, columns


def _values(entries: list[Any]) -> np.ndarray:
    """Numbers as an array, None as NaN; anything else stays what it is."""
    kinds = set(map(type, entries))
    if kinds <= {int, float, type(None)}:
        return np.array(entries, np.int64 if kinds == {int} else np.float64)
    values = np.empty(len(entries), object)
    values[:] = entries
    return values
