"""Every protocol by its name: what it takes, what it answers, and what a reader of its numbers has to know."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from twist.learn.evaluation.clusters import classes
from twist.learn.evaluation.feature_arrays import FeatureSets
from twist.learn.evaluation.features import Features, features_of
from twist.learn.evaluation.finetune import finetune, paper_settings, small_settings
from twist.learn.evaluation.kmeans import KmeansSettings, kmeans
from twist.learn.evaluation.knn import KnnSettings, knn
from twist.learn.evaluation.linear import LinearSettings, linear
from twist.learn.evaluation.linear_sgd import VIT_BASE, VIT_SMALL, LinearSgdSettings, linear_sgd
from twist.learn.evaluation.sets import EvaluationSets
from twist.learn.evaluation.subsets import LabelSubset, share_of_labels, write_subset
from twist.learn.evaluation.supervised import train_supervised
from twist.learn.image_model import Model
from twist.runs.config import ConfigError, Recipe, nearest
from twist.runs.result_tables import PROTOCOLS
from twist.runs.results import EVALUATIONS, ModelFacts, results_root

Said = Callable[[str, int, int], None]
#: Views up to this side are small images: fine-tuning then takes settings of its own.
_SMALL = 64


_KNN = "Images are asked as they are, in one plain view; of several k none is chosen, so read the one you meant before."
_LINEAR = "The penalty was fixed beforehand: nothing is chosen by the asked images, and no image is augmented."
_LINEAR_SGD = "Settings of the paper on features that were computed once: its crops and flips are left out."
_KMEANS = "k-means gets as many clusters as there are labels: a hint that the classes of a run need not have had."


@dataclass
class Asking:
    """What a protocol may look at; features are made when the first protocol needs them.

    Attributes
    ----------
    facts
        What a record says of the model.
    model
        The model; None for features that were given as arrays.
    sets
        Known and asked images, or features.
    recipe, run_folder
        Of a run, trained or not; None for other models.
    cache
        Folder of cached features.
    seeds
        Seeds of what is drawn by chance.
    fraction
        Share of the known labels that fine-tuning uses.
    device
        Where it is computed.
    say
        Told what is under way, how much of it is done, and how much there is.
    feature_seconds
        Seconds that the features took.
    """

    facts: ModelFacts
    model: Model | None
    sets: EvaluationSets | FeatureSets
    recipe: Recipe | None
    run_folder: Path | None
    cache: Path | None
    seeds: tuple[int, ...]
    fraction: int | float
    device: torch.device
    say: Said
    feature_seconds: float = 0.0
    feature_notes: list[str] = field(default_factory=list)

    @cached_property
    def known(self) -> Features:
        """Features of the images whose labels are known."""
        return self._features("known")

    @cached_property
    def asked(self) -> Features:
        """Features of the images that are asked about."""
        return self._features("asked")

    @property
    def num_labels(self) -> int:
        """Labels that are told apart."""
        return len(self.sets.known.label_names)

    def telling(self, what: str) -> Callable[[int, int], None]:
        """Of what is under way, a function that is told how much of it is done."""
        return lambda done, total: self.say(f"{what} of {self.facts.name}", done, total)

    def _features(self, side: str) -> Features:
        images = getattr(self.sets, side)
        if isinstance(images, Features):
            return images
        assert self.model is not None
        began = time.perf_counter()
        found = features_of(
            self.model,
            images,
            cache=self.cache,
            device=str(self.device),
            on_progress=self.telling("features"),
        )
        self.feature_seconds += time.perf_counter() - began
        self.feature_notes += [note for note in found.notes if note not in self.feature_notes]
        return found


class Answer(NamedTuple):
    """What a protocol found: scores by name with a value for each seed, its settings, seeds (none where nothing is
    drawn), and sentences for a reader of the numbers.
    """

    scores: dict[str, tuple[float, ...]]
    settings: dict[str, Any]
    seeds: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def check_protocols(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of protocols, each once, from text with commas or a list; empty for None.

    Raises
    ------
    ConfigError
        For one that there is not: names the nearest, and all.
    """
    if names is None:
        return ()
    given = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    for name in given:
        if name not in _ASK:
            raise ConfigError(f"protocol {name!r} is unknown{nearest(name, _ASK)}: there are {', '.join(_ASK)}")
    if not given:
        raise ConfigError(f"no protocol is given: name one of {', '.join(_ASK)}")
    return tuple(dict.fromkeys(given))


def why_not(name: str, asking: Asking) -> str:
    """Why a protocol cannot be asked of a model; empty when it can."""
    if name == "classes" and not _has_classes(asking):
        return (
            f"{asking.facts.name} has no classes of its own, only features: ask kmeans, or label it with `twist label`"
        )
    if name in ("finetune", "supervised") and asking.model is None:
        return f"{asking.facts.name} are features without a network: there is nothing to train; ask knn or linear"
    if name == "supervised" and asking.recipe is None:
        return (
            f"supervised trains the network of a run's recipe with labels, and {asking.facts.name} is no run: name one"
        )
    return ""


def _has_classes(asking: Asking) -> bool:
    if asking.model is None:
        return asking.asked.log_probs is not None
    return asking.model.num_classes is not None


def ask(name: str, asking: Asking) -> Answer:
    """The answer of one protocol about one model."""
    asking.say(PROTOCOLS[name][0], 0, 0)
    return _ASK[name](asking)


def joined(answers: Sequence[Answer]) -> Answer:
    """Answers about models that differ in a seed, as one with a value of each score for every model.

    The settings are those of the first, but for lists with an entry for each seed.
    """
    first = answers[0]
    if len(answers) == 1:
        return first
    scores = {name: tuple(value for answer in answers for value in answer.scores[name]) for name in first.scores}
    settings = dict(first.settings)
    if "subsets" in settings:
        settings["subsets"] = [subset for answer in answers for subset in answer.settings["subsets"]]
    notes = tuple(dict.fromkeys(note for answer in answers for note in answer.notes))
    return first._replace(scores=scores, settings=settings, notes=notes)


# ---------------------------------------------------------------------------------------------------------------------
# On features and labels


def _knn(asking: Asking) -> Answer:
    settings, known, asked = KnnSettings(), asking.known, asking.asked
    found = knn(known.values, known.labels, asked.values, asked.labels, settings)
    return _answer([found], settings, of=_KNN)


def _linear(asking: Asking) -> Answer:
    settings, known, asked = LinearSettings(), asking.known, asking.asked
    told = asking.telling("linear probe")
    return _answer(
        [linear(known.values, known.labels, asked.values, asked.labels, settings, told)], settings, of=_LINEAR
    )


def _linear_sgd(asking: Asking) -> Answer:
    known, asked = asking.known, asking.asked
    name = str(asking.facts.facts.get("backbone") or asking.facts.facts.get("model", ""))
    settings = LinearSgdSettings()
    if name.startswith(("vit_", "deit")):  # the protocol of vision transformers has rates of its own
        settings = VIT_BASE if "vit_b" in name or "_base" in name else VIT_SMALL
    found = []
    for number, seed in enumerate(asking.seeds, 1):
        told = asking.telling(f"linear layer {number} of {len(asking.seeds)}")
        rows = (known.values, known.labels, asked.values, asked.labels)
        found.append(linear_sgd(*rows, settings, seed=seed, on_progress=told))
    return _answer(found, settings, seeds=asking.seeds, of=_LINEAR_SGD)


# ---------------------------------------------------------------------------------------------------------------------
# Without labels, but for the scores


def _classes(asking: Asking) -> Answer:
    asked = asking.asked
    assert asked.log_probs is not None
    found = classes(asked.log_probs, asked.labels)
    told = {"num_classes": found.num_classes, "num_labels": found.num_labels}
    return _answer([found], told, of=f"{found.used_classes} of {found.num_classes} classes have an image.")


def _kmeans(asking: Asking) -> Answer:
    settings, found = KmeansSettings(), []
    for number, seed in enumerate(asking.seeds, 1):
        asking.say(f"k-means of {asking.facts.name}", number, len(asking.seeds))
        found.append(kmeans(asking.asked.values, asking.asked.labels, None, settings, seed=seed))
    told = {"num_classes": found[0].figures.num_classes, **dataclasses.asdict(settings)}
    return _answer(found, told, seeds=asking.seeds, of=_KMEANS)


def _answer(found: Sequence[Any], settings: Any, *, of: str, seeds: tuple[int, ...] = ()) -> Answer:
    """Figures of one protocol, one for each seed, as an answer; ``of`` says what was not done."""
    values = [one.scores() for one in found]
    told = settings if isinstance(settings, dict) else dataclasses.asdict(settings)
    notes = dict.fromkeys([of, *(_sentence(note) for one in found for note in one.notes)])
    return Answer({name: tuple(each[name] for each in values) for name in values[0]}, told, seeds, tuple(notes))


def _sentence(note: str) -> str:
    """A remark with a capital and a stop."""
    return f"{note[:1].upper()}{note[1:].removesuffix('.')}."


# ---------------------------------------------------------------------------------------------------------------------
# With the whole network


def _finetune(asking: Asking) -> Answer:
    sets, model = asking.sets, asking.model
    assert isinstance(sets, EvaluationSets) and model is not None
    small = model.prepare.size is None or model.prepare.size <= _SMALL
    settings = (small_settings if small else paper_settings)(asking.fraction)
    found, subsets = [], []
    for seed in asking.seeds:
        subset = share_of_labels(
            sets.known.labels, sets.known.sample_ids, asking.fraction, seed=seed, of=sets.known.fingerprint
        )
        subsets.append(subset)
        rows = subset.rows(sets.known.sample_ids)
        found.append(
            finetune(
                model,
                sets.known.take(rows, split=f"{subset.asked} of {sets.known.split} (seed {seed})"),
                sets.asked,
                settings,
                seed=seed,
                device=asking.device,
                on_progress=asking.telling("fine-tuning"),
            )
        )
    kept = [_keep_subset(asking, subset) for subset in subsets]
    count = len(subsets[0])
    told = {
        **dataclasses.asdict(settings),
        "fraction": asking.fraction,
        "labels": count,
        "subsets": [s.fingerprint for s in subsets],
    }
    notes = [
        f"{count:,} of {subsets[0].available:,} known labels were used, the same number of each label, drawn by seed; "
        f"the lists are kept ({', '.join(kept)}).",
        *(_sentence(note) for subset in subsets for note in subset.notes),
        "No epoch and no rate was chosen by the asked images: the last step counts.",
    ]
    return Answer(_columns(found), told, asking.seeds, tuple(dict.fromkeys(notes)))


def _keep_subset(asking: Asking, subset: LabelSubset) -> str:
    parent = results_root() if asking.run_folder is None else asking.run_folder / EVALUATIONS
    parent.mkdir(parents=asking.run_folder is None, exist_ok=True)  # a run that is gone is not brought back
    folder = parent / "labels"
    folder.mkdir(exist_ok=True)
    path = folder / f"{subset.fingerprint}.json"
    if not path.is_file():
        write_subset(path, subset)
    return f"{folder.parent.name}/{folder.name}/{path.name}"


def _supervised(asking: Asking) -> Answer:
    sets, recipe = asking.sets, asking.recipe
    assert isinstance(sets, EvaluationSets) and recipe is not None
    found = [
        train_supervised(
            recipe,
            sets.known,
            sets.asked,
            seed=seed,
            device=asking.device,
            run_folder=asking.run_folder,
            on_progress=asking.telling("training the network"),
        )
        for seed in asking.seeds
    ]
    told = {"epochs": found[0].epochs, "batch_size": recipe.optim.batch_size, "recipe": recipe.name}
    notes = (
        "The network, views, optimizer and epochs are the run's; labels of all known images and a cross-entropy take "
        "the place of the TWIST loss.",
    )
    return Answer(_columns(found), told, asking.seeds, notes)


def _columns(found: Sequence[Any]) -> dict[str, tuple[float, ...]]:
    names = ("accuracy", "mean_label_accuracy", "train_accuracy")
    return {name: tuple(float(getattr(one, name)) for one in found) for name in names}


_ASK: Mapping[str, Callable[[Asking], Answer]] = {
    "knn": _knn,
    "linear": _linear,
    "linear-sgd": _linear_sgd,
    "finetune": _finetune,
    "supervised": _supervised,
    "classes": _classes,
    "kmeans": _kmeans,
}
