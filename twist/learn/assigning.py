"""The classes that a trained network gives to new images, as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from twist.learn import datasets, information
from twist.learn.image_files import survey_sound
from twist.learn.image_model import Model, as_images
from twist.learn.model import load_model
from twist.learn.process import choose_device
from twist.learn.stored_images import StoredImages
from twist.runs.class_names import ClassName, class_names
from twist.runs.config import ConfigError, DataConfig
from twist.runs.folders import run_named
from twist.runs.handle import Run
from twist.runs.record import RunRecord
from twist.runs.sources import IMAGE_SUFFIXES, image_paths

if TYPE_CHECKING:
    import pandas as pd

BATCH = 256
_BATCH_BYTES = 64 * 2**20  # of decoded pixels: photographs of full size come few at a time
_SHOWN = 5

Progress = Callable[[int, int], object]


class _Batch(NamedTuple):
    images: UInt8[Tensor, "N ch H W"]
    files: list[str]
    done: int
    damaged: dict[str, str]


def assign(
    run: str | os.PathLike[str] | Run | Model,
    images: Any,
    *,
    skip_damaged: bool = False,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The class of each image by a trained run, how sure the network is of it, and how undecided.

    Images are presented as the run's snapshots present theirs: un-augmented, the central square, resized to the size of
    the recipe's views. So an image of the training set gets the very class that the explorer shows for it.

    Parameters
    ----------
    run
        A run by name, path or handle; ``NAME@STEP`` at one of its checkpoints, ``teacher:NAME`` for its teacher. Or
        anything else with classes that `twist.load_model` takes, or a model.
    images
        A folder, whose images are all taken, those in folders below it too; an ``.npz`` file with an array ``images``;
        an image file, or several; or an array or tensor as `twist.launch` takes it.
    skip_damaged
        Leave out files that cannot be decoded, and name them in ``table.attrs["skipped"]``, instead of refusing.
    device
        Where to compute: auto, cpu, cuda, cuda:N or mps.
    on_progress
        Called with (images done, images) after every batch; an exception in it ends that.

    Returns
    -------
    DataFrame
        A row for each image: ``file`` (relative to the folder; only of files), ``assignment`` (the likeliest class),
        ``class_name`` (only where a person named classes), ``confidence`` (its probability), ``sample_entropy`` (nats,
        0 to log C), ``margin`` (lead over the second class, 0 to 1).

    Raises
    ------
    ConfigError
        When there is no such run or image, the model has no classes, or files are damaged: names them.

    Examples
    --------
    ::

        table = twist.assign("mine", "photos/")
        table.sort_values("sample_entropy").tail()  # the images it hesitates most about
    """
    import pandas as pd

    model = run if isinstance(run, Model) else load_model(run)
    if model.head is None:
        raise ConfigError(
            f"{model.name} has no classes to assign, only features: give a run; `twist label` makes classes of features"
        )
    path = None
    if model.kind == "run" and not isinstance(run, Model):
        path = run.path if isinstance(run, Run) else run_named(os.fspath(run))
    model = model.to(choose_device(device))
    columns: dict[str, list[Tensor]] = {name: [] for name in ("assignment", "confidence", "sample_entropy", "margin")}
    files: list[str] = []
    damaged: dict[str, str] = {}
    count, batches = _batches(images, model, None if path is None else RunRecord(path).recipe.data)
    for batch in batches:
        damaged |= batch.damaged
        if damaged and not skip_damaged:
            raise ConfigError(_refusal(damaged))
        if len(batch.images):
            for name, values in _answers(model, batch.images).items():
                columns[name].append(values)
        files += batch.files
        if on_progress is not None:
            on_progress(batch.done, count)
    if not columns["assignment"]:
        raise ConfigError(f"none of the {count:,} images can be used: {_listed(damaged)}")
    table = pd.DataFrame({name: torch.cat(parts).numpy() for name, parts in columns.items()})
    table.index.name = "row"
    names = {} if path is None else class_names(path)
    if any(said.name for said in names.values()):
        words = [names.get(class_id, ClassName()).name for class_id in table["assignment"].tolist()]
        table.insert(1, "class_name", words)
    if files:
        table.insert(0, "file", files)
    table.attrs["model"] = model.name
    table.attrs["num_classes"] = model.num_classes
    table.attrs["skipped"] = damaged
    return table


def _answers(model: Model, images: UInt8[Tensor, "N ch H W"]) -> dict[str, Tensor]:
    log_probs = model.log_probs(model.features(images, batch_size=len(images)))
    assert log_probs is not None
    top = log_probs.exp().topk(min(2, log_probs.shape[1]), 1)
    return {
        "assignment": top.indices[:, 0],
        "confidence": top.values[:, 0],
        "sample_entropy": information.sample_entropy(log_probs),
        "margin": top.values[:, 0] - top.values[:, 1] if top.values.shape[1] > 1 else torch.ones(len(images)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Images, however they are given


def _batches(images: Any, model: Model, data: DataConfig | None) -> tuple[int, Iterator[_Batch]]:
    """How many images there are, and the images, batch after batch."""
    if isinstance(images, str | os.PathLike):
        path = Path(images).expanduser()
        if path.is_dir():
            return _of_files(path, image_paths(path), model, data)
        if path.suffix.lower() == ".npz":
            loaded = datasets.load(DataConfig(source=str(path))).images
            return len(loaded), _of_arrays(loaded)
        images = [path]
    if _are_paths(images):
        paths = [Path(one).expanduser() for one in images]
        for path in paths:
            if not path.is_file():
                raise ConfigError(
                    f"there is no image {str(path)!r}: give a folder of images, an .npz file with an array 'images', "
                    f"or files that end in {', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)}"
                )
        return _of_files(None, paths, model, data)
    pixels = as_images(images)
    return len(pixels), _of_arrays(pixels)


def _are_paths(images: Any) -> bool:
    listed = isinstance(images, Sequence) and len(images) > 0
    return listed and all(isinstance(one, str | os.PathLike) for one in images)


def _of_arrays(images: UInt8[Tensor, "N ch H W"] | StoredImages) -> Iterator[_Batch]:
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        yield _Batch(batch, [], first + len(batch), {})


def _of_files(
    folder: Path | None, paths: list[Path], model: Model, data: DataConfig | None
) -> tuple[int, Iterator[_Batch]]:
    files, unusable = survey_sound(
        folder or Path(),
        paths,
        side=None if data is None else data.image_size,
        side_if_mixed=model.prepare.size or 224,
    )

    def name(path: Path) -> str:
        text = path.relative_to(folder).as_posix() if folder is not None else str(path)
        return text.encode(errors="backslashreplace").decode()  # a table can hold no other names

    def read() -> Iterator[_Batch]:
        if unusable:
            nothing = torch.empty(0, 1, 1, 1, dtype=torch.uint8)
            yield _Batch(nothing, [], len(unusable), {name(path): reason for path, reason in unusable.items()})
        if files is None:
            return
        step = max(1, min(BATCH, _BATCH_BYTES * len(files) // max(1, files.nbytes)))
        for first in range(0, len(files), step):
            rows = range(first, min(first + step, len(files)))
            pixels, broken = files.read_sound(rows)
            sound = [name(files.paths[row]) for row in rows if row not in broken]
            damaged = {name(files.paths[row]): reason for row, reason in broken.items()}
            yield _Batch(pixels, sound, len(unusable) + rows.stop, damaged)

    return len(paths), read()


def _refusal(damaged: dict[str, str]) -> str:
    count, them = ("an image", "it") if len(damaged) == 1 else (f"{len(damaged)} images", "them")
    return (
        f"{count} cannot be used: {_listed(damaged)}; repair or remove {them}, or leave such files out with "
        "--skip-damaged (skip_damaged=True)"
    )


def _listed(damaged: dict[str, str]) -> str:
    more = f", and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
    return "; ".join(f"{name!r} {reason}" for name, reason in list(damaged.items())[:_SHOWN]) + more
