"""Checkpoint files made elsewhere, read in a process of their own under limits; what comes back is tensors and values.

A ``.pth`` file is a pickle, that is a program, and even the tensors of a refused program can crash the process that
looks at them. So a child without the environment, with limits of time, memory and disk, reads it by
``torch.load(weights_only=True)``, checks every tensor, and writes what passed as safetensors and JSON into a temporary
folder. The parent reads only those.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from twist.learn.foreign_checks import NEEDS_MEMORY, Refused, check_archive, check_tensors, is_plain, reason_of, short
from twist.learn.foreign_names import backbones_in
from twist.learn.stand_ins import Arguments, stand_ins
from twist.runs.config import ConfigError
from twist.runs.store import read_json

#: Parts of the authors' checkpoint that hold weights: the whole network and its backbone, of student and teacher.
PARTS = ("model", "backbone", "teacher", "teacher_backbone")

_BARE = ""
_START_S = 120.0  # torch alone takes ten seconds to load on a busy machine
_BYTES_PER_S = 20e6
_SPARE_MEMORY = 2**30


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
    where
        Where the backbone was, in a file of other people than the authors: ``state_dict/module.encoder_q.``.
    numbered
        Whether its layers were numbered there, as those of a ``torch.nn.Sequential``.
    beside
        Tensors beside it that were taken for none of its own, such as a classifier's.
    """

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    arguments: dict[str, Any]
    epoch: int | None
    unread: tuple[str, ...] = ()
    where: str = ""
    numbered: bool = False
    beside: tuple[str, ...] = ()


def read_foreign(path: str | os.PathLike[str], *, part: str | None = None) -> ForeignCheckpoint:
    """Read a checkpoint of the authors or of others, a state dict, or a safetensors file; no code in it is run.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save`` under any other name: the authors' full checkpoint in
        either of its two namings of the head, or a state dict of a network or of its backbone alone, with or without
        the prefix that distributed training adds; or a file in which `twist.learn.foreign_names.backbones_in` finds a
        backbone, such as those of Lightning, solo-learn, lightly, DINO and MoCo.
    part
        Of a file with several backbones: a piece of the name of the part or prefix that is meant, such as ``teacher``,
        ``student`` or ``encoder_k``.

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
    file, parts, facts = _read_parts(path)
    unread = tuple(facts.get("unread", ()))
    try:
        tensors = dict(_own_part(name, named) for name, named in parts.items() if name in (*PARTS, _BARE))
    except Refused as refused:
        raise ConfigError(f"{str(path)!r} is not read: {refused}") from None
    where, numbered, beside = "", False, tuple[str, ...]()
    if _are_the_authors(tensors):
        if part is not None:
            places = ", ".join(map(repr, tensors))
            tensors = {name: named for name, named in tensors.items() if part in name}
            if not tensors:
                raise ConfigError(f"{str(path)!r} has no part {part!r}: there are {places}")
    else:
        found = backbones_in(parts)
        chosen = [one for one in found if part is None or part in one.where]
        if part is not None and not chosen:
            places = ", ".join(repr(one.where) for one in found) or "none"
            raise ConfigError(f"{str(path)!r} has no backbone under {part!r}: there are {places}")
        if chosen:
            tensors, where = {"backbone": chosen[0].tensors}, chosen[0].where
            numbered, beside = chosen[0].numbered, chosen[0].left
            unread = (*unread, *_groups(beside, where.rpartition("/")[2]))[:100]
        elif not tensors:
            raise ConfigError(
                f"{str(path)!r} is not read: there is no ResNet and no vision transformer in it, its parts are "
                f"{', '.join(parts)}; another network's file is read as 'timm:NAME?weights=FILE'"
            )
    return ForeignCheckpoint(
        file, tensors, facts.get("arguments", {}), facts.get("epoch"), unread, where, numbered, beside
    )


def _groups(names: Iterable[str], prefix: str) -> list[str]:
    """Names in groups, as few as tell them from the prefix: ``module.encoder_k`` beside ``module.encoder_q.``."""
    own, groups = prefix.split("."), dict[str, None]()
    for name in names:
        words = name.split(".")
        alike = next((index for index, (one, other) in enumerate(zip(words, own, strict=False)) if one != other), 0)
        groups[".".join(words[: alike + 1])] = None
    return list(groups)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint file by part, under the names that they have there; safely, as `read_foreign`."""
    return _read_parts(path)[1]


def _read_parts(path: str | os.PathLike[str]) -> tuple[Path, dict[str, dict[str, Tensor]], dict[str, Any]]:
    file = Path(path).expanduser()
    if file.is_dir():
        raise ConfigError(f"{str(path)!r} is a folder: give a checkpoint file; `twist export` takes a run's folder")
    if not file.is_file():
        raise ConfigError(f"there is no file {str(path)!r}: give a checkpoint, .pth, .pt or .safetensors")
    try:
        if file.suffix == ".safetensors":
            return file, {_BARE: _read_safetensors(file)}, {}
        return file, *_read_apart(file)
    except Refused as refused:
        raise ConfigError(f"{str(path)!r} is not read: {refused}") from None


def _are_the_authors(tensors: Mapping[str, Mapping[str, Tensor]]) -> bool:
    """Whether the parts are those of TWIST: a whole network has its head, or a backbone is a part by that name."""
    names = [name for named in tensors.values() for name in named]
    return "backbone" in tensors and len(tensors) > 1 or any(name.startswith("projection_heads.") for name in names)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(file.read_bytes())
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Refused(f"it is damaged or no safetensors file ({short(str(error))})") from None
    check_tensors(tensors)
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
        raise Refused("two of its tensors have the same name, an older and a newer one")
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
            raise Refused(f"reading it took longer than {seconds:.0f} s") from None
        found = read_json(folder / "found.json")
        if "refused" in found:
            raise Refused(found["refused"])
        if done.returncode or not found:
            raise Refused(_crash(done.returncode, folder / "errors.txt"))
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
    return f"the process that read it failed ({short(last)})"


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
    except Refused as refused:
        found = {"refused": str(refused)}
    except MemoryError:
        found = {"refused": NEEDS_MEMORY}
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


def _read(file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Parts and facts of a file of ``torch.save``, all of them checked."""
    check_archive(file)
    allowed = torch.serialization.safe_globals(stand_ins())
    invariants = torch.sparse.check_sparse_tensor_invariants(True)
    try:
        with allowed, invariants, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # what a damaged or hostile file makes the reader raise is not listed anywhere
        raise Refused(reason_of(error)) from None
    if type(content) not in (dict, OrderedDict):
        raise Refused(f"it holds a {type(content).__name__}, not a dictionary of tensors")
    parts = {part: content[part] for part in PARTS if _is_part(content.get(part))}
    facts: dict[str, Any] = {}
    if content and all(isinstance(value, Tensor) for value in content.values()):
        parts = {_BARE: content}
    else:
        others = _state_dicts(content)
        parts |= {name: tensors for name, tensors in others.items() if name not in parts}
        if not parts:
            keys = ", ".join(short(repr(key), 40) for key in list(content)[:10]) or "none"
            raise Refused(f"it has none of the parts {', '.join(PARTS)}, and is no state dict: its keys are {keys}")
        facts = _facts(content, {name.partition("/")[0] for name in parts})
    for tensors in parts.values():
        check_tensors(tensors, file.stat().st_size)
    return parts, facts


def _is_part(value: object) -> bool:
    """Whether a value is a dictionary of more than dictionaries."""
    return type(value) in (dict, OrderedDict) and not _holds_dictionaries(value)  # type: ignore[arg-type]


def _holds_dictionaries(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(type(item) in (dict, OrderedDict) for item in value.values())


def _state_dicts(content: Mapping[Any, Any], place: str = "", depth: int = 6) -> dict[str, Any]:
    """Dictionaries of nothing but tensors, some of them weights, by the keys that lead there; of a file of others."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if type(key) is not str or type(value) not in (dict, OrderedDict) or not key.isprintable() or len(key) > 100:
            continue
        names = [name for name in value if type(name) is str and name.endswith("weight")]
        if names and all(isinstance(tensor, Tensor) for tensor in value.values()):
            found[f"{place}{key}"] = value
        elif depth > 0:
            found |= _state_dicts(value, f"{place}{key}/", depth - 1)
    return found


def _facts(content: Mapping[Any, Any], read: Collection[str]) -> dict[str, Any]:
    """Arguments and epoch as plain values, and the names of everything else."""
    given = content.get("args")
    values = getattr(given, "values", None) if isinstance(given, Arguments) else given
    values = values if type(values) is dict else {}
    arguments = {name: value for name, value in values.items() if is_plain(name, 0) and is_plain(value)}
    others = [name for name in content if name not in (*PARTS, *read, "args", "epoch")]
    others += [f"args.{name}" for name in values if name not in arguments]
    epoch = content.get("epoch")
    return {
        "arguments": {str(name): value for name, value in arguments.items()},
        "epoch": epoch if type(epoch) is int and 0 <= epoch < 2**31 else None,
        "unread": [short(str(name)) for name in others[:100]],
    }


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
