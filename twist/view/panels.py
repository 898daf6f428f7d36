"""One picture as plain dictionaries (traces, axes, marks), and figures put together from one or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twist.view.theme import REFERENCE, template

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CLEAR = "rgba(0, 0, 0, 0)"


@dataclass
class Panel:
    """One picture, not yet placed: its axes are named ``x``, ``y`` and, at the right, ``z``.

    A panel has the same traces in the same order whatever its data, so that a live figure can be updated in place.
    """

    title: str
    note: str
    xaxis: dict[str, Any]
    yaxis: dict[str, Any]
    zaxis: dict[str, Any] | None = None
    traces: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def line(self, value: float, label: str = "", *, across: str = "y", layer: str = "below", **style: Any) -> None:
        """A reference line, labelled, at a value of the y axis, or with ``across="x"`` of the x axis."""
        along = "x" if across == "y" else "y"
        self.shapes.append(
            {
                "type": "line",
                f"{across}ref": across,
                f"{across}0": value,
                f"{across}1": value,
                f"{along}ref": f"{along} domain",
                f"{along}0": 0,
                f"{along}1": 1,
                "line": {"color": REFERENCE, "width": 1, "dash": "4px,3px"},
                "layer": layer,
            }
        )
        if not label:
            return
        corner = {"x": 0.012, "xanchor": "left", "yanchor": "bottom"} if across == "y" else {"y": 1, "yanchor": "top"}
        self.note_at(label, **{across: value, f"{along}ref": f"{along} domain", **corner, **style})

    def note_at(self, text: str, *, size: int = 10, on_paper: bool = False, **place: Any) -> None:
        """A small text at a place; ``xref`` and ``yref`` default to the panel's own axes.

        ``on_paper`` hides what is drawn below the text; the color is the template's, which knows the lighting.
        """
        place = {"xref": "x", "yref": "y", "showarrow": False, "font": {"size": size}, **place}
        if not on_paper:
            place.setdefault("bgcolor", _CLEAR)
        self.annotations.append({"text": text, **place})

    def empty(self, message: str) -> None:
        """Say in the middle of the panel why there is nothing to see."""
        self.note_at(message, xref="x domain", yref="y domain", x=0.5, y=0.5, size=12)


def single(panel: Panel, *, dark: bool, height: int) -> go.Figure:
    """A figure of one panel."""
    figure = assemble([(panel, (0, 1), (0, 1))], dark=dark, height=height)
    return figure.update_layout(
        title=title_of(panel.title, panel.note), margin={"r": 24 if panel.zaxis is None else 72}
    )


def title_of(words: str, note: str) -> dict[str, Any]:
    """The title of a figure: its words, and below them, smaller, whose it is."""
    # One text with a break: plotly measures a subtitle's place wrongly while the page is hidden.
    text = f"<b>{words}</b><br><span style='font-size:11px'>{note}</span>"
    return {"text": text, "xref": "container", "yref": "container", "y": 1}


def assemble(
    placed: Sequence[tuple[Panel, tuple[float, float], tuple[float, float]]],
    *,
    dark: bool,
    height: int,
    paper: str = "",
    **more: Any,
) -> go.Figure:
    """A figure of panels, each with the part of the width and of the height (0 to 1, upward) that it takes.

    ``paper`` is the color of the page, where it is known; ``more`` are further entries of the layout, of which the
    annotations come behind those of the panels.
    """
    import plotly.graph_objects as go

    layout: dict[str, Any] = {"template": template(dark=dark, paper=paper), "height": height, "autosize": True}
    layout["uirevision"] = "keep"
    traces, shapes, annotations, own = [], [], [], more.pop("annotations", [])
    for number, (panel, across, upward) in enumerate(placed, 1):
        ids = {"x": f"x{number}", "y": f"y{number}", "z": f"y{number + len(placed)}"}
        if number == 1:
            ids.update(x="x", y="y")
        layout[_axis(ids["x"])] = {**panel.xaxis, "domain": across, "anchor": ids["y"]}
        layout[_axis(ids["y"])] = {**panel.yaxis, "domain": upward, "anchor": ids["x"]}
        if panel.zaxis is not None:
            layout[_axis(ids["z"])] = {**panel.zaxis, "overlaying": ids["y"], "side": "right", "anchor": ids["x"]}
        for trace in panel.traces:
            own_y = ids[trace.get("yaxis", "y")]
            traces.append({**trace, "xaxis": ids["x"], "yaxis": own_y})
        shapes += [_placed(mark, ids) for mark in panel.shapes]
        annotations += [_placed(mark, ids) for mark in panel.annotations]
        if len(placed) > 1:
            heading = f"<b>{panel.title}</b><br><span style='font-size:10px'>{panel.note}</span>"
            annotations.append(
                {
                    "text": heading,
                    "x": across[0],
                    "y": upward[1],
                    "xref": "paper",
                    "yref": "paper",
                    "xanchor": "left",
                    "yanchor": "bottom",
                    "align": "left",
                    "yshift": 8,
                    "showarrow": False,
                    "bgcolor": _CLEAR,
                    "font": {"size": 13},
                }
            )
    return go.Figure(traces, go.Layout(shapes=shapes, annotations=[*annotations, *own], **layout, **more))


def _axis(identifier: str) -> str:
    return f"{identifier[0]}axis{identifier[1:]}"


def _placed(mark: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    refs = {key: mark[key].replace(mark[key][0], ids[mark[key][0]], 1) for key in ("xref", "yref")}
    return {**mark, **refs}
