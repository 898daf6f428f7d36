"""A trained network answering questions about one image, in a process of its own: ``python -m twist.learn.probe RUN``.

Questions come on stdin and answers go to stdout, as `twist.runs.frames` writes them; `twist.runs.probing` is the other
end. The process computes on the CPU at low priority, keeps its network in memory, ends with whoever started it or
after some idle time, and never writes: not in the run folder, nor elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from twist.learn import datasets, information
from twist.learn.checkpoints import checkpoint_folders, newest_sound
from twist.learn.handover import network_of_run
from twist.learn.own_code import load_own
from twist.learn.two_views import Subject, pair_of_views, sensitivity
from twist.runs.answering import error_message
from twist.runs.config import ConfigError, Recipe, ViewsConfig, with_fields
from twist.runs.frames import FrameError, read_frame, write_frame
from twist.runs.frozen import refuse_frozen
from twist.runs.named_sets import NAMED_SETS
from twist.runs.record import RunRecord
from twist.runs.sheets import ContactSheets, thumbnails_of
from twist.runs.sources import find_source
from twist.runs.store import RecordError, read_manifest, step_folder
from twist.runs.turns import recipe_of_state
from twist.runs.watched import Watch

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]
IDLE_S = 1800.0


class Images:
    """The watch images of a run: from its source, or where that has moved, from the thumbnails in its record.

    Attributes
    ----------
    origin
        ``source`` or ``thumbnails``.
    note
        Why they are not those of the source; empty when they are.
    """

    def __init__(self, path: Path, recipe: Recipe, watch: Watch):
        self.watch = watch
        self.origin, self.note = "source", ""
        self._pixels: Tensor | None = None
        try:
            self._pixels = _pixels_of(path, recipe, watch)
        except ConfigError as error:
            self.origin, self.note = "thumbnails", self._apology(recipe, str(error))
            self._sheets = ContactSheets.of(watch)

    def _apology(self, recipe: Recipe, reason: str) -> str:
        kept = "reduced and compressed: numbers differ a little"
        if self.watch.sheets and self.watch.sheets[0].suffix == ".png":
            kept = "with every pixel"
        return (
            f"The images of {recipe.data.source} cannot be used ({reason}): these are the record's thumbnails, {kept}."
        )

    def image(self, row: int) -> UInt8[Tensor, "1 ch H W"]:
        """One watch image."""
        if not 0 <= row < len(self.watch):
            raise ConfigError(f"image {row} is not watched: give a row from 0 to {len(self.watch) - 1}")
        if self._pixels is not None:
            return self._pixels[row : row + 1]
        return torch.from_numpy(thumbnails_of(self._sheets, [row])).permute(0, 3, 1, 2)


def _pixels_of(path: Path, recipe: Recipe, watch: Watch) -> UInt8[Tensor, "M ch H W"]:
    """The watch images as the source of the recipe has them; ConfigError when they are not there, or are others."""
    data = dataclasses.replace(recipe.data, download=False)
    found, named = find_source(data, run_folder=path), NAMED_SETS.get(data.source)
    if (found is not None and found.is_dir()) or (named is not None and named.image_size is not None):
        data = dataclasses.replace(data, keep="decode")  # a few images out of maybe a million, and no cache is written
    images = datasets.load(data, run_folder=path)
    known = RunRecord(path).images_fingerprint
    if known is not None and not images.has_fingerprint(known):
        raise ConfigError(f"they are others than when the run began, {images.fingerprint} and not {known}")
    rows = torch.from_numpy(np.array(watch.sample_ids))
    if len(rows) and int(rows.max()) >= len(images):
        raise ConfigError(f"there are {len(images):,}, and image {int(rows.max()):,} was watched")
    return images.images[rows]


class Probe:
    """A run's network at one checkpoint, and the images it is asked about.

    Parameters
    ----------
    path
        The run folder.
    step
        Step of the checkpoint; none means the newest sound one.
    say
        Called with what is under way while the probe gets ready.
    """

    def __init__(self, path: Path, step: int | None = None, say: Callable[[str], object] = lambda _: None):
        self.path = path
        self.record = RunRecord(path)
        self.recipe = self.record.recipe
        self.subject: Subject
        self.step = -1
        say("loading the network")
        self.load(step)
        watch = self.record.watch()
        if watch is None:
            self.record.poll()
            again = "put them back" if self.record.last("snapshot") else "wait for its first snapshot"
            raise ConfigError(f"the watch images of {path.name} are not there: {again}")
        say(f"loading the images of {self.recipe.data.source}")
        self.images = Images(path, self.recipe, watch)

    def load(self, step: int | None) -> None:
        """Take the network of a checkpoint, none meaning the newest sound one."""
        refuse_frozen(self.path, "probed")
        folder = newest_sound(self.path) if step is None else self.path / "checkpoints" / step_folder(step)
        if folder is not None and step is not None and folder not in (kept := checkpoint_folders(self.path)):
            steps = ", ".join(f"{int(path.name[5:]):,}" for path in kept) or "none"
            raise ConfigError(f"{self.path.name} keeps no checkpoint of step {step:,}: there are {steps}")
        if folder is None and checkpoint_folders(self.path):
            raise ConfigError(f"no checkpoint of {self.path.name} is whole: resume the run to write another")
        if folder is not None and step is not None:
            try:
                read_manifest(folder, verify=True)
            except RecordError as error:
                raise ConfigError(f"{self.path.name}: {error}; choose another checkpoint") from error
        network = network_of_run(self.path, folder)
        assert folder is not None  # network_of_run says so otherwise
        self.step = int(folder.name.removeprefix("step-"))
        self.recipe = recipe_of_state(self.record, self.step)
        extra = self.recipe.views.extra
        self.subject = Subject(
            network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            self.recipe,
            None if extra is None else load_own(extra, run_folder=self.path),
        )

    def answer(self, question: dict[str, Any]) -> Answer:
        """The answer to one question, by its ``ask``: facts, load, views or sensitivity.

        Raises
        ------
        ConfigError
            For a question that cannot be answered: a field's value, an image, a checkpoint.
        """
        asked = question.get("ask")
        if asked == "load":
            step = question.get("step")
            self.load(None if step is None else int(step))
            return self.facts(), {}
        if asked == "facts":
            return self.facts(), {}
        if asked == "views":
            return self._views(question)
        if asked == "sensitivity":
            return self._sensitivity(question)
        raise ConfigError(f"the probe was asked {asked!r}: it answers facts, load, views and sensitivity")

    def facts(self) -> dict[str, Any]:
        """What holds for every answer."""
        weights = [p for p in self.subject.network.state_dict().values() if p.ndim == 4]
        return {
            "step": self.step,
            "num_classes": self.recipe.network.num_classes,
            "temperature": self.recipe.objective.temperature,
            "images": len(self.images.watch),
            "channels": int(weights[0].shape[1]) if weights else 3,
            "origin": self.images.origin,
            "note": self.images.note,
            "threads": torch.get_num_threads(),
        }

    def _views(self, question: dict[str, Any]) -> Answer:
        row, began = int(question["row"]), time.process_time()
        pair = pair_of_views(
            self.subject,
            self.images.image(row),
            int(self.images.watch.sample_ids[row]),
            self._config(question),
            draw=int(question.get("draw", 0)),
            first_plain=bool(question.get("first_plain")),
        )
        said = {
            "step": self.step,
            "row": row,
            "processor_ms": 1000 * (time.process_time() - began),
            "drawn": pair.drawn,
            "corners": pair.corners.tolist(),
            **{name: _finite(getattr(pair, name)) for name in ("forward", "backward", "consistency")},
            "entropy": [_finite(nats) for nats in information.sample_entropy(pair.log_probs).tolist()],
            "image_size": list(self.images.image(row).shape[2:]),
        }
        arrays = {
            "image": self.images.image(row)[0].permute(1, 2, 0).numpy(),
            "pixels": pair.pixels.permute(0, 2, 3, 1).numpy(),
            "probs": pair.log_probs.exp().numpy(),
        }
        return said, arrays

    def _sensitivity(self, question: dict[str, Any]) -> Answer:
        row, name = int(question["row"]), str(question["augmentation"])
        draws = min(4096, max(1, int(question.get("draws", 64))))
        found = sensitivity(self.subject, self.images.image(row), self._config(question), name, draws=draws)
        said = {**found._asdict(), "divergence": _finite(found.divergence)}
        return {"step": self.step, "row": row, "augmentation": name, **said}, {}

    def _config(self, question: dict[str, Any]) -> ViewsConfig:
        fields = {f"views.{name}": value for name, value in (question.get("fields") or {}).items()}
        return with_fields(self.recipe, fields).views


def serve(
    path: Path, questions: IO[bytes], answers: IO[bytes], *, step: int | None = None, idle_s: float = IDLE_S
) -> int:
    """Answer until the questions end, or none has come for so long; every question gets one answer, or an error."""
    waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while (frame := read_frame(questions)) is not None:
                waiting.put(frame[0])
        except (FrameError, OSError):  # half a question of one who is gone
            pass
        waiting.put(None)

    threading.Thread(target=listen, name="questions", daemon=True).start()
    try:
        probe = Probe(path, step, lambda words: write_frame(answers, {"under_way": words}))
        choose_threads(probe)
        write_frame(answers, {"ready": True, **probe.facts()})
    except BrokenPipeError:
        return 0
    except Exception as error:
        write_frame(answers, {"ready": False, **error_message(error)})
        return 1
    while True:
        try:
            question = waiting.get(timeout=idle_s)
        except queue.Empty:
            return 0
        if question is None:
            return 0
        try:
            said, arrays = probe.answer(question)
        except Exception as error:  # the one who asked is told; the next question may be a better one
            said, arrays = error_message(error), {}
        try:
            write_frame(answers, {**said, "id": question.get("id")}, arrays)
        except BrokenPipeError:
            return 0


def choose_threads(probe: Probe) -> None:
    """Compute with one thread unless more are faster: three small images are not, beside a training that has its own.

    Asked by a few answers, the first of which sets up what later ones find ready.
    """
    question, most, best = {"ask": "views", "row": 0}, torch.get_num_threads(), dict[int, float]()
    probe.answer(question)
    for count in sorted({1, most}):
        torch.set_num_threads(count)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            probe.answer(question)
            times.append(time.perf_counter() - began)
        best[count] = min(times)
    torch.set_num_threads(most if best[most] < 0.8 * best[1] else 1)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def main(arguments: list[str] | None = None) -> int:
    """The process: what any library prints goes to stderr, so that stdout holds answers alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--step", type=int)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    options = parser.parse_args(arguments)
    # Streams of its own: the thread that waits for questions holds one, and Python must be able to close its stdin.
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(5)
    torch.set_flush_denormal(True)  # as training does
    return serve(options.run, questions, answers, step=options.step, idle_s=options.idle_s)


if __name__ == "__main__":
    sys.exit(main())
