"""On what and with what a result was found: machine and versions, without any name of a person or a place."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sklearn
import torch

from twist import __version__
from twist.learn.process import environment
from twist.runs.folders import code_state


def hardware(device: torch.device) -> dict[str, Any]:
    """Processor, cores, memory, device and threads: a rounding may depend on these."""
    found = environment(device)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": found["threads"],
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "device": found["device"],
        "device_name": found["device_name"],
    }


def versions() -> dict[str, Any]:
    """The version of twist with the state of its code, and the libraries that compute."""
    code = code_state()
    return {
        "twist": __version__,
        "commit": code.get("commit"),
        "changes": code.get("changes"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
