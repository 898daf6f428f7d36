"""Backbones in the layouts of other people's checkpoints, told by the names of their tensors."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from twist.learn.backbones import build_backbone
from twist.learn.conversion import backbone_fields
from twist.learn.foreign_names import backbones_in
from twist.runs.config import NetworkConfig


@pytest.fixture(scope="module")
def theirs():
    with torch.device("meta"):
        return models.resnet18()


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def backbone_of(theirs):
    return {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}


class SmallImages(nn.Module):
    """A ResNet for small images as many write it: no pooling, ``shortcut`` and ``linear``."""

    def __init__(self, theirs):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False, device="meta"), theirs.bn1
        for stage in (1, 2, 3, 4):
            blocks = copy.deepcopy(getattr(theirs, f"layer{stage}"))
            for block in blocks:
                block.shortcut = block.downsample if block.downsample is not None else nn.Sequential()
                del block.downsample
            setattr(self, f"layer{stage}", blocks)
        self.linear = nn.Linear(512, 10, device="meta")


LAYOUTS = {
    "torchvision": lambda net: {"": net.state_dict()},
    "distributed": lambda net: {"": prefixed("module.", net.state_dict())},
    "lightning": lambda net: {"state_dict": prefixed("model.net.", net.state_dict())},
    "solo-learn": lambda net: {
        "state_dict": {
            **prefixed("backbone.", backbone_of(net)),
            **prefixed("momentum_backbone.", {k: t + 0 for k, t in backbone_of(net).items()}),
            **prefixed("projector.", nn.Linear(3, 3).state_dict()),
            **prefixed("classifier.", nn.Linear(3, 3).state_dict()),
        }
    },
    "lightly": lambda net: {
        "state_dict": {
            **prefixed("backbone.", nn.Sequential(*list(net.children())[:-1]).state_dict()),
            **prefixed("projection_head.layers.0.", nn.Linear(3, 3).state_dict()),
        }
    },
    "lightly, small images": lambda net: {
        "state_dict": prefixed("backbone.", nn.Sequential(*list(SmallImages(net).children())[:-1]).state_dict())
    },
    "a network for small images": lambda net: {"net": SmallImages(net).state_dict()},
    "dino": lambda net: {
        "student": prefixed("module.backbone.", {k: t + 0 for k, t in backbone_of(net).items()}),
        "teacher": {**prefixed("backbone.", backbone_of(net)), "head.mlp.0.weight": torch.rand(2, 2)},
    },
    "moco": lambda net: {
        "state_dict": {
            **prefixed("module.encoder_k.", {k: t + 0 for k, t in backbone_of(net).items()}),
            **prefixed("module.encoder_q.", backbone_of(net)),
            "module.encoder_q.fc.0.weight": torch.rand(2, 2),
            "module.queue": torch.rand(2, 2),
        }
    },
    "swav": lambda net: {
        "state_dict": {
            **prefixed("module.", backbone_of(net)),
            "module.projection_head.0.weight": torch.rand(2, 2),
            "module.prototypes.weight": torch.rand(2, 2),
        }
    },
    "barlow twins": lambda net: {
        "model": {**prefixed("module.backbone.", backbone_of(net)), "module.projector.0.weight": torch.rand(2, 2)}
    },
    "simclr": lambda net: {
        "state_dict": {**prefixed("backbone.", backbone_of(net)), "backbone.fc.0.weight": torch.rand(2, 2)}
    },
    "byol": lambda net: {
        "online_network_state_dict": {
            **prefixed("encoder.", nn.Sequential(*list(net.children())[:-1]).state_dict()),
            "projetion.net.0.weight": torch.rand(2, 2),
        },
        "target_network_state_dict": prefixed("encoder.", backbone_of(net)),
    },
    "vissl": lambda net: {
        "classy_state_dict/base_model/model/trunk": prefixed("_feature_blocks.", backbone_of(net)),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_backbone_that_others_evaluate_is_found_first_under_our_names(theirs, layout):
    parts = LAYOUTS[layout](theirs)
    found = backbones_in(parts)[0]
    stem = "tiny" if "small" in layout else "standard"
    assert backbone_fields(found.tensors) == {"backbone": "resnet18", "stem": stem}
    assert set(found.tensors) == set(backbone_of(theirs))
    assert found.numbered == (layout in ("lightly", "lightly, small images", "byol"))
    for word in ("student", "momentum", "encoder_k", "target"):
        assert word not in found.where
    own = backbone_of(theirs)
    if stem == "standard":
        assert all(found.tensors[name] is own[name] or found.tensors[name].shape == own[name].shape for name in own)
    assert not any("fc" in name or "head" in name or "project" in name for name in found.tensors)


def test_a_momentum_copy_can_still_be_had(theirs):
    assert [one.where for one in backbones_in(LAYOUTS["moco"](theirs))] == [
        "state_dict/module.encoder_q.",
        "state_dict/module.encoder_k.",
    ]
    found = backbones_in(LAYOUTS["solo-learn"](theirs))
    assert [one.where for one in found] == ["state_dict/backbone.", "state_dict/momentum_backbone."]
    assert {"classifier.weight", "projector.bias"} <= set(found[0].left)


def test_files_that_do_not_count_batches_are_complete(theirs):
    state = {name: t for name, t in backbone_of(theirs).items() if not name.endswith("num_batches_tracked")}
    assert set(backbones_in({"": state})[0].tensors) == set(backbone_of(theirs))


def test_names_that_nothing_explains_stay_so_that_filling_lists_them(theirs):
    state = {**backbone_of(theirs), "layer1.0.se.weight": torch.rand(2), "odd.weight": torch.rand(2)}
    assert {"layer1.0.se.weight", "odd.weight"} <= set(backbones_in({"": state})[0].tensors)


def test_no_backbone_is_found_where_none_is():
    assert backbones_in({"": {"a.weight": torch.rand(2, 2), "0.weight": torch.rand(2, 2)}}) == []
    assert backbones_in({}) == []


@pytest.mark.parametrize("prefix", ["", "module.base_encoder.", "backbone."])
def test_vision_transformers_leave_their_decoder_and_heads(prefix):
    pytest.importorskip("timm")
    with torch.device("meta"):
        net, _ = build_backbone(NetworkConfig(backbone="vit_t", patch_size=8), 3, image_size=32)
    beside = {name: torch.rand(2, 2) for name in ("head.weight", "decoder_blocks.0.attn.qkv.weight", "mask_token")}
    found = backbones_in({"model": prefixed(prefix, {**net.state_dict(), **beside})})[0]
    assert set(found.tensors) == set(net.state_dict())
    assert backbone_fields(found.tensors) == {"backbone": "vit_t", "patch_size": 8}
