import sys

import pytest
import torch
from torch.nn import functional

from twist.learn.backbones import SmallConv, build_backbone
from twist.runs.config import ConfigError, NetworkConfig, Recipe
from twist.runs.own_code import keep_own_code


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def build(backbone, in_channels=3, *, image_size=32, run_folder=None, **fields):
    config = NetworkConfig(backbone=backbone, **fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(config, in_channels, image_size=image_size, run_folder=run_folder)


def on_meta(*args, **fields):
    """A backbone without memory for its weights."""
    with torch.device("meta"):
        return build(*args, **fields)


def shapes(net):
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("side", [4, 7, 8, 28, 32, 64])
@pytest.mark.parametrize("widths", [(8,), (8, 12, 16), (4, 4, 4, 4, 6)])
def test_small_conv_takes_small_and_larger_images(side, widths):
    net = SmallConv(3, widths)
    features = net(randn(2, 3, side, side))
    assert features.shape == (2, widths[-1]) and features.isfinite().all()


def test_small_conv_takes_a_single_pixel():
    assert SmallConv(1, (4, 8))(randn(3, 1, 1, 1)).shape == (3, 8)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("stem", ["tiny", "standard"])
@pytest.mark.parametrize(("backbone", "feature_dim"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_resnets_keep_torchvision_names_and_shapes(backbone, feature_dim, stem, in_channels):
    from torchvision import models

    net, stated = build(backbone, in_channels, stem=stem)
    with torch.device("meta"):
        theirs = getattr(models, backbone)().state_dict()
    ours = net.state_dict()
    assert list(ours) == [name for name in theirs if not name.startswith("fc.")]
    changed = [name for name in ours if ours[name].shape != theirs[name].shape]
    assert changed == ([] if (stem, in_channels) == ("standard", 3) else ["conv1.weight"])
    with torch.no_grad():
        features = net.eval()(randn(2, in_channels, 32, 32))
    assert stated == feature_dim and features.shape == (2, feature_dim)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50w2"])
def test_tiny_stem_keeps_the_resolution_of_the_first_stage(backbone):
    sides = {}
    for stem in ("tiny", "standard"):
        net, _ = on_meta(backbone, stem=stem)
        net.layer1.register_forward_hook(lambda module, i, output, stem=stem: sides.update({stem: output.shape[-1]}))
        net.eval()(torch.empty(1, 3, 32, 32, device="meta"))
    assert sides == {"tiny": 32, "standard": 8}


@pytest.mark.parametrize(("name", "width", "feature_dim"), [("w2", 2, 4096), ("w4", 4, 8192), ("w5", 5, 10240)])
def test_a_wide_resnet_is_widened_in_every_layer(name, width, feature_dim):
    narrow, _ = on_meta("resnet50", stem="standard")
    wide, stated = on_meta(f"resnet50{name}", stem="standard")
    expected = {key: tuple(width * side for side in shape[:2]) + shape[2:] for key, shape in shapes(narrow).items()} | {
        "conv1.weight": (64 * width, 3, 7, 7)
    }
    assert shapes(wide) == expected and stated == feature_dim
    images = torch.empty(2, 3, 64, 64, device="meta")
    assert wide.eval()(images).shape == (2, feature_dim)


def test_the_wide_resnet_has_the_parameters_that_the_method_counts():
    assert count(on_meta("resnet50", stem="standard")[0]) == pytest.approx(23.508e6, abs=500)
    assert count(on_meta("resnet50w2", stem="standard")[0]) == pytest.approx(93.907e6, abs=500)


def test_resnet200_is_the_one_of_timm():
    import timm

    net, feature_dim = on_meta("resnet200", stem="standard")
    with torch.device("meta"):
        theirs = timm.create_model("resnet200", num_classes=0)
    assert shapes(net) == shapes(theirs) and feature_dim == 2048
    assert on_meta("resnet200w2")[1] == 4096


@pytest.mark.parametrize(("backbone", "stem"), [("resnet50", "tiny"), ("resnet50w2", "standard")])
def test_bottlenecks_stride_in_the_middle_and_begin_kaiming_with_every_norm_at_one(backbone, stem):
    net, _ = build(backbone, 1, stem=stem)
    assert [net.layer2[0].conv1.stride, net.layer2[0].conv2.stride] == [(1, 1), (2, 2)]
    for conv in (net.conv1, net.layer1[0].conv1, net.layer1[0].downsample[0], net.layer4[2].conv2):
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert all(value.eq(1).all() for name, value in net.state_dict().items() if name.endswith("bn3.weight"))


def by_the_book(weights, images, *, heads, patch):
    """The class token of a vision transformer, written out from section 2.1 of the method."""

    def linear(rows, name):
        return functional.linear(rows, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(rows, name):
        return functional.layer_norm(rows, rows.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def attention(rows, name):
        qkv = linear(rows, f"{name}.qkv").unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        scores = qkv[0] @ qkv[1].transpose(-2, -1) / qkv.shape[-1] ** 0.5
        return linear((scores.softmax(-1) @ qkv[2]).transpose(1, 2).flatten(2), f"{name}.proj")

    patches = functional.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], patch)
    tokens = torch.cat([weights["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    rows = tokens + weights["pos_embed"]
    for block in range(12):
        name = f"blocks.{block}"
        rows = rows + attention(norm(rows, f"{name}.norm1"), f"{name}.attn")
        hidden = functional.gelu(linear(norm(rows, f"{name}.norm2"), f"{name}.mlp.fc1"))
        rows = rows + linear(hidden, f"{name}.mlp.fc2")
    return norm(rows, "norm")[:, 0]


@pytest.mark.parametrize("in_channels", [1, 3])
def test_features_of_a_vision_transformer_are_its_normed_class_token(in_channels):
    net, feature_dim = build("vit_t", in_channels, image_size=32, patch_size=8)
    net, images = net.double().eval(), randn(2, in_channels, 32, 32).double()
    with torch.no_grad():
        features = net(images)
        expected = by_the_book(net.state_dict(), images, heads=3, patch=8)
    assert feature_dim == features.shape[1] == 192
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("backbone", "width", "heads", "millions"), [("vit_t", 192, 3, 6), ("vit_s", 384, 6, 22), ("vit_b", 768, 12, 86)]
)
def test_vision_transformers_have_the_parameters_that_the_method_counts(backbone, width, heads, millions):
    net, feature_dim = on_meta(backbone, image_size=224)
    blocks = 12 * (12 * width**2 + 13 * width)
    around = 3 * 16 * 16 * width + width + width + (14 * 14 + 1) * width + 2 * width
    assert count(net) == blocks + around and round(count(net) / 1e6) == millions
    assert feature_dim == width and [block.attn.num_heads for block in net.blocks] == [heads] * 12
    assert list(shapes(net)) == [
        *("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"),
        *(
            f"blocks.{block}.{layer}.{part}"
            for block in range(12)
            for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
            for part in ("weight", "bias")
        ),
        *("norm.weight", "norm.bias"),
    ]


def test_a_vision_transformer_begins_truncated_normal_with_zero_biases():
    net, _ = build("vit_t", image_size=64, patch_size=4)
    linears = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
    assert len(linears) == 48
    for weight in (net.cls_token, net.pos_embed, *(linear.weight for linear in linears)):
        # The deviation of n draws is itself off by about 1 / sqrt(2 n).
        assert weight.std().item() == pytest.approx(0.02, rel=4 / (2 * weight.numel()) ** 0.5)
        assert weight.abs().max() <= 0.12
    assert not any(linear.bias.any() for linear in linears)


def test_stochastic_depth_grows_linearly_from_nothing():
    net, _ = on_meta("vit_t", drop_path=0.22)
    rates = [getattr(path, "drop_prob", 0.0) for block in net.blocks for path in (block.drop_path1, block.drop_path2)]
    assert rates == pytest.approx([0.02 * block for block in range(12) for _ in range(2)])


def test_positions_are_interpolated_bicubically_for_another_size():
    net, _ = build("vit_t", image_size=32, patch_size=8)
    small, _ = build("vit_t", image_size=16, patch_size=8)
    weights = net.state_dict()
    token, grid = weights["pos_embed"].split([1, 16], 1)
    grid = functional.interpolate(grid.mT.unflatten(2, (4, 4)), size=(2, 2), mode="bicubic", antialias=True)
    small.load_state_dict(weights | {"pos_embed": torch.cat([token, grid.flatten(2).mT], 1)})
    images = randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(images), small.eval()(images))


def test_images_that_patches_do_not_fill_are_refused():
    with pytest.raises(ConfigError, match="network.patch_size is 16: give a divisor of the views' sides, here 40 x 40"):
        on_meta("vit_t", image_size=40)
    net, _ = on_meta("vit_t", image_size=32)
    with pytest.raises(ConfigError, match="network.patch_size is 16: .* here 32 x 24 pixels"):
        net(torch.empty(2, 3, 32, 24, device="meta"))


@pytest.mark.parametrize("backbone", ["vit_s", "timm:resnet18"])
def test_without_timm_the_fix_is_named(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs timm, pip install 'twist-ssl\[timm\]'"):
        build(backbone)


@pytest.mark.parametrize("backbone", ["vit_t", "timm:vit_tiny_patch16_224"])
def test_a_frozen_patch_embedding_takes_no_gradient(backbone):
    net, _ = build(backbone, freeze_patch_embedding=True)
    net(randn(2, 3, 32, 32)).square().sum().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert without == ["patch_embed.proj.weight", "patch_embed.proj.bias"]


@pytest.mark.parametrize("backbone", ["small_conv", "resnet18", "timm:resnet18"])
def test_a_backbone_without_patches_cannot_freeze_them(backbone):
    with pytest.raises(ConfigError, match=f"{backbone} has no patch embedding"):
        on_meta(backbone, freeze_patch_embedding=True)


@pytest.mark.parametrize("backbone", ["small_conv", "resnet18", "timm:vgg11", "own.py:Net"])
def test_stochastic_depth_is_refused_where_there_is_none(backbone):
    with pytest.raises(ConfigError, match=f"network.drop_path is 0.1: give 0, {backbone} takes no stochastic depth"):
        on_meta(backbone, drop_path=0.1)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "feature_dim"),
    [
        ("resnet18", 512),
        ("mobilenetv3_small_050", 1024),  # its maps have 288 channels, its features are wider
        ("vit_tiny_patch16_224", 192),
        ("swin_tiny_patch4_window7_224", 768),
        ("convnext_atto", 320),
    ],
)
def test_any_model_of_timm_gives_features_of_its_pooled_width(name, feature_dim, in_channels):
    net, stated = on_meta(f"timm:{name}", in_channels, image_size=64)
    images = torch.empty(2, in_channels, 64, 64, device="meta")
    assert net.training and stated == feature_dim and net(images).shape == (2, feature_dim)


def test_a_vision_transformer_of_timm_takes_two_resolutions_and_stochastic_depth():
    net, _ = on_meta("timm:vit_tiny_patch16_224", image_size=64, drop_path=0.1)
    assert net.pos_embed.shape == (1, 17, 192) and net.blocks[11].drop_path1.drop_prob == pytest.approx(0.1)
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 192)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet8", "timm has no such model, near are .*resnet18"),
        ("hf-hub:timm/resnet18", "timm has no such model"),
        ("resnet18.no_such_weights", "cannot be made for 32 pixels"),
        ("crossvit_9_240", r"fails on images \[2, 3, 32, 32\]"),
    ],
)
def test_a_model_that_timm_cannot_give_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(f"timm:{name}")


OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.layer = nn.Linear(in_channels, 7)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))


class Stated(Net):
    feature_dim = 7


class Misstated(Net):
    feature_dim = 8


class Maps(nn.Identity):
    pass


class Several(Net):
    def forward(self, images):
        return [images]


class Picky(Net):
    def forward(self, images):
        raise RuntimeError("too small")


def function(in_channels):
    return lambda images: images


def breaks(in_channels):
    raise KeyError("weights")
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", ["Net", "Stated"])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_persons_own_backbone_is_used_with_its_width(own, name, in_channels):
    net, feature_dim = build(f"{own}:{name}", in_channels)
    assert feature_dim == 7 and net.training
    assert net(randn(2, in_channels, 8, 8)).shape == (2, 7)


def test_a_persons_own_backbone_may_come_from_a_package(own, monkeypatch):
    monkeypatch.syspath_prepend(own.parent)
    own.rename(own.with_name("twist_test_own_package.py"))
    assert build("twist_test_own_package:Net")[1] == 7


def test_a_run_goes_on_with_the_own_backbone_it_began_with(own, tmp_path):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    keep_own_code(Recipe(network=NetworkConfig(backbone=f"{own}:Net")), run_folder)
    own.write_text(OWN.replace("7", "9"))
    assert build(f"{own}:Net", run_folder=run_folder)[1] == 7
    assert build(f"{own}:Net")[1] == 9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Misstated", "has a feature_dim of 8, but its features have 7"),
        ("Maps", r"returned \[2, 3, 32, 32\] for images \[2, 3, 32, 32\]: give features \[2, D\]"),
        ("Several", "returned a list for images"),
        ("Picky", r"fails on images \[2, 3, 32, 32\] \(RuntimeError: too small\)"),
        ("function", "returned a function: give a torch.nn.Module"),
        ("breaks", r"fails, called with 3 \(KeyError: 'weights'\)"),
        ("Nett", "has no function or class 'Nett'"),
    ],
)
def test_an_own_backbone_that_cannot_be_used_says_why(own, name, message):
    with pytest.raises(ConfigError, match=message):
        build(f"{own}:{name}")
