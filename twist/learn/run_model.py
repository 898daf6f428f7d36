"""Models out of runs: trained, at any checkpoint, and the same network untrained."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from twist.learn import datasets
from twist.learn.checkpoints import checkpoint_folders, newest_sound
from twist.learn.conversion import image_channels
from twist.learn.image_model import ClassHead, Model, make_model
from twist.learn.networks import TwistNet, build_network
from twist.learn.own_code import fingerprint
from twist.learn.preparing import PlainView, Preparation
from twist.learn.stored_images import StoredImages
from twist.learn.taps import LastBlocks, LastColumns
from twist.learn.whitening import whiten_first_layer
from twist.runs.config import ConfigError, Recipe, to_dict
from twist.runs.frozen import refuse_frozen
from twist.runs.groups import is_own_code
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, read_json, read_manifest, step_folder
from twist.runs.turns import recipe_of_state

_NORM_IMAGES, _NORM_BATCH = 2048, 512


def model_of_run(path: Path, step: int | None = None, *, teacher: bool = False, blocks: int = 1) -> Model:
    """The network of a run at a checkpoint, as its snapshots show it; reads only, so the run may be training.

    Parameters
    ----------
    path
        The run folder.
    step
        Step of the checkpoint; none means the newest sound one.
    teacher
        Take the momentum teacher that was trained beside the network.
    blocks
        Last blocks of a vision transformer whose class tokens are the features, side by side; 4 in its linear protocol.

    Raises
    ------
    ConfigError
        When there is no such checkpoint, it is damaged or of another network, or there is no teacher.

    Notes
    -----
    Of several heads that of least training loss speaks. A person's own backbone is run from the copy in the run's
    folder: a run of somebody else's is a program of theirs.
    """
    folder, part, state = _checkpoint(path, step, "teacher" if teacher else "network")
    at = int(folder.name.removeprefix("step-"))
    recipe = recipe_of_state(RunRecord(path), at)
    channels = image_channels({name.removeprefix("backbone."): tensor for name, tensor in state.items()})
    network = build_network(recipe.network, channels, seed=recipe.seed, image_size=recipe.views.size, run_folder=path)
    _fill(network, state, f"checkpoint {at:,} of {path.name}")
    facts = {
        "run": path.name,
        "run_id": read_json(path / "run.json").get("id"),
        "step": at,
        "checkpoint": part,
        **_recipe_facts(recipe, network),
        **({"teacher": True} if teacher else {}),
    }
    name = f"{path.name} @ step {at}" + (", teacher" if teacher else "")
    return _of_network(name, "run", network, recipe, path, channels, facts, blocks)


def untrained_model(path: Path, *, seed: int | None = None, blocks: int = 1) -> Model:
    """The network that a run began with: drawn anew, its first layer whitened where the recipe says so.

    Running statistics of its norms, which an untrained network has none of, are those of the plain views of 2,048 of
    the run's images. What it reaches is what the architecture gives for nothing, and what training has to beat.

    Parameters
    ----------
    path
        The run folder; no checkpoint is needed.
    seed
        Seed of the weights; none means the run's own.
    blocks
        As for `model_of_run`.

    Raises
    ------
    ConfigError
        When the run's images are not there, or `build_network` refuses.
    """
    recipe = RunRecord(path).recipe
    recipe = recipe if seed is None else recipe.replace(seed=seed)
    images = datasets.load(recipe.data, run_folder=path)
    run_id = read_json(path / "run.json").get("id")
    model = model_of_recipe(recipe, images, run_folder=path, blocks=blocks)
    return replace(model, name=f"{path.name}, untrained", facts={**model.facts, "run": path.name, "run_id": run_id})


def model_of_recipe(
    recipe: Recipe, images: datasets.ImageSet, *, run_folder: Path | None = None, blocks: int = 1
) -> Model:
    """The untrained network of a recipe, as `untrained_model` says, of images that are at hand."""
    channels = images.images.shape[1]
    network = build_network(
        recipe.network, channels, seed=recipe.seed, image_size=recipe.views.size, run_folder=run_folder
    )
    whiten_first_layer(network, images, recipe)
    estimate_norms(network, PlainView(recipe.views, channels), images.images)
    facts = {"images": images.fingerprint, **_recipe_facts(recipe, network)}
    name = f"{recipe.name}, untrained"
    return _of_network(name, "random", network, recipe, run_folder, channels, facts, blocks)


@torch.no_grad()
def estimate_norms(network: nn.Module, prepare: Preparation, images: Tensor | StoredImages) -> None:
    """Give the batch norms of an untrained network the statistics of some images, evenly spread over the set.

    In place; weights stay. Dropout and stochastic depth are off meanwhile.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    chosen = torch.linspace(0, len(images) - 1, min(_NORM_IMAGES, len(images))).round().long()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for rows in chosen.split(_NORM_BATCH):
        if len(rows) > 1:
            network(prepare(images[rows]).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _of_network(
    name: str,
    kind: str,
    network: TwistNet,
    recipe: Recipe,
    run_folder: Path | None,
    channels: int,
    facts: dict[str, Any],
    blocks: int,
) -> Model:
    make: dict[str, Any] = {"network": to_dict(recipe)["network"], "blocks": blocks}
    if is_own_code(recipe.network.backbone):
        make["code"] = fingerprint(recipe.network.backbone, run_folder=run_folder)
    net, head = split_network(network, blocks)
    return make_model(
        name,
        kind,
        net,
        PlainView(recipe.views, channels),
        make=make,
        facts=facts | ({"blocks": blocks} if blocks > 1 else {}),
        head=ClassHead(head, recipe.objective.temperature, recipe.network.num_classes),
    )


def split_network(network: TwistNet, blocks: int = 1) -> tuple[nn.Module, nn.Module]:
    """The part of a network that makes features, and the part that makes logits of them, the speaking head."""
    heads = [network.projection_heads, *network.more_heads]
    head = _Logits(heads[network.speaking_head]).eval()
    if blocks == 1:
        return network.backbone, head
    width = network.projection_heads.projection_head[0].in_features  # type: ignore[union-attr, index]
    return LastBlocks(network.backbone, blocks), LastColumns(head, width)  # type: ignore[arg-type]


class _Logits(nn.Module):
    """A head that answers logits alone."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features).logits


def _recipe_facts(recipe: Recipe, network: TwistNet) -> dict[str, Any]:
    heads = {"heads": recipe.network.num_heads, "speaking_head": network.speaking_head}
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "backbone": recipe.network.backbone,
        "temperature": recipe.objective.temperature,
        **(heads if recipe.network.num_heads > 1 else {}),
    }


def _checkpoint(path: Path, step: int | None, part: str) -> tuple[Path, str, dict[str, Tensor]]:
    """Folder, checksum and weights of a checkpoint, or a sentence on why there is none."""
    for folder in _candidates(path, step):
        try:
            manifest = read_manifest(folder)
            if f"{part}.safetensors" not in manifest["files"]:
                raise ConfigError(f"{path.name} has no teacher at step {int(folder.name[5:]):,}: leave teacher out")
            content = (folder / f"{part}.safetensors").read_bytes()
            checksum = hashlib.sha256(content).hexdigest()
            if checksum != manifest["files"][f"{part}.safetensors"]["sha256"]:
                raise ConfigError(f"{path.name}: {folder.name} differs from its checksum; choose another checkpoint")
            return folder, checksum, load_tensors(content)
        except (OSError, RecordError, SafetensorError) as error:
            if step is None and not folder.exists():
                continue  # thinned by its trainer meanwhile: a newer one is there
            raise ConfigError(f"{path.name}: {folder.name} cannot be read ({error}); choose another") from error
    refuse_frozen(path, "asked about images")
    raise ConfigError(
        f"{path.name} has no sound checkpoint yet: wait for the first, ask `twist stop {path.name}`, or take the "
        f"untrained network, 'random:{path.name}'"
    )


def _candidates(path: Path, step: int | None) -> Iterator[Path]:
    if step is not None:
        kept = checkpoint_folders(path)
        folder = path / "checkpoints" / step_folder(step)
        if folder not in kept:
            steps = ", ".join(f"{int(each.name[5:]):,}" for each in kept) or "none"
            raise ConfigError(f"{path.name} keeps no checkpoint of step {step:,}: there are {steps}")
        yield folder
        return
    for _ in range(3):
        with contextlib.suppress(OSError):
            if (newest := newest_sound(path)) is not None:
                yield newest


def _fill(network: TwistNet, state: dict[str, Tensor], what: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(f"{what} holds another network's weights than its recipe makes: {reason}") from error
