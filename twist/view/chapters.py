"""Chapters of the report: images and classes through time, gradients and features, shortcuts, labels."""

from __future__ import annotations

import base64

import numpy as np

from twist.runs.class_histories import class_flow, class_histories, classes_followed
from twist.runs.columns import column_through_time
from twist.runs.histories import label_scores, sample_traits
from twist.runs.record import RunRecord
from twist.runs.result_tables import Group, groups, score_title, score_words, spell, words
from twist.runs.results import EVALUATIONS, read_results
from twist.runs.shortcuts import shortcut_at
from twist.runs.store import RecordError
from twist.view import class_histories as over_classes
from twist.view import diagnostics
from twist.view import histories as over_images
from twist.view.pages import figure_html, half_figure_html, table_html, text
from twist.view.scene import Scene
from twist.view.shortcuts import shortcut_shares, thumbnails
from twist.view.tables import thinned
from twist.view.verdicts import points

_OFFENDERS, _THUMBNAILS = 5, 12
_MOST_EPOCHS, _MOST_SAMPLES = 100, 5_000


def images_chapter(record: RunRecord, scene: Scene) -> str:
    """Entropies of every image over the snapshots and over the epochs, some images followed, the map of confidence."""
    heading = "Every image through time"
    if problem := _no_history(record):
        return _chapter(heading, problem)
    entropies, traits = column_through_time(record, "sample_entropy"), sample_traits(record)
    classes = column_through_time(record, "assignment").values[-1]
    watched = half_figure_html(
        over_images.entropy_history(entropies.steps, entropies.values, scene),
        "The watched images as they are, at every snapshot: the stronger the color, the more images have that entropy. "
        "Lines: the median, and the bounds of the middle 80 %. A tail that stays up are images that hesitate.",
    )
    followed = half_figure_html(
        over_images.trajectories(entropies.steps, entropies.values, over_images.pick(traits), classes, scene),
        "A telling image of each kind that there is, in the color of its newest class. The bands hold half and 90 % of "
        "all images.",
    )
    chart = half_figure_html(
        over_images.confidence_map(traits, scene),
        "Every point is an image; crosses were forgotten: a class held them, and they left it. Point at one to learn "
        "its number. The dashed curve bounds how much a confidence can vary.",
    )
    return _chapter(
        heading, "", _pair(watched, _epochs(record, scene)), _pair(followed, chart), *_damage(entropies.damaged)
    )


def classes_chapter(record: RunRecord, scene: Scene) -> str:
    """Usage, births and deaths, stability, and the flow of images between two snapshots."""
    heading = "The classes through time"
    if problem := _no_history(record):
        return _chapter(heading, problem)
    found = class_histories(record)
    if record.recipe.network.num_heads > 1:
        found = found._replace(usage=_usage_followed(record, scene.num_classes))
    usage = figure_html(
        over_classes.usage_history(found, scene),
        "Even use is one dotted step per class. Triangles: born; crosses: died; a class lives while it holds a tenth "
        "of an even share."
        if scene.num_classes <= over_classes.STACKED_CLASSES
        else "The more color, the more images; no color, none. A class lives while it holds a tenth of an even share. "
        "Births (triangles) and deaths (crosses) are marked where they are few.",
    )
    stability = half_figure_html(
        over_classes.stability_history(found, scene),
        "Healthy: all climb toward 100 %. Low while the network is sure: classes are given by chance. Where several "
        "heads compete, another one that comes to speak renumbers all classes: matching forgives that.",
    )
    steps = record.snapshot_steps()
    earlier = steps[(len(steps) - 1) // 2] if len(steps) > 2 else steps[0]
    try:
        between = class_flow(record, earlier, steps[-1])
    except RecordError as error:
        flow = f"<p>{text(error)}</p>"
    else:
        changes = over_classes.changes_of(between)
        caption = "Left the classes half way, right the newest; a band is the images that went from one to the other."
        caption += f" Classes by number: {changes}." if changes else ""
        flow = half_figure_html(over_classes.flow_figure(between, scene), caption)
    return _chapter(heading, "", usage, _pair(stability, flow), *_damage(found.damaged))


def labels_figure(record: RunRecord, scene: Scene) -> str:
    """Scores against labels over the snapshots; empty when no image has a label or there is one snapshot."""
    try:
        scores = label_scores(record)
    except RecordError:  # the section on the images says what is wrong
        return ""
    if len(scores) < 2:
        return ""
    return figure_html(
        over_classes.label_history(scores, scene),
        "The same at every snapshot, with two probes of the features where they were measured. Probes do not detect a "
        "collapse: features of a random network score well on small sets.",
        narrow=True,
    )


def drive_chapter(record: RunRecord, scene: Scene) -> str:
    """Gradient shares and norms, spread of the logits, geometry, rank and spectrum of the features."""
    heading, metrics, snapshots = "Gradients and features", record.metrics(), record.snapshot_metrics()
    if "train/effective_rank" not in metrics and "train/consistency_gradient" not in metrics:
        return _chapter(
            heading,
            "No collapse numbers are on record: they are written every record.diagnose_every_steps steps "
            f"(here {record.recipe.record.diagnose_every_steps}), so a run of at least that many has them.",
        )
    clip, width, spectra = record.recipe.optim.clip_norm, 0, {}
    steps = record.snapshot_steps()
    for step in dict.fromkeys((steps[0], steps[(len(steps) - 1) // 2], steps[-1])) if steps else ():
        try:
            snapshot = record.snapshot(step)
        except RecordError:  # the section on the classes says what is wrong
            continue
        width = snapshot.features.shape[1]
        if snapshot.feature_spectrum is not None:
            spectra[step] = np.asarray(snapshot.feature_spectrum)
    rows = (2 + record.recipe.views.num_local_views) * scene.batch_size
    return _chapter(
        heading,
        "",
        _pair(
            half_figure_html(
                diagnostics.gradient_shares(metrics, scene),
                "L2 norms of the weighted terms' gradients at the logits, as shares. One term alone for hundreds of "
                "steps decides where the run goes.",
            ),
            half_figure_html(
                diagnostics.gradient_norms(metrics, scene, clip_norm=clip),
                "Spikes and growth come before numbers that are not finite. The axis ends at the 99th percentile.",
            ),
        ),
        _pair(
            half_figure_html(
                diagnostics.logit_spreads(metrics, scene),
                "Behind the final norm the columns stay at 1 whatever happens. Rows that go to 0 are the uniform "
                "collapse.",
            ),
            half_figure_html(
                diagnostics.feature_geometry(metrics, scene),
                "Alignment: squared distance of two views, 0 to 4, low is good. Uniformity: log of the mean of "
                "exp(−2 d²) over pairs of images, 0 when all lie in one point. A unit is dead when no image moves it.",
            ),
        ),
        _pair(
            half_figure_html(
                diagnostics.effective_ranks(metrics, snapshots, scene, rows if width else 0, width),
                "Toward 1: the dimensional collapse. It need not reach its cap to be healthy.",
            ),
            half_figure_html(
                diagnostics.feature_spectra(spectra, scene, width),
                "A slow fall is healthy, a cliff after the first direction is the dimensional collapse.",
            ),
        ),
    )


def shortcut_chapter(record: RunRecord, scene: Scene) -> str:
    """What brightness, contrast, blur and color explain of the newest classes, and the classes that show it most."""
    heading, steps = "Shortcuts", record.snapshot_steps()
    found = shortcut_at(record, steps[-1]) if steps else None
    try:
        watch = record.watch()
    except RecordError:  # the section on the images says what is wrong
        watch = None
    if found is None or watch is None:
        return _chapter(
            heading,
            "This takes a snapshot and the thumbnails of the watched images, and one of them is missing or damaged: "
            "train until the first snapshot (record.snapshot_every_epochs), or record the run again.",
        )
    shares = figure_html(
        shortcut_shares(found, scene, steps[-1]),
        "Corrected for chance: 0 says that the classes have nothing to do with the statistic, 100 % that it decides "
        "them. Content goes with light to some degree: the true labels of digits share 14 %, of CIFAR-10 10 % with "
        "the strongest one.",
        narrow=True,
    )
    rows = []
    for offender in found.offenders[:_OFFENDERS]:
        chosen = offender.samples[thinned(len(offender.samples), _THUMBNAILS)]
        try:
            picture = base64.b64encode(thumbnails(watch, chosen)).decode("ascii")
        except RecordError as error:
            return _chapter(heading, str(error), shares)
        words = f"images of class {offender.class_index} in that range"
        rows.append(
            (
                str(offender.class_index),
                f"{offender.low:.2f} to {offender.high:.2f}",
                f"{offender.purity:.0%}",
                f'<img class="strip" alt="{words}" src="data:image/png;base64,{picture}">',
            )
        )
    if not rows:
        said = f"<p>No class crowds into a narrow range of {text(found.strongest)}.</p>"
    else:
        heads = ("class", f"half of it has a {text(found.strongest)} of", "of all in there", "some of them")
        said = (
            f"<p>Classes that crowd most into a narrow range of {text(found.strongest)}, the purest first.</p>"
            f"{table_html(heads, rows, numbers=(2,))}"
        )
    return _chapter(heading, "", shares, said)


def evaluations_chapter(record: RunRecord) -> str:
    """What evaluations found, models side by side, with how they were asked; how to get some where there are none."""
    heading = "What it is good for"
    found = read_results(record.path / EVALUATIONS)
    damaged = [f'<p class="quiet">{text(sentence)}</p>' for sentence in (*found.problems, *found.disagreements)]
    if not found.results:
        return _chapter(
            heading,
            f"Nobody has asked yet: `twist evaluate {record.name} random:{record.name}` asks the nearest neighbors, a "
            "linear probe, its classes and k-means, beside the same network untrained, and records the answers here.",
            *damaged,
        )
    parts = []
    for group in groups(found.newest):
        rows = [
            (
                text(title),
                text(score_title(name)),
                *_cells(group, title, name),
                f'<span class="quiet">{text(score_words(name))}</span>',
            )
            for title, name in group.rows()
        ]
        heads = ("protocol", "score", *map(text, group.models), "what it says")
        table = table_html(heads, rows, numbers=tuple(range(2, 2 + len(group.models))))
        commands = dict.fromkeys(result.command for result in group.results)
        parts.append(
            f"<h3>{text(group.data)}</h3>{table}{points(tuple(words(group.results)))}"
            f'<p class="quiet">Asked by {", ".join(f"<code>{text(command)}</code>" for command in commands)}; '
            f"{text(_machines(group))}.</p>"
        )
    return _chapter(heading, "Labels are used only here: the run never saw them.", *parts, *damaged)


def _cells(group: Group, title: str, name: str) -> list[str]:
    answers = [group.one_of(model, (title, name)) for model in group.models]
    return [text(spell(answer.scores[name], count=True)) if answer else "–" for answer in answers]


def _machines(group: Group) -> str:
    told = [
        f"{r.hardware.get('processor', 'unknown processor')}, {r.hardware.get('threads', '?')} threads, "
        f"{r.hardware.get('device', '?')}, torch {r.versions.get('torch', '?')}, {r.created[:10]}"
        for r in group.results
    ]
    return "; ".join(dict.fromkeys(told))


# ---------------------------------------------------------------------------------------------------------------------


def _chapter(heading: str, sentence: str, *parts: str) -> str:
    words = f"<p>{text(sentence)}</p>" if sentence else ""
    return f"<section><h2>{heading}</h2>{words}{''.join(parts)}</section>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _damage(sentences: tuple[str, ...]) -> list[str]:
    shown = [text(sentence) for sentence in sentences[:3]]
    more = f" … and {len(sentences) - 3} more" if len(sentences) > 3 else ""
    return [f'<p class="quiet">Left out: {"; ".join(shown)}{more}</p>'] if shown else []


def _no_history(record: RunRecord) -> str:
    """Why there is no history, and how to get one; empty when there is."""
    every = record.recipe.record.snapshot_every_epochs
    try:
        if record.watch() is None:
            return "There are no watched images yet: they are written when the training starts."
    except RecordError as error:
        return str(error)
    count = len(record.snapshot_steps())
    if count >= 2:
        return ""
    have = "no snapshot is on record yet" if count == 0 else "one snapshot is on record"
    return (
        f"A history takes two snapshots, and {have}: train longer, or lower record.snapshot_every_epochs "
        f"(here {every:g})."
    )


def _usage_followed(record: RunRecord, num_classes: int) -> np.ndarray:
    """Usage under the names of the newest classes: numbers change with the head that speaks, groups remain."""
    assignments = column_through_time(record, "assignment").values
    usage = np.full((len(assignments), num_classes), np.nan)
    whole = np.flatnonzero((assignments >= 0).all(1))
    for row, classes in zip(whole[::-1], classes_followed(assignments[whole[::-1]], num_classes), strict=True):
        usage[row] = np.bincount(classes, minlength=num_classes) / max(1, len(classes))
    return usage


def _epochs(record: RunRecord, scene: Scene) -> str:
    """The entropies that training itself saw, by epoch; a sentence where there are none."""
    numbers = record.epoch_numbers()
    columns, kept = [], []
    for epoch in (numbers[row] for row in thinned(len(numbers), _MOST_EPOCHS)):
        try:
            samples = record.epoch_samples(epoch)["sample_entropy"]
        except RecordError:  # a damaged file leaves a gap, as an epoch that was not written does
            continue
        columns.append(np.asarray(samples[thinned(len(samples), _MOST_SAMPLES)], np.float32))
        kept.append(epoch)
    if not kept:
        return (
            "<p>Training kept no entropies of single images: a run writes them at the end of every epoch, and runs of "
            "an older version have none.</p>"
        )
    return half_figure_html(
        over_images.entropy_history(np.array(kept), np.stack(columns), scene, of_training=True),
        "What training itself saw, epoch by epoch: augmented views, batch statistics. The floor binds the mean of a "
        "batch, not a single image.",
    )
