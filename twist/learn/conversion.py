"""Weights of the authors' checkpoints, and of our exports, into our network; and the network that weights are of."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from twist.learn.foreign import PARTS, ForeignCheckpoint, read_foreign
from twist.learn.networks import TwistNet
from twist.runs.config import ConfigError, NetworkConfig
from twist.runs.fields import require_one_of
from twist.runs.groups import BACKBONES

_MOST_LISTED = 20
# Those that others have too, and so can be told by their tensors; the two of our own, *_conv, cannot.
_NAMED_BACKBONES = tuple(name for name in BACKBONES if not name.endswith("_conv"))
_HEAD = "projection_heads."
_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 24, 36, 3)): "resnet200",
}
_RESNET_NAME = re.compile(
    r"(layer\d\.\d+\.(downsample\.[01]|(conv|bn)\d)|conv1|bn1)\.(weight|bias|running_\w+|num_\w+)"
)
_VIT_NAME = re.compile(
    r"cls_token|pos_embed|(patch_embed\.proj|norm|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12]))\.(weight|bias)"
)
_VITS = {192: "vit_t", 384: "vit_s", 768: "vit_b"}
_HEAD_NORMS = {"bn": "batch", "ln": "layer", "none": "none"}
_FINAL_NORMS = {"bn": "batch", "syncbn": "sync", "identity": "none"}
#: What the authors' arguments say of how weights came to be.
_TOLD = (
    *("arch", "backbone", "patch_size", "dim", "hid_dim", "proj_norm", "act", "lbn_type"),
    *("tau", "lam1", "lam2", "aug", "local_crops_number", "use_momentum_encoder"),
    *("optim", "lr", "batch_size", "bunch_size", "epochs", "mme_epochs"),
)


@dataclass(frozen=True)
class ImportReport:
    """What an import filled, and from where.

    Attributes
    ----------
    path, part
        The file and its part: model, backbone, teacher or teacher_backbone; of others' files where the backbone was.
    head
        Whether the head was filled besides the backbone.
    num_tensors, num_numbers
        Tensors, and the numbers in them.
    arguments
        What the authors' arguments say of how the weights came to be.
    epoch
        Epoch they were saved after, or None.
    unread
        What else was in the file.
    """

    path: Path
    part: str
    head: bool
    num_tensors: int
    num_numbers: int
    arguments: dict[str, Any]
    epoch: int | None
    unread: tuple[str, ...]

    def __str__(self) -> str:
        filled = "backbone and head" if self.head else "backbone"
        text = f"{filled} from {self.part!r} of {self.path}: {self.num_tensors} tensors, {self.num_numbers:,} numbers"
        if self.epoch is not None:
            text += f", epoch {self.epoch}"
        if self.arguments:
            text += "; made with " + ", ".join(f"{name} {value!r}" for name, value in self.arguments.items())
        if self.unread:
            text += f"; not read: {listed(self.unread)}"
        return text


def import_weights(
    network: TwistNet, source: str | os.PathLike[str] | ForeignCheckpoint, *, part: str = "auto"
) -> ImportReport:
    """Fill the network, or its backbone alone when the file has no more; nothing is changed when anything differs.

    Parameters
    ----------
    network
        Of the make of the weights, as `network_config_of` tells it.
    source
        A file that `twist.learn.foreign.read_foreign` reads, or what it returned.
    part
        model, backbone, teacher or teacher_backbone; a backbone is also taken out of its whole network. ``auto`` takes
        the first that the file has, in this order.

    Raises
    ------
    ConfigError
        When the file cannot be read or has no such part; when names are missing or unexpected, shapes differ, or
        weights are not finite: all of it in one message.
    """
    checkpoint = source if isinstance(source, ForeignCheckpoint) else read_foreign(source)
    part, tensors = _choose(checkpoint, part)
    head = not part.endswith("backbone")
    module = network if head else network.backbone
    if problems := _differences(tensors, module.state_dict()):
        if checkpoint.beside:
            problems.append(f"taken for no part of it was {listed(checkpoint.beside)}")
        raise ConfigError(
            f"{part!r} of {str(checkpoint.path)!r} does not fit the network: {'; '.join(problems)}; "
            "nothing was changed: build the network that the weights were made with"
        )
    module.load_state_dict(tensors)
    return ImportReport(
        path=checkpoint.path,
        part=checkpoint.where if "/" in checkpoint.where else part,  # a bare state dict has no parts
        head=head,
        num_tensors=len(tensors),
        num_numbers=sum(tensor.numel() for tensor in tensors.values()),
        arguments={name: checkpoint.arguments[name] for name in _TOLD if name in checkpoint.arguments},
        epoch=checkpoint.epoch,
        unread=checkpoint.unread,
    )


def _choose(checkpoint: ForeignCheckpoint, part: str) -> tuple[str, dict[str, Tensor]]:
    """The part that is meant, and its tensors."""
    require_one_of("part", part, ("auto", *PARTS))
    if part == "auto":
        part = next((name for name in PARTS if name in checkpoint.tensors), "model")
    if part in checkpoint.tensors:
        return part, checkpoint.tensors[part]
    whole = {"backbone": "model", "teacher_backbone": "teacher"}.get(part, "")
    if whole in checkpoint.tensors:
        return part, _backbone(whole, checkpoint.tensors[whole])
    has = ", ".join(checkpoint.tensors) or "none"
    raise ConfigError(f"{str(checkpoint.path)!r} has no part {part!r}: it has {has}")


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    both = [name for name in wanted if name in given]
    shapes = [
        f"{name} is {tuple(given[name].shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name in both
        if given[name].shape != wanted[name].shape
    ]
    kinds = [name for name in both if given[name].is_floating_point() != wanted[name].is_floating_point()]
    found = {
        "missing from the file": [name for name in wanted if name not in given],
        "unknown to the network": [name for name in given if name not in wanted],
        "of another shape": shapes,
        "of another kind of number": kinds,
        "not finite": [name for name in both if not given[name].isfinite().all()],
    }
    return [f"{len(names)} {reason} ({listed(names)})" for reason, names in found.items() if names]


def listed(names: Iterable[str]) -> str:
    """The first names of a list and how many there are more."""
    names = list(names)
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def image_size_of(checkpoint: ForeignCheckpoint) -> int | None:
    """Side in pixels of the views on whose patches a vision transformer learned its positions; None for others."""
    return image_side(_backbone(*_choose(checkpoint, "auto")))


def in_channels_of(checkpoint: ForeignCheckpoint) -> int:
    """Channels of the images that a checkpoint's backbone takes."""
    return image_channels(_backbone(*_choose(checkpoint, "auto")))


def image_side(backbone: Mapping[str, Tensor]) -> int | None:
    """What `image_size_of` tells, of a backbone's tensors."""
    positions, patches = backbone.get("pos_embed"), backbone.get("patch_embed.proj.weight")
    if positions is None or patches is None or positions.ndim != 3:
        return None
    return math.isqrt(positions.shape[1] - 1) * patches.shape[-1]  # one position is the class token's


def image_channels(backbone: Mapping[str, Tensor]) -> int:
    """What `in_channels_of` tells, of a backbone's tensors; 3 when its first layer is not known."""
    firsts = ("conv1.weight", "patch_embed.proj.weight", "first.weight", "blocks.0.0.weight")
    return next((backbone[name].shape[1] for name in firsts if name in backbone and backbone[name].ndim == 4), 3)


def _backbone(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone out of a part that is one, or has one."""
    prefix = "" if part.endswith("backbone") else "backbone."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def network_config_of(checkpoint: ForeignCheckpoint) -> NetworkConfig:
    """The network that a checkpoint's weights are of, from their shapes and the authors' arguments.

    Shapes tell the backbone, the widths of the head and its norms; only the arguments tell the activation (relu, the
    authors' default, when they do not) and whether the final norm saw all processes. With a backbone alone and no
    arguments, the head is our default.

    Raises
    ------
    ConfigError
        When the tensors are of no backbone that can be built, or the arguments say otherwise than the shapes.
    """
    part, tensors = _choose(checkpoint, "auto")
    arguments, where = checkpoint.arguments, str(checkpoint.path)
    fields = backbone_fields(_backbone(part, tensors))
    if fields is None and arguments.get("backbone") in _NAMED_BACKBONES:
        # Tensors are missing or strange: the network that they should fill can say which.
        fields = {"backbone": arguments["backbone"], "stem": "standard"}
    if fields is None:
        fields = _nearest_resnet(_backbone(part, tensors))
    if fields is None:
        raise ConfigError(
            f"{where!r}: these are the weights of none of {', '.join(_NAMED_BACKBONES)}; another network's "
            "file is read as 'timm:NAME?weights=FILE' or 'torchvision:NAME?weights=FILE'"
        )
    head = {name.removeprefix(_HEAD): t for name, t in tensors.items() if name.startswith(_HEAD)}
    if head:
        fields |= _head_fields(head, where)
    said = {
        "backbone": arguments.get("backbone"),
        "patch_size": _whole("patch_size", arguments, where) if "patch_size" in fields else None,
        "hidden_dim": _whole("hid_dim", arguments, where),
        "num_classes": _whole("dim", arguments, where),
        "head_norm": _translated("proj_norm", _HEAD_NORMS, arguments, where),
        "final_norm": _translated("lbn_type", _FINAL_NORMS, arguments, where),
        "activation": _translated("act", {"relu": "relu", "gelu": "gelu"}, arguments, where),
    }
    for name, value in said.items():
        seen = fields.setdefault(name, value)
        if value is not None and value != seen and (seen, value) != ("batch", "sync"):
            raise ConfigError(f"{where!r} contradicts itself: its arguments say {name} {value!r}, its tensors {seen!r}")
        if value is not None:
            fields[name] = value
    return NetworkConfig(**{name: value for name, value in fields.items() if value is not None})


def _whole(name: str, arguments: Mapping[str, Any], where: str) -> int | None:
    value = arguments.get(name)
    if value is not None and type(value) is not int:
        raise ConfigError(f"{where!r}: its argument {name} is {value!r}, not a whole number")
    return value


def _translated(name: str, words: Mapping[str, str], arguments: Mapping[str, Any], where: str) -> str | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or value not in words:
        raise ConfigError(f"{where!r}: its argument {name} is {value!r}, known are {', '.join(words)}")
    return words[value]


def _head_fields(head: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    try:
        return {
            "hidden_dim": len(head["projection_head.0.weight"]),
            "num_classes": len(head["last_linear.weight"]),
            "head_norm": _norm_of(head, "projection_head.1."),
            "final_norm": _norm_of(head, "norm."),
        }
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{where!r}: its head has no {error}") from None


def _norm_of(head: Mapping[str, Tensor], prefix: str) -> str:
    if f"{prefix}running_var" in head:
        return "batch"
    return "layer" if f"{prefix}weight" in head else "none"


def backbone_fields(backbone: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The fields of `NetworkConfig` that tell a backbone of ours by its tensors; None for another."""
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.items()}
    stem, patches = shapes.get("conv1.weight", ()), shapes.get("patch_embed.proj.weight", ())
    fields: dict[str, Any] = {}
    if len(stem) == 4 and stem[-1] in (3, 7) and all(map(_RESNET_NAME.fullmatch, shapes)):
        bottleneck = "layer1.0.conv3.weight" in shapes
        depths = tuple(_count(shapes, rf"layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4))
        name, width = _RESNETS.get((bottleneck, depths), ""), stem[0] // 64
        plain = shapes.get("layer1.0.conv1.weight", ())[:1] == (64 * width,)
        fields["backbone"] = (name if width == 1 else f"{name}w{width}") if plain else ""
        fields["stem"] = "standard" if stem[-1] == 7 else "tiny"
    elif len(patches) == 4 and all(map(_VIT_NAME.fullmatch, shapes)):
        of_depth = _count(shapes, r"blocks\.(\d+)\.attn\.qkv\.weight") == 12
        fields["backbone"] = _VITS.get(patches[0], "") if of_depth else ""
        fields["patch_size"] = patches[-1]
    return fields if fields.get("backbone") in BACKBONES else None


def _nearest_resnet(backbone: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """A ResNet by its blocks alone, where other tensors are missing or too many: filling it will list them."""
    blocks = {name: tensor for name, tensor in backbone.items() if re.match(r"layer[1-4]\.\d+\.", name)}
    depths = tuple(_count(blocks, rf"layer{stage}\.(\d+)\..*") for stage in (1, 2, 3, 4))
    name = _RESNETS.get(("layer1.0.conv3.weight" in blocks, depths))
    first = blocks.get("layer1.0.conv1.weight")
    if name is None or first is None:
        return None
    width, stem = len(first) // 64, backbone.get("conv1.weight")
    name = name if width == 1 else f"{name}w{width}"
    tiny = stem is not None and stem.ndim == 4 and stem.shape[-1] == 3
    return {"backbone": name, "stem": "tiny" if tiny else "standard"} if name in BACKBONES else None


def _count(names: Iterable[str], pattern: str) -> int:
    return len({found[1] for name in names if (found := re.fullmatch(pattern, name))})
