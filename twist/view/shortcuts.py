"""Figures of shortcuts: how much of the classes low-level statistics explain, and the images of the worst offenders."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from twist.runs.kinds import EXPLAINED, EXPLAINED_TOGETHER
from twist.runs.record import Watch
from twist.runs.sheets import ContactSheets
from twist.runs.shortcuts import Shortcut
from twist.view.panels import Panel, single
from twist.view.scene import Scene
from twist.view.theme import INKS

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOGETHER = "all together"


def shortcut_panel(found: Shortcut, scene: Scene, note: str) -> Panel:
    """The panel of `shortcut_shares`."""
    shares = {**found.explained, TOGETHER: found.together}
    names = list(shares)[::-1]
    values = np.array([shares[name] for name in names], np.float32)
    panel = Panel(
        title=f"{found.strongest.capitalize()} explains {found.explained[found.strongest]:.0%} of the classes",
        note=note,
        xaxis={
            "title": {"text": "share of the assignment's entropy that is explained"},
            "range": [0, 1],
            "tickformat": ".0%",
        },
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [-0.9, len(names) - 0.1],
            "showgrid": False,
            "title": {"text": "statistic"},
        },
    )
    panel.traces.append(
        {
            "type": "bar",
            "orientation": "h",
            "name": "explained",
            "x": values,
            "y": np.arange(len(names), dtype=np.float32),
            "marker": {"color": INKS["sharpness"].color, "line": {"width": 0}},
            "text": [f"{value:.0%}" for value in values],
            "textposition": "outside",
            "width": 0.62,
            "hovertemplate": "%{x:.1%} explained<extra></extra>",
        }
    )
    limits = ((EXPLAINED, "one alone is a shortcut", 1), (EXPLAINED_TOGETHER, "all together are one", 0))
    for value, words, y in limits:
        anchor = "top" if y else "bottom"
        panel.line(
            value, f"{value:.0%}: {words}", across="x", y=y, yanchor=anchor, xanchor="left", xshift=4, on_paper=True
        )
    return panel


def shortcut_shares(found: Shortcut, scene: Scene, step: int, *, dark: bool = False) -> go.Figure:
    """Share of the assignment that brightness, contrast, blur and mean color explain, corrected for chance.

    0 is chance, 100 % says that the statistic alone decides the class. Content goes with light to some degree, so a
    healthy run is not at 0; the lines are from where it is a shortcut, see `twist.runs.shortcuts.shortcut`.
    """
    return single(shortcut_panel(found, scene, scene.images(step)), dark=dark, height=330).update_layout(
        margin={"l": 110}
    )


def thumbnails(watch: Watch, rows: np.ndarray, *, side: int = 40) -> bytes:
    """Thumbnails of some watch images side by side, one PNG; small ones are enlarged to ``side`` pixels.

    Raises
    ------
    RecordError
        When a contact sheet is missing or damaged, or they are not what the manifest says.
    """
    from PIL import Image

    sheets = ContactSheets.of(watch)
    pictures = {number: sheets.picture(number) for number in {int(row) // watch.per_sheet for row in rows}}
    scale = max(1, side // watch.tile)
    tile = watch.tile * scale
    strip = Image.new("RGB", (max(1, len(rows)) * (tile + 4) - 4, tile), "white")
    strip.putalpha(0)
    for place, row in enumerate(rows):
        number, cell = divmod(int(row), watch.per_sheet)
        y, x = (part * watch.tile for part in divmod(cell, watch.columns))
        image = pictures[number].crop((x, y, x + watch.tile, y + watch.tile)).convert("RGBA")
        strip.paste(image.resize((tile, tile), Image.Resampling.NEAREST), (place * (tile + 4), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
