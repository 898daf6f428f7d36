"""Models out of checkpoint files of other people, and of our exports."""

import argparse
import sys
import types

import pytest
import torch
from torch import nn
from torchvision import models

from twist.cli import main
from twist.learn import foreign
from twist.learn.backbones import build_backbone
from twist.learn.handover import export_run
from twist.learn.model import load_model
from twist.learn.networks import build_network
from twist.learn.preparing import CIFAR10
from twist.runs.config import ConfigError, NetworkConfig
from twist.runs.launcher import prepare


def images(channels=3, side=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8, generator=generator)


def shaken(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net.eval()


@pytest.fixture(scope="module")
def resnet():
    """A ResNet for small images."""
    net, _ = build_backbone(NetworkConfig(backbone="resnet18", stem="tiny"), 3)
    return shaken(net)


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)


@torch.no_grad()
def assert_answers_as(model, net):
    found = model.features(images())
    torch.testing.assert_close(found, net(model.prepare(images())), atol=1e-4, rtol=1e-4)
    assert found.std(0).max() > 1e-3  # or the equality would say nothing


def under(prefix, net):
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


def test_a_lightning_file_of_solo_learn_is_read_without_the_classes_it_names(resnet, tmp_path, monkeypatch):
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    config = module.DictConfig()
    config.__dict__["_content"] = {"lr": 0.3}
    state = {**under("backbone.", resnet), "classifier.weight": torch.rand(10, 512)}
    content = {"epoch": 999, "state_dict": state, "hyper_parameters": {"cfg": config}, "optimizer_states": [{}]}
    torch.save(content, tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt")  # by way of the child process
    assert_answers_as(model, resnet)
    facts = model.facts
    assert (model.kind, model.name, facts["part"]) == ("file", "last.ckpt", "state_dict/backbone.")
    assert (facts["backbone"], facts["epoch"], facts["feature_dim"]) == ("resnet18", 999, 512)
    assert facts["assumed"] == ["mean and deviation of CIFAR-10's colors", "views of 32 pixels"]
    assert model.prepare.mean == CIFAR10[0] and model.prepare.resize == model.prepare.size == 32
    assert model.num_classes is None and model.log_probs(torch.rand(2, 512)) is None
    with pytest.raises(ConfigError, match="last.ckpt has no classes, only features"):
        model.classify(images())


def test_a_file_of_lightly_has_numbered_layers_and_imagenets_colors(resnet, tmp_path, in_process):
    # As lightly's benchmarks make it of a ResNet for small images, whose pooling is no module.
    numbered = nn.Sequential(resnet.conv1, resnet.bn1, *(getattr(resnet, f"layer{n}") for n in (1, 2, 3, 4)))
    torch.save({"state_dict": under("backbone.", numbered), "pytorch-lightning_version": "2"}, tmp_path / "a.ckpt")
    model = load_model(tmp_path / "a.ckpt")
    assert_answers_as(model, resnet)
    assert model.facts["assumed"][0] == "mean and deviation of ImageNet's colors"
    given = load_model(f"{tmp_path}/a.ckpt?image_size=24&mean=0.5&std=0.2,0.3,0.4")
    assert "assumed" not in given.facts and given.prepare.size == 24 and given.identity != model.identity


def test_dinos_teacher_is_asked_unless_the_student_is_wanted(tmp_path, in_process):
    pytest.importorskip("timm")
    teacher, _ = build_backbone(NetworkConfig(backbone="vit_t", patch_size=8), 3, image_size=16)
    student, _ = build_backbone(NetworkConfig(backbone="vit_t", patch_size=8), 3, image_size=16)
    content = {
        "student": {**under("module.backbone.", student), "module.head.mlp.0.weight": torch.rand(2, 2)},
        "teacher": {**under("backbone.", teacher), "head.mlp.0.weight": torch.rand(2, 2)},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_tiny", patch_size=8),
        "dino_loss": {"center": torch.rand(1, 9)},
    }
    torch.save(content, path := tmp_path / "checkpoint.pth")
    model = load_model(path)
    assert_answers_as(model, teacher.eval())
    assert model.prepare.size == 16 and model.facts["part"] == "teacher/backbone."
    assert_answers_as(load_model(f"{path}?part=student"), student.eval())
    four = load_model(path, blocks=4)
    assert four.features(images()).shape == (3, 4 * 192) and four.identity != model.identity
    torch.testing.assert_close(four.features(images())[:, -192:], model.features(images()))
    with pytest.raises(ConfigError, match="no backbone under 'encoder_q': there are 'teacher/backbone.', 'student/"):
        load_model(f"{path}?part=encoder_q")
    with pytest.raises(ConfigError, match="blocks is 13: give 1 to 12"):
        load_model(f"{path}?blocks=13")
    with pytest.raises(ConfigError, match="image_size is 20: give a multiple of this transformer's patches, 8"):
        load_model(f"{path}?image_size=20")


def test_a_whole_checkpoint_of_the_authors_has_its_classes(tmp_path, in_process):
    config = NetworkConfig(backbone="resnet18", stem="tiny", num_classes=7, hidden_dim=16)
    network = shaken(build_network(config, 3, seed=3))
    arguments = argparse.Namespace(backbone="resnet18", dim=7, hid_dim=16, tau=0.5)
    torch.save({"model": network.state_dict(), "args": arguments, "epoch": 4}, tmp_path / "checkpoint.pth")
    model = load_model(tmp_path / "checkpoint.pth")
    with torch.no_grad():
        expected = (network(model.prepare(images())).logits / 0.5).log_softmax(1)
    torch.testing.assert_close(model.log_probs(model.features(images())), expected, atol=1e-4, rtol=1e-4)
    answers = model.classify(images())
    assert torch.equal(answers.assignment, expected.argmax(1)) and model.num_classes == 7
    torch.testing.assert_close(answers.confidence, expected.exp().amax(1), atol=1e-4, rtol=1e-4)


def test_the_teacher_of_a_whole_checkpoint_can_be_asked_and_another_part_is_refused(tmp_path, in_process):
    config = NetworkConfig(backbone="resnet18", stem="tiny", num_classes=7, hidden_dim=16)
    network, teacher = (shaken(build_network(config, 3, seed=seed)) for seed in (3, 4))
    torch.save({"model": network.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "both.pth")
    asked = load_model(f"{tmp_path}/both.pth?part=teacher")
    assert asked.facts["part"] == "teacher" and torch.equal(asked.net.conv1.weight, teacher.backbone.conv1.weight)
    assert torch.equal(load_model(tmp_path / "both.pth").net.conv1.weight, network.backbone.conv1.weight)
    with pytest.raises(ConfigError, match="has no part 'student': there are 'model', 'teacher'"):
        load_model(f"{tmp_path}/both.pth?part=student")


def test_the_small_transformer_of_moco_v3_is_refused_since_its_heads_are_twelve(tmp_path, in_process):
    pytest.importorskip("timm")
    net, _ = build_backbone(NetworkConfig(backbone="vit_s"), 3, image_size=32)
    torch.save({"state_dict": under("module.base_encoder.", net)}, tmp_path / "vit-s.pth.tar")
    with pytest.raises(ConfigError, match="vit-s.pth.tar is of MoCo v3, .* 12 attention heads"):
        load_model(tmp_path / "vit-s.pth.tar")


def test_an_export_is_the_run_again(runs, tiny, tmp_path, trained_run):
    run = load_model("exported")
    path = export_run(trained_run, tmp_path / "out", form="safetensors")
    model = load_model(path.parent)
    torch.testing.assert_close(model.features(images(1, 8)), run.features(images(1, 8)))
    assert model.facts["preparation"] == run.facts["preparation"] and "assumed" not in model.facts
    (path.parent / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="is no sound export"):
        load_model(path.parent)


@pytest.fixture
def trained_run(runs, tiny):
    from loop import attempt

    path = prepare("digits", name="exported", changes={**tiny, "optim.epochs": 1})
    assert attempt(path, 1)["reason"] == "completed"
    return path


def test_an_import_says_in_few_words_where_the_backbone_was_and_what_was_beside_it(resnet, tmp_path, in_process, capfd):
    state = {**under("module.encoder_q.", resnet), **under("module.encoder_k.", resnet)}
    state |= {"module.encoder_q.fc.0.weight": torch.rand(2, 2), "module.queue": torch.rand(2, 2)}
    torch.save({"state_dict": state, "epoch": 199, "optimizer": {}}, tmp_path / "moco.pth.tar")
    assert main(["import", str(tmp_path / "moco.pth.tar")]) == 0
    text = capfd.readouterr().out.strip()
    assert text.startswith("backbone from 'state_dict/module.encoder_q.' of ") and ", epoch 199; " in text
    assert text.endswith("not read: optimizer, module.encoder_k, module.encoder_q.fc, module.queue")


# Bad input


def test_files_that_are_no_model_say_why(resnet, tmp_path, in_process):
    other = {name: tensor for name, tensor in models.alexnet().state_dict().items() if tensor.numel() < 10**6}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(
        ConfigError, match=r"other.pth'.*these are the weights of none of resnet18.*timm:NAME.weights=FILE"
    ):
        load_model(tmp_path / "other.pth")
    torch.save({"state_dict": {"a.weight": torch.rand(2, 2)}}, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match=r"no ResNet and no vision transformer in it, its parts are state_dict"):
        load_model(tmp_path / "other.ckpt")
    state = dict(resnet.state_dict())
    state["layer1.0.bn1.weight"] = torch.full((64,), float("nan"))
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ConfigError, match=r"1 not finite \(layer1.0.bn1.weight\)"):
        load_model(tmp_path / "nan.pth")
    del state["layer1.0.bn1.weight"]
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(ConfigError, match=r"1 missing from the file \(layer1.0.bn1.weight\)"):
        load_model(tmp_path / "torn.pth")
    with pytest.raises(ConfigError, match="there is no file '.*none.pth'"):
        load_model(tmp_path / "none.pth")
    (tmp_path / "features.npz").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds arrays, no network"):
        load_model(tmp_path / "features.npz")
