"""The page a view stands on, as Python knows it: dark or light, how wide, and whether anyone can see it."""

from __future__ import annotations

import re
from typing import Any

import anywidget
import traitlets

from twist.view.browser import script

_COLOR = re.compile(r"rgb\(\d{1,3}, ?\d{1,3}, ?\d{1,3}\)")


class OnAPage(traitlets.HasTraits):
    """What a widget learns of its page, where its script calls ``watchLighting(model, el)``.

    Attributes
    ----------
    dark
        Whether the page is dark; light until a browser says otherwise.
    paper
        Color of the page as ``rgb(…)``, empty until a browser says one.
    width
        Width of the view in pixels, 0 until a browser says one.
    seen
        Whether a view can be seen: its page is not hidden, and it is not scrolled far away. True until a browser says
        otherwise.
    """

    dark = traitlets.Bool(False)
    paper = traitlets.Unicode("")
    width = traitlets.Int(0)
    seen = traitlets.Bool(True)

    def hear_of_page(self, message: Any) -> bool:
        """Take a message of the script; False for one that is about something else.

        A widget can be shown on several pages: the newest that can be seen says how it is drawn, and it is seen while
        one of them can be. A page that is loaded again takes the place of what it was.
        """
        if not isinstance(message, dict) or message.get("do") != "lighting":
            return False
        views: dict[str, dict[str, Any]] = self.__dict__.setdefault("_views", {})
        name, page, load = str(message.get("view")), message.get("page"), message.get("load")
        views.pop(name, None)
        for old in [old for old, view in views.items() if page and view.get("page") == page and view["load"] != load]:
            del views[old]
        if not message.get("gone"):
            views[name] = message
        shown = [view for view in views.values() if view.get("seen")]
        with self.hold_trait_notifications():
            if shown:
                self.dark = bool(shown[-1].get("dark"))
                paper = str(shown[-1].get("paper") or "")
                self.paper = paper if _COLOR.fullmatch(paper) else ""
                self.width = max(0, min(20_000, int(shown[-1].get("width") or 0)))
            self.seen = bool(shown) or not views
        return True


class Lighting(OnAPage, anywidget.AnyWidget):
    """A widget without anything to see that knows its page; put it beside what is drawn in Python.

    Examples
    --------
    ::

        lighting = Lighting()
        lighting.observe(lambda change: draw(dark=change.new), "dark")
        ipywidgets.VBox([lighting, figure])
    """

    _esm = script("dom", "lighting", "lighting_widget")

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.on_msg(lambda _, message, buffers: self.hear_of_page(message))
