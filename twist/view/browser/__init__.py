"""The browser's half of the widgets: plain JavaScript and CSS in parts, joined into the one string a widget sends.

No part imports another and none is built: a widget's script must be a single string (a path would keep every instance
alive, anywidget issue 929), must not reach the network, and is read by people as it lies here. ``dom.js`` comes first;
the last part of a widget's script defines ``render({model, el})``, which returns what ends the view.
"""

from __future__ import annotations

from importlib import resources

_FOLDER = resources.files("twist.view.browser")

# A part that lies in several files.
_WHOLES = {
    "scatter": ("scatter_index", "scatter_inks", "scatter_layers", "scatter_input", "scatter_picture", "scatter"),
    "toy": ("toy_random", "toy_data", "toy_terms", "toy_network", "toy_bench"),
    "lab_pictures": ("lab_bounds", "lab_canvas", "lab_plane", "lab_simplex", "lab_regions", "lab_arrows"),
    "lab_view": ("lab_knobs", "lab_panes", "lab_controls", "lab_share", "lab"),
}


def script(*parts: str, widget: str = "{ render }") -> str:
    """The parts ``NAME.js`` in order, as one module that exports the widget: by default, what has its ``render``."""
    names = (name for part in parts for name in _WHOLES.get(part, (part,)))
    return "".join(_read(f"{name}.js") for name in names) + f"\nexport default {widget};\n"


def style(*parts: str) -> str:
    """The parts ``NAME.css`` in order, as one sheet."""
    return "".join(_read(f"{part}.css") for part in parts)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


#: ``renderAlone(element)`` for a page without a kernel; it goes behind a widget's script.
ALONE = _read("alone.js")
