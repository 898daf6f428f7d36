"""The class explorer without a kernel and without a browser: what it sends, what it takes back, what it refuses."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import traitlets
from exploring import Process, from_browser, make_map, until
from PIL import Image
from synthetic import make_run

import twist.view.explorer_core as core
import twist.view.explorer_maps as maps
import twist.view.explorer_page as page
from twist.runs.config import ConfigError
from twist.runs.record import RunRecord
from twist.runs.status import Status
from twist.runs.store import RecordError
from twist.view.classes import ClassExplorer
from twist.view.explorer_page import SCRIPT, STYLE, explorer_html
from twist.view.placing import pca_positions

HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\u2028b", '"&quot;'] + ["x"] * 6


@pytest.fixture
def placing(monkeypatch):
    """No test here starts UMAP: the process that would make the map is a stand-in, and started ones are listed."""
    started = []

    def start(path, step, **follow):
        started.append((Path(path).name, step, Process()))
        return started[-1][2]

    monkeypatch.setattr(maps, "start_layout", start)
    monkeypatch.setattr(maps, "start_frames", lambda path: Process())
    monkeypatch.setattr(core, "_LOOK_EVERY_S", 0.02)
    return started


@pytest.fixture
def explore(placing):
    """Make an explorer that is closed at the end."""
    made = []

    def make(*arguments, **keywords) -> ClassExplorer:
        made.append(ClassExplorer(*arguments, **keywords))
        return made[-1]

    yield make
    for explorer in made:
        explorer.close()


def sent_bytes(explorer: ClassExplorer, work) -> list[int]:
    messages = []
    explorer.comm.send = lambda data=None, metadata=None, buffers=None: messages.append(
        sum(memoryview(b).nbytes for b in buffers or [])
    )
    work()
    return messages


def test_the_browser_gets_what_the_record_holds(tmp_path, explore):
    path = make_run(tmp_path)
    explorer = explore(path)
    record = RunRecord(path)
    record.poll()
    snapshot, watch = record.snapshot(), record.watch()
    sent = explorer.snapshot
    assert (sent["step"], sent["num_classes"], sent["top_k"]) == (140, 10, 3)
    for name, dtype in {"assignment": "<i4", "confidence": "<f4", "sample_entropy": "<f4", "top_probs": "<f4"}.items():
        np.testing.assert_array_equal(np.frombuffer(sent[name], dtype), np.ravel(getattr(snapshot, name)))
    assert np.frombuffer(explorer.watch["sample_ids"], "<f8").tolist() == watch.sample_ids.tolist()
    assert explorer.watch["label_names"] == [f"kind {i}" for i in range(10)]
    assert explorer.watch["sheets"] == [sheet.read_bytes() for sheet in watch.sheets]
    assert len(explorer.palette["classes"]) == len(explorer.palette["labels"]) == 10


def test_a_snapshot_costs_the_wire_its_columns_and_no_more(tmp_path, explore):
    path = make_run(tmp_path, num_samples=1000)
    explorer = explore(path, step=0)
    make_map(path, 140, 1000)
    explorer._step = None
    messages = sent_bytes(explorer, explorer.refresh)
    per_image = 4 + 4 + 4 + 3 * 4 + 3 * 4  # assignment, confidence, entropy, top classes, top probs
    per_image += 2 + 4 + 2 * 4  # class changes, settled step, place
    assert len(messages) == 1
    assert messages[0] == 1000 * per_image  # and the columns of the checkpoints, which are there, not again


def test_the_whole_state_carries_every_column_as_bytes_and_not_as_text(tmp_path, explore):
    state = explore(make_run(tmp_path)).get_state()
    columns = [value for table in ("watch", "snapshot", "placement", "history") for value in state[table].values()]
    assert not any(isinstance(value, list) and len(value) > 10 for value in columns)
    assert sum(isinstance(value, bytes) and len(value) > 0 for value in columns) == 8 + 2 + 5
    assert isinstance(state["selected_samples"], bytes)


def test_pca_stands_in_until_the_map_is_made(tmp_path, explore, placing):
    path = make_run(tmp_path)
    explorer = explore(path)
    assert explorer.status["state"] == "waiting"
    assert "Placing 300 images with UMAP" in explorer.status["text"]
    assert explorer.placement["method"] == "pca"
    assert [(name, step) for name, step, _ in placing] == [(path.name, 140)]
    make_map(path, 140, 300)
    until(lambda: explorer.status["state"] == "ready")
    assert explorer.placement["method"] == "umap"
    assert "15 neighbors" in explorer.placement["made"]


def test_a_map_that_exists_is_shown_at_once_and_not_made_again(tmp_path, explore, placing):
    path = make_run(tmp_path)
    make_map(path, 140, 300)
    explorer = explore(path)
    assert explorer.status["state"] == "ready"
    assert placing == []


def test_a_map_that_failed_leaves_pca_and_says_where_to_read_why(tmp_path, explore, placing):
    explorer = explore(make_run(tmp_path, name="broken"))
    placing[0][2].returncode = 1
    until(lambda: explorer.status["state"] == "ready")
    assert explorer.placement["method"] == "pca"
    assert "broken/layouts/log-0a1b2c3d says why" in explorer.status["text"]


def test_an_older_map_is_kept_while_the_next_is_made(tmp_path, explore):
    path = make_run(tmp_path)
    make_map(path, 0, 300)
    explorer = explore(path, step=0)
    older = explorer.placement
    explorer._step = None
    explorer.refresh()
    assert explorer.snapshot["step"] == 140
    assert explorer.placement == older
    assert "showing the map of step 0 meanwhile" in explorer.status["text"]


def test_the_refresh_button_follows_a_running_run(tmp_path, explore):
    path = make_run(tmp_path, snapshots=1)
    explorer = explore(path)
    before = explorer.snapshot["step"]
    make_run(tmp_path, name="longer")
    explorer._record = RunRecord(tmp_path / "longer")
    data = {"method": "custom", "content": {"type": "refresh"}}
    explorer._handle_msg({"content": {"comm_id": explorer.comm.comm_id, "data": data}, "buffers": []})
    assert before < explorer.snapshot["step"] == 140


def test_a_selection_in_the_browser_reaches_python(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    assert len(explorer.selection) == 0
    from_browser(explorer, selected_class=3, selected_samples=[])
    assert set(explorer.selection["assignment"]) == {3}
    assert set(explorer.selection["label"]) == {"kind 3"}
    from_browser(explorer, selected_class=-1, selected_samples=[5, 2])
    assert explorer.selection["sample_id"].tolist() == [5, 2]


def test_a_selection_in_python_reaches_the_browser(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    sent = []
    explorer.comm.send = lambda data=None, metadata=None, buffers=None: sent.append(data["state"])
    explorer.selected_class = 7
    assert sent == [{"selected_class": 7}]


def test_selections_that_mean_nothing_are_refused(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    for name, value in {"selected_class": -2, "selected_samples": [-1], "color_by": "taste", "map_view": [1.0]}.items():
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, value)


def test_without_any_run_the_widget_says_how_to_start_one(tmp_path, explore, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    explorer = explore()
    assert explorer.status["state"] == "empty"
    assert "twist train digits" in explorer.status["text"]
    make_run(tmp_path)
    until(lambda: explorer.snapshot)


def test_an_unknown_run_is_raised_where_the_explorer_was_asked_for(tmp_path, explore, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    make_run(tmp_path, name="digits")
    for run in ("digitz", str(tmp_path / "nowhere")):
        with pytest.raises(ConfigError, match="did you mean 'digits'" if run == "digitz" else "no run folder"):
            explore(run)


def test_an_unknown_step_is_told_in_the_widget(tmp_path, explore):
    explorer = explore(make_run(tmp_path), step=41)
    assert explorer.status["state"] == "error"
    assert "no snapshot at step 41" in explorer.status["text"]


def test_a_run_without_a_snapshot_is_waited_for(tmp_path, explore, monkeypatch):
    monkeypatch.setattr(core, "read_status", lambda path: Status("RUNNING"))
    explorer = explore(make_run(tmp_path, snapshots=0))
    assert explorer.status["state"] == "empty"
    assert "No snapshot yet" in explorer.status["text"]
    assert explorer._thread.is_alive()


def test_a_run_that_ended_without_a_snapshot_is_told(tmp_path, explore):
    explorer = explore(make_run(tmp_path, name="short", snapshots=0))
    assert explorer.status["state"] == "empty"
    assert "short ended (completed) before it had looked at its watch images" in explorer.status["text"]


def test_a_run_is_named_by_path_by_name_or_by_anything_with_a_path(tmp_path, explore, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path))
    path = make_run(tmp_path, name="digits")

    class Run:
        pass

    Run.path = path
    for run in (path, str(path), "digits", "last", Run()):
        assert explore(run).status["run"] == "digits"


def test_closing_ends_the_thread(tmp_path, explore):
    explorer = explore(make_run(tmp_path))
    thread = explorer._thread
    assert thread.is_alive()
    explorer.close()
    assert not thread.is_alive()
    explorer.refresh()
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["uniform", "one-class", "partial", "not-finite"])
def test_a_collapsed_run_is_shown_like_any_other(tmp_path, explore, kind):
    explorer = explore(make_run(tmp_path, kind))
    assert np.isfinite(np.frombuffer(explorer.placement["xy"], "<f4")).all()
    assert explorer.status["state"] == "waiting"


def test_pca_places_keep_the_largest_variance_and_repeat():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((500, 12)) * np.array([9, 5] + [0.1] * 10)
    places = pca_positions(features)
    np.testing.assert_allclose(np.sort(places.var(0))[::-1], features.var(0)[:2], rtol=0.02)
    np.testing.assert_array_equal(places, pca_positions(features))


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((9, 4)), np.full((5, 3), np.nan)])
def test_pca_of_features_without_variance_is_one_point(features):
    places = pca_positions(features)
    assert places.shape == (len(features), 2)
    assert not places.any()


def test_pca_of_ten_thousand_wide_rows_is_quick():
    features = np.random.default_rng(0).standard_normal((10_000, 512)).astype(np.float16)
    began = time.perf_counter()
    pca_positions(features)
    assert time.perf_counter() - began < 3


def test_the_fragment_holds_the_tables_and_loads_nothing(tmp_path):
    path = make_run(tmp_path)
    make_map(path, 140, 300)
    html = explorer_html(RunRecord(path))
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])
    assert data["placement"]["method"] == "umap"
    own = set(ClassExplorer.class_own_traits()) | set(core.ExplorerCore.class_own_traits())
    assert set(data) == {name for name in own if not name.startswith("_")}
    assert not re.search(
        r"(src|href)\s*=|https?://|import\s*\(|@import", html.replace("http://www.w3.org/2000/svg", "")
    )


def test_damaged_maps_cost_a_page_its_map_alone(tmp_path):
    path = make_run(tmp_path)
    make_map(path, 140, 300)
    (path / "layouts" / "step-000000140" / "umap_x.npy").write_bytes(b"x")
    (path / "layouts" / "frames").mkdir()
    (path / "layouts" / "frames" / "manifest.json").write_text("[]")
    html = explorer_html(RunRecord(path))
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])
    assert data["placement"]["method"] == "pca" and "the map is damaged" in data["placement"]["made"]
    assert data["motion"] == {} and data["history"]["steps"]


def test_two_fragments_on_one_page_do_not_meet(tmp_path):
    record = RunRecord(make_run(tmp_path))
    first, second = (re.findall(r'id="([^"]+)"', explorer_html(record)) for _ in range(2))
    assert len(first) == 1 and first != second


def test_hostile_names_are_inert_in_the_fragment(tmp_path):
    html = explorer_html(RunRecord(make_run(tmp_path, label_names=HOSTILE)))
    assert html.count("</script>") == html.count("<script") == 2
    assert "<img" not in html
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])
    assert data["watch"]["label_names"] == HOSTILE


def test_names_enter_the_page_as_text_only():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPT)
    assert "</script" not in SCRIPT and "<!--" not in SCRIPT
    assert "</style" not in STYLE


def test_a_run_without_watch_images_has_no_fragment(tmp_path):
    path = make_run(tmp_path)
    (path / "watch").rename(path / "hidden")
    with pytest.raises(RecordError, match="no watch images"):
        explorer_html(RunRecord(path))


def test_a_set_without_labels_has_no_labels(tmp_path, explore):
    explorer = explore(make_run(tmp_path, labels=False))
    assert explorer.watch["labels"] == b"" and explorer.watch["label_names"] == []
    assert "label" not in explorer.selection


def test_a_page_of_many_large_thumbnails_stays_small_and_says_so(tmp_path, monkeypatch):
    record = RunRecord(make_run(tmp_path, num_samples=60))
    monkeypatch.setattr(page, "_MOST_SHEET_BYTES", 1000)
    monkeypatch.setattr(page, "_SMALL_TILE", 4)
    html = explorer_html(record)
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])
    assert (data["watch"]["tile"], data["watch"]["sheet_type"]) == (4, "image/jpeg")
    sheet = Image.open(io.BytesIO(base64.b64decode(data["watch"]["sheets"][0]["base64"])))
    assert sheet.size == (4 * 40, 4 * 2)
    assert "to keep this page small" in data["status"]["text"]


def test_the_explorer_refuses_steps_classes_and_images_that_are_not_there(tmp_path, explore):
    explorer = explore(make_run(tmp_path, num_samples=20, snapshots=3))
    for name, value, said in [
        ("shown_step", 171, "no checkpoint of step 171 is shown: give one of 3 from 0 to 140"),
        ("selected_class", 99, "no class 99: give one from 0 to 9"),
        ("selected_samples", [3, 5000], "no image 5000: give rows from 0 to 19"),
    ]:
        before = getattr(explorer, name)
        with pytest.raises(ConfigError, match=re.escape(said)):
            setattr(explorer, name, value)
        assert np.array_equal(getattr(explorer, name), before)
    with pytest.raises(ConfigError, match="no class 'a': give one from 0 to 9"):
        explorer.name_class("a", "b")
    with pytest.raises(ConfigError, match="the name of class 1 is 5: give text"):
        explorer.name_class(1, 5)


def test_an_explorer_whose_snapshots_were_moved_says_that_they_are_gone(tmp_path, explore):
    run = make_run(tmp_path, num_samples=20)
    shutil.rmtree(run / "snapshots")
    explorer = explore(run)
    assert "are gone from its folder" in explorer.status["text"]
