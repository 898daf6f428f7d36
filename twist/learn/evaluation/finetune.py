"""Fine-tuning: a network is trained on with some of the labels, backbone and classifier at rates of their own."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twist.learn.evaluation.classifier import Classifier, Said, autocast_on, check_loss, draw_views, how_often_right
from twist.learn.evaluation.sets import LabeledSet
from twist.learn.image_model import Model
from twist.learn.preparing import PlainView, ResizedCrop, with_channels
from twist.learn.random import permutation
from twist.learn.schedules import cosine
from twist.learn.uncompiled import SGD
from twist.runs.config import ConfigError, ViewsConfig


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """How a network is trained on with labels.

    Attributes
    ----------
    name
        What the settings are called in a result.
    epochs
        Passes over the labelled images.
    backbone_rate, classifier_rate
        Learning rates of the network and of the new layer at the first step; a cosine leads both to 0, step by step.
    batch_size
        Images per step; all of them where there are fewer.
    least_steps
        Epochs are added until there are so many steps: of few labels an epoch is one step.
    momentum, weight_decay
        Of SGD.
    norms_follow
        Whether batch norms normalize by the batch, and their running statistics follow, as in any training; else they
        keep the statistics that they came with, since batches of a few images make poor ones.
    """

    name: str
    epochs: int
    backbone_rate: int | float
    classifier_rate: int | float
    batch_size: int = 256
    least_steps: int = 0
    momentum: int | float = 0.9
    weight_decay: int | float = 0.0
    norms_follow: bool = True

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the fine-tuning is {getattr(self, name)}: give 1 or more")
        for name in ("backbone_rate", "classifier_rate", "momentum", "weight_decay", "least_steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} of the fine-tuning is {getattr(self, name)}: give 0 or more")

    def plan(self, count: int) -> tuple[int, int, int]:
        """Epochs, steps an epoch and images a step for so many labelled images; a last batch that is not full waits."""
        size = min(self.batch_size, count)
        steps = count // size
        return max(self.epochs, math.ceil(self.least_steps / steps)), steps, size


#: The paper's, for a ResNet-50 on ImageNet, by share of the labels. Source: method section 7.
PAPER = {
    0.01: FinetuneSettings(name="paper, 1 %", epochs=20, backbone_rate=0.04, classifier_rate=0.2),
    0.1: FinetuneSettings(name="paper, 10 %", epochs=20, backbone_rate=0.02, classifier_rate=0.2),
    1.0: FinetuneSettings(name="paper, 100 %", epochs=30, backbone_rate=0.01, classifier_rate=0.2),
}


#: For small images and few labels, by share of the labels: smaller batches, so that there are steps at all. Chosen on
#: training images of digits and CIFAR-10 alone. Source: LOG.md, 2026-11-25.
SMALL = {
    0.01: FinetuneSettings(
        name="small, 1 %",
        epochs=20,
        backbone_rate=0.01,
        classifier_rate=0.1,
        batch_size=64,
        least_steps=60,
        norms_follow=False,
    ),
    0.1: FinetuneSettings(name="small, 10 %", epochs=20, backbone_rate=0.02, classifier_rate=0.2, batch_size=64),
    1.0: FinetuneSettings(
        name="small, 100 %", epochs=3, backbone_rate=0.01, classifier_rate=0.2, batch_size=64, least_steps=1000
    ),
}


def paper_settings(share: int | float) -> FinetuneSettings:
    """The paper's settings for a share of the labels: of its three the nearest by ratio.

    Examples
    --------
    >>> paper_settings(0.05).name
    'paper, 10 %'
    """
    return _nearest(PAPER, share)


def small_settings(share: int | float) -> FinetuneSettings:
    """Settings for small images and a share of their labels: of `SMALL`'s three the nearest by ratio.

    With the paper's a tenth of 5,000 labels is two batches, and 20 epochs are 40 steps.
    """
    return _nearest(SMALL, share)


def _nearest(settings: dict[float, FinetuneSettings], share: int | float) -> FinetuneSettings:
    return settings[min(settings, key=lambda one: abs(math.log(one / share)))]


class FinetuneFigures(NamedTuple):
    """What a fine-tuned network knows.

    Attributes
    ----------
    accuracy, mean_label_accuracy
        On the asked images, 0 to 1; of all, and the mean over labels.
    train_accuracy
        On the labelled images themselves, 0 to 1: near 1 whatever the features are worth, if there are few.
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


def label_views(views: ViewsConfig) -> ViewsConfig:
    """What a run's network is fine-tuned on: crop and flip as its views have them, and whatever else moves pixels.

    Colors stay as they are, as in the paper. Where the run flips nothing, as with digits, nothing is flipped.

    Examples
    --------
    >>> label_views(ViewsConfig(flip_probability=0.0, hue=0.1)).hue
    0.0
    """
    return dataclasses.replace(
        views,
        start_size=None,
        grow_epochs=0.0,
        jitter_probability=0.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        gray_probability=0.0,
        blur_probability=(0.0, 0.0),
        solarize_probability=(0.0, 0.0),
        num_local_views=0,
        noise=0.0,
        extra=None,
    )


def views_for_labels(model: Model) -> ViewsConfig:
    """How images are augmented while a model is fine-tuned: a run's own geometry, or the paper's crop and flip.

    Of a network made elsewhere crops keep 8 to 100 % of the area, and half of them are flipped.

    Raises
    ------
    ConfigError
        For a model of images of any size, such as `pixels`: there is nothing to train on.
    """
    prepare = model.prepare
    if isinstance(prepare, PlainView):
        return label_views(prepare.views)
    if isinstance(prepare, ResizedCrop) and prepare.size is not None and any(True for _ in model.net.parameters()):
        return label_views(ViewsConfig(size=prepare.size, crop_scale=(0.08, 1.0), mean=prepare.mean, std=prepare.std))
    raise ConfigError(f"{model.name} has no weights that labels could change: ask its features with knn or linear")


def finetune(
    model: Model,
    known: LabeledSet,
    asked: LabeledSet,
    settings: FinetuneSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_progress: Said | None = None,
) -> FinetuneFigures:
    """Train a copy of a model's network on with labels, then ask it about other images.

    Parameters
    ----------
    model
        Its network is copied, and left as it is; its preparation is that of the asked images.
    known
        The images whose labels may be used: a subset's, or all. They are augmented as `views_for_labels` says.
    asked
        The images that count.
    settings
        Rates, epochs, batch size.
    seed
        Seed of the new layer, of the order of the images and of their views.
    device
        Where it is computed.
    on_progress
        Called with (steps done, steps) now and then; an exception in it ends the fine-tuning.

    Raises
    ------
    ConfigError
        When fewer than two labels are known, the model has no weights, or the loss is no number any more.

    Notes
    -----
    Scale and shift of the norms are trained like everything else. The same seed gives the same figures on one machine.
    """
    if len(known.labels[known.labels >= 0].unique()) < 2:
        raise ConfigError(f"the known images of {known.name} have fewer than two labels: give images of two at least")
    views, device = views_for_labels(model), torch.device(device)
    rows = (known.labels >= 0).nonzero()[:, 0]
    images = with_channels(known.images[rows].to(device), model.prepare.channels)
    ids, labels = known.sample_ids[rows].to(device), known.labels[rows].to(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # for dropout and stochastic depth alone
        tuned = copy.deepcopy(model.net).to(device)
        width = model.facts["feature_dim"]
        classifier = Classifier(tuned, width, known.num_labels, seed=seed).to(device)
        classifier = classifier.to(memory_format=torch.channels_last)
        epochs, steps, loss = _train(classifier, images, ids, labels, settings, views, seed, on_progress)
    right = how_often_right(classifier, asked, model.prepare, device)
    on_known = how_often_right(classifier, known, model.prepare, device).accuracy
    return FinetuneFigures(*right, train_accuracy=on_known, loss=loss, epochs=epochs, steps=steps)


def _train(
    classifier: Classifier,
    images: Tensor,
    ids: Tensor,
    labels: Tensor,
    settings: FinetuneSettings,
    views: ViewsConfig,
    seed: int,
    on_progress: Said | None,
) -> tuple[int, int, float]:
    epochs, per_epoch, size = settings.plan(len(images))
    trained = [weight for weight in classifier.backbone.parameters() if weight.requires_grad]
    optimizer = SGD(
        [{"params": trained}, {"params": list(classifier.layer.parameters())}],
        lr=settings.classifier_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    rates = (settings.backbone_rate, settings.classifier_rate)
    total, losses = epochs * per_epoch, torch.zeros(per_epoch)
    classifier.train()
    if not settings.norms_follow:
        for module in classifier.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    for step in range(total):
        epoch, index = divmod(step, per_epoch)
        order = permutation(len(images), seed=seed, epoch=epoch, device=images.device)
        batch = order[index * size : (index + 1) * size]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = cosine(step, total, rate, 0.0)
        drawn = draw_views(images[batch], ids[batch], views, seed=seed, epoch=epoch)
        with autocast_on(images.device):
            loss = F.cross_entropy(classifier(drawn), labels[batch])
        losses[index] = check_loss(loss, step, "give smaller rates, or a sound network")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if on_progress is not None:
            on_progress(step + 1, total)
    return epochs, total, losses.mean().item()
