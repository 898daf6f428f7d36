"""Every network that answers about images, by what a person calls it."""

import numpy as np
import pytest
import torch
from loop import attempt

import twist
from twist.learn import datasets
from twist.learn.handover import network_of_run
from twist.learn.model import load_model
from twist.learn.snapshots import take
from twist.learn.views import plain_view
from twist.runs.launcher import Run, prepare
from twist.runs.record import RunRecord


@pytest.fixture
def trained(runs, tiny):
    path = prepare("digits", name="mine", changes={**tiny, "optim.epochs": 2, "record.checkpoint_every_epochs": 1})
    assert attempt(path, 1)["reason"] == "completed"
    return path


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


def test_an_untrained_model_has_statistics_of_the_images_and_the_runs_weights(trained):
    model = load_model("random:mine")
    assert model.identity == load_model("random:mine").identity != load_model("random:mine?seed=7").identity
    recipe = RunRecord(trained).recipe
    images = datasets.load(recipe.data).images
    conv, norm = model.net.blocks[0][0], model.net.blocks[0][1]
    seen = conv(plain_view(images, recipe.views))
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert model.kind == "random" and model.num_classes == recipe.network.num_classes
