"""The collapse zoo: small settings that fail in known ways, and healthy ones beside them, each in seconds on a CPU.

They are for teaching, and for measuring the verdict: ``twist zoo`` trains them and counts how often it names them
right (`twist.runs.zoo`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from twist.runs.config import Recipe
from twist.runs.recipes import small


class Specimen(NamedTuple):
    """One setting of the zoo.

    Attributes
    ----------
    name
        Short, telling; runs are named ``zoo-<name>-<seed>``.
    shows
        Kind of verdict that the setting was chosen to show. What a run of it *did* show, its oracle says.
    cause
        What was done to it, in a few words.
    recipe
        The setting, with seed 0.
    """

    name: str
    shows: str
    cause: str
    recipe: Recipe


def specimens() -> list[Specimen]:
    """Every setting: those that fail first, by kind, then the healthy ones.

    Digits come with twist; the settings named ``clothes-…`` learn from 2,000 images of Fashion-MNIST, which
    ``data.download`` fetches where they are missing.
    """
    return [Specimen(name, shows, cause, recipe) for name, (shows, cause, recipe) in _settings().items()]


def _settings() -> dict[str, tuple[str, str, Recipe]]:
    no_norm = {"network__final_norm": "none"}
    no_views = {"views__jitter_probability": 0.0, "views__rotation_degrees": 180.0, "views__shift": 0.3}
    noisy = {"objective__consistency_weight": 0.0, "optim__final_learning_rate": 1.0}
    plain = {"network__backbone_norm": "none"}
    return {
        "flat-no-sharpness": (
            "uniform collapse",
            "sharpness weight 0",
            _digits(objective__sharpness_weight=0.0),
        ),
        "flat-no-sharpness-no-norm": (
            "uniform collapse",
            "sharpness weight 0, no final norm",
            _digits(objective__sharpness_weight=0.0, **no_norm),
        ),
        "flat-consistency-alone": (
            "uniform collapse",
            "consistency alone",
            _digits(objective__sharpness_weight=0.0, objective__diversity_weight=0.0),
        ),
        "flat-too-consistent": (
            "uniform collapse",
            "consistency weight 4",
            _digits(objective__consistency_weight=4.0),
        ),
        "clothes-flat-no-sharpness": (
            "uniform collapse",
            "sharpness weight 0",
            _clothes(objective__sharpness_weight=0.0),
        ),
        "one-class-no-diversity": (
            "one-class collapse",
            "diversity weight 0, no final norm",
            _digits(objective__diversity_weight=0.0, **no_norm),
        ),
        "clothes-one-class": (
            "one-class collapse",
            "diversity weight 0, no final norm",
            _clothes(objective__diversity_weight=0.0, **no_norm),
        ),
        "few-classes-no-norm": (
            "partial collapse",
            "100 classes without a final norm",
            _digits(network__num_classes=100, objective__diversity_weight=0.7, **no_norm),
        ),
        "clothes-few-classes": (
            "partial collapse",
            "50 classes without a final norm, diversity weight 0.5",
            _clothes(network__num_classes=50, objective__diversity_weight=0.5, **no_norm),
        ),
        "inconsistent": (
            "inconsistent views",
            "consistency weight 0",
            _digits(objective__consistency_weight=0.0),
        ),
        "inconsistent-no-norm": (
            "inconsistent views",
            "consistency weight 0, no final norm",
            _digits(objective__consistency_weight=0.0, **no_norm),
        ),
        "noise-high-rate": (
            "overconfident noise",
            "consistency weight 0, a learning rate that stays at 0.1, no final norm",
            _digits(optim__learning_rate=0.1, objective__diversity_weight=2.0, **noisy, **no_norm),
        ),
        "noise-sgd": (
            "overconfident noise",
            "consistency weight 0, SGD with a learning rate that stays at 10",
            _digits(optim__optimizer="sgd", optim__learning_rate=10.0, **noisy),
        ),
        "low-rank-decay": (
            "dimensional collapse",
            "weight decay 10 without norms in the backbone",
            _digits(optim__weight_decay=10.0, **plain),
        ),
        "low-rank-sgd": (
            "dimensional collapse",
            "SGD with weight decay 0.1 without norms in the backbone",
            _digits(optim__optimizer="sgd", optim__learning_rate=0.1, optim__weight_decay=0.1, **plain),
        ),
        "clothes-shortcut": (
            "shortcut",
            "views turned by any angle and moved, their light left as it is",
            _clothes(views__crop_scale=(0.1, 1.0), **no_views),
        ),
        "clothes-shortcut-crops": (
            "shortcut",
            "the same with small crops",
            _clothes(views__crop_scale=(0.1, 0.3), views__zoom=(0.5, 2.0), **no_views),
        ),
        "clothes-plateau": (
            "plateau near uniform",
            "64 classes, tiny crops, noise, consistency weight 1.5",
            _clothes(
                network__num_classes=64,
                views__crop_scale=(0.02, 0.5),
                views__noise=0.3,
                objective__consistency_weight=1.5,
            ),
        ),
        "clothes-small-batch": (
            "batch too small",
            "batches of 4 for 100 classes",
            _clothes(**_tiny_batch(4, 1), network__num_classes=100),
        ),
        "small-batch": (
            "batch too small",
            "batches of 6 for 100 classes",
            _digits(**_tiny_batch(6, 2), network__num_classes=100),
        ),
        "not-finite": (
            "not finite",
            "a learning rate of 1e12, no norms in the head",
            _digits(optim__learning_rate=1e12, network__head_norm="none", **no_norm),
        ),
        "healthy": ("healthy", "nothing", _digits()),
        "healthy-30-classes": ("healthy", "30 classes", _digits(network__num_classes=30)),
        "healthy-100-classes": ("healthy", "100 classes", _digits(network__num_classes=100)),
        "healthy-no-norm": (
            "healthy",
            "no final norm, diversity weight 3",
            _digits(objective__diversity_weight=3.0, **no_norm),
        ),
        "healthy-larger": (
            "healthy",
            "twice the width, four heads",
            _digits(network__widths=(32, 64, 128), network__hidden_dim=256, network__num_heads=4, optim__epochs=12),
        ),
        "clothes-healthy": ("healthy", "nothing", _clothes()),
        "clothes-healthy-30-classes": ("healthy", "30 classes", _clothes(network__num_classes=30)),
        "clothes-healthy-no-norm": (
            "healthy",
            "no final norm, diversity weight 3",
            _clothes(objective__diversity_weight=3.0, **no_norm),
        ),
    }


def _tiny_batch(batch_size: int, epochs: int) -> dict[str, Any]:
    """Small batches with a learning rate and a record to match: a snapshot every fiftieth of the run or so."""
    return {
        "optim__batch_size": batch_size,
        "optim__epochs": epochs,
        "optim__warmup_epochs": 0.05,
        "record__snapshot_every_epochs": epochs / 20,
    }


def _digits(**changes: Any) -> Recipe:
    """The digits with one head and a smaller net, 340 steps."""
    return _shown_often(small.digits().replace(network__num_heads=1, optim__epochs=20), **changes)


def _clothes(**changes: Any) -> Recipe:
    """2,000 images of Fashion-MNIST as views of 16 pixels, 400 steps."""
    clothes = small.fashion_mnist().replace(
        data__max_images=2000,
        views__size=16,
        network__widths=(16, 32, 64),
        network__pool_side=4,
        network__num_classes=10,
        objective__temperature=1.0,
        optim__epochs=20,
        optim__batch_size=100,
        optim__learning_rate=5e-3,
    )
    return _shown_often(clothes, **changes)


def _shown_often(recipe: Recipe, **changes: Any) -> Recipe:
    """Numbers often enough to see what comes first, on the CPU so that every machine shows the same."""
    often = recipe.replace(
        name="zoo",
        device="cpu",
        network__hidden_dim=128,
        optim__warmup_epochs=2.0,
        record__log_every_steps=5,
        record__diagnose_every_steps=10,
        record__snapshot_every_epochs=1.0,
        record__checkpoint_every_epochs=100.0,
    )
    return often.replace(**changes)
