"""A comparison as tables of plain HTML, for a saved notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twist.runs.comparison import Comparison
from twist.runs.listing import Row
from twist.runs.thinning import spell_bytes
from twist.view.pages import table_html, text
from twist.view.verdicts import sign


def static_html(rows: Sequence[Row], differences: dict[str, Any], comparison: Comparison | None) -> str:
    """Rows of the runs compared, the fields in which they differ, and how far two of them agree."""
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
    if comparison is not None:
        parts.append(f"<p>{text(' and '.join(comparison.names))}: {text(comparison.sentence)}</p>")
    return "".join(parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
