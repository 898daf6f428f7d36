"""Everything needed to go on exactly where a run was: written whole, verified before anything older is deleted."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from twist.learn.step import TrainState
from twist.runs.store import RecordError, read_manifest, step_folder, write_sealed_folder


def save(run: Path, state: TrainState, facts: dict[str, Any], *, keep: int) -> Path:
    """Write a checkpoint of the state, read it back, and only then delete the oldest beyond ``keep``.

    Parameters
    ----------
    run
        The run folder.
    state
        What is saved.
    facts
        What an exact resume must find unchanged: device, threads, versions.
    keep
        How many of the newest checkpoints stay on disk.
    """
    folder = run / "checkpoints" / step_folder(state.step)
    if _is_sound(folder):
        return folder  # the step was saved already, and a sound checkpoint is never taken away
    optimizer = state.optimizer.state_dict()
    moments, scalars = _split(optimizer["state"])
    details = {
        "step": state.step,
        "facts": facts,
        "optimizer_groups": optimizer["param_groups"],
        "optimizer_scalars": scalars,
    }
    files = {
        "network.safetensors": save_tensors(_dense(state.network.state_dict())),
        "optimizer.safetensors": save_tensors(_dense(moments)),
        "random.safetensors": save_tensors(_random_state(state)),
        "state.json": json.dumps(details).encode(),
    }
    if state.teacher is not None:
        files["teacher.safetensors"] = save_tensors(_dense(state.teacher.state_dict()))
    if state.visits is not None:
        files["visits.safetensors"] = save_tensors(_dense(state.visits.state()))
    if state.outputs is not None:
        files["outputs.safetensors"] = save_tensors(state.outputs.state())
    write_sealed_folder(folder, files, {"step": state.step})
    read_manifest(folder, verify=True)
    for old in checkpoint_folders(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def load_newest(run: Path, state: TrainState) -> tuple[dict[str, Any] | None, list[str]]:
    """Fill the state from the newest sound checkpoint; damaged newer ones are set aside.

    Returns
    -------
    facts
        The facts saved with it, or None when there is no checkpoint yet and the state is untouched.
    notes
        One sentence for each damaged checkpoint that was set aside.

    Raises
    ------
    RecordError
        When there are checkpoints and none is sound, or the newest sound one is another network's: nothing is ever
        begun anew in silence.
    """
    damaged: dict[Path, str] = {}
    for folder in reversed(checkpoint_folders(run)):
        try:
            read_manifest(folder, verify=True)
        except RecordError as error:
            damaged[folder] = str(error)
            continue
        facts = load(folder, state)
        for other in damaged:  # only now: without a sound one, the next resume must fail as this one does
            other.rename(other.with_name(f"damaged-{other.name}-{secrets.token_hex(2)}"))
        return facts, [f"checkpoint set aside: {reason}" for reason in damaged.values()]
    if damaged:
        raise RecordError(f"no checkpoint of {run.name} is sound, so it cannot go on: {'; '.join(damaged.values())}")
    return None, []


def load(folder: Path, state: TrainState) -> dict[str, Any]:
    """Fill the state from one checkpoint and return the facts saved with it.

    Raises
    ------
    RecordError
        When the weights are another network's.
    """
    details = json.loads((folder / "state.json").read_bytes())
    network = load_tensors((folder / "network.safetensors").read_bytes())
    try:
        state.network.load_state_dict(network)
    except RuntimeError as error:
        raise RecordError(f"{folder.name} holds another network's weights: {error}") from error
    anew = details.get("anew", ())  # what a fork's recipe left no use for: it stays as it was made
    if state.teacher is not None:
        teacher = network if "teacher" in anew else load_tensors((folder / "teacher.safetensors").read_bytes())
        state.teacher.load_state_dict(teacher)
    visits = folder / "visits.safetensors"
    if state.visits is not None and visits.is_file():  # older versions kept none
        state.visits.load_state(load_tensors(visits.read_bytes()))
    outputs = folder / "outputs.safetensors"
    if state.outputs is not None and outputs.is_file():
        state.outputs.load_state(load_tensors(outputs.read_bytes()))
    if "optimizer" not in anew:
        moments = load_tensors((folder / "optimizer.safetensors").read_bytes())
        # The recipe says what the groups hold: a fork's may differ, and what is not in it is set at every step.
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": _join(moments, details["optimizer_scalars"]), "param_groups": groups})
        _lay_out_as_weights(state.optimizer)
    if "random" not in anew:
        _restore_random_state(load_tensors((folder / "random.safetensors").read_bytes()), state)
    state.step = details["step"]
    return details["facts"]


def newest_sound(run: Path) -> Path | None:
    """The newest checkpoint that is whole, or None."""
    return next((folder for folder in reversed(checkpoint_folders(run)) if _is_sound(folder)), None)


def newest_step(run: Path) -> int:
    """Step of the newest checkpoint by its name, sound or not; 0 when there is none."""
    folders = checkpoint_folders(run)
    return int(folders[-1].name.removeprefix("step-")) if folders else 0


def checkpoint_folders(run: Path) -> list[Path]:
    """Checkpoints on disk, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if path.is_dir())


def _is_sound(folder: Path) -> bool:
    try:
        read_manifest(folder, verify=True)
    except RecordError:
        return False
    return True


def _dense(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors stores no strides: channels-last weights are written in plain order, and shared storage is split.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _split(per_parameter: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, values in per_parameter.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, scalars


def _join(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    joined: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, _, name = key.partition(".")
        joined.setdefault(int(index), {})[name] = value
    return joined


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    # Files keep no strides, and a fused optimizer walks through weights and moments by their storage.
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _random_state(state: TrainState) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    device = next(state.network.parameters()).device
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_random_state(states: dict[str, Tensor], state: TrainState) -> None:
    torch.set_rng_state(states["cpu"])
    device = next(state.network.parameters()).device
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
