import dataclasses

import pytest
import torch

from twist.learn.evaluation import finetune as module
from twist.learn.evaluation.finetune import (
    PAPER,
    FinetuneSettings,
    finetune,
    label_views,
    paper_settings,
    small_settings,
    views_for_labels,
)
from twist.learn.evaluation.sets import LabeledSet, evaluation_sets
from twist.learn.evaluation.subsets import some_of_each_label
from twist.learn.image_model import make_model
from twist.learn.model import load_model
from twist.learn.networks import build_network
from twist.learn.preparing import PlainView, ResizedCrop
from twist.runs.config import ConfigError, DataConfig, NetworkConfig, ViewsConfig
from twist.runs.recipes import recipe

QUICK = FinetuneSettings(name="quick", epochs=6, backbone_rate=0.05, classifier_rate=0.2, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    return evaluation_sets(DataConfig(source="digits"), max_images=500)


def net_of(views=None, *, seed=0, widths=(16, 32)):
    """An untrained model of gray images."""
    views = views or dataclasses.replace(recipe("digits").views, size=8)
    network = build_network(NetworkConfig(backbone="small_conv", widths=widths, pool_side=2), 1, seed=seed)
    return make_model("untrained", "random", network.backbone, PlainView(views, 1), make={}, facts={})


def weights_of(model):
    return {name: value.clone() for name, value in model.net.state_dict().items()}


def test_labels_are_learned_and_the_model_stays_as_it_was(digits):
    model, said = net_of(), []
    before = weights_of(model)
    figures = finetune(model, digits.known, digits.asked, QUICK, on_progress=lambda *done: said.append(done))
    assert figures.accuracy > 0.6 and figures.train_accuracy > 0.6
    assert figures.mean_label_accuracy == pytest.approx(figures.accuracy, abs=0.1)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not model.net.training
    assert said[-1] == (figures.steps, figures.steps) and figures.steps == 6 * (len(digits.known) // 64)


def test_the_same_seed_gives_the_same_figures_and_another_others(digits):
    short = dataclasses.replace(QUICK, epochs=1)
    first, again, other = (finetune(net_of(), digits.known, digits.asked, short, seed=seed).loss for seed in (3, 3, 4))
    assert first == again != other


def test_the_order_of_the_known_images_changes_no_list_and_dropout_no_global_state(digits):
    state = torch.get_rng_state()
    finetune(net_of(), digits.known, digits.asked, dataclasses.replace(QUICK, epochs=1))
    assert torch.equal(state, torch.get_rng_state())


def test_without_a_backbone_rate_the_weights_stay_and_the_norms_follow_the_images(digits, monkeypatch):
    kept = {}
    look = module._train

    def train(classifier, *rest):
        kept["net"] = classifier
        return look(classifier, *rest)

    monkeypatch.setattr(module, "_train", train)
    model = net_of()
    finetune(model, digits.known, digits.asked, dataclasses.replace(QUICK, backbone_rate=0.0))
    tuned, before = kept["net"].backbone.state_dict(), weights_of(model)
    moved = {name for name, value in tuned.items() if not torch.equal(value, before[name])}
    assert moved and all("running" in name or "num_batches" in name for name in moved)


def test_norms_that_do_not_follow_keep_their_statistics(digits, monkeypatch):
    kept = {}
    look = module._train

    def train(classifier, *rest):
        kept["net"] = classifier
        return look(classifier, *rest)

    monkeypatch.setattr(module, "_train", train)
    model = net_of()
    finetune(model, digits.known, digits.asked, dataclasses.replace(QUICK, norms_follow=False))
    tuned, before = kept["net"].backbone.state_dict(), weights_of(model)
    same = {name for name, value in tuned.items() if torch.equal(value, before[name])}
    assert same == {name for name in tuned if "running" in name or "num_batches" in name}


def test_one_image_of_each_label_is_enough(digits):
    subset = some_of_each_label(digits.known.labels, digits.known.sample_ids, 1, seed=0)
    few = digits.known.take(subset.rows(digits.known.sample_ids), split="1 per label")
    figures = finetune(net_of(), few, digits.asked, dataclasses.replace(QUICK, least_steps=150))
    assert (figures.epochs, figures.steps) == (150, 150)
    assert figures.train_accuracy > 0.5 and 0.2 < figures.accuracy < 0.95


def test_images_without_a_label_are_neither_learned_from_nor_asked(digits):
    labels = digits.known.labels.clone()
    labels[::2] = -1
    some = digits.known.relabeled(labels, digits.known.label_names)
    kept = digits.known.take((labels >= 0).nonzero()[:, 0], split="some")
    one, other = (
        finetune(net_of(), known, digits.asked, dataclasses.replace(QUICK, epochs=1)) for known in (some, kept)
    )
    assert one == other


def test_the_paper_has_three_settings_and_the_nearest_is_taken():
    assert {share: (one.backbone_rate, one.classifier_rate, one.epochs) for share, one in PAPER.items()} == {
        0.01: (0.04, 0.2, 20),
        0.1: (0.02, 0.2, 20),
        1.0: (0.01, 0.2, 30),
    }
    assert all((one.momentum, one.weight_decay, one.batch_size) == (0.9, 0.0, 256) for one in PAPER.values())
    assert [paper_settings(share).name for share in (0.001, 0.02, 0.05, 0.5)] == [
        "paper, 1 %",
        "paper, 1 %",
        "paper, 10 %",
        "paper, 100 %",
    ]


def test_small_settings_take_enough_steps_of_few_labels():
    assert small_settings(0.01).plan(10) == (60, 1, 10)
    assert small_settings(0.1).plan(500) == (20, 7, 64)
    assert small_settings(1.0).plan(1438) == (46, 22, 64)
    assert small_settings(1.0).plan(60_000) == (3, 937, 64)


def test_digits_are_never_flipped_and_no_color_is_changed():
    views = label_views(recipe("digits").views)
    assert views.flip_probability == 0 and views.rotation_degrees == 15 and views.noise == 0
    assert views.jitter_probability == 0
    kept = label_views(recipe("imagenette").views)
    assert (kept.flip_probability, kept.crop_scale, kept.size) == (0.5, (0.4, 1.0), 128)
    assert kept.blur_probability == (0, 0) and kept.num_local_views == 0


def test_a_network_made_elsewhere_sees_gray_images_in_three_channels(digits):
    backbone = build_network(NetworkConfig(backbone="small_conv", widths=(4, 8)), 3, seed=0).backbone
    prepare = ResizedCrop(size=8, resize=8, channels=3, mean=(0.5, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    model = make_model("elsewhere", "timm", backbone, prepare, make={}, facts={})
    assert views_for_labels(model).crop_scale == (0.08, 1.0)
    figures = finetune(model, digits.known, digits.asked, dataclasses.replace(QUICK, epochs=1))
    assert 0 <= figures.accuracy <= 1


def test_pixels_have_nothing_to_train(digits):
    with pytest.raises(ConfigError, match="no weights that labels could change"):
        finetune(load_model("pixels"), digits.known, digits.asked, QUICK)


def test_one_label_is_refused(digits):
    zeros = digits.known.take((digits.known.labels == 0).nonzero()[:, 0], split="zeros")
    with pytest.raises(ConfigError, match="fewer than two labels"):
        finetune(net_of(), zeros, digits.asked, QUICK)


def test_a_loss_that_is_no_number_is_said(digits):
    with pytest.raises(ConfigError, match="at step .* give smaller rates"):
        finetune(net_of(), digits.known, digits.asked, dataclasses.replace(QUICK, backbone_rate=1e30, epochs=30))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="epochs of the fine-tuning is 0"):
        dataclasses.replace(QUICK, epochs=0)
    with pytest.raises(ConfigError, match="backbone_rate of the fine-tuning is -1"):
        dataclasses.replace(QUICK, backbone_rate=-1)


def test_color_views_keep_their_channels():
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    known = LabeledSet(images, torch.arange(40) % 2, ["a", "b"], torch.arange(40), "colors", "train", "0")
    backbone = build_network(NetworkConfig(backbone="small_conv", widths=(4,)), 3, seed=0).backbone
    model = make_model("m", "random", backbone, PlainView(ViewsConfig(size=8), 3), make={}, facts={})
    assert finetune(model, known, known, dataclasses.replace(QUICK, epochs=1)).loss < 1
