"""Figures made of images: views, the classes of a run, images that it is torn about, and maps that mislead."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.gallery.trained import record
from twist.view.theme import DARK, LIGHT, class_color

_GAP = 4


def views(*, dark: bool) -> bytes:
    """Five digits, each as it is and as eight views of it."""
    import torch

    from twist.learn.datasets import load
    from twist.learn.views import make_views

    recipe = record("ten-digits").recipe
    images = load(recipe.data)
    rows = torch.tensor([0, 3, 5, 8, 14])
    chosen = images.images[rows]
    made = [
        view
        for epoch in range(4)
        for view in make_views(chosen, rows, recipe.views, seed=0, epoch=epoch)  # two views of an epoch
    ]
    mean, std = recipe.views.mean[0], recipe.views.std[0]
    shown = [[_tile(image[0].numpy(), 76)] for image in chosen]
    for view in made:
        pixels = ((view[:, 0] * std + mean).clamp(0, 1) * 255).byte().numpy()
        for line, image in zip(shown, pixels, strict=True):
            line.append(_tile(image, 76))
    sheet = _sheet(shown, dark=dark, left=0, top=24, after=12)
    write = _pen(sheet, dark=dark)
    write((2, 4), "image", 13)
    for number in range(8):
        write((76 + 12 + _GAP + number * 80 + 2, 4), f"view {number + 1}", 13)
    return _webp(sheet)


def classes(*, dark: bool) -> bytes:
    """The surest images of each of the ten learned classes, in its color."""
    found = record("ten-digits")
    watch, last = found.watch(), found.snapshot()
    rows = [np.flatnonzero(last.assignment == number) for number in range(last.num_classes)]
    shown = []
    for members in rows:
        best = members[np.argsort(-last.confidence[members], kind="stable")]
        spaced = best[np.linspace(0, max(0, len(best) // 2), 14).astype(int)] if len(best) else best
        shown.append([_tile(image, 52) for image in _thumbnails(watch, spaced)])
    sheet = _sheet(shown, dark=dark, left=150, top=0)
    write, pen = _pen(sheet, dark=dark), ImageDraw.Draw(sheet)
    for number, members in enumerate(rows):
        y = number * (52 + _GAP)
        pen.rectangle((0, y, 9, y + 51), fill=class_color(number))
        write((18, y + 8), f"class {number}", 15)
        write((18, y + 28), f"{len(members)} images", 12, muted=True)
    return _webp(sheet)


def torn(*, dark: bool) -> bytes:
    """The images with the most even distributions, and between which classes they are torn."""
    found = record("ten-digits")
    watch, last = found.watch(), found.snapshot()
    rows = np.argsort(-last.sample_entropy, kind="stable")[:16]
    shown = [[_tile(image, 84) for image in part] for part in np.array_split(_thumbnails(watch, rows), 2)]
    sheet = _sheet(shown, dark=dark, left=0, top=0, below=50)
    write, pen = _pen(sheet, dark=dark), ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        x, y = place % 8 * (84 + _GAP), place // 8 * (84 + _GAP + 50) + 88
        two = [(int(c), float(p)) for c, p in zip(last.top_classes[row, :2], last.top_probs[row, :2], strict=True)]
        left = x
        for number, share in two:
            pen.rectangle((left, y, left + 84 * share, y + 8), fill=class_color(number))
            left += 84 * share + 1
        for line, (number, share) in enumerate(two):
            write((x, y + 11 + 14 * line), f"class {number}: {share:.0%}", 12)
    return _webp(sheet)


def maps(*, dark: bool) -> bytes:
    """Six maps: the features of one run with other neighbors and seeds, and pure noise."""
    side, head = 300, 26
    shade = DARK if dark else LIGHT
    sheet = Image.new("RGBA", (3 * side + 2 * _GAP * 2, 2 * (side + head)), (0, 0, 0, 0))
    write, pen = _pen(sheet, dark=dark), ImageDraw.Draw(sheet)
    for place, (words, found_at, hues) in enumerate(_six_maps()):
        low, high = found_at.min(0), found_at.max(0)
        points = (found_at - (low + high) / 2) / (high - low).max() * (side - 24) + side / 2
        x0, y0 = place % 3 * (side + 2 * _GAP), place // 3 * (side + head)
        write((x0 + 4, y0 + 5), words, 14)
        pen.rectangle((x0, y0 + head, x0 + side - 1, y0 + head + side - 9), outline=shade.grid)
        for (x, y), hue in zip(points, hues, strict=True):
            pen.ellipse((x0 + x - 1.6, y0 + head + y - 5.6, x0 + x + 1.6, y0 + head + y - 2.4), fill=hue)
    return _webp(sheet)


@functools.cache
def _six_maps() -> list[tuple[str, np.ndarray, list[str]]]:
    """What each map is of, its places, and the colors of its points."""
    import umap

    last = record("ten-digits").snapshot()
    features = np.asarray(last.features, np.float32)
    colors = [class_color(int(number)) for number in last.assignment]
    noise = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    gray = ["#7F7F7F"] * len(noise)
    settings = (
        ("15 neighbors, seed 0", features, colors, 15, 0),
        ("15 neighbors, seed 7", features, colors, 15, 7),
        ("4 neighbors", features, colors, 4, 0),
        ("200 neighbors", features, colors, 200, 0),
        ("pure noise, 4 neighbors", noise, gray, 4, 0),
        ("pure noise, 100 neighbors", noise, gray, 100, 0),
    )
    return [
        (
            words,
            umap.UMAP(n_neighbors=neighbors, min_dist=0.0, random_state=seed, n_jobs=1).fit_transform(data),
            hues,
        )
        for words, data, hues, neighbors, seed in settings
    ]


def _thumbnails(watch, rows: Sequence[int]) -> list[np.ndarray]:
    from twist.runs.sheets import ContactSheets, thumbnails_of

    sheets = ContactSheets.of(watch)
    return [tile[..., 0] if tile.shape[-1] == 1 else tile for tile in thumbnails_of(sheets, rows)]


def _tile(pixels: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(np.asarray(pixels)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def _sheet(
    rows: Sequence[Sequence[Image.Image]], *, dark: bool, left: int, top: int, below: int = 0, after: int = 0
) -> Image.Image:
    """Tiles in rows; ``after`` pixels set the first column apart, ``below`` each row."""
    side = rows[0][0].width
    width = left + max(map(len, rows)) * (side + _GAP) - _GAP + after
    sheet = Image.new("RGBA", (width, top + len(rows) * (side + _GAP + below)), (0, 0, 0, 0))
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet.paste(tile, (left + x * (side + _GAP) + (after if x else 0), top + y * (side + _GAP + below)))
    return sheet


def _pen(sheet: Image.Image, *, dark: bool):
    shade, pen = (DARK if dark else LIGHT), ImageDraw.Draw(sheet)

    def write(place: tuple[float, float], words: str, size: int, *, muted: bool = False) -> None:
        pen.text(place, words, font=ImageFont.load_default(size), fill=shade.muted if muted else shade.text)

    return write


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=76, method=6)
    return buffer.getvalue()
