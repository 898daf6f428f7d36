"""Models out of checkpoint files: of the authors, of others who train the same backbones, of our exports."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from torch import nn

from twist.learn.conversion import image_channels, image_side, import_weights, network_config_of
from twist.learn.export import FORMS
from twist.learn.foreign import ForeignCheckpoint, read_foreign
from twist.learn.handover import network_of_checkpoint
from twist.learn.image_model import ClassHead, Model, make_model
from twist.learn.library_model import file_hash
from twist.learn.networks import build_network
from twist.learn.preparing import CIFAR10, IMAGENET, Choices, PlainView, ResizedCrop, prepared
from twist.learn.run_model import split_network
from twist.learn.taps import LastBlocks
from twist.runs.config import ConfigError, Recipe, with_fields
from twist.runs.store import RecordError, read_manifest

_CROP = 224 / 256  # of the shorter side, in the protocols of ImageNet
_SMALL = 96  # sides up to which whole images are taken


def model_of_export(folder: Path, choices: Choices) -> Model:
    """The backbone that was exported into a folder, its images prepared as it was trained.

    Raises
    ------
    ConfigError
        When the folder is no export, is damaged, or is detectron2's, whose file only that reads.
    """
    try:
        manifest = read_manifest(folder, verify=True)
    except RecordError as error:
        raise ConfigError(f"{str(folder)!r} is no sound export: {error}") from error
    if manifest.get("form") not in FORMS or manifest["form"] == "detectron2":
        raise ConfigError(f"{str(folder)!r} has weights for {manifest.get('form')!r} alone: export another form")
    file, fields = folder / FORMS[manifest["form"]], manifest.get("network")
    if not fields or manifest.get("views") is None:  # of an older version, or of a network that no field tells
        return model_of_file(file, choices)
    told = {f"network.{name}": value for name, value in fields.items()}
    recipe = with_fields(Recipe(), told | {f"views.{name}": value for name, value in manifest["views"].items()})
    config, views = recipe.network, recipe.views
    channels, size = int(manifest["channels"]), manifest.get("image_size") or views.size
    network = build_network(config, channels, seed=0, image_size=size)
    import_weights(network, file)
    net = LastBlocks(network.backbone, choices.blocks) if choices.blocks > 1 else network.backbone
    facts = {"file": f"{folder.name}/{file.name}", "sha256": file_hash(file), "backbone": config.backbone}
    make = {"net": "file", "network": dataclasses.asdict(config), "blocks": choices.blocks}
    return make_model(folder.name, "file", net, PlainView(views, channels), make=make, facts=facts)


def model_of_file(path: Path, choices: Choices, *, part: str | None = None) -> Model:
    """The network in a checkpoint file, its architecture told by its tensors; no code of the file is run.

    Of a whole checkpoint of TWIST its classes are taken too, of any other file the backbone alone.

    Parameters
    ----------
    path
        The file.
    choices
        What is asked of it: a file does not say what its images went through, so mean and deviation of ImageNet's
        colors are assumed (CIFAR-10's for solo-learn's networks for small images), and sides of 224 pixels, 32 for a
        ResNet that begins with 3x3, or a transformer's grid of patches.
    part
        Of a file with several backbones, a piece of the name of the one that is meant: ``student``.

    Raises
    ------
    ConfigError
        When the file cannot be read safely, is of no network that can be built, lacks tensors or has others.
    """
    checkpoint = read_foreign(path, part=part)
    config = network_config_of(checkpoint)
    if config.backbone == "vit_s" and re.search(r"\b(base|momentum)_encoder\.", checkpoint.where):
        raise ConfigError(
            f"{path.name} is of MoCo v3, whose small transformer has 12 attention heads and ours 6, which no tensor "
            "tells: it would answer nonsense; give another checkpoint"
        )
    network, report = network_of_checkpoint(checkpoint)
    state = network.backbone.state_dict()
    channels = image_channels(state)
    if choices.channels not in (None, channels):
        raise ConfigError(f"channels is {choices.channels}, but {path.name} takes {channels}: leave it out")
    prepare, assumed = _preparation(checkpoint, state, channels, choices)
    where = checkpoint.where or report.part
    facts: dict[str, Any] = {
        "file": path.name,
        "sha256": file_hash(path),
        "part": where,
        "backbone": config.backbone,
        **({"epoch": report.epoch} if report.epoch is not None else {}),
        **({"blocks": choices.blocks} if choices.blocks > 1 else {}),
        **assumed,
    }
    make = {"net": "file", "network": dataclasses.asdict(config), "blocks": choices.blocks}
    net: nn.Module = network.backbone
    head = None
    if report.head:
        net, logits = split_network(network, choices.blocks)
        temperature = checkpoint.arguments.get("tau", 1.0)
        if type(temperature) not in (int, float) or not 0 < temperature < 1e6:
            raise ConfigError(f"{path.name}: its argument tau is {temperature!r}, no temperature")
        head = ClassHead(logits, float(temperature), config.num_classes)
    elif choices.blocks > 1:
        net = LastBlocks(net, choices.blocks)
    return make_model(path.name, "file", net, prepare, make=make, facts=facts, head=head)


def _preparation(
    checkpoint: ForeignCheckpoint, state: dict[str, Any], channels: int, choices: Choices
) -> tuple[ResizedCrop, dict[str, Any]]:
    """How images are made for a file's backbone, and what of that was assumed."""
    first, side = state.get("conv1.weight"), image_side(state)
    tiny = first is not None and first.shape[-1] == 3
    size = side or (32 if tiny else 224)
    # solo-learn's files and Lightning's have the backbone there, and those for small images are trained on CIFAR.
    colors, words = IMAGENET, "ImageNet's"
    if tiny and checkpoint.where == "state_dict/backbone." and not checkpoint.numbered:
        colors, words = CIFAR10, "CIFAR-10's"
    if choices.image_size is not None and side is not None and choices.image_size % _patch_side(state):
        raise ConfigError(
            f"image_size is {choices.image_size}: give a multiple of this transformer's patches, {_patch_side(state)}"
        )
    whole = (choices.image_size or size) <= _SMALL
    prepare = prepared(choices, size, 1.0 if whole else _CROP, mean=colors[0], std=colors[1], channels=channels)
    assumed = [] if choices.mean and choices.std else [f"mean and deviation of {words} colors"]
    if choices.image_size is None and side is None:
        assumed.append(f"views of {size} pixels")
    return prepare, {"assumed": assumed} if assumed else {}


def _patch_side(state: dict[str, Any]) -> int:
    """Side of a vision transformer's patches in pixels."""
    return int(state["patch_embed.proj.weight"].shape[-1])
