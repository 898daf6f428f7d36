"""The augmentations of a recipe one by one: which fields each has, how far they reach, and each of them alone."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from twist.runs.config import ViewsConfig


class Dial(NamedTuple):
    """One field of ``views`` as a person turns it.

    Attributes
    ----------
    field
        Name within ``views``.
    low, high, step
        What a slider reaches; the field itself may allow more.
    ends
        What the two numbers of a pair are called; empty for a single number.
    """

    field: str
    low: float
    high: float
    step: float
    ends: tuple[str, ...] = ()


class Augmentation(NamedTuple):
    """One kind of change to an image.

    Attributes
    ----------
    name, group
        In plain words.
    dials
        Its fields, the strength first.
    still
        Values of its fields that change nothing.
    always
        Values that make it happen in every draw, at whatever strength the others say.
    fixed
        Whether it is the same in every draw in which it happens.
    colors
        Whether it means nothing to gray images.
    """

    name: str
    group: str
    dials: tuple[Dial, ...]
    still: dict[str, Any]
    always: dict[str, Any] = {}
    fixed: bool = False
    colors: bool = False


_RANGE = ("from", "to")
_VIEWS = ("view 1", "view 2")

AUGMENTATIONS = {
    one.name: one
    for one in (
        Augmentation(
            "crop",
            "geometry",
            (Dial("crop_scale", 0.02, 1, 0.01, _RANGE), Dial("crop_ratio", 0.33, 3, 0.01, _RANGE)),
            {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)},
        ),
        Augmentation(
            "flip",
            "geometry",
            (Dial("flip_probability", 0, 1, 0.05),),
            {"flip_probability": 0.0},
            {"flip_probability": 1.0},
            fixed=True,
        ),
        Augmentation("rotation", "geometry", (Dial("rotation_degrees", 0, 180, 1),), {"rotation_degrees": 0.0}),
        Augmentation("shift", "geometry", (Dial("shift", 0, 0.5, 0.01),), {"shift": 0.0}),
        Augmentation("zoom", "geometry", (Dial("zoom", 0.33, 3, 0.01, _RANGE),), {"zoom": (1.0, 1.0)}),
        Augmentation("shear", "geometry", (Dial("shear_degrees", 0, 60, 1),), {"shear_degrees": 0.0}),
        Augmentation("stretch", "geometry", (Dial("stretch", 0, 1, 0.01),), {"stretch": 0.0}),
        *(
            Augmentation(
                name,
                "color",
                (Dial(name, 0, high, 0.01),),
                {name: 0.0},
                {"jitter_probability": 1.0},
                colors=name in ("saturation", "hue"),
            )
            for name, high in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5))
        ),
        Augmentation(
            "gray",
            "color",
            (Dial("gray_probability", 0, 1, 0.05),),
            {"gray_probability": 0.0},
            {"gray_probability": 1.0},
            fixed=True,
            colors=True,
        ),
        Augmentation(
            "blur",
            "pixels",
            (Dial("blur_probability", 0, 1, 0.05, _VIEWS), Dial("blur_sigma", 0.05, 4, 0.05, _RANGE)),
            {"blur_probability": (0.0, 0.0)},
            {"blur_probability": (1.0, 1.0)},
        ),
        Augmentation(
            "solarize",
            "pixels",
            (Dial("solarize_probability", 0, 1, 0.05, _VIEWS),),
            {"solarize_probability": (0.0, 0.0)},
            {"solarize_probability": (1.0, 1.0)},
            fixed=True,
        ),
        Augmentation("noise", "pixels", (Dial("noise", 0, 0.5, 0.005),), {"noise": 0.0}),
    )
}

#: What stands for all of them at once, where one is named.
TOGETHER = "all together"
#: Turned for brightness, contrast, saturation and hue together.
JITTER = Dial("jitter_probability", 0, 1, 0.05)


def dials() -> list[tuple[str, Dial]]:
    """Every dial with the group it stands in, in reading order."""
    found = [(one.group, dial) for one in AUGMENTATIONS.values() for dial in one.dials]
    first_color = next(place for place, (group, _) in enumerate(found) if group == "color")
    return [*found[:first_color], ("color", JITTER), *found[first_color:]]


def values_of(views: ViewsConfig) -> dict[str, Any]:
    """The value of every dial."""
    return {dial.field: getattr(views, dial.field) for _, dial in dials()}


def still(views: ViewsConfig) -> ViewsConfig:
    """The same views with nothing augmented: both show the central square of the image."""
    values = {name: value for one in AUGMENTATIONS.values() for name, value in one.still.items()}
    return dataclasses.replace(views, **values)


def in_use(views: ViewsConfig, *, channels: int = 3) -> list[str]:
    """Names of the augmentations that change anything at all, in reading order.

    Examples
    --------
    >>> in_use(ViewsConfig(), channels=1)
    ['crop', 'flip', 'brightness', 'contrast', 'solarize']
    """
    return [
        name
        for name, one in AUGMENTATIONS.items()
        if not (one.colors and channels == 1)
        and not (one.always == {"jitter_probability": 1.0} and views.jitter_probability == 0)
        and any(getattr(views, field) != value for field, value in one.still.items() if field != "crop_ratio")
    ]


def alone(views: ViewsConfig, name: str) -> ViewsConfig:
    """One augmentation at the strength it has, in every draw, and none of the others.

    Examples
    --------
    >>> views = alone(ViewsConfig(brightness=0.3), "brightness")
    >>> views.brightness, views.jitter_probability, views.contrast, views.flip_probability
    (0.3, 1.0, 0.0, 0.0)
    """
    one = AUGMENTATIONS[name]
    own = {dial.field: getattr(views, dial.field) for dial in one.dials}
    return dataclasses.replace(still(views), **{**own, **one.always})
