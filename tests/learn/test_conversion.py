import argparse
import copy
import re
from pathlib import Path

import pytest
import torch

from twist.learn import foreign
from twist.learn.conversion import image_size_of, import_weights, in_channels_of, network_config_of
from twist.learn.foreign import ForeignCheckpoint, read_foreign
from twist.learn.networks import build_network
from twist.runs.config import ConfigError, NetworkConfig

HIDDEN, CLASSES = 24, 12
CONFIG = NetworkConfig(backbone="resnet18", stem="standard", hidden_dim=HIDDEN, num_classes=CLASSES)
ARGUMENTS = {
    **{"backbone": "resnet18", "hid_dim": HIDDEN, "dim": CLASSES, "proj_norm": "bn", "act": "relu", "lbn_type": "bn"},
    **{"patch_size": 16, "tau": 1.0, "epochs": 850, "aug": "multicrop", "output_dir": "/secret/place"},
}


def image_batch():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def shake(module, seed=0):
    """Small random weights, and running statistics of some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(321)
            elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            else:
                tensor.copy_(0.05 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


class Authors(torch.nn.Module):
    """The authors' network on a resnet18, from the description of its layers and not from ours."""

    def __init__(self, seed=0):
        super().__init__()
        from torchvision import models

        linear, norm = torch.nn.Linear, torch.nn.BatchNorm1d
        self.backbone = models.resnet18()
        self.backbone.fc = torch.nn.Identity()
        hidden = [linear(512, HIDDEN), norm(HIDDEN), torch.nn.ReLU(), torch.nn.Dropout(0.0)]
        hidden += [linear(HIDDEN, HIDDEN), norm(HIDDEN), torch.nn.ReLU()]
        self.head = torch.nn.Sequential(*hidden, linear(HIDDEN, CLASSES), norm(CLASSES, affine=False))
        shake(self, seed)

    def state(self, old=False, prefix=""):
        last, norm = ("cls_heads.0.0.", "cls_heads.0.1.") if old else ("last_linear.", "norm.")
        named = {f"backbone.{name}": tensor for name, tensor in self.backbone.state_dict().items()}
        for name, tensor in self.head.state_dict().items():
            index, _, rest = name.partition(".")
            place = {"7": last, "8": norm}.get(index, f"projection_head.{index}.")
            named[f"projection_heads.{place}{rest}"] = tensor
        return {prefix + name: tensor for name, tensor in named.items()}

    def checkpoint(self, *, old=False, prefix="", teacher=None, **changes):
        content = {"model": self.state(old, prefix), "backbone": self.backbone.state_dict(), "optimizer": {}}
        if teacher is not None:
            content |= {"teacher": teacher.state(old, prefix)}
        return {**content, "epoch": 849, "args": argparse.Namespace(**{**ARGUMENTS, **changes})}

    @torch.no_grad()
    def outputs(self):
        features = self.backbone(image_batch())
        return features, self.head(features)


@pytest.fixture(scope="module")
def theirs():
    return Authors()


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Save under a name; what is saved is read without a child, whose start takes seconds."""
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)

    def save(content):
        torch.save(content, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"

    return save


@torch.no_grad()
def outputs(network):
    return network.eval()(image_batch())


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        # Or the equality would say nothing.
        assert one.isfinite().all() and (one != 0).float().mean() > 0.3 and not torch.equal(one[0], one[1])


@pytest.mark.parametrize("old", [False, True], ids=["last_linear", "cls_heads"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_our_network_answers_exactly_as_the_authors_whose_weights_it_took(theirs, save, old, prefix):
    found = read_foreign(save(theirs.checkpoint(old=old, prefix=prefix)))
    network = build_network(network_config_of(found), in_channels=3, seed=1)
    report = import_weights(network, found)
    assert_same(outputs(network), theirs.outputs())
    assert report.part == "model" and report.head and report.epoch == 849
    assert report.num_tensors == len(network.state_dict())
    assert report.num_numbers == sum(tensor.numel() for tensor in network.state_dict().values())


def test_by_way_of_the_child_process_too(theirs, tmp_path):
    torch.save(theirs.checkpoint(old=True, prefix="module."), tmp_path / "checkpoint.pth")
    network = build_network(CONFIG, in_channels=3, seed=1)
    import_weights(network, tmp_path / "checkpoint.pth")
    assert_same(outputs(network), theirs.outputs())


def test_the_report_tells_what_was_loaded_and_how_it_was_made(theirs, save):
    path = save(theirs.checkpoint())
    text = str(import_weights(build_network(CONFIG, in_channels=3, seed=0), path))
    assert text.startswith(f"backbone and head from 'model' of {path}: 139 tensors, ")
    assert "epoch 849; made with backbone 'resnet18'" in text and "tau 1.0, aug 'multicrop', epochs 850" in text
    assert "not read: optimizer" in text and "secret" not in text


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_a_backbone_alone_fills_the_backbone_and_leaves_the_head(theirs, save, prefix):
    state = {prefix + name: tensor for name, tensor in theirs.backbone.state_dict().items()}
    network = build_network(CONFIG, in_channels=3, seed=1)
    before = copy.deepcopy(network.projection_heads.state_dict())
    report = import_weights(network, save(state))
    assert report.part == "backbone" and not report.head and report.arguments == {}
    assert_same(outputs(network)[:1], theirs.outputs()[:1])
    assert all(torch.equal(network.projection_heads.state_dict()[name], before[name]) for name in before)


def test_the_teacher_and_its_backbone_are_parts_too(theirs, save):
    teacher = Authors(seed=7)
    path = save(theirs.checkpoint(teacher=teacher))
    network = build_network(CONFIG, in_channels=3, seed=1)
    assert import_weights(network, path, part="teacher").head
    assert_same(outputs(network), teacher.outputs())
    other = build_network(CONFIG, in_channels=3, seed=1)
    assert not import_weights(other, path, part="teacher_backbone").head  # taken out of the teacher
    assert_same(outputs(other)[:1], teacher.outputs()[:1])
    import_weights(other, path)
    assert_same(outputs(other), theirs.outputs())


def test_a_part_that_is_not_there_is_named_with_those_that_are(theirs, save):
    network = build_network(CONFIG, in_channels=3, seed=1)
    path = save(theirs.checkpoint())
    with pytest.raises(ConfigError, match="has no part 'teacher_backbone': it has model, backbone"):
        import_weights(network, path, part="teacher_backbone")
    with pytest.raises(ConfigError, match=r"part is 'teachers': give one of auto, model.*did you mean 'teacher'"):
        import_weights(network, path, part="teachers")


def test_every_difference_is_told_at_once_and_nothing_is_changed(theirs, save):
    state = theirs.state()
    del state["backbone.conv1.weight"], state["projection_heads.norm.running_var"]
    state["projection_heads.extra.weight"] = torch.rand(2)
    state["backbone.bn1.num_batches_tracked"] = torch.tensor(1.5)
    state["backbone.bn1.bias"] = torch.full((64,), float("nan"))
    config = NetworkConfig(backbone="resnet18", stem="standard", hidden_dim=HIDDEN, num_classes=7)
    network = build_network(config, in_channels=3, seed=1)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ConfigError) as error:
        import_weights(network, save({"model": state}))
    message = str(error.value)
    assert "2 missing from the file (backbone.conv1.weight, projection_heads.norm.running_var)" in message
    assert "1 unknown to the network (projection_heads.extra.weight)" in message
    assert "3 of another shape (projection_heads.last_linear.weight is (12, 24) in the file, (7, 24) in" in message
    assert "1 of another kind of number (backbone.bn1.num_batches_tracked)" in message
    assert "1 not finite (backbone.bn1.bias)" in message
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_long_lists_of_names_are_cut_and_counted(theirs, save):
    network = build_network(NetworkConfig(backbone="resnet34", stem="standard", hidden_dim=8), in_channels=3, seed=0)
    missing = len(network.backbone.state_dict()) - len(theirs.backbone.state_dict())
    with pytest.raises(ConfigError, match=rf"{missing} missing from the file .* and {missing - 20} more\)"):
        import_weights(network, save(theirs.backbone.state_dict()))


def test_a_file_of_half_precision_fills_a_network_of_single_precision(theirs, save):
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in theirs.state().items()}
    network = build_network(CONFIG, in_channels=3, seed=1)
    import_weights(network, save({"model": state}))
    assert network.backbone.conv1.weight.dtype == torch.float32
    assert torch.equal(network.backbone.conv1.weight, theirs.backbone.conv1.weight.half().float())


# Of the configuration


def found(tensors, arguments=None, part="model"):
    return ForeignCheckpoint(
        Path("file.pth"), {part: dict(tensors)}, ARGUMENTS if arguments is None else arguments, None
    )


@pytest.mark.parametrize("head_norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("final_norm", ["batch", "sync", "none"])
def test_the_network_of_our_own_weights_is_ours(head_norm, final_norm):
    config = NetworkConfig(
        backbone="resnet18",
        hidden_dim=9,
        num_classes=5,
        head_norm=head_norm,
        activation="gelu",
        final_norm=final_norm,
    )
    proj_norm = {"batch": "bn", "layer": "ln", "none": "none"}[head_norm]
    lbn_type = {"batch": "bn", "sync": "syncbn", "none": "identity"}[final_norm]
    arguments = {"backbone": "resnet18", "hid_dim": 9, "dim": 5, "act": "gelu", "proj_norm": proj_norm}
    checkpoint = found(build_network(config, 1, seed=0).state_dict(), {**arguments, "lbn_type": lbn_type})
    assert network_config_of(checkpoint) == config
    assert in_channels_of(checkpoint) == 1 and image_size_of(checkpoint) is None


def stages(first, block, depths, width):
    """Names and shapes of a ResNet's convolutions, as many as tell it."""
    shapes = {"conv1.weight": (64 * width, 3, first, first)}
    for stage, depth in enumerate(depths, 1):
        for index in range(depth):
            for conv in range(1, block + 1):
                shapes[f"layer{stage}.{index}.conv{conv}.weight"] = (64 * width * 2 ** (stage - 1), 8, 1, 1)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "block", "depths", "width"),
    [
        ("resnet18", 2, (2, 2, 2, 2), 1),
        ("resnet34", 2, (3, 4, 6, 3), 1),
        ("resnet50", 3, (3, 4, 6, 3), 1),
        ("resnet50w2", 3, (3, 4, 6, 3), 2),
        ("resnet50w4", 3, (3, 4, 6, 3), 4),
        ("resnet50w5", 3, (3, 4, 6, 3), 5),
        ("resnet200", 3, (3, 24, 36, 3), 1),
        ("resnet200w2", 3, (3, 24, 36, 3), 2),
    ],
)
def test_a_resnet_is_known_by_its_shapes(name, block, depths, width):
    for first, stem in ((7, "standard"), (3, "tiny")):
        config = network_config_of(found(stages(first, block, depths, width), {}, "backbone"))
        assert config == NetworkConfig(backbone=name, stem=stem)


@pytest.mark.parametrize("name", ["resnet18", "resnet50w2"])
def test_a_resnet_that_was_built_is_known_by_its_shapes(name):
    with torch.device("meta"):
        state = build_network(NetworkConfig(backbone=name, stem="standard", hidden_dim=8), 3, seed=0).state_dict()
    assert network_config_of(found(state, {})).backbone == name


@pytest.mark.parametrize("name", ["vit_t", "vit_s"])
def test_a_vision_transformer_is_known_by_its_shapes(name):
    pytest.importorskip("timm")
    config = NetworkConfig(backbone=name, patch_size=8, hidden_dim=8)
    with torch.device("meta"):
        state = build_network(config, 3, seed=0, image_size=40).state_dict()
    checkpoint = found(state, {"backbone": name, "patch_size": 8, "act": "gelu"})
    known = network_config_of(checkpoint)
    assert (known.backbone, known.patch_size, known.activation, known.num_classes) == (name, 8, "gelu", 10)
    assert image_size_of(checkpoint) == 40 and in_channels_of(checkpoint) == 3
    with pytest.raises(ConfigError, match="arguments say patch_size 16, its tensors 8"):
        network_config_of(found(state, {"patch_size": 16}))


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("backbone", "resnet50", "its arguments say backbone 'resnet50', its tensors 'resnet18'"),
        ("hid_dim", 4096, "its arguments say hidden_dim 4096, its tensors 24"),
        ("dim", 1000, "its arguments say num_classes 1000, its tensors 12"),
        ("dim", "many", "its argument dim is 'many', not a whole number"),
        ("proj_norm", "ln", "its arguments say head_norm 'layer', its tensors 'batch'"),
        ("lbn_type", "identity", "its arguments say final_norm 'none', its tensors 'batch'"),
        ("act", "tanh", "its argument act is 'tanh', known are relu, gelu"),
        ("act", ["relu"], "its argument act is .*, known are relu, gelu"),
    ],
)
def test_arguments_that_contradict_the_tensors_are_named(theirs, argument, value, message):
    with pytest.raises(ConfigError, match=f"'file.pth'.*{message}"):
        network_config_of(found(theirs.state(), {**ARGUMENTS, argument: value}))


def test_without_arguments_the_activation_is_the_authors_default(theirs):
    assert network_config_of(found(theirs.state(), {})) == CONFIG


@pytest.mark.parametrize(
    "change",
    [
        {"fc.weight": torch.rand(10, 512)},
        {"layer1.0.se.weight": torch.rand(2)},
        {"layer1.2.conv1.weight": torch.rand(64, 64, 3, 3)},
        {"layer1.0.conv1.weight": torch.rand(128, 64, 3, 3)},
        {"conv1.weight": torch.rand(64, 3, 5, 5)},
        {"conv1.weight": torch.rand(64)},
    ],
    ids=["classifier", "squeeze", "depth", "middle width", "first convolution", "shape"],
)
def test_other_networks_are_not_taken_for_ours(theirs, change):
    checkpoint = found({**theirs.backbone.state_dict(), **change}, {}, "backbone")
    words = f"these are the weights of none of resnet18, resnet34|{re.escape(next(iter(change)))}"
    with pytest.raises(ConfigError, match=words):
        network = build_network(network_config_of(checkpoint), in_channels_of(checkpoint), seed=0)
        import_weights(network, checkpoint)


def test_a_head_without_its_layers_is_named(theirs):
    state = theirs.state()
    del state["projection_heads.last_linear.weight"]
    with pytest.raises(ConfigError, match="'file.pth': its head has no 'last_linear.weight'"):
        network_config_of(found(state))
