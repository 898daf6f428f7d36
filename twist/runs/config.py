"""The recipe: everything that decides what a run does, as frozen dataclasses.

Every field carries one sentence: what it means, its unit, and when to change it. The same sentence serves the
documentation, ``twist fields`` and the tooltips of the widgets.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


class ConfigError(ValueError):
    """A mistake in what a person asked for: the message names the thing, the value and the fix."""


def _field(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


def _require(condition: bool, name: str, value: Any, fix: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}: {fix}")


def _require_range(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    _require(
        len(pair) == 2 and low <= pair[0] <= pair[1] <= high,
        name,
        pair,
        f"give two numbers, smallest first, both between {low:g} and {high:g}",
    )


def _require_share(name: str, value: float) -> None:
    _require(0 <= value <= 1, name, value, "give a probability between 0 and 1")


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}: give one of {', '.join(allowed)}{nearest(value, allowed)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A closing ``"; did you mean …?"`` for an unknown word, or nothing when no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images are learned from."""

    source: str = _field(
        "digits",
        "Where the images come from: digits, cifar10, fashion_mnist, a folder of images, or an .npz file.",
    )
    root: str | None = _field(
        None,
        "Folder that holds the named sets; none means TWIST_DATA, else the nearest data/images upward.",
    )
    split: str = _field("train", "Part of a named set or folder to learn from: train, test or all.")
    download: bool = _field(False, "Whether torchvision may fetch a named set that is missing from the root.")
    image_size: int | None = _field(
        None,
        "Side in pixels to which the images of a folder are resized and center-cropped; none keeps a common size.",
    )
    max_images: int | None = _field(None, "Largest number of images used, the first ones; none means all.")

    def __post_init__(self):
        _require(bool(self.source), "data.source", self.source, "name a set, a folder or an .npz file")
        _require_one_of("data.split", self.split, ("train", "test", "all"))
        _require(self.image_size is None or self.image_size >= 4, "data.image_size", self.image_size, "give 4 or more")
        _require(self.max_images is None or self.max_images >= 1, "data.max_images", self.max_images, "give 1 or more")


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How an image is augmented; every sample and view draws its own parameters."""

    size: int = _field(32, "Side of a view in pixels; larger shows more detail and costs time quadratically.")
    crop_scale: tuple[float, float] = _field(
        (0.2, 1.0),
        "Range of the share of the image's area that a random crop keeps; (1, 1) switches cropping off.",
    )
    crop_ratio: tuple[float, float] = _field(
        (0.75, 4 / 3), "Range of a crop's width divided by its height, before it is resized to a square."
    )
    flip_probability: float = _field(0.5, "Probability of a left-right flip; 0 for digits and text.")
    rotation_degrees: float = _field(0.0, "Largest rotation in degrees, drawn uniformly to both sides.")
    shift: float = _field(0.0, "Largest shift as a share of the side, drawn uniformly per axis to both sides.")
    zoom: tuple[float, float] = _field((1.0, 1.0), "Range of the magnification; above 1 enlarges the content.")
    shear_degrees: float = _field(0.0, "Largest horizontal shear in degrees, drawn uniformly to both sides.")
    stretch: float = _field(
        0.0, "Strength of a random stretch: content grows by up to 1 + s along one axis and shrinks along the other."
    )
    jitter_probability: float = _field(0.8, "Probability that brightness, contrast, saturation and hue are jittered.")
    brightness: float = _field(0.4, "Strength of brightness jitter: the factor is drawn from 1 - b to 1 + b.")
    contrast: float = _field(0.4, "Strength of contrast jitter: the factor is drawn from 1 - c to 1 + c.")
    saturation: float = _field(0.2, "Strength of saturation jitter: the factor is drawn from 1 - s to 1 + s.")
    hue: float = _field(0.1, "Largest hue turn as a share of the color circle, at most 0.5.")
    gray_probability: float = _field(0.2, "Probability that a color view becomes gray.")
    blur_probability: tuple[float, float] = _field(
        (0.0, 0.0), "Probability of a Gaussian blur, for the first and the second view."
    )
    blur_sigma: tuple[float, float] = _field((0.1, 2.0), "Range of the blur's standard deviation in pixels.")
    solarize_probability: tuple[float, float] = _field(
        (0.0, 0.2), "Probability that pixels above half brightness are inverted, for the first and the second view."
    )
    noise: float = _field(0.0, "Standard deviation of Gaussian pixel noise, on the scale where white is 1.")
    mean: tuple[float, ...] = _field(
        (0.5,), "Mean subtracted from the pixels (white is 1): one number, or one per channel."
    )
    std: tuple[float, ...] = _field((0.25,), "Divisor of the pixels after the mean: one number, or one per channel.")

    def __post_init__(self):
        _require(self.size >= 4, "views.size", self.size, "give 4 pixels or more")
        _require_range("views.crop_scale", self.crop_scale, 1e-4, 1.0)
        _require_range("views.crop_ratio", self.crop_ratio, 0.05, 20.0)
        _require_range("views.zoom", self.zoom, 0.1, 10.0)
        _require_range("views.blur_sigma", self.blur_sigma, 1e-3, 100.0)
        _require(0 <= self.rotation_degrees <= 180, "views.rotation_degrees", self.rotation_degrees, "give 0 to 180")
        _require(0 <= self.shift <= 1, "views.shift", self.shift, "give a share of the side, 0 to 1")
        _require(0 <= self.shear_degrees < 80, "views.shear_degrees", self.shear_degrees, "give 0 to 80")
        _require(0 <= self.hue <= 0.5, "views.hue", self.hue, "give 0 to 0.5")
        _require(0 <= self.noise <= 1, "views.noise", self.noise, "give 0 to 1")
        for name in ("stretch", "brightness", "contrast", "saturation", "jitter_probability", "gray_probability"):
            _require_share(f"views.{name}", getattr(self, name))
        _require_share("views.flip_probability", self.flip_probability)
        for name in ("blur_probability", "solarize_probability"):
            _require(
                len(getattr(self, name)) == 2, f"views.{name}", getattr(self, name), "give one number per view: two"
            )
            for value in getattr(self, name):
                _require_share(f"views.{name}", value)
        for name in ("mean", "std"):
            _require(
                len(getattr(self, name)) in (1, 3), f"views.{name}", getattr(self, name), "give one number or three"
            )
        _require(min(self.std) > 0, "views.std", self.std, "give numbers above 0")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Backbone and head: images -> features -> logits."""

    backbone: str = _field("small_conv", "The network that makes features: small_conv, resnet18, resnet34 or resnet50.")
    stem: str = _field(
        "tiny", "First layers of a ResNet: tiny (3x3, no pooling) up to about 64 pixels, standard above."
    )
    widths: tuple[int, ...] = _field(
        (32, 64, 128), "Channels of the convolution blocks of small_conv; between two blocks the side is halved."
    )
    pool_side: int = _field(
        1, "Side of the grid to which small_conv averages its last maps: 1 forgets where things are, 4 keeps a layout."
    )
    hidden_dim: int = _field(512, "Width of the two hidden layers of the head; 4096 in the paper.")
    num_classes: int = _field(
        10, "Number of learned classes C; sharpness has a floor below about 50, diversity a cap at log N."
    )
    num_heads: int = _field(
        1, "Heads trained side by side, the one of least loss speaks; 4 escapes poor optima when classes are few."
    )
    head_norm: str = _field("batch", "Norm inside the head: batch, layer or none.")
    activation: str = _field("relu", "Nonlinearity inside the head: relu or gelu.")
    dropout: float = _field(0.0, "Dropout probability after the head's first layer.")
    final_norm: str = _field(
        "batch",
        "Norm before the softmax, without learned scale: batch, sync (over all processes) or none (expect collapse).",
    )

    def __post_init__(self):
        _require_one_of("network.backbone", self.backbone, ("small_conv", "resnet18", "resnet34", "resnet50"))
        _require_one_of("network.stem", self.stem, ("tiny", "standard"))
        _require_one_of("network.head_norm", self.head_norm, ("batch", "layer", "none"))
        _require_one_of("network.activation", self.activation, ("relu", "gelu"))
        _require_one_of("network.final_norm", self.final_norm, ("batch", "sync", "none"))
        _require(
            len(self.widths) >= 1 and min(self.widths) >= 1,
            "network.widths",
            self.widths,
            "give positive channel counts",
        )
        _require(1 <= self.pool_side <= 16, "network.pool_side", self.pool_side, "give 1 to 16")
        _require(1 <= self.num_heads <= 64, "network.num_heads", self.num_heads, "give 1 to 64")
        _require(self.hidden_dim >= 1, "network.hidden_dim", self.hidden_dim, "give 1 or more")
        _require(
            self.num_classes >= 2,
            "network.num_classes",
            self.num_classes,
            "give 2 or more; with fewer classes every image has the same distribution and nothing can be learned",
        )
        _require(0 <= self.dropout < 1, "network.dropout", self.dropout, "give 0 or more, below 1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The TWIST loss: consistency + sharpness - diversity, each with its weight."""

    temperature: float = _field(1.0, "Divisor of the logits; below 1 sharpens, which small numbers of classes need.")
    consistency_temperature: float | None = _field(
        None, "Divisor of the logits in the consistency term alone; none means the temperature, 1 is the authors'."
    )
    consistency_weight: float = _field(1.0, "Weight of the divergence between the views; too large slides to uniform.")
    sharpness_weight: float = _field(1.0, "Weight of the mean sample entropy; 0 ends in the uniform collapse.")
    diversity_weight: float = _field(
        1.0, "Weight of the entropy of the mean distribution; 0 invites one-class collapse."
    )
    eps: float = _field(1e-5, "Added inside the logarithms: 1e-5 is the authors', 0 is exact.")

    def __post_init__(self):
        _require(self.temperature > 0, "objective.temperature", self.temperature, "give a number above 0")
        _require(
            self.consistency_temperature is None or self.consistency_temperature > 0,
            "objective.consistency_temperature",
            self.consistency_temperature,
            "give a number above 0, or none for the temperature",
        )
        _require(0 <= self.eps < 0.1, "objective.eps", self.eps, "give 0 or a small positive number such as 1e-5")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights are moved, and for how long."""

    optimizer: str = _field("adamw", "Update rule: adamw, or sgd with momentum.")
    epochs: int = _field(100, "Passes over the images.")
    batch_size: int = _field(
        256, "Images per step, N; the mean distribution is a batch quantity, so log N caps the mutual information."
    )
    learning_rate: float = _field(2e-3, "Peak learning rate, after the warm-up.")
    warmup_epochs: float = _field(
        5.0, "Epochs of linear rise from 0 to the peak learning rate; never more than a quarter of the run."
    )
    final_learning_rate: float = _field(0.001, "Learning rate at the end as a share of the peak; a cosine leads there.")
    weight_decay: float = _field(1e-4, "Pull of weights toward zero; biases and norm parameters are spared.")
    momentum: float = _field(0.9, "Momentum of sgd; unused by adamw.")
    betas: tuple[float, float] = _field((0.9, 0.999), "Averaging constants of adamw; unused by sgd.")
    clip_norm: float | None = _field(None, "Largest allowed gradient norm; none leaves gradients alone.")

    def __post_init__(self):
        _require_one_of("optim.optimizer", self.optimizer, ("adamw", "sgd"))
        _require(self.epochs >= 1, "optim.epochs", self.epochs, "give 1 or more")
        _require(
            self.batch_size >= 2,
            "optim.batch_size",
            self.batch_size,
            "give 2 or more: batch norm and the mean distribution mean nothing on a single image",
        )
        _require(self.learning_rate >= 0, "optim.learning_rate", self.learning_rate, "give 0 or more")
        _require(self.warmup_epochs >= 0, "optim.warmup_epochs", self.warmup_epochs, "give 0 or more")
        _require_share("optim.final_learning_rate", self.final_learning_rate)
        _require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "give 0 or more")
        _require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "give 0 or more, below 1")
        _require_range("optim.betas", (min(self.betas), max(self.betas)), 0.0, 1.0)
        _require(max(self.betas) < 1, "optim.betas", self.betas, "give two numbers below 1")
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            "optim.clip_norm",
            self.clip_norm,
            "give a number above 0, or none",
        )


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What is written down while the run goes on, and how often."""

    log_every_steps: int = _field(1, "Steps between two lines of loss terms in the event log.")
    diagnose_every_steps: int = _field(10, "Steps between two sets of collapse numbers of the augmented batch.")
    snapshot_every_epochs: float = _field(5.0, "Epochs between two snapshots of the watch images.")
    checkpoint_every_epochs: float = _field(
        10.0, "Epochs between two checkpoints; at most this much is lost by a kill."
    )
    watch_images: int = _field(10_000, "Largest number of fixed images whose entropy and class are followed.")
    keep_checkpoints: int = _field(2, "Newest checkpoints kept on disk, at least 1.")

    def __post_init__(self):
        for name in ("log_every_steps", "diagnose_every_steps", "watch_images", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, f"record.{name}", getattr(self, name), "give 1 or more")
        for name in ("snapshot_every_epochs", "checkpoint_every_epochs"):
            _require(getattr(self, name) > 0, f"record.{name}", getattr(self, name), "give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A full configuration: what one run does, to the last number."""

    name: str = _field("custom", "Short name of the recipe, part of the names of its runs.")
    data: DataConfig = DataConfig()
    views: ViewsConfig = ViewsConfig()
    network: NetworkConfig = NetworkConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    record: RecordConfig = RecordConfig()
    seed: int = _field(0, "Seed of weights, order and views; another seed is another run of the same recipe.")
    device: str = _field(
        "auto", "Where to compute: auto, cpu, cuda, cuda:N or mps; auto takes a GPU when there is one."
    )

    def __post_init__(self):
        _require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", self.device) is not None,
            "device",
            self.device,
            "give auto, cpu, cuda, cuda:N or mps",
        )
        _require(0 <= self.seed < 2**31, "seed", self.seed, f"give a whole number from 0 to {2**31 - 1}")

    def replace(self, **changes: Any) -> Recipe:
        """The same recipe with fields changed, dotted names written with two underscores.

        Examples
        --------
        >>> Recipe().replace(optim__epochs=5, seed=3).optim.epochs
        5
        """
        return with_fields(self, {name.replace("__", "."): value for name, value in changes.items()})


def field_names() -> list[str]:
    """Dotted names of every field of a recipe, in reading order."""
    return [name for name, _ in _walk(Recipe)]


def field_help(name: str) -> str:
    """The sentence that explains a field (dotted name)."""
    fields = dict(_walk(Recipe))
    if name not in fields:
        raise ConfigError(f"unknown field {name!r}{nearest(name, fields)}")
    return fields[name].metadata["help"]


def _walk(cls: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _walk(kind, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def field_value(recipe: Recipe, name: str) -> Any:
    """Value of a field by its dotted name."""
    return functools.reduce(getattr, name.split("."), recipe)


def with_fields(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with dotted fields replaced; text values are read as the field's type.

    Raises
    ------
    ConfigError
        For an unknown field (names the nearest valid one) or a value that the field cannot hold.

    Examples
    --------
    >>> with_fields(Recipe(), {"optim.epochs": "5", "views.zoom": "0.9,1.1"}).views.zoom
    (0.9, 1.1)
    """
    known = field_names()
    tree: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(f"unknown field {name!r}{nearest(name, known)}; `twist fields` lists all")
        group, _, leaf = name.rpartition(".")
        tree.setdefault(group, {})[leaf] = _read_value(name, value)
    top = tree.pop("", {})
    for group, values in tree.items():
        top[group] = dataclasses.replace(getattr(recipe, group), **values)
    return dataclasses.replace(recipe, **top)


def _read_value(name: str, value: Any) -> Any:
    group, _, leaf = name.rpartition(".")
    owner = typing.get_type_hints(Recipe)[group] if group else Recipe
    kind = typing.get_type_hints(owner)[leaf]
    try:
        return _as_type(value, kind)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {value!r}: expected {_spell(kind)} ({field_help(name)})") from None


def _as_type(value: Any, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null", "")):
            return None
        return _as_type(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        parts = value.strip("()[] ").split(",") if isinstance(value, str) else list(value)
        parts = [part for part in parts if not (isinstance(part, str) and not part.strip())]
        if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
            raise ValueError(value)
        return tuple(_as_type(part, arguments[0]) for part in parts)
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[_lower(value)]
    if kind is int:
        number = float(value)
        if isinstance(value, bool) or number != int(number):
            raise ValueError(value)
        return int(value) if not isinstance(value, str) else int(number)
    if kind is float:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError(value)
        return float(value)
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _lower(value: Any) -> str:
    text = str(value).lower()
    if text not in ("true", "yes", "1", "false", "no", "0"):
        raise ValueError(value)
    return text


def _spell(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return f"{_spell(next(a for a in arguments if a is not type(None)))} or none"
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"{count}numbers separated by commas"
    return {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}[kind]


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain nested dictionaries, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` described; unknown fields are an error that names them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{leaf}": leaf_value for leaf, leaf_value in value.items()})
        else:
            flat[key] = value
    return with_fields(Recipe(), flat)
