"""A comparison as plain HTML, for a saved notebook: tables, and two small pictures that need no script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from twist.runs.bounds import log_classes
from twist.runs.comparison import Comparison
from twist.runs.listing import Row
from twist.runs.record import RunRecord
from twist.runs.thinning import spell_bytes
from twist.view.overlays import LETTERS, RUN_INKS, running_mean
from twist.view.pages import table_html, text
from twist.view.tables import column, decimate
from twist.view.theme import REFERENCE
from twist.view.verdicts import sign

_DASHES = {
    "solid": "",
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "12 4",
    "longdashdot": "12 3 2 3",
}
_WIDTH, _HEIGHT, _LABELS, _SIDE = 420, 170, 170, 210


def static_html(
    rows: Sequence[Row],
    records: Sequence[RunRecord],
    places: Sequence[int],
    differences: dict[str, Any],
    comparison: Comparison | None,
) -> str:
    """Rows of the runs compared, the fields in which they differ, their curves, and how far two of them agree."""
    if not rows:
        return "<p>No run is chosen. twist.Compare() shows the table of all runs again.</p>"
    heads = ("run", "state", "verdict", "steps", "matched accuracy", "NMI", "I(X;Y), nats", "disk")
    body = [
        (
            f"<b>{text(row.name)}</b>",
            text(row.state.lower()),
            text(f"{sign(row.verdict)} {row.verdict}" if row.verdict else ""),
            f"{row.step:,}",
            _number(row.matched_accuracy),
            _number(row.nmi),
            _number(row.information),
            "" if row.bytes is None else spell_bytes(row.bytes),
        )
        for row in rows
    ]
    parts = [table_html(heads, body, numbers=(3, 4, 5, 6, 7))]
    fields = differences.get("rows") or []
    names = [differences["names"][place] for place in differences.get("places", [])]
    if fields:
        lines = [(f"<code>{text(row['field'])}</code>", *map(text, row["values"])) for row in fields]
        parts.append(table_html(("field that differs", *map(text, names)), lines))
    pictures = small_curves(records, places)
    if comparison is not None:
        pictures += small_matrix(comparison)
    parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:24px;margin-top:8px">{pictures}</div>')
    if comparison is not None:
        parts.append(f"<p>{text(' and '.join(comparison.names))}: {text(comparison.sentence)}</p>")
    return "".join(parts)


def small_curves(records: Sequence[RunRecord], places: Sequence[int]) -> str:
    """Mutual information of every run through its training, as shares of log C, each line named."""
    parts, told = [f'<path d="M0,0 V{_HEIGHT} H{_WIDTH}" fill="none" stroke="{REFERENCE}"/>'], []
    curves = []
    for record in records:
        steps, values = column(record.metrics(), "train/mutual_information")
        known = np.isfinite(values)
        top = log_classes(record.recipe.network.num_classes)
        curves.append(decimate(steps[known], running_mean(values[known]) / top, 300))
    last = max([1.0, *(float(x[-1]) for x, _ in curves if len(x))])
    for line, (record, place, (x, y)) in enumerate(zip(records, places, curves, strict=True)):
        ink = RUN_INKS[place]
        stroke = f'stroke="{ink.color or "currentColor"}" stroke-width="1.6" stroke-dasharray="{_DASHES[ink.dash]}"'
        points = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in zip(x / last * _WIDTH, _HEIGHT * (1 - np.clip(y, -0.02, 1.02)), strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        words = (
            f"{LETTERS[place]} {record.name[:22]} {100 * y[-1]:.0f} %" if len(y) else f"{LETTERS[place]} {record.name}"
        )
        told.append(words)
        level = 16 + 18 * line
        parts.append(
            f'<path d="M{_WIDTH + 8},{level - 4} h22" fill="none" {stroke}/>{_words(_WIDTH + 34, level, words)}'
        )
    parts.append(_words(4, 10, "I(X;Y) / log C = 100 %") + _words(0, _HEIGHT + 15, f"0 to {last:,.0f} steps"))
    label = f"Mutual information as a share of log C, at the end: {', '.join(told) or 'nothing yet'}"
    return _picture(label, _WIDTH + _LABELS, _HEIGHT + 20, "".join(parts))


def small_matrix(comparison: Comparison) -> str:
    """The classes of two runs on the same images: the shade of a cell is its share of the row."""
    table = comparison.table[np.ix_(*comparison.order)]
    if table.size > 4096:
        return ""
    shares = table / np.maximum(1, table.sum(1, keepdims=True))
    width, height = _SIDE / table.shape[1], _SIDE / table.shape[0]
    cells = [
        f'<rect x="{c * width:.1f}" y="{r * height:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="#0072B2" fill-opacity="{shares[r, c]:.2f}"/>'
        for r, c in zip(*np.nonzero(shares > 0.005), strict=True)
    ]
    frame = f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="{REFERENCE}"/>'
    first, second = comparison.names
    under = _words(0, _SIDE + 15, f"rows: classes of {first[:24]}") + _words(0, _SIDE + 31, f"columns: {second[:24]}")
    label = f"Classes of {first} against classes of {second}: {comparison.sentence}"
    return _picture(label, max(_SIDE, 270), _SIDE + 36, "".join(cells) + frame + under)


def _picture(label: str, width: int, height: int, content: str) -> str:
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="-4 -4 {width + 8} {height + 8}" '
        f'width="{width}" style="max-width:100%">{content}</svg>'
    )


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x}" y="{y}" fill="currentColor" font-size="12">{text(words)}</text>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
