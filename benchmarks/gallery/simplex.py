"""Three classes as a triangle: every image a dot, and what each term of the loss does to a dot."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from benchmarks.gallery.trained import RUNS, record
from twist.runs.outputs import output_steps, read_outputs
from twist.view.panels import Panel, assemble
from twist.view.theme import INKS, REFERENCE, class_color

HEIGHT = math.sqrt(3) / 2
CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)])
STEPS = (20, 60, 120, 600)


def triangle(title: str, note: str) -> Panel:
    """An empty triangle with its corners numbered."""
    panel = Panel(
        title=title,
        note=note,
        xaxis={"visible": False, "range": [-0.09, 1.09]},
        yaxis={"visible": False, "range": [-0.14, HEIGHT + 0.13], "scaleanchor": None},
    )
    path = f"M 0,0 L 1,0 L 0.5,{HEIGHT} Z"
    panel.shapes.append(
        {
            **{"type": "path", "path": path, "xref": "x", "yref": "y", "layer": "below"},
            "line": {"width": 1, "color": REFERENCE},
        }
    )
    for number, (x, y) in enumerate(CORNERS):
        panel.note_at(f"class {number}", x=x, y=y + (0.055 if number == 2 else -0.06), size=11)
    return panel


def through_time(*, dark: bool) -> go.Figure:
    """Every image of the run with three classes, at four steps of its training."""
    found = record("three-classes")
    there, labels = output_steps(found.path), np.asarray(found.watch().labels)
    panels = []
    for wanted in STEPS:
        step = min(there, key=lambda step: abs(step - wanted))
        probs = read_outputs(found.path, step).astype(np.float64)
        seen = probs.sum(1) > 0
        places = probs[seen] / probs[seen].sum(1, keepdims=True) @ CORNERS
        panel = triangle(f"Step {step:,}", f"{seen.sum():,} images")
        colors = [class_color(int(label)) for label in labels[: len(seen)][seen]]
        marker = {"size": 3.2, "opacity": 0.55, "color": colors}
        panel.traces.append(
            {"type": "scatter", "mode": "markers", "x": places[:, 0].round(3), "y": places[:, 1].round(3)}
            | {"marker": marker, "cliponaxis": False}
        )
        panels.append(panel)
    width = 1 / len(panels)
    placed = [(panel, (width * i + 0.012, width * (i + 1) - 0.012), (0, 1)) for i, panel in enumerate(panels)]
    return assemble(placed, dark=dark, height=262).update_layout(margin={"t": 62, "l": 4, "r": 4, "b": 4})


def pulls(*, dark: bool) -> go.Figure:
    """Where each term alone pulls a class distribution: minus its gradient at the logits, by the real objective."""
    import torch

    from twist.learn.objective import twist_loss

    grid = [(a, b, 10 - a - b) for a in range(1, 9) for b in range(1, 10 - a) if 10 - a - b >= 1]
    probs = torch.tensor(grid, dtype=torch.float64) / 10
    # Consistency: the other view of every sample is one and the same distribution.
    partner = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).expand(len(grid), 3)
    # Diversity: these samples and 200 more, most of them already in class 0, make the mean that is to be flat.
    crowd = torch.tensor([[0.8, 0.12, 0.08]], dtype=torch.float64).expand(200, 3)
    panels = []
    for term, other, more, note in (
        ("consistency", partner, None, "toward the other view ○"),
        ("sharpness", probs, None, "toward the nearest corner"),
        ("diversity", probs, crowd, "away from the crowded class 0"),
    ):
        logits = probs.log().requires_grad_()
        mine, theirs = (
            (logits, other.log())
            if more is None
            else (torch.cat([logits, more.log()]), torch.cat([other.log(), more.log()]))
        )
        found = twist_loss([mine, theirs], eps=0.0)
        value = getattr(found, term)
        (gradient,) = torch.autograd.grad(value if term != "diversity" else -value, logits)
        drift = probs * (-gradient - (probs * -gradient).sum(1, keepdim=True))
        drift = (drift / drift.norm(dim=1).max()).numpy()
        start = probs.numpy() @ CORNERS
        end = start + 0.13 * (drift @ CORNERS) * math.sqrt(2)
        panel = triangle(term.capitalize(), note)
        if term == "consistency":
            far = partner[:1].numpy() @ CORNERS
            ring = {"symbol": "circle-open", "size": 15, "color": INKS[term].color, "line": {"width": 2.5}}
            panel.traces.append({"type": "scatter", "mode": "markers", "x": far[:, 0], "y": far[:, 1], "marker": ring})
        for (x0, y0), (x1, y1) in zip(start, end, strict=True):
            panel.annotations.append(
                {
                    **{"x": x1, "y": y1, "ax": x0, "ay": y0, "xref": "x", "yref": "y", "axref": "x", "ayref": "y"},
                    **{"showarrow": True, "arrowhead": 2, "arrowsize": 0.9, "arrowwidth": 1.6, "text": ""},
                    "arrowcolor": INKS[term].color,
                }
            )
        dots = {"size": 3, "color": INKS[term].color}
        panel.traces.append({"type": "scatter", "mode": "markers", "x": start[:, 0], "y": start[:, 1], "marker": dots})
        panels.append(panel)
    placed = [(panel, (0.34 * i + 0.01, 0.34 * i + 0.31), (0, 1)) for i, panel in enumerate(panels)]
    figure = assemble(placed, dark=dark, height=324).update_layout(margin={"t": 62, "l": 4, "r": 4, "b": 4})
    return figure.for_each_annotation(lambda mark: mark.update(axref=mark.xref, ayref=mark.yref) if mark.ax else None)


def has_outputs() -> bool:
    """Whether the run with three classes kept what it said of every image."""
    return bool(output_steps(RUNS / "three-classes"))
