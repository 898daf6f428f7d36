"""What training last said of every image: the class distributions that its two global views got at its last visit.

In the folder ``outputs`` of a run with ``record.outputs_every_steps`` above 0:

* ``live.npy``, float16 ``[N, 2, C]``, and ``visited.npy``, int32 ``[N]``: rewritten in place at every step. Whoever
  reads may meet a row that is half new; the next look sees it whole.
* ``step-%08d.npy``, uint8 ``[N, C]``: every so many steps the mean of both views, times 255 and rounded; whole, and
  never changed. A row of zeros is an image without a visit by then.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from twist.runs.config import ConfigError, Recipe
from twist.runs.store import RecordError

OUTPUTS, LIVE, VISITED = "outputs", "live.npy", "visited.npy"
#: Beyond these a picture of every image is none, and a step would take long to write.
MOST_IMAGES, MOST_CLASSES = 20_000, 256


def check_outputs(recipe: Recipe, num_images: int) -> None:
    """Refuse to keep the outputs of more images, or classes, than can be drawn."""
    every, count = recipe.record.outputs_every_steps, min(num_images, recipe.data.max_images or num_images)
    if every and count > MOST_IMAGES:
        raise ConfigError(
            f"record.outputs_every_steps is {every}, but {recipe.data.source} has {count:,} images: "
            f"set data.max_images to {MOST_IMAGES} or less, or record.outputs_every_steps to 0"
        )
    if every and recipe.network.num_classes > MOST_CLASSES:
        raise ConfigError(
            f"record.outputs_every_steps is {every}, but network.num_classes is {recipe.network.num_classes}: give "
            f"{MOST_CLASSES} classes or less, or set record.outputs_every_steps to 0"
        )


class LiveOutputs:
    """Reader of the newest outputs of a run, for as often as one likes.

    Parameters
    ----------
    path
        The run folder; it need not have outputs yet.

    Examples
    --------
    ::

        found = LiveOutputs(run.path).read()
        if found is not None:
            probs, visited = found
    """

    def __init__(self, path: Path):
        self.path = Path(path) / OUTPUTS

    def read(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Distributions float16 ``[N, 2, C]`` and the step of each image's last visit int32 ``[N]``, -1 before any.

        Steps count from 1, as in the metrics. None while nothing is there.
        """
        try:
            visited = np.load(self.path / VISITED, allow_pickle=False)
            probs = np.load(self.path / LIVE, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        shapes = probs.ndim == 3 and visited.shape == probs.shape[:1]
        return (probs, visited) if shapes and probs.dtype == np.float16 and visited.dtype == np.int32 else None


def output_file(step: int) -> str:
    """Name of the frame of a step."""
    return f"step-{step:08d}.npy"


def output_steps(path: Path) -> list[int]:
    """Steps of a run's frames on disk, ascending."""
    try:
        names = os.listdir(Path(path) / OUTPUTS)
    except OSError:
        return []
    numbers = [name.removeprefix("step-").removesuffix(".npy") for name in names if name.startswith("step-")]
    return sorted(int(number) for number in numbers if number.isdecimal() and output_file(int(number)) in names)


def read_outputs(path: Path, step: int) -> np.ndarray:
    """One frame: uint8 ``[N, C]``, the mean distribution of every image's two views times 255; zeros before a visit.

    Raises
    ------
    RecordError
        When there is none at that step, or it is damaged.
    """
    try:
        frame = np.load(Path(path) / OUTPUTS / output_file(step), allow_pickle=False)
    except FileNotFoundError:
        steps = output_steps(path)
        have = f"it has {len(steps)} from {steps[0]} to {steps[-1]}" if steps else "it has none"
        raise RecordError(f"run {Path(path).name} has no outputs of step {step}; {have}") from None
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(f"{OUTPUTS}/{output_file(step)} cannot be read: {error}") from error
    if frame.dtype != np.uint8 or frame.ndim != 2:
        raise RecordError(f"{OUTPUTS}/{output_file(step)} holds {frame.shape} {frame.dtype}, not images by classes")
    return frame
