"""Models of timm and torchvision, with their own preprocessing; and the images' pixels as features."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from twist.learn.foreign import ForeignCheckpoint, read_foreign
from twist.learn.image_model import Model, make_model
from twist.learn.preparing import ResizedCrop
from twist.learn.taps import LastBlocks
from twist.runs.config import ConfigError

_INTERPOLATIONS = ("bicubic", "bilinear")


def model_of_pixels(*, image_size: int | None = None, channels: int | None = None) -> Model:
    """The pixels themselves as features, mean gray 0: the baseline of every other.

    Parameters
    ----------
    image_size
        Side of the central square that they are resized to; none takes images as they are.
    channels
        1, 3, or none, which takes images as they are.
    """
    prepare = ResizedCrop(image_size, image_size, channels, mean=(0.5,), std=(0.25,))
    return make_model("pixels", "pixels", nn.Flatten(), prepare, make={"net": "pixels"}, facts={})


def model_of_timm(
    name: str,
    *,
    weights: str = "cached",
    image_size: int | None = None,
    channels: int = 3,
    seed: int = 0,
    blocks: int = 1,
) -> Model:
    """A model of timm by its name there, prepared as its configuration says.

    Parameters
    ----------
    name
        Name in timm, with or without the tag of its weights: ``resnet18.a1_in1k``.
    weights
        cached (only if they are on this machine), download (fetched when they are not), or random.
    image_size
        Side of the views in pixels; none means what the weights were tested with.
    channels
        Channels of the images that it takes; first layers of other weights are adapted by timm.
    seed
        Of random weights.
    blocks
        Last blocks of a vision transformer whose class tokens are the features.

    Raises
    ------
    ConfigError
        When timm is missing or knows no such model, or the weights are not here and were not to be fetched.
    """
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}{_near(name, timm.list_models())}")
    pretrained = weights != "random"
    wishes: dict[str, Any] = {}
    if image_size is not None:
        wishes = {"img_size": image_size, "dynamic_img_size": True}
    overlay = None
    if pretrained:
        overlay = {"state_dict": _timm_weights(timm, name, download=weights == "download"), "source": ""}
    net = _create(timm, name, wishes, pretrained=pretrained, overlay=overlay, channels=channels, seed=seed)
    config = timm.data.resolve_data_config({}, model=net)
    prepare = _prepared(
        image_size or config["input_size"][-1],
        config["crop_pct"],
        channels,
        config["mean"],
        config["std"],
        config["interpolation"],
    )
    tag = timm.models.get_pretrained_cfg(name).tag or "its default"
    facts: dict[str, Any] = {"model": name, "weights": tag if pretrained else "random", "timm": timm.__version__}
    facts |= {} if pretrained else {"seed": seed}
    return _of_net(f"timm:{name}" + ("" if pretrained else ", random weights"), "timm", net, prepare, facts, blocks)


def model_of_torchvision(
    name: str,
    *,
    weights: str = "cached",
    image_size: int | None = None,
    channels: int = 3,
    seed: int = 0,
) -> Model:
    """A classifier of torchvision by its name there, without its last layer, prepared as its weights say.

    Parameters and errors are those of `model_of_timm`; its models take color images.
    """
    import torchvision

    zoo = torchvision.models
    names = zoo.list_models(module=zoo)
    if name not in names:
        raise ConfigError(f"torchvision has no classifier {name!r}{_near(name, names)}")
    if channels != 3:
        raise ConfigError(f"channels is {channels}, but torchvision's {name} takes 3: gray images are given thrice")
    enum = zoo.get_model_weights(name)
    default = enum.DEFAULT
    net = _seeded(lambda: zoo.get_model(name, weights=None), seed)
    if weights != "random":
        net.load_state_dict(_torchvision_weights(name, default, download=weights == "download"))
    _drop_classifier(net, name)
    told = default.transforms()
    size = image_size or told.crop_size[0]
    prepare = _prepared(size, told.crop_size[0] / told.resize_size[0], 3, told.mean, told.std, told.interpolation.value)
    facts: dict[str, Any] = {
        "model": name,
        "weights": "random" if weights == "random" else default.name,
        "torchvision": torchvision.__version__,
    }
    facts |= {"seed": seed} if weights == "random" else {}
    title = f"torchvision:{name}" + (", random weights" if weights == "random" else "")
    return _of_net(title, "torchvision", net, prepare, facts, 1)


def _of_net(title: str, kind: str, net: nn.Module, prepare: ResizedCrop, facts: dict[str, Any], blocks: int) -> Model:
    make = {"net": kind, "model": facts["model"], "blocks": blocks}
    if blocks > 1:
        net, facts = LastBlocks(net, blocks), {**facts, "blocks": blocks}
    return make_model(title, kind, net, prepare, make=make, facts=facts)


def _prepared(
    size: int, crop: float, channels: int, mean: Iterable[float], std: Iterable[float], interpolation: str
) -> ResizedCrop:
    mean, std = tuple(mean), tuple(std)
    if channels == 1 and len(mean) == 3:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    interpolation = interpolation if interpolation in _INTERPOLATIONS else "bicubic"
    return ResizedCrop(size, round(size / crop), channels, mean, std, interpolation)


def _create(
    timm: ModuleType,
    name: str,
    wishes: dict[str, Any],
    *,
    pretrained: bool,
    overlay: dict[str, Any] | None,
    channels: int,
    seed: int,
) -> nn.Module:
    def create() -> nn.Module:
        return timm.create_model(
            name, pretrained=pretrained, pretrained_cfg_overlay=overlay, num_classes=0, in_chans=channels, **wishes
        )

    while True:
        try:
            return _seeded(create, seed)
        except Exception as error:
            # Which of them a model takes is known to its constructor alone.
            refused = [key for key in wishes if isinstance(error, TypeError) and repr(key) in str(error)]
            if not refused:
                raise ConfigError(f"timm:{name} cannot be made ({type(error).__name__}: {error})") from error
            wishes = {key: value for key, value in wishes.items() if key not in refused}


def _seeded(make: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def _timm_weights(timm: ModuleType, name: str, *, download: bool) -> dict[str, Tensor]:
    """The weights that timm has for a name, from this machine's caches, or fetched."""
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ConfigError(f"timm has no weights for {name!r}: ask for 'timm:{name}?weights=random'")
    file = _timm_file(config, download=download)
    if file is None:
        raise ConfigError(
            f"the weights of timm:{name} are not on this machine: 'timm:{name}?weights=download' fetches them, "
            f"'timm:{name}?weights=random' takes an untrained network; a file of them can be given by its path with "
            f"'FILE?arch=timm:{name}'"
        )
    return _whole(read_foreign(file))


def _whole(checkpoint: ForeignCheckpoint) -> dict[str, Tensor]:
    return {name: tensor for part in checkpoint.tensors.values() for name, tensor in part.items()}


def _timm_file(config: Any, *, download: bool) -> Path | None:
    if config.hf_hub_id:
        try:
            from huggingface_hub import hf_hub_download, try_to_load_from_cache
        except ImportError:
            return None
        names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for file in names:
            found = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
        if not download:
            return None
        try:
            return Path(hf_hub_download(config.hf_hub_id, names[0]))
        except Exception as error:  # of the network, of the hub, of the disk
            raise ConfigError(f"{config.hf_hub_id} cannot be fetched ({type(error).__name__}: {error})") from error
    return _hub_file(config.url, download=download) if config.url else None


def _torchvision_weights(name: str, weights: Any, *, download: bool) -> dict[str, Tensor]:
    file = _hub_file(weights.url, download=download)
    if file is None:
        raise ConfigError(
            f"the weights of torchvision:{name} are not on this machine: 'torchvision:{name}?weights=download' fetches "
            f"them, 'torchvision:{name}?weights=random' takes an untrained network"
        )
    return _whole(read_foreign(file))


def _hub_file(url: str, *, download: bool) -> Path | None:
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.is_file() or not download:
        return file if file.is_file() else None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except Exception as error:  # of the network or of the disk
        raise ConfigError(f"{url} cannot be fetched ({type(error).__name__}: {error})") from error
    return file


def _drop_classifier(net: nn.Module, name: str) -> None:
    """Replace the last linear layer, the classifier, by nothing."""
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    last = next((path for path in reversed(linear) if path.split(".")[0] in ("fc", "classifier", "head", "heads")), "")
    if not last:
        raise ConfigError(f"torchvision:{name} has no linear classifier at its end to take away: choose another model")
    owner, _, leaf = last.rpartition(".")
    setattr(net.get_submodule(owner), leaf, nn.Identity())


def _import_timm(name: str) -> ModuleType:
    try:
        import timm  # takes seconds, and not everyone has it
    except ImportError as error:
        raise ConfigError(f"timm:{name} needs timm: pip install 'twist-ssl[timm]'") from error
    return timm


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.3)
    return f": near are {', '.join(near)}" if near else ""
