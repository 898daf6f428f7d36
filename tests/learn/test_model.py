"""Every network that answers about images, by what a person calls it."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import TINY
from loop import attempt
from safetensors.torch import load_file, save_file

import twist
from twist.learn import datasets
from twist.learn.handover import network_of_run
from twist.learn.model import as_images, load_model
from twist.learn.snapshots import take
from twist.learn.stored_images import ArrayImages
from twist.learn.views import plain_view
from twist.runs.config import ConfigError, DataConfig
from twist.runs.launcher import Run, prepare
from twist.runs.record import RunRecord
from twist.runs.store import write_sealed_folder


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(tmp_path_factory.mktemp("models") / "runs"))
        path = prepare("digits", name="mine", changes={**TINY, "optim.epochs": 2})
        assert attempt(path, 1)["reason"] == "completed"
    return path


@pytest.fixture
def trained(trained_once, runs):
    """A copy of a run of two epochs with a checkpoint after each."""
    return shutil.copytree(trained_once, runs / "mine")


def test_a_runs_model_says_what_its_snapshots_say(trained):
    model, record = Run(trained).load(), RunRecord(trained)
    images = datasets.load(record.recipe.data).images
    columns, _ = take(network_of_run(trained), images, record.recipe)
    answers = model.classify(images)
    np.testing.assert_array_equal(answers.assignment, columns["assignment"])
    np.testing.assert_allclose(answers.confidence, columns["confidence"], atol=1e-5)
    np.testing.assert_allclose(answers.sample_entropy, columns["sample_entropy"], atol=1e-5)


def test_a_run_is_named_by_name_path_handle_and_step(trained):
    steps = sorted(int(folder.name[5:]) for folder in trained.glob("checkpoints/step-*"))
    newest = load_model("mine")
    assert newest.name == f"mine @ step {steps[-1]}" and newest.facts["step"] == steps[-1]
    for spec in (str(trained), Run(trained), f"mine@{steps[-1]}", trained):
        assert load_model(spec).identity == newest.identity
    earlier = load_model(f"mine@{steps[0]}")
    assert earlier.identity != newest.identity and earlier.facts["step"] == steps[0]
    assert load_model("mine", checkpoint_step=steps[0]).identity == earlier.identity
    assert twist.load_model("mine").identity == newest.identity
    assert repr(newest) == f"Model({newest.name!r}, {newest.facts['feature_dim']} features, 10 classes)"


def test_an_untrained_model_has_statistics_of_the_images_and_the_runs_weights(trained):
    model = load_model("random:mine")
    assert model.identity == load_model("random:mine").identity != load_model("random:mine?seed=7").identity
    recipe = RunRecord(trained).recipe
    images = datasets.load(recipe.data).images
    conv, norm = model.net.blocks[0][0], model.net.blocks[0][1]
    seen = conv(plain_view(images, recipe.views))
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert model.kind == "random" and model.num_classes == recipe.network.num_classes


def contents(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


def test_asking_a_run_changes_nothing_in_its_folder(trained):
    before = contents(trained)
    load_model("mine").classify(digits()[:50])
    load_model("random:mine").features(digits()[:50])
    assert contents(trained) == before


def digits():
    return datasets.load(DataConfig(source="digits")).images


def test_features_do_not_depend_on_the_batch_nor_on_the_form_of_the_images(trained):
    model, pixels = load_model("mine"), digits()[:70]
    whole = model.features(pixels)
    torch.testing.assert_close(model.features(pixels, batch_size=33), whole)
    seen = []
    model.features(pixels, batch_size=33, on_progress=lambda done, count: seen.append((done, count)))
    assert seen == [(33, 70), (66, 70), (70, 70)]
    array = pixels.numpy()
    for same in (array, array[:, 0], torch.from_numpy(array[:, 0] / 255), ArrayImages(array)):
        torch.testing.assert_close(model(same), whole)
    color = np.repeat(array[:, 0, :, :, None], 3, 3)  # gray by its looks: the same but for the rounding of luma
    torch.testing.assert_close(model.features(color), whole, atol=0.1, rtol=0.1)


def test_images_of_no_known_form_are_refused(trained):
    model = load_model("mine")
    with pytest.raises(ConfigError, match=r"images have the shape \(3, 8, 8, 2\)"):
        model.features(np.zeros((3, 8, 8, 2), np.uint8))
    with pytest.raises(ConfigError, match="mine @ step .* was asked about no image"):
        model.features(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="batch_size is 0: give 1 or more"):
        model.features(digits()[:2], batch_size=0)
    assert as_images(np.zeros((2, 5, 6, 3))).shape == (2, 3, 5, 6)


def test_the_identity_is_that_of_weights_and_preparation_and_not_of_the_name(trained):
    before = load_model("mine").identity
    shutil.copytree(trained, trained.with_name("copy"))
    assert load_model("copy").identity == before
    recipe = json.loads((trained.with_name("copy") / "recipe.json").read_text())
    recipe["views"]["mean"] = [0.4]
    (trained.with_name("copy") / "recipe.json").write_text(json.dumps(recipe))
    assert load_model("copy").identity != before


def test_of_several_heads_the_one_of_least_loss_speaks(runs, tiny):
    path = prepare("digits", name="heads", changes={**tiny, "network.num_heads": 3, "optim.epochs": 1})
    assert attempt(path, 1)["reason"] == "completed"
    model, network = load_model("heads"), network_of_run(path)
    assert model.facts["heads"] == 3 and model.facts["speaking_head"] == int(network.losses.argmin())
    with torch.no_grad():
        expected = network(model.prepare(digits()[:40]))
    torch.testing.assert_close(model.log_probs(expected.features), expected.logits.log_softmax(1))


def test_the_teacher_of_a_run_can_be_asked_where_there_is_one(runs, tiny, trained):
    changes = {**tiny, "network.num_heads": 1, "teacher.enabled": True, "optim.epochs": 1}
    path = prepare("digits", name="taught", changes=changes)
    assert attempt(path, 1)["reason"] == "completed"
    network, teacher = load_model("taught"), load_model("teacher:taught")
    weights = load_file(next(path.glob("checkpoints/*/teacher.safetensors")))
    assert torch.equal(teacher.net.blocks[0][0].weight, weights["backbone.blocks.0.0.weight"])
    assert teacher.identity != network.identity and teacher.name.endswith(", teacher")
    with pytest.raises(ConfigError, match="mine has no teacher at step"):
        load_model("mine?teacher=true")


# Of timm, torchvision and the pixels


def test_pixels_are_features_with_gray_at_zero():
    model, pixels = load_model("pixels"), digits()[:5]
    torch.testing.assert_close(model.features(pixels), (pixels.flatten(1) / 255 - 0.5) / 0.25)
    assert load_model("pixels?image_size=4").features(pixels).shape == (5, 16)
    assert load_model("pixels", channels=3).features(pixels).shape == (5, 192)


def test_a_model_of_timm_gives_timms_features_of_timms_preparation():
    timm = pytest.importorskip("timm")
    model = load_model("timm:resnet10t?weights=random&seed=3", image_size=64)
    assert (model.kind, model.facts["weights"], model.facts["seed"]) == ("timm", "random", 3)
    net = timm.create_model("resnet10t", num_classes=0)
    net.load_state_dict(model.net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model.features(digits()[:3]), net.eval()(model.prepare(digits()[:3])))
    assert model.identity == load_model("timm:resnet10t?weights=random", image_size=64, seed=3).identity
    assert model.identity != load_model("timm:resnet10t?weights=random&image_size=64").identity


def test_a_file_fills_a_named_architecture_of_timm_or_says_what_lacks(tmp_path):
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet10t", num_classes=10)
    save_file({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, tmp_path / "mine.safetensors")
    model = load_model(f"timm:resnet10t?weights={tmp_path}/mine.safetensors&image_size=32")
    assert (model.kind, model.name) == ("file", "mine.safetensors as timm:resnet10t")
    assert torch.equal(model.net.layer1[0].conv1.weight, net.layer1[0].conv1.weight)
    with pytest.raises(ConfigError, match="mine.safetensors' does not fill timm:resnet14t"):
        load_model(f"timm:resnet14t?weights={tmp_path}/mine.safetensors")
    with pytest.raises(ConfigError, match=r"does not fill torchvision:resnet18: .* missing from the file"):
        load_model(f"torchvision:resnet18?weights={tmp_path}/mine.safetensors")


@pytest.mark.parametrize(("name", "dim"), [("resnet18", 512), ("mobilenet_v3_small", 1024), ("squeezenet1_1", None)])
def test_a_classifier_of_torchvision_loses_its_last_layer(name, dim):
    spec = f"torchvision:{name}?weights=random&image_size=64"
    if dim is None:
        with pytest.raises(ConfigError, match="squeezenet1_1 has no linear classifier"):
            load_model(spec)
        return
    model = load_model(spec)
    assert model.features(digits()[:2]).shape == (2, dim)
    assert (model.prepare.interpolation, model.prepare.resize) == ("bilinear", 73)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """Nothing is in the caches of this machine, and nothing is fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18", "timm:vit_tiny_patch16_224"])
def test_weights_that_are_not_here_are_not_fetched_unasked(spec, no_weights):
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=rf"weights of {spec} are not on this machine: '{spec}\?weights=download'"):
        load_model(spec)


# Bad input


WRONG = [
    ("minee", r"there is no run 'minee' in .*did you mean 'mine'.*; a model may also be random:RUN, timm:NAME"),
    ("random:minee", "there is no run 'minee'"),
    ("mine@7", "mine keeps no checkpoint of step 7: there are"),
    ("mine@last", "step is 'last': give a whole number"),
    ("mine?stepp=3", "'stepp=3' behind 'mine' is no option: known are step, teacher"),
    ("mine?weights=random", "weights means nothing for 'mine': leave it out"),
    ("mine?blocks=4", "a SmallConv has no class token"),
    ("pixels?step=3", "step means nothing for 'pixels'"),
    ("timm:resnet1x", "timm has no model 'resnet1x': near are resnet18"),
    ("torchvision:resnet19", "torchvision has no classifier 'resnet19': near are"),
    ("timm:resnet18?weights=nowhere.pth", "there is no file 'nowhere.pth'"),
    ("pixels?mean=dark", "mean is 'dark': give numbers"),
]


def test_what_is_no_model_is_named_with_what_is_near(trained):
    for spec, said in WRONG:
        with pytest.raises(ConfigError, match=said):
            load_model(spec)


def test_a_run_without_a_checkpoint_offers_the_untrained_network(runs, tiny):
    path = prepare("digits", name="young", changes=tiny)
    with pytest.raises(ConfigError, match="young has no sound checkpoint yet: .*'random:young'"):
        Run(path).load()
    assert load_model("random:young").num_classes == 10


def reseal(folder, changes):
    """A checkpoint whose network has other tensors, with checksums of its own."""
    state = {**load_file(folder / "network.safetensors"), **changes}
    save_file(state, folder / "network.safetensors")
    names = [name for name in os.listdir(folder) if name != "manifest.json"]
    files = {name: (folder / name).read_bytes() for name in names}
    shutil.rmtree(folder)
    write_sealed_folder(folder, files, {"step": int(folder.name[5:])})


def test_damaged_foreign_and_infinite_checkpoints_of_a_run_are_told_apart(trained):
    earlier, newest = sorted(trained.glob("checkpoints/step-*"))
    step = int(earlier.name[5:])
    reseal(earlier, {"projection_heads.last_linear.bias": torch.full((10,), float("inf"))})
    with pytest.raises(ConfigError, match="hold numbers that are not finite, such as head.head.last_linear.bias"):
        load_model(f"mine@{step}")
    reseal(earlier, {"projection_heads.last_linear.bias": torch.zeros(11)})
    with pytest.raises(ConfigError, match=f"checkpoint {step} of mine holds another network's weights"):
        load_model(f"mine@{step}")
    content = bytearray((newest / "network.safetensors").read_bytes())
    content[-3] ^= 1
    (newest / "network.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match="differs from its checksum; choose another checkpoint"):
        load_model(f"mine@{int(newest.name[5:])}")
    reseal(earlier, {"projection_heads.last_linear.bias": torch.zeros(10)})
    assert load_model("mine").facts["step"] == step  # the newest sound one
