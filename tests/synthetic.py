"""Run folders made without training, for tests of everything that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from twist.runs import bounds
from twist.runs.bounds import sharpness_floor
from twist.runs.config import Recipe
from twist.runs.facts import Facts
from twist.runs.folders import create_run
from twist.runs.record import EPOCH_SAMPLES, NOT_VISITED, RunRecord, RunWriter, parse_line
from twist.runs.results import ImageFacts, ModelFacts, Overlap, Result
from twist.runs.shortcuts import Shortcut
from twist.runs.watched import Snapshot

KINDS = ("healthy", "uniform", "one-class", "partial", "inconsistent", "not-finite", "early")
#: Kinds that only snapshots tell: "noise" is sharp and diverse, and gives every image another class at each of them,
#: "shortcut" has classes of equal brightness, "low-rank" features that come to lie on a line.
HISTORY_KINDS = ("noise", "shortcut", "low-rank")


def make_run(
    root: Path,
    kind: str = "healthy",
    *,
    name: str | None = None,
    num_samples: int = 300,
    num_classes: int = 10,
    epochs: int = 20,
    steps_per_epoch: int = 7,
    snapshots: int = 5,
    labels: bool = True,
    label_names: list[str] | None = None,
    ended: bool = True,
    histories: bool = False,
) -> Path:
    """A run folder as the trainer writes it, with curves and snapshots of the named kind.

    With ``histories`` it keeps what came with later versions: the samples of every epoch, and of every snapshot the
    agreement in training and the spectrum of the features.
    """
    rng = np.random.default_rng(0)
    recipe = Recipe(name="synthetic").replace(network__num_classes=num_classes, optim__epochs=epochs)
    path = create_run(recipe, name=name, root=root)
    (path / "attempts" / "0001").mkdir()
    writer = RunWriter(path, 1)
    steps = epochs * steps_per_epoch
    if kind == "early":
        steps = 3
    truth = np.arange(num_samples) % min(10, num_classes)
    images = _images(truth, rng, lit=kind == "shortcut")
    if label_names is None:
        label_names = [f"kind {i}" for i in range(10)]
    writer.watch(
        images,
        np.arange(num_samples),
        truth if labels else None,
        label_names if labels else None,
    )
    writer.event(
        "start",
        step=0,
        from_step=0,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs * steps_per_epoch,
        batch_size=recipe.optim.batch_size,
        num_images=num_samples,
        num_classes=num_classes,
        device="cpu",
        threads=2,
    )
    at = {round(i * steps / max(1, snapshots - 1)) for i in range(snapshots)}
    for step in range(steps + 1):
        share = step / max(1, steps)
        if step:
            writer.metrics(step, step / steps_per_epoch, _terms(kind, share, num_classes, rng))
        if step in at:
            columns = _columns(kind, share, truth, num_classes, rng)
            if histories:
                columns |= _late_columns(columns, first=step == 0)
            writer.snapshot(step, step / steps_per_epoch, columns, _summary(columns))
        if histories and step and step % steps_per_epoch == 0:
            seen = _columns(kind, share, truth, num_classes, np.random.default_rng(step))
            writer.epoch(step // steps_per_epoch, step, _epoch_samples(seen))
    writer.event("end", step=steps, reason="failed" if kind == "not-finite" else "completed")
    writer.close()
    if ended:
        reason = "failed" if kind == "not-finite" else "completed"
        (path / "attempts" / "0001" / "end.json").write_text(json.dumps({"reason": reason, "step": steps}))
    return path


def make_history(
    root: Path,
    assignments: np.ndarray,
    *,
    num_classes: int,
    num_heads: int = 1,
    confidences: np.ndarray | float = 0.9,
    entropies: np.ndarray | float = 0.3,
    agreements: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Path:
    """A run folder of snapshots at steps 0, 10, 20, … with these assignments ``[T, M]``, and the rest as given."""
    count, num_samples = np.shape(assignments)
    recipe = Recipe(name="history").replace(network__num_classes=num_classes, network__num_heads=num_heads)
    path = create_run(recipe, root=root)
    writer = RunWriter(path, 1)
    writer.watch(np.zeros((num_samples, 1, 4, 4), np.uint8), np.arange(num_samples), labels)
    confidences, entropies = (np.broadcast_to(x, (count, num_samples)) for x in (confidences, entropies))
    for now, assignment in enumerate(np.asarray(assignments, np.int32)):
        confidence = confidences[now].astype(np.float32)
        columns = {
            "assignment": assignment,
            "confidence": confidence,
            "sample_entropy": entropies[now].astype(np.float32),
            "top_classes": np.stack([assignment, (assignment + 1) % num_classes], 1),
            "top_probs": np.stack([confidence, 1 - confidence], 1),
            "features": np.zeros((num_samples, 4), np.float16),
            "mean_probs": (np.bincount(assignment, minlength=num_classes) / num_samples).astype(np.float32),
        }
        if agreements is not None:
            columns["agreement"] = agreements[now].astype(np.float32)
        writer.snapshot(10 * now, float(now), columns, {})
    writer.close()
    return path


def add_snapshot(path: Path, step: int, like: Snapshot) -> None:
    """Another snapshot, by a second attempt that went on from the step before: like one that is there, a little on."""
    writer = RunWriter(path, 2)
    noise = np.random.default_rng(step).normal(0, 0.02, like.features.shape)
    names = ("assignment", "confidence", "sample_entropy", "top_classes", "top_probs", "mean_probs")
    columns = {name: getattr(like, name) for name in names}
    columns["features"] = (like.features + noise).astype(np.float16)
    writer.event("start", step=step - 1, from_step=step - 1)
    writer.snapshot(step, float(step), columns, {})
    writer.close()


def read(path: Path) -> RunRecord:
    """A run's record, as far as it is written."""
    record = RunRecord(path)
    record.poll()
    return record


def cut(path: Path, step: int) -> Path:
    """The run as it was at a step: later events are taken out of its log."""
    for segment in (path / "events").glob("*.jsonl"):
        lines = segment.read_bytes().splitlines(keepends=True)
        events = [parse_line(line) for line in lines]
        kept = [line for line, event in zip(lines, events, strict=True) if event and event["step"] <= step]
        segment.write_bytes(b"".join(kept))
    for end in (path / "attempts").glob("*/end.json"):
        end.unlink()
    return path


def facts(*shortcuts: Shortcut, **changes: Any) -> Facts:
    """A healthy run of 100 classes at step 500 of 1,000, with changes to its facts; ``recipe`` may be a dictionary.

    Its newest snapshots show the shortcuts, newest first.
    """
    recipe = changes.pop("recipe", {})
    if isinstance(recipe, dict):
        recipe = Recipe().replace(network__num_classes=100, optim__batch_size=256, **recipe)
    num_classes, batch_size = recipe.network.num_classes, changes.get("batch_size", recipe.optim.batch_size)
    top = bounds.marginal_entropy_top(num_classes)
    values = {
        "step": 500,
        "total_steps": 1000,
        "warmup_steps": 20.0,
        "end_reason": None,
        "recipe": recipe,
        "num_classes": num_classes,
        "batch_size": batch_size,
        "num_watch": 300,
        "top": top,
        "cap": bounds.mutual_information_cap(batch_size, num_classes),
        "floor": sharpness_floor(num_classes),
        "consistency": 0.1,
        "sharpness": 0.1 * top + sharpness_floor(num_classes),
        "diversity": 0.99 * top,
        "start_information": 0.1 * top,
        "agreement": 0.9,
        "row_std": 1.0,
        "live_classes": float(num_classes),
        "largest_share": 0.05,
        "start": {},
        "watch": {},
        "stability": 0.9,
        "gradient_shares": {},
        "nonfinite": (),
        "trained_snapshots": tuple(range(1, len(shortcuts) + 1)),
        "shortcut_of": lambda step: shortcuts[-step],
    }
    return Facts(**{**values, **changes})


def _images(truth: np.ndarray, rng: np.random.Generator, *, lit: bool) -> np.ndarray:
    """A bright bar on noise, whose place tells the label; with ``lit`` the brightness of the whole image tells it."""
    images = rng.integers(0, 20, (len(truth), 1, 8, 8))
    for image, label in zip(images[:, 0], truth, strict=True):
        if lit:
            image += 20 * label
        elif label < 6:
            image[1 + label] += 200
        else:
            image[:, label - 5] += 200
    return images.astype(np.uint8)


def _terms(kind: str, share: float, num_classes: int, rng: np.random.Generator) -> dict[str, float]:
    top, floor = np.log(num_classes), sharpness_floor(num_classes)
    # Behind the final norm no batch gets below the floor: 1.15 nats is a good end for ten classes, 2.0 a start.
    sharp = floor + (top - floor) * (0.75 - 0.70 * share)
    noise = 0.01 * rng.standard_normal()
    by_kind = {
        "healthy": (sharp, top - 0.01, 0.8 - 0.7 * share, 0.2 + 0.75 * share, 0.95),
        "uniform": (top - 0.5 + 0.499 * share, top, 0.8 * (1 - share), 0.15, 1 - 0.99 * share),
        "one-class": (max(0.01, (top - 0.5) * (1 - share)), max(0.02, top * (1 - share)), 0.1, 0.9, 2.0),
        "partial": (0.5, top - (top - 0.6) * share, 0.2, 0.85, 2.0),
        "inconsistent": (sharp, top - 0.01, 1 + 2 * share, 0.2, 1.0),
        "not-finite": (top - 0.5, top, 0.8 if share < 0.9 else float("nan"), 0.2, 1.0),
        "early": (top - 0.5, top, 0.8, 0.2, 1.0),
        "noise": (sharp, top - 0.01, 0.1, 0.95, 1.0),
    }
    sharpness, diversity, consistency, agreement, row_std = by_kind.get(kind, by_kind["healthy"])
    sharpness = max(0.0 if kind in ("uniform", "one-class", "partial") else floor, sharpness + noise)
    return {
        "train/total": consistency + sharpness - diversity,
        "train/consistency": consistency,
        "train/sharpness": sharpness,
        "train/diversity": diversity,
        "train/mutual_information": diversity - sharpness,
        "train/agreement": agreement,
        "train/row_std": row_std,
        "train/column_std": 1.0,
        "train/feature_std": 0.4,
        "train/effective_rank": 20.0,
        "train/class_perplexity": float(np.exp(diversity)),
        "train/sample_perplexity": float(np.exp(sharpness)),
        "train/dead_classes": 0,
        "train/largest_class_share": 0.95 if kind == "one-class" else 0.15,
        "train/learning_rate": 1e-3 * (1 - share),
        "train/images_per_s": 4000.0 + 100 * noise,
    }


def _columns(kind, share, truth, num_classes, rng) -> dict[str, np.ndarray]:
    count = len(truth)
    strength = {"uniform": 0.01, "one-class": 1.0, "early": 0.5, "noise": 8.0}.get(kind, 0.5 + 4 * share)
    logits = 0.7 * rng.standard_normal((count, num_classes))
    target = {"one-class": np.zeros_like(truth), "partial": truth % 2}.get(kind, truth)
    if kind == "noise":
        target = rng.permutation(truth)
    logits *= 0.01 if kind == "uniform" else 1
    logits[np.arange(count), target] += 8 * share if kind == "one-class" else strength
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    order = np.argsort(-probs, 1)[:, : min(3, num_classes)]
    centers = np.random.default_rng(1).standard_normal((10, 16))
    features = centers[truth] * (0.3 + share) + 0.5 * rng.standard_normal((count, 16))
    if kind == "low-rank":
        features[:, 1:] *= (1 - share) ** 4
    return {
        "assignment": order[:, 0].astype(np.int32),
        "confidence": probs.max(1).astype(np.float32),
        "sample_entropy": (-probs * np.log(np.maximum(probs, 1e-12))).sum(1).astype(np.float32),
        "top_classes": order.astype(np.int32),
        "top_probs": np.take_along_axis(probs, order, 1).astype(np.float32),
        "features": features.astype(np.float16),
        "mean_probs": probs.mean(0).astype(np.float32),
    }


def _late_columns(columns: dict[str, np.ndarray], *, first: bool) -> dict[str, np.ndarray]:
    agreement = columns["confidence"].copy()
    agreement[-1] = np.nan  # never visited
    spectrum = np.linalg.svd(columns["features"].astype(np.float32), compute_uv=False)
    return {
        "agreement": np.full_like(agreement, np.nan) if first else agreement,
        "feature_spectrum": (spectrum / spectrum.sum())[:64].astype(np.float32),
    }


def _epoch_samples(columns: dict[str, np.ndarray]) -> np.ndarray:
    samples = np.zeros(len(columns["assignment"]), EPOCH_SAMPLES)
    samples["sample_entropy"] = columns["sample_entropy"]
    samples["assignment"] = columns["assignment"]
    samples["agreement"] = columns["confidence"] > 0.5
    samples[-1] = (np.nan, -1, NOT_VISITED)
    return samples


def _summary(columns: dict[str, np.ndarray]) -> dict[str, float]:
    mean = columns["mean_probs"].astype(np.float64)
    usage = np.bincount(columns["assignment"], minlength=len(mean)) / len(columns["assignment"])
    conditional = float(columns["sample_entropy"].mean())
    features = columns["features"].astype(np.float64)
    marginal = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
    return {
        "watch/conditional_entropy": conditional,
        "watch/marginal_entropy": marginal,
        "watch/mutual_information": marginal - conditional,
        "watch/class_perplexity": float(np.exp(marginal)),
        "watch/sample_perplexity": float(np.exp(conditional)),
        "watch/dead_classes": int((usage == 0).sum()),
        "watch/largest_class_share": float(usage.max()),
        "watch/effective_rank": _rank(features),
        "watch/centered_rank": _rank(features - features.mean(0)),
        "watch/feature_std": 0.4,
    }


def _rank(features: np.ndarray) -> float:
    singular = np.linalg.svd(features, compute_uv=False)
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def make_result(**changes) -> Result:
    """A result of an evaluation as `twist evaluate` records it, with fields changed."""
    values: dict = {
        "protocol": "knn",
        "settings": {"k": [10, 20], "temperature": None},
        "model": ModelFacts("mine @ step 140", "run", "0123456789abcdef", {"run": "mine", "step": 140}),
        "known": ImageFacts("digits", "80 % (seed 0)", 1438, "aaaa", 10),
        "asked": ImageFacts("digits", "20 % held out (seed 0)", 359, "bbbb", 10),
        "how": "digits has no test part.",
        "overlap": Overlap(0, 0.0),
        "seeds": (),
        "scores": {"accuracy_k10": (0.9,), "accuracy_k20": (0.8,)},
        "seconds": 1.5,
        "notes": ("Nothing was augmented.",),
        "hardware": {"processor": "one", "threads": 1},
        "versions": {"torch": "2"},
        "command": "twist evaluate mine",
        "created": "2026-11-25T10:00:00+00:00",
    }
    return Result(**{**values, **changes})
