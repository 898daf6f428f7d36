"""Recipes for one machine and small images."""

from __future__ import annotations

from twist.runs.config import (
    DataConfig,
    NetworkConfig,
    ObjectiveConfig,
    OptimConfig,
    Recipe,
    RecordConfig,
    ViewsConfig,
)


def digits() -> Recipe:
    """Scikit-learn's 1,797 scanned digits, ten classes: the first run, about a minute on two CPU cores.

    Command: ``twist train digits``. No labels are used; the ten learned classes are the ten digits. Four heads, because
    one alone settles in a quarter of the seeds where two digits share a class. Figures over seeds stand in LOG.md.
    """
    return Recipe(
        name="digits",
        data=DataConfig(source="digits"),
        views=ViewsConfig(
            size=16,
            crop_scale=(1.0, 1.0),
            flip_probability=0.0,
            rotation_degrees=15.0,
            shift=0.125,
            zoom=(0.85, 1.2),
            shear_degrees=30.0,
            jitter_probability=1.0,
            brightness=0.3,
            contrast=0.0,
            gray_probability=0.0,
            solarize_probability=(0.0, 0.0),
            noise=0.05,
            mean=(0.3,),
            std=(0.37,),
        ),
        network=NetworkConfig(
            backbone="small_conv", widths=(16, 32, 64), pool_side=4, hidden_dim=256, num_heads=4, num_classes=10
        ),
        objective=ObjectiveConfig(temperature=1.0),
        optim=OptimConfig(optimizer="adamw", epochs=40, batch_size=100, learning_rate=1e-2, warmup_epochs=5),
        record=RecordConfig(diagnose_every_steps=40, snapshot_every_epochs=10, checkpoint_every_epochs=20),
    )


def cifar10() -> Recipe:
    """CIFAR-10 with a ResNet-18 and 64 classes, two views: a GPU recipe, and a plateau to study.

    Command: ``twist train cifar10 --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 170 MB). With equal weights the objective slides toward uniform in its first hundreds of steps; the
    verdict says so. A recipe that learns CIFAR-10 well is still being searched for.
    """
    return Recipe(
        name="cifar10",
        data=DataConfig(source="cifar10"),
        views=_color_views(32),
        network=NetworkConfig(backbone="resnet18", stem="tiny", hidden_dim=2048, num_classes=64),
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=200, batch_size=512, learning_rate=1e-3, warmup_epochs=10),
        record=RecordConfig(log_every_steps=5, diagnose_every_steps=50, snapshot_every_epochs=5),
    )


def fashion_mnist() -> Recipe:
    """Fashion-MNIST with a small convolutional net and 30 classes: gray photographs of clothes, 28 pixels.

    Command: ``twist train fashion_mnist --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 30 MB).
    """
    return Recipe(
        name="fashion_mnist",
        data=DataConfig(source="fashion_mnist"),
        views=ViewsConfig(
            size=28,
            crop_scale=(0.4, 1.0),
            saturation=0.0,
            hue=0.0,
            gray_probability=0.0,
            solarize_probability=(0.0, 0.0),
            mean=(0.29,),
            std=(0.35,),
        ),
        network=NetworkConfig(backbone="small_conv", widths=(32, 64, 128), hidden_dim=512, num_classes=30),
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=30, batch_size=512, learning_rate=2e-3, warmup_epochs=2),
        record=RecordConfig(log_every_steps=5, diagnose_every_steps=50, snapshot_every_epochs=2),
    )


def images() -> Recipe:
    """Your own images, from a folder or an ``.npz``, with a small convolutional net and 30 classes.

    Command: ``twist train FOLDER`` or ``twist train FILE.npz``; change ``network.num_classes`` to what you look for.
    """
    return Recipe(
        name="images",
        views=_color_views(32),
        network=NetworkConfig(backbone="small_conv", widths=(32, 64, 128), hidden_dim=512, num_classes=30),
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=50, batch_size=256, learning_rate=2e-3, warmup_epochs=5),
    )


def _color_views(size: int) -> ViewsConfig:
    """Crops, flips, color jitter and solarization as in the authors' two-view recipe, without its blur."""
    return ViewsConfig(size=size, crop_scale=(0.2, 1.0))
