"""What a lesson page holds of one run: its way through the plane, its images' classes through time, turns, verdicts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from twist.runs.class_histories import names_followed
from twist.runs.config import Recipe, field_value
from twist.runs.outputs import output_steps, read_outputs
from twist.runs.record import RunRecord
from twist.runs.store import RecordError
from twist.runs.turns import ONE_PULL, Turn, strength_of, turns_of, with_turns
from twist.runs.verdict import verdict_history
from twist.runs.watched import Watch
from twist.view.explorer_history import choose_steps
from twist.view.explorer_tables import as_bytes
from twist.view.verdicts import sign

#: Classes of an image that are kept of a frame; the rest of its probability is spread evenly over all others.
MOST_CLASSES = 8
#: Frames through time, points of the curves, and verdicts; images, and images times classes, so that a page draws.
MOST_FRAMES, MOST_POINTS, MOST_VERDICTS = 90, 1200, 80
MOST_IMAGES, MOST_PROBS = 2000, 400_000
_MOST_RAW = 24_000_000  # bytes of one column before it is packed
_CURVES = ("consistency", "sharpness", "diversity", "total", "agreement")
_LEVELS = {"✓": "good", "▲": "bad", "…": "open"}


class Frames(NamedTuple):
    """What the network said of every image of a lesson, at some steps.

    Attributes
    ----------
    kind
        ``outputs``: the mean of the two augmented views at an image's last visit; or ``snapshots``: the image as it
        is.
    steps
        The steps, ascending.
    read
        Of one of them: classes ``[M, K]`` or None for all of them in order, their probabilities ``[M, K]`` in 0 to 1,
        and entropies ``[M]`` in nats; NaN of an image that was not seen by then.
    """

    kind: str
    steps: list[int]
    read: Callable[[int], tuple[np.ndarray | None, np.ndarray, np.ndarray]]


def chosen_rows(watches: Sequence[Watch | None], num_classes: int, *, most: int = MOST_IMAGES) -> list[np.ndarray]:
    """Rows of the watch images that a lesson shows, for each run: the same images where the runs watch the same.

    At most so many, and so few that all of their distributions can be drawn; a fixed choice, in the runs' own order.
    """
    most = max(1, min(most, MOST_PROBS // max(1, num_classes)))
    there = [watch for watch in watches if watch is not None]
    same = len(there) == len(watches) > 1 and all(
        len(watch) == len(there[0]) and np.array_equal(watch.sample_ids, there[0].sample_ids) for watch in there
    )
    common = None
    if len(there) == len(watches) > 1 and not same:
        shared = np.intersect1d(there[0].sample_ids, there[1].sample_ids)
        common = shared if len(shared) >= 0.5 * min(map(len, there)) else None
    rows = []
    for watch in watches:
        own = np.arange(0 if watch is None else len(watch))
        if common is not None and watch is not None:
            own = np.flatnonzero(np.isin(watch.sample_ids, common))
        if len(own) > most:
            own = np.sort(np.random.default_rng(0).choice(own, most, replace=False))
        rows.append(own)
    return rows


def frames_of(record: RunRecord, watch: Watch | None, rows: np.ndarray) -> Frames | None:
    """The frames of a run: its outputs where it kept them, else its snapshots; None where it has neither."""
    if watch is None or not len(rows):
        return None
    newest = max((event.get("step", 0) for event in record.events), default=0)
    steps = [step for step in output_steps(record.path) if step <= newest]
    of_set = _rows_of_set(record, watch, rows, steps)
    if len(steps) > 1 and of_set is not None:
        return Frames("outputs", steps, lambda step: _outputs(record, step, of_set))
    steps = record.snapshot_steps()
    return Frames("snapshots", steps, lambda step: _snapshot(record, step, rows)) if steps else None


def _rows_of_set(record: RunRecord, watch: Watch, rows: np.ndarray, steps: list[int]) -> np.ndarray | None:
    """Rows of the outputs in which the images stand; None where that is not known."""
    if not steps:
        return None
    try:
        count = len(read_outputs(record.path, steps[-1]))
    except RecordError:
        return None
    if len(watch) == count:
        return rows
    ids = np.asarray(watch.sample_ids)[rows]
    return ids if len(ids) and ids.min() >= 0 and ids.max() < count else None


def _outputs(record: RunRecord, step: int, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    probs = read_outputs(record.path, step)[rows].astype(np.float32)
    total = probs.sum(1, keepdims=True)
    seen = total[:, 0] > 0
    probs = np.divide(probs, total, out=np.zeros_like(probs), where=total > 0)
    entropy = np.where(seen, -(probs * np.log(np.maximum(probs, 1e-12))).sum(1), np.nan)
    if probs.shape[1] <= MOST_CLASSES:
        return None, probs, entropy
    top = np.argsort(-probs, 1, kind="stable")[:, :MOST_CLASSES]
    return top, np.take_along_axis(probs, top, 1), entropy


def _snapshot(record: RunRecord, step: int, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    found = record.snapshot(step)
    top, probs = np.asarray(found.top_classes)[rows], np.asarray(found.top_probs, np.float32)[rows]
    entropy = np.asarray(found.sample_entropy, np.float32)[rows]
    if top.shape[1] < found.num_classes:
        return top, probs, entropy
    whole = np.zeros((len(rows), found.num_classes), np.float32)
    np.put_along_axis(whole, top, probs, 1)
    return None, whole, entropy


def frames_table(
    frames: Frames, num_classes: int, must: Sequence[int], budget: int, *, num_heads: int = 1
) -> dict[str, Any]:
    """The frames as a page holds them: packed columns of bytes, as many frames as their budget of bytes allows.

    Parameters
    ----------
    frames
        What there is.
    num_classes
        C.
    must
        Steps near which frames should be kept, those of turns.
    budget
        Bytes of the packed columns, at most.
    num_heads
        Where there are several, the one that speaks may change: earlier classes then get the names of the newest.

    Returns
    -------
    dict
        Empty where no frame can be read. ``probs`` uint8 ``[F, M, K]`` in 255ths, ``classes`` uint8 or uint16 of the
        same shape or empty for all classes in order, ``entropy`` uint8 ``[F, M]`` in 254ths of log C, 255 unknown;
        each packed by zlib. ``said`` are sentences on what was left out.
    """
    most, read, damaged = MOST_FRAMES, dict[int, Any](), list[str]()
    while True:
        steps = _near(frames.steps, most, must)
        for step in (step for step in steps if step not in read):
            try:
                read[step] = frames.read(step)
            except RecordError as error:
                read[step] = None
                damaged.append(str(error))
            if read[step] is not None and read[step][1].size * len(steps) > _MOST_RAW:
                most = max(2, int(most * 0.6))
                break
        else:
            whole = [step for step in steps if read[step] is not None]
            if not whole:
                return {}
            columns = [read[step] for step in whole]
            packed = _packed(_under_newest_names(columns, num_classes) if num_heads > 1 else columns, num_classes)
            size = sum(len(column) for column in packed.values())
            if size <= budget or len(whole) <= 2:
                break
            most = max(2, min(most - 1, int(len(whole) * 0.95 * budget / size)))
    shape = read[whole[0]][1].shape
    said = []
    if len(whole) < len(frames.steps):
        said.append(f"{len(whole)} of {len(frames.steps)} recorded moments are shown.")
    if damaged:
        said.append(f"A damaged one is left out: {damaged[0]}.")
    if num_heads > 1 and len(whole) > 1:
        said.append("Classes of earlier moments are matched to the newest by their images.")
    if shape[1] < num_classes:
        said.append(
            f"Of each image the {shape[1]} likeliest classes are kept; the rest is spread evenly over the others."
        )
    wide = num_classes > 256
    return {"kind": frames.kind, "steps": whole, "images": shape[0], "kept": shape[1], "wide": wide,
            "said": " ".join(said), **packed}  # fmt: skip


def _near(steps: list[int], most: int, must: Sequence[int]) -> list[int]:
    """Evenly chosen steps, and the last before and the first after each of some that matter, while there is room."""
    chosen = set(choose_steps(steps, most))
    for turn in must:
        before = [step for step in steps if step <= turn][-1:]
        after = [step for step in steps if step > turn][:1]
        if len(chosen) < most + 16:
            chosen.update(before + after)
    return sorted(chosen)


def _under_newest_names(read: list[Any], num_classes: int) -> list[Any]:
    likeliest = [probs.argmax(1) for _, probs, _ in read]
    assignments = np.stack(
        [
            best if classes is None else np.take_along_axis(classes, best[:, None], 1)[:, 0]
            for best, (classes, _, _) in zip(likeliest, read, strict=True)
        ]
    )
    renamed = []
    names = names_followed(assignments[::-1].astype(np.int64), num_classes)[::-1]
    for now, (classes, probs, entropy) in zip(names, read, strict=True):
        if classes is None:
            moved = np.zeros_like(probs)
            moved[:, now] = probs
            renamed.append((None, moved, entropy))
        else:
            renamed.append((now[classes], probs, entropy))
    return renamed


def _packed(read: list[Any], num_classes: int) -> dict[str, bytes]:
    probs = np.stack([each[1] for each in read])
    classes = [each[0] for each in read]
    entropy = np.stack([each[2] for each in read]) / (math.log(num_classes) if num_classes > 1 else 1.0)
    known = np.isfinite(entropy)
    shares = np.where(known, np.round(np.clip(np.where(known, entropy, 0), 0, 1) * 254), 255)
    columns = {
        "probs": as_bytes(np.round(np.clip(probs, 0, 1) * 255), np.uint8),
        "classes": b""
        if classes[0] is None
        else as_bytes(np.stack(classes), np.uint16 if num_classes > 256 else np.uint8),
        "entropy": as_bytes(shares, np.uint8),
    }
    return {name: zlib.compress(column, 9) if column else b"" for name, column in columns.items()}


# ---------------------------------------------------------------------------------------------------------------------
# The way through the plane


def way_table(record: RunRecord, must: Sequence[int] = ()) -> dict[str, Any]:
    """Loss terms of the training batches through time, nats: evenly thinned, packed float32 columns."""
    table = record.metrics()
    names = [name for name in _CURVES if f"train/{name}" in table]
    if not len(table) or not {"sharpness", "diversity"} <= set(names):
        return {}
    steps = table.index.to_numpy()
    rows = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).round().astype(int))
    turns = np.searchsorted(steps, np.asarray(must, int), side="right") - 1
    rows = np.union1d(rows, np.clip(np.concatenate([turns, turns + 1]), 0, len(steps) - 1).astype(int))
    columns = {"step": zlib.compress(as_bytes(steps[rows], np.int32), 9)}
    for name in names:
        values = table[f"train/{name}"]
        values = values.ffill() if name == "agreement" else values  # not measured at every step: it stays what it was
        values = values.to_numpy(np.float32)[rows]
        columns[name] = zlib.compress(as_bytes(values, np.float32), 9)
    said = f"{len(rows):,} of {len(steps):,} logged steps are drawn." if len(rows) < len(steps) else ""
    return {"points": len(rows), "said": said, **columns}


# ---------------------------------------------------------------------------------------------------------------------
# Turned knobs and verdicts


def turn_tables(record: RunRecord) -> list[dict[str, Any]]:
    """Turned knobs in words: step, what was turned, and what the loss and the plane depend on from there on.

    Turns of the same fields in quick succession, as a hand makes that pulls a slider, are one.
    """
    pulls = list[list[Turn]]()
    for turn in turns_of(record):
        last = pulls[-1][-1] if pulls else None
        if last is not None and turn.step - last.step <= ONE_PULL and set(turn.changes) == set(last.changes):
            pulls[-1].append(turn)
        else:
            pulls.append([turn])
    found, after = list[dict[str, Any]](), record.recipe
    for pull in pulls:
        before, after = after, with_turns(after, pull)
        words = turn_words(pull[-1], before, after, record.recipe)
        found.append({"step": pull[0].step, "words": words, **knobs_of(after)})
    return found


def knobs_of(recipe: Recipe) -> dict[str, Any]:
    """What the pictures need of a recipe."""
    return {
        "temperature": float(recipe.objective.temperature),
        "weights": {name: float(getattr(recipe.objective, f"{name}_weight")) for name in _CURVES[:3]},
        "rate": float(recipe.optim.learning_rate),
    }


def turn_words(turn: Turn, before: Recipe, after: Recipe, base: Recipe) -> str:
    """What was turned, as in ``sharpness weight 1 → 0``; many ranges of the views that one dial moves are one."""
    fields = sorted(turn.changes, key=list(turn.changes).index)
    words = []
    views = [name for name in fields if name.startswith("views.")]
    if len(views) > 1:
        was, now = strength_of(before.views, base.views), strength_of(after.views, base.views)
        if was is not None and now is not None:
            words.append(f"strength of the views {was:g} → {now:g}")
            fields = [name for name in fields if name not in views]
    for name in fields:
        leaf = name.rpartition(".")[2].replace("_", " ")
        words.append(f"{leaf} {_spell(field_value(before, name))} → {_spell(field_value(after, name))}")
    return ", ".join(words)


def _spell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_spell, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def verdict_tables(record: RunRecord) -> list[dict[str, Any]]:
    """What could be said of the run while it went on, oldest first: sign, title, sentence, cause and cure."""
    return [
        {
            "step": found.step,
            "kind": found.kind,
            "level": _LEVELS[sign(found.kind)],
            "sign": sign(found.kind),
            "title": found.title,
            "sentence": found.sentence,
            "why": found.causes[0] if found.causes else "",
            "cure": found.advice,
        }
        for found in verdict_history(record, MOST_VERDICTS)
    ]
