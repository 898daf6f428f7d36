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
from twist.runs.recipes.facts import RecipeFacts
from twist.runs.recipes.paper import IMAGENET_MEAN, IMAGENET_STD

FACTS = {
    "digits": RecipeFacts("two CPU cores, a minute"),
    "mnist": RecipeFacts("CPU, not timed"),
    "fashion_mnist": RecipeFacts("CPU, not timed"),
    "cifar10": RecipeFacts("one GPU"),
    "cifar10_fast": RecipeFacts("one GPU; never run on one yet"),
    "cifar10_tiny": RecipeFacts("CPU, six to nine minutes on one busy core"),
    "cifar100": RecipeFacts("one GPU"),
    "stl10": RecipeFacts("one GPU"),
    "imagenette": RecipeFacts("one GPU"),
    "images": RecipeFacts("CPU or GPU"),
}

_SMALL_CONV = NetworkConfig(backbone="small_conv", widths=(32, 64, 128), hidden_dim=512, num_classes=30)
_OFTEN = RecordConfig(log_every_steps=5, diagnose_every_steps=50, snapshot_every_epochs=5)


def digits() -> Recipe:
    """Scikit-learn's 1,797 scanned digits, ten classes: the first run, about a minute on two CPU cores.

    Command: ``twist train digits``. No labels are used; the ten learned classes are the ten digits. Four heads, because
    one alone settles in a quarter of the seeds where two digits share a class. Figures over seeds stand in LOG.md.
    """
    return Recipe(
        name="digits",
        data=DataConfig(source="digits"),
        views=_pen_views(16, mean=0.3, std=0.37),
        network=_ten_digits(),
        objective=ObjectiveConfig(temperature=1.0),
        optim=OptimConfig(optimizer="adamw", epochs=40, batch_size=100, learning_rate=1e-2, warmup_epochs=5),
        record=RecordConfig(diagnose_every_steps=40, snapshot_every_epochs=10, checkpoint_every_epochs=20),
    )


def mnist() -> Recipe:
    """MNIST, 60,000 handwritten digits of 28 pixels, ten classes, four heads: `digits`, larger.

    Command: ``twist train mnist --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 12 MB). Network, views and loss are those of `digits`; no accuracy was measured yet.
    """
    return Recipe(
        name="mnist",
        data=DataConfig(source="mnist"),
        views=_pen_views(28, mean=0.13, std=0.31),
        network=_ten_digits(),
        objective=ObjectiveConfig(temperature=1.0),
        optim=OptimConfig(optimizer="adamw", epochs=10, batch_size=256, learning_rate=1e-2, warmup_epochs=1),
        record=RecordConfig(
            log_every_steps=5, diagnose_every_steps=50, snapshot_every_epochs=1, checkpoint_every_epochs=2
        ),
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
        network=_SMALL_CONV,
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=30, batch_size=512, learning_rate=2e-3, warmup_epochs=2),
        record=RecordConfig(log_every_steps=5, diagnose_every_steps=50, snapshot_every_epochs=2),
    )


def cifar10() -> Recipe:
    """CIFAR-10 with a ResNet-18 and 64 classes, two views: a GPU recipe, and a plateau to study.

    Command: ``twist train cifar10 --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 170 MB). With equal weights the objective slides toward uniform in its first hundreds of steps; the
    verdict says so. A recipe that learns CIFAR-10 well is still being searched for.
    """
    return _resnet18("cifar10", size=32, num_classes=64)


def cifar10_fast() -> Recipe:
    """CIFAR-10 on one GPU in the least time: aims at a kNN accuracy of 0.9, and was never run on a GPU yet.

    Command: ``twist train cifar10_fast --set data.root=FOLDER``; measured by ``python benchmarks/speed_recipe.py
    cifar10_fast``. Written from arithmetic and from what `cifar10_tiny` taught on a CPU, so neither its accuracy nor
    its time is known. The arithmetic: 1.6 GFLOP forward and backward for a view of 32 pixels, half of a ResNet-18's;
    views that grow from 20 pixels through the first 120 of 200 epochs save a quarter, which leaves 118 TFLOP an epoch
    and 24 PFLOP in all: two to three minutes if 150 to 200 TFLOP a second can be had with so small a net.
    """
    tiny = cifar10_tiny()
    return Recipe(
        name="cifar10_fast",
        data=DataConfig(source="cifar10"),
        views=_cifar10_views(32, start_size=20, grow_epochs=120),
        network=NetworkConfig(
            backbone="fast_conv", widths=(96, 256, 512), hidden_dim=2048, num_classes=512, whitening=True
        ),
        objective=tiny.objective,
        optim=OptimConfig(optimizer="adamw", epochs=200, batch_size=1024, learning_rate=2e-3, warmup_epochs=5),
        record=RecordConfig(
            log_every_steps=20,
            diagnose_every_steps=500,
            snapshot_every_epochs=20,
            checkpoint_every_epochs=50,
            watch_images=2000,
        ),
    )


def cifar10_tiny() -> Recipe:
    """CIFAR-10 on a CPU in minutes: a thin net whose first layer whitens, views of 24 pixels, 64 classes.

    Command: ``twist train cifar10_tiny --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 170 MB). A consistency weight of 1 stays near uniform for hundreds of steps, one of 0.55 ends sharp and
    inconsistent; between the two it learns. Figures of the benchmark ``speed_recipe.py`` stand in LOG.md.
    """
    return Recipe(
        name="cifar10_tiny",
        data=DataConfig(source="cifar10"),
        views=_cifar10_views(24),
        network=NetworkConfig(
            backbone="fast_conv", stem="standard", widths=(64, 128), hidden_dim=256, num_classes=64, whitening=True
        ),
        objective=ObjectiveConfig(temperature=1.0, consistency_weight=0.9),
        optim=OptimConfig(optimizer="adamw", epochs=4, batch_size=128, learning_rate=2e-3, warmup_epochs=0.25),
        record=RecordConfig(
            log_every_steps=10,
            diagnose_every_steps=100,
            snapshot_every_epochs=1,
            checkpoint_every_epochs=1,
            watch_images=2000,
        ),
    )


def cifar100() -> Recipe:
    """CIFAR-100 with a ResNet-18 and 256 classes, two views: `cifar10` with more to tell apart.

    Command: ``twist train cifar100 --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 170 MB). No accuracy was measured yet; expect the plateau of `cifar10`.
    """
    return _resnet18("cifar100", size=32, num_classes=256)


def stl10() -> Recipe:
    """STL-10, 105,000 photographs of 96 pixels, with a ResNet-18 and 64 classes, two views of 64 pixels.

    Command: ``twist train stl10 --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 2.6 GB). Most of the images have no label, and need none. No accuracy was measured yet.
    """
    return _resnet18("stl10", size=64, num_classes=64).replace(data__split="train+unlabeled")


def imagenette() -> Recipe:
    """Imagenette, ten easy categories of ImageNet, with a ResNet-18 and 2 + 4 views: multi-crop on one GPU.

    Command: ``twist train imagenette --set data.root=FOLDER`` (add ``--set data.download=true`` to fetch it through
    torchvision, 100 MB). Images of 160 pixels, 64 classes; the views are the paper's, scaled from 224 and 96 pixels to
    128 and 64, blur included. No accuracy was measured yet.
    """
    return Recipe(
        name="imagenette",
        data=DataConfig(source="imagenette"),
        views=ViewsConfig(
            size=128,
            crop_scale=(0.4, 1.0),
            blur_probability=(1.0, 0.1),
            blur_sigma=(0.1, 1.2),
            num_local_views=4,
            local_size=64,
            local_crop_scale=(0.05, 0.4),
            local_blur_probability=0.5,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        network=NetworkConfig(backbone="resnet18", stem="standard", hidden_dim=2048, num_classes=64),
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=200, batch_size=256, learning_rate=1e-3, warmup_epochs=10),
        record=_OFTEN,
    )


def images() -> Recipe:
    """Your own images, from a folder or an ``.npz``, with a small convolutional net and 30 classes.

    Command: ``twist train FOLDER`` or ``twist train FILE.npz``; change ``network.num_classes`` to what you look for.
    """
    return Recipe(
        name="images",
        views=_color_views(32),
        network=_SMALL_CONV,
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=50, batch_size=256, learning_rate=2e-3, warmup_epochs=5),
    )


def _ten_digits() -> NetworkConfig:
    """A small net that keeps where strokes are, four heads of ten classes."""
    return NetworkConfig(
        backbone="small_conv", widths=(16, 32, 64), pool_side=4, hidden_dim=256, num_heads=4, num_classes=10
    )


def _pen_views(size: int, *, mean: float, std: float) -> ViewsConfig:
    """What another hand would have written: turned, shifted, zoomed, slanted, lighter or darker; never flipped."""
    return ViewsConfig(
        size=size,
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
        mean=(mean,),
        std=(std,),
    )


def _resnet18(source: str, *, size: int, num_classes: int) -> Recipe:
    """A ResNet-18 with the tiny stem on a named set of small color photographs."""
    return Recipe(
        name=source,
        data=DataConfig(source=source),
        views=_color_views(size),
        network=NetworkConfig(backbone="resnet18", stem="tiny", hidden_dim=2048, num_classes=num_classes),
        objective=ObjectiveConfig(temperature=0.5),
        optim=OptimConfig(optimizer="adamw", epochs=200, batch_size=512, learning_rate=1e-3, warmup_epochs=10),
        record=_OFTEN,
    )


def _cifar10_views(size: int, *, start_size: int | None = None, grow_epochs: float = 0.0) -> ViewsConfig:
    """Color views with crops of 0.3 of the image or more, normalized by the mean and deviation of CIFAR-10."""
    return ViewsConfig(
        size=size,
        start_size=start_size,
        grow_epochs=grow_epochs,
        crop_scale=(0.3, 1.0),
        mean=(0.491, 0.482, 0.447),
        std=(0.247, 0.244, 0.262),
    )


def _color_views(size: int) -> ViewsConfig:
    """Crops, flips, color jitter and solarization as in the authors' two-view recipe, without its blur."""
    return ViewsConfig(size=size, crop_scale=(0.2, 1.0))
