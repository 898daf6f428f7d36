"""What training last said of every image, kept on disk at every step for those who watch."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.runs.outputs import LIVE, OUTPUTS, VISITED, output_file, output_steps

LAG_STEPS = 4  # batches under way from a GPU


class _Sent(NamedTuple):
    step: int
    rows: np.ndarray
    probs: Tensor
    arrived: torch.cuda.Event | None


class Outputs:
    """Writer of `twist.runs.outputs`: the distributions of every image's last visit, and a frame every so many steps.

    Parameters
    ----------
    run
        The run folder.
    num_images, num_classes
        N and C.
    every
        Steps between two frames.

    Notes
    -----
    The two live files are mapped and stored to like memory: a step waits neither for the disk nor for a GPU, whose
    numbers are written when they have arrived, a few steps late. `state` and `load_state` make a run that was stopped
    write the same files as one that was not.
    """

    def __init__(self, run: Path, num_images: int, num_classes: int, *, every: int):
        self._folder, self._every = run / OUTPUTS, every
        self._folder.mkdir(exist_ok=True)
        probs = self._found(LIVE, np.float16, (num_images, 2, num_classes))
        visited = self._found(VISITED, np.int32, (num_images,))
        if probs is None or visited is None:
            probs = self._made(LIVE, np.float16, (num_images, 2, num_classes), 0)
            visited = self._made(VISITED, np.int32, (num_images,), -1)
        self._probs, self._visited = probs, visited
        self._sent: deque[_Sent] = deque()

    def begin(self, step: int) -> None:
        """Drop what a later step than this one left: an attempt goes on from here."""
        late = self._visited > step
        self._probs[late], self._visited[late] = 0, -1
        for other in output_steps(self._folder.parent):
            if other > step:
                (self._folder / output_file(other)).unlink(missing_ok=True)

    @torch.no_grad()
    def put(self, step: int, rows: Int64[Tensor, " B"], logits: Float[Tensor, "2 B C"], temperature: float) -> None:
        """Keep the distributions of a batch; the step counts from 1, and the rows are those of the image set."""
        probs = (logits.detach().float() / temperature).softmax(2).half()
        arrived = None
        if probs.device.type == "cuda":
            host = torch.empty(probs.shape, dtype=probs.dtype, pin_memory=True)
            probs = host.copy_(probs, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(logits.device))
        self._sent.append(_Sent(step, rows.numpy(), probs, arrived))

    def write(self, *, wait: bool = False) -> list[int]:
        """Write what has arrived, or with ``wait`` everything; returns the steps of new frames."""
        frames = []
        lag = 0 if wait or (self._sent and self._sent[0].arrived is None) else LAG_STEPS
        while len(self._sent) > lag:
            sent = self._sent.popleft()
            if sent.arrived is not None:
                sent.arrived.synchronize()
            self._probs[sent.rows] = sent.probs.cpu().numpy().swapaxes(0, 1)
            self._visited[sent.rows] = sent.step
            if sent.step % self._every == 0:
                self._write_frame(sent.step)
                frames.append(sent.step)
        return frames

    def _write_frame(self, step: int) -> None:
        mean = self._probs.astype(np.float32).mean(1)
        frame = np.rint(np.nan_to_num(mean, nan=0.0) * 255).astype(np.uint8)
        path = self._folder / output_file(step)
        temporary = path.with_name(".frame.npy")  # of always one name, so that a kill leaves at most one behind
        with open(temporary, "wb") as file:
            np.save(file, frame, allow_pickle=False)
        os.replace(temporary, path)

    def state(self) -> dict[str, Tensor]:
        """Everything kept, for a checkpoint; `write` it all first."""
        return {"probs": torch.tensor(self._probs), "visited": torch.tensor(self._visited)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self._probs[:] = state["probs"].numpy()
        self._visited[:] = state["visited"].numpy()

    def _found(self, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray | None:
        try:
            found = np.lib.format.open_memmap(self._folder / name, mode="r+")
        except (OSError, ValueError, EOFError):
            return None
        return found if found.dtype == dtype and found.shape == shape else None

    def _made(self, name: str, dtype: type, shape: tuple[int, ...], value: int) -> np.ndarray:
        temporary = self._folder / f".{name}"
        made = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        made[...] = value
        os.replace(temporary, self._folder / name)  # the mapping follows the file
        return made
