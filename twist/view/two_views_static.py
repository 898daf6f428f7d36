"""What a saved notebook keeps of a two-view probe: three small pictures, both distributions and the sensitivity."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from twist.view.theme import class_color, escape

_MOST_CLASSES = 6
_CELL = "padding:1px 10px 1px 0;text-align:right"


def static_html(facts: dict[str, Any], answer: dict[str, Any], found: dict[str, Any]) -> str:
    """An answer as HTML that needs neither kernel nor script; a sentence while there is none."""
    if "probs" not in answer:
        return "<p>Nothing was shown yet.</p>"
    probs = np.frombuffer(answer["probs"], "<f4").reshape(3, -1)
    pixels = np.frombuffer(answer["pixels"], np.uint8).reshape(answer["pixels_shape"])
    top = probs.argmax(1)
    names = ("plain image", "view 1", "view 2")
    figures = "".join(
        f'<figure style="margin:0"><img alt="{name}, class {c}" width="112" height="112" '
        f'style="image-rendering:pixelated" src="{_data_url(view)}"><figcaption>{name}<br>'
        f"{_swatch(c)}class {c} · {100 * row[c]:.1f} %</figcaption></figure>"
        for name, view, row, c in zip(names, pixels, probs, top, strict=True)
    )
    words = (
        f"Both views are in class {top[1]}." if top[1] == top[2] else f"Class {top[1]} and class {top[2]}: they differ."
    )
    terms = ", ".join(
        f"{name} {'not finite' if answer[key] is None else f'{answer[key]:.3f}'}"
        for name, key in (("consistency", "consistency"), ("KL(1 ‖ 2)", "forward"), ("KL(2 ‖ 1)", "backward"))
    )
    parts = [
        f'<div style="display:flex;gap:16px">{figures}</div>',
        f"<p>{words} {terms} nats.</p>",
        f'<div style="display:flex;flex-wrap:wrap;gap:32px">{_distributions(probs)}{_sensitivity(found)}</div>',
        f'<p style="opacity:.8;font-size:90%">{escape(facts.get("provenance", ""), limit=300)}</p>',
    ]
    return "".join(parts)


def static_bundle(run: str, facts: dict[str, Any], answer: dict[str, Any], found: dict[str, Any]) -> dict[str, str]:
    """The same, folded, as what a notebook shows and keeps."""
    about = "A static copy of the two views comes here with the first answer"
    if "probs" in answer:
        about = f"Static copy of two views in {escape(run)} at step {facts.get('step', 0):,}, kept in the notebook"
    page = static_html(facts, answer, found)
    folded = f'<details><summary style="opacity:.72">{about}</summary>{page}</details>'
    return {"text/html": folded, "text/plain": f"static copy of two views in {run}"}


def _distributions(probs: np.ndarray) -> str:
    shown = sorted(np.argsort(-probs.max(0), kind="stable")[:_MOST_CLASSES].tolist())
    rows = "".join(
        f'<tr><td style="{_CELL}">{_swatch(c)}class {c}</td>'
        + "".join(f'<td style="{_CELL}">{100 * probs[k, c]:.1f} %</td>' for k in range(3))
        + "</tr>"
        for c in shown
    )
    return _table("probability", ("plain", "view 1", "view 2"), rows)


def _sensitivity(found: dict[str, Any]) -> str:
    ranked = sorted(found.get("rows", []), key=lambda row: (row["stays"] / row["draws"], -(row["divergence"] or 0)))
    rows = "".join(
        f'<tr><td style="{_CELL}">{escape(row["augmentation"])}</td><td style="{_CELL}">{row["stays"]} of '
        f'{row["draws"]}</td><td style="{_CELL}">'
        f"{'not finite' if row['divergence'] is None else format(row['divergence'], '.3f')}</td></tr>"
        for row in ranked
    )
    return _table("alone", ("draws that keep the class", "divergence, nats"), rows) if rows else ""


def _table(corner: str, heads: tuple[str, ...], rows: str) -> str:
    cells = "".join(f'<th style="{_CELL}">{head}</th>' for head in (corner, *heads))
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"


def _swatch(index: int) -> str:
    return (
        f'<span style="display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:5px;'
        f'background:{class_color(int(index))}"></span>'
    )


def _data_url(view: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(view[..., 0] if view.shape[-1] == 1 else view).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
