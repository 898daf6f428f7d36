"""One class for every network that answers about images, wherever it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from twist.learn import information
from twist.learn.preparing import Preparation
from twist.learn.stored_images import StoredImages
from twist.runs.config import ConfigError
from twist.runs.sources import arrays_for_run

_HEAD_ROWS = 8192  # rows that a head is asked about at a time


class Answers(NamedTuple):
    """What a network says of images.

    Attributes
    ----------
    assignment
        The likeliest class of each image.
    confidence
        Its probability, 0 to 1.
    sample_entropy
        Entropy of the image's class distribution in nats, 0 to log C: how undecided the network is.
    """

    assignment: Int64[Tensor, " N"]
    confidence: Float[Tensor, " N"]
    sample_entropy: Float[Tensor, " N"]


@dataclass(frozen=True)
class ClassHead:
    """What makes class distributions of a network's features.

    Attributes
    ----------
    net
        Features -> logits, in evaluation mode.
    temperature
        Divisor of the logits.
    num_classes
        Number of classes C.
    """

    net: Callable[[Tensor], Tensor]
    temperature: float
    num_classes: int


@dataclass(frozen=True, repr=False)
class Model:
    """A network that answers about images, with all that its images go through first.

    Attributes
    ----------
    name
        What people call it: ``mine @ step 680``, ``timm:resnet18``.
    kind
        Where it comes from: run, random, file, timm, torchvision, pixels or features.
    identity
        16 hex digits of SHA-256 over weights, make and preprocessing: two models of one identity answer alike,
        whatever they are called.
    facts
        What a record of a result says of it, as plain values.
    net
        Prepared views -> features ``[N, D]``, in evaluation mode.
    prepare
        Images -> prepared views.
    head
        Features -> class distributions, of a run or a whole checkpoint; None where there is none.

    Examples
    --------
    ::

        model = twist.load_model("mine")
        model.features(images)  # [N, D]
        model.classify(images).assignment  # [N]
    """

    name: str
    kind: str
    identity: str
    facts: dict[str, Any]
    net: nn.Module
    prepare: Preparation
    head: ClassHead | None = None

    def __repr__(self) -> str:
        features = self.facts.get("feature_dim") or "as many features as pixels"
        features = f"{features} features" if isinstance(features, int) else features
        classes = "no classes" if self.head is None else f"{self.head.num_classes} classes"
        return f"Model({self.name!r}, {features}, {classes})"

    @property
    def num_classes(self) -> int | None:
        """Number of its classes C; None without a head."""
        return None if self.head is None else self.head.num_classes

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        weight = next(iter(self.net.parameters()), None)
        return torch.device("cpu") if weight is None else weight.device

    def to(self, device: torch.device | str) -> Model:
        """The same model, moved to a device."""
        self.net.to(device)
        if self.head is not None and isinstance(self.head.net, nn.Module):
            self.head.net.to(device)
        return self

    def features(
        self,
        images: Any,
        *,
        batch_size: int = 256,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Float[Tensor, "N D"]:
        """Features of images, float32 on the CPU, without gradient.

        Parameters
        ----------
        images
            uint8 ``[N, 1 or 3, H, W]``, a tensor or stored images; or any array that a run takes (``[N, H, W]``,
            ``[N, H, W, 3]``, floating point from 0 to 1).
        batch_size
            Images that go through the network at a time.
        on_progress
            Called with (images done, images) after each batch; an exception in it ends that.

        Raises
        ------
        ConfigError
            When the images are of another form, or a feature is not finite.
        """
        pixels = as_images(images)
        found, done = [], 0
        for views in self._views(pixels, batch_size):
            features = self._ask(views).cpu()
            found.append(features)
            done += len(features)
            if on_progress is not None:
                on_progress(done, len(pixels))
        if not found:
            raise ConfigError(f"{self.name} was asked about no image: give one or more")
        return torch.cat(found)

    __call__ = features

    @torch.no_grad()
    def log_probs(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N C"] | None:
        """Log-probabilities of the classes from `features`, float32 where these are; None without a head."""
        if self.head is None:
            return None
        rows = [self.head.net(part.to(self.device)).float() for part in features.float().split(_HEAD_ROWS)]
        return (torch.cat(rows) / self.head.temperature).log_softmax(1).to(features.device)

    def classify(self, images: Any, *, batch_size: int = 256) -> Answers:
        """Class, confidence and entropy of images, on the CPU.

        Raises
        ------
        ConfigError
            When the model has no classes of its own, and as `features` does.
        """
        if self.head is None:
            raise ConfigError(f"{self.name} has no classes, only features: give a run, or label it with `twist label`")
        log_probs = self.log_probs(self.features(images, batch_size=batch_size))
        assert log_probs is not None
        confidence, assignment = log_probs.max(1)
        return Answers(assignment, confidence.exp(), information.sample_entropy(log_probs))

    def _views(self, images: Tensor | StoredImages, batch_size: int) -> Iterator[Tensor]:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: give 1 or more")
        self.net.eval()
        for first in range(0, len(images), batch_size):
            with torch.no_grad():
                yield self.prepare(images[first : first + batch_size].to(self.device))

    @torch.no_grad()
    def _ask(self, views: Tensor) -> Tensor:
        features = self.net(views.contiguous(memory_format=torch.channels_last)).float()
        if not features.isfinite().all():
            count = int((~features.isfinite()).any(1).sum())
            raise ConfigError(
                f"{self.name} makes features that are not finite, of {count} of {len(features)} images: its weights "
                "do not fit these images or its training went astray; take another checkpoint"
            )
        return features


def make_model(
    name: str,
    kind: str,
    net: nn.Module,
    prepare: Preparation,
    *,
    make: Mapping[str, Any],
    facts: Mapping[str, Any],
    head: ClassHead | None = None,
) -> Model:
    """A model of its parts, in evaluation mode, after a look at its weights and a trial of one black image.

    Parameters
    ----------
    make
        What weights alone do not tell of how the network computes, as plain values: part of the identity.
    facts
        What a record says besides the features' dimension, parameters and preprocessing, which are added here.

    Raises
    ------
    ConfigError
        When a weight is not finite, or the network does not make features ``[N, D]`` of prepared views.
    """
    net.eval()
    parts = {"net": net} | ({"head": head.net} if head is not None and isinstance(head.net, nn.Module) else {})
    weights = {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}
    bad = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise ConfigError(
            f"{name} is not used: {len(bad)} of its tensors hold numbers that are not finite, such as {bad[0]}; "
            "take a checkpoint from before that"
        )
    told = {**make, "preparation": prepare.facts}
    if head is not None:
        told |= {"temperature": head.temperature, "num_classes": head.num_classes}
    model = Model(
        name,
        kind,
        _identity(told, weights),
        {
            "kind": kind,
            **facts,
            "parameters": sum(weight.numel() for weight in net.parameters()),
            "feature_dim": _feature_dim(name, net, prepare),
            "num_classes": None if head is None else head.num_classes,
            "preparation": prepare.facts,
            "prepared": str(prepare),
        },
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        prepare,
        head,
    )
    model.facts["identity"] = model.identity
    return model


def as_images(images: Any) -> UInt8[Tensor, "N ch H W"] | StoredImages:
    """Images of any form that a run takes, as a tensor or stored images.

    Raises
    ------
    ConfigError
        When they are of another form.
    """
    if isinstance(images, StoredImages):
        return images
    if isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    pixels = torch.from_numpy(arrays_for_run(images)["images"])
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


def _feature_dim(name: str, net: nn.Module, prepare: Preparation) -> int | None:
    """Length of a feature vector, by one black image; None where the image's own size decides."""
    if prepare.size is None:
        return None
    black = torch.zeros(1, prepare.channels or 3, prepare.size, prepare.size, dtype=torch.uint8)
    try:
        with torch.no_grad():
            features = net(prepare(black))
    except ConfigError:
        raise
    except Exception as error:  # what a network does to a size that it was not made for is not listed anywhere
        raise ConfigError(
            f"{name} fails on views of {prepare.size} pixels ({type(error).__name__}: {error}): give another image_size"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        what = list(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise ConfigError(f"{name} makes {what} of one image: a network of features [N, D] is needed")
    return features.shape[1]


def _identity(told: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
