"""The recipe: everything that decides what a run does, to the last number; read from text, dictionaries and JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twist.runs.fields import ConfigError, as_type, field, nearest, require, spell
from twist.runs.groups import (
    OWN_CODE,
    DataConfig,
    NetworkConfig,
    ObjectiveConfig,
    OptimConfig,
    SelfLabelConfig,
    TeacherConfig,
    ViewsConfig,
)
from twist.runs.running import ComputeConfig, RecordConfig

__all__ = ["OWN_CODE", "ConfigError", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A full configuration: what one run does, to the last number."""

    name: str = field("custom", "Short name of the recipe, part of the names of its runs.")
    data: DataConfig = DataConfig()
    views: ViewsConfig = ViewsConfig()
    network: NetworkConfig = NetworkConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    teacher: TeacherConfig = TeacherConfig()
    self_label: SelfLabelConfig = SelfLabelConfig()
    compute: ComputeConfig = ComputeConfig()
    record: RecordConfig = RecordConfig()
    seed: int = field(0, "Seed of weights, order and views; another seed is another run of the same recipe.")
    device: str = field("auto", "Where to compute: auto, cpu, cuda, cuda:N or mps; auto takes a GPU when there is one.")

    def __post_init__(self):
        require(
            re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", self.device) is not None,
            "device",
            self.device,
            "give auto, cpu, cuda, cuda:N or mps",
        )
        require(
            not (self.teacher.enabled and self.network.num_heads > 1),
            "network.num_heads",
            self.network.num_heads,
            "give 1 with teacher.enabled: a teacher speaks with one head",
        )
        own_temperature = self.objective.consistency_temperature
        require(
            not self.teacher.enabled or own_temperature in (None, self.objective.temperature),
            "objective.consistency_temperature",
            own_temperature,
            "give none with teacher.enabled: against a teacher all logits have one temperature",
        )
        if self.network.backbone.startswith("vit_"):
            start = self.views.start_size
            require(start is None, "views.start_size", start, "give none: a vision transformer has one grid of patches")
            sides = {"views.size": self.views.size}
            if self.views.num_local_views:
                sides["views.local_size"] = self.views.local_size
            for name, side in sides.items():
                patch = self.network.patch_size
                require(side % patch == 0, name, side, f"give a multiple of network.patch_size, {patch}")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"give a whole number from 0 to {2**31 - 1}")

    @property
    def total_epochs(self) -> int:
        """Epochs of both stages."""
        return self.optim.epochs + self.self_label.epochs

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
    return list(_fields())


def field_help(name: str) -> str:
    """The sentence that explains a field (dotted name)."""
    fields = _fields()
    if name not in fields:
        raise ConfigError(f"unknown field {name!r}{nearest(name, fields)}")
    return fields[name].metadata["help"]


_hints = functools.cache(typing.get_type_hints)  # which compiles every annotation anew


@functools.cache
def _fields() -> dict[str, dataclasses.Field]:
    return dict(_walk(Recipe))


def _walk(cls: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    hints = _hints(cls)
    for declared in dataclasses.fields(cls):
        kind = hints[declared.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _walk(kind, f"{prefix}{declared.name}.")
        else:
            yield f"{prefix}{declared.name}", declared


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
    known = _fields()
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
    owner = _hints(Recipe)[group] if group else Recipe
    kind = _hints(owner)[leaf]
    try:
        return as_type(value, kind)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {value!r}: expected {spell(kind)} ({field_help(name)})") from None


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
