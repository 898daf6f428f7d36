"""How Sphinx builds the documentation: ``make docs`` writes it to build/docs, to be opened from disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch is loaded to be read, not to compute

import twist  # noqa: E402

project = "twist"
author = "The twist developers"
copyright = "the twist developers, Apache-2.0"
release = version = twist.__version__
language = "en"
smartquotes_action = "qe"  # two dashes are those of an option

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "twist_docs"]
exclude_patterns = ["pictures", "_static", "twist_docs"]
needs_sphinx = "8.1"
nitpicky = False
suppress_warnings = ["ref.python"]  # `step` in a docstring is a word, whatever has that name

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_use_legacy_class_based = False
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "twist"
html_static_path = ["_static"]
html_logo = html_favicon = "_static/mark.svg"
html_css_files = ["twist.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_show_search_summary = False  # they would be fetched, which a page opened from disk may not
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#005a9c",
        "color-brand-content": "#00669f",
        "color-problematic": "#a03d00",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f2",
        "color-brand-content": "#7cc4f2",
        "color-problematic": "#f0a868",
    },
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
