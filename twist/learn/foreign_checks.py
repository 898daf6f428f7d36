"""What is looked at before anything of a checkpoint made elsewhere is used: the archive, its tensors, plain values."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NEEDS_MEMORY = "reading it needs far more memory than its size explains"
_LARGEST_TEXT = 10_000
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


class Refused(Exception):
    """Why a file is refused, as the end of a sentence that begins with its name."""


def check_archive(file: Path) -> None:
    """Refuse an archive that is torn or damaged, or whose entries are larger than the file itself."""
    with open(file, "rb") as opened:
        if opened.read(4) != b"PK\x03\x04":
            return  # torch's older format has no archive
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise Refused("its archive is compressed, which torch.save never does: it may unpack to any size")
            if sum(entry.file_size for entry in entries) > file.stat().st_size:
                raise Refused("the entries of its archive claim to be larger than the file")
            # torch.load looks at no checksum: of flipped bits in the weights it says nothing.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, struct.error) as error:
        raise Refused(f"its archive is torn or damaged ({short(str(error))}): get it anew") from None
    if damaged is not None:
        raise Refused(f"its archive is damaged ({short(damaged)} differs from its checksum): get it anew")


def reason_of(error: Exception) -> str:
    """What the reader's error means for the person who gave the file."""
    text = str(error).split("Check the documentation")[0].strip()
    if forbidden := re.search(r"GLOBAL (\S+)", text):
        name = short(repr(forbidden[1]))
        return f"it asks to load {name}, which may run code; only tensors and plain values are read"
    if "allocate memory" in text:
        return NEEDS_MEMORY
    last = text.split("\n")[-1].split("This is an internal")[0] or "it ends too early"
    return f"it is damaged or no checkpoint ({type(error).__name__}: {short(last)})"


def check_tensors(tensors: Mapping[Any, Any], size: int | None = None) -> None:
    """Refuse all but dense tensors under printable names, together not much larger than the file."""
    total = 0
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and name.isprintable() and len(name) <= 300):
            raise Refused(f"{short(ascii(name))} is no name of a tensor")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Refused(f"{name} is a {type(tensor).__name__}, not a plain tensor")
        if problem := _problem(tensor):
            raise Refused(f"{name} is {problem}; only dense tensors of ordinary numbers are read")
        total += tensor.numel() * tensor.element_size()
    if size is not None and total > 2 * size:
        raise Refused(f"its tensors claim {total:,} bytes, the file has {size:,}")


def _problem(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantized"
    if tensor.device.type != "cpu":
        return f"without numbers (device {tensor.device.type})"
    if tensor.dtype not in _DTYPES:
        return f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_neg():
        return "marked as negated"
    # An expanded number costs nothing in the file and everything when it is copied.
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return "larger than what is stored of it" if tensor.numel() > max(span, 0) else None


def is_plain(value: object, depth: int = 3) -> bool:
    """Whether a value is a number, a short text, none, or a short list or dictionary of such."""
    if value is None or type(value) is bool:
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is int:
        return abs(value) < 2**63
    if type(value) is str:
        return len(value) <= _LARGEST_TEXT and value.isprintable()
    if depth == 0 or not isinstance(value, list | tuple | dict) or len(value) > _LARGEST_TEXT:
        return False
    inside = [*value, *value.values()] if isinstance(value, dict) else value
    return all(is_plain(item, depth - 1) for item in inside)


def short(text: str, length: int = 200) -> str:
    """A text on one line, with nothing in it that a terminal obeys."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= length else line[: length - 1] + "…"
