"""Features of an image set by any model: computed once, kept on disk, used by every protocol, labeler and view."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from twist.learn.datasets import free_memory
from twist.learn.evaluation.feature_cache import FeatureFolder, cache_key
from twist.learn.evaluation.sets import LabeledSet
from twist.learn.image_files import Progress
from twist.learn.image_model import Model
from twist.learn.process import choose_device
from twist.runs.config import ConfigError
from twist.runs.store import RecordError

#: Memory that the activations of one batch may take: a guess of them by the size of a view decides how large it is.
BATCH_BYTES = {"cpu": 192 * 2**20, "cuda": 2 * 2**30, "mps": 2**30}
_SMALLEST_BATCH, _LARGEST_BATCH = 16, 1024
_GUESSED_CHANNELS = 192  # three layers of 64 channels at the size of the view are alive at a time


@dataclass(frozen=True)
class Features:
    """Features of images, with what is known of these.

    Attributes
    ----------
    values
        One row for each image. Mapped from a file where they were cached: what is written into them never reaches it.
    labels
        Label of each image, -1 where unknown.
    label_names
        Name of each label.
    sample_ids
        Stable index of each image in its source and split.
    log_probs
        Class distribution of each image by the model's own head, nats; None when it has none.
    data
        What a record says of the images.
    model
        What a record says of the model.
    notes
        What a person should know of how they came about.
    """

    values: Float[Tensor, "N D"]
    labels: Int64[Tensor, " N"]
    label_names: list[str]
    sample_ids: Int64[Tensor, " N"]
    log_probs: Float[Tensor, "N C"] | None
    data: dict[str, Any]
    model: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def rows_of(self, sample_ids: Shaped[np.ndarray, " n"] | Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Rows of these images, in the order asked for; for the watch images of a run, a subset of its images.

        Raises
        ------
        ConfigError
            When one is not among them.
        """
        given = sample_ids if isinstance(sample_ids, Tensor) else torch.from_numpy(np.array(sample_ids))
        wanted = given.long()
        order = self.sample_ids.argsort()
        place = torch.searchsorted(self.sample_ids[order], wanted).clamp(max=max(0, len(self) - 1))
        rows = order[place] if len(self) else wanted
        missing = wanted[self.sample_ids[rows] != wanted] if len(self) else wanted
        if len(missing):
            raise ConfigError(
                f"{len(missing)} of {len(wanted)} images, the first with the id {int(missing[0])}, are not among the "
                f"{len(self):,} features of {self.data.get('name', 'these images')}: compute those of all its images"
            )
        return rows

    def take(self, rows: Int64[Tensor, " n"]) -> Features:
        """Features of some images; a mapping stays one where the rows follow each other, else they are copied."""
        return replace(
            self,
            values=_taken(self.values, rows),
            labels=self.labels[rows],
            sample_ids=self.sample_ids[rows],
            log_probs=None if self.log_probs is None else _taken(self.log_probs, rows),
        )


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    if len(rows) and torch.equal(rows, torch.arange(int(rows[0]), int(rows[0]) + len(rows))):
        return values[int(rows[0]) : int(rows[0]) + len(rows)]
    return values[rows]


# ---------------------------------------------------------------------------------------------------------------------
# Of a model


def features_of(
    model: Model,
    images: LabeledSet,
    *,
    cache: Path | None = None,
    device: str = "auto",
    batch: int | None = None,
    on_progress: Progress | None = None,
) -> Features:
    """Features of labelled images by a model, from the cache where they were computed before.

    What is cached are the features of the whole set that the images are part of, so that another split of it computes
    nothing. Of two processes that ask at once, one computes. The cache is held against its checksums; a damaged one is
    computed anew, and the notes say so.

    Parameters
    ----------
    model
        The model; its network is read in evaluation mode.
    images
        The images.
    cache
        Folder of the caches, as `twist.learn.evaluation.feature_cache.cache_place` gives it; None keeps the features in
        memory alone.
    device
        Where to compute: auto, cpu, cuda, cuda:N or mps.
    batch
        Images at a time; None takes as many as a guess of their activations allows. The features depend on it by
        rounding only.
    on_progress
        Called with (images done, images) after every batch, and with (0, images) while another process computes.

    Raises
    ------
    ConfigError
        When features are not finite (names the model and how many), or the cache cannot be written.
    """
    if batch is not None and batch < 1:
        raise ConfigError(f"batch is {batch}: give 1 or more images, or leave it out")
    whole = images.whole or images
    notes: tuple[str, ...] = ()
    if cache is None:
        blocks = list(_blocks(model, whole, choose_device(device), batch, on_progress))
        columns = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
        facts = {"name": model.name, **model.facts}
    else:
        columns, facts, notes = _cached(model, whole, cache, device, batch, on_progress)
    found = Features(
        values=columns["features"],
        labels=whole.labels,
        label_names=images.label_names,
        sample_ids=whole.sample_ids,
        log_probs=columns.get("log_probs"),
        data=images.facts,
        model=facts,
        notes=notes,
    )
    if images.rows is not None:
        found = found.take(images.rows)
    return replace(found, labels=images.labels)


def _cached(
    model: Model, images: LabeledSet, cache: Path, device: str, batch: int | None, on_progress: Progress | None
) -> tuple[dict[str, Tensor], dict[str, Any], tuple[str, ...]]:
    folder = FeatureFolder(Path(cache) / cache_key(model.identity, images.fingerprint))
    notes: list[str] = []

    def find() -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        try:
            return folder.find()
        except RecordError as error:
            note = f"The cached features of {model.name} were damaged ({error}) and are computed anew"
            if note not in notes:
                notes.append(note)
            return None

    def waiting() -> None:
        if on_progress is not None:
            on_progress(0, len(images))

    if (found := find()) is None:
        try:
            with folder.alone(waiting):
                if (found := find()) is None:
                    _compute(model, images, folder, choose_device(device), batch, on_progress)
                    found = folder.find()
        except OSError as error:
            raise ConfigError(
                f"the features of {model.name} cannot be kept in {str(cache)!r} ({error.strerror}): it must be there, "
                "with room, and be open to writing; features of no run lie beside the folder that TWIST_RUNS names"
            ) from error
    assert found is not None, "it was written and renamed just now"
    columns, manifest = found
    return columns, manifest["model"], tuple(notes)


def _compute(
    model: Model,
    images: LabeledSet,
    folder: FeatureFolder,
    device: torch.device,
    batch: int | None,
    on_progress: Progress | None,
) -> None:
    began = time.perf_counter()

    def facts() -> dict[str, Any]:
        return {
            "model": {"name": model.name, **model.facts},
            "data": images.facts,
            "label_names": images.label_names,
            "device": str(device),
            "torch": torch.__version__,
            "seconds": round(time.perf_counter() - began, 2),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    folder.write(_blocks(model, images, device, batch, on_progress), len(images), facts)


def _blocks(
    model: Model, images: LabeledSet, device: torch.device, batch: int | None, on_progress: Progress | None
) -> Iterator[dict[str, Tensor]]:
    """Features, log-probabilities, labels and ids by batches; after the last an error when some are no number."""
    model.to(device).net.eval()
    broken, size = 0, batch or batch_size(tuple(model.prepare(images.images[:1].to(device)).shape[1:]), device)
    for first in range(0, len(images), size):
        rows = slice(first, min(first + size, len(images)))
        with torch.no_grad():  # not around the yield: what the reader of the blocks does is no business of ours
            views = model.prepare(images.images[rows].to(device))
            features = model.net(views.contiguous(memory_format=torch.channels_last)).float()
            log_probs = model.log_probs(features)
        broken += int((~features.isfinite()).any(1).sum())
        block = {
            "features": features.cpu(),
            "labels": images.labels[rows],
            "sample_ids": images.sample_ids[rows],
        }
        if log_probs is not None:
            block["log_probs"] = log_probs.float().cpu()
        yield block
        if on_progress is not None:
            on_progress(rows.stop, len(images))
    if broken:
        raise ConfigError(
            f"{model.name} gives features that are no finite numbers for {broken:,} of the {len(images):,} images of "
            f"{images.name}: its weights are broken or do not fit its preprocessing; take an earlier checkpoint or "
            "another file"
        )


def batch_size(view: tuple[int, ...], device: torch.device) -> int:
    """Images whose activations fit into memory at a time, guessed from the shape ``(channels, S, S)`` of a view."""
    per_image = 4 * _GUESSED_CHANNELS * int(np.prod(view[1:]))
    budget = BATCH_BYTES[device.type]
    if device.type == "cpu":
        budget = min(budget, free_memory() // 8)
    return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, budget // per_image))
