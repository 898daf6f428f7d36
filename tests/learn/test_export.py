import argparse
import hashlib
import io
import json
import os
import pickle
import re

import numpy as np
import pytest
import torch
from torchvision import models

from twist.learn import foreign
from twist.learn.conversion import import_weights
from twist.learn.detectron2_config import resnet_sizes
from twist.learn.export import FORMS, detectron2_name, export_backbone, pickle_of_arrays
from twist.learn.foreign import read_foreign
from twist.learn.networks import build_network
from twist.runs.config import ConfigError, NetworkConfig, ViewsConfig
from twist.runs.store import read_manifest

CARD = {"name": "Small random network", "recipe": "paper_rn18", "images": "none at all", "epochs": 3}


def image_batch(channels=3, side=64):
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(5))


def network_of(backbone="resnet18", *, seed=0, channels=3, size=32, **fields):
    config = NetworkConfig(backbone=backbone, hidden_dim=8, num_classes=6, **{"stem": "standard", **fields})
    network = build_network(config, channels, seed=seed, image_size=size)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(321)
    return network.eval()


@pytest.fixture(scope="module")
def resnet18():
    return network_of()


@pytest.fixture
def in_process(monkeypatch):
    """Read without a child, whose start takes seconds."""
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)


@torch.no_grad()
def features(backbone, **of_images):
    found = backbone.eval()(image_batch(**of_images))
    # Or an equality would say nothing.
    assert found.isfinite().all() and (found != 0).float().mean() > 0.3 and not torch.equal(found[0], found[1])
    return found


class NumpyAlone(pickle.Unpickler):
    """Loads nothing but numpy's arrays."""

    def find_class(self, module, name):
        assert (module, name) in {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
        }
        return super().find_class(module, name)


def documented_name(name):
    """The conversion as scripts for detectron2 do it, rule by rule."""
    if "layer" not in name:
        name = "stem." + name
    for stage in (1, 2, 3, 4):
        name = name.replace(f"layer{stage}", f"res{stage + 1}")
    for norm in (1, 2, 3):
        name = name.replace(f"bn{norm}", f"conv{norm}.norm")
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def load_card_lines(path):
    """What the lines of a model card give, run in its folder."""
    lines = re.search(r"```python\n(.*?)```", (path.parent / "README.md").read_text(), re.S)[1]
    found = {}
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        exec(lines, found)
    finally:
        os.chdir(before)
    return found["net"]


# Round trips


def test_from_the_authors_to_each_form_and_back_the_outputs_are_the_same(resnet18, tmp_path, in_process):
    content = {"model": resnet18.state_dict(), "epoch": 1, "args": argparse.Namespace(dim=6)}
    torch.save(content, tmp_path / "checkpoint.pth")
    ours = network_of(seed=1)
    import_weights(ours, tmp_path / "checkpoint.pth")
    with torch.no_grad():
        assert torch.equal(ours(image_batch()).logits, resnet18(image_batch()).logits)
    expected = features(resnet18.backbone)
    for form in FORMS:
        path = export_backbone(ours, tmp_path / form, form=form, card=CARD)
        back = network_of(seed=2)
        assert not torch.equal(features(back.backbone), expected)
        if form == "detectron2":
            arrays = NumpyAlone(io.BytesIO(path.read_bytes())).load()["model"]
            names = {documented_name(name): name for name in back.backbone.state_dict()}
            state = {names[name]: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            torch.save(state, path := tmp_path / "from_detectron2.pth")
        assert import_weights(back, path).part == "backbone"
        assert torch.equal(features(back.backbone), expected), form
        for name, tensor in back.backbone.state_dict().items():
            assert torch.equal(tensor, resnet18.backbone.state_dict()[name]), (form, name)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_torchvision_lacks_only_its_classifier(name, tmp_path):
    network = network_of(name)
    path = export_backbone(network, tmp_path / "export", form="torchvision", card={})
    net = getattr(models, name)()
    keys = net.load_state_dict(torch.load(path, weights_only=True), strict=False)
    assert keys.missing_keys == ["fc.weight", "fc.bias"] and keys.unexpected_keys == []
    net.fc = torch.nn.Identity()
    assert torch.equal(features(net), features(network.backbone))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timm_loads_every_tensor_of_a_resnet_and_answers_the_same(name, tmp_path):
    timm = pytest.importorskip("timm")
    network = network_of(name)
    path = export_backbone(network, tmp_path / "export", form="timm", card={})
    net = timm.create_model(name, num_classes=0)
    net.load_state_dict(read_foreign(path).tensors["backbone"], strict=True)
    assert torch.equal(features(net), features(network.backbone))


def test_detectron2_gets_a_pickle_that_numpy_alone_reads_under_its_own_names(resnet18, tmp_path):
    path = export_backbone(resnet18, tmp_path / "export", form="detectron2", card={})
    content = NumpyAlone(io.BytesIO(path.read_bytes())).load()
    assert content["__author__"] == "twist" and content["matching_heuristics"] is True
    state = resnet18.backbone.state_dict()
    assert list(content["model"]) == [documented_name(name) for name in state]
    for array, tensor in zip(content["model"].values(), state.values(), strict=True):
        assert type(array) is np.ndarray and array.flags.writeable
        np.testing.assert_array_equal(array, tensor.numpy(), strict=True)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152"])
def test_names_for_detectron2_follow_the_documented_rules(name):
    with torch.device("meta"):
        names = [key for key in getattr(models, name)().state_dict() if not key.startswith("fc.")]
    assert [detectron2_name(key) for key in names] == [documented_name(key) for key in names]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "int32", "uint8", "int8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 1)])
def test_a_pickle_of_arrays_gives_the_arrays_back(dtype, shape):
    array = np.asarray(np.arange(np.prod(shape)), dtype=dtype).reshape(shape)
    odd = array.astype(np.dtype(dtype).newbyteorder(">")).T
    content = {"a": array, "b": {"é": "ü", "yes": True, "no": False}, "odd": odd}
    back = NumpyAlone(io.BytesIO(pickle_of_arrays(content))).load()
    np.testing.assert_array_equal(back["a"], array, strict=True)
    np.testing.assert_array_equal(back["odd"], array.T, strict=True)
    assert back["b"] == content["b"] and list(back) == list(content)


# Model cards


@pytest.mark.parametrize(
    ("form", "backbone", "fields"),
    [
        ("torchvision", "resnet18", {}),
        ("torchvision", "resnet18", {"stem": "tiny"}),
        ("torchvision", "resnet18", {"channels": 1}),
        ("torchvision", "resnet50w2", {}),
        ("timm", "resnet18", {"stem": "tiny", "channels": 1}),
        ("timm", "resnet50w2", {"stem": "tiny"}),
        ("timm", "vit_t", {"patch_size": 8, "size": 64}),
        ("timm", "vit_t", {"patch_size": 16, "size": 64, "channels": 1}),
        ("safetensors", "resnet18", {"stem": "tiny"}),
        ("safetensors", "vit_t", {"patch_size": 16, "size": 64}),
        ("safetensors", "small_conv", {"widths": (4, 6, 8), "pool_side": 2, "channels": 1}),
        ("safetensors", "fast_conv", {"widths": (4, 6), "pool_side": 2, "channels": 1}),
        ("safetensors", "fast_conv", {"widths": (4, 6, 8), "stem": "tiny", "whitening": False}),
    ],
)
def test_the_lines_of_the_card_load_the_backbone(form, backbone, fields, tmp_path, in_process):
    if form == "timm" or backbone.startswith("vit_"):
        pytest.importorskip("timm")
    network = network_of(backbone, **fields)
    path = export_backbone(network, tmp_path / "export", form=form, card={})
    net = load_card_lines(path)
    if hasattr(net, "projection_heads"):
        net = net.backbone
    if form == "torchvision":
        net.fc = torch.nn.Identity()
    channels = fields.get("channels", 3)
    assert torch.equal(features(net, channels=channels), features(network.backbone, channels=channels))


def detectron2_shapes(resnets, channels):
    """Names and shapes of the ResNet that detectron2 builds from a configuration, after a description of it."""
    blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[resnets["DEPTH"]]
    bottleneck, inside = resnets["DEPTH"] >= 50, resnets["STEM_OUT_CHANNELS"]
    shapes = {}

    def layer(name, out, into, side):
        shapes[f"{name}.weight"] = (out, into, side, side)
        shapes.update({f"{name}.norm.{key}": (out,) for key in ("weight", "bias", "running_mean", "running_var")})

    layer("stem.conv1", inside, channels, 7)
    out, middle = resnets["RES2_OUT_CHANNELS"], resnets["WIDTH_PER_GROUP"]
    for stage, count in enumerate(blocks, 2):
        for index in range(count):
            block = f"res{stage}.{index}"
            if bottleneck:
                layer(f"{block}.conv1", middle, inside, 1)
                layer(f"{block}.conv2", middle, middle, 3)
                layer(f"{block}.conv3", out, middle, 1)
            else:
                layer(f"{block}.conv1", out, inside, 3)
                layer(f"{block}.conv2", out, out, 3)
            if inside != out:
                layer(f"{block}.shortcut", out, inside, 1)
            inside = out
        out, middle = 2 * out, 2 * middle
    return shapes


@pytest.mark.parametrize(("backbone", "channels"), [("resnet18", 1), ("resnet50", 3)])
def test_detectron2_builds_of_the_configuration_what_the_weights_fill(backbone, channels, tmp_path):
    yaml = pytest.importorskip("yaml")
    network = network_of(backbone, channels=channels)
    path = export_backbone(network, tmp_path / "export", form="detectron2", card={})
    arrays = NumpyAlone(io.BytesIO(path.read_bytes())).load()["model"]
    found = {name: array.shape for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    for name in ("pascal_voc.yaml", "coco.yaml"):
        model = yaml.safe_load((path.parent / name).read_text())["MODEL"]
        assert found == detectron2_shapes(model["RESNETS"], len(model["PIXEL_MEAN"]))
        assert (path.parent / model["WEIGHTS"]) == path and model["RESNETS"]["STRIDE_IN_1X1"] is False
    # As built here: the stride is the 3x3 convolution's.
    if backbone != "resnet18":
        assert network.backbone.layer2[0].conv1.stride == (1, 1) and network.backbone.layer2[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("backbone", ["resnet34", "resnet50w2"])
def test_widths_for_detectron2_are_those_of_the_tensors(backbone):
    with torch.device("meta"):
        state = build_network(NetworkConfig(backbone=backbone, stem="standard", hidden_dim=8), 3, seed=0).backbone
    found = {detectron2_name(name): tuple(tensor.shape) for name, tensor in state.state_dict().items()}
    found = {name: shape for name, shape in found.items() if not name.endswith("num_batches_tracked")}
    assert found == detectron2_shapes(resnet_sizes(backbone), 3)


def test_detection_is_configured_as_in_the_paper(tmp_path):
    yaml = pytest.importorskip("yaml")
    path = export_backbone(network_of("resnet50"), tmp_path / "export", form="detectron2", card={})
    voc, coco = (yaml.safe_load((path.parent / name).read_text()) for name in ("pascal_voc.yaml", "coco.yaml"))
    for config in (voc, coco):
        assert config["MODEL"]["PIXEL_MEAN"] == [123.675, 116.28, 103.53] and config["INPUT"]["FORMAT"] == "RGB"
        assert config["MODEL"]["PIXEL_STD"] == [58.395, 57.12, 57.375] and config["INPUT"]["MIN_SIZE_TEST"] == 800
        norms = [config["MODEL"][part]["NORM"] for part in ("RESNETS", "FPN", "ROI_BOX_HEAD")]
        assert norms == ["SyncBN"] * 3 and config["TEST"]["PRECISE_BN"]["ENABLED"] is True
        box, solver = config["MODEL"]["ROI_BOX_HEAD"], config["SOLVER"]
        assert (box["NUM_CONV"], box["NUM_FC"]) == (4, 1)
        assert (solver["IMS_PER_BATCH"], solver["BASE_LR"]) == (16, 0.02)
    assert (voc["SOLVER"]["STEPS"], voc["SOLVER"]["MAX_ITER"]) == ([18000, 22000], 24000)
    assert voc["SOLVER"]["WARMUP_ITERS"] == 100 and voc["MODEL"]["MASK_ON"] is False
    assert (min(voc["INPUT"]["MIN_SIZE_TRAIN"]), max(voc["INPUT"]["MIN_SIZE_TRAIN"])) == (480, 800)
    assert (coco["SOLVER"]["STEPS"], coco["SOLVER"]["MAX_ITER"]) == ([60000, 80000], 90000)
    assert coco["MODEL"]["MASK_ON"] is True and coco["MODEL"]["ROI_MASK_HEAD"]["NORM"] == "SyncBN"
    assert (min(coco["INPUT"]["MIN_SIZE_TRAIN"]), max(coco["INPUT"]["MIN_SIZE_TRAIN"])) == (640, 800)


def test_pixels_for_detectron2_are_normalized_as_the_views_were(tmp_path):
    yaml = pytest.importorskip("yaml")
    views = ViewsConfig(mean=(0.5,), std=(0.2, 0.25, 0.3))
    path = export_backbone(network_of(), tmp_path / "export", form="detectron2", card={}, views=views)
    model = yaml.safe_load((path.parent / "coco.yaml").read_text())["MODEL"]
    assert model["PIXEL_MEAN"] == [127.5] * 3 and model["PIXEL_STD"] == [51.0, 63.75, 76.5]
    assert "merge_from_file" in (path.parent / "README.md").read_text()


def test_the_card_tells_what_it_was_given_and_the_sum_of_the_weights(resnet18, tmp_path):
    path = export_backbone(resnet18, tmp_path / "e", form="timm", card={**CARD, "license": "CC0", "verdict": "healthy"})
    text = (path.parent / "README.md").read_text()
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert text.startswith("# Small random network\n")
    rows = ["| recipe | paper\\_rn18 |", "| images | none at all |", "| epochs | 3 |", "| license | CC0 |"]
    for row in (*rows, "| verdict | healthy |", f"| SHA-256 | {sha} |", "| weights | model.safetensors |"):
        assert row in text
    assert "| what | resnet18, 11,186,132 numbers in 120 tensors; learned without labels" in text
    manifest = read_manifest(path.parent, verify=True)
    assert manifest["files"]["model.safetensors"]["sha256"] == sha
    assert (manifest["form"], manifest["backbone"]) == ("timm", "resnet18")
    assert sorted(os.listdir(path.parent)) == ["README.md", "manifest.json", "model.safetensors"]


def test_what_the_card_is_not_told_it_says_so(resnet18, tmp_path):
    path = export_backbone(resnet18, tmp_path / "e", form="safetensors", card={})
    text = (path.parent / "README.md").read_text()
    assert text.startswith("# resnet18 trained with TWIST\n")
    assert text.count("| not stated") == 4 and "ask who made it before passing it on" in text


def test_names_in_a_card_are_text_and_nothing_else(resnet18, tmp_path):
    hostile = "<img src=x onerror=alert(1)> | [a](javascript:alert(1))\n\n# new `code` \x1b[2J $x$"
    card = {"name": hostile, "recipe": hostile, hostile: hostile}
    path = export_backbone(resnet18, tmp_path / "e", form="safetensors", card=card)
    text = (path.parent / "README.md").read_text()
    assert "<img" not in text and "\x1b" not in text and "\n# new" not in text
    assert not re.search(r"(?<!\\)\[a", text) and text.count("\\|") == 4


# Refusals


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_never_replaced(resnet18, tmp_path, form):
    path = export_backbone(resnet18, tmp_path / "e", form=form, card=CARD)
    before = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)}
    with pytest.raises(ConfigError, match=r"'.*e' exists already: an export never replaces anything"):
        export_backbone(network_of(seed=1), tmp_path / "e", form=form, card={})
    assert {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)} == before


@pytest.mark.parametrize(
    ("form", "backbone", "fields", "reason"),
    [
        ("detectron2", "vit_t", {}, "detectron2 has no vision transformer of this kind, timm has"),
        ("torchvision", "vit_t", {}, "torchvision has no vision transformer of this kind, timm has"),
        ("detectron2", "resnet18", {"stem": "tiny"}, "its ResNets begin with a 7x7 convolution, this one with 3x3"),
        ("torchvision", "small_conv", {}, "it is no ResNet and no vision transformer of ours"),
        ("timm", "small_conv", {}, "it is no ResNet and no vision transformer of ours"),
        ("torchvision", "fast_conv", {}, "it is no ResNet and no vision transformer of ours"),
        ("detectron2", "small_conv", {}, "it is no ResNet and no vision transformer of ours"),
    ],
)
def test_a_form_that_a_backbone_does_not_have_is_refused(form, backbone, fields, reason, tmp_path):
    if backbone.startswith("vit_"):
        pytest.importorskip("timm")
    message = f"a backbone {backbone} has no form '{form}': {reason}; give safetensors, which takes any"
    with pytest.raises(ConfigError, match=message):
        export_backbone(network_of(backbone, **fields), tmp_path / "e", form=form, card={})
    assert not os.listdir(tmp_path)


def test_another_form_is_refused(resnet18, tmp_path):
    with pytest.raises(ConfigError, match=r"form is 'detectron': give one of .*did you mean 'detectron2'"):
        export_backbone(resnet18, tmp_path / "e", form="detectron", card={})


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    network = network_of()
    network.backbone.layer4[0].bn2.running_var[3] = float("inf")
    with pytest.raises(ConfigError, match="the backbone is not exported: layer4.0.bn2.running_var are not finite"):
        export_backbone(network, tmp_path / "e", form="safetensors", card={})
    assert not os.listdir(tmp_path)


def test_channels_last_weights_are_exported_in_plain_order(resnet18, tmp_path, in_process):
    network = network_of().to(memory_format=torch.channels_last)
    for form in ("torchvision", "safetensors"):
        path = export_backbone(network, tmp_path / form, form=form, card={})
        back = network_of(seed=1)
        import_weights(back, path)
        assert torch.equal(back.backbone.conv1.weight, resnet18.backbone.conv1.weight)
        assert all(tensor.is_contiguous() for tensor in read_foreign(path).tensors["backbone"].values())


def test_an_own_backbone_is_exported_under_our_names(tmp_path, in_process):
    network = network_of("small_conv")
    network.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8))
    path = export_backbone(network, tmp_path / "e", form="safetensors", card={})
    assert "a backbone of its own make" in (path.parent / "README.md").read_text()
    assert json.loads((path.parent / "manifest.json").read_text())["backbone"] is None
    back = network_of("small_conv")
    back.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8))
    import_weights(back, path)
    assert torch.equal(back.backbone[1].weight, network.backbone[1].weight)
