"""Run folders made without training, for tests of everything that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twist.runs.bounds import sharpness_floor
from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import EPOCH_SAMPLES, NOT_VISITED, RunWriter

KINDS = ("healthy", "uniform", "one-class", "partial", "inconsistent", "not-finite", "early")
#: Kinds that only histories tell: "noise" is sharp and diverse, and gives every image another class at each snapshot.
HISTORY_KINDS = ("noise",)


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
    tile = np.add.outer(np.arange(8), np.arange(8))[None, None]
    images = np.clip(tile * 8 + truth[:, None, None, None] * 12 + rng.integers(0, 20, (num_samples, 1, 8, 8)), 0, 255)
    if label_names is None:
        label_names = [f"kind {i}" for i in range(10)]
    writer.watch(
        images.astype(np.uint8),
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
        import json

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


def _terms(kind: str, share: float, num_classes: int, rng: np.random.Generator) -> dict[str, float]:
    top, floor = np.log(num_classes), sharpness_floor(num_classes)
    # Behind the final norm no batch gets below the floor: 1.15 nats is a good end for ten classes, 2.0 a start.
    sharp = floor + (top - floor) * (0.75 - 0.70 * share)
    noise = 0.01 * rng.standard_normal()
    sharpness, diversity, consistency, agreement, row_std = {
        "healthy": (sharp, top - 0.01, 0.8 - 0.7 * share, 0.2 + 0.75 * share, 0.95),
        "uniform": (top - 0.5 + 0.499 * share, top, 0.8 * (1 - share), 0.15, 1 - 0.99 * share),
        "one-class": (max(0.01, (top - 0.5) * (1 - share)), max(0.02, top * (1 - share)), 0.1, 0.9, 2.0),
        "partial": (0.5, top - (top - 0.6) * share, 0.2, 0.85, 2.0),
        "inconsistent": (sharp, top - 0.01, 1 + 2 * share, 0.2, 1.0),
        "not-finite": (top - 0.5, top, 0.8 if share < 0.9 else float("nan"), 0.2, 1.0),
        "early": (top - 0.5, top, 0.8, 0.2, 1.0),
        "noise": (sharp, top - 0.01, 0.1, 0.95, 1.0),
    }[kind]
    sharpness = max(floor if kind in ("healthy", "inconsistent", "noise") else 0.0, sharpness + noise)
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
    marginal = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
    return {
        "watch/conditional_entropy": conditional,
        "watch/marginal_entropy": marginal,
        "watch/mutual_information": marginal - conditional,
        "watch/class_perplexity": float(np.exp(marginal)),
        "watch/sample_perplexity": float(np.exp(conditional)),
        "watch/dead_classes": int((usage == 0).sum()),
        "watch/largest_class_share": float(usage.max()),
        "watch/effective_rank": 9.0,
        "watch/feature_std": 0.4,
    }
