"""Pieces of an HTML page: figures that a script draws, tables, and text that stays text."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


_NOTE = 62  # characters of a title's second line that half a page holds


def figure_html(figure: go.Figure, caption: str, *, narrow: bool = False) -> str:
    """A figure with its caption; the page's script draws it in the page's lighting.

    ``narrow`` keeps it from growing with the page.
    """
    figure.layout.template = None
    height = figure.layout.height
    label = html.escape(figure.layout.title.text.split("</b>")[0].removeprefix("<b>"))
    data = str(figure.to_json()).replace("<", "\\u003c")
    return (
        f"<figure{' class=narrow' if narrow else ''}>"
        f'<div class="plot" role="img" aria-label="{label}" style="height:{height}px">'
        f'<script type="application/json">{data}</script></div><figcaption>{text(caption)}</figcaption></figure>'
    )


def half_figure_html(figure: go.Figure, caption: str) -> str:
    """The same for half the width of a page: the line below the title goes over two where it is long."""
    head, mark, note = figure.layout.title.text.partition("px'>")
    lines = [""]
    for fact in note.removesuffix("</span>").split(" · "):
        if lines[-1] and len(lines[-1]) + len(fact) > _NOTE:
            lines.append("")
        lines[-1] += f" · {fact}" if lines[-1] else fact
    if mark:
        figure.layout.title.text = f"{head}{mark}{'<br>'.join(lines)}</span>"
    return figure_html(figure, caption)


def table_html(heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: tuple[int, ...] = ()) -> str:
    """A table of cells that are HTML already; the columns ``numbers`` are set to the right."""

    def line(cells: Iterable[str], tag: str) -> str:
        marks = (' class="number"' if place in numbers else "" for place, _ in enumerate(cells))
        return "".join(f"<{tag}{mark}>{cell}</{tag}>" for mark, cell in zip(marks, cells, strict=False))

    body = "".join(f"<tr>{line(tuple(row), 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{line(tuple(heads), 'th')}</tr></thead><tbody>{body}</tbody></table>"


def text(value: object) -> str:
    """Text as HTML that shows it as it is."""
    return html.escape("".join(c if c.isprintable() else " " for c in str(value)))


def json_html(value: Any) -> str:
    """A value as JSON that can stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def file_text(name: str) -> str:
    """Content of a file of this package."""
    return (resources.files("twist.view") / name).read_text("utf-8")
