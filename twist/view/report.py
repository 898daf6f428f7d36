"""One HTML file that holds a whole run: verdict, curves, classes, recipe. It needs no kernel and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twist.runs.config import Recipe, field_help, field_names, field_value
from twist.runs.record import RunRecord, Snapshot
from twist.runs.status import read_status
from twist.runs.store import RecordError, write_atomic
from twist.runs.turns import turns_of
from twist.runs.verdict import Verdict
from twist.view import figures
from twist.view.chapters import (
    classes_chapter,
    drive_chapter,
    evaluations_chapter,
    images_chapter,
    labels_figure,
    shortcut_chapter,
)
from twist.view.explorer_page import explorer_html
from twist.view.frozen import frozen_chapter, frozen_facts_of
from twist.view.layout import wait_layout
from twist.view.monitor import duration, judge
from twist.view.pages import figure_html, file_text, half_figure_html, json_html, table_html, text
from twist.view.scene import run_path
from twist.view.theme import DARK, LIGHT, paper_layout
from twist.view.verdicts import evidence_table, points, sign, since_words

_TURNS_TOLD = 6  # of each field, the newest
# Scripts and styles of this file only: nothing can be fetched, sent, framed or submitted.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_SCORES = {
    "matched_accuracy": "share of images whose class stands for their label, after the best one-to-one matching",
    "many_to_one_accuracy": "the same when several classes may stand for one label",
    "nmi": "mutual information of classes and labels, as a share of their mean entropy",
    "ami": "the same, corrected for chance: 0 is chance",
    "ari": "agreement on pairs of images, corrected for chance: 0 is chance",
    "fmi": "agreement on pairs of images, geometric mean of precision and recall",
}


def write_report(run: Any = "last", output: Path | str | None = None, *, wait_for_map: bool = True) -> Path:
    """Write the report of a run as one HTML file and return its path.

    The map of the newest snapshot is waited for, which can take half a minute the first time and three at most.

    Parameters
    ----------
    run
        A handle, a name, a path, or ``last`` for the newest run.
    output
        The file to write; none means ``report.html`` in the run folder. Its folder is made if need be.
    wait_for_map
        Whether to have UMAP's map made where it is missing; else, and where that fails, PCA stands in for it.

    Raises
    ------
    ConfigError
        When there is no such run.
    RecordError
        When the run folder cannot be read. A missing or damaged part of it is said in the report instead.
    """
    record = RunRecord(run_path(run))
    record.poll()
    path = record.path / "report.html" if output is None else Path(output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    no_map = _await_map(record) if wait_for_map else ""
    write_atomic(path, report_html(record, no_map=no_map).encode())
    return path


def report_html(record: RunRecord, *, no_map: str = "") -> str:
    """The report of a run as far as its record was polled; ``no_map`` says why it has no map, where that is known."""
    from plotly.offline import get_plotlyjs

    scene = figures.Scene.of(record)
    snapshot, problem = _newest_snapshot(record)
    found = judge(record)
    begin = [_header(record, scene), _verdict(found), _scores(record, scene), evaluations_chapter(record)]
    end = [shortcut_chapter(record, scene), _explorer(record, snapshot, no_map)]
    of_training = [
        _curves(record, scene, found),
        _classes(snapshot, scene, problem),
        images_chapter(record, scene),
        classes_chapter(record, scene),
        drive_chapter(record, scene),
    ]
    if record.frozen:
        parts = [*begin, _classes(snapshot, scene, problem), *end, frozen_chapter(record)]
    else:
        parts = [*begin, *of_training, *end, _recipe(record)]
    body = "\n".join([*parts, _footer(record)])
    templates = json_html({"light": {"layout": paper_layout(LIGHT)}, "dark": {"layout": paper_layout(DARK)}})
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(record.name)} · twist report</title>\n<style>{file_text('report.css')}</style>\n"
        f"</head>\n<body>\n"
        f"{body}\n"
        "<noscript><p>The figures are drawn by a script inside this file: allow it to run.</p></noscript>\n"
        f'<script type="application/json" id="templates">{templates}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="module">{file_text("report.js")}</script>\n</body>\n</html>\n'
    )


# ---------------------------------------------------------------------------------------------------------------------
# Sections


def _header(record: RunRecord, scene: figures.Scene) -> str:
    identity, start = record.identity, record.last("start") or {}
    status = read_status(record.path)
    facts = {
        "state": status.state.lower(),
        "step": f"{scene.step:,} of {scene.total_steps:,}" if scene.total_steps else f"{scene.step:,}",
        "recipe": record.recipe.name,
        "images": record.recipe.data.source,
        "seed": scene.seed,
        "images per batch, N": f"{scene.batch_size:,}",
        "classes, C": f"{scene.num_classes:,}",
        "images learned from": f"{scene.num_images:,}",
        "images watched": f"{scene.num_watch:,} of {scene.num_images:,}",
        "device": start.get("device", "not started"),
        "time": duration(record.train_seconds),
        "created": str(identity.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
    }
    if record.frozen:
        facts = frozen_facts_of(record, scene.num_watch)
    listed = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items())
    message = f"<p>{text(status.message)}</p>" if status.message and not record.frozen else ""
    return (
        f'<header><div class="kicker">twist · report of a run</div><h1>{text(record.name)}</h1>'
        f'{message}<dl class="facts">{listed}</dl></header>'
    )


def _verdict(found: Verdict | None) -> str:
    if found is None:
        return '<section class="verdict early"><h2><span>…</span> Nothing recorded yet</h2></section>'
    shape = sign(found.kind)
    kind = {"✓": "healthy", "…": "early"}.get(shape, "ill")
    since = f'<p class="quiet">This {text(since_words(found))}.</p>' if found.since is not None else ""
    causes = f"<h3>Likely causes, the likeliest first</h3>{points(found.causes)}" if found.causes else ""
    missing = f"<h3>What is missing</h3>{points(found.missing)}" if found.missing else ""
    read = f'<p class="quiet">Read from the record up to step {found.step:,}.</p>'
    read = "" if found.kind == "nothing trained" else read
    return (
        f'<section class="verdict {kind}"><h2><span>{shape}</span> {text(found.title)}</h2>{since}'
        f'<p>{text(found.sentence)}</p><p class="advice">{text(found.advice)}</p>{causes}{missing}'
        f"{evidence_table(found)}{read}</section>"
    )


def _scores(record: RunRecord, scene: figures.Scene) -> str:
    from twist.runs.clustering import scores_of

    try:
        found, watch = scores_of(record), record.watch()
    except RecordError:  # the section on the images says what is wrong
        return ""
    if found is None or watch is None or watch.labels is None:
        return ""
    scores = found._asdict()
    rows = [
        (name.replace("_", " "), f"{100 * scores[name]:.1f} %", words)
        if "_" in name
        else (name.upper(), f"{scores[name]:.3f}", words)
        for name, words in _SCORES.items()
    ]
    labeled = int((watch.labels >= 0).sum())
    saw = "the labeler" if record.frozen else "the run"
    when = "" if record.frozen else f"; step {record.snapshot_steps()[-1]:,}"
    return (
        "<section><h2>How well the classes match the labels</h2>"
        f"<p>Labels are used only here: {saw} never saw them. {labeled:,} of {len(watch):,} watched images have one"
        f"{when}.</p>"
        f"{table_html(('score', 'value', 'what it says'), rows, numbers=(1,))}"
        f"{labels_figure(record, scene)}</section>"
    )


def _curves(record: RunRecord, scene: figures.Scene, found: Verdict | None) -> str:
    metrics, snapshots = record.metrics(), record.snapshot_metrics()
    curves = figure_html(
        figures.entropy_curves(metrics, scene, snapshots=snapshots),
        "Healthy: mutual information, the gap between diversity and sharpness, climbs toward its cap while consistency "
        "falls. Dashed lines are what is possible. The floor of sharpness comes from the norm before the softmax and "
        "holds for training batches only; circles are the watched images, which are not augmented.",
    )
    plane = figure_html(
        figures.entropy_plane(metrics, scene, snapshots=snapshots, step=found.since if found and found.alarm else None),
        "Every state of a network lies in the triangle. The height above its lower edge is the mutual information I: a "
        "run that slides along that edge learns nothing, whatever its loss says. Hatched is what batches of this run "
        "cannot reach; the watched images (circles) may, because running statistics do not bind them. A ring marks the "
        "step at which the verdict could first be said, where something went wrong.",
        narrow=not figures.is_magnified(scene),
    )
    return f"<section><h2>What the loss did</h2>{curves}{plane}</section>"


def _classes(snapshot: Snapshot | None, scene: figures.Scene, problem: str) -> str:
    heading = "<h2>What the classes are</h2>"
    if snapshot is None:
        return f"<section>{heading}<p>{text(problem)}</p></section>"
    usage = half_figure_html(
        figures.class_usage(snapshot, scene),
        "Even bars are good only if the images are also sorted with some certainty, at the right: under a uniform "
        "collapse the bars may look even and mean nothing.",
    )
    entropies = half_figure_html(
        figures.sample_entropy_histogram(snapshot, scene),
        "At the left edge an image belongs to one class without doubt; at log C the network says nothing about it.",
    )
    return f'<section>{heading}<div class="pair">{usage}{entropies}</div></section>'


def _explorer(record: RunRecord, snapshot: Snapshot | None, no_map: str) -> str:
    if snapshot is None:
        return ""
    try:
        explorer = explorer_html(record, snapshot.step, no_map=no_map)
    except RecordError as error:
        return f"<section><h2>The images, class by class</h2><p>{text(error)}</p></section>"
    return (
        "<section><h2>The images, class by class</h2><p>Point at the map to see an image; choose a class to see its "
        f'members, the surest first.</p><div class="explorer">{explorer}</div></section>'
    )


def _recipe(record: RunRecord) -> str:
    recipe, default, rows, group = record.recipe, Recipe(), [], ""
    turns = turns_of(record)
    for name in field_names():
        head, _, leaf = name.rpartition(".")
        if head != group:
            group = head
            words = (type(getattr(recipe, head)).__doc__ or "").splitlines()[0] if head else ""
            rows.append(f'<tr class="group"><th colspan="3">{text(head)}: {text(words)}</th></tr>')
        value, usual = field_value(recipe, name), field_value(default, name)
        mark = ' class="changed"' if value != usual else ""
        was = f'<br><span class="quiet">default {text(_spell_field(usual))}</span>' if value != usual else ""
        for turn in [turn for turn in turns if name in turn.changes][-_TURNS_TOLD:]:
            turned = turn.changes[name]
            to = _spell_field(tuple(turned) if isinstance(turned, list) else turned)
            was += f'<br><span class="quiet">turned to {text(to)} at step {turn.step:,}</span>'
        rows.append(
            f"<tr><td><code>{text(leaf)}</code></td><td{mark}>{text(_spell_field(value))}{was}</td>"
            f"<td>{text(field_help(name))}</td></tr>"
        )
    return (
        "<section><h2>The recipe, to the last number</h2><p>Bold values differ from the default.</p>"
        f'<table class="recipe"><thead><tr><th>field</th><th>value</th><th>what it means</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _spell_field(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return ", ".join(map(_spell_field, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _footer(record: RunRecord) -> str:
    identity = record.identity
    code = identity.get("code") or {}
    state = f"commit {code['commit'][:12]}" if code.get("commit") else "no commit known"
    if code.get("changes"):
        state += f" with changes {code['changes']}"
    damaged = f" · {record.bad_lines} damaged log lines left out" if record.bad_lines else ""
    facts = f"run {record.name} · id {identity.get('id')} · twist {identity.get('twist')} · {state}{damaged}"
    again = f"twist report {record.name}"
    return (
        f"<footer><p>{text(facts)}</p><p>This file is complete: it asks nothing of the network. "
        f"Made by <code>{text(again)}</code>.</p></footer>"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Pieces


def _newest_snapshot(record: RunRecord) -> tuple[Snapshot | None, str]:
    try:
        return record.snapshot(), ""
    except RecordError as error:
        return None, str(error)


def _await_map(record: RunRecord) -> str:
    """Have the map of the newest snapshot made; the reason why there is none, empty when there is one."""
    try:
        if record.watch() is None:
            return ""
        step = record.snapshot().step
    except RecordError:  # its section says what is wrong
        return ""
    try:
        wait_layout(record.path, step)
    except (RecordError, OSError) as error:  # OSError: took too long, or the run folder cannot be written
        lines = str(error).splitlines() or [type(error).__name__]
        return " … ".join(dict.fromkeys((lines[0], lines[-1])))
    return ""
