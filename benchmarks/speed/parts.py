"""The parts of the bench, each measured in a process of its own."""

from __future__ import annotations

from typing import NamedTuple


class PartOfBench(NamedTuple):
    """How one part is measured.

    Attributes
    ----------
    function
        ``module:function`` in `benchmarks.speed`.
    what
        What it measures.
    threads
        Threads of torch: one where processor seconds are counted, two where the wall is.
    tuned_malloc
        Whether freed memory stays in the process, as in our training; it then does for the peers too.
    """

    function: str
    what: str
    threads: int
    tuned_malloc: bool = True


PARTS = {
    "a": PartOfBench("views:measure_small", "two views at 32 px", 1),
    "b": PartOfBench("views:measure_large", "views at 224 and 96 px from JPEG files", 1),
    "c": PartOfBench("loss:measure", "loss forward and backward", 1, tuned_malloc=False),
    "d": PartOfBench("step:measure", "whole step against the model alone", 2),
    "e": PartOfBench("fed:measure_pil", "our loop against a PIL DataLoader", 2),
    "f": PartOfBench("fed:measure_lightly", "our loop against lightly's", 2),
    "g": PartOfBench("recording:measure", "what recording costs", 2),
    "h": PartOfBench("startup:measure", "start-up", 2),
    "i": PartOfBench("scaling:measure", "how cost grows", 1),
}
