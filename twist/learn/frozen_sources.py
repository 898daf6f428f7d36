"""What a frozen run is made from: images with the features of some model, or features that somebody else computed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from twist.learn.evaluation.feature_arrays import features_from_arrays
from twist.learn.evaluation.feature_cache import cache_place
from twist.learn.evaluation.features import features_of
from twist.learn.evaluation.sets import LabeledSet, load_labeled
from twist.learn.labelers.spaces import principal_space
from twist.learn.model import Model, as_images, load_model
from twist.learn.snapshots import watch_indices
from twist.runs.config import ConfigError, DataConfig, Recipe
from twist.runs.folders import find_run, slug
from twist.runs.handle import Run
from twist.runs.record import RunRecord
from twist.runs.store import RecordError

Said = Callable[[str, int, int], None]
#: Classes where neither a run nor labels say how many.
USUAL_CLASSES = 10
MOST_IMAGES = 10_000
_PLACEHOLDER_SIDE = 4


@dataclass(frozen=True)
class Subject:
    """Features with all that a run folder needs beside them.

    Attributes
    ----------
    title, stem
        What the model is called, and what the name of the run begins with.
    features
        Of all images, those that are watched among them.
    watched
        Rows of the images that the run watches.
    recipe
        Says which images, and how many classes there usually are.
    usual_classes
        Classes where nobody says how many.
    labels
        Labels of all images, or None; only ever measured with.
    fingerprint
        What tells the image set.
    facts
        What a record says of the model and the images.
    watch
        A sealed folder of watch images to take over as it is; else ``pictures`` and ``sample_ids`` are written.
    of
        Id, name and step of the run whose features they are; empty for others.
    """

    title: str
    stem: str
    features: Tensor
    watched: Tensor
    recipe: Recipe
    usual_classes: int
    labels: Tensor | None
    fingerprint: str | None
    facts: dict[str, Any]
    watch: Path | None = None
    pictures: np.ndarray | None = None
    sample_ids: np.ndarray | None = None
    label_names: list[str] | None = None
    root: Path | None = None
    of: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def subject_of(
    source: str | Path | Run | Model,
    data: str | Path | DataConfig | None,
    max_images: int | None,
    device: str,
    say: Said,
) -> Subject:
    """Features and images as a person names them; arguments and errors are those of `twist.learn.frozen.label`."""
    if isinstance(source, Model):
        return _of_model(source, data, max_images, device, say, stem=slug(source.name), root=None)
    text = str(source.path) if isinstance(source, Run) else str(source)
    if text.endswith(".npz") and Path(text).expanduser().is_file():
        return _of_arrays(Path(text).expanduser(), data)
    name, at, step = text.partition("@")
    if (path := _run_of(name)) is not None:
        if data is None:
            return _of_snapshot(path, step if at else None)
        say(f"loading the network of {path.name}", 0, 1)
        return _of_model(load_model(text), data, max_images, device, say, stem=path.name, root=path.parent)
    say(f"loading {text}", 0, 1)
    stem = slug(Path(text.partition("?")[0]).stem if Path(text).is_file() else text.partition("?")[0])
    return _of_model(load_model(text), data, max_images, device, say, stem=stem, root=None)


def _run_of(name: str) -> Path | None:
    """The folder of a run of that name; None for what can be no run, or is none."""
    if ":" in name or name == "pixels" or Path(name).is_file():
        return None
    return find_run(name)


def _of_snapshot(path: Path, step: str | None) -> Subject:
    """The watch images of a run, and their features as a snapshot of it has them."""
    record = RunRecord(path)
    record.poll()
    if step is not None and not step.isdecimal():
        raise ConfigError(f"step is {step!r} behind {path.name!r}: give the step of a snapshot, as in {path.name}@340")
    try:
        watch = record.watch()
        snapshot = record.snapshot(None if step is None else int(step))
    except RecordError as error:
        raise ConfigError(str(error)) from None
    if watch is None:
        raise ConfigError(f"run {path.name} has no watch images: nothing can be labelled")
    features = torch.from_numpy(np.asarray(snapshot.features, np.float32))
    labels = None if watch.labels is None else torch.from_numpy(np.array(watch.labels, np.int64))
    frozen = record.frozen
    at = f"{path.name} @ step {snapshot.step}"
    title = frozen.get("model", at)  # a frozen run's own features are those of its model
    of = {"id": str(record.identity.get("id", "")), "name": path.name, "step": int(snapshot.step)}
    return Subject(
        title=title,
        stem=str((frozen.get("of") or {}).get("name") or path.name),
        features=features,
        watched=torch.arange(len(features)),
        recipe=record.recipe,
        usual_classes=snapshot.num_classes,
        labels=labels,
        fingerprint=record.images_fingerprint,
        facts={"model_facts": frozen.get("model_facts", {"kind": "run", **of}), "images": record.recipe.data.source},
        watch=path / "watch",
        root=path.parent,
        of=of,
        notes=tuple(frozen.get("notes", ())),
    )


def _of_model(
    model: Model,
    data: str | Path | DataConfig | None,
    max_images: int | None,
    device: str,
    say: Said,
    *,
    stem: str,
    root: Path | None,
) -> Subject:
    """An image set, and its features by a model; computed once, and kept."""
    if data is None:
        raise ConfigError(f"{model.name} needs images: name a set, a folder or an .npz file with --data")
    config = data if isinstance(data, DataConfig) else _data_of(str(data), max_images)
    images = load_labeled(config, on_progress=lambda done, total: say("reading images", done, total))
    found = features_of(
        model,
        images,
        cache=cache_place(None),
        device=device,
        on_progress=lambda done, total: say(f"features of {model.name}", done, total),
    )
    labeled = bool((images.labels >= 0).any())
    watched = watch_indices(len(images), MOST_IMAGES, images.labels if labeled else None)
    return Subject(
        title=model.name,
        stem=stem,
        features=found.values,
        watched=watched,
        recipe=Recipe(data=config),
        usual_classes=len(images.label_names) if labeled and len(images.label_names) > 1 else USUAL_CLASSES,
        labels=images.labels if labeled else None,
        fingerprint=images.fingerprint,
        facts={"model_facts": {"kind": model.kind, "identity": model.identity, **found.model}, "images": images.name},
        pictures=_pixels(images, watched),
        sample_ids=images.sample_ids[watched].numpy(),
        label_names=images.label_names if labeled else None,
        root=root,
        notes=found.notes,
    )


def _data_of(source: str, max_images: int | None) -> DataConfig:
    path = Path(source).expanduser()
    return DataConfig(source=str(path.resolve()) if path.exists() else source, max_images=max_images)


def _pixels(images: LabeledSet, rows: Tensor) -> np.ndarray:
    return np.concatenate([np.asarray(images.images[part]) for part in rows.split(1024)])


def _of_arrays(path: Path, data: str | Path | DataConfig | None) -> Subject:
    """Features that somebody else computed, with their images where the file has them."""
    if data is not None:
        raise ConfigError(f"{path.name} holds features: leave --data out, or put the images into the file as 'images'")
    arrays = _read(path)
    if "features" not in arrays:
        raise ConfigError(
            f"{str(path)!r} has no array 'features': save features [N, D] in it; images alone take a model, as in "
            f"`twist label pixels --data {path.name}`"
        )
    names = [str(name) for name in arrays["label_names"]] if "label_names" in arrays else None
    try:
        found = features_from_arrays(arrays["features"], arrays.get("labels"), label_names=names, name=path.stem)
        pictures = np.asarray(as_images(arrays["images"])[:]) if "images" in arrays else None
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from None
    if pictures is not None and len(pictures) != len(found):
        raise ConfigError(f"{str(path)!r} has {len(pictures):,} images for {len(found):,} features: give one for each")
    labeled = bool((found.labels >= 0).any())
    watched = watch_indices(len(found), MOST_IMAGES, found.labels if labeled else None)
    notes: tuple[str, ...] = ()
    if pictures is None:
        notes = ("The file has no images: each is shown as its first 16 principal features, dark to bright.",)
        pictures = placeholders(found.values[watched])
    else:
        pictures = pictures[watched.numpy()]
    return Subject(
        title=f"the file {path.name}",
        stem=slug(path.stem),
        features=found.values,
        watched=watched,
        recipe=Recipe(data=DataConfig(source=path.stem)),
        usual_classes=len(found.label_names) if labeled and len(found.label_names) > 1 else USUAL_CLASSES,
        labels=found.labels if labeled else None,
        fingerprint=str(found.data["fingerprint"]),
        facts={"model_facts": found.model, "images": path.stem},
        pictures=pictures,
        sample_ids=watched.numpy(),
        label_names=found.label_names if labeled else None,
        notes=notes,
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    wanted = ("features", "labels", "label_names", "images")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in wanted}
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as .npz ({error}): make it again with np.savez") from error


def placeholders(features: Float[Tensor, "M D"]) -> np.ndarray:
    """Pictures of features whose images are not at hand: gray squares, uint8 ``[M, 1, 4, 4]``.

    Each square is one principal feature, the widest first, dark to bright by its rank among all images: what lies close
    looks alike, and nobody takes it for a photograph.
    """
    rows = principal_space(features, dimensions=_PLACEHOLDER_SIDE**2).rows
    shares = rows.argsort(dim=0, stable=True).argsort(dim=0, stable=True).float() / max(1, len(rows) - 1)
    squares = torch.full((len(rows), _PLACEHOLDER_SIDE**2), 0.5)
    squares[:, : shares.shape[1]] = shares
    return (255 * squares).round().byte().reshape(len(rows), 1, _PLACEHOLDER_SIDE, _PLACEHOLDER_SIDE).numpy()
