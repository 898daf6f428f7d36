"""What every labeler answers with, and what it asks of its features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from twist.runs.config import ConfigError

#: Below it a class has no share in an image that anybody could see; log-probabilities end here, so that all are finite.
LEAST_LOG_PROB = -60.0


@dataclass(frozen=True)
class Labeling:
    """Classes that a labeler found.

    Attributes
    ----------
    log_probs
        Log-probability of each class for each image, finite; rows sum to 1.
    labeler
        What made it: ``k-means``, ``TURTLE`` or ``TWIST head``.
    settings
        What it was asked for, as plain values.
    facts
        What became of it: objective at the end, its course, shares kept; as plain values.
    """

    log_probs: Float[Tensor, "N C"]
    labeler: str
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.log_probs)

    @property
    def num_classes(self) -> int:
        """Number of classes C, in use or not."""
        return self.log_probs.shape[1]

    @property
    def assignment(self) -> Int64[Tensor, " N"]:
        """The likeliest class of each image."""
        return self.log_probs.argmax(1)

    @property
    def classes_in_use(self) -> int:
        """Number of classes that hold an image."""
        return len(self.assignment.unique())


def normalized(logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Logits as finite log-probabilities of rows that sum to 1."""
    return logits.float().log_softmax(1).clamp(min=LEAST_LOG_PROB).log_softmax(1)


def check_task(features: Float[Tensor, "N D"], num_classes: int) -> None:
    """Refuse what no labeler can work on.

    Raises
    ------
    ConfigError
        For fewer than two images, features that are not finite or all alike, and a number of classes below 2 or above
        that of the images.
    """
    count = len(features)
    if count < 2:
        images = "1 image has" if count == 1 else "0 images have"
        raise ConfigError(f"{images} features: there is nothing to tell apart; give at least 2, better hundreds")
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or not 2 <= num_classes <= count:
        raise ConfigError(f"num_classes is {num_classes!r} for {count:,} images: give a whole number from 2 to {count}")
    if broken := int((~features.isfinite()).any(1).sum()):
        raise ConfigError(
            f"the features of {broken:,} of {count:,} images are not finite: take another checkpoint, or mend the file"
        )
    if bool((features == features[0]).all()):
        raise ConfigError(f"all {count:,} images have the same features: there is nothing to tell apart")


def course(values: list[float], most: int = 40) -> list[float]:
    """At most so many of the values, evenly chosen, the last among them; rounded, for a record.

    Examples
    --------
    >>> course([3.0, 2.0, 1.00004], most=2)
    [3.0, 1.0]
    """
    if not values:
        return []
    chosen = torch.linspace(0, len(values) - 1, min(most, len(values)), dtype=torch.float64).round().long().tolist()
    return [round(values[place], 4) for place in chosen]
