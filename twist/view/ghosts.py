"""Earlier runs as faint lines behind a live one: its terms and its way through the entropy plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from twist.runs.bounds import log_classes
from twist.runs.record import RunRecord
from twist.view.panels import Panel
from twist.view.scene import run_path
from twist.view.tables import column, decimate, thinned
from twist.view.theme import INKS, escape

MOST = 6
"""Ghosts of one monitor: more lines than these cannot be told apart."""
_TERMS = ("consistency", "sharpness", "diversity", "mutual_information")
_FAINT = 0.34


class Ghost:
    """An earlier run: its letter, its name, and its curves.

    Parameters
    ----------
    run
        A handle, a name or a path.
    letter
        What names it in the pictures.

    Raises
    ------
    ConfigError
        When there is no such run.
    RecordError
        When its folder is damaged.
    """

    def __init__(self, run: Any, letter: str):
        self.letter = letter
        self.record = RunRecord(run_path(run))
        self.num_classes = self.record.recipe.network.num_classes
        self.look()

    def look(self) -> None:
        """Read what is new of it; a ghost whose folder has vanished stays as it was."""
        if (self.record.path / "run.json").is_file():
            self.record.poll()

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.record.name

    def words(self, num_classes: int) -> str:
        """Letter and name, and how it is drawn where it has another number of classes than the run it stands behind."""
        scaled = f" (C = {self.num_classes:,}: as shares of log C)" if self.num_classes != num_classes else ""
        return f"{self.letter} = {self.name}{scaled}"

    def draw_terms(self, panel: Panel, num_classes: int) -> None:
        """Put its terms behind those of a run with so many classes."""
        scale, metrics = self._scale(num_classes), self.record.metrics()
        for name in _TERMS:
            ink = INKS[name]
            x, y = decimate(*column(metrics, f"train/{name}"), 500)
            panel.traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{self.letter}: {name.replace('_', ' ')}",
                    "x": x,
                    "y": (y * scale).astype(np.float32),
                    "customdata": y,
                    "opacity": _FAINT,
                    "line": {"color": ink.color, "dash": ink.dash, "width": 1.4},
                    "hovertemplate": f"<b>{escape(self.name)}</b>, {name.replace('_', ' ')} %{{customdata:.3f}} nats"
                    f"<br>step %{{x:,.0f}}{self._scaled(num_classes)}<extra></extra>",
                }
            )
        known = np.flatnonzero(np.isfinite(y))
        if len(known):
            self._name_end(panel, float(x[known[-1]]), float(y[known[-1]] * scale))

    def draw_way(self, panel: Panel, num_classes: int) -> None:
        """Put its way through the plane behind that of a run with so many classes."""
        scale, metrics = self._scale(num_classes), self.record.metrics()
        (steps, x), (_, y) = column(metrics, "train/sharpness"), column(metrics, "train/diversity")
        rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        rows = rows[thinned(len(rows), 500)]
        panel.traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{self.letter}: path of the batches",
                "x": (x[rows] * scale).astype(np.float32),
                "y": (y[rows] * scale).astype(np.float32),
                "customdata": np.stack([steps[rows], x[rows], y[rows]], 1),
                "opacity": _FAINT,
                "line": {"color": INKS["mutual_information"].color, "width": 1.4},
                "hovertemplate": f"<b>{escape(self.name)}</b>, step %{{customdata[0]:,.0f}}"
                "<br>H(Y|X) %{customdata[1]:.3f} nats, H(Y) %{customdata[2]:.3f} nats"
                f"{self._scaled(num_classes)}<extra></extra>",
            }
        )
        if len(rows):
            self._name_end(panel, float(x[rows[-1]] * scale), float(y[rows[-1]] * scale))

    def _name_end(self, panel: Panel, x: float, y: float) -> None:
        panel.note_at(self.letter, size=11, x=x, y=y, xanchor="left", xshift=4)

    def _scale(self, num_classes: int) -> float:
        return log_classes(num_classes) / log_classes(self.num_classes)

    def _scaled(self, num_classes: int) -> str:
        return "" if num_classes == self.num_classes else f"<br>drawn as a share of log C, C = {self.num_classes:,}"
