"""Lessons: what a page holds of a run, how little it weighs, and what becomes of runs and notes that are odd."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib

import numpy as np
import pytest
from synthetic import make_run, read

from twist.cli import main
from twist.runs import outputs
from twist.runs.config import ConfigError, to_dict
from twist.runs.experiments import experiment
from twist.runs.recipes.lab import lab
from twist.runs.record import RunWriter
from twist.runs.status import Status
from twist.runs.store import npy_bytes, write_json
from twist.runs.turns import Plan, Turn, strength_changes, with_turns, write_plan
from twist.view.lesson import lesson_html, write_lesson, write_toy_lesson
from twist.view.lesson_notes import notes_html
from twist.view.lesson_tables import Frames, chosen_rows, frames_of, frames_table, turn_words

HOSTILE = "</script><img src=x onerror=alert(1)>"


def values_of(page: str) -> dict:
    """The values of a page, with its packed columns as bytes."""
    found = re.search(r'<main id="lesson"><script type="application/json">(.*?)</script>', page, re.DOTALL)
    unpack = lambda each: base64.b64decode(each["base64"]) if set(each) == {"base64"} else each  # noqa: E731
    return json.loads(found[1], object_hook=unpack)


def column(packed: bytes, dtype: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(packed), dtype)


def add_outputs(path, probs: np.ndarray, steps: list[int]) -> None:
    """Frames of outputs, float ``[F, N, C]``, at steps."""
    folder = path / outputs.OUTPUTS
    folder.mkdir()
    for step, frame in zip(steps, probs, strict=True):
        (folder / outputs.output_file(step)).write_bytes(npy_bytes(np.round(255 * frame).astype(np.uint8)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("lesson"), name="taught", num_classes=3, histories=True)


@pytest.fixture(scope="module")
def page(run):
    return lesson_html([read(run)])


def test_a_page_holds_what_the_record_holds(run, page):
    record, shown = read(run), values_of(page)["runs"][0]
    way, table = shown["way"], record.metrics()
    steps = column(way["step"], "<i4")
    assert set(steps) <= set(table.index) and steps[-1] == table.index[-1]
    np.testing.assert_allclose(column(way["sharpness"], "<f4"), table["train/sharpness"][steps], rtol=1e-6)
    frames = shown["frames"]
    assert frames["kind"] == "snapshots" and frames["steps"] == record.snapshot_steps()
    assert (frames["images"], frames["kept"], frames["classes"]) == (300, 3, b"")
    probs = column(frames["probs"], "u1").reshape(len(frames["steps"]), 300, 3)
    snapshot = record.snapshot(frames["steps"][2])
    assert np.array_equal(probs[2].argmax(1), snapshot.assignment)
    np.testing.assert_allclose(probs[2].max(1) / 255, snapshot.confidence, atol=0.5 / 255 + 1e-6)
    entropy = column(frames["entropy"], "u1").reshape(-1, 300)[2] / 254 * math.log(3)
    np.testing.assert_allclose(entropy, snapshot.sample_entropy, atol=0.6 / 254 * math.log(3))


def test_a_page_says_the_verdict_of_every_time(run, page):
    said = values_of(page)["runs"][0]["verdicts"]
    assert said[0]["kind"] == "too early to say" and said[0]["sign"] == "…"
    assert said[-1]["kind"] == "healthy" and said[-1]["level"] == "good"
    assert [each["step"] for each in said] == sorted({each["step"] for each in said})


def test_a_page_is_small_and_names_no_address_outside(page):
    assert len(page.encode()) < 1_000_000
    assert "default-src 'none'" in page
    rest = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\((?!\$)", rest.split('<script type="module">')[0])
    assert not re.findall(r"https?://", rest)


def test_outputs_go_before_snapshots_and_an_image_not_seen_is_said_so(tmp_path):
    path = make_run(tmp_path, name="outputs", num_classes=3)
    probs = np.random.default_rng(0).dirichlet([0.4] * 3, (12, 300))
    probs[0, 7] = 0
    add_outputs(path, probs, list(range(10, 130, 10)))
    frames = values_of(lesson_html([read(path)]))["runs"][0]["frames"]
    assert frames["kind"] == "outputs" and frames["steps"] == list(range(10, 130, 10))
    entropy = column(frames["entropy"], "u1").reshape(12, 300)
    assert entropy[0, 7] == 255 and (entropy == 255).sum() == 1
    exact = -(probs[3] * np.log(probs[3])).sum(1) / math.log(3) * 254
    assert np.abs(entropy[3] - exact).max() < 8  # the outputs are kept in 255ths


def test_outputs_beyond_the_record_are_those_of_an_attempt_that_was_taken_back(tmp_path):
    path = make_run(tmp_path, name="back", num_classes=3)
    newest = read(path).metrics().index[-1]
    add_outputs(path, np.full((3, 300, 3), 1 / 3), [10, 20, newest + 50])
    record = read(path)
    assert frames_of(record, record.watch(), np.arange(300)).steps == [10, 20]


def test_frames_give_way_to_their_budget_and_those_near_turns_stay(tmp_path):
    path = make_run(tmp_path, name="many", num_classes=3)
    rng = np.random.default_rng(0)
    add_outputs(path, rng.dirichlet([1] * 3, (60, 300)), list(range(1, 121, 2)))
    record = read(path)
    frames = frames_of(record, record.watch(), np.arange(300))
    whole = frames_table(frames, 3, [], 10**9)
    assert len(whole["steps"]) == 60 and whole["said"] == ""
    part = frames_table(frames, 3, [50], 20_000)
    size = sum(len(part[name]) for name in ("probs", "classes", "entropy"))
    assert size <= 20_000 and 2 < len(part["steps"]) < 30
    assert {49, 51} <= set(part["steps"]) and {1, 119} <= set(part["steps"])
    assert part["said"] == f"{len(part['steps'])} of 60 recorded moments are shown."


def test_many_classes_keep_their_likeliest_and_few_enough_images(tmp_path):
    path = make_run(tmp_path, name="hundred", num_classes=100)
    shown = values_of(lesson_html([read(path)]))["runs"][0]
    frames = shown["frames"]
    assert shown["num_classes"] == 100 and frames["kept"] == 3
    classes = column(frames["classes"], "u1").reshape(len(frames["steps"]), 300, 3)
    assert np.array_equal(classes[-1, :, 0], read(path).snapshot().assignment)
    assert "3 likeliest classes" in frames["said"]
    watch = read(path).watch()
    assert [len(rows) for rows in chosen_rows([watch], 100_000)] == [4]
    chosen = chosen_rows([watch], 3, most=100)[0]
    assert len(chosen) == 100 and np.array_equal(chosen, np.unique(chosen))


def test_classes_keep_their_names_when_another_head_speaks():
    truth = np.arange(60) % 3
    renamed = np.array([2, 0, 1])  # what the other head calls them

    def read_frame(step: int):
        probs = np.full((60, 3), 0.1)
        probs[np.arange(60), renamed[truth] if step < 30 else truth] = 0.8
        return None, probs, np.full(60, 0.64)

    frames = Frames("snapshots", [0, 10, 30, 40], read_frame)
    for heads, same in ((4, True), (1, False)):
        found = frames_table(frames, 3, [], 10**6, num_heads=heads)
        likeliest = column(found["probs"], "u1").reshape(4, 60, 3).argmax(2)
        assert np.array_equal(likeliest[3], truth) and np.array_equal(likeliest[0], truth) == same
        assert ("matched to the newest" in found["said"]) == same


def test_an_experiment_of_the_lab_asks_its_own_question(tmp_path):
    path = make_run(tmp_path, name="lab", num_classes=3, kind="uniform")
    for changes, name in (({}, "healthy"), ({"objective__sharpness_weight": 0.0}, "uniform")):
        write_json(path / "recipe.json", to_dict(lab().replace(**changes)))
        asked = experiment(name)
        assert f"<summary>{asked.question}</summary><p>{asked.answer}</p>" in lesson_html([read(path)])
    write_json(path / "recipe.json", to_dict(lab().replace(objective__sharpness_weight=0.37)))
    assert "<summary>Where in the plane will the point end, and where" in lesson_html([read(path)])


def test_what_is_not_finite_is_not_shown_as_the_last_that_was(tmp_path):
    path = make_run(tmp_path, name="nan", num_classes=3, kind="not-finite")
    way = values_of(lesson_html([read(path)]))["runs"][0]["way"]
    assert np.isnan(column(way["consistency"], "<f4")[-1]) and np.isfinite(column(way["consistency"], "<f4")[0])
    assert np.isfinite(column(way["agreement"], "<f4")[-1])


def test_a_run_that_goes_on_is_said_to(run, monkeypatch):
    monkeypatch.setattr("twist.view.lesson.read_status", lambda path: Status("RUNNING", step=140))
    said = values_of(lesson_html([read(run)]))["runs"][0]["said"]
    assert said == ["It was still running at step 140."]


def test_turned_knobs_are_in_words_and_ask_what_follows(tmp_path):
    path = make_run(tmp_path, name="turned", num_classes=3)
    sharpness, temperature = "objective.sharpness_weight", "objective.temperature"
    pull = [Turn(38, {sharpness: 0.6}), Turn(39, {sharpness: 0.2}), Turn(40, {sharpness: 0.0})]  # of one hand
    write_plan(path, Plan((*pull, Turn(90, {sharpness: 1.0, temperature: 0.5}))))
    page = lesson_html([read(path)])
    turns = values_of(page)["runs"][0]["turns"]
    assert [turn["words"] for turn in turns] == [
        "sharpness weight 1 → 0",
        "sharpness weight 0 → 1, temperature 1 → 0.5",
    ]
    assert turns[0]["weights"]["sharpness"] == 0 and turns[1]["temperature"] == 0.5
    assert "At step 38 somebody turns a knob: sharpness weight 1 → 0. What follows?" in page


def test_one_dial_that_moves_many_ranges_is_one_turn_in_words():
    turn = Turn(5, strength_changes(lab().views, lab().views, 0.5))
    assert len(turn.changes) > 2
    assert turn_words(turn, lab(), with_turns(lab(), [turn]), lab()) == "strength of the views 1 → 0.5"


def test_two_runs_of_one_set_share_their_images_and_say_how_they_differ(run, tmp_path):
    other = make_run(tmp_path, name="flat", num_classes=3, kind="uniform")
    page = lesson_html([read(run), read(other)])
    values = values_of(page)
    assert [each["letter"] for each in values["runs"]] == ["A", "B"]
    assert len(values["images"]) == 1 and {each["images"] for each in values["runs"]} == {0}
    assert values["runs"][1]["verdicts"][-1]["kind"] == "uniform collapse"
    assert "Where in the plane will A end, and where B?" in page


def test_two_runs_show_what_both_watch_and_other_images_stay_their_own(run, tmp_path):
    other = make_run(tmp_path, name="fewer", num_classes=3, num_samples=40)
    values = values_of(lesson_html([read(run), read(other)]))
    assert [each["count"] for each in values["images"]] == [40]
    assert [each["frames"]["images"] for each in values["runs"]] == [40, 40]
    recipe = json.loads((other / "recipe.json").read_bytes())
    recipe["data"]["source"] = "fashion_mnist"
    write_json(other / "recipe.json", recipe)
    values = values_of(lesson_html([read(run), read(other)]))
    assert len(values["images"]) == 2 and [each["images"] for each in values["runs"]] == [0, 1]


def test_names_that_are_markup_end_nothing(tmp_path):
    path = make_run(tmp_path, name="hostile", num_classes=3, label_names=[HOSTILE] * 10)
    page = lesson_html([read(path)], title=HOSTILE, notes=f"# {HOSTILE}\n\nQ: {HOSTILE}\n\nA: {HOSTILE}")
    assert "<img" not in page.split('<script type="module">')[0]
    assert values_of(page)["images"][0]["label_names"][0] == HOSTILE


def test_a_run_without_images_is_its_way_alone(tmp_path):
    path = make_run(tmp_path, name="bare", num_classes=3)
    record = read(path)
    for file in (path / "snapshots").glob("*/manifest.json"):
        file.unlink()
    values = values_of(lesson_html([record]))
    assert values["runs"][0]["frames"] == {} and values["runs"][0]["way"]["points"] > 10
    (path / "watch" / "manifest.json").write_text("{")
    values = values_of(lesson_html([record]))
    assert "The images cannot be shown" in values["runs"][0]["said"][0]
    (path / "watch" / "manifest.json").unlink()
    assert values_of(lesson_html([record]))["images"] == [{}]


def test_a_damaged_sheet_leaves_the_dots(run, tmp_path):
    path = make_run(tmp_path, name="sheetless", num_classes=3)
    next((path / "watch").glob("sheet-*")).write_bytes(b"no picture")
    images = values_of(lesson_html([read(path)]))["images"][0]
    assert images["sheets"] == [] and images["count"] == 300
    assert "Pictures are missing" in images["said"]


def test_a_set_of_large_images_is_made_small(tmp_path):
    path = make_run(tmp_path, name="large", num_classes=3, num_samples=20)
    images = np.random.default_rng(0).integers(0, 255, (700, 3, 64, 64)).astype(np.uint8)
    for file in (path / "watch").iterdir():
        file.unlink()
    (path / "watch").rmdir()
    RunWriter(path, 9).watch(images, np.arange(700))
    add_outputs(path, np.random.default_rng(0).dirichlet([1] * 3, (20, 700)), list(range(1, 21)))
    page = lesson_html([read(path)])
    assert len(page.encode()) < 5_000_000  # noise: nothing compresses less
    shown = values_of(page)["images"][0]
    assert shown["tile"] < 64 and shown["sheet_type"] == "image/jpeg"


def test_a_run_without_a_step_a_frozen_one_and_three_are_refused(tmp_path, run):
    early = make_run(tmp_path, name="none", num_classes=3)
    for segment in (early / "events").glob("*.jsonl"):
        segment.write_bytes(b"")
    with pytest.raises(ConfigError, match="has not logged a step yet"):
        write_lesson(early, tmp_path / "x.html")
    frozen = make_run(tmp_path, name="frozen", num_classes=3)
    identity = json.loads((frozen / "run.json").read_bytes())
    write_json(frozen / "run.json", identity | {"frozen": {"model": "dinov2", "labeler": "kmeans", "seconds": 1}})
    with pytest.raises(ConfigError, match="nothing was trained in frozen"):
        write_lesson(frozen, tmp_path / "x.html")
    with pytest.raises(ConfigError, match="3 are given"):
        write_lesson([run, run, run], tmp_path / "x.html")
    with pytest.raises(ConfigError, match="give it alone"):
        write_lesson([run, "toy"], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_places_that_cannot_be_written_and_notes_that_cannot_be_read_are_named(run, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"cannot be written to .*lesson.html: .*give another file"):
        write_lesson(run, tmp_path / "file" / "lesson.html")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_lesson(run, tmp_path)
    with pytest.raises(ConfigError, match="notes .*missing.md cannot be read: No such file"):
        write_lesson(run, tmp_path / "x.html", notes=tmp_path / "missing.md")
    (tmp_path / "bad.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        write_toy_lesson(tmp_path / "x.html", notes=tmp_path / "bad.md")


def test_the_command_writes_where_it_says(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(run.parent))
    assert main(["export-lesson", "taught", "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    facts = json.loads(told[-1])
    assert told[0].startswith(str(run / "lesson.html")) and facts["bytes"] == (run / "lesson.html").stat().st_size
    monkeypatch.chdir(tmp_path)
    assert main(["export-lesson", "toy", "--title", "A <title>"]) == 0
    assert "<title>A &lt;title&gt; · twist</title>" in (tmp_path / "toy.html").read_text("utf-8")
    assert main(["export-lesson", "absent"]) == 2
    assert "absent" in capsys.readouterr().err


def test_the_toy_page_needs_nothing(tmp_path):
    page = write_toy_lesson(tmp_path / "deep" / "toy.html", start={"data": "moons", "hide": ["seed"]}).read_text(
        "utf-8"
    )
    assert len(page.encode()) < 500_000 and "default-src 'none'" in page
    assert not re.findall(r"https?://", page.replace("http://www.w3.org/2000/svg", ""))
    assert values_of(page)["start"] == {"data": "moons", "hide": ["seed"]}
    assert len(values_of(page)["experiments"]) >= 6


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# One\ntwo\nthree", "<h3>One</h3>\n<p>two three</p>"),
        ("*a* **b** `c*d*`", "<p><em>a</em> <strong>b</strong> <code>c*d*</code></p>"),
        ("snake_case_name 2*3*4", "<p>snake_case_name 2*3*4</p>"),
        ("- a\n- b\n  c", "<ul><li>a</li><li>b c</li></ul>"),
        ("2. a\n3. b", "<ol><li>a</li><li>b</li></ol>"),
        ("Q: why?\n\nA: so", "<details><summary>why?</summary><p>so</p></details>"),
        ("Q: why?\nA: so", "<details><summary>why?</summary><p>so</p></details>"),
        ("Q: why?", '<p class="twist-question">why?</p>'),
        ("[at 5](#step=5)", '<p><a href="#step=5">at 5</a></p>'),
        ("[x](javascript:alert)", "<p>[x](javascript:alert)</p>"),
        ("[x](data:text/html,y)", "<p>[x](data:text/html,y)</p>"),
        ("<b>&amp;", "<p>&lt;b&gt;&amp;amp;</p>"),
        ("```\n<b>\n*x*\n```", "<pre><code>&lt;b&gt;\n*x*</code></pre>"),
        ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
        ("", ""),
    ],
)
def test_notes_become_the_little_markup_they_ask_for(markdown, expected):
    assert notes_html(markdown) == expected


def test_notes_of_any_text_hold_no_tag_of_their_own():
    rng = np.random.default_rng(0)
    letters = list("ab <>\"'&`*_[]()#-.:>\n\n!1/\\") + ["Q: ", "A: ", "](#step=1", "https://a.b", "```\n"]
    for _ in range(300):
        page = notes_html("".join(rng.choice(letters, 80)))
        tags = re.findall(r"<[^>]*>", page)
        allowed = r"</?(?:h[3-6]|p|ul|ol|li|em|strong|code|pre|blockquote|details|summary|hr)>|</a>"
        link = r'<a href="(?:#step=\d+|https?://[^"<>]*)"(?: rel="noopener noreferrer" target="_blank")?>'
        assert all(re.fullmatch(rf'{allowed}|{link}|<p class="twist-question">', tag) for tag in tags), tags
