"""A page of its own around a script that draws it: complete in one file, and unable to reach anything else."""

from __future__ import annotations

import json
from typing import Any

from twist.view.explorer_tables import base64_of
from twist.view.pages import text

#: Scripts and styles of this file only: nothing can be fetched, sent, framed or submitted.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page_html(title: str, *, draw: str, look: str, values: Any, below: str, footer: str) -> str:
    """The page as HTML.

    Parameters
    ----------
    title
        What the browser's tab says; plain text.
    draw
        The script. It finds its values as JSON in the one script element inside ``#lesson``, which it fills.
    look
        The style sheet.
    values
        What it draws; bytes inside become objects with the one key ``base64``.
    below, footer
        HTML below it, already safe.
    """
    # "<" never appears: a label named "</script>" ends nothing
    data = json.dumps(values, default=base64_of, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)} · twist</title>\n<style>{look}</style>\n</head>\n"
        f'<body class="lesson-page">\n<main id="lesson"><script type="application/json">{data}</script></main>\n'
        '<noscript><p class="lesson-noscript">A script inside this file draws it: allow it to run.</p></noscript>\n'
        f'<div class="twist lesson-below">{below}<footer>{footer}</footer></div>\n'
        f'<script type="module">{draw}</script>\n</body>\n</html>\n'
    )
