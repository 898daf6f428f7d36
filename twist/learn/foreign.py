"""Checkpoint files made elsewhere, read in a process of their own under limits; what comes back is tensors and values.

A ``.pth`` file is a pickle, that is a program, and even the tensors of a refused program can crash the process that
looks at them. So a child without the environment, with limits of time, memory and disk, reads it by
``torch.load(weights_only=True)``, checks every tensor, and writes what passed as safetensors and JSON into a temporary
folder. The parent reads only those.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from twist.runs.config import ConfigError
from twist.runs.store import read_json

#: Parts of the authors' checkpoint that hold weights: the whole network and its backbone, of student and teacher.
PARTS = ("model", "backbone", "teacher", "teacher_backbone")

_BARE = ""
_START_S = 120.0  # torch alone takes ten seconds to load on a busy machine
_BYTES_PER_S = 20e6
_SPARE_MEMORY = 2**30
_LARGEST_TEXT = 10_000
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What a checkpoint file held, under the names of `twist.learn.networks.TwistNet`.

    Attributes
    ----------
    path
        The file.
    tensors
        Tensors by name, for each part of `PARTS` that the file has.
    arguments
        What its training was called with, plain values only; empty when the file does not say.
    epoch
        Epoch it was written after, or None.
    unread
        What else the file has and was not read, such as the optimizer.
    """

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    arguments: dict[str, Any]
    epoch: int | None
    unread: tuple[str, ...] = ()


class _Refused(Exception):
    """Why a file is refused, as the end of a sentence that begins with its name."""


class _Arguments:
    """Stands for `argparse.Namespace` while a file is read: keeps what it is filled with and nothing else."""

    __slots__ = ("values",)

    def __setstate__(self, values: object) -> None:
        self.values = values


def read_foreign(path: str | os.PathLike[str]) -> ForeignCheckpoint:
    """Read a checkpoint of the authors, a bare state dict, or a safetensors file; no code in it is run.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save`` under any other name: the authors' full checkpoint in
        either of its two namings of the head, or a state dict of a network or of its backbone alone, with or without
        the prefix that distributed training adds.

    Returns
    -------
    checkpoint
        Dense tensors on the CPU, and plain values.

    Raises
    ------
    ConfigError
        When there is no such file, it is damaged or no checkpoint, it holds anything else than dense tensors and plain
        values, or reading it needs more time or memory than its size explains.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise ConfigError(f"{str(path)!r} is a folder: give a checkpoint file; `twist export` takes a run's folder")
    if not file.is_file():
        raise ConfigError(f"there is no file {str(path)!r}: give a checkpoint, .pth, .pt or .safetensors")
    parts: dict[str, dict[str, Tensor]]
    facts: dict[str, Any] = {}
    try:
        if file.suffix == ".safetensors":
            parts = {_BARE: _read_safetensors(file)}
        else:
            parts, facts = _read_apart(file)
        tensors = dict(_own_part(part, named) for part, named in parts.items())
    except _Refused as refused:
        raise ConfigError(f"{str(path)!r} is not read: {refused}") from None
    return ForeignCheckpoint(
        file, tensors, facts.get("arguments", {}), facts.get("epoch"), tuple(facts.get("unread", ()))
    )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(file.read_bytes())
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _Refused(f"it is damaged or no safetensors file ({_short(str(error))})") from None
    _check_tensors(tensors)
    return tensors


def _own_part(part: str, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The part, found from its names when the file does not tell, and its tensors under TwistNet's names."""
    names = list(tensors)
    if all(name.startswith("module.") for name in names):  # as torch's DistributedDataParallel saves them
        names = [name.removeprefix("module.") for name in names]
    # The authors' first release called the last layer and the norm so.
    names = [
        name.replace("projection_heads.cls_heads.0.0.", "projection_heads.last_linear.").replace(
            "projection_heads.cls_heads.0.1.", "projection_heads.norm."
        )
        for name in names
    ]
    if part == _BARE:
        part = "model" if any(name.startswith("projection_heads.") for name in names) else "backbone"
    if part.endswith("backbone") and all(name.startswith("backbone.") for name in names):
        names = [name.removeprefix("backbone.") for name in names]
    own = dict(zip(names, tensors.values(), strict=True))
    if len(own) != len(tensors):
        raise _Refused("two of its tensors have the same name, an older and a newer one")
    return part, own


def _read_apart(file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Parts and facts of a file, by way of a child process."""
    seconds = _START_S + file.stat().st_size / _BYTES_PER_S
    with tempfile.TemporaryDirectory(prefix="twist-foreign-") as name:
        folder = Path(name)
        try:
            with open(folder / "errors.txt", "wb") as errors:
                done = subprocess.run(
                    _command(file.resolve(), folder, seconds),
                    cwd=folder,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=seconds,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise _Refused(f"reading it took longer than {seconds:.0f} s") from None
        found = read_json(folder / "found.json")
        if "refused" in found:
            raise _Refused(found["refused"])
        if done.returncode or not found:
            raise _Refused(_crash(done.returncode, folder / "errors.txt"))
        parts = {}
        for index, (part, names) in enumerate(found["parts"]):
            numbered = load_tensors((folder / f"{index}.safetensors").read_bytes())
            parts[part] = {own: numbered[str(number)] for number, own in enumerate(names)}
    return parts, found


def _command(file: Path, folder: Path, seconds: float) -> list[str]:
    # -P: nothing is imported from the folder it runs in; -B: nothing is written beside our own code.
    return [sys.executable, "-P", "-B", "-m", "twist.learn.foreign", str(file), str(folder), str(seconds)]


def _environment() -> dict[str, str]:
    """What the child needs of the environment and no more: no token, no home, no device."""
    kept = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def _crash(returncode: int, errors: Path) -> str:
    if returncode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-returncode).name
            return f"the process that read it crashed ({name}), so the file is damaged or made to do harm"
    lines = errors.read_text(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"the process that read it failed ({_short(last)})"


def _main(arguments: list[str]) -> int:
    """The child: read FILE within SECONDS and leave what passed in FOLDER."""
    file, folder, seconds = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    _limit_this_process(file.stat().st_size, seconds)
    found: dict[str, Any]
    try:
        parts, facts = _read(file)
        for index, tensors in enumerate(parts.values()):
            numbered = {str(number): tensor for number, tensor in enumerate(tensors.values())}
            # Clones: parts of one storage would be written as a whole each.
            dense = {number: tensor.detach().contiguous().clone() for number, tensor in numbered.items()}
            save_file(dense, folder / f"{index}.safetensors")
        found = {**facts, "parts": [[part, list(tensors)] for part, tensors in parts.items()]}
    except _Refused as refused:
        found = {"refused": str(refused)}
    except MemoryError:
        found = {"refused": _NEEDS_MEMORY}
    (folder / "found.json").write_text(json.dumps(found))
    return 0


def _limit_this_process(size: int, seconds: float) -> None:
    """Bound what this process may take, from what it has after loading torch: a few times the size of the file."""
    try:
        import resource
    except ImportError:  # Windows: time is still limited, by the parent
        return
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_FSIZE: 2 * size + 2**24,
    }
    with contextlib.suppress(OSError):  # only Linux tells what is mapped already
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = mapped + 6 * size + _SPARE_MEMORY
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is there already
            resource.setrlimit(kind, (limit, limit))


_NEEDS_MEMORY = "reading it needs far more memory than its size explains"


def _read(file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Parts and facts of a file of ``torch.save``, all of them checked."""
    _check_archive(file)
    allowed = torch.serialization.safe_globals([(_Arguments, "argparse.Namespace")])
    invariants = torch.sparse.check_sparse_tensor_invariants(True)
    try:
        with allowed, invariants, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what a damaged or hostile file makes the reader raise is not listed anywhere
        raise _Refused(_why(error)) from None
    if type(content) not in (dict, OrderedDict):
        raise _Refused(f"it holds a {type(content).__name__}, not a dictionary of tensors")
    parts = {part: content[part] for part in PARTS if type(content.get(part)) in (dict, OrderedDict)}
    facts: dict[str, Any] = {}
    if parts:
        facts = _facts(content)
    elif content and all(isinstance(value, Tensor) for value in content.values()):
        parts = {_BARE: content}
    else:
        keys = ", ".join(_short(repr(key), 40) for key in list(content)[:10]) or "none"
        raise _Refused(f"it has none of the parts {', '.join(PARTS)}, and is no state dict: its keys are {keys}")
    for tensors in parts.values():
        _check_tensors(tensors, file.stat().st_size)
    return parts, facts


def _check_archive(file: Path) -> None:
    """Refuse an archive that is torn or damaged, or whose entries are larger than the file itself."""
    with open(file, "rb") as opened:
        if opened.read(4) != b"PK\x03\x04":
            return  # torch's older format has no archive
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise _Refused("its archive is compressed, which torch.save never does: it may unpack to any size")
            if sum(entry.file_size for entry in entries) > file.stat().st_size:
                raise _Refused("the entries of its archive claim to be larger than the file")
            # torch.load looks at no checksum: of flipped bits in the weights it says nothing.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, struct.error) as error:
        raise _Refused(f"its archive is torn or damaged ({_short(str(error))}): get it anew") from None
    if damaged is not None:
        raise _Refused(f"its archive is damaged ({_short(damaged)} differs from its checksum): get it anew")


def _why(error: Exception) -> str:
    text = str(error).split("Check the documentation")[0].strip()
    if forbidden := re.search(r"GLOBAL (\S+)", text):
        name = _short(repr(forbidden[1]))
        return f"it asks to load {name}, which may run code; only tensors and plain values are read"
    if "allocate memory" in text:
        return _NEEDS_MEMORY
    last = text.split("\n")[-1].split("This is an internal")[0] or "it ends too early"
    return f"it is damaged or no checkpoint ({type(error).__name__}: {_short(last)})"


def _check_tensors(tensors: Mapping[Any, Any], size: int | None = None) -> None:
    """Refuse all but dense tensors under printable names, together not much larger than the file."""
    total = 0
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and name.isprintable() and len(name) <= 300):
            raise _Refused(f"{_short(ascii(name))} is no name of a tensor")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise _Refused(f"{name} is a {type(tensor).__name__}, not a plain tensor")
        if problem := _problem(tensor):
            raise _Refused(f"{name} is {problem}; only dense tensors of ordinary numbers are read")
        total += tensor.numel() * tensor.element_size()
    if size is not None and total > 2 * size:
        raise _Refused(f"its tensors claim {total:,} bytes, the file has {size:,}")


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


def _facts(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Arguments and epoch as plain values, and the names of everything else."""
    given = content.get("args")
    values = getattr(given, "values", None) if isinstance(given, _Arguments) else given
    values = values if type(values) is dict else {}
    arguments = {name: value for name, value in values.items() if _is_plain(name, 0) and _is_plain(value)}
    others = [name for name in content if name not in (*PARTS, "args", "epoch")]
    others += [f"args.{name}" for name in values if name not in arguments]
    epoch = content.get("epoch")
    return {
        "arguments": {str(name): value for name, value in arguments.items()},
        "epoch": epoch if type(epoch) is int and 0 <= epoch < 2**31 else None,
        "unread": [_short(str(name)) for name in others[:100]],
    }


def _is_plain(value: object, depth: int = 3) -> bool:
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
    return all(_is_plain(item, depth - 1) for item in inside)


def _short(text: str, length: int = 200) -> str:
    """A text on one line, with nothing in it that a terminal obeys."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    return line if len(line) <= length else line[: length - 1] + "…"


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
