"""What a saved notebook keeps of a monitor: two small pictures and a few words, without kernel and without script."""

from __future__ import annotations

import html

import numpy as np

from twist.runs.bounds import log_classes
from twist.view.plane import attainable
from twist.view.seen import Seen
from twist.view.tables import column, decimate, thinned
from twist.view.theme import INKS, REFERENCE
from twist.view.verdicts import measure, sign, since_words
from twist.view.widgets import span

_NAMES = ("consistency", "sharpness", "diversity", "mutual_information")
_DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
_WIDTH, _HEIGHT, _LABELS, _PLANE = 440, 190, 200, 210


def keepsake(seen: Seen) -> str:
    """A run as it stands, as HTML that needs nothing."""
    found = seen.verdict
    again = f"twist.RunMonitor({seen.record.name!r}) shows it live again."
    parts = [span(f"{seen.record.name}: {seen.status}", tag="p")]
    if found:
        since = f" ({since_words(found)})" if found.since is not None else ""
        parts.append(span(f"{sign(found.kind)} {found.title}{since}: {found.sentence} {found.advice}", tag="p"))
        numbers = "; ".join(
            f"{each.name} {measure(each.value, each.unit)} ({each.meaning}: {measure(each.reference, each.unit)})"
            for each in found.evidence[:6]
        )
        parts.append(span(numbers, "opacity:.8;font-size:90%", tag="p"))
    parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:24px">{small_curves(seen)}{small_plane(seen)}</div>')
    parts.append(span(f"{seen.provenance()}. {again}", "opacity:.8;font-size:90%", tag="p"))
    return "".join(parts)


def small_curves(seen: Seen) -> str:
    """The four curves over the steps, each named, with log C as a line."""
    table, scene = seen.record.metrics(), seen.scene()
    values = {name: column(table, f"train/{name}") for name in _NAMES if f"train/{name}" in table}
    highest = [float(np.nanmax(y)) for _, y in values.values() if np.isfinite(y).any()]
    top, log_c = 1.06 * max([log_classes(scene.num_classes), *highest]), log_classes(scene.num_classes)
    last = float(max([1.0, *table.index[-1:]]))
    line, told = float(_up(log_c, top)), list[str]()
    parts = [_line(0, line, _WIDTH, line), _text(4, line - 3, "log C")]
    for place, (name, (steps, y)) in enumerate(values.items()):
        steps, y = decimate(steps, y, 300)
        known, ink = np.isfinite(y), INKS[name]
        parts.append(_polyline(steps[known] / last * _WIDTH, _up(y[known], top), ink.color, _DASHES[ink.dash]))
        words = f"{name.replace('_', ' ')} {y[known][-1]:.2f}" if known.any() else name.replace("_", " ")
        told.append(words)
        x, level = _WIDTH + 12, 20 + 20 * place
        parts.append(_polyline(np.array([x, x + 26]), np.array([level, level]) - 4, ink.color, _DASHES[ink.dash]))
        parts.append(_text(x + 32, level, words))
    parts.append(_text(0, _HEIGHT + 16, "0") + _text(_WIDTH, _HEIGHT + 16, f"step {last:,.0f}", "end"))
    parts.append(f'<path d="M0,0 V{_HEIGHT} H{_WIDTH}" fill="none" stroke="{REFERENCE}"/>')
    label = (
        f"Loss terms of {seen.record.name} in nats over {last:,.0f} steps, at the end: {', '.join(told) or 'none yet'}"
    )
    return _picture(label, _WIDTH + _LABELS, _HEIGHT + 22, "".join(parts))


def small_plane(seen: Seen) -> str:
    """The way through the entropy plane, with what batches can reach shaded."""
    scene, table = seen.scene(), seen.record.metrics()
    top, size = log_classes(scene.num_classes), _PLANE - 20
    (_, x), (_, y) = column(table, "train/sharpness"), column(table, "train/diversity")
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    known = known[thinned(len(known), 300)]
    path = np.stack([x[known], y[known]], 1) / top * size
    edge, bent = np.clip(attainable(scene) / top, 0, 1) * size, INKS["mutual_information"].color
    corners = " ".join(f"{a:.1f},{size - b:.1f}" for a, b in edge)
    parts = [
        f'<polygon points="0,{size} 0,0 {size},0" fill="none" stroke="{REFERENCE}"/>',
        f'<polygon points="{corners}" fill="rgba(64,140,200,.25)"/>',
        _polyline(path[:, 0], size - path[:, 1], bent, ""),
        _text(0, -6, "healthy") + _text(size, -6, "uniform", "end") + _text(6, size + 14, "one-class"),
    ]
    where = "no step recorded yet"
    if len(path):
        parts.append(f'<circle cx="{path[-1, 0]:.1f}" cy="{size - path[-1, 1]:.1f}" r="4.5" fill="{bent}"/>')
        where = f"now at H(Y|X) = {x[known[-1]]:.2f}, H(Y) = {y[known[-1]]:.2f} of log C = {top:.2f} nats"
    return _picture(f"Entropy plane of {seen.record.name}: {where}", _PLANE, _PLANE + 18, "".join(parts), above=18)


def _up(value: float | np.ndarray, top: float) -> np.ndarray:
    return _HEIGHT * (1 - np.asarray(value) / top)


def _picture(label: str, width: int, height: int, content: str, *, above: int = 6) -> str:
    title = html.escape(label)
    return (
        f'<svg role="img" aria-label="{title}" viewBox="-4 -{above} {width + 8} {height + 8}" width="{width + 8}" '
        f'style="max-width:100%" font-family="sans-serif" font-size="12" fill="none">{content}</svg>'
    )


def _polyline(x: np.ndarray, y: np.ndarray, color: str, dash: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" stroke="{color}" stroke-width="1.6" stroke-dasharray="{dash}"/>'


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:.1f},{y0:.1f} L{x1:.1f},{y1:.1f}" stroke="{REFERENCE}" stroke-dasharray="4 3"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(words)}</text>'
