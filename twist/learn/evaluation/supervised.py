"""The same network trained with all labels from the start: what the images and the network allow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from twist.learn.datasets import ImageSet
from twist.learn.evaluation.classifier import Classifier, Said, autocast_on, check_loss, how_often_right
from twist.learn.evaluation.sets import LabeledSet
from twist.learn.feed import Feed
from twist.learn.networks import build_network
from twist.learn.optim import make_optimizer
from twist.learn.own_code import load_own
from twist.learn.preparing import PlainView
from twist.learn.schedules import values_at
from twist.learn.whitening import whiten_first_layer
from twist.runs.config import ConfigError, Recipe


class SupervisedFigures(NamedTuple):
    """What a network knows that was trained with all labels.

    Attributes
    ----------
    accuracy, mean_label_accuracy
        On the asked images, 0 to 1; of all, and the mean over labels.
    train_accuracy
        On the known images, 0 to 1.
    loss
        Mean cross-entropy over the last epoch's batches, nats.
    epochs, steps
        How long it was trained.
    """

    accuracy: float
    mean_label_accuracy: float
    train_accuracy: float
    loss: float
    epochs: int
    steps: int


def train_supervised(
    recipe: Recipe,
    known: LabeledSet,
    asked: LabeledSet,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    run_folder: Path | None = None,
    on_progress: Said | None = None,
) -> SupervisedFigures:
    """Train the backbone of a recipe and a linear layer with labels, from scratch, then ask about other images.

    All is the recipe's but the loss: network, first weights by seed, both global views of every image, batch size,
    optimizer, rates and their schedule, epochs. In place of the TWIST loss stands the cross-entropy with the labels,
    the mean over both views. Local views, the teacher and the heads are left out.

    Parameters
    ----------
    recipe
        That of the run that is compared with.
    known
        Images to learn from, with labels; those below 0 are left out.
    asked
        The images that count.
    epochs
        Passes over the known images; none means as many as the recipe has.
    seed
        Seed of weights, order and views.
    device
        Where it is computed.
    run_folder
        Folder of the run, which keeps a person's own backbone and augmentation.
    on_progress
        Called with (steps done, steps) now and then; an exception in it ends the training.

    Raises
    ------
    ConfigError
        When fewer than two labels are known, or the loss is no number any more.
    """
    rows = (known.labels >= 0).nonzero()[:, 0]
    if len(known.labels[rows].unique()) < 2:
        raise ConfigError(f"the known images of {known.name} have fewer than two labels: give images of two at least")
    if len(rows) < len(known):
        known = known.take(rows, split=known.split)
    device = torch.device(device)
    recipe = recipe.replace(
        seed=seed,
        views__num_local_views=0,
        optim__epochs=epochs or recipe.total_epochs,
        optim__batch_size=min(recipe.optim.batch_size, len(known)),
        self_label__epochs=0,
        compute__compile="off",
    )
    images = ImageSet(
        known.images, known.labels, known.label_names, known.sample_ids, known.name, known.fingerprint, keep="memory"
    )
    channels = images.images.shape[1]
    network = build_network(recipe.network, channels, seed=seed, image_size=recipe.views.size, run_folder=run_folder)
    whiten_first_layer(network, images, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # for dropout and stochastic depth alone
        first = network.projection_heads.projection_head[0]  # type: ignore[union-attr, index]
        width = first.in_features  # type: ignore[union-attr]
        classifier = Classifier(network.backbone, width, known.num_labels, seed=seed).to(device)
        classifier = classifier.to(memory_format=torch.channels_last)
        steps, loss = _train(classifier, images, recipe, run_folder, on_progress)
    prepare = PlainView(recipe.views, channels)  # asked images may be gray where the known ones are not
    right = how_often_right(classifier, asked, prepare, device)
    on_known = how_often_right(classifier, known, prepare, device).accuracy
    return SupervisedFigures(*right, train_accuracy=on_known, loss=loss, epochs=recipe.optim.epochs, steps=steps)


def _train(
    classifier: Classifier, images: ImageSet, recipe: Recipe, run_folder: Path | None, on_progress: Said | None
) -> tuple[int, float]:
    device = classifier.layer.weight.device
    size = recipe.optim.batch_size
    per_epoch = len(images) // size
    total, losses = recipe.optim.epochs * per_epoch, torch.zeros(per_epoch)
    extra = None if recipe.views.extra is None else load_own(recipe.views.extra, run_folder=run_folder)
    assert images.labels is not None
    labels = images.labels.to(device)
    optimizer = make_optimizer(classifier, recipe.optim)
    feed = Feed(images, recipe, device, steps_per_epoch=per_epoch, extra=extra)
    classifier.train()
    try:
        for step in range(total):
            epoch, index = divmod(step, per_epoch)
            values = values_at(step, recipe, per_epoch)
            weights, biases = optimizer.param_groups
            weights["lr"], biases["lr"] = values.learning_rate, values.bias_learning_rate
            weights["weight_decay"] = values.weight_decay
            views = feed.views(step)
            right = labels[feed.order(epoch)[index * size : (index + 1) * size].to(device)]
            joined = torch.cat(views).contiguous(memory_format=torch.channels_last)
            with autocast_on(device):
                loss = F.cross_entropy(classifier(joined), right.repeat(len(views)))
            losses[index] = check_loss(loss, step, "give a smaller optim.learning_rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step + 1 < total:
                feed.prepare(step + 1)
            if on_progress is not None:
                on_progress(step + 1, total)
    finally:
        feed.close()
    return total, losses.mean().item()
