"""What is known of a recipe beside its values."""

from __future__ import annotations

from typing import NamedTuple


class RecipeFacts(NamedTuple):
    """Facts that stand beside a recipe in a table; its docstring has the words.

    Attributes
    ----------
    hardware
        What the authors ran it on, for a recipe of the paper; else what it is meant for.
    published
        Linear top-1 accuracy on ImageNet that the authors report, 0 to 1; None for a recipe that is not theirs.
    """

    hardware: str
    published: float | None = None
