"""Networks that come from elsewhere or go there: from a checkpoint of the authors, from a run, to an export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors

from twist.learn.checkpoints import newest_sound
from twist.learn.conversion import (
    ImportReport,
    image_channels,
    image_size_of,
    import_weights,
    in_channels_of,
    network_config_of,
)
from twist.learn.export import export_backbone
from twist.learn.foreign import ForeignCheckpoint, read_foreign
from twist.learn.networks import TwistNet, build_network
from twist.runs.config import ConfigError
from twist.runs.frozen import refuse_frozen
from twist.runs.record import RunRecord


def import_checkpoint(path: str | Path) -> tuple[TwistNet, ImportReport]:
    """A network as a checkpoint describes it, filled with its weights, in evaluation mode.

    Parameters
    ----------
    path
        A full checkpoint in either of the authors' layouts, a backbone's state dict, a safetensors file, or a file of
        others that `read_foreign` knows. It is read in a process of its own that can run no code of the file.

    Raises
    ------
    ConfigError
        When the file is unsafe, damaged or no such checkpoint, or a key is missing or unexpected: all are listed.
    """
    return network_of_checkpoint(read_foreign(Path(path).expanduser()))


def network_of_checkpoint(checkpoint: ForeignCheckpoint) -> tuple[TwistNet, ImportReport]:
    """As `import_checkpoint`, of a checkpoint that was read already."""
    network = build_network(
        network_config_of(checkpoint),
        in_channels_of(checkpoint),
        seed=0,
        image_size=image_size_of(checkpoint) or 224,
    )
    report = import_weights(network, checkpoint)
    return network.eval(), report


def network_of_run(path: Path, checkpoint: Path | None = None) -> TwistNet:
    """The network of a run at a checkpoint, the newest sound one when none is given; on the CPU, in evaluation mode.

    A person's own backbone is run from the copy in the run's folder: a run of somebody else's is a program of theirs.

    Raises
    ------
    ConfigError
        When the run has no checkpoint yet.
    """
    folder = checkpoint or _newest(path)
    recipe = RunRecord(path).recipe
    state = load_tensors((folder / "network.safetensors").read_bytes())
    channels = image_channels({name.removeprefix("backbone."): tensor for name, tensor in state.items()})
    network = build_network(recipe.network, channels, seed=recipe.seed, image_size=recipe.views.size, run_folder=path)
    network.load_state_dict(state)
    return network.eval()


def _newest(path: Path) -> Path:
    folder = newest_sound(path)
    if folder is None:
        refuse_frozen(path, "exported")
        raise ConfigError(
            f"{path.name} has no sound checkpoint yet: wait for the first, or ask `twist stop {path.name}`"
        )
    return folder


def export_run(path: Path, folder: str | Path, *, form: str) -> Path:
    """Write the backbone of a run's newest checkpoint for others, with a model card; returns the weights' file."""
    record = RunRecord(path)
    checkpoint = _newest(path)
    step = json.loads((checkpoint / "state.json").read_bytes())["step"]
    record.poll()
    per_epoch = (record.last("start") or {}).get("steps_per_epoch")
    card: dict[str, Any] = {
        "name": path.name,
        "recipe": record.recipe.name,
        "images": record.recipe.data.source if "/" not in record.recipe.data.source else "a folder of images",
        "epochs": round(step / per_epoch, 2) if per_epoch else "unknown",
        "step": step,
        "seed": record.recipe.seed,
    }
    views = dataclasses.replace(record.recipe.views, extra=None)  # of a person's own, which plain views have not
    return export_backbone(network_of_run(path, checkpoint), folder, form=form, card=card, views=views)


def export_checkpoint(path: str | Path, folder: str | Path, *, form: str) -> Path:
    """Write the backbone of a checkpoint of the authors for others, with a model card; returns the weights' file."""
    network, report = import_checkpoint(path)
    card: dict[str, Any] = {
        "name": f"{Path(path).stem}, converted",
        "recipe": "the authors' TWIST",
        "source": f"{Path(path).name}, its part {report.part!r}",
    }
    if report.epoch is not None:
        card["epochs"] = report.epoch
    return export_backbone(network, folder, form=form, card=card)
