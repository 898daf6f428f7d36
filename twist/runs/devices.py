"""Which devices a machine has, asked without torch, so that a launch can refuse at once."""

from __future__ import annotations

import ctypes
import platform
import re
import sys

from twist.runs.config import ConfigError


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises
    ------
    ConfigError
        Names the device, what was found, and what to set.
    """
    if name.startswith("cuda"):
        wanted, found = int(re.sub(r"\D", "", name) or 0), count_cuda_devices()
        if wanted >= found:
            raise ConfigError(
                f"device is {name!r}, but {found} CUDA devices were found: set device to cpu or auto"
                + (f", or to cuda:0 up to cuda:{found - 1}" if found else "")
            )
    if name == "mps" and (sys.platform, platform.machine()) != ("darwin", "arm64"):
        raise ConfigError(f"device is {name!r}, but this machine has no Metal GPU: set device to cpu or auto")


def count_cuda_devices() -> int:
    """CUDA devices that a process started now would see; 0 without a driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
