"""Write docs/gallery anew: train what is missing, draw every figure for both themes, note where each comes from."""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import plotly.graph_objects as go
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from plotly.offline import get_plotlyjs

from benchmarks.gallery import drawn, pictures, recorded, simplex
from benchmarks.gallery.trained import HOME, OPEN_PLANE, record
from twist.view.provenance import provenance

GALLERY = HOME / "docs" / "gallery"
MANIFEST = GALLERY / "figures.json"
WIDTH = 860
#: Above so many bytes a drawing is kept as pixels, which then are fewer.
LARGEST_SVG = 90_000


class Figure(NamedTuple):
    """One figure of the gallery: what draws it, what it shows in words, and the runs that it comes from."""

    draw: Callable[..., go.Figure | bytes]
    alt: str
    runs: tuple[str, ...] = ()
    source: str = ""


FIGURES = {
    "plane": Figure(
        drawn.plane,
        "Entropy plane of a run on digits: its way leads from the uniform corner up and to the left along the frontier "
        "that the norm leaves; beside it the strip in reach, magnified",
        ("ten-digits",),
    ),
    "terms": Figure(
        drawn.terms,
        "Consistency falls, mutual information rises toward its limit, sharpness falls to its floor, diversity stays "
        "near log C, over 680 steps",
        ("ten-digits",),
    ),
    "images-through-time": Figure(
        drawn.images_through_time,
        "Distribution of the entropies of all images over the snapshots: it sinks from log C, a tail stays up",
        ("ten-digits",),
    ),
    "images-followed": Figure(
        drawn.images_followed,
        "Entropies of five chosen images over the steps: one is sure early, one is learned late, one never settles",
        ("ten-digits",),
    ),
    "ways": Figure(
        drawn.ways,
        "Five ways through the entropy plane without a norm: all three terms end near the upper left, no sharpness in "
        "the uniform corner, no diversity in the one-class corner, weak diversity in between, no consistency at the "
        "upper left as well",
        tuple(OPEN_PLANE),
    ),
    "norm-or-none": Figure(
        drawn.norm_or_none,
        "Two runs without diversity: with the norm ten classes stay in use and information rises; without it one class "
        "is left and information is 0",
        ("with-norm-no-diversity", "no-diversity"),
    ),
    "floor": Figure(
        drawn.floor,
        "Sharpness floor over the number of classes for three temperatures, below log C; at temperature 1 it is 1.09 "
        "nats for ten classes and nearly 0 from 100 on",
        source="closed form, twist.runs.bounds.sharpness_floor",
    ),
    "frontier": Figure(
        drawn.frontier,
        "What the norm leaves of the entropy plane: a thin strip at the top for three classes at temperature 1, "
        "most of the upper half at temperature 0.3, a thin strip for ten, nearly everything at the top for a hundred",
        source="closed form, twist.runs.bounds.norm_frontier",
    ),
    "pulls": Figure(
        simplex.pulls,
        "Three triangles with arrows: consistency pulls a point toward its other view, sharpness toward the nearest "
        "corner, diversity away from the class that most samples are in",
        source="gradients of twist.learn.objective.twist_loss at the logits",
    ),
    "three-classes": Figure(
        simplex.through_time,
        "Every digit as a dot in a triangle of three classes at four steps: first a cloud in the middle, then streams, "
        "at last three clusters in the corners with some dots on the edges",
        ("three-classes",),
    ),
    "views": Figure(pictures.views, "Five digits, each beside eight augmented views of it", ("ten-digits",)),
    "classes": Figure(
        pictures.classes,
        "Ten rows of handwritten digits, one for each learned class, surest first: each row shows one digit",
        ("ten-digits",),
    ),
    "torn": Figure(
        pictures.torn,
        "Sixteen handwritten digits that are hard to read, each with the two classes that share its probability",
        ("ten-digits",),
    ),
    "maps": Figure(
        pictures.maps,
        "Six UMAPs: the same features with two seeds and with 4, 15 and 200 neighbors look quite different; pure noise "
        "with 4 neighbors shows threads and clumps",
        ("ten-digits",),
    ),
    "where": Figure(
        recorded.where,
        "Ends of 63 runs in entropy planes, by weight of consistency: too strong and they slide to uniform, too weak "
        "and the views disagree",
        source=recorded.source("where_it_learns.json"),
    ),
    "honest": Figure(
        recorded.honest,
        "On digits a trained net, the same net untrained and the pixels all score above 96 % in kNN; on CIFAR-10 and "
        "with 1 % of the labels they come apart",
        source="records benchmarks/records/results/digits.json and cifar10-6000.json",
    ),
}


def main() -> None:
    """Draw the figures asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(FIGURES)}; all when left out")
    wanted = parser.parse_args().names or list(FIGURES)
    notes: dict[str, Any] = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = chrome.new_page()
        page.set_content("<div id='figure'></div>")
        page.add_script_tag(content=get_plotlyjs())
        for name in wanted:
            notes[name] = written(name, FIGURES[name], page)
            ordered = {known: notes[known] for known in [*FIGURES, *notes] if known in notes}
            MANIFEST.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
        chrome.close()


def written(name: str, figure: Figure, page: Page) -> dict[str, Any]:
    """Write the files of one figure; what the manifest says of it."""
    files = {}
    for theme in ("light", "dark"):
        made = figure.draw(dark=theme == "dark")
        ending, data = ("webp", made) if isinstance(made, bytes) else vector_or_pixels(made, page)
        files[theme] = f"{name}-{theme}.{ending}"
        for old in GALLERY.glob(f"{name}-{theme}.*"):
            old.unlink()
        (GALLERY / files[theme]).write_bytes(data)
        print(f"docs/gallery/{files[theme]}  {len(data) / 1000:.0f} kB", flush=True)
    return {"alt": figure.alt, "source": figure.source or lines_of(figure.runs), "files": files}


def lines_of(runs: tuple[str, ...]) -> str:
    """Provenance of one run, or of several in brief."""
    found = [record(name) for name in runs]
    if len(found) == 1:
        return provenance(found[0], found[0].last("snapshot")["step"])
    named = "; ".join(f"{run.name} ({run.identity.get('id', '')})" for run in found)
    return f"runs {named} · seed {found[0].recipe.seed} · {provenance(found[0]).split(' · ', 2)[2]}"


def vector_or_pixels(figure: go.Figure, page: Page) -> tuple[str, bytes]:
    """A figure as SVG on no paper, or as WebP where that would be large; ending and bytes."""
    figure.update_layout(width=WIDTH, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    data = _as_image(figure, page, "svg")
    data = re.sub(rb"(\d\.\d{2})\d+", rb"\1", data)
    if len(data) <= LARGEST_SVG:
        return "svg", data
    buffer = io.BytesIO()
    drawing = Image.open(io.BytesIO(_as_image(figure, page, "png"))).convert("RGBA").quantize(96).convert("RGBA")
    drawing.save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return "webp", buffer.getvalue()


def _as_image(figure: go.Figure, page: Page, form: str) -> bytes:
    """What plotly draws of a figure."""
    address = page.evaluate(
        """async ([figure, format, width, height]) => {
            const box = document.getElementById("figure");
            await Plotly.newPlot(box, figure.data, figure.layout, {staticPlot: true});
            const scale = format === "svg" ? 1 : 1.7;
            const address = await Plotly.toImage(box, {format, width, height, scale});
            Plotly.purge(box);
            return address;
        }""",
        [json.loads(figure.to_json()), form, figure.layout.width, figure.layout.height],
    )
    head, _, body = address.partition(",")
    if ";base64" in head:
        return base64.b64decode(body)
    from urllib.parse import unquote

    return unquote(body).encode()


if __name__ == "__main__":
    main()
