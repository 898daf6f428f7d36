"""One model asked by every protocol: its features are computed once, and every answer becomes a record."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twist.learn.evaluation.circumstances import hardware, versions
from twist.learn.evaluation.giving_way import giving_way
from twist.learn.evaluation.protocols import Said, ask, check_protocols, joined, why_not
from twist.learn.evaluation.subject import Subject, image_facts, overlap_of, supervised_facts
from twist.learn.image_model import Model
from twist.runs.config import ConfigError, DataConfig
from twist.runs.folders import run_named
from twist.runs.handle import Run
from twist.runs.results import Result, check_place, write_result
from twist.runs.status import read_status

#: What is asked when nothing else is said.
STANDARD = ("knn", "linear", "classes", "kmeans")
#: Protocols that know no label.
UNLABELED = ("classes", "kmeans")


@dataclass(frozen=True)
class Evaluation:
    """What became of one model's evaluation.

    Attributes
    ----------
    results
        The records, in the order of the protocols, where they were written.
    left_out
        Protocols that cannot be asked of this model, and why.
    """

    results: list[Result]
    left_out: dict[str, str]


def evaluate(
    source: str | os.PathLike[str] | Run | Model,
    protocols: str | Sequence[str] | None = None,
    *,
    data: str | DataConfig | None = None,
    test: str | DataConfig | None = None,
    seeds: Sequence[int] = (0,),
    fraction: int | float = 0.01,
    max_images: int | None = None,
    device: str = "auto",
    command: str | None = None,
    on_progress: Said | None = None,
) -> list[Result]:
    """Ask a model by some protocols, and record every answer.

    A run may be training: its folder is only read, but for new files in ``evaluations`` and ``features``, and the work
    is done in a thread that leaves the processor to the trainer.

    Parameters
    ----------
    source
        A run (name, path, handle; ``mine@340`` at that step), ``random:mine``, a checkpoint file, ``timm:NAME``,
        ``torchvision:NAME``, ``pixels``, an ``.npz`` of features, or a model as `twist.load_model` gives it.
    protocols
        Names with commas or a list of them: knn, linear, linear-sgd, finetune, supervised, classes, kmeans. None asks
        the first four of those in `STANDARD` that the model can answer.
    data
        Images: a named set, a folder or an ``.npz`` file. None means those that a run learned from.
    test
        Images that are asked about, where they are not the test part of ``data`` or a part of it held out.
    seeds
        Seeds of what is drawn by chance: starts of k-means, weights and order of trained layers, subsets of labels, and
        the weights of ``random:`` models.
    fraction
        Share of the known labels that fine-tuning may use, above 0 and at most 1.
    max_images
        Largest number of known and of asked images.
    device
        Where to compute: auto, cpu, cuda, cuda:N or mps.
    command
        What the record says was typed; None spells out an equal ``twist evaluate``.
    on_progress
        Called with what is under way, how much of it is done, and how much there is; an exception in it ends the
        evaluation, and what was recorded by then stays.

    Returns
    -------
    list of Result
        One for each protocol.

    Raises
    ------
    ConfigError
        When a protocol is unknown or cannot be asked of this model, or images, labels or weights are not there: one
        sentence with the thing and the fix.

    Examples
    --------
    ::

        knn, linear = twist.evaluate("mine", ["knn", "linear"])
        knn.scores["accuracy_k10"]
        twist.results("mine")
    """

    def work(look: Callable[[], None]) -> Evaluation:
        def say(what: str, done: int, total: int) -> None:
            look()
            if on_progress is not None:
                on_progress(what, done, total)

        return evaluation(
            source,
            protocols,
            data=data,
            test=test,
            seeds=seeds,
            fraction=fraction,
            max_images=max_images,
            device=device,
            command=command,
            on_progress=say,
        )

    return (giving_way(work) if _is_training(source) else work(lambda: None)).results


def evaluation(
    source: str | os.PathLike[str] | Run | Model,
    protocols: str | Sequence[str] | None = None,
    *,
    data: str | DataConfig | None = None,
    test: str | DataConfig | None = None,
    seeds: Sequence[int] = (0,),
    fraction: int | float = 0.01,
    max_images: int | None = None,
    device: str = "auto",
    command: str | None = None,
    on_progress: Said | None = None,
    on_result: Callable[[Result], object] | None = None,
) -> Evaluation:
    """As `evaluate`, with what was left out; ``on_result`` is called with every record as soon as it is written."""
    asked_for, seeds = check_protocols(protocols), _check_seeds(seeds)
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is {fraction}: give a share of the known labels above 0 and at most 1, as in 0.01")
    chosen = asked_for or STANDARD
    say = on_progress or (lambda what, done, total: None)
    subject = Subject(source, data, test, seeds, max_images)
    check_place(subject.run_folder)
    askings = subject.askings(fraction, device, say)
    left_out = {name: reason for name in chosen if (reason := why_not(name, askings[0]))}
    if left_out and (asked_for or len(left_out) == len(chosen)):
        raise ConfigError(next(iter(left_out.values())))
    overlap = overlap_of(askings[0], say)
    spelled = command or _spelled(subject.title, asked_for, data, test, seeds, fraction, max_images)
    found = []
    for name in (name for name in chosen if name not in left_out):
        began, before = time.perf_counter(), sum(asking.feature_seconds for asking in askings)
        answer = joined([ask(name, asking) for asking in askings])
        of_features = sum(asking.feature_seconds for asking in askings)
        known = image_facts(askings[0].sets.known) if name not in UNLABELED else None
        result = Result(
            protocol=name,
            settings=answer.settings,
            model=supervised_facts(askings[0]) if name == "supervised" else subject.facts(askings),
            known=known,
            asked=image_facts(askings[0].sets.asked),
            how=askings[0].sets.how,
            overlap=overlap if known else None,
            seeds=seeds if subject.drawn else answer.seeds,
            scores=answer.scores,
            seconds=round(max(0.0, time.perf_counter() - began - of_features + before), 4),
            feature_seconds=round(of_features, 4),
            notes=(*subject.notes, *answer.notes, *askings[0].feature_notes),
            hardware=hardware(askings[0].device),
            versions=versions(),
            command=spelled,
        )
        found.append(write_result(result, subject.run_folder))
        if on_result is not None:
            on_result(found[-1])
    return Evaluation(found, left_out)


def _is_training(source: str | os.PathLike[str] | Run | Model) -> bool:
    """Whether a process works on the run that is asked about."""
    if isinstance(source, Model):
        return False
    path = run_named(str(source.path) if isinstance(source, Run) else os.fspath(source))
    return path is not None and read_status(path).alive


def _check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    given = tuple(seeds)
    wrong = next((seed for seed in given if not isinstance(seed, int) or not 0 <= seed < 2**31), None)
    if wrong is not None or not given or len(set(given)) < len(given):
        what = f"{wrong!r} among them" if wrong is not None else "none" if not given else "one of them twice"
        raise ConfigError(f"seeds are {list(given)}, {what}: give different whole numbers from 0, as in 0,1,2")
    return given


def _spelled(
    title: str,
    protocols: Sequence[str],
    data: str | DataConfig | None,
    test: str | DataConfig | None,
    seeds: tuple[int, ...],
    fraction: int | float,
    max_images: int | None,
) -> str:
    """The command that asks the same."""
    words = ["twist", "evaluate", title]
    words += ["--protocol", ",".join(protocols)] if protocols else []
    for option, source in (("--data", data), ("--test", test)):
        if source is not None:
            words += [option, source.source if isinstance(source, DataConfig) else os.fspath(source)]
    words += ["--fraction", f"{fraction:g}"] if "finetune" in protocols else []
    words += ["--seeds", ",".join(map(str, seeds))] if seeds != (0,) else []
    limit = max_images if max_images is not None else data.max_images if isinstance(data, DataConfig) else None
    words += ["--max-images", str(limit)] if limit is not None else []
    return shlex.join(words)
