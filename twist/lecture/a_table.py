"""Exercises of 11_reading_a_table: which numbers may stand side by side, what they rest on, and what they cost.

Published figures stand here with their source; none of them was measured in this project.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near
from twist.runs.config import Recipe

#: Images of ImageNet's training part; of its validation part, on which its tables are counted.
IMAGENET_TRAIN, IMAGENET_VALIDATION = 1_281_167, 50_000


class Published(NamedTuple):
    """One number of a published table, in percent, with what it rests on.

    Attributes
    ----------
    method, backbone
        What was trained.
    epochs
        Passes over the training images, the self-labelling stage included; None where the table does not say.
    views
        Views of an image, global + local.
    asked
        The protocol.
    labels
        Which labels the number needed.
    percent
        The number.
    source
        Where it stands.
    """

    method: str
    backbone: str
    epochs: int | None
    views: str
    asked: str
    labels: str
    percent: float
    source: str


_README = "the authors' README"
_ALL, _NONE = "all 1.28 million", "none but to match"

#: ImageNet, top-1 or agreement with the labels of the validation part.
PUBLISHED = (
    Published("TWIST", "ResNet-50", 850, "2 + 12", "linear", _ALL, 75.5, _README),
    Published("TWIST", "ResNet-50", 800, "2", "linear", _ALL, 72.6, _README),
    Published("TWIST", "ResNet-50 w2", 250, "2 + 12", "linear", _ALL, 77.7, _README),
    Published("TWIST", "ViT-S/16", 300, "2 + 6", "linear", _ALL, 76.3, _README),
    Published("TWIST", "ViT-B/16", 300, "2 + 10", "linear", _ALL, 78.4, _README),
    Published("TWIST", "ResNet-50", None, "?", "fine-tuned, 1 %", "12,811", 61.5, _README),
    Published("TWIST", "ResNet-50", None, "?", "fine-tuned, 10 %", "128,116", 71.7, _README),
    Published("TWIST", "ResNet-50", None, "?", "fine-tuned, 100 %", _ALL, 78.4, _README),
    Published("TWIST, C = 1,000", "ResNet-50", 800, "?", "classes, matched", _NONE, 40.5, _README),
    Published("TWIST, C = 1,000", "ResNet-50", 800, "?", "classes, NMI", _NONE, 74.4, _README),
    Published("TWIST, C = 1,000", "ResNet-50", 800, "?", "classes, AMI", _NONE, 57.7, _README),
    Published("SCAN, C = 1,000", "ResNet-50", None, "?", "classes, matched", _NONE, 39.9, "SCAN's README"),
    Published("SCAN, C = 1,000", "ResNet-50", None, "?", "classes, NMI", _NONE, 72.0, "SCAN's README"),
    Published("SCAN, C = 1,000", "ResNet-50", None, "?", "classes, AMI", _NONE, 51.2, "SCAN's README"),
)


def flop_per_image(recipe: Recipe, *, channels: int = 3) -> float:
    """Floating-point operations that one image costs in one step, forward and backward, all its views.

    Layer by layer, from the shapes that pass through when two images are shown to it: a multiplication with its
    addition counts as two; backward costs what forward does for the weights, and again for the
    inputs, which the first layer need not know. Only convolutions and linear layers of all heads count: not views,
    loss, optimizer, norms, attention between patches, or a teacher.

    Parameters
    ----------
    recipe
        Whose network, and whose views.
    channels
        Of the images: 3 for color, 1 for gray.
    """
    import torch
    from torch import nn

    from twist.learn.networks import build_network

    views, images = recipe.views, 2
    net = build_network(recipe.network, in_channels=channels, seed=0, image_size=views.size).train()
    forward: dict[nn.Module, int] = {}  # in the order in which the layers are reached

    def count(layer: nn.Conv2d | nn.Linear, _: object, out: torch.Tensor) -> None:
        forward[layer] = forward.get(layer, 0) + 2 * out.numel() * layer.weight[0].numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    sides = [views.size] * 2 + [views.local_size] * views.num_local_views
    with torch.no_grad():
        net.forward_heads([torch.empty(images, channels, side, side) for side in sides])
    return (3 * sum(forward.values()) - next(iter(forward.values()))) / images


_GAP = 0.6 / (100 * math.sqrt((0.405 * 0.595 + 0.399 * 0.601) / IMAGENET_VALIDATION))
_HOURS = 105.6e9 * IMAGENET_TRAIN * 850 / 77e12 / 3600

EXERCISES = (
    Exercise(
        name="side_by_side",
        question="Which pair answers the same question? 'a': linear 75.5 and fine-tuned with 1 % 61.5, same network. "
        "'b': linear 75.5 of a ResNet-50 and 77.7 of one twice as wide, to show that the method got better. "
        "'c': matched 40.5 of TWIST and 39.9 of SCAN, both 1,000 classes on the validation images.",
        judge=choice(
            "c",
            {
                "a": "One may see all labels, the other a hundredth of them: two questions.",
                "b": "Same method, another network and other epochs: what got better there is not the method.",
            },
        ),
        hint="Same images asked, same labels known, same number of classes, same size of network.",
        solution='answer = "c"',
        why="Same images, same C, same matching. What still may differ: how long and on how many views each was "
        "trained, and whether a part began from another method's weights, as SCAN's does.",
        mistakes=("a", "b", "all"),
    ),
    Exercise(
        name="gap",
        question="Matched accuracy 40.5 % and 39.9 %, each of 50,000 images. By how many standard errors of their "
        "difference are the two apart, if both were asked of different images?",
        judge=near(
            _GAP,
            within=0.07,
            unit="standard errors",
            known={
                _GAP * math.sqrt(2): "That is the error of one share; a difference has the errors of both.",
                _GAP / math.sqrt(2): "Add the two variances once: √(p(1−p)/n + q(1−q)/n).",
            },
        ),
        hint="0.006 / √(p (1 − p) / n + q (1 − q) / n).",
        solution="p, q, n = 0.405, 0.399, 50_000\nanswer = (p - q) / np.sqrt(p * (1 - p) / n + q * (1 - q) / n)",
        why="About two, by the images alone. But neither was trained with a second seed, and in our own records the "
        "seed moves a matched accuracy by 0.2 to 3 points: the table does not say which method is better.",
        mistakes=(_GAP * math.sqrt(2), 0.6, 0.006),
    ),
    Exercise(
        name="chance",
        question="50,000 images, 1,000 labels of 50 images each, and 1,000 classes drawn by dice. What is the NMI?",
        judge=near(
            0.437,
            within=0.006,
            unit="the normalized mutual information",
            known={0.0: "With 50 images a label and 1,000 classes every label finds some by chance: try it."},
        ),
        hint="labels = np.repeat(np.arange(1000), 50); dice = np.random.default_rng(0).integers(1000, size=50_000); "
        "normalized_mutual_info_score is in sklearn.metrics.",
        solution="labels, dice = np.repeat(np.arange(1000), 50), np.random.default_rng(0).integers(1000, size=50_000)\n"
        "answer = normalized_mutual_info_score(labels, dice)",
        why="0.44 for knowing nothing. So an NMI of 74.4 stands on a floor of about 44, and AMI, which is 0 for dice, "
        "says 57.7 of the same classes. Compare AMI wherever classes are many and images of each are few.",
        mistakes=(0.0, 1.0, 0.744),
    ),
    Exercise(
        name="hours",
        question="The paper's main result takes 105.6 GFLOP an image, 1,281,167 images, 850 epochs. On GPUs that "
        "sustain 77 TFLOP a second each: how many GPU hours?",
        judge=near(
            _HOURS,
            within=0.03 * _HOURS,
            unit="GPU hours",
            known={
                _HOURS / 850: "That is one epoch.",
                _HOURS * 3600: "That is in seconds.",
                _HOURS / 16: "That is the time on 16 GPUs; their hours add up.",
            },
        ),
        hint="105.6e9 × images × epochs operations, over 77e12 a second, over 3600.",
        solution="answer = 105.6e9 * 1_281_167 * 850 / 77e12 / 3600",
        why="About 415, a day on the authors' 16 GPUs if nothing waits for pictures. The rate is a guess from another "
        "project's ResNet-18 (a quarter of what an A100 promises): a network, a GPU and a data loader decide it.",
        mistakes=(_HOURS / 850, _HOURS * 3600, _HOURS / 16, 1),
    ),
    Exercise(
        name="cheaper",
        question="TWO, the ResNet-50 with two views, has 50.5 GFLOP an image and 800 epochs (72.6 %); MULTI, the one "
        "with 2 + 12 views, 105.6 and 850 (75.5 %). What share of MULTI's compute does TWO take?",
        judge=near(
            50.5 * 800 / (105.6 * 850),
            within=0.01,
            unit="the share",
            known={
                50.5 / 105.6: "That is for equally many epochs.",
                800 / 850: "An epoch of one does not cost what an epoch of the other costs.",
                105.6 * 850 / (50.5 * 800): "That is how many times as much MULTI takes.",
            },
        ),
        hint="Operations an image times epochs, of both.",
        solution="answer = 50.5 * 800 / (105.6 * 850)",
        why="45 %. Whether two views with twice the epochs would catch up, the table does not tell. And the two differ "
        "in more than views: 32,768 against 4,096 classes, other crops, no self-labelling.",
        mistakes=(50.5 / 105.6, 800 / 850, 2.22),
    ),
)
