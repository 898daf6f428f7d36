"""Recipes meant for GPUs are built whole and take two steps on the CPU, at a batch that fits."""

from dataclasses import replace

import pytest
import torch

from twist.learn.datasets import ImageSet
from twist.learn.networks import build_network
from twist.learn.optim import make_optimizer
from twist.learn.schedules import values_at
from twist.learn.step import TrainState, evaluate_loss, make_teacher, move_weights
from twist.learn.views import make_views
from twist.learn.whitening import whiten_first_layer
from twist.runs.batch import scaled_to_batch
from twist.runs.recipes import recipe, recipe_groups
from twist.runs.record import EPOCH_SAMPLES

BATCH = 4
PAPER = recipe_groups()["paper"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_keep_no_gigabytes_of_training_samples(name):
    config = recipe(name)
    whole = 1_281_167 * config.total_epochs * EPOCH_SAMPLES.itemsize
    assert whole > 1e9 and not config.record.train_samples


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PAPER, "cifar10_fast"])
def test_a_recipe_for_gpus_takes_two_steps(name):
    config, _ = scaled_to_batch(recipe(name), BATCH)
    config = config.replace(views__num_local_views=min(2, config.views.num_local_views))
    network = build_network(config.network, 3, seed=0, image_size=config.views.size).train()
    teacher = make_teacher(network) if config.teacher.enabled else None
    state = TrainState(network, make_optimizer(network, config.optim), teacher)
    images = torch.randint(0, 256, (BATCH, 3, 256, 256), dtype=torch.uint8)
    first = config.optim.epochs - 1
    stages = [first, config.optim.epochs if config.self_label.epochs else first]
    if name == "cifar10_fast":
        whiten_first_layer(network, ImageSet(images, None, None, torch.arange(BATCH), "noise", ""), config)
        stages = [0, first]  # the smallest views and the final ones
    before = network.projection_heads.last_linear.weight.detach().clone()
    for number, epoch in enumerate(stages):
        values = values_at(10 * epoch + 5, config, 10)
        assert values.self_labelling == (number == 1 and config.self_label.epochs > 0)
        sized = replace(config.views, size=values.view_size)
        views = make_views(images, torch.arange(BATCH), sized, seed=0, epoch=epoch)
        report = evaluate_loss(state, views, config, values)
        assert all(value.isfinite() for value in report.named().values())
        assert report.logits[0].shape == (BATCH, config.network.num_classes)
        move_weights(state, report.total, config, values)
    assert state.step == 2
    assert not torch.equal(network.projection_heads.last_linear.weight, before)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
