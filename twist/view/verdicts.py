"""The verdict as a person reads it: what holds and since when, why, what to do, and the numbers with their units."""

from __future__ import annotations

import html

import numpy as np

from twist.runs.verdict import ALARMS, Verdict
from twist.view.pages import table_html, text

_COLORS = {"✓": "#00795a", "…": "#6b7280", "▲": "#b45309"}


def spell(value: float | None) -> str:
    """A number as it is read: three figures after the point at most.

    Examples
    --------
    >>> spell(0.25), spell(1797), spell(float("nan"))
    ('0.25', '1,797', 'not finite')
    """
    if value is None:
        return ""
    if not np.isfinite(value):
        return "not finite"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def measure(value: float | None, unit: str) -> str:
    """A number with its unit; shares become percent.

    Examples
    --------
    >>> measure(0.125, "share"), measure(1.0, "nats"), measure(None, "nats"), measure(3, "")
    ('12.5 %', '1 nats', '', '3')
    """
    if value is None or not np.isfinite(value):
        return spell(value)
    if unit == "share":
        return f"{spell(round(100 * value, 1))} %"
    return f"{spell(round(value, 1) if abs(value) >= 10 else value)} {unit}".rstrip()


def sign(kind: str) -> str:
    """A shape for a verdict, so that its color is not alone."""
    if kind == "healthy":
        return "✓"
    return "▲" if kind in ALARMS else "…"


def since_words(found: Verdict) -> str:
    """Since when a verdict holds, in a few words; empty where it is not known."""
    if found.since is None:
        return ""
    first = f"could first be said at step {found.since:,}"
    return first if found.since >= found.step else f"{first}, and holds since"


def evidence_table(found: Verdict) -> str:
    """The numbers behind a verdict as an HTML table: value, what it is held against, and units."""
    rows = [
        (f"<code>{text(name)}</code>", text(measure(value, unit)), text(measure(reference, unit)), text(meaning))
        for name, value, reference, meaning, unit in found.evidence
    ]
    return table_html(("what was measured", "value", "held against", "which is"), rows, numbers=(1, 2)) if rows else ""


def points(sentences: tuple[str, ...]) -> str:
    """Sentences as an HTML list; empty without any."""
    return f"<ul>{''.join(f'<li>{text(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def verdict_html(found: Verdict) -> str:
    """The verdict as a box for a notebook: sign, words, causes, what is missing, and the numbers, folded."""
    shape = sign(found.kind)
    since = f' <span style="opacity:.72">{text(since_words(found))}</span>' if found.since is not None else ""
    parts = [
        f"<b>{shape} {text(found.title)}</b>{since}<br>{text(found.sentence)} <i>{text(found.advice)}</i>",
        f"Likely causes, the likeliest first:{points(found.causes)}" if found.causes else "",
        f'<span style="opacity:.72">Missing: {text(" ".join(found.missing))}</span>' if found.missing else "",
        f"<details><summary>The numbers</summary>{evidence_table(found)}</details>" if found.evidence else "",
    ]
    lines = "".join(f"<div>{part}</div>" for part in parts if part)
    style = f"border-left:4px solid {_COLORS[shape]};padding:2px 12px;line-height:1.5"
    return f'<div role="status" style="{html.escape(style)}">{lines}</div>'
