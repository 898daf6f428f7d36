"""The groups of a recipe's fields, as frozen dataclasses.

Every field carries one sentence: what it means, its unit, and when to change it. The same sentence serves the
documentation, ``twist fields`` and the tooltips of the widgets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twist.runs.fields import field, require, require_one_of, require_range, require_share

OWN_CODE = re.compile(r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")

BACKBONES = (
    *("small_conv", "fast_conv", "resnet18", "resnet34", "resnet50", "resnet50w2", "resnet50w4", "resnet50w5"),
    *("resnet200", "resnet200w2", "vit_t", "vit_s", "vit_b"),
)


def is_own_code(reference: str) -> bool:
    """Whether a field's value is ``FILE.py:NAME`` or ``package.module:NAME``; ``timm:NAME`` is timm's."""
    return not reference.startswith("timm:") and OWN_CODE.fullmatch(reference) is not None


def _require_own_code(name: str, value: str | None) -> None:
    require(
        value is None or is_own_code(value),
        name,
        value,
        "give FILE.py:NAME or package.module:NAME, or none",
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images are learned from."""

    source: str = field(
        "digits",
        "Where the images come from: digits, mnist, fashion_mnist, cifar10, cifar100, stl10, imagenette, a folder of "
        "images, or an .npz file.",
    )
    root: str | None = field(
        None,
        "Folder that holds the named sets; none means TWIST_DATA, else the nearest data/images upward.",
    )
    split: str = field(
        "train",
        "Part of a named set or folder to learn from: train, test or all, which is both; stl10, with 5,000 labelled "
        "images in train, has 100,000 more in unlabeled and in train+unlabeled.",
    )
    download: bool = field(False, "Whether torchvision may fetch a named set that is missing from the root.")
    image_size: int | None = field(
        None,
        "Side in pixels to which the images of a folder or imagenette are resized and center-cropped; none keeps a "
        "common size, and means 160 for imagenette.",
    )
    max_images: int | None = field(None, "Largest number of images used, the first ones; none means all.")
    keep: str = field(
        "auto",
        "How the images of a folder are kept: memory, cache (decoded once, to a file that is mapped), decode (from "
        "their files at every step), auto (the first with room, a cache that is there before all); results are the "
        "same.",
    )

    def __post_init__(self):
        require(bool(self.source), "data.source", self.source, "name a set, a folder or an .npz file")
        require_one_of("data.split", self.split, ("train", "test", "all", "unlabeled", "train+unlabeled"))
        require(self.image_size is None or self.image_size >= 4, "data.image_size", self.image_size, "give 4 or more")
        require(self.max_images is None or self.max_images >= 1, "data.max_images", self.max_images, "give 1 or more")
        require_one_of("data.keep", self.keep, ("auto", "memory", "cache", "decode"))


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """How an image is augmented; every sample and view draws its own parameters."""

    size: int = field(32, "Side of a view in pixels; larger shows more detail and costs time quadratically.")
    start_size: int | None = field(
        None,
        "Side of the two global views at first, from where they grow to views.size over grow_epochs; none keeps one "
        "side; not for vision transformers.",
    )
    grow_epochs: float = field(
        0.0,
        "Epochs until the global views have their final side, with views.start_size; small views cost quadratically "
        "less time. A growth longer than the run takes half of it.",
    )
    crop_scale: tuple[float, float] = field(
        (0.2, 1.0),
        "Range of the share of the image's area that a random crop keeps; (1, 1) switches cropping off.",
    )
    crop_ratio: tuple[float, float] = field(
        (0.75, 4 / 3), "Range of a crop's width divided by its height, before it is resized to a square."
    )
    flip_probability: float = field(0.5, "Probability of a left-right flip; 0 for digits and text.")
    rotation_degrees: float = field(0.0, "Largest rotation in degrees, drawn uniformly to both sides.")
    shift: float = field(0.0, "Largest shift as a share of the side, drawn uniformly per axis to both sides.")
    zoom: tuple[float, float] = field((1.0, 1.0), "Range of the magnification; above 1 enlarges the content.")
    shear_degrees: float = field(0.0, "Largest horizontal shear in degrees, drawn uniformly to both sides.")
    stretch: float = field(
        0.0, "Strength of a random stretch: content grows by up to 1 + s along one axis and shrinks along the other."
    )
    jitter_probability: float = field(0.8, "Probability that brightness, contrast, saturation and hue are jittered.")
    brightness: float = field(0.4, "Strength of brightness jitter: the factor is drawn from 1 - b to 1 + b.")
    contrast: float = field(0.4, "Strength of contrast jitter: the factor is drawn from 1 - c to 1 + c.")
    saturation: float = field(0.2, "Strength of saturation jitter: the factor is drawn from 1 - s to 1 + s.")
    hue: float = field(0.1, "Largest hue turn as a share of the color circle, at most 0.5.")
    gray_probability: float = field(0.2, "Probability that a color view becomes gray.")
    color: str = field(
        "exact",
        "How colors are changed: exact, torchvision's steps one by one, or fast, one product per pixel, which turns "
        "hue about the gray axis, clips once and blurs first.",
    )
    blur_probability: tuple[float, float] = field(
        (0.0, 0.0), "Probability of a Gaussian blur, for the first and the second view."
    )
    blur_sigma: tuple[float, float] = field((0.1, 2.0), "Range of the blur's standard deviation in pixels.")
    solarize_probability: tuple[float, float] = field(
        (0.0, 0.2), "Probability that pixels above half brightness are inverted, for the first and the second view."
    )
    num_local_views: int = field(
        0, "Small views besides the two global ones, multi-crop; each costs (local_size / size)² of a global view."
    )
    local_size: int = field(16, "Side of a local view in pixels; 96 beside 224 in the paper.")
    local_crop_scale: tuple[float, float] = field(
        (0.05, 0.4), "Range of the share of the image's area that a local view keeps."
    )
    local_blur_probability: float = field(0.0, "Probability of a Gaussian blur for a local view; 0.5 in the paper.")
    extra: str | None = field(
        None,
        "Your own augmentation, FILE.py:NAME: called with the views, ids, seed, epoch and view, after the others.",
    )
    noise: float = field(0.0, "Standard deviation of Gaussian pixel noise, on the scale where white is 1.")
    mean: tuple[float, ...] = field(
        (0.5,), "Mean subtracted from the pixels (white is 1): one number, or one per channel."
    )
    std: tuple[float, ...] = field((0.25,), "Divisor of the pixels after the mean: one number, or one per channel.")

    def __post_init__(self):
        require(self.size >= 4, "views.size", self.size, "give 4 pixels or more")
        require(
            self.start_size is None or 4 <= self.start_size <= self.size,
            "views.start_size",
            self.start_size,
            f"give a number from 4 to {self.size}, views.size, or none",
        )
        require(self.grow_epochs >= 0, "views.grow_epochs", self.grow_epochs, "give 0 or more")
        require(
            (self.start_size is None) == (self.grow_epochs == 0),
            "views.grow_epochs",
            self.grow_epochs,
            f"give both it and views.start_size, now {self.start_size}, or neither",
        )
        require_range("views.crop_scale", self.crop_scale, 1e-4, 1.0)
        require_range("views.crop_ratio", self.crop_ratio, 0.05, 20.0)
        require_range("views.zoom", self.zoom, 0.1, 10.0)
        require_range("views.blur_sigma", self.blur_sigma, 1e-3, 100.0)
        require(0 <= self.rotation_degrees <= 180, "views.rotation_degrees", self.rotation_degrees, "give 0 to 180")
        require(0 <= self.shift <= 1, "views.shift", self.shift, "give a share of the side, 0 to 1")
        require(0 <= self.shear_degrees < 80, "views.shear_degrees", self.shear_degrees, "give 0 to 80")
        require(0 <= self.hue <= 0.5, "views.hue", self.hue, "give 0 to 0.5")
        require(0 <= self.noise <= 1, "views.noise", self.noise, "give 0 to 1")
        for name in ("stretch", "brightness", "contrast", "saturation", "jitter_probability", "gray_probability"):
            require_share(f"views.{name}", getattr(self, name))
        require_share("views.flip_probability", self.flip_probability)
        require_one_of("views.color", self.color, ("exact", "fast"))
        for name in ("blur_probability", "solarize_probability"):
            require(
                len(getattr(self, name)) == 2, f"views.{name}", getattr(self, name), "give one number per view: two"
            )
            for value in getattr(self, name):
                require_share(f"views.{name}", value)
        for name in ("mean", "std"):
            require(
                len(getattr(self, name)) in (1, 3), f"views.{name}", getattr(self, name), "give one number or three"
            )
        require(min(self.std) > 0, "views.std", self.std, "give numbers above 0")
        require(0 <= self.num_local_views <= 64, "views.num_local_views", self.num_local_views, "give 0 to 64")
        require(self.local_size >= 4, "views.local_size", self.local_size, "give 4 pixels or more")
        require_range("views.local_crop_scale", self.local_crop_scale, 1e-4, 1.0)
        require_share("views.local_blur_probability", self.local_blur_probability)
        _require_own_code("views.extra", self.extra)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Backbone and head: images -> features -> logits."""

    backbone: str = field(
        "small_conv",
        "The network that makes features: small_conv, fast_conv, resnet18 … resnet200w2, vit_t … vit_b, timm:NAME, or "
        "your own, FILE.py:NAME.",
    )
    stem: str = field(
        "tiny",
        "First layers: tiny (a ResNet's is 3x3 without pooling) up to about 64 pixels, standard above; fast_conv's has "
        "stride 1 or, standard, 2.",
    )
    widths: tuple[int, ...] = field(
        (32, 64, 128),
        "Channels of the blocks of small_conv and fast_conv; each block but small_conv's first halves the side.",
    )
    pool_side: int = field(
        1, "Side of the grid to which these two average their last maps: 1 forgets where things are, 4 keeps a layout."
    )
    backbone_norm: str = field(
        "batch",
        "Norm inside small_conv: batch or none (with strong weight decay its features then span few directions).",
    )
    whitening: bool = field(
        True,
        "Whether fast_conv's first layer whitens patches of the run's own views, untrained; false trains a drawn one.",
    )
    patch_size: int = field(16, "Side of a patch of a vision transformer in pixels; 4 for images of about 32 pixels.")
    drop_path: float = field(0.0, "Stochastic depth of the last block of a vision transformer, linear from 0.")
    freeze_patch_embedding: bool = field(
        False, "Whether a vision transformer keeps its first layer as drawn; steadier with large learning rates."
    )
    hidden_dim: int = field(512, "Width of the two hidden layers of the head; 4096 in the paper.")
    num_classes: int = field(
        10, "Number of learned classes C; sharpness has a floor below about 50, diversity a cap at log N."
    )
    num_heads: int = field(
        1, "Heads trained side by side, the one of least loss speaks; 4 escapes poor optima when classes are few."
    )
    head_norm: str = field("batch", "Norm inside the head: batch, layer or none.")
    activation: str = field("relu", "Nonlinearity inside the head: relu or gelu.")
    dropout: float = field(0.0, "Dropout probability after the head's first layer.")
    final_norm: str = field(
        "batch",
        "Norm before the softmax, without learned scale: batch, sync (over all processes) or none (expect collapse).",
    )
    bunch_size: int | None = field(
        None, "Images whose views share the final norm's statistics, 256 in the paper; none means a process's batch."
    )
    sync_norm: bool = field(
        True, "Whether the other batch norms see the rows of all processes; means nothing with one process."
    )
    head_init: str = field(
        "auto", "First weights of the head: default (torch's), truncated (normal, 0.02), auto (truncated for vit_*)."
    )

    def __post_init__(self):
        if not self.backbone.startswith("timm:") and not is_own_code(self.backbone):
            require(
                not self.backbone.endswith(".py"),
                "network.backbone",
                self.backbone,
                "give FILE.py:NAME, the name of a function or class in the file",
            )
            require_one_of("network.backbone", self.backbone, BACKBONES)
        require_one_of("network.stem", self.stem, ("tiny", "standard"))
        require_one_of("network.backbone_norm", self.backbone_norm, ("batch", "none"))
        require_one_of("network.head_norm", self.head_norm, ("batch", "layer", "none"))
        require_one_of("network.activation", self.activation, ("relu", "gelu"))
        require_one_of("network.final_norm", self.final_norm, ("batch", "sync", "none"))
        require(
            len(self.widths) >= 1 and min(self.widths) >= 1,
            "network.widths",
            self.widths,
            "give positive channel counts",
        )
        require(1 <= self.pool_side <= 16, "network.pool_side", self.pool_side, "give 1 to 16")
        require(1 <= self.num_heads <= 64, "network.num_heads", self.num_heads, "give 1 to 64")
        require(self.patch_size >= 1, "network.patch_size", self.patch_size, "give 1 or more")
        require(0 <= self.drop_path < 1, "network.drop_path", self.drop_path, "give 0 or more, below 1")
        require(
            self.bunch_size is None or self.bunch_size >= 2, "network.bunch_size", self.bunch_size, "give 2 or more"
        )
        require_one_of("network.head_init", self.head_init, ("auto", "default", "truncated"))
        require(self.hidden_dim >= 1, "network.hidden_dim", self.hidden_dim, "give 1 or more")
        require(
            self.num_classes >= 2,
            "network.num_classes",
            self.num_classes,
            "give 2 or more; with fewer classes every image has the same distribution and nothing can be learned",
        )
        require(0 <= self.dropout < 1, "network.dropout", self.dropout, "give 0 or more, below 1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The TWIST loss: consistency + sharpness - diversity, each with its weight."""

    temperature: float = field(1.0, "Divisor of the logits; below 1 sharpens, which small numbers of classes need.")
    consistency_temperature: float | None = field(
        None, "Divisor of the logits in the consistency term alone; none means the temperature, 1 is the authors'."
    )
    consistency_weight: float = field(1.0, "Weight of the divergence between the views; too large slides to uniform.")
    sharpness_weight: float = field(1.0, "Weight of the mean sample entropy; 0 ends in the uniform collapse.")
    diversity_weight: float = field(
        1.0, "Weight of the entropy of the mean distribution; 0 invites one-class collapse."
    )
    extra: str | None = field(
        None, "Your own term, FILE.py:NAME: called with the views' logits and features, added with extra_weight."
    )
    extra_weight: float = field(1.0, "Weight of your own term in the total.")
    eps: float = field(1e-5, "Added inside the logarithms: 1e-5 is the authors', 0 is exact.")

    def __post_init__(self):
        require(self.temperature > 0, "objective.temperature", self.temperature, "give a number above 0")
        require(
            self.consistency_temperature is None or self.consistency_temperature > 0,
            "objective.consistency_temperature",
            self.consistency_temperature,
            "give a number above 0, or none for the temperature",
        )
        _require_own_code("objective.extra", self.extra)
        require(0 <= self.eps < 0.1, "objective.eps", self.eps, "give 0 or a small positive number such as 1e-5")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights are moved, and for how long."""

    optimizer: str = field("adamw", "Update rule: adamw, sgd with momentum, or lars for batches of thousands.")
    epochs: int = field(100, "Passes over the images with the TWIST loss; self_label.epochs come on top.")
    batch_size: int = field(
        256, "Images per step, N; the mean distribution is a batch quantity, so log N caps the mutual information."
    )
    learning_rate: float = field(2e-3, "Peak learning rate, after the warm-up.")
    warmup_epochs: float = field(
        5.0, "Epochs of linear rise from 0 to the peak learning rate; one that would not end takes half of the run."
    )
    final_learning_rate: float = field(0.001, "Learning rate at the end as a share of the peak; a cosine leads there.")
    bias_learning_rate: float = field(1.0, "Learning rate of biases and norms as a share of that of the weights.")
    weight_decay: float = field(1e-4, "Pull of weights toward zero; biases and norm parameters are spared.")
    final_weight_decay: float | None = field(
        None, "Weight decay at the end, a cosine leads there; none keeps it constant."
    )
    momentum: float = field(0.9, "Momentum of sgd and lars; unused by adamw.")
    trust: float = field(0.001, "Share of its norm that a weight tensor moves at learning rate 1, in lars alone.")
    betas: tuple[float, float] = field((0.9, 0.999), "Averaging constants of adamw; unused by sgd.")
    clip_norm: float | None = field(None, "Largest allowed gradient norm; none leaves gradients alone.")

    def __post_init__(self):
        require_one_of("optim.optimizer", self.optimizer, ("adamw", "sgd", "lars"))
        require(self.epochs >= 1, "optim.epochs", self.epochs, "give 1 or more")
        require(
            self.batch_size >= 2,
            "optim.batch_size",
            self.batch_size,
            "give 2 or more: batch norm and the mean distribution mean nothing on a single image",
        )
        require(self.learning_rate >= 0, "optim.learning_rate", self.learning_rate, "give 0 or more")
        require(self.warmup_epochs >= 0, "optim.warmup_epochs", self.warmup_epochs, "give 0 or more")
        require_share("optim.final_learning_rate", self.final_learning_rate)
        require(self.weight_decay >= 0, "optim.weight_decay", self.weight_decay, "give 0 or more")
        require(
            self.final_weight_decay is None or self.final_weight_decay >= 0,
            "optim.final_weight_decay",
            self.final_weight_decay,
            "give 0 or more, or none for a constant one",
        )
        require(self.bias_learning_rate >= 0, "optim.bias_learning_rate", self.bias_learning_rate, "give 0 or more")
        require(self.trust > 0, "optim.trust", self.trust, "give a number above 0")
        require(0 <= self.momentum < 1, "optim.momentum", self.momentum, "give 0 or more, below 1")
        require_range("optim.betas", (min(self.betas), max(self.betas)), 0.0, 1.0)
        require(max(self.betas) < 1, "optim.betas", self.betas, "give two numbers below 1")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            "optim.clip_norm",
            self.clip_norm,
            "give a number above 0, or none",
        )


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A momentum teacher: a slow average of the network, against whose answers the network is compared."""

    enabled: bool = field(False, "Whether there is a teacher; the paper's vision transformers have one.")
    momentum: tuple[float, float] = field(
        (0.996, 1.0), "Share of itself the teacher keeps at each step, at the start and the end; a cosine between."
    )
    evaluation_mode: bool = field(
        False, "Whether the teacher uses running statistics and no dropout; the authors' uses its batch's, and dropout."
    )
    average_buffers: bool = field(
        False, "Whether running statistics are averaged like the weights; the authors' teacher keeps its own."
    )

    def __post_init__(self):
        for value in self.momentum:
            require_share("teacher.momentum", value)
        require(
            self.average_buffers or not self.evaluation_mode,
            "teacher.evaluation_mode",
            self.evaluation_mode,
            "give teacher.average_buffers=true with it, else its running statistics stay what they were at the start",
        )


@dataclass(frozen=True, kw_only=True)
class SelfLabelConfig:
    """A last stage in which the network's own confident answers become labels for the other views."""

    epochs: int = field(0, "Epochs of the stage, after optim.epochs; 0 leaves it out, 50 after 800 in the paper.")
    learning_rate: float = field(2e-4, "Peak learning rate of the stage; a tenth of the first one's in the paper.")
    warmup_epochs: float = field(
        5.0, "Epochs of linear rise from 0 to that rate; one that would not end takes half of the stage."
    )
    quantile: tuple[float, float] = field(
        (0.5, 0.6), "Share of the samples that teach, at the start and the end of the stage; a cosine between."
    )
    threshold: float = field(0.0, "Confidence that a sample must exceed to teach, where the quantile is 0.")
    mask_temperature: float | None = field(
        None, "Divisor of the logits when a confidence is compared; none means the temperature, 1 is the authors'."
    )
    balance_classes: bool = field(
        False, "Whether each pseudo class counts alike, however many samples have it; the authors leave it off."
    )
    global_quantile: bool = field(
        True, "Whether the quantile is one of the joined batch of all processes; the authors' is each process's own."
    )
    crop_scale: tuple[float, float] = field(
        (0.14, 1.0), "Range of the share of the image's area in the stage's global views: harder than before."
    )
    local_crop_scale: tuple[float, float] = field((0.05, 0.14), "The same for its local views.")

    def __post_init__(self):
        require(self.epochs >= 0, "self_label.epochs", self.epochs, "give 0 or more")
        require(self.learning_rate >= 0, "self_label.learning_rate", self.learning_rate, "give 0 or more")
        require(self.warmup_epochs >= 0, "self_label.warmup_epochs", self.warmup_epochs, "give 0 or more")
        require(
            self.mask_temperature is None or self.mask_temperature > 0,
            "self_label.mask_temperature",
            self.mask_temperature,
            "give a number above 0, or none for the temperature",
        )
        for value in self.quantile:
            require_share("self_label.quantile", value)
        require_share("self_label.threshold", self.threshold)
        require_range("self_label.crop_scale", self.crop_scale, 1e-4, 1.0)
        require_range("self_label.local_crop_scale", self.local_crop_scale, 1e-4, 1.0)
