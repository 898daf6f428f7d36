"""The command line's import and export: from a run, and from a checkpoint in the authors' layout."""

import argparse
import json

import pytest
import torch
from conftest import TINY
from loop import attempt
from safetensors.torch import load_file

from twist.cli import main
from twist.learn import foreign
from twist.learn.handover import import_checkpoint, network_of_run
from twist.learn.networks import build_network
from twist.runs.config import ConfigError, NetworkConfig
from twist.runs.launcher import prepare

RESNET = {"network.backbone": "resnet18", "network.num_heads": 1, "optim.epochs": 1, "data.max_images": 100}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("handover") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(root))
        path = prepare("digits", name="trained", changes={**TINY, **RESNET})
        assert attempt(path, 1)["reason"] == "completed"
    return path


@pytest.fixture
def trained(trained_once, monkeypatch):
    """A run that nothing here changes."""
    monkeypatch.setenv("TWIST_RUNS", str(trained_once.parent))
    return trained_once


@pytest.fixture
def in_process(monkeypatch):
    """Read without a child, whose start takes seconds; what the child does is the same function."""
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)


@pytest.fixture
def authors(tmp_path):
    """A full checkpoint in the authors' layout, and the network it was made from."""
    network = build_network(
        NetworkConfig(backbone="resnet18", stem="standard", num_classes=12, hidden_dim=16), 3, seed=1
    )
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    arguments = argparse.Namespace(backbone="resnet18", dim=12, hid_dim=16, tau=1.0, epochs=850, proj_norm="bn")
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "epoch": 849, "args": arguments}, path)
    return path, network.eval()


def test_a_runs_network_is_that_of_its_newest_checkpoint(trained):
    network = network_of_run(trained)
    saved = load_file(sorted(trained.glob("checkpoints/*/network.safetensors"))[-1])
    assert not network.training
    assert all(torch.equal(tensor, saved[name]) for name, tensor in network.state_dict().items())


def test_a_run_without_a_checkpoint_says_so(runs, tiny):
    path = prepare("digits", name="young", changes=tiny)
    with pytest.raises(ConfigError, match="young has no sound checkpoint yet"):
        network_of_run(path)


def test_a_run_is_exported_with_its_card(trained, tmp_path, capfd):
    assert main(["export", "trained", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out.splitlines()[-1])
    exported, network = load_file(facts["file"]), network_of_run(trained)
    assert torch.equal(exported["backbone.conv1.weight"], network.backbone.conv1.weight)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "digits" in card and "resnet18" in card and str(tmp_path) not in card


def test_a_checkpoint_of_the_authors_is_read_told_and_exported(authors, tmp_path, capfd, monkeypatch):
    path, original = authors
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network, report = import_checkpoint(path)
    assert report.head and report.epoch == 849
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)  # one child is enough
    assert torch.equal(network(images).logits, original(images).logits)
    assert main(["import", str(path), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert facts["arguments"]["dim"] == 12 and facts["epoch"] == 849
    assert main(["export", str(path), str(tmp_path / "timm"), "--form", "timm"]) == 0
    weights = load_file(tmp_path / "timm" / "model.safetensors")
    assert torch.equal(weights["layer1.0.conv1.weight"], original.backbone.layer1[0].conv1.weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "nowhere.pth"], "nowhere.pth"),
        (["export", "nowhere", "out"], "nowhere"),
        (["export", "trained", "out", "--form", "tensorflow"], "tensorflow"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(trained, capfd, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capfd.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("told", [True, False], ids=["with arguments", "without"])
@pytest.mark.parametrize("key", ["conv1.weight", "layer2.0.bn1.bias"])
def test_missing_and_unknown_keys_of_a_backbone_are_listed(authors, tmp_path, capfd, in_process, told, key):
    path, original = authors
    state = dict(original.backbone.state_dict())
    state["fc.weight"] = state.pop(key)
    torch.save({"backbone": state, "args": argparse.Namespace(backbone="resnet18")} if told else state, path)
    assert main(["import", str(path)]) == 2
    error = capfd.readouterr().err
    assert "fc.weight" in error and key in error


def test_places_that_cannot_be_written_and_folders_are_named(trained, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert main(["export", "trained", str(tmp_path / "file" / "out")]) == 2
    assert main(["import", str(trained)]) == 2
    first, second = capfd.readouterr().err.strip().splitlines()
    assert "cannot be written" in first and "is a folder" in second


def test_a_missing_key_fails_and_is_listed(authors, tmp_path, capfd, in_process):
    path, _ = authors
    content = torch.load(path, weights_only=False)
    del content["model"]["module.backbone.layer2.0.conv1.weight"]
    torch.save(content, path)
    assert main(["import", str(path)]) == 2
    assert "layer2.0.conv1.weight" in capfd.readouterr().err
