"""Numbers of past steps on their way from the device, so that no step waits for the one before it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LAG_STEPS = 4


class Reading(NamedTuple):
    """What one step said of itself.

    Attributes
    ----------
    step
        Steps done when it was taken.
    numbers
        Values that came from the device, by name.
    known
        Values that the host knew at once, by name.
    at_s
        When the device had made them, on the clock of `time.perf_counter`.
    """

    step: int
    numbers: dict[str, float]
    known: dict[str, float]
    at_s: float


class _Sent(NamedTuple):
    step: int
    names: Sequence[str]
    values: Tensor
    arrived: torch.cuda.Event | None
    known: dict[str, float]
    sent_s: float


class Readings:
    """Readings in the order of their steps, a few steps late on CUDA and at once elsewhere.

    Reading a number from a GPU waits until it has done everything asked of it before; at every step, that would leave
    it without work while the next step is prepared. Here numbers are copied while the GPU works, and a reading is given
    out when ``lag`` later ones are under way, or when all are asked for.

    Parameters
    ----------
    device
        Where the numbers are made.
    lag
        Readings that may be under way; none means 4 on CUDA, else 0. It also bounds how far the host runs ahead.

    Examples
    --------
    >>> readings = Readings(torch.device("cpu"), lag=1)
    >>> readings.put(1, ["total"], torch.tensor([0.5]))
    >>> readings.put(2, ["total"], torch.tensor([0.4]))
    >>> [reading.step for reading in readings.arrived()], [reading.step for reading in readings.all()]
    ([1], [2])
    """

    def __init__(self, device: torch.device, *, lag: int | None = None):
        self._lag = lag if lag is not None else LAG_STEPS * (device.type == "cuda")
        self._waiting: deque[_Sent] = deque()

    def put(
        self, step: int, names: Sequence[str], values: Float[Tensor, " K"], known: Mapping[str, float] | None = None
    ) -> None:
        """Send the numbers of a step on their way; returns before they are there."""
        arrived = None
        if values.device.type == "cuda":
            stream = torch.cuda.current_stream(values.device)
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(stream)
        self._waiting.append(_Sent(step, names, values, arrived, dict(known or {}), time.perf_counter()))

    def arrived(self) -> Iterator[Reading]:
        """Give out the readings that have more than ``lag`` behind them, oldest first."""
        while len(self._waiting) > self._lag:
            yield self._take()

    def all(self) -> Iterator[Reading]:
        """Give out every reading, waiting for the last."""
        while self._waiting:
            yield self._take()

    def _take(self) -> Reading:
        step, names, values, arrived, known, at_s = self._waiting.popleft()
        if arrived is not None and not arrived.query():
            # The device is the slower one: it is ready now. Else it was soon after it had been asked.
            arrived.synchronize()
            at_s = time.perf_counter()
        return Reading(step, dict(zip(names, values.tolist(), strict=True)), known, at_s)
