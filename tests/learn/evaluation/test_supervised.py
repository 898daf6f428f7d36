import dataclasses

import pytest
import torch

from twist.learn.evaluation import supervised
from twist.learn.evaluation.sets import evaluation_sets
from twist.learn.evaluation.supervised import train_supervised
from twist.learn.networks import build_network
from twist.runs.config import ConfigError, DataConfig, with_fields
from twist.runs.recipes import recipe


@pytest.fixture(scope="module")
def digits():
    return evaluation_sets(DataConfig(source="digits"), max_images=400)


@pytest.fixture
def small():
    return with_fields(
        recipe("digits"),
        {"views.size": 8, "network.widths": (8, 16), "network.pool_side": 2, "optim.epochs": 4, "optim.batch_size": 40},
    )


def test_labels_are_learned_and_all_but_the_loss_is_the_recipes(digits, small):
    said = []
    figures = train_supervised(small, digits.known, digits.asked, on_progress=lambda *done: said.append(done))
    assert figures.accuracy > 0.6 and figures.train_accuracy > 0.6
    assert figures.epochs == 4 and figures.steps == 4 * (len(digits.known) // 40)
    assert said[-1] == (figures.steps, figures.steps)


def test_it_begins_with_the_weights_of_a_run_of_the_same_seed(digits, small, monkeypatch):
    begun = {}

    def look(classifier, images, recipe, *rest):
        begun.update({name: value.clone() for name, value in classifier.backbone.state_dict().items()})
        return 0, 0.0

    monkeypatch.setattr(supervised, "_train", look)
    train_supervised(small, digits.known, digits.asked, seed=5)
    run = build_network(small.network, 1, seed=5, image_size=8).backbone.state_dict()
    assert begun.keys() == run.keys() and all(torch.equal(value, run[name]) for name, value in begun.items())


def test_the_same_seed_gives_the_same_figures_and_another_others(digits, small):
    first, again, other = (
        train_supervised(small, digits.known, digits.asked, seed=seed, epochs=1).loss for seed in (1, 1, 2)
    )
    assert first == again != other


def test_epochs_of_both_stages_count_and_growing_local_views_and_a_teacher_are_no_trouble(digits, small):
    rich = with_fields(
        small,
        {
            "optim.epochs": 1,
            "self_label.epochs": 1,
            "views.num_local_views": 2,
            "views.local_size": 4,
            "views.start_size": 6,
            "views.grow_epochs": 1,
            "teacher.enabled": True,
            "network.num_heads": 1,
        },
    )
    assert train_supervised(rich, digits.known, digits.asked).epochs == 2


def test_fewer_images_than_a_batch_are_one_batch(digits, small):
    few = digits.known.take(torch.arange(20), split="few")
    assert train_supervised(small, few, digits.asked, epochs=2).steps == 2


def test_the_first_layer_of_a_whitening_net_is_not_trained(digits, small):
    fast = with_fields(small, {"network.backbone": "fast_conv", "optim.epochs": 1})
    assert 0 <= train_supervised(fast, digits.known, digits.asked).accuracy <= 1


def test_one_label_is_refused_and_unlabelled_images_are_left_out(digits, small):
    zeros = digits.known.take((digits.known.labels == 0).nonzero()[:, 0], split="zeros")
    with pytest.raises(ConfigError, match="fewer than two labels"):
        train_supervised(small, zeros, digits.asked)
    labels = digits.known.labels.clone()
    labels[::2] = -1
    some = digits.known.relabeled(labels, digits.known.label_names)
    kept = digits.known.take((labels >= 0).nonzero()[:, 0], split="some")
    one, other = (train_supervised(small, known, digits.asked, epochs=1) for known in (some, kept))
    assert one == other


def test_gray_images_are_asked_of_a_network_that_learned_from_colors(digits, small):
    colored = dataclasses.replace(digits.known, images=digits.known.images.expand(-1, 3, -1, -1), whole=None, rows=None)
    assert 0 <= train_supervised(small, colored, digits.asked, epochs=1).accuracy <= 1


def test_a_loss_that_is_no_number_is_said(digits, small):
    wild = small.replace(optim__optimizer="sgd", optim__learning_rate=1e30, optim__warmup_epochs=0)
    with pytest.raises(ConfigError, match="smaller optim.learning_rate"):
        train_supervised(wild, digits.known, digits.asked)
