"""Any network that answers about images, by what a person calls it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twist.learn.export import FORMS
from twist.learn.file_model import model_of_export, model_of_file
from twist.learn.image_model import Answers, ClassHead, Model, as_images, make_model
from twist.learn.library_model import model_of_pixels, model_of_timm, model_of_torchvision
from twist.learn.preparing import Choices
from twist.learn.run_model import estimate_norms, model_of_recipe, model_of_run, untrained_model
from twist.runs.config import ConfigError
from twist.runs.fields import as_type
from twist.runs.folders import find_run
from twist.runs.handle import Run

__all__ = [
    "Answers",
    "ClassHead",
    "Model",
    "as_images",
    "estimate_norms",
    "load_model",
    "make_model",
    "model_of_recipe",
]

_OPTIONS = ("step", "teacher", "part", "weights", "image_size", "channels", "mean", "std", "seed", "blocks")
_WEIGHTS = ("cached", "download", "random")
_LIBRARIES = {"timm": model_of_timm, "torchvision": model_of_torchvision}
_FILES = (".pth", ".pt", ".ckpt", ".tar", ".bin", ".safetensors", ".pkl", ".npz")


def load_model(
    spec: str | os.PathLike[str] | Run,
    *,
    checkpoint_step: int | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    seed: int | None = None,
    blocks: int | None = None,
) -> Model:
    """A network by what a person calls it, with its preprocessing, on the CPU, in evaluation mode.

    Parameters
    ----------
    spec
        What is asked for:

        - a run by name, path or handle: ``mine``, ``mine@340`` at that step, ``teacher:mine``;
        - ``random:mine``, the same network untrained;
        - a checkpoint file (.pth, .ckpt, .safetensors, …) of the authors, of Lightning, solo-learn, lightly, DINO,
          MoCo and others who train ResNets and vision transformers, or the folder of an export;
        - ``timm:NAME``, ``torchvision:NAME``: with weights from this machine's caches, ``?weights=download`` fetches
          them, ``?weights=random`` draws them, ``?weights=FILE`` takes a file's;
        - ``pixels``.

        Options may follow behind a question mark, the parameters below by their names and ``part`` of a file:
        ``timm:resnet18?weights=random&seed=3``, ``dino.pth?part=student&blocks=4``.
    checkpoint_step
        Step of a run's checkpoint; none means the newest sound one.
    image_size
        Side of the views in pixels, where the model leaves that open; a run's is its recipe's.
    channels
        Channels that the network shall take, where that is open. Images of the other kind are always taken: gray ones
        thrice, color ones as gray.
    mean, std
        Subtracted and divided by (white is 1), where they are not a run's: one number, or one per channel.
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
        spec = spec.path
    text, options = _read_options(os.fspath(spec))
    given = {"image_size": image_size, "channels": channels, "mean": mean, "std": std, "seed": seed, "blocks": blocks}
    options |= {key: value for key, value in {**given, "step": checkpoint_step}.items() if value is not None}
    choices = Choices(**{key: options.pop(key) for key in given if key in options})
    place, _, name = text.partition(":")
    if text == "pixels":
        _refuse(text, options)
        return model_of_pixels(choices)
    if place in _LIBRARIES:
        weights = options.pop("weights", "cached")
        _refuse(text, options)
        return _LIBRARIES[place](name, choices, weights=weights if weights in _WEIGHTS else _file(weights))
    if place == "random":
        _refuse(text, options)
        return untrained_model(find_run(name), seed=choices.seed, blocks=choices.blocks)
    if _is_export(Path(text).expanduser()):
        _refuse(text, options)
        return model_of_export(Path(text).expanduser(), choices)
    if (file := _weights_file(text)) is not None:
        part = options.pop("part", None)
        _refuse(text, options)
        return model_of_file(file, choices, part=part)
    teacher = place == "teacher"
    path, step = _run(name if teacher else text)
    step = options.pop("step", step)
    teacher = options.pop("teacher", False) or teacher
    _refuse(text, options)
    return model_of_run(path, step, teacher=teacher, blocks=choices.blocks)


def _run(text: str) -> tuple[Path, int | None]:
    """A run's folder and the step that stands behind its name."""
    path = Path(text).expanduser()
    if path.parent.name == "checkpoints" and (path.parent.parent / "run.json").is_file():
        return path.parent.parent, _whole("step", path.name.removeprefix("step-"))
    name, at, number = text.rpartition("@")
    try:
        return find_run(name if at else text), _whole("step", number) if at else None
    except ConfigError as error:
        raise ConfigError(
            f"{error}; a model may also be random:RUN, timm:NAME, torchvision:NAME, pixels, or a checkpoint file"
        ) from None


def _is_export(path: Path) -> bool:
    return any((path / name).is_file() for name in FORMS.values()) and not (path / "run.json").exists()


def _weights_file(text: str) -> Path | None:
    """The file that a text names; None when it names something else."""
    path = Path(text).expanduser()
    if path.is_dir():
        return None
    return _file(text) if path.is_file() or path.suffix.lower() in _FILES else None


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no file {text!r}: give a checkpoint, .pth, .pt, .ckpt or .safetensors")
    if path.suffix.lower() == ".npz":
        raise ConfigError(f"{text!r} holds arrays, no network: features are evaluated by `twist evaluate {path.name}`")
    return path


def _refuse(text: str, options: dict[str, Any]) -> None:
    if options:
        raise ConfigError(f"{', '.join(options)} means nothing for {text!r}: leave it out")


def _read_options(text: str) -> tuple[str, dict[str, Any]]:
    """What stands before a question mark, and the options behind it."""
    if Path(text).exists():
        return text, {}
    text, _, tail = text.partition("?")
    options: dict[str, Any] = {}
    for pair in filter(None, tail.split("&")):
        key, equals, value = pair.partition("=")
        if key not in _OPTIONS or not equals:
            raise ConfigError(f"{pair!r} behind {text!r} is no option: known are {', '.join(_OPTIONS)}, as NAME=VALUE")
        options[key] = _option(key, value)
    return text, options


def _option(key: str, value: str) -> Any:
    if key in ("part", "weights"):
        return value
    if key in ("mean", "std", "teacher"):
        try:
            return as_type(value, bool if key == "teacher" else tuple[float, ...])
        except (KeyError, ValueError, TypeError):
            raise ConfigError(
                f"{key} is {value!r}: give {'true or false' if key == 'teacher' else 'numbers'}"
            ) from None
    return _whole(key, value)


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise ConfigError(f"{name} is {text!r}: give a whole number")
    return int(text)
