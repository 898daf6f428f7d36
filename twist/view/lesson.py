"""A recorded experiment as a lesson: one HTML file with a slider through time, for any browser, without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twist.runs.config import ConfigError, field_names, field_value
from twist.runs.experiments import EXPERIMENTS
from twist.runs.record import RunRecord
from twist.runs.status import ALIVE, read_status
from twist.runs.store import RecordError, write_atomic
from twist.runs.watched import Watch
from twist.view.browser import ALONE, script, style
from twist.view.lesson_images import images_table
from twist.view.lesson_notes import notes_html, question_html
from twist.view.lesson_page import page_html
from twist.view.lesson_tables import (
    Frames,
    chosen_rows,
    frames_of,
    frames_table,
    knobs_of,
    turn_tables,
    verdict_tables,
    way_table,
)
from twist.view.pages import text
from twist.view.provenance import provenance
from twist.view.scene import run_path
from twist.view.toy_page import toy_html

#: The experiment that a browser computes itself.
TOY = "toy"
_MOST_RUNS = 2
_MOST_NOTES = 200_000  # characters
# Bytes before they become text: with scripts and verdicts a page stays below five megabytes.
_FRAMES_BUDGET, _SHEETS_BUDGET = 1_900_000, 900_000
_MOST_QUESTIONS = 6

_SCRIPT = script(
    "dom",
    "thumbnails",
    "lab_bounds",
    "lab_canvas",
    "lab_plane",
    "lab_simplex",
    "lesson_data",
    "lesson_timeline",
    "lesson_inspector",
    "lesson_gallery",
    "lesson",
)
_STYLE = style("base", "lesson")


class _Shown(NamedTuple):
    """One run of a lesson: its record, and those of its images that are shown."""

    record: RunRecord
    watch: Watch | None
    problem: str


def write_lesson(
    runs: Any = "last", path: Path | str | None = None, *, title: str = "", notes: Path | str | None = None
) -> Path:
    """Write a recorded run, or two side by side, as one HTML file that needs neither kernel nor network.

    The page has a slider through time, the entropy plane with the way of the run, every image between its classes, the
    verdict at each time, and the turned knobs. Below five megabytes, whatever the run holds: of large ones it shows a
    part, and says so.

    Parameters
    ----------
    runs
        A handle, a name, a path or ``last``; or two of them, as a list; or ``toy`` for the lab of points in the plane,
        which trains in the browser.
    path
        The file to write; none means ``lesson.html`` in the first run's folder, ``toy.html`` here for the toy. Its
        folder is made if need be.
    title
        What stands on top; none means the names of the runs.
    notes
        A file of notes in Markdown, shown below the pictures: see `twist.view.lesson_notes.notes_html`.

    Raises
    ------
    ConfigError
        When there is no such run, nothing was trained in it, more than two are given, the notes cannot be read, or the
        file cannot be written.
    RecordError
        When a run folder cannot be read. A missing or damaged part of it is said in the page instead.

    Examples
    --------
    ::

        run = twist.launch("lab")
        ...
        twist.write_lesson(run, "collapse.html", title="What if nothing asks for sharpness?")
    """
    given = list(runs) if isinstance(runs, list | tuple) else [runs]
    if given == [TOY]:
        return write_toy_lesson(path, title=title, notes=notes)
    if not 1 <= len(given) <= _MOST_RUNS:
        raise ConfigError(f"a lesson shows one run, or two side by side: {len(given)} are given")
    if any(isinstance(each, str) and each == TOY for each in given):
        raise ConfigError("the toy is a lesson of its own, with two panes if you like: give it alone")
    told = _read_notes(notes)
    records = [RunRecord(run_path(each)) for each in given]
    for record in records:
        record.poll()
    page = lesson_html(records, title=title, notes=told)
    return _write(records[0].path / "lesson.html" if path is None else Path(path), page)


def write_toy_lesson(
    path: Path | str | None = None,
    *,
    title: str = "",
    notes: Path | str | None = None,
    start: Mapping[str, Any] | None = None,
) -> Path:
    """Write the lab of points in the plane as one HTML file: it trains in any browser, without kernel and network.

    Parameters
    ----------
    path
        The file to write; none means ``toy.html`` here.
    title, notes
        As of `write_lesson`.
    start
        What is set up, see `twist.view.toy_page.toy_html`; the page's address can say otherwise.

    Raises
    ------
    ConfigError
        When the notes cannot be read, or the file cannot be written.
    """
    told = _read_notes(notes)
    page = toy_html(title=title, notes=notes_html(told) if told else "", start=start)
    return _write(Path("toy.html") if path is None else Path(path), page)


def _write(target: Path, page: str) -> Path:
    target = target.expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, page.encode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"the lesson cannot be written to {target}: {reason}; give another file") from error
    return target


def _read_notes(notes: Path | str | None) -> str:
    if notes is None:
        return ""
    file = Path(notes).expanduser()
    try:
        told = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise ConfigError(f"the notes {file} cannot be read: {reason}") from error
    if len(told) > _MOST_NOTES:
        raise ConfigError(f"the notes {file} have {len(told):,} characters: give {_MOST_NOTES:,} or fewer")
    return told


def lesson_html(records: Sequence[RunRecord], *, title: str = "", notes: str = "") -> str:
    """The page of one run or two, as far as their records were polled; ``notes`` is Markdown.

    Raises
    ------
    ConfigError
        When nothing was trained in one of the runs, or it has not logged a step yet.
    """
    shown = [_shown(record) for record in records]
    classes = max(record.recipe.network.num_classes for record in records)
    rows = chosen_rows([each.watch for each in shown], classes)
    sources = [frames_of(each.record, each.watch, chosen) for each, chosen in zip(shown, rows, strict=True)]
    images = _images(shown, rows)
    budget = _FRAMES_BUDGET // len(records)
    runs = [
        _run_table(each, frames, place if len(images) > 1 else 0, budget)
        for place, (each, frames) in enumerate(zip(shown, sources, strict=True))
    ]
    for run, letter in zip(runs, "AB", strict=False):
        run["letter"] = letter if len(runs) > 1 else ""
    title = title or " and ".join(record.name for record in records)
    values = {"title": title, "runs": runs, "images": images}
    questions = "" if notes else _questions(records, runs)
    told = notes_html(notes) if notes else questions
    heading = "" if notes or not questions else "<h3>Before you look</h3>"
    lines = "".join(f"<p>{text(run['provenance'])}</p>" for run in runs)
    again = "twist export-lesson " + " ".join(record.name for record in records)
    return page_html(
        title,
        draw=f'{_SCRIPT}{ALONE}\nrenderAlone(document.getElementById("lesson"));\n',
        look=_STYLE,
        values=values,
        below=f'<article class="lesson-notes">{heading}{told}</article>' if told else "",
        footer=f"{lines}<p>This file is complete: it asks nothing of the network. Made by "
        f"<code>{text(again)}</code>.</p>",
    )


def _shown(record: RunRecord) -> _Shown:
    if record.frozen:
        raise ConfigError(
            f"nothing was trained in {record.name}, so there is no time to slide through: "
            f"`twist report {record.name}` shows its classes"
        )
    if not len(record.metrics()):
        raise ConfigError(f"run {record.name} has not logged a step yet: export it when it has")
    try:
        watch, problem = record.watch(), ""
    except RecordError as error:
        watch, problem = None, f"The images cannot be shown: {error}."
    return _Shown(record, watch, problem)


def _images(shown: Sequence[_Shown], rows: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """The images of the runs: once where both show the same."""
    ids = [
        None if each.watch is None else np.asarray(each.watch.sample_ids)[chosen]
        for each, chosen in zip(shown, rows, strict=True)
    ]
    alike = len(ids) == 2 and ids[0] is not None and ids[1] is not None and np.array_equal(ids[0], ids[1])
    same_set = alike and len({each.record.images_fingerprint or each.record.recipe.data.source for each in shown}) == 1
    if same_set or len(shown) == 1:
        shown, rows = shown[:1], rows[:1]
    budget = _SHEETS_BUDGET // len(shown)
    return [
        {} if each.watch is None else images_table(each.watch, chosen, budget)
        for each, chosen in zip(shown, rows, strict=True)
    ]


def _run_table(shown: _Shown, frames: Frames | None, images: int, budget: int) -> dict[str, Any]:
    record = shown.record
    recipe, start = record.recipe, record.last("start") or {}
    num_classes = recipe.network.num_classes
    turns = turn_tables(record)
    at = [turn["step"] for turn in turns]
    heads = recipe.network.num_heads
    found = frames_table(frames, num_classes, at, budget, num_heads=heads) if frames is not None else {}
    status = read_status(record.path)
    newest = int(record.metrics().index[-1])
    state = f"It was still {status.state.lower()} at step {newest:,}." if status.state in ALIVE else ""
    return {
        "name": record.name,
        "num_classes": num_classes,
        "batch_size": int(start.get("batch_size") or recipe.optim.batch_size),
        "final_norm": recipe.network.final_norm,
        "seed": recipe.seed,
        "source": recipe.data.source,
        "newest": newest,
        "knobs": knobs_of(recipe),
        "way": way_table(record, at),
        "frames": found,
        "images": images,
        "turns": turns,
        "verdicts": verdict_tables(record),
        "provenance": provenance(record, newest),
        "said": [line for line in (state, shown.problem) if line],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Questions to ask before anybody looks


def _questions(records: Sequence[RunRecord], runs: Sequence[dict[str, Any]]) -> str:
    """What to ask of these runs, each with its answer behind it."""
    asked = list[tuple[str, str]]()
    if len(records) == 2:
        changed = _differences(*records)
        words = f"They differ in {changed}" if changed else "They have one recipe"
        asked.append((f"{words}. Where in the plane will A end, and where B?", " ".join(map(_ended, runs))))
    for record, run in zip(records, runs, strict=True):
        named = next((each for each in EXPERIMENTS if _is_experiment(record, dict(each.digits))), None)
        who = f"{run['letter']}: " if run["letter"] else ""
        if named is not None and not run["turns"]:
            asked.append((f"{who}{named.question}", named.answer))
        elif len(records) == 1:
            asked.append(("Where in the plane will the point end, and where will the images gather?", _ended(run)))
        for turn, then in zip(run["turns"], [*run["turns"][1:], None], strict=False):
            until = run["newest"] if then is None else then["step"]
            late = [each for each in run["verdicts"] if turn["step"] < each["step"] <= until][-1:]
            answer = f"By step {late[0]['step']:,}: {late[0]['title']}. {late[0]['sentence']}" if late else ""
            asked.append(
                (f"{who}At step {turn['step']:,} somebody turns a knob: {turn['words']}. What follows?", answer)
            )
    return "".join(question_html(question, answer) for question, answer in asked[:_MOST_QUESTIONS])


def _ended(run: dict[str, Any]) -> str:
    who = f"{run['letter']}: " if run["letter"] else ""
    last = run["verdicts"][-1] if run["verdicts"] else None
    return f"{who}{last['title']}. {last['sentence']}" if last else f"{who}nothing is known of its end."


def _differences(one: RunRecord, other: RunRecord) -> str:
    """Fields in which two recipes differ, in words; empty where they do not."""
    quiet = {"name", "device"}
    first = {name: place for place, name in enumerate(field for each in EXPERIMENTS for field in each.digits)}
    found = [
        f"{name.rpartition('.')[2].replace('_', ' ')} ({_spell(one, name)} and {_spell(other, name)})"
        for name in sorted(field_names(), key=lambda name: first.get(name, len(first)))
        if name not in quiet
        and not name.startswith("record.")
        and field_value(one.recipe, name) != field_value(other.recipe, name)
    ]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(found[:4]) + more


def _spell(record: RunRecord, name: str) -> str:
    value = field_value(record.recipe, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _is_experiment(record: RunRecord, knobs: dict[str, Any]) -> bool:
    """Whether a run of the lab's recipe has just these knobs."""
    from twist.runs.recipes.lab import lab

    if record.recipe.name != "lab":
        return False
    base = lab()
    fields = {name for each in EXPERIMENTS for name in each.digits if name != "views.strength"}
    return all(field_value(record.recipe, name) == knobs.get(name, field_value(base, name)) for name in fields)
