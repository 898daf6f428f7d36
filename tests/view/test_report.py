"""The report is one file that needs nothing, says everything, and lets no name act."""

import base64
import html
import json
import re

import pytest
from synthetic import KINDS, make_run

from twist.runs.config import Recipe, field_help, field_names
from twist.runs.folders import create_run
from twist.runs.record import RunWriter
from twist.runs.store import RecordError
from twist.view import layout as maps
from twist.view import placing, report
from twist.view.report import write_report


def report_of(run, output=None):
    """The report at once, without a map by UMAP."""
    return write_report(run, output, wait_for_map=False)


def text_of(path) -> str:
    """What a person reads: the page without scripts, styles and tags."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def figures_of(path) -> list[dict]:
    found = re.findall(r'class="plot"[^>]*><script type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)
    return [json.loads(figure) for figure in found]


def test_the_report_of_a_run_holds_every_section(tmp_path):
    path = report_of(make_run(tmp_path, name="first", histories=True))
    assert path == tmp_path / "first" / "report.html" and path.stat().st_size < 8e6
    text = text_of(path)
    for part in ("first", "seed", "Healthy", "Labels are used only here", "matched accuracy", "class by class"):
        assert part in text
    titles = [figure["layout"]["title"]["text"].split("</b>")[0][3:] for figure in figures_of(path)]
    assert titles == [
        "How well the classes match the labels",
        "How the terms of the loss move",
        "Where the run stands",
        "10 of 10 classes are used",
        "Classes an image hesitates between",
        "How sure the network is of each image",
        "How sure training is of each image",
        "Some images, followed",
        "Settled, hesitating, forgotten",
        "10 of 10 classes live; born: 0, died: 0",
        "Do images keep their class?",
        titles[11],
        "Which term pulls",
        "How large the gradient is",
        "How far the logits spread",
        "Views together, images apart",
        "How many directions the features span",
        "The spectrum of the features",
        titles[18],
    ]
    assert "stayed together" in titles[11] and "explains" in titles[18]


def test_what_is_missing_is_said_with_how_to_get_it(tmp_path):
    text = " ".join(text_of(report_of(make_run(tmp_path / "few", snapshots=1))).split())
    assert "one snapshot is on record: train longer, or lower record.snapshot_every_epochs (here 5)" in text
    text = " ".join(text_of(report_of(create_run(Recipe(), name="new", root=tmp_path))).split())
    for part in ("There are no watched images yet", "No collapse numbers are on record", "This takes a snapshot"):
        assert part in text
    assert "Training kept no entropies" in text_of(report_of(make_run(tmp_path / "old")))


def test_the_report_of_many_classes_stays_small_and_complete(tmp_path):
    path = report_of(make_run(tmp_path, num_classes=1000, histories=True))
    assert path.stat().st_size < 8e6 and "largest at the top (100 of 1,000)" in path.read_text()


def test_every_field_of_the_recipe_stands_there_with_its_sentence(tmp_path):
    text = " ".join(text_of(report_of(make_run(tmp_path))).split())
    for name in field_names():
        assert " ".join(field_help(name).split()) in text, name


def test_fields_that_differ_from_the_default_are_marked(tmp_path):
    page = report_of(make_run(tmp_path, epochs=7)).read_text()
    assert '<td class="changed">7<br><span class="quiet">default 100</span></td>' in page


def test_nothing_can_be_fetched_or_sent(tmp_path):
    page = report_of(make_run(tmp_path)).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy and "http" not in policy and "connect-src" not in policy
    assert not re.search(r'<(script|link|img|iframe)[^>]+(src|href)="?http', page)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_a_report_with_its_verdict(tmp_path, kind):
    from twist.runs.record import RunRecord
    from twist.runs.verdict import verdict

    run = make_run(tmp_path, kind)
    record = RunRecord(run)
    record.poll()
    assert verdict(record).title in text_of(report_of(run))


def test_a_run_without_labels_has_no_scores(tmp_path):
    assert "matched accuracy" not in text_of(report_of(make_run(tmp_path, labels=False)))


def test_a_run_that_never_started_has_a_report_that_says_so(tmp_path):
    text = text_of(report_of(create_run(Recipe(), name="new", root=tmp_path)))
    assert "Nothing recorded yet" in text and "run new has no snapshot yet" in text


def test_a_damaged_snapshot_is_said_in_the_report(tmp_path):
    run = make_run(tmp_path)
    for file in run.glob("snapshots/*/assignment.npy"):
        file.write_bytes(b"")
    assert "assignment.npy has 0 bytes" in text_of(report_of(run))


def test_a_manifest_that_names_a_file_outside_the_run_does_not_bring_it_into_the_report(tmp_path):
    run = make_run(tmp_path / "runs", name="first")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"canary-7c1f" * 30)
    manifest = json.loads((run / "watch" / "manifest.json").read_text())
    (run / "watch" / "manifest.json").write_text(json.dumps({**manifest, "sheets": [str(secret)]}))
    path = report_of(run)
    assert base64.b64encode(secret.read_bytes())[:100].decode() not in path.read_text()
    assert "has the sheet" in text_of(path) and "Healthy" in text_of(path)


def test_the_time_in_the_report_is_the_training_time_of_the_record(tmp_path):
    from twist.runs.record import RunRecord
    from twist.view.monitor import duration

    run = make_run(tmp_path)
    writer = RunWriter(run, 2)
    writer._began -= 4000  # an hour went by before this attempt began to train
    writer.event("start", step=140, from_step=140, steps_per_epoch=7, total_steps=140)
    writer.close()
    record = RunRecord(run)
    record.poll()
    assert record.train_seconds < 60
    assert f"time {duration(record.train_seconds)} created" in " ".join(text_of(report_of(run)).split())


def test_hostile_names_stay_text(tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>"
    recipe = Recipe(name=hostile)
    run = make_run(tmp_path, name="first", label_names=[hostile] * 10)
    settings = json.loads((run / "recipe.json").read_text())
    settings["name"] = settings["data"]["source"] = hostile
    (run / "recipe.json").write_text(json.dumps(settings))
    page = report_of(run.rename(tmp_path / "<img src=x onerror=alert(2)>")).read_text()
    assert "<img src=x" not in page and recipe.name in html.unescape(page)


def test_the_report_goes_where_it_is_asked_to(tmp_path):
    output = tmp_path / "new" / "folder" / "page.html"
    assert report_of(make_run(tmp_path), output) == output and output.is_file()
    assert not list(output.parent.glob(".*"))


def explorers_of(path) -> list[dict]:
    found = re.findall(
        r'<div id="twist-\w+"><script type="application/json">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return [json.loads(values) for values in found]


def umap_at_once(monkeypatch) -> list:
    """Maps are made by the test itself, and the steps that were waited for are listed."""
    asked = []

    def wait(path, step):
        asked.append(step)
        return maps.make_layout(path, step)

    monkeypatch.setattr(placing, "_umap", lambda ground, start, tell: start)
    monkeypatch.setattr(report, "wait_layout", wait)
    return asked


def test_the_map_of_the_newest_snapshot_is_waited_for(tmp_path, monkeypatch):
    run, asked = make_run(tmp_path), umap_at_once(monkeypatch)
    maps.make_layout(run, 0)  # an older map is not enough
    placement = explorers_of(write_report(run))[0]["placement"]
    assert asked == [140]
    assert (placement["method"], placement["step"]) == ("umap", 140)


def test_nothing_is_waited_for_when_nobody_asks_or_nothing_can_be_placed(tmp_path, monkeypatch):
    asked = umap_at_once(monkeypatch)
    assert explorers_of(report_of(make_run(tmp_path)))[0]["placement"]["method"] == "pca"
    assert explorers_of(write_report(create_run(Recipe(), name="new", root=tmp_path))) == []
    assert asked == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RecordError("no map of first was made: Traceback\n  many lines\nMemoryError"), "Traceback … MemoryError"),
        (TimeoutError("the map of first is not ready after 180 s; it goes on"), "not ready after 180 s"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
    ids=["failed", "late", "read-only"],
)
def test_a_map_that_could_not_be_made_is_replaced_by_pca_with_the_reason(error, words, tmp_path, monkeypatch):
    def fail(path, step):
        raise error

    monkeypatch.setattr(report, "wait_layout", fail)
    placement = explorers_of(write_report(make_run(tmp_path)))[0]["placement"]
    assert placement["method"] == "pca"
    assert placement["made"].startswith("PCA of the features (") and words in placement["made"]


@pytest.mark.slow
def test_a_report_joins_the_process_that_was_started_with_the_run(tmp_path):
    run = make_run(tmp_path)
    started = maps.start_layout(run, wait=True)
    assert explorers_of(write_report(run))[0]["placement"]["method"] == "umap"
    assert started.wait(60) == 0
