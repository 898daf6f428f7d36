"""Backbones in the forms that torchvision, timm and detectron2 load, each with a model card."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import os
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from twist.learn.backbones import SmallConv
from twist.learn.conversion import backbone_fields, image_channels, image_side, listed
from twist.learn.detectron2_config import as_yaml, detectron2_configs
from twist.learn.fast_conv import FastConv
from twist.learn.networks import TwistNet
from twist.learn.preparing import IMAGENET
from twist.runs.config import ConfigError, ViewsConfig
from twist.runs.fields import require_one_of
from twist.runs.store import write_sealed_folder

_PROTOCOLS = {
    "pascal_voc.yaml": "Faster R-CNN with FPN, Pascal VOC 07+12, 24k iterations",
    "coco.yaml": "Mask R-CNN with FPN, COCO, 1x schedule",
}
#: Forms in which a backbone is exported, and the name of the file of weights.
FORMS = {
    "torchvision": "backbone.pth",
    "timm": "model.safetensors",
    "detectron2": "backbone.pkl",
    "safetensors": "backbone.safetensors",
}


def export_backbone(
    network: TwistNet,
    folder: str | os.PathLike[str],
    *,
    form: str,
    card: Mapping[str, Any],
    views: ViewsConfig | None = None,
) -> Path:
    """Write the backbone's weights for others to load, with a model card, into a new folder; returns the weights' file.

    Parameters
    ----------
    network
        Whose backbone is written.
    folder
        Must not exist; it appears whole, with a manifest of checksums.
    form
        torchvision (a state dict, for ResNets), timm (safetensors under timm's names, for ResNets and vision
        transformers), detectron2 (a pickle of arrays under its names, for ResNets) or safetensors (our names, for any
        backbone).
    card
        What the card says: name, recipe, images, epochs, license; anything else becomes a line of its own.
    views
        What its images went through: kept in the manifest, so that `twist.load_model` of the folder prepares images
        as it was trained; for detectron2 the source of its pixels' mean and deviation, else those of ImageNet.

    Raises
    ------
    ConfigError
        When the folder exists, the backbone has no such form, or a weight is not finite.
    """
    folder = Path(folder).expanduser()
    require_one_of("form", form, tuple(FORMS))
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{str(folder)!r} exists already: an export never replaces anything, give another folder")
    state = {
        # safetensors stores no strides, and nothing else that loads this knows ours.
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.backbone.state_dict().items()
    }
    if infinite := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ConfigError(f"the backbone is not exported: {listed(infinite)} are not finite")
    fields = backbone_fields(state) or {}
    if isinstance(small := network.backbone, SmallConv):
        widths = tuple(len(tensor) for name, tensor in state.items() if name.endswith(".0.weight"))
        fields = {"backbone": "small_conv", "widths": widths, "pool_side": small.pool_side}
        if not any(name.endswith("running_var") for name in state):
            fields["backbone_norm"] = "none"
    if isinstance(fast := network.backbone, FastConv):
        fields = {
            "backbone": "fast_conv",
            "stem": "tiny" if fast.first.stride == (1, 1) else "standard",
            "widths": tuple(len(tensor) for name, tensor in state.items() if name.endswith(".0.weight")),
            "pool_side": fast.pool_side,
            "whitening": fast.whitening,
        }
    if reason := _why_not(form, fields):
        name = fields.get("backbone", "of one's own")
        raise ConfigError(f"a backbone {name} has no form {form!r}: {reason}; give safetensors, which takes any")
    content = _WRITERS[form](state)
    text = _card(form, fields, state, card, hashlib.sha256(content).hexdigest())
    facts = {"form": form, "backbone": fields.get("backbone"), "network": fields, "channels": image_channels(state)}
    facts |= {"image_size": image_side(state), "views": None if views is None else dataclasses.asdict(views)}
    files = {FORMS[form]: content, "README.md": text.encode()}
    if form == "detectron2":
        files |= _configs(fields["backbone"], image_channels(state), views)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_sealed_folder(folder, files, facts)
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} cannot be written ({error.strerror}): give another folder") from error
    return folder / FORMS[form]


def _configs(backbone: str, channels: int, views: ViewsConfig | None) -> dict[str, bytes]:
    """The paper's two detection protocols for this backbone, as files."""
    mean, std = IMAGENET if views is None else (views.mean, views.std)
    mean, std = (tuple(numbers) * channels if len(numbers) == 1 else tuple(numbers) for numbers in (mean, std))
    if channels == 1:
        mean, std = mean[:1], std[:1]
    configs = detectron2_configs(backbone, FORMS["detectron2"], mean=mean, std=std)
    return {
        name: as_yaml(
            config,
            title=f"{_PROTOCOLS[name]}: the protocol of the TWIST paper, arXiv 2110.07402, there with a ResNet-50",
        )
        for name, config in configs.items()
    }


def _why_not(form: str, fields: Mapping[str, Any]) -> str | None:
    name = fields.get("backbone", "")
    if form == "safetensors":
        return None
    if not name.startswith(("resnet", "vit_")):
        return "it is no ResNet and no vision transformer of ours"
    if name.startswith("vit_"):
        return None if form == "timm" else f"{form} has no vision transformer of this kind, timm has"
    if form == "detectron2" and fields["stem"] == "tiny":
        return "its ResNets begin with a 7x7 convolution, this one with 3x3"
    if form == "detectron2" and name.startswith("resnet200"):
        return "it has no ResNet of 200 layers"
    return None


def detectron2_name(name: str) -> str:
    """The name that detectron2 gives to a tensor of torchvision's ResNets.

    Examples
    --------
    >>> detectron2_name("bn1.weight"), detectron2_name("layer2.0.downsample.1.bias")
    ('stem.conv1.norm.weight', 'res3.0.shortcut.norm.bias')
    """
    if name.startswith("layer"):
        name = f"res{int(name[5]) + 1}{name[6:]}"
    else:
        name = f"stem.{name}"
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


def _torch_bytes(state: Mapping[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def _detectron2_bytes(state: Mapping[str, Tensor]) -> bytes:
    arrays = {
        detectron2_name(name): (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in state.items()
    }
    return pickle_of_arrays({"model": arrays, "__author__": "twist", "matching_heuristics": True})


_WRITERS: dict[str, Callable[[dict[str, Tensor]], bytes]] = {
    "torchvision": _torch_bytes,
    "timm": save_tensors,
    "detectron2": _detectron2_bytes,
    "safetensors": lambda state: save_tensors({f"backbone.{name}": tensor for name, tensor in state.items()}),
}


def pickle_of_arrays(content: Mapping[str, Any]) -> bytes:
    """A pickle of nested dictionaries of arrays, texts and truth values, which names nothing but numpy's array.

    Written by hand, since numpy 2 writes module names into its pickles that numpy 1 does not have; those here are
    known to both.
    """
    return b"\x80\x04" + _pickled(content) + b"."


def _pickled(value: object) -> bytes:
    if isinstance(value, Mapping):
        return b"}(" + b"".join(_pickled(item) for pair in value.items() for item in pair) + b"u"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"\x8e" + struct.pack("<Q", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(_pickled(item) for item in value) + b"t"
    if value is None:
        return b"N"
    assert isinstance(value, np.ndarray) and value.dtype.kind in "fiu", value
    # What numpy's arrays and dtypes reduce to: an empty one, then its state.
    order = "|" if value.dtype.itemsize == 1 else "<"
    kind = f"{value.dtype.kind}{value.dtype.itemsize}"
    dtype = b"cnumpy\ndtype\n" + _pickled((kind, False, True)) + b"R"
    dtype += _pickled((3, order, None, None, None, -1, -1, 0)) + b"b"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _pickled((0,)) + _pickled(b"b") + b"tR"
    raw = value.astype(value.dtype.newbyteorder("<")).tobytes()
    state = b"(" + _pickled(1) + _pickled(value.shape) + dtype + _pickled(False) + _pickled(raw) + b"t"
    return empty + state + b"b"


def _card(form: str, fields: Mapping[str, Any], state: Mapping[str, Tensor], card: Mapping[str, Any], sha: str) -> str:
    name = fields.get("backbone") or "a backbone of its own make"
    numbers = sum(tensor.numel() for tensor in state.values())
    rows = {
        "what": f"{name}, {numbers:,} numbers in {len(state)} tensors; learned without labels by TWIST, no classifier",
        "recipe": card.get("recipe", "not stated"),
        "images": card.get("images", "not stated"),
        "epochs": card.get("epochs", "not stated"),
        "license": card.get("license", "not stated: ask who made it before passing it on"),
        **{key: value for key, value in card.items() if key not in ("name", "recipe", "images", "epochs", "license")},
        "weights": FORMS[form],
        "SHA-256": sha,
    }
    table = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())
    title = _cell(card.get("name", f"{name} trained with TWIST"))
    lines = "\n".join(_loading(form, fields, state))
    return (
        f"# {title}\n\n| | |\n|---|---|\n{table}\n\n## Load\n\n```python\n{lines}\n```\n\n"
        "Method: TWIST, Self-Supervised Learning by Estimating Twin Class Distributions, arXiv 2110.07402.\n"
    )


def _cell(value: object) -> str:
    """A value on one line of a table, with nothing in it that a browser or a terminal obeys."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", html.escape(line))


def _loading(form: str, fields: Mapping[str, Any], state: Mapping[str, Tensor]) -> list[str]:
    """Lines of Python that load an export."""
    name, file = fields.get("backbone", ""), FORMS[form]
    if form == "detectron2":
        return _detectron2_lines()
    if form == "torchvision" and name in ("resnet18", "resnet34", "resnet50"):
        return [
            "import torch, torchvision",
            f"net = torchvision.models.{name}()",
            *_stem_lines(fields, state),
            f'net.load_state_dict(torch.load("{file}", weights_only=True), strict=False)  # only fc is missing',
        ]
    if form == "timm" and (call := _timm_call(fields, state)):
        return [
            "import timm, torch, safetensors.torch",
            f"net = timm.create_model({call}, num_classes=0)",
            *_stem_lines(fields, state),
            f'net.load_state_dict(safetensors.torch.load_file("{file}"))',
        ]
    size = "" if image_side(state) is None else f"image_size={image_side(state)}, "
    said = ", ".join(f"{field}={value!r}" for field, value in fields.items())
    config = f"NetworkConfig({said})" if said else "NetworkConfig(...)  # the fields of the recipe it was trained by"
    return [
        "from twist.learn import conversion, networks",
        "from twist.runs.config import NetworkConfig",
        f"config = {config}",
        f"net = networks.build_network(config, in_channels={image_channels(state)}, {size}seed=0)",
        f'conversion.import_weights(net, "{file}")',
    ]


def _detectron2_lines() -> list[str]:
    return [
        "from detectron2.config import get_cfg",
        "cfg = get_cfg()",
        'cfg.merge_from_file("pascal_voc.yaml")  # Faster R-CNN; coco.yaml: Mask R-CNN',
        "# both are the paper's protocols; MODEL.WEIGHTS is this folder's file, so run it here or give its path",
    ]


def _stem_lines(fields: Mapping[str, Any], state: Mapping[str, Tensor]) -> list[str]:
    """Lines that give a ResNet of torchvision or timm the first layers of ours."""
    channels = image_channels(state)
    if fields.get("stem") == "tiny":
        conv = f"net.conv1 = torch.nn.Conv2d({channels}, 64, 3, 1, 1, bias=False)"
        return [f"{conv}; net.maxpool = torch.nn.Identity()"]
    if fields.get("stem") == "standard" and channels != 3:
        return [f"net.conv1 = torch.nn.Conv2d({channels}, 64, 7, 2, 3, bias=False)"]
    return []


def _timm_call(fields: Mapping[str, Any], state: Mapping[str, Tensor]) -> str | None:
    name = fields["backbone"]
    if name in ("resnet18", "resnet34", "resnet50", "resnet200"):
        return f'"{name}"'
    size = {"vit_t": "tiny", "vit_s": "small", "vit_b": "base"}.get(name)
    if size is None:
        return None
    side, patch = image_side(state), fields["patch_size"]
    return f'"vit_{size}_patch16_224", img_size={side}, patch_size={patch}, in_chans={image_channels(state)}'
