"""On what is measured, and how much of it."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch


@dataclass(frozen=True)
class Settings:
    """What every part of the bench is told.

    Attributes
    ----------
    quick
        Fewer repeats and no slow rows: numbers to look at, not to quote.
    """

    quick: bool = False

    @property
    def repeats(self) -> int:
        """Turns of each contender."""
        return 3 if self.quick else 5

    @property
    def gpu(self) -> bool:
        """Whether there is a CUDA device; everything then runs on it."""
        return torch.cuda.is_available()

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return torch.device("cuda" if self.gpu else "cpu")


def machine() -> dict[str, Any]:
    """The machine without its name: processor, cores, memory, versions, and what else it was doing."""
    facts = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def device_slug() -> str:
    """Name of this device's record: ``cpu``, or the GPU's name in small letters."""
    if not torch.cuda.is_available():
        return "cpu"
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.machine()
