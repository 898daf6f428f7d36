"""A scatter for any data: a million points that answer at once, and what a person chooses there as rows in Python.

Python's part is small: check the columns, send each once as bytes, and make thumbnails when they are asked for. All
that a person does is answered in the browser (the folder ``browser``), also while the kernel works.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from twist.runs.config import ConfigError
from twist.view.arguments import check_traits
from twist.view.browser import ALONE, script, style
from twist.view.rows import Rows
from twist.view.scatter_columns import (
    Frame,
    coloring,
    further_columns,
    layouts,
    markers,
    palette_indices,
    positions,
)
from twist.view.scatter_images import sheets_of
from twist.view.scatter_static import picture

_SCRIPT = script("dom", "thumbnails", "scatter", "scatter_widget")
_STYLE = style("base", "scatter", "scatter_widget")
_TILES_AT_ONCE = 512
_LINKED = {"selection": ["selection", "selected_polygon"], "hover": ["hovered"], "view": ["map_view"]}


class TwistScatter(anywidget.AnyWidget):
    """A map of points to move, zoom, hover and lasso, whose selection is an array of rows.

    Drag moves, the wheel zooms, double click shows all; Shift-drag (or the lasso button) chooses points, with Ctrl more
    of them, with Alt fewer; arrow keys walk from point to point. A point's card shows its image, its color's value and
    any further columns.

    Parameters
    ----------
    x, y
        Positions: one array of shape [N, 2], or two columns. Points whose position is not finite have no place.
    color
        One value per point: text, truth values or whole numbers are categories, other numbers lie along a ramp (with
        zero in its middle when they have both signs).
    color_name, unit
        What the color says, and the unit of its numbers, for legend and card.
    names
        Names of the categories 0, 1, …; -1 is none of them.
    shape, size
        One marker (0 disc, 1 ring, 2 square, 3 triangle, 4 cross, 5 diamond) and one multiple of the usual size (0.1 to
        3.9) per point; a single size serves all.
    images
        uint8 ``[N, H, W]`` or ``[N, H, W, 1, 3 or 4]``, or a function from a row to one such image, or a run's `Watch`.
        They stay in Python; the browser asks for the thumbnails that it shows.
    hover
        Further columns for the card, by name.
    frames
        Positions through time, ``[T, N, 2]``, instead of x and y: a slider moves and plays through them.
    frame_names
        What each frame is, for the slider; none means its number.
    equal
        Whether one unit is as long on both axes; none means so for one array, and not so for two columns.
    height
        Height of the map in pixels.
    title, caption
        A line above the map, and what a picture saved from it says below.

    Attributes
    ----------
    selection
        Rows chosen, a read-only array; set it and the view follows. Empty when nothing is chosen.
    selected_polygon
        Corners ``[x, y]`` of the last lasso, in the data's units; empty when the rows were chosen otherwise.
    hovered
        Row under the pointer, -1 for none.
    frame
        The time shown, from 0 to T - 1; between two whole numbers, points stand between their places.
    map_view
        Center x and y on the drawn scale of -1 to 1, and the magnification.

    Raises
    ------
    ConfigError
        When a column has the wrong length or kind: names the column, what it has, and what to pass.

    Examples
    --------
    >>> import numpy as np
    >>> scatter = TwistScatter(np.arange(100).reshape(50, 2) % 7, color=np.arange(50) % 3, names=["a", "b", "c"])
    >>> scatter.selection = [3, 1]
    >>> scatter.selection
    array([3, 1], dtype=int32)
    >>> scatter.close()
    """

    _esm = _SCRIPT
    _css = _STYLE

    points = traitlets.Dict().tag(sync=True)
    coloring = traitlets.Dict().tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    markers = traitlets.Dict().tag(sync=True)
    moments = traitlets.Dict().tag(sync=True)
    thumbnails = traitlets.Bool(False).tag(sync=True)
    selection = Rows()
    selected_polygon = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    hovered = traitlets.Int(-1, min=-1).tag(sync=True)
    frame = traitlets.Float(0.0).tag(sync=True)
    map_view = traitlets.List(traitlets.Float(), default_value=[0.0, 0.0, 1.0], minlen=3, maxlen=3).tag(sync=True)
    links = traitlets.List(traitlets.Dict()).tag(sync=True)
    height = traitlets.Int(460, min=120, max=4000).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        *,
        color: Any = None,
        color_name: str = "",
        unit: str = "",
        names: Sequence[str] | None = None,
        shape: Any = None,
        size: Any = None,
        images: Any = None,
        hover: Mapping[str, Any] | None = None,
        frames: Any = None,
        frame_names: Sequence[str] | None = None,
        equal: bool | None = None,
        **traits: Any,
    ):
        self._unlink: list[Callable[[], None]] = []  # first: a scatter refused below is closed all the same
        check_traits(TwistScatter, traits)
        if (x is None) == (frames is None):
            both = "both x and frames" if frames is not None else "neither x nor frames"
            raise ConfigError(f"TwistScatter is given {both}: pass xy of shape [N, 2], or frames of shape [T, N, 2]")
        self._equal = y is None if equal is None else bool(equal)
        self._update_number = 0
        if frames is not None:
            placed = self._frames_table(layouts(frames), frame_names)
        else:
            placed = {"points": self._points_table(positions(x, y))}
        count = self._count = placed["points"]["count"]
        self._names = (color_name, unit, None if names is None else list(names))
        self._sheet = sheets_of(images, count)
        super().__init__(
            **placed,
            coloring=self._coloring(color),
            columns=further_columns(hover, count),
            markers=markers(shape, size, count),
            thumbnails=self._sheet is not None,
            **traits,
        )
        self.on_msg(TwistScatter._answer)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"TwistScatter({self._count:,} points, {len(self.selection):,} selected)"

    def update(self, x: Any = None, y: Any = None, *, color: Any = None, refit: bool = True) -> None:
        """Move the same points to other places (they glide there), or give them other colors.

        Parameters
        ----------
        x, y
            Positions, as for a new scatter; none leaves them.
        color
            One value per point; none leaves the colors. Names and units stay.
        refit
            Whether the view is scaled to hold the new positions; else they are drawn on the scale of the old.

        Raises
        ------
        ConfigError
            When there are other than N of them.
        """
        changes: dict[str, Any] = {}
        if x is not None:
            xy = positions(x, y)
            if len(xy) != self._count:
                raise ConfigError(
                    f"xy has {len(xy):,} points, but the scatter {self._count:,}: update moves the same points; "
                    "make a new TwistScatter for others"
                )
            changes["points"] = self._points_table(xy, refit=refit)
            changes["moments"] = {}
        if color is not None:
            changes["coloring"] = self._coloring(color)
        with self.hold_sync():  # one message
            for name, value in changes.items():
                self.set_trait(name, value)

    def to_jscatter(self) -> Any:
        """The same points as a `jscatter.Scatter` of jupyter-scatter, with their colors.

        Raises
        ------
        ConfigError
            When jupyter-scatter is not installed.
        """
        try:
            import jscatter
        except ImportError as error:
            raise ConfigError("jupyter-scatter is not installed: pip install jupyter-scatter") from error
        import pandas as pd

        table = pd.DataFrame(self._placed() / self._frame.scale + self._frame.center, columns=["x", "y"])
        if self.coloring["kind"] == "none":
            return jscatter.Scatter(data=table, x="x", y="y")
        if self.coloring["kind"] == "categories":
            table["color"] = np.frombuffer(self.coloring["codes"], "<u2").astype(str)
        else:
            table["color"] = np.frombuffer(self.coloring["values"], "<f4")
        return jscatter.Scatter(data=table, x="x", y="y", color_by="color")

    def to_html(self) -> str:
        """The scatter as a self-contained piece of HTML: no kernel and no network; its points show no thumbnails."""
        values = {name: getattr(self, name) for name in TwistScatter.class_own_traits(sync=True)}
        values |= {"selection": self.selection.astype("<i4").tobytes(), "thumbnails": False}
        # "<" never appears: a name such as "</script>" ends nothing
        data = json.dumps(values, default=_base64, allow_nan=False).replace("<", "\\u003c")
        identity = f"twist-{secrets.token_hex(6)}"
        return (
            f'<div id="{identity}"><script type="application/json">{data}</script></div>\n'
            f"<style>{_STYLE}</style>\n"
            f'<script type="module">{_SCRIPT}{ALONE}\nrenderAlone(document.getElementById("{identity}"));</script>\n'
        )

    def close(self) -> None:
        """End the widget, and its links to others."""
        for end in self._unlink:
            end()
        self._unlink.clear()
        super().close()

    @traitlets.validate("selection")
    def _check_selection(self, proposal: Any) -> np.ndarray:
        rows = proposal["value"]
        if rows.size and rows.max() >= self._count:
            raise traitlets.TraitError(
                f"selection holds row {rows.max():,}: the scatter has rows 0 to {self._count - 1:,}"
            )
        return rows

    def _coloring(self, color: Any) -> dict[str, Any]:
        name, unit, names = self._names
        return coloring(color, self._count, name=name, names=names, unit=unit)

    def _points_table(self, xy: np.ndarray, *, refit: bool = True) -> dict[str, Any]:
        if refit:
            self._frame = Frame.around(xy, equal=self._equal)
        self._update_number += 1
        return {
            "count": len(xy),
            "xy": self._frame.place(xy),
            "equal": self._equal,
            "number": self._update_number,
            **self._frame.table(),
        }

    def _frames_table(self, xy: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
        self._frame = Frame.around(xy, equal=self._equal)
        if names is not None and len(names) != len(xy):
            raise ConfigError(f"frame_names has {len(names)} names for {len(xy)} frames: pass one for each")
        words = [str(number) for number in range(len(xy))] if names is None else [str(name) for name in names]
        self._update_number += 1
        points = {"count": xy.shape[1], "xy": b"", "equal": self._equal, "number": self._update_number}
        return {
            "points": {**points, **self._frame.table()},
            "moments": {"count": len(xy), "xy": self._frame.place(xy), "names": words},
        }

    def _placed(self) -> np.ndarray:
        """The positions now shown, on the drawn scale."""
        if self.moments:
            at = int(np.clip(round(self.frame), 0, self.moments["count"] - 1))
            return np.frombuffer(self.moments["xy"], "<f4").reshape(-1, self._count, 2)[at]
        return np.frombuffer(self.points["xy"], "<f4").reshape(-1, 2)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and a picture for where no widget can be."""
        bundle: Any = super()._repr_mimebundle_(**options) or {}
        if isinstance(bundle, tuple):
            bundle = bundle[0]
        still = base64.b64encode(picture(self._placed(), *palette_indices(self.coloring, self._count))).decode("ascii")
        return {**bundle, "image/png": still, "text/plain": repr(self)}

    def _answer(self, content: Any, _: Any) -> None:
        """Send the thumbnails that the browser asks for."""
        if not isinstance(content, dict) or content.get("type") != "tiles" or self._sheet is None:
            return
        head = {"type": "tiles", "id": content.get("id")}
        asked = content.get("rows", [])[:_TILES_AT_ONCE]
        try:
            sheet = self._sheet([row for row in asked if isinstance(row, int) and 0 <= row < self._count])
        except Exception as error:  # a person's own function may raise anything: told on the card
            self.send({**head, "problem": f"No image: {type(error).__name__}: {error}"})
            return
        self.send({**head, "columns": sheet.columns, "tile": sheet.tile, "mime": sheet.mime}, [sheet.content])


def _base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode("ascii")}


def link(*scatters: TwistScatter, selection: bool = True, hover: bool = True, view: bool = True) -> Callable[[], None]:
    """Let scatters of the same points share what is chosen, hovered and looked at; it lives in the browser.

    Parameters
    ----------
    scatters
        Two or more; those not displayed follow the selection all the same.
    selection, hover, view
        What is shared. Scatters of different points can share the view only.

    Returns
    -------
    callable
        Ends the link.

    Raises
    ------
    ConfigError
        When fewer than two are given, or they have different numbers of points.
    """
    if len(scatters) < 2:
        raise ConfigError(f"link is given {len(scatters)} scatter: pass two or more")
    for scatter in scatters:
        if not isinstance(scatter, TwistScatter):
            raise ConfigError(
                f"link is given a {type(scatter).__name__}: it links scatters; views of one run are linked"
            )
    sizes = sorted({len(scatter) for scatter in scatters})
    if len(sizes) > 1 and (selection or hover):
        raise ConfigError(
            f"link is given scatters of {sizes[0]:,} and {sizes[-1]:,} points: rows of one mean nothing in the other; "
            "pass selection=False, hover=False to share the view"
        )
    shared = [name for name, wanted in (("selection", selection), ("hover", hover), ("view", view)) if wanted]
    group = {"group": secrets.token_hex(6), "traits": [trait for name in shared for trait in _LINKED[name]]}

    def follow(change: Any) -> None:
        for scatter in scatters:
            if scatter is not change["owner"] and scatter.comm is not None:
                scatter.selection = change["new"]  # equal rows are no change: this ends

    for scatter in scatters:
        scatter.links = [*scatter.links, group]
        if selection:
            scatter.observe(follow, "selection")

    def end() -> None:
        for scatter in scatters:
            scatter.links = [other for other in scatter.links if other["group"] != group["group"]]
            if selection and scatter.has_trait("selection"):
                try:
                    scatter.unobserve(follow, "selection")
                except ValueError:
                    continue  # ended before

    for scatter in scatters:
        scatter._unlink.append(end)
    if selection and len(scatters[0].selection):
        follow({"owner": scatters[0], "new": scatters[0].selection})
    return end
