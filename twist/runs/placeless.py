"""Texts and records without the folders of the machine that wrote them, which are nobody's business."""

from __future__ import annotations

import re
from typing import Any

_ABSOLUTE = re.compile(
    r"""(?<![^\s'"=(,:@])(?:~?/(?=[^\s/])|[A-Za-z]:[\\/](?!/))(?:[^\s'",()]*[\\/])?([^\s'",()\\/]*)[\\/]?"""
)


def without_folders(text: str) -> str:
    """A text without the folders of this machine: of every absolute path, its last part.

    Examples
    --------
    >>> without_folders("twist evaluate /data/runs/mine --data=/home/me/images --test pictures/cats")
    'twist evaluate mine --data=images --test pictures/cats'
    """
    return _ABSOLUTE.sub(lambda match: match.group(1) or "…", text)


def placeless(value: Any) -> Any:
    """A value of JSON with no folder of this machine in any of its texts, names of fields among them."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, dict):
        return {without_folders(name): placeless(part) for name, part in value.items()}
    return [placeless(part) for part in value] if isinstance(value, list) else value
