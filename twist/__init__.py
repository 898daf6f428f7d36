"""twist: the workbench for self-supervised learning by twin class distributions (TWIST, arXiv 2110.07402).

``import twist`` loads nothing heavy; each verb below brings its half of the package when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "launch": "twist.runs.launcher",
    "attach": "twist.runs.launcher",
    "list_runs": "twist.runs.listing",
    "fork": "twist.runs.forking",
    "Run": "twist.runs.handle",
    "run_many": "twist.runs.sweep",
    "sweep_classes": "twist.runs.choose_classes",
    "recipe": "twist.runs.recipes",
    "recipe_names": "twist.runs.recipes",
    "Recipe": "twist.runs.config",
    "RunMonitor": "twist.view.monitor",
    "ClassExplorer": "twist.view.classes",
    "TwistScatter": "twist.view.scatter",
    "link": "twist.view.scatter",
    "Compare": "twist.view.compare",
    "TwoViews": "twist.view.two_views",
    "LaunchForm": "twist.view.launch_form",
    "CollapseLab": "twist.view.lab",
    "write_report": "twist.view.report",
    "write_lesson": "twist.view.lesson",
    "label": "twist.learn.frozen",
    "train": "twist.learn.train",
    "load_model": "twist.learn.model",
    "assign": "twist.learn.assigning",
    "evaluate": "twist.learn.evaluation.evaluate",
    "results": "twist.runs.result_tables",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twist' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
