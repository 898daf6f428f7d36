"""The lab of points in the plane as a page of its own: it trains in the browser, and its link holds what was set up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import twist
from twist.runs.experiments import EXPERIMENTS
from twist.view.browser import script, style
from twist.view.lesson_page import page_html
from twist.view.pages import text

_DRAW = (
    *("dom", "toy_random", "toy_data", "toy_terms", "toy_network", "toy_bench", "lab_verdict"),
    *("lab_bounds", "lab_canvas", "lab_plane", "lab_simplex", "lab_regions", "lab_arrows"),
    *("lab_knobs", "lab_panes", "lab_controls", "lab_share", "lab", "lesson_toy"),
)
_TITLE = "Collapse lab"


def toy_html(*, title: str = "", notes: str = "", start: Mapping[str, Any] | None = None) -> str:
    """The page of the toy lab.

    Parameters
    ----------
    title
        What stands on top.
    notes
        HTML to be shown below, already safe.
    start
        What is set up where the page's address does not say: ``data``, ``seed``, ``hide`` (names of controls that are
        left away) and ``panes``, one or two of ``{"experiment": name, "knobs": {field: value}}``.
    """
    values = {
        "title": title,
        "experiments": [dataclasses.asdict(each) for each in EXPERIMENTS],
        "start": dict(start or {}),
    }
    draw = script(*_DRAW, widget="{ renderToyPage }")
    return page_html(
        title or _TITLE,
        draw=f'{draw}renderToyPage(document.getElementById("lesson"));\n',
        look=style("base", "lab", "lesson"),
        values=values,
        below=f'<article class="lesson-notes">{notes}</article>' if notes else "",
        footer="<p>This file is complete: it trains here, in the browser, and asks nothing of the network. Its address "
        "holds what is set up: copy it to share it. Made by <code>twist export-lesson toy</code>, "
        f"{text(f'twist {twist.__version__}')}.</p>",
    )
