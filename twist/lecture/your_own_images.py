"""Exercises of 10_your_own_images, and the images it begins with: four shapes in four colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twist.lecture.exercise import Exercise
from twist.lecture.judges import choice, near

SHAPES = ("cross", "disk", "ring", "triangle")
COLORS = {"red": (235, 80, 80), "green": (70, 190, 95), "blue": (95, 135, 250), "yellow": (205, 180, 45)}


def draw_shapes(count: int, *, seed: int = 0, side: int = 24) -> np.ndarray:
    """Colored shapes on a dark ground: every shape in every color, equally often.

    Image k shows shape k mod 4 in color (k div 4) mod 4; place, size, tilt and brightness are drawn.

    Returns
    -------
    array
        uint8 ``[count, side, side, 3]``.
    """
    rng = np.random.default_rng(seed)
    fine = np.linspace(-1, 1, 4 * side)  # four points a pixel, averaged: soft edges
    y, x = np.meshgrid(fine, fine, indexing="ij")
    images = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        (left, top), size, tilt = rng.uniform(-0.15, 0.15, 2), rng.uniform(0.62, 0.82), rng.uniform(-0.3, 0.3)
        across, down = (x - left) / size, (y - top) / size
        turned = np.cos(tilt) * across + np.sin(tilt) * down, np.cos(tilt) * down - np.sin(tilt) * across
        inside = _inside(SHAPES[number % 4], *turned).reshape(side, 4, side, 4).mean((1, 3))[..., None]
        color = np.array(list(COLORS.values())[number // 4 % 4]) * rng.uniform(0.85, 1.0)
        pixels = inside * color + (1 - inside) * rng.uniform(15, 50) + rng.normal(0, 6, (side, side, 1))
        images[number] = pixels.clip(0, 255)
    return images


def _inside(shape: str, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Where a shape of about unit radius is."""
    radius = np.hypot(across, down)
    if shape == "disk":
        return radius < 0.95
    if shape == "ring":
        return (radius > 0.6) & (radius < 1)
    if shape == "triangle":
        return (down < 0.75) & (down > 1.7 * abs(across) - 0.95)
    arms = np.minimum(abs(across), abs(down)) < 0.25
    return arms & (np.maximum(abs(across), abs(down)) < 1)


def write_shapes(folder: Path, count: int, *, seed: int = 0) -> Path:
    """`draw_shapes` as PNG files, a folder for each shape: ``ring/blue-0014.png``. Files that are there stay."""
    from PIL import Image

    for number, pixels in enumerate(draw_shapes(count, seed=seed)):
        file = folder / SHAPES[number % 4] / f"{list(COLORS)[number // 4 % 4]}-{number:04}.png"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return folder


EXERCISES = (
    Exercise(
        name="epochs",
        question="650 images, batches of 100; the incomplete last batch of an epoch is left out. The verdict speaks "
        "after 100 steps. How many epochs does that take?",
        judge=near(
            17,
            within=0.01,
            unit="epochs",
            known={
                15: "With seven steps an epoch: the seventh batch would have 50 images.",
                16: "Sixteen epochs are 96 steps.",
                100 / 6.5: "There are no half steps.",
                100 / 6: "An epoch that has begun counts whole.",
            },
        ),
        hint="How many whole batches are in an epoch, and how many epochs until there are 100 of them?",
        solution="answer = int(np.ceil(100 / (650 // 100)))",
        why="Few images make few steps: a small folder wants many epochs, or smaller batches.",
        mistakes=(15, 16, 100 / 6.5, 1),
    ),
    Exercise(
        name="sorted_by",
        question="Four shapes in four colors, four classes, and views that turn, shift and brighten a little. What "
        "will the classes be: 'shape', 'color' or 'both'?",
        judge=choice(
            "color",
            {
                "shape": "Which of the two does every view keep, and which is easier to see?",
                "both": "Both together would be sixteen kinds; there are four classes.",
            },
        ),
        hint="Look at the rows of views: what is the same in a column, at every pixel?",
        solution='answer = "color"',
        why="Both would be right by the loss: sharp, even, and the same for both views. The easier one is found first. "
        "The folder's names were never looked at.",
        mistakes=("shape", "both", "size"),
    ),
    Exercise(
        name="forget",
        question="Which one field tells the network that color does not matter: 'views.gray_probability', "
        "'views.brightness', 'views.flip_probability' or 'network.num_classes'?",
        judge=choice(
            "views.gray_probability",
            {
                "views.brightness": "Brightness makes a red darker or lighter; it stays red.",
                "views.flip_probability": "A flipped red ring is a red ring.",
                "network.num_classes": "With more classes it could sort by both; it would not forget the color.",
            },
        ),
        hint="`twist fields images` has a sentence for every field. Which one takes the color away?",
        solution='answer = "views.gray_probability"',
        why="At 1 no view has a color, so nothing can be sorted by it. At 0.5 one view may have it and the other not: "
        "then consistency forbids to use it.",
        mistakes=("views.brightness", "views.flip_probability", "network.num_classes", "gray"),
    ),
    Exercise(
        name="rare",
        question="In another folder nine of ten images are disks. Four classes, everything else as here. What does the "
        "loss ask for: that disks get 'one' class, or that they are 'cut' into several?",
        judge=choice("cut", {"one": "Then one class would hold 90 % of every batch: what does diversity say to that?"}),
        hint="H(Y) is greatest when every class holds a quarter of a batch.",
        solution='answer = "cut"',
        why="Diversity is a statement about your images: groups of about one size. Where sizes differ much, ask for "
        "more classes than there are groups and name several of them alike, or lower the weight of diversity.",
        mistakes=("one", "none"),
    ),
)
