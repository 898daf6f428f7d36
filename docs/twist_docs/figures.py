"""The directive ``run-figure``: a picture of docs/gallery with its caption, and the run that it comes from below."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx

GALLERY = Path(__file__).parents[1] / "gallery"
MANIFEST = GALLERY / "figures.json"


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("run-figure", RunFigure)


def entry(name: str) -> dict[str, Any]:
    """What ``make gallery`` noted of a figure: its files by theme, words for who cannot see it, where it comes from."""
    return json.loads(MANIFEST.read_text())[name]


class RunFigure(Directive):
    """A figure by its name in ``docs/gallery/figures.json``; the content is the caption."""

    required_arguments = 1
    has_content = True
    option_spec = {"wide": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The figure: one image for both themes, or one for each."""
        name = self.arguments[0]
        try:
            found = entry(name)
        except (OSError, KeyError):
            return [self.state.document.reporter.error(f"no figure {name!r} in {MANIFEST}: `make gallery` writes it")]
        self.state.document.settings.record_dependencies.add(str(MANIFEST))
        figure = nodes.figure(classes=["run-figure", *(["wide"] if "wide" in self.options else [])])
        for theme, file in found["files"].items():
            image = nodes.image(uri=f"/gallery/{file}", alt=found["alt"], loading="lazy")
            if theme != "both":
                image["classes"].append(f"only-{theme}")
            figure += image
        caption = nodes.caption()
        words = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, words)
        for paragraph in words.children:
            caption += paragraph.children if isinstance(paragraph, nodes.paragraph) else [paragraph]
        caption += nodes.inline(found["source"], found["source"], classes=["provenance"])
        figure += caption
        self.add_name(figure)
        return [figure]
