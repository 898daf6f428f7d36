"""Features that somebody else computed, as arrays: they go through the same protocols as those of a model."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from twist.learn.evaluation.features import Features
from twist.learn.evaluation.hashes import row_hashes
from twist.learn.evaluation.holdout import HELD_OUT, hold_out
from twist.runs.config import ConfigError
from twist.runs.sources import check_labels


class FeatureSets(NamedTuple):
    """Features that an evaluation works with.

    Attributes
    ----------
    known
        Those whose labels a protocol may use.
    asked
        Those it is asked about.
    how
        How the two were made, in a sentence; belongs to every result.
    """

    known: Features
    asked: Features
    how: str


def features_from_arrays(
    features: Any,
    labels: Any = None,
    *,
    label_names: Sequence[str] | None = None,
    name: str = "features",
    split: str = "all",
) -> Features:
    """Features given as an array, with or without labels.

    Parameters
    ----------
    features
        Floating point ``[N, D]``, an array or a tensor.
    labels
        Whole numbers ``[N]``, -1 where unknown; None where all are.
    label_names
        Name of each label.
    name
        What they are called in figures and records.
    split
        Which part of a set they are, in words.

    Raises
    ------
    ConfigError
        When the shape is another or there are none, a number is not finite, or the labels do not fit.

    Examples
    --------
    >>> features_from_arrays(np.eye(4), [0, 1, 1, -1]).values.dtype
    torch.float32
    """
    values = _floats(features, name)
    if labels is None:
        known = np.full(len(values), -1)
    else:
        known = check_labels(np.asarray(labels), len(values), label_names)
    names = [str(one) for one in label_names or range(int(known.max()) + 1)]
    rows = torch.from_numpy(values)
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(values.data)
    identity = digest.hexdigest()[:16]
    digest.update(np.ascontiguousarray(known).data)
    data = {
        "name": name,
        "split": split,
        "count": len(values),
        "num_labels": len(names),
        "fingerprint": digest.hexdigest()[:16],
    }
    model = {"name": name, "kind": "features", "identity": identity, "width": values.shape[1]}
    return Features(rows, torch.from_numpy(known), names, torch.arange(len(values)), None, data, model)


def features_from_file(path: str | Path, *, seed: int = 0) -> FeatureSets:
    """Known and asked features of an ``.npz`` file.

    Parameters
    ----------
    path
        A file with the arrays ``features`` ``[N, D]`` and ``labels`` ``[N]``, where wanted ``label_names``, and
        ``test_features`` and ``test_labels``; without these two, a fifth of every label is asked.
    seed
        Seed of that choice.

    Raises
    ------
    ConfigError
        When the file cannot be read, or an array is missing, of the wrong shape or not finite.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    names = [str(name) for name in arrays["label_names"]] if "label_names" in arrays else None
    try:
        whole = features_from_arrays(arrays["features"], arrays["labels"], label_names=names, name=path.stem)
        if "test_features" not in arrays:
            return split_features(whole, seed=seed)
        asked = features_from_arrays(
            arrays["test_features"], arrays["test_labels"], label_names=whole.label_names, name=path.stem, split="test"
        )
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from None
    if whole.values.shape[1] != asked.values.shape[1]:
        raise ConfigError(
            f"{str(path)!r}: features have {whole.values.shape[1]} columns and test_features "
            f"{asked.values.shape[1]}: both must come from one model"
        )
    known = _labeled(whole, "train")
    asked = _labeled(asked, "test")
    return FeatureSets(known, asked, f"{len(known):,} features of {path.stem} known, {len(asked):,} asked.")


def split_features(whole: Features, *, seed: int = 0) -> FeatureSets:
    """A seeded fifth of every label is asked, the others are known; rows without a label are left out."""
    labeled = _labeled(whole, whole.data.get("split", "all"))
    rows, asked_rows = hold_out(labeled.labels, row_hashes(labeled.values), seed=seed)
    if len(asked_rows) == 0:
        raise ConfigError(
            f"no row of {len(labeled):,} can be held out: every label needs two different rows; give more, or "
            "test_features"
        )
    share = round(100 * HELD_OUT)
    known = _part(labeled, rows, f"{100 - share} % (seed {seed})")
    asked = _part(labeled, asked_rows, f"{share} % held out (seed {seed})")
    name = whole.data["name"]
    return FeatureSets(
        known,
        asked,
        f"{name} has no test part: {len(asked):,} of its {len(labeled):,} rows, {share} % of each label chosen by seed "
        f"{seed}, are asked.",
    )


def _labeled(features: Features, split: str) -> Features:
    rows = (features.labels >= 0).nonzero()[:, 0]
    if len(rows) == 0:
        raise ConfigError("no row has a label, so nothing can be scored: give an array 'labels'")
    return features if len(rows) == len(features) else _part(features, rows, split)


def _part(features: Features, rows: torch.Tensor, split: str) -> Features:
    taken = features.take(rows)
    digest = hashlib.sha256(f"{features.data['fingerprint']} {split} ".encode())
    digest.update(rows.numpy().data)
    facts = {**features.data, "split": split, "count": len(rows), "fingerprint": digest.hexdigest()[:16]}
    return Features(
        taken.values, taken.labels, taken.label_names, taken.sample_ids, taken.log_probs, facts, features.model
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in _ARRAYS}
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read as .npz ({error}): make it again with np.savez") from error
    for name in ("features", "labels"):
        if name not in arrays:
            raise ConfigError(f"{str(path)!r} has no array {name!r}: save features [N, D] and labels [N] in it")
    if ("test_features" in arrays) != ("test_labels" in arrays):
        raise ConfigError(f"{str(path)!r} has one of test_features and test_labels: give both, or none")
    return arrays


_ARRAYS = ("features", "labels", "label_names", "test_features", "test_labels")


def _floats(features: Any, name: str) -> np.ndarray:
    if hasattr(features, "detach"):
        features = features.detach().cpu()
    values = np.asarray(features)
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
        raise ConfigError(
            f"{name} are of type {values.dtype} and shape {values.shape}: expected floating point [N, D], a row for "
            "each image"
        )
    broken = int((~np.isfinite(values)).any(1).sum())
    if broken:
        raise ConfigError(f"{name} hold numbers that are not finite in {broken:,} of {len(values):,} rows: repair them")
    return np.array(values, np.float32, order="C")
