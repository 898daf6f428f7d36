"""Any network that answers about images, by what a person calls it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twist.learn.image_model import Answers, ClassHead, Model, as_images, make_model
from twist.learn.library_model import model_of_pixels, model_of_timm, model_of_torchvision
from twist.learn.run_model import estimate_norms, model_of_run, untrained_model
from twist.runs.config import ConfigError
from twist.runs.folders import find_run
from twist.runs.handle import Run

__all__ = ["Answers", "ClassHead", "Model", "as_images", "estimate_norms", "load_model", "make_model"]

_OPTIONS = ("step", "teacher", "blocks", "seed", "weights", "image_size", "channels")
_WEIGHTS = ("cached", "download", "random")


def load_model(
    spec: str | os.PathLike[str] | Run,
    *,
    checkpoint_step: int | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    seed: int | None = None,
    blocks: int = 1,
) -> Model:
    """A network by what a person calls it, with its preprocessing, on the CPU, in evaluation mode.

    Parameters
    ----------
    spec
        A run by name, path or handle (``mine``, ``mine@340`` at that step, ``teacher:mine``); ``random:mine``, the
        same network untrained; ``timm:NAME``; ``torchvision:NAME``; or ``pixels``. Options may follow behind a
        question mark: ``timm:resnet18?weights=random&seed=3``. Weights of timm and torchvision are taken from this
        machine's caches; ``weights=download`` fetches them, ``weights=random`` draws them.
    checkpoint_step
        Step of a run's checkpoint; none means the newest sound one.
    image_size
        Side of the views in pixels, where the model leaves that open; a run's is its recipe's.
    channels
        Channels that the network shall take, where that is open. Images of the other kind are always taken: gray ones
        thrice, color ones as gray.
    seed
        Of random weights; none means the run's own, 0 for others.
    blocks
        Last blocks of a vision transformer whose class tokens are the features, side by side: 4 in the linear protocol.

    Raises
    ------
    ConfigError
        When there is no such thing: what was looked for, what is near, and how to name it.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((5, 8, 8), np.uint8)
    >>> load_model("pixels").features(images).shape
    torch.Size([5, 64])
    """
    if isinstance(spec, Run):
        spec = str(spec.path)
    text, options = _read_options(os.fspath(spec))
    step = checkpoint_step if checkpoint_step is not None else options.get("step")
    image_size = image_size or options.get("image_size")
    channels = channels or options.get("channels")
    seed = seed if seed is not None else options.get("seed")
    blocks = options.get("blocks", blocks)
    place, _, name = text.partition(":")
    if text == "pixels":
        return model_of_pixels(image_size=image_size, channels=channels)
    if place == "timm":
        return model_of_timm(
            name,
            weights=options.get("weights", "cached"),
            image_size=image_size,
            channels=channels or 3,
            seed=seed or 0,
            blocks=blocks,
        )
    if place == "torchvision":
        return model_of_torchvision(
            name,
            weights=options.get("weights", "cached"),
            image_size=image_size,
            channels=channels or 3,
            seed=seed or 0,
        )
    if place == "random":
        return untrained_model(find_run(name), seed=seed, blocks=blocks)
    teacher = place == "teacher"
    name, at, number = (name if teacher else text).partition("@")
    if at:
        step = _whole("step", number)
    return model_of_run(find_run(name), step, teacher=teacher or options.get("teacher", False), blocks=blocks)


def _read_options(text: str) -> tuple[str, dict[str, Any]]:
    """What stands before a question mark, and the options behind it."""
    if Path(text).exists():
        return text, {}
    text, _, tail = text.partition("?")
    options: dict[str, Any] = {}
    for pair in filter(None, tail.split("&")):
        key, equals, value = pair.partition("=")
        if key == "pretrained":
            key, value = "weights", {"false": "random", "true": "cached"}.get(value.lower(), value)
        if key not in _OPTIONS or not equals:
            raise ConfigError(f"{pair!r} behind {text!r} is no option: known are {', '.join(_OPTIONS)}, as NAME=VALUE")
        if key == "weights":
            if value not in _WEIGHTS:
                raise ConfigError(f"weights is {value!r} behind {text!r}: give {', '.join(_WEIGHTS)}")
            options[key] = value
        elif key == "teacher":
            options[key] = value.lower() in ("true", "1", "yes")
        else:
            options[key] = _whole(key, value)
    return text, options


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise ConfigError(f"{name} is {text!r}: give a whole number")
    return int(text)
