"""Backbones: images -> features."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twist.learn.fast_conv import FastConv
from twist.learn.own_code import load_own
from twist.runs.config import ConfigError, NetworkConfig
from twist.runs.fields import require
from twist.runs.groups import is_own_code

#: Feature dim and attention heads of the vision transformers that have a name here.
VISION_TRANSFORMERS = {"vit_t": (192, 3), "vit_s": (384, 6), "vit_b": (768, 12)}

#: Blocks of the four stages of a ResNet by its depth.
_STAGES = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 200: [3, 24, 36, 3]}


def build_backbone(
    config: NetworkConfig, in_channels: int, *, image_size: int = 32, run_folder: Path | None = None
) -> tuple[nn.Module, int]:
    """The backbone of a recipe with fresh weights, drawn from the global random state; and its feature dim.

    Parameters
    ----------
    config
        ``backbone`` and the fields that shape it.
    in_channels
        Channels of the images.
    image_size
        Side of a global view in pixels, on whose grid of patches a vision transformer learns its positions.
    run_folder
        Folder of the run, which keeps a person's own backbone.

    Raises
    ------
    ConfigError
        When timm is missing or knows no such model, a person's own code cannot be loaded or does not map images
        ``[N, channels, H, W]`` to features ``[N, D]``, patches do not fill the view, or a field asks for what the
        backbone does not have.

    Notes
    -----
    A person's own backbone, ``FILE.py:NAME`` or ``package.module:NAME``, is called as ``NAME(in_channels)`` and gives
    a `torch.nn.Module`. It is asked for the features of two black images before it is used; an attribute
    ``feature_dim``, where there is one, must agree.

    Examples
    --------
    >>> backbone, feature_dim = build_backbone(NetworkConfig(backbone="resnet18"), in_channels=1)
    >>> feature_dim, backbone(torch.zeros(2, 1, 32, 32)).shape
    (512, torch.Size([2, 512]))
    """
    name = config.backbone
    of_timm = name.startswith("timm:")
    require(
        config.drop_path == 0 or of_timm or name in VISION_TRANSFORMERS,
        "network.drop_path",
        config.drop_path,
        f"give 0, {name} takes no stochastic depth",
    )
    if of_timm:
        backbone, feature_dim = _build_timm(config, in_channels, image_size)
    elif is_own_code(name):
        backbone, feature_dim = _build_own(name, in_channels, image_size, run_folder)
    elif name in VISION_TRANSFORMERS:
        backbone, feature_dim = _build_vision_transformer(config, in_channels, image_size)
    elif name == "small_conv":
        backbone = SmallConv(in_channels, config.widths, config.pool_side, norm=config.backbone_norm == "batch")
        feature_dim = backbone.feature_dim
    elif name == "fast_conv":
        backbone = FastConv(
            in_channels,
            config.widths,
            stride=1 if config.stem == "tiny" else 2,
            pool_side=config.pool_side,
            whitening=config.whitening,
        )
        feature_dim = backbone.feature_dim
    else:
        backbone, feature_dim = _build_resnet(name, config.stem, in_channels)
    if config.freeze_patch_embedding:
        projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
        if projection is None:
            raise ConfigError(f"network.freeze_patch_embedding is True: {name} has no patch embedding, give False")
        projection.requires_grad_(False)
    return backbone, feature_dim


class SmallConv(nn.Module):
    """A small convolutional network for images of about 8 to 64 pixels.

    Each block is a 3x3 convolution, batch norm, ReLU; between two blocks the side is halved while 4 pixels or more are
    left. The last maps, averaged to a small grid, are the feature vector.

    Parameters
    ----------
    in_channels
        Channels of the images.
    widths
        Channels of the blocks.
    pool_side
        Side of that grid: with 1 a feature tells what is in the image, with more also where.
    norm
        Whether batch norms follow the convolutions.

    Examples
    --------
    >>> SmallConv(1, (16, 32))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 32])
    """

    def __init__(self, in_channels: int, widths: Sequence[int], pool_side: int = 1, *, norm: bool = True):
        super().__init__()
        blocks = []
        for before, after in itertools.pairwise((in_channels, *widths)):
            # A norm takes away any constant, so the convolution before it needs no bias.
            conv = nn.Conv2d(before, after, 3, padding=1, bias=not norm)
            blocks.append(nn.Sequential(conv, *[nn.BatchNorm2d(after)] * norm, nn.ReLU(inplace=True)))
        self.blocks = nn.ModuleList(blocks)
        self.pool_side = pool_side
        self.feature_dim = widths[-1] * pool_side**2

    def forward(self, images: Float[Tensor, "N channels H W"]) -> Float[Tensor, "N D"]:
        """Features of images of any size."""
        maps = images
        for index, block in enumerate(self.blocks):
            if index > 0 and min(maps.shape[2:]) >= 4:
                maps = nn.functional.max_pool2d(maps, 2)
            maps = block(maps)
        return nn.functional.adaptive_avg_pool2d(maps, self.pool_side).flatten(1)


def _build_resnet(name: str, stem: str, in_channels: int) -> tuple[nn.Module, int]:
    """A torchvision ResNet under its own parameter names, its classifier replaced by identity.

    A width multiplier, the ``w2`` of ``resnet50w2``, widens every layer from the stem on; torchvision's
    ``width_per_group`` by itself widens the middle of a bottleneck alone.
    """
    from torchvision.models import resnet  # takes a second, which the small network does not need

    depth, _, multiplier = name.removeprefix("resnet").partition("w")
    width = int(multiplier or 1)
    block = resnet.BasicBlock if int(depth) < 50 else resnet.Bottleneck
    if width > 1:
        block = type("WideBottleneck", (block,), {"expansion": width * block.expansion})
    net = resnet.ResNet(block, _STAGES[int(depth)], width_per_group=64 * width)
    feature_dim = net.fc.in_features
    net.fc = nn.Identity()
    first = 64 * width
    if width > 1:
        # torchvision's stem has 64 channels whatever the width, so all that touches them is made anew.
        net.bn1 = nn.BatchNorm2d(first)
        net.layer1[0].conv1 = _conv(first, first, 1)
        net.layer1[0].downsample[0] = _conv(first, 4 * first, 1)
    if stem == "tiny":
        net.conv1 = _conv(in_channels, first, 3)
        net.maxpool = nn.Identity()
    elif in_channels != 3 or width > 1:
        net.conv1 = _conv(in_channels, first, 7, stride=2)
    return net, feature_dim


def _conv(in_channels: int, channels: int, side: int, *, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, channels, side, stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    return conv


def _build_vision_transformer(config: NetworkConfig, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    """The vision transformer of timm as the authors have it: 12 blocks, the feature is the normed class token.

    Views of another size than the global ones see the position embeddings interpolated bicubically. Where the grid
    shrinks timm smooths first, the authors do not. Source: method section 2.1.
    """
    timm = _import_timm(config.backbone)
    _require_whole_patches(config.patch_size, (image_size, image_size))
    feature_dim, num_heads = VISION_TRANSFORMERS[config.backbone]
    net = timm.models.VisionTransformer(
        img_size=image_size,
        patch_size=config.patch_size,
        in_chans=in_channels,
        num_classes=0,
        embed_dim=feature_dim,
        depth=12,
        num_heads=num_heads,
        drop_path_rate=config.drop_path,
        dynamic_img_size=True,
    )
    # All drawn anew: timm begins the class token at 1e-6, and about one weight in 30 million at -2 (measured, 1.0.31).
    net.apply(draw_truncated)
    draw_truncated(net.cls_token)
    draw_truncated(net.pos_embed)
    net.register_forward_pre_hook(functools.partial(_check_sides, config.patch_size))
    return net, feature_dim


def draw_truncated(part: nn.Module | Tensor) -> None:
    """New values as the authors draw them: normal of deviation 0.02, biases 0; of modules only linear layers change.

    Cut at six deviations; at 2, the usual bound, rounding may put a weight on the bound itself. Source: method sections
    2.1 and 2.2.
    """
    if isinstance(part, Tensor):
        nn.init.trunc_normal_(part, std=0.02, a=-0.12, b=0.12)
    elif isinstance(part, nn.Linear):
        draw_truncated(part.weight)
        nn.init.zeros_(part.bias)


def _check_sides(patch_size: int, net: nn.Module, inputs: tuple) -> None:
    _require_whole_patches(patch_size, tuple(inputs[0].shape[2:]))


def _require_whole_patches(patch_size: int, sides: tuple[int, ...]) -> None:
    if any(side % patch_size for side in sides):
        pixels = " x ".join(str(side) for side in sides)
        raise ConfigError(
            f"network.patch_size is {patch_size}: give a divisor of the views' sides, here {pixels} pixels"
        )


def _build_timm(config: NetworkConfig, in_channels: int, image_size: int) -> tuple[nn.Module, int]:
    timm = _import_timm(config.backbone)
    name = config.backbone.removeprefix("timm:")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
        hint = f"near are {', '.join(near)}" if near else "timm.list_models() names all it has"
        raise ConfigError(f"network.backbone is {config.backbone!r}: timm has no such model, {hint}")
    wishes: dict[str, Any] = {"img_size": image_size, "dynamic_img_size": True, "drop_path_rate": config.drop_path}
    while True:
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels, **wishes)
            break
        except Exception as error:
            # Which of them a model takes is known to its constructor alone, which refuses before it draws a weight.
            refused = [key for key in wishes if isinstance(error, TypeError) and repr(key) in str(error)]
            if not refused:
                raise ConfigError(
                    f"{config.backbone} cannot be made for {image_size} pixels ({type(error).__name__}: {error})"
                ) from error
        if "drop_path_rate" in refused and config.drop_path > 0:
            raise ConfigError(
                f"network.drop_path is {config.drop_path}: give 0, {config.backbone} takes no stochastic depth"
            )
        wishes = {key: value for key, value in wishes.items() if key not in refused}
    return net, _measured_feature_dim(net, config.backbone, in_channels, image_size)


def _import_timm(backbone: str) -> ModuleType:
    try:
        import timm  # takes seconds, and not everyone has it
    except ImportError as error:
        raise ConfigError(f"network.backbone is {backbone!r}: it needs timm, pip install 'twist-ssl[timm]'") from error
    return timm


def _build_own(reference: str, in_channels: int, image_size: int, run_folder: Path | None) -> tuple[nn.Module, int]:
    make = load_own(reference, run_folder=run_folder)
    try:
        net = make(in_channels)
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(f"{reference} fails, called with {in_channels} ({type(error).__name__}: {error})") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{reference} returned a {type(net).__name__}: give a torch.nn.Module")
    measured = _measured_feature_dim(net, reference, in_channels, image_size)
    stated = getattr(net, "feature_dim", measured)
    if stated != measured:
        raise ConfigError(f"{reference} has a feature_dim of {stated!r}, but its features have {measured}")
    return net, measured


def _measured_feature_dim(net: nn.Module, name: str, in_channels: int, image_size: int) -> int:
    """Width of the features of two black images, in evaluation."""
    training = net.training
    images = torch.zeros(2, in_channels, image_size, image_size)
    try:
        with torch.no_grad():
            features = net.eval()(images)
    except Exception as error:
        raise ConfigError(f"{name} fails on images {list(images.shape)} ({type(error).__name__}: {error})") from error
    finally:
        net.train(training)
    shape = list(features.shape) if isinstance(features, Tensor) else []
    if len(shape) != 2 or shape[0] != 2:
        what = shape or f"a {type(features).__name__}"
        raise ConfigError(f"{name} returned {what} for images {list(images.shape)}: give features [2, D]")
    return features.shape[1]
