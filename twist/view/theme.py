"""The one theme: a color and a dash for every quantity, a color for every class, and text that stays text."""

from __future__ import annotations

import colorsys
import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = "Inter, 'Source Sans 3', system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


class Ink(NamedTuple):
    """How a quantity is drawn everywhere: hue and dash, so that neither carries the meaning alone."""

    color: str
    dash: str
    glyph: str
    """A few characters that look like the line, for labels."""


INKS = {
    "consistency": Ink("#0072B2", "solid", "━━"),
    "sharpness": Ink("#D55E00", "dash", "╍╍"),
    "diversity": Ink("#009E73", "dot", "┅┅"),
    "mutual_information": Ink("#AA4499", "dashdot", "━┅"),
}
REFERENCE = "#8A8F98"
ALARM = "#D9363E"
REGION = "rgba(64, 140, 200, 0.10)"  # fill of a feasible region, on either paper


class Shade(NamedTuple):
    """The colors of one lighting: the page, what is written on it, and what recedes."""

    paper: str
    text: str
    muted: str
    grid: str


LIGHT = Shade("#ffffff", "#1c2026", "#5d646e", "#e9ebee")
DARK = Shade("#15181d", "#e7e9ec", "#a3aab4", "#2a2f37")

# Okabe-Ito (its black became gray to show on both papers), then the colors farthest from all before them in OKLab with
# chroma below 0.19. Beyond eight no palette survives color blindness (CAM02-UCS distances fall below 5): every view
# also writes the class number.
_CLASS_COLORS = (
    "#0072B2 #E69F00 #009E73 #CC79A7 #56B4E9 #D55E00 #F0E442 #7F7F7F "
    "#960F69 #00E196 #006900 #FFA5FF #873C00 #5A2DA5 #8778F0 #87B400 #5A4B69 #A54BB4 #787800 #69E1F0 "
    "#FF9696 #C33C69 #B4D296 #007869 #B4A5FF #A5965A #0F4B96 #1E96B4 #695AC3 #00C3B4 #0F87F0 #F05A69 "
    "#5A5A2D #FF782D #965A5A #D2C3F0 #A5002D #FF78C3 #C378F0 #B4D22D"
).split()
# Viridis from 25 % to 95 %: its ends can hardly be seen on dark paper (contrast 1.2) and on light paper (1.3).
RAMP = "#3b528b #2f6c8d #25858d #249d87 #33b37a #5ec962 #9dd83a #dde329".split()
SIGNED_RAMP = "#0072B2 #5c93bd #a3a9ae #d08a52 #D55E00".split()  # zero in the middle, gray on either paper
_GOLDEN_RATIO = 0.6180339887


def class_color(index: int) -> str:
    """The color of a class, as ``#RRGGBB``: the same in every view, at every step, for every number of classes.

    Examples
    --------
    >>> class_color(0), class_color(5), class_color(1000)
    ('#0072B2', '#D55E00', '#da7b62')
    """
    if index < len(_CLASS_COLORS):
        return _CLASS_COLORS[index]
    lightness = (0.42, 0.62, 0.52)[index % 3]
    channels = colorsys.hls_to_rgb(index * _GOLDEN_RATIO % 1, lightness, 0.62)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def class_colors(num_classes: int) -> list[str]:
    """The colors of classes 0, 1, …, see `class_color`."""
    return [class_color(index) for index in range(num_classes)]


def escape(text: object, *, limit: int = 120) -> str:
    """Text that plotly and HTML show as it is: no tag, entity, formula, template field or control character acts.

    Plotly reads a subset of HTML in every text, TeX between dollars (whose links it does not check), and ``%{…}`` in
    hover templates; it knows few named entities, so numbers are used. Text longer than ``limit`` characters is cut.

    Examples
    --------
    >>> escape("a<b> & $x$")
    'a&#60;b&#62; &#38; &#36;x&#36;'
    """
    plain = "".join(character if character.isprintable() else " " for character in str(text))
    if len(plain) > limit:
        plain = plain[: limit - 1] + "…"
    return re.sub(r"[<>&$%{}\"']", lambda found: f"&#{ord(found[0])};", plain)


@functools.cache
def template(*, dark: bool = False, paper: str = "") -> go.layout.Template:
    """The plotly template of one lighting; ``paper`` is the color of the page, where it is known."""
    import plotly.graph_objects as go

    shade = DARK if dark else LIGHT
    return go.layout.Template(layout=paper_layout(shade._replace(paper=paper or shade.paper)))


def paper_layout(shade: Shade) -> dict[str, Any]:
    """The template's layout as plain dictionaries."""
    axis = {
        "gridcolor": shade.grid,
        "gridwidth": 1,
        "zeroline": False,
        "showline": True,
        "linecolor": shade.muted,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": shade.muted,
        "tickfont": {"size": 11, "color": shade.muted},
        "title": {"font": {"size": 12, "color": shade.text}, "standoff": 8},
    }
    return {
        "font": {"family": FONT, "size": 12, "color": shade.text},
        "title": {"x": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 16, "l": 2}, "font": {"size": 15}},
        "paper_bgcolor": shade.paper,
        "plot_bgcolor": shade.paper,
        "colorway": [ink.color for ink in INKS.values()],
        "margin": {"l": 66, "r": 24, "t": 84, "b": 72},
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {
            "bgcolor": shade.paper,
            "bordercolor": shade.muted,
            "font": {"family": FONT, "size": 12, "color": shade.text},
            "align": "left",
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": shade.muted,
            "activecolor": shade.text,
            "remove": ["sendDataToCloud", "sendChartToCloud", "lasso", "select", "autoScale"],
        },
        "annotationdefaults": {"font": {"size": 11, "color": shade.text}, "showarrow": False, "bgcolor": shade.paper},
        "showlegend": False,
        "hovermode": "closest",
    }
