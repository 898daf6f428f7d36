"""Results as tables and in words: every score on a line, models side by side, and what stands behind the numbers."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twist.runs.results import Result, find_results

if TYPE_CHECKING:
    import pandas as pd

#: What a protocol is called, and what it does, in the order in which they are shown.
PROTOCOLS = {
    "knn": ("kNN", "the labels of the k nearest known images by cosine vote; nothing is trained"),
    "linear": ("linear", "a logistic regression is fitted to the features of the known images, to its optimum"),
    "linear-sgd": ("linear, SGD", "a linear layer is trained on the features of the known images as in the paper"),
    "finetune": ("fine-tuned", "the whole network goes on training with labels of a part of the known images"),
    "supervised": ("supervised", "the same network trained from its random start with the labels of the known images"),
    "classes": ("its classes", "the run's own classes of the asked images against labels that it never saw"),
    "kmeans": ("k-means", "clusters of the features of the asked images against labels that were never used"),
}

#: What a score is called, in a narrow column and in words.
_SCORES = {
    "accuracy": ("accuracy", "share of the asked images whose label is found"),
    "mean_label_accuracy": (
        "per label",
        "mean of that share over the labels: a rare one counts as much as a frequent one",
    ),
    "train_accuracy": ("on the known", "the same of the images that it was trained on"),
    "top5_accuracy": ("top-5", "share whose label is among the five likeliest"),
    "matched_accuracy": ("matched", "share whose class stands for their label, one class for one label"),
    "many_to_one_accuracy": ("many-to-one", "the same with any number of classes for a label: it grows with C alone"),
    "matched_top5_accuracy": ("top-5 matched", "share whose label is matched with one of their five likeliest classes"),
    "nmi": ("NMI", "mutual information with the labels, as a share of the mean entropy"),
    "ami": ("AMI", "the same, corrected for chance"),
    "ari": ("ARI", "agreement on pairs of images, corrected for chance"),
    "fmi": ("FMI", "agreement on pairs of images, Fowlkes-Mallows"),
}
_OF_NEIGHBORS = re.compile(r"(accuracy|top5_accuracy|mean_label_accuracy)_k(\d+)(?:_t([\d.]+))?")
_KINDS = ("run", "random", "supervised")
#: The first of a protocol's scores that are there stand in a table of many models.
_HEADLINES = ("accuracy", "matched_accuracy", "nmi")


def protocol_title(result: Result) -> str:
    """What its protocol is called, with the share of labels, or their number where at least one of each took more."""
    title = PROTOCOLS.get(result.protocol, (result.protocol, ""))[0]
    fraction, classes = result.settings.get("fraction"), result.settings.get("num_classes")
    if isinstance(fraction, float | int):
        labels = result.settings.get("labels")
        if isinstance(labels, int) and result.known is not None and labels > 1.5 * fraction * result.known.count:
            return f"{title}, {labels} labels"
        return f"{title}, {100 * fraction:g} %"
    return f"{title}, C = {classes}" if isinstance(classes, int) else title


def score_title(score: str) -> str:
    """What a score is called where there is little room.

    Examples
    --------
    >>> score_title("nmi"), score_title("accuracy_k10"), score_title("accuracy_k200_t0.07")
    ('NMI', 'k = 10', 'k = 200, T = 0.07')
    """
    if found := _OF_NEIGHBORS.fullmatch(score):
        head = "" if found[1] == "accuracy" else f"{score_title(found[1])}, "
        return f"{head}k = {found[2]}" + (f", T = {found[3]}" if found[3] else "")
    return _SCORES.get(score, (score.replace("_", " "), ""))[0]


def score_words(score: str) -> str:
    """What a score says, in words; empty for one that is not known here."""
    if (found := _OF_NEIGHBORS.fullmatch(score)) and found[1] == "accuracy":
        votes = "nearer ones count more" if found[3] else "every vote counts alike"
        return f"share whose label the {found[2]} nearest find; {votes}"
    return _SCORES.get(score, ("", ""))[1]


def spell(values: Sequence[float], *, count: bool = False) -> str:
    """A score, its spread over the seeds, and with ``count`` their number.

    Examples
    --------
    >>> spell([0.97651]), spell([0.1, 0.2, 0.3], count=True), spell([float("nan")])
    ('0.977', '0.200 ± 0.100 (3 seeds)', '–')
    """
    if not values or not all(map(math.isfinite, values)):
        return "–"
    mean = f"{statistics.fmean(values):.3f}"
    if len(values) == 1:
        return mean
    seeds = f" ({len(values)} seeds)" if count else ""
    return f"{mean} ± {statistics.stdev(values):.3f}{seeds}"


def standard_error(share: float, count: int) -> float:
    """How far a share of so many images may be off because other images were not asked: one standard error."""
    return math.sqrt(max(0.0, share * (1 - share)) / max(1, count))


def headline(result: Result) -> list[str]:
    """The scores of a result that stand for it among others."""
    first = [name for name in result.scores if name.startswith("accuracy_k")][:1]
    return first or [name for name in _HEADLINES if name in result.scores] or [*result.scores][:1]


def shown(result: Result) -> list[str]:
    """The scores that a person is shown: of votes of neighbors only the accuracy."""
    return [name for name in result.scores if name.startswith("accuracy_k") or not _OF_NEIGHBORS.fullmatch(name)]


# ---------------------------------------------------------------------------------------------------------------------
# Every score on a line


def results(*sources: Any, root: Path | None = None) -> pd.DataFrame:
    """What evaluations found, as a table: a row for every score of the newest answer to every question.

    Parameters
    ----------
    *sources
        Runs (handles, names or paths) and names of other models; without any, all that were ever evaluated.
    root
        Folder of the runs; none means `twist.runs.folders.runs_root`.

    Returns
    -------
    pandas.DataFrame
        The columns of `tidy`. ``attrs["problems"]`` names files that could not be read and
        questions that got different answers.

    Raises
    ------
    ConfigError
        When there is neither a run nor a result of that name.
    """
    found = find_results(*(os.fspath(getattr(source, "path", source)) for source in sources), root=root)
    table = tidy(found.newest)
    table.attrs["problems"] = [*found.problems, *found.disagreements]
    return table


def tidy(results: Sequence[Result]) -> pd.DataFrame:
    """A row for every score: model, run, protocol, settings, score, mean, std, seeds, and the images.

    ``std`` is that of a sample over the seeds, NaN for one; ``overlap`` the number of asked images that also stand
    among the known ones; ``settings`` and ``file`` as text.
    """
    import pandas as pd

    columns = ["model", "kind", "run", "protocol", "settings", "score", "mean", "std", "seeds", "known", "known_images"]
    columns += ["asked", "asked_images", "overlap", "seconds", "created", "question", "file"]
    rows = []
    for result in results:
        common = {
            "model": result.source,
            "kind": result.model.kind,
            "run": result.run,
            "protocol": result.protocol,
            "settings": spell_settings(result.settings),
            "seeds": max(1, len(result.seeds)),
            "known": str(result.known) if result.known else None,
            "known_images": result.known.count if result.known else 0,
            "asked": str(result.asked),
            "asked_images": result.asked.count,
            "overlap": result.overlap.count if result.overlap else None,
            "seconds": round(result.seconds, 3),
            "created": result.created,
            "question": result.question,
            "file": result.file.name if result.file else None,
        }
        for name in result.scores:
            std = result.std(name)
            rows.append({**common, "score": name, "mean": result.mean(name), "std": math.nan if std is None else std})
    return pd.DataFrame(rows, columns=columns).astype({"mean": float, "std": float})


def spell_settings(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} {_spell_value(value)}" for name, value in settings.items())


def _spell_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(map(_spell_value, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------------------------------------------------------
# Models side by side


class Group(NamedTuple):
    """Results that may be compared: the same images known and asked.

    Attributes
    ----------
    data
        The images, in a few words.
    results
        In the order of their models.
    """

    data: str
    results: list[Result]

    @property
    def models(self) -> list[str]:
        """Names of the models, each once."""
        return [*dict.fromkeys(result.source for result in self.results)]

    def one_of(self, model: str, row: tuple[str, str]) -> Result | None:
        """The newest result of a model with that protocol and score."""
        return next(
            (
                r
                for r in reversed(self.results)
                if (r.source, protocol_title(r)) == (model, row[0]) and row[1] in r.scores
            ),
            None,
        )

    def rows(self, *, all_scores: bool = True) -> list[tuple[str, str]]:
        """Protocols and scores in the order in which they are shown."""
        order = [*PROTOCOLS]
        found = sorted(self.results, key=lambda r: order.index(r.protocol) if r.protocol in order else len(order))
        pairs = [(protocol_title(r), name) for r in found for name in (shown(r) if all_scores else headline(r))]
        return [*dict.fromkeys(pairs)]


def groups(results: Sequence[Result]) -> list[Group]:
    """Results by the images they were asked about, those of most models first; runs stand before untrained networks.

    A protocol that knows no labels stands with those that do where the asked images are the same.
    """
    found: dict[tuple[str, str], list[Result]] = {}
    results = sorted(results, key=lambda r: _KINDS.index(r.model.kind) if r.model.kind in _KINDS else len(_KINDS))
    for result in results:
        if result.known is not None:
            found.setdefault((result.asked.fingerprint, result.known.fingerprint), []).append(result)
    for result in results:
        if result.known is None:
            places = [place for place in found if place[0] == result.asked.fingerprint]
            for place in places or [(result.asked.fingerprint, "")]:
                found.setdefault(place, []).append(result)
    named = [Group(_data_words(same), same) for same in found.values()]
    return sorted(named, key=lambda group: -len(group.models))


def _data_words(same: Sequence[Result]) -> str:
    result = next((r for r in same if r.known is not None), same[0])
    asked = f"{result.asked}: {result.asked.count:,} images asked"
    if result.known is None:
        return asked
    known = (
        f"{result.known.count:,} known"
        if result.known.name == result.asked.name
        else (f"{result.known.count:,} of {result.known} known")
    )
    return f"{asked}, {known}"


def side_by_side(group: Group, *, count: bool = True) -> pd.DataFrame:
    """A row for every model, a column for every protocol's first scores: what a paper prints; ``count`` names the
    number of seeds.
    """
    import pandas as pd

    rows = group.rows(all_scores=False)
    titles = _column_titles(rows)
    cells = []
    for model in group.models:
        shown = [(group.one_of(model, row), row[1]) for row in rows]
        cells.append([spell(r.scores[name], count=count) if r else "–" for r, name in shown])
    return pd.DataFrame(cells, columns=titles, index=pd.Index(group.models, name="model"))


def _column_titles(rows: Sequence[tuple[str, str]]) -> list[str]:
    return [title if name == "accuracy" else f"{title} {score_title(name)}" for title, name in rows]


def markdown(results: Sequence[Result]) -> str:
    """Tables for a paper or a README, one for each set of images, with how they were asked below each."""
    parts = []
    for group in groups(results):
        table = side_by_side(group)
        lines = [f"| model | {' | '.join(table.columns)} |", f"|---|{'---|' * len(table.columns)}"]
        lines += [
            f"| {name} | {' | '.join(row)} |".replace("_", "\\_")
            for name, row in zip(table.index, table.to_numpy(), strict=True)
        ]
        hows = [*dict.fromkeys(result.how for result in group.results if result.how)]
        parts.append(f"**{group.data}**\n\n" + "\n".join(lines) + "\n\n" + " ".join(hows))
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# Several runs of one recipe


def over_runs(results: Sequence[Result]) -> list[Result]:
    """Runs that differ in nothing but their seeds taken as one model, with a score for each of them.

    A run that was asked with several seeds of the protocol counts with its mean. Results of what is no run, or whose
    record does not say the recipe, stay as they are.
    """
    import dataclasses

    same: dict[Any, list[Result]] = {}
    for place, result in enumerate(results):
        recipe = result.model.facts.get("recipe_hash")
        known = result.known.fingerprint if result.known else None
        key: Any = place
        if recipe:
            key = (result.protocol, spell_settings(result.settings), recipe, result.model.kind)
            key = (*key, result.model.facts.get("step"), known, result.asked.fingerprint)
        same.setdefault(key, []).append(result)
    merged = []
    for found in same.values():
        members = [*{member.model.identity: member for member in found}.values()]
        if len(members) == 1:
            merged.append(members[0])
            continue
        first = members[0]
        scores = {
            name: tuple(member.mean(name) for member in members)
            for name in first.scores
            if all(name in member.scores for member in members)
        }
        facts = {name: value for name, value in first.model.facts.items() if name not in ("run", "checkpoint")}
        kind = "random features of " if first.model.kind == "random" else ""
        name = f"{kind}{first.model.facts.get('recipe', 'one recipe')}, {len(members)} runs"
        merged.append(
            dataclasses.replace(
                first,
                model=dataclasses.replace(first.model, name=name, facts=facts),
                seeds=tuple(int(member.model.facts.get("seed", place)) for place, member in enumerate(members)),
                scores=scores,
                seconds=sum(member.seconds for member in members),
                file=None,
            )
        )
    return merged


# ---------------------------------------------------------------------------------------------------------------------
# In words


def words(results: Sequence[Result]) -> list[str]:
    """What stands behind the numbers of one set of images: what was known, what was asked, what both share, caveats."""
    said: list[str] = []
    for result in results:
        said.append(result.how)
        if result.known is not None and result.overlap is not None:
            said.append(_overlap_words(result))
    asked: dict[str, list[Result]] = {}
    for result in results:
        asked.setdefault(protocol_title(result), []).append(result)
    of_protocol = {title: dict.fromkeys(note for r in same for note in r.notes) for title, same in asked.items()}
    shared = {note for notes in of_protocol.values() for note in notes if _count(note, of_protocol) > 1}
    said += [note for notes in of_protocol.values() for note in notes if note in shared]
    for title, same in asked.items():
        meaning = PROTOCOLS.get(same[0].protocol, ("", "another protocol"))[1]
        own = [_note_words(note, same) for note in of_protocol[title] if note not in shared]
        said.append(" ".join([f"{title}: {meaning}.", *own]))
    run = next((r.model.facts["run"] for r in results if r.model.kind == "run" and "run" in r.model.facts), None)
    if run and not any(result.model.kind == "random" for result in results):
        said.append(
            f"Read beside the same network untrained, `twist evaluate random:{run}`: on small images it comes close."
        )
    return [*dict.fromkeys(sentence for sentence in [*said, _chance_words(results)] if sentence)]


def _count(note: str, of_protocol: Mapping[str, Mapping[str, None]]) -> int:
    return sum(note in notes for notes in of_protocol.values())


def _note_words(note: str, same: Sequence[Result]) -> str:
    """A remark, and which models it is about when it is not about all."""
    about = dict.fromkeys(result.source for result in same if note in result.notes)
    return note if len(about) == len({result.source for result in same}) else f"({', '.join(about)}) {note}"


def _chance_words(results: Sequence[Result]) -> str:
    """How far the best share may be off because other images were not asked."""
    shares = [(r.mean(name), r.asked.count) for r in results for name in headline(r)[:1]]
    share, count = max(((s, n) for s, n in shares if n and math.isfinite(s)), default=(0.0, 0))
    if not count:
        return ""
    return (
        f"With {count:,} images asked, a share of {share:.3f} is known to ± {standard_error(share, count):.3f} (one "
        "standard error): smaller differences are chance."
    )


def _overlap_words(result: Result) -> str:
    assert result.overlap is not None
    found = result.overlap
    copies = [
        f"{count:,} {side} images repeat another {side} one"
        for count, side in ((found.known_copies, "known"), (found.asked_copies, "asked"))
        if count
    ]
    twice = f" {' and '.join(copies)}." if copies else ""
    if not found.count:
        return f"None of the asked images stands among the known ones (compared pixel for pixel, by hash).{twice}"
    verb = "stands" if found.count == 1 else "stand"
    other = f" ({found.other_label:,} of them with another label)" if found.other_label else ""
    return (
        f"{found.count:,} of the {result.asked.count:,} asked images ({100 * found.share:.1f} %) {verb} among the "
        f"known ones pixel for pixel{other}: these are no test, and the scores are that much too good.{twice}"
    )
