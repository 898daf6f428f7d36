"""What Sphinx is taught: reference written from the code, figures of real runs, formulas without a script."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from twist_docs import figures, formulas, written


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    figures.setup(app)
    formulas.setup(app)
    written.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
