"""Where in others' checkpoints the backbone is, and what its tensors are called here.

Lightning, solo-learn, lightly, DINO, MoCo, SwAV, Barlow Twins, VICReg, SimCLR, BYOL, … keep ResNets and vision
transformers of the same make under other names: behind prefixes, in other parts of the file, as numbered layers,
beside heads that are not needed. The names alone tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Parts = Mapping[str, Mapping[str, Tensor]]

#: First words of what others put on or beside a backbone: never a part of it.
_BESIDE = frozenset(
    (
        *("fc", "head", "heads", "head_dist", "classifier", "linear", "projector", "projection", "projection_head"),
        *(
            "proj_head",
            "predictor",
            "prediction_head",
            "prototypes",
            "prototype",
            "mlp",
            "queue",
            "queue_ptr",
            "l2norm",
        ),
        *("decoder_embed", "decoder_blocks", "decoder_norm", "decoder_pred", "decoder_pos_embed", "mask_token"),
        *("contrast_head", "online_classifier", "loss", "criterion", "rotation_classifier", "fc_norm", "bn"),
    )
)
_RESNET = re.compile(r"(layer[1-4]\.\d+\..+|conv1|bn1)(\.\w+)?")
_VIT = re.compile(r"cls_token|pos_embed|patch_embed\..+|norm\.(weight|bias)|blocks\..+")
_BLOCK = re.compile(r"(?P<prefix>(?:.*?\.)?)(?P<number>\d+)\.0\.conv1\.weight")
#: Words of names and parts that say which of several copies of a network is meant; those of least rank are taken.
_RANKS = {"teacher": -1, "student": 1, "momentum": 2, "target": 2, "encoder_k": 2, "key_encoder": 2, "ema": 2}


class Found(NamedTuple):
    """A backbone in a file.

    Attributes
    ----------
    where
        Part of the file and prefix of the names there: ``state_dict/module.encoder_q.``.
    tensors
        Its tensors by our names.
    left
        Names of what was beside it: heads.
    numbered
        Whether its layers were numbered, as those of a ``torch.nn.Sequential``.
    """

    where: str
    tensors: dict[str, Tensor]
    left: tuple[str, ...]
    numbered: bool


def backbones_in(parts: Parts) -> list[Found]:
    """Every ResNet and vision transformer in the parts of a file, what others evaluate first.

    A momentum copy comes after the network that it follows; DINO's teacher before its student.

    Examples
    --------
    >>> names = ("conv1.weight", "layer1.0.conv1.weight", "fc.0.weight")
    >>> moco = {f"module.encoder_{copy}.{name}": torch.zeros(1, 1, 1, 1) for copy in "kq" for name in names}
    >>> [found.where for found in backbones_in({"state_dict": moco})]
    ['state_dict/module.encoder_q.', 'state_dict/module.encoder_k.']
    """
    found = [_take(part, prefix, tensors) for part, tensors in parts.items() for prefix in _prefixes(tensors)]
    return sorted(found, key=lambda one: (_rank(one.where), -len(one.tensors), one.where))


def _rank(where: str) -> int:
    words = re.split(r"[./]", where)
    return sum(rank for word, rank in _RANKS.items() if any(word in each.split("_") or word == each for each in words))


def _prefixes(names: Iterable[str]) -> list[str]:
    """Prefixes behind which a backbone's names begin."""
    found: dict[str, None] = {}
    for name in names:
        for first in ("layer1.0.conv1.weight", "patch_embed.proj.weight"):
            if name == first or name.endswith(f".{first}"):
                found[name.removesuffix(first)] = None
        if (numbered := _BLOCK.fullmatch(name)) and "layer" not in name:
            found[numbered["prefix"]] = None
    return list(found)


def _take(part: str, prefix: str, tensors: Mapping[str, Tensor]) -> Found:
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    numbers = _numbers(own)
    if numbers:
        own = {_named(name, numbers): tensor for name, tensor in own.items()}
    # The blocks' second path is called so in many networks for small images.
    own = {re.sub(r"^(layer\d\.\d+\.)shortcut\.", r"\1downsample.", name): tensor for name, tensor in own.items()}
    known = _RESNET if "layer1.0.conv1.weight" in own else _VIT
    own = {name: t for name, t in own.items() if known.fullmatch(name) or name.split(".")[0] not in _BESIDE}
    kept = set(map(id, own.values()))
    for name in [name for name in own if name.endswith(".running_var")]:  # files of 2018 do not count their batches
        own.setdefault(name.replace("running_var", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    left = tuple(name for name, tensor in tensors.items() if id(tensor) not in kept)
    return Found(f"{part}/{prefix}" if part else prefix, own, left, bool(numbers))


def _numbers(own: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name of each numbered layer of a ResNet: first convolution, its norm, four stages."""
    stages = sorted({int(match[1]) for name in own if (match := re.fullmatch(r"(\d+)\.0\.conv1\.weight", name))})
    if len(stages) != 4:
        return {}
    before = [(int(match[1]), t) for name, t in own.items() if (match := re.fullmatch(r"(\d+)\.weight", name))]
    first = [number for number, tensor in sorted(before) if number < stages[0] and tensor.ndim == 4]
    norm = [number for number, tensor in sorted(before) if number < stages[0] and tensor.ndim == 1]
    names = {str(number): f"layer{index}" for index, number in enumerate(stages, 1)}
    return names | {str(n): "conv1" for n in first[:1]} | {str(n): "bn1" for n in norm[:1]}


def _named(name: str, numbers: Mapping[str, str]) -> str:
    first, dot, rest = name.partition(".")
    return f"{numbers.get(first, first)}{dot}{rest}"
