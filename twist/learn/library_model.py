"""Models of timm and torchvision, with their own preprocessing; and the images' pixels as features."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from twist.learn.conversion import listed
from twist.learn.foreign import read_tensors
from twist.learn.image_model import Model, make_model
from twist.learn.preparing import Choices, ResizedCrop, prepared
from twist.learn.taps import LastBlocks
from twist.runs.config import ConfigError


def model_of_pixels(choices: Choices) -> Model:
    """The pixels themselves as features, mean gray 0: the baseline of every other.

    Their size and channels stay as they are unless others are asked for.
    """
    size = choices.image_size
    prepare = ResizedCrop(size, size, choices.channels, mean=choices.mean or (0.5,), std=choices.std or (0.25,))
    return make_model("pixels", "pixels", nn.Flatten(), prepare, make={"net": "pixels"}, facts={})


def model_of_timm(name: str, choices: Choices, *, weights: str | Path = "cached") -> Model:
    """A model of timm by its name there, prepared as its configuration says.

    Parameters
    ----------
    name
        Name in timm, with or without the tag of its weights: ``resnet18.a1_in1k``.
    choices
        What is asked of it.
    weights
        cached (only if they are on this machine), download (fetched when they are not), random, or a file of weights
        for this architecture.

    Raises
    ------
    ConfigError
        When timm is missing or knows no such model, the weights are not here and were not to be fetched, or those of
        the file are another architecture's.
    """
    timm = _import_timm(name)
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}{_near(name, timm.list_models())}")
    make = _Maker(timm, name, choices)
    facts: dict[str, Any] = {"model": name, "timm": timm.__version__}
    if isinstance(weights, Path):
        net = _fill_timm(make, read_tensors(weights), weights)
    elif weights == "random":
        net = make(choices.seed or 0)
    else:
        net = make(0, _timm_weights(timm, name, download=weights == "download"))
        facts["weights"] = timm.models.get_pretrained_cfg(name).tag or "its default"
    config = timm.data.resolve_data_config({}, model=net)
    if config["crop_mode"] != "center":
        facts["assumed"] = [f"the central square, where timm has the crop mode {config['crop_mode']}"]
    prepare = prepared(
        choices,
        config["input_size"][-1],
        config["crop_pct"],
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
    )
    return _of_net("timm", net, prepare, facts, choices, weights)


def model_of_torchvision(name: str, choices: Choices, *, weights: str | Path = "cached") -> Model:
    """A classifier of torchvision by its name there, without its last layer, prepared as its weights say.

    Parameters and errors are those of `model_of_timm`; its models take color images.
    """
    import torchvision

    zoo = torchvision.models
    names = zoo.list_models(module=zoo)
    if name not in names:
        raise ConfigError(f"torchvision has no classifier {name!r}{_near(name, names)}")
    if choices.channels not in (None, 3):
        raise ConfigError(f"channels is {choices.channels}, but torchvision's {name} takes 3: gray is given thrice")
    default = zoo.get_model_weights(name).DEFAULT
    net = _seeded(lambda: zoo.get_model(name, weights=None), choices.seed or 0)
    facts: dict[str, Any] = {"model": name, "torchvision": torchvision.__version__}
    if weights in ("cached", "download"):
        net.load_state_dict(_torchvision_weights(name, default, download=weights == "download"))
        facts["weights"] = default.name
    _drop_classifier(net, name)
    if isinstance(weights, Path):
        _fill(net, _fitting(read_tensors(weights), net.state_dict()), f"torchvision:{name}", weights)
    told = default.transforms()
    prepare = prepared(
        choices,
        told.crop_size[0],
        told.crop_size[0] / told.resize_size[0],
        mean=told.mean,
        std=told.std,
        interpolation=told.interpolation.value,
    )
    return _of_net("torchvision", net, prepare, facts, choices, weights)


def _of_net(
    kind: str, net: nn.Module, prepare: ResizedCrop, facts: dict[str, Any], choices: Choices, weights: str | Path
) -> Model:
    make = {"net": kind, "model": facts["model"], "blocks": choices.blocks}
    title = f"{kind}:{facts['model']}"
    if choices.blocks > 1:
        net, facts = LastBlocks(net, choices.blocks), {**facts, "blocks": choices.blocks}
    if isinstance(weights, Path):
        title, kind = f"{weights.name} as {title}", "file"
        facts = {**facts, "file": weights.name, "sha256": file_hash(weights)}
    elif weights == "random":
        title, facts = f"{title}, random weights", {**facts, "weights": "random", "seed": choices.seed or 0}
    return make_model(title, kind, net, prepare, make=make, facts=facts)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Maker:
    """What makes a model of timm, with random weights of a seed, or with given ones in timm's names for them."""

    timm: ModuleType
    name: str
    choices: Choices

    def __call__(self, seed: int, state: Mapping[str, Tensor] | None = None) -> nn.Module:
        size = self.choices.image_size
        wishes: dict[str, Any] = {} if size is None else {"img_size": size, "dynamic_img_size": True}
        overlay = None if state is None else {"state_dict": dict(state), "source": ""}
        while True:
            try:
                return _seeded(functools.partial(self._create, overlay, wishes), seed)
            except Exception as error:
                # Which of them a model takes is known to its constructor alone.
                refused = [key for key in wishes if isinstance(error, TypeError) and repr(key) in str(error)]
                if not refused:
                    reason = " ".join(str(error).split())[:300]
                    raise ConfigError(f"timm:{self.name} cannot be made ({type(error).__name__}: {reason})") from error
                wishes = {key: value for key, value in wishes.items() if key not in refused}

    def _create(self, overlay: dict[str, Any] | None, wishes: dict[str, Any]) -> nn.Module:
        return self.timm.create_model(
            self.name,
            pretrained=overlay is not None,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            in_chans=self.choices.channels or 3,
            **wishes,
        )


def _fill_timm(make: _Maker, parts: Mapping[str, Mapping[str, Tensor]], file: Path) -> nn.Module:
    """A model of timm with a file's weights, under its own names or those that timm translates."""
    net = make(0)
    given = _fitting(parts, net.state_dict())
    if set(net.state_dict()) <= set(given):
        return _fill(net, given, f"timm:{make.name}", file)
    try:
        first, second = make(0, given), make(1, given).state_dict()
    except ConfigError as error:
        raise ConfigError(
            f"{str(file)!r} does not fill timm:{make.name} ({error}); name the architecture that it was made with"
        ) from error
    # timm passes over what a file lacks: such weights still depend on the seed.
    if drawn := [key for key, tensor in first.state_dict().items() if not torch.equal(tensor, second[key])]:
        raise ConfigError(
            f"{str(file)!r} does not fill timm:{make.name}: {len(drawn)} of its {len(second)} tensors are not in it "
            f"({listed(drawn)}); name the architecture that the file was made with"
        )
    return first


def _fill(net: nn.Module, given: Mapping[str, Tensor], title: str, file: Path) -> nn.Module:
    wanted = net.state_dict()
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} is {tuple(given[key].shape)} in the file, {tuple(wanted[key].shape)} there"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if missing or shapes:
        found = {"missing from the file": missing, "of another shape": shapes}
        said = "; ".join(f"{len(names)} {reason} ({listed(names)})" for reason, names in found.items() if names)
        raise ConfigError(f"{str(file)!r} does not fill {title}: {said}; name the architecture that it was made with")
    net.load_state_dict({key: given.get(key, tensor) for key, tensor in wanted.items()})
    return net


def _fitting(parts: Mapping[str, Mapping[str, Tensor]], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file behind that prefix which gives most of the wanted names."""
    best: dict[str, Tensor] = {}
    best_count = -1
    for tensors in parts.values():
        prefixes = {""} | {name.removesuffix(key) for name in tensors for key in wanted if name.endswith(f".{key}")}
        for prefix in sorted(prefixes):
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            count = sum(name in wanted for name in own)
            if count > best_count:
                best, best_count = own, count
    return best


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
            f"'timm:{name}?weights=random' takes an untrained network, 'timm:{name}?weights=FILE' a file of them"
        )
    return _whole(read_tensors(file))


def _whole(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor for part in parts.values() for name, tensor in part.items()}


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
            f"them, 'torchvision:{name}?weights=random' takes an untrained network, '…?weights=FILE' a file of them"
        )
    return _whole(read_tensors(file))


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
