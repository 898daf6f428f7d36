"""The explorer without a kernel: a page of its own, and the small picture that stays in a saved notebook."""

from __future__ import annotations

import base64
import html
import io
import json
import secrets
from typing import Any

import numpy as np

from twist.runs.class_names import ClassName, class_names
from twist.runs.frozen import frozen_words
from twist.runs.histories import sample_traits
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.watched import Snapshot, Watch
from twist.view.browser import ALONE, script, style
from twist.view.explorer_history import Checkpoints, frames_table
from twist.view.explorer_tables import (
    base64_of,
    map_table,
    names_table,
    palette_table,
    snapshot_table,
    stand_in_table,
    watch_table,
)
from twist.view.layout import Layout, layout
from twist.view.nearest import cosine_neighbors
from twist.view.provenance import provenance
from twist.view.theme import class_colors

SCRIPT = script(
    "dom",
    "thumbnails",
    "scatter",
    "explorer_tables",
    "explorer_channels",
    "explorer_legend",
    "explorer_selection",
    "explorer_classes",
    "explorer_gallery",
    "explorer_inspector",
    "explorer_histogram",
    "explorer_ribbon",
    "explorer_time",
    "explorer_tools",
    "explorer_asks",
    "explorer_card",
    "explorer",
)
STYLE = style("base", "scatter", "explorer", "explorer_panels")

# A page is mailed and opened from disk: 12 checkpoints and 400,000 values a column keep it near ten megabytes.
_MOST_CHECKPOINTS = 12
_MOST_VALUES = 400_000
_MOST_SHEET_BYTES = 8_000_000
_SMALL_TILE = 24
_MOST_NEIGHBORS_OF = 10_000  # beyond, working them out takes too long for a page


def explorer_html(record: RunRecord, step: int | None = None, *, no_map: str = "") -> str:
    """The explorer of one run as a self-contained piece of HTML: no kernel, no network, several on one page.

    It opens at one snapshot; its slider runs through at most twelve, and says so where there are more.

    Parameters
    ----------
    record
        The run.
    step
        Step of the snapshot; none means the newest.
    no_map
        Why PCA stands in for the map, where that is known; it is then shown below it.

    Raises
    ------
    RecordError
        When the run has no watch images or no such snapshot.
    """
    record.poll()
    watch = record.watch()
    if watch is None:
        raise RecordError(f"run {record.name} has no watch images yet: there is nothing to explore")
    snapshot = record.snapshot(step)
    try:
        found = None if no_map else layout(record.path, snapshot.step)
    except RecordError as error:
        found, no_map = None, f"the map is damaged: {error}"
    images, problem = watch_table(watch, most_sheet_bytes=float("inf"))
    if sum(map(len, images["sheets"])) > _MOST_SHEET_BYTES:
        images |= _smaller(images)
        problem = "Thumbnails are drawn from smaller ones, to keep this page small enough to mail."
    placed = stand_in_table(snapshot, no_map) if found is None else map_table(found)
    if not placed["neighbors"] and 1 < len(watch) <= _MOST_NEIGHBORS_OF:
        placed |= _neighbors(snapshot)
    history = Checkpoints(record).table(snapshot.step, most=_MOST_CHECKPOINTS, most_values=_MOST_VALUES)
    several = len(record.snapshot_steps()) > 1  # of one, no class changed and nothing settled
    frozen = {"frozen": True} if record.frozen else {}
    values = {
        "status": {"state": "ready", "text": _said(record, problem), "run": record.name, **frozen},
        "watch": images,
        "snapshot": snapshot_table(snapshot, sample_traits(record, snapshot.step) if several else None),
        "placement": placed,
        "history": history,
        "motion": _motion(record, history),
        "palette": palette_table(snapshot.num_classes, len(images["label_names"])),
        "extra_columns": {},
        "class_names": names_table(_names(record)),
        "provenance": provenance(record, snapshot.step),
        "selected_class": -1,
        "selected_samples": b"",
        "torn": [-1, -1],
        "color_by": "class",
        "shape_by": "none",
        "trust_overlay": False,
        "gallery_order": "most",
        "shown_step": -1,
        "map_view": [0, 0, 1],
    }
    # "<" never appears: a label named "</script>" ends nothing
    data = json.dumps(values, default=base64_of, allow_nan=False).replace("<", "\\u003c")
    identity = f"twist-{secrets.token_hex(6)}"
    return (
        f'<div id="{identity}"><script type="application/json">{data}</script></div>\n'
        f"<style>{STYLE}</style>\n"
        f'<script type="module">{SCRIPT}{ALONE}\nrenderAlone(document.getElementById("{identity}"));</script>\n'
    )


def _said(record: RunRecord, problem: str) -> str:
    return " ".join(filter(None, [frozen_words(record.frozen) if record.frozen else "", problem]))


def _smaller(images: dict[str, Any]) -> dict[str, Any]:
    """The contact sheets with smaller thumbnails, as JPEG: of 50,000 images about 15 megabytes."""
    from PIL import Image

    sheets = []
    tile = min(images["tile"], _SMALL_TILE)
    for content in images["sheets"]:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            share = tile / images["tile"]
            size = round(picture.width * share), round(picture.height * share)
            buffer = io.BytesIO()
            picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=75)
            sheets.append(buffer.getvalue())
    return {"sheets": sheets, "tile": tile, "sheet_type": "image/jpeg"}


def _names(record: RunRecord) -> dict[int, ClassName]:
    try:
        return class_names(record.path)
    except RecordError:  # damaged names: the classes keep their numbers
        return {}


def _neighbors(snapshot: Snapshot) -> dict[str, Any]:
    from twist.view.explorer_tables import neighbors_table

    features = np.nan_to_num(np.asarray(snapshot.features, np.float32), posinf=0, neginf=0)
    ids, _ = cosine_neighbors(features, min(13, len(features)))
    return neighbors_table(ids[:, 1:])


def _motion(record: RunRecord, history: dict[str, Any]) -> dict[str, Any]:
    if not history:
        return {}
    from twist.view.aligned import frames

    try:
        found = frames(record.path)
    except RecordError:  # damaged: one map serves all checkpoints, and the page says so
        found = None
    return {} if found is None else frames_table(found, history["steps"])


# ---------------------------------------------------------------------------------------------------------------------
# What stays in a saved notebook


def static_picture(
    name: str, watch: Watch, snapshot: Snapshot, found: Layout | None, names: dict[int, ClassName], line: str
) -> str:
    """A small map and the largest classes as HTML that needs neither kernel nor script."""
    colors = class_colors(snapshot.num_classes)
    counts = np.bincount(snapshot.assignment, minlength=snapshot.num_classes)
    order = np.argsort(-counts, kind="stable")[:12]
    rows = []
    for class_id in order[counts[order] > 0].tolist():
        mine = np.asarray(snapshot.assignment) == class_id
        cells = [
            f'<span style="color:{colors[class_id]}">&#9632;</span> {class_id}',
            html.escape(names[class_id].name) if class_id in names else "",
            f"{counts[class_id]:,}",
            f"{100 * float(np.mean(np.asarray(snapshot.confidence)[mine])):.0f} %",
            f"{float(np.mean(np.asarray(snapshot.sample_entropy)[mine])):.2f}",
            html.escape(_main_label(watch, mine)),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    used = int((counts > 0).sum())
    heads = ("class", "name", "images", "confidence", "entropy, nats", "main label")
    more = f"<p>… and {used - len(rows)} more classes.</p>" if used > len(rows) else ""
    what = "UMAP" if found is not None and found.facts["method"] == "umap" else "PCA"
    alt = html.escape(f"{what} map of {len(watch):,} images of {name} in {used} classes")
    return (
        f"<p>{html.escape(line)}</p>"
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">'
        f'<img alt="{alt}" width="420" height="320" src="data:image/png;base64,{_dots(snapshot, found, colors)}">'
        f"<div><table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{more}</div></div>"
        f"<p><code>{html.escape(f'twist.ClassExplorer({name!r})')}</code> shows it live again.</p>"
    )


def _main_label(watch: Watch, mine: np.ndarray) -> str:
    if watch.labels is None:
        return ""
    labels = np.asarray(watch.labels)[mine]
    labels = labels[labels >= 0]
    if not len(labels):
        return ""
    tally = np.bincount(labels)
    return f"{watch.label_name(int(tally.argmax()))} ({100 * tally.max() / len(labels):.0f} %)"


def _dots(snapshot: Snapshot, found: Layout | None, colors: list[str]) -> str:
    """A PNG of the map, transparent between the dots: it stands on light paper and on dark."""
    from PIL import Image, ImageDraw

    from twist.view.layout import pca_positions

    width, height, scale = 420, 320, 2
    xy = pca_positions(snapshot.features) if found is None else np.stack([found.x, found.y], 1)
    rows = np.flatnonzero(np.isfinite(xy).all(1))
    picture = Image.new("RGBA", (width * scale, height * scale), (0, 0, 0, 0))
    if len(rows):
        low, high = xy[rows].min(0), xy[rows].max(0)
        unit = min((width - 16) / max(high[0] - low[0], 1e-9), (height - 16) / max(high[1] - low[1], 1e-9))
        places = ((xy[rows] - (low + high) / 2) * [unit, -unit] + [width / 2, height / 2]) * scale
        radius = scale * (1.2 if len(rows) > 3000 else 2)
        pen = ImageDraw.Draw(picture)
        for (x, y), class_id in zip(places.tolist(), np.asarray(snapshot.assignment)[rows].tolist(), strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colors[class_id])
    buffer = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).quantize(64).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
