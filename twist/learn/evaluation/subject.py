"""What is evaluated: a source is found, with its model or models, its images, and what is to be said of them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twist.learn.evaluation.feature_arrays import FeatureSets, features_from_file
from twist.learn.evaluation.feature_cache import cache_place
from twist.learn.evaluation.features import Features
from twist.learn.evaluation.leaks import leaks_between
from twist.learn.evaluation.protocols import Asking, Said
from twist.learn.evaluation.sets import EvaluationSets, LabeledSet, evaluation_sets
from twist.learn.image_model import Model
from twist.learn.model import load_model
from twist.learn.process import choose_device
from twist.runs.config import ConfigError, DataConfig, to_dict
from twist.runs.folders import run_named
from twist.runs.handle import Run
from twist.runs.named_sets import NAMED_SETS
from twist.runs.record import RunRecord
from twist.runs.results import ImageFacts, ModelFacts, Overlap
from twist.runs.sources import find_source, has_test_part


class Subject:
    """A source that was found: its model (or models, of several seeds), its images, and what is to be said of them."""

    def __init__(
        self,
        source: str | os.PathLike[str] | Run | Model,
        data: str | DataConfig | None,
        test: str | DataConfig | None,
        seeds: tuple[int, ...],
        max_images: int | None,
    ):
        self.seeds, self.notes = seeds, list[str]()
        self.arrays: FeatureSets | None = None
        self.run_folder: Path | None = None
        self.models: list[Model] = []
        self.drawn = False
        self._given = (data, test, max_images)
        if isinstance(source, Model):
            self.title, self.models = source.name, [source]
        else:
            self.title = os.fspath(source) if not isinstance(source, Run) else source.name
            text = str(source.path) if isinstance(source, Run) else os.fspath(source)
            if Path(text).suffix.lower() == ".npz" and Path(text).expanduser().is_file():
                self._take_arrays(text)
                return
            self._load(text)
        self.recipe = RunRecord(self.run_folder).recipe if self.run_folder else None

    def _take_arrays(self, text: str) -> None:
        self.recipe = None
        if any(self._given):
            raise ConfigError(
                f"{Path(text).name} holds features, which have their images behind them: leave --data, --test and "
                "--max-images out, or name a model instead"
            )
        self.arrays = features_from_file(text)

    def _load(self, text: str) -> None:
        seeded = text.startswith("random:") and "seed=" not in text
        self.models = [load_model(text, seed=seed) for seed in self.seeds] if seeded else [load_model(text)]
        self.drawn = seeded
        if self.models[0].kind in ("run", "random"):
            self.run_folder = run_named(text)

    def askings(self, fraction: int | float, device: str, say: Said) -> list[Asking]:
        """What the protocols may look at, for every model."""
        where = choose_device(device)
        sets = self.arrays or self._sets(say)
        models: list[Model | None] = [*self.models] or [None]
        return [
            Asking(
                facts=self._model_facts(model),
                model=model,
                sets=sets,
                recipe=self.recipe,
                run_folder=self.run_folder,
                cache=cache_place(self.run_folder),
                seeds=(seed,) if self.drawn else self.seeds,
                fraction=fraction,
                device=where,
                say=say,
            )
            for model, seed in zip(models, self.seeds if self.drawn else self.seeds[:1], strict=True)
        ]

    def _sets(self, say: Said) -> EvaluationSets:
        data, test, max_images = self._given
        own = None if self.recipe is None else dataclasses.replace(self.recipe.data, download=False)
        if data is None and own is None:
            raise ConfigError(
                f"{self.title} is no run, so it has no images of its own: say which with --data (data=…), a named set, "
                "a folder or an .npz file"
            )
        config = own if data is None else data
        assert config is not None
        if not isinstance(config, DataConfig):
            config = DataConfig(source=config, root=own.root if own else None)
        config = self._with_size(config)
        if isinstance(test, str) and config.image_size is not None and test in NAMED_SETS:
            test = self._with_size(DataConfig(source=test, root=config.root, split="test"))
        self._remark(config, own)
        return evaluation_sets(
            config,
            test=test,
            run_folder=self.run_folder,
            max_images=max_images,
            on_progress=lambda done, total: say(f"images of {Path(config.source).name}", done, total),
        )

    def _with_size(self, config: DataConfig) -> DataConfig:
        """Image files get a side: images of a folder differ in size, and a network says what it needs."""
        path = find_source(config, run_folder=self.run_folder)
        files = path.is_dir() if path is not None else NAMED_SETS[config.source].image_size is not None
        if not files or config.image_size is not None:
            return config
        prepare = self.models[0].prepare
        size = getattr(prepare, "resize", None) or prepare.size
        return dataclasses.replace(config, image_size=size)

    def _remark(self, config: DataConfig, own: DataConfig | None) -> None:
        if own is None or self.models[0].kind != "run":
            return
        if config.source != own.source:
            self.notes.append(
                f"Transfer: the run learned from {Path(own.source).name} and is asked about "
                f"{Path(config.source).name}; the network stays as it is."
            )
        elif not has_test_part(config, run_folder=self.run_folder) and self._given[1] is None:
            self.notes.append("The run learned from all of these images, the asked ones too, without labels.")

    def _model_facts(self, model: Model | None) -> ModelFacts:
        if model is None:
            assert self.arrays is not None
            told = self.arrays.known.model
            return ModelFacts(told["name"], "features", told["identity"], told)
        told = {name: value for name, value in model.facts.items() if name not in ("identity", "kind")}
        if self.recipe is not None:
            told["recipe_hash"] = _recipe_hash(self.recipe)
        return ModelFacts(model.name, model.kind, model.identity, told)

    def facts(self, askings: Sequence[Asking]) -> ModelFacts:
        """What the records say of the model; of several that differ in a seed, of all of them."""
        first = askings[0].facts
        if len(askings) == 1:
            return first
        identities = [asking.facts.identity for asking in askings]
        identity = hashlib.sha256(" ".join(identities).encode()).hexdigest()[:16]
        facts = {name: value for name, value in first.facts.items() if name != "seed"}
        return dataclasses.replace(first, identity=identity, facts={**facts, "identities": identities})


def _recipe_hash(recipe: Any) -> str:
    """What runs that differ in their seed alone have in common."""
    told = {**to_dict(recipe), "seed": 0, "device": "", "record": None}
    return hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()[:16]


def supervised_facts(asking: Asking) -> ModelFacts:
    """Of a network trained from its start with labels: that it is of a recipe, whatever the run's weights are."""
    assert asking.recipe is not None and asking.run_folder is not None
    name = f"{asking.run_folder.name}, supervised"
    told = {
        key: asking.facts.facts[key] for key in ("run", "recipe", "backbone", "parameters") if key in asking.facts.facts
    }
    return ModelFacts(
        name, "supervised", _recipe_hash(asking.recipe), {**told, "recipe_hash": _recipe_hash(asking.recipe)}
    )


def image_facts(images: LabeledSet | Features) -> ImageFacts:
    """What a record says of one side."""
    facts = images.data if isinstance(images, Features) else images.facts
    return ImageFacts(*(facts[name] for name in ("name", "split", "count", "fingerprint", "num_labels")))


def overlap_of(asking: Asking, say: Said) -> Overlap | None:
    """Asked images among the known ones; None where features stand without their images."""
    sets = asking.sets
    if not isinstance(sets, EvaluationSets):
        return None
    found = leaks_between(
        sets.known, sets.asked, on_progress=lambda done, total: say("comparing known and asked images", done, total)
    )
    return Overlap(**found.facts)
