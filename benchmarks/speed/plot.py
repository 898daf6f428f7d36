"""The scaling curves as one SVG picture, drawn by hand: no library, and the file is text."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.rows import spell

WIDTH, HEIGHT, LEFT, TOP = 300, 220, 60, 40
COLOR, GRAY = "#2f6fb3", "#999"


def scaling_svg(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """One panel for each sweep on doubly logarithmic axes, with the line of slope 1 through its last point."""
    panels = [
        f'<g transform="translate({index * (WIDTH + LEFT)} 0)">{_panel(name, curve["sizes"], curve["seconds"])}</g>'
        for index, (name, curve) in enumerate(curves.items())
    ]
    size = f'width="{len(panels) * (WIDTH + LEFT) + 20}" height="{HEIGHT + TOP + 50}"'
    style = 'font-family="sans-serif" font-size="12"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}{"".join(panels)}</svg>\n'


def _panel(name: str, sizes: Sequence[float], seconds: Sequence[float]) -> str:
    across, up = _axis(sizes, LEFT, LEFT + WIDTH - 20), _axis(seconds, TOP + HEIGHT - 20, TOP)
    points = [(across(size), up(value)) for size, value in zip(sizes, seconds, strict=True)]
    linear = [seconds[-1] * size / sizes[-1] for size in sizes]
    reference = [
        (across(size), up(value)) for size, value in zip(sizes, linear, strict=True) if value >= min(seconds) / 2
    ]
    title = f'<text x="{LEFT}" y="{TOP - 20}" font-weight="bold">{html.escape(name)}</text>'
    parts = [title, _line(reference, GRAY, dashed=True), _line(points, COLOR)]
    for (x, y), size, value in zip(points, sizes, seconds, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOR}"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 8}" text-anchor="middle">{size:,}</text>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{spell(1000 * value)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP + HEIGHT + 28}" fill="{GRAY}">milliseconds; dashed: linear</text>')
    return "".join(parts)


def _axis(values: Sequence[float], begin: float, end: float):
    low, high = math.log(min(values)), math.log(max(values))
    return lambda value: begin + (math.log(value) - low) / ((high - low) or 1) * (end - begin)


def _line(points: Sequence[tuple[float, float]], color: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dashes}/>'
