"""The two-view probe without a browser: what it asks, what it sends, whom it follows, what it says when it cannot."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import traitlets
from synthetic import make_run

import twist
from twist.runs.config import ConfigError
from twist.runs.record import RunRecord
from twist.runs.store import steps_in
from twist.view.moment import moment_of
from twist.view.two_views import TwoViews
from twist.view.two_views_static import static_html
from twist.view.two_views_tables import unused


def until(claim, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from conftest import TINY

    root = tmp_path_factory.mktemp("two-views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(root / "runs"))
        changes = {name.replace(".", "__"): value for name, value in TINY.items()}
        run = twist.launch("digits", name="tiny", **changes)
        run.wait(120)
    return run


@pytest.fixture(scope="module")
def shared(trained):
    """One probe for the tests that leave it in order."""
    probe = TwoViews(trained, image=2)
    yield probe
    probe.close()


@pytest.fixture
def probe(shared):
    shared.set_trait("fields", {})
    shared.set_trait("first_plain", False)
    shared.set_trait("image", 2)
    settled(shared)
    return shared


def settled(probe: TwoViews) -> None:
    """Wait until what is set is what is shown."""
    probe.ticket += 1
    until(lambda: probe.status["state"] == "error" or probe.answer.get("ticket") == probe.ticket)
    assert probe.status["state"] == "ready", probe.status


def test_it_shows_the_image_with_the_numbers_of_the_record(trained, probe):
    record = RunRecord(trained.path)
    record.poll()
    snapshot = record.snapshot()
    table = probe.distributions
    assert table.shape == (10, 3) and table.sum().to_numpy() == pytest.approx([1, 1, 1], abs=1e-5)
    assert table["plain"].idxmax() == snapshot.assignment[2]
    assert table["plain"].max() == pytest.approx(snapshot.confidence[2], abs=1e-5)
    assert probe.answer["recorded"] == pytest.approx(table["plain"].max(), abs=1e-5)
    assert probe.answer["pixels_shape"] == [3, 16, 16, 1] and len(probe.answer["pixels"]) == 3 * 16 * 16
    assert probe.answer["milliseconds"] > 0


def test_moving_a_slider_changes_the_views_and_the_recipe_brings_them_back(probe):
    before = probe.answer["pixels"]
    probe.fields = {"rotation_degrees": 180, "noise": 0.4}
    settled(probe)
    assert probe.answer["pixels"] != before
    probe.fields = {}
    settled(probe)
    assert probe.answer["pixels"] == before


def test_a_value_out_of_range_is_told_beside_the_last_answer_and_forgiven(probe):
    pixels = probe.answer["pixels"]
    probe.fields = {"rotation_degrees": 500}
    settled(probe)
    assert probe.answer["problem"] == "views.rotation_degrees is 500.0: give 0 to 180"
    assert probe.answer["pixels"] == pixels
    probe.fields = {}
    settled(probe)
    assert probe.answer["problem"] == ""


def test_a_drag_is_answered_for_where_it_ended(probe):
    answered = []
    probe.observe(lambda change: answered.append(change["new"]["ticket"]), "answer")
    for degrees in range(0, 180):
        probe.fields = {"rotation_degrees": degrees}
        probe.ticket += 1
    settled(probe)
    probe.unobserve_all("answer")
    assert len(answered) < 180
    last = probe.answer["pixels"]
    probe.fields = {"rotation_degrees": 90}
    settled(probe)
    probe.fields = {"rotation_degrees": 179}
    settled(probe)
    assert probe.answer["pixels"] == last


def test_the_first_view_can_be_plain(probe):
    probe.first_plain = True
    settled(probe)
    plain, first, second = np.split(np.frombuffer(probe.answer["pixels"], np.uint8), 3)
    assert (plain == first).all() and (first != second).any()
    assert probe.answer["drawn"][0] == {}


def test_sensitivity_is_measured_by_itself_and_ranked(probe):
    until(lambda: probe.found.get("state") == "done" and probe.found.get("row") == 2)
    table = probe.sensitivities
    assert list(table.index).count("all together") == 1
    assert set(table.index) == {"rotation", "shift", "zoom", "shear", "brightness", "noise", "all together"}
    assert (table["stays"] <= table["draws"]).all() and table["share"].is_monotonic_increasing
    assert probe.facts["unused"] == ["crop", "flip", "stretch", "contrast", "blur", "solarize"]
    probe.strength, probe.draws = "now", 8
    probe.fields = {"noise": 0, "stretch": 0.5}
    until(lambda: probe.found.get("state") == "done" and probe.found.get("strength") == "now"
          and "stretch" in probe.sensitivities.index)  # fmt: skip
    assert "noise" not in probe.sensitivities.index and set(probe.sensitivities["draws"]) == {8}
    probe.strength, probe.draws = "recipe", 64


def test_it_follows_what_another_view_selects_and_the_other_way(trained, probe):
    moment = moment_of(trained.path)
    moment.selected_samples = (7, 9)
    until(lambda: probe.answer.get("row") == 7)
    probe.image = 11
    assert moment.selected_samples == (11,)
    moment.selected_samples = ()
    assert probe.image == 11


def test_it_goes_to_the_step_of_the_moment_where_there_is_a_checkpoint(trained, probe):
    first, last = steps_in(trained.path / "checkpoints")
    moment = moment_of(trained.path)
    moment.step = first
    until(lambda: probe.facts["step"] == first and probe.answer["step"] == first)
    moment.step = 1
    assert probe.step == first
    moment.step = -1
    until(lambda: probe.answer["step"] == last)


def test_python_sets_only_what_makes_sense(probe):
    for name, value in {"image": -1, "draw": -1, "draws": 0, "strength": "strong", "step": -2}.items():
        with pytest.raises(traitlets.TraitError):
            setattr(probe, name, value)


def test_thumbnails_are_sent_as_one_sheet(probe, monkeypatch):
    sent = []
    monkeypatch.setattr(probe, "send", lambda message, buffers=None: sent.append((message, buffers)))
    probe._hear(probe, {"type": "tiles", "id": "a", "rows": [3, 1, 4]}, [])
    probe._hear(probe, {"type": "tiles", "id": "b", "rows": [3, 10**6]}, [])
    (first, (sheet,)), (second, _) = sent
    assert first["rows"] == [3, 1, 4] and first["mime"] == "image/png" and sheet[:4] == b"\x89PNG"
    assert "row 1,000,000 is asked for" in second["problem"]


def test_a_static_copy_keeps_pictures_numbers_and_nothing_that_runs(probe):
    until(lambda: probe.found.get("state") == "done")
    page = probe.static_html()
    assert page.count("data:image/png;base64,") == 3 and "<script" not in page
    assert "draws that keep the class" in page and "seed 0" in page
    assert f"class {probe.distributions['plain'].idxmax()}" in page
    assert "Nothing was shown yet" in static_html({}, {}, {})


def test_a_row_that_is_not_watched_is_told(trained):
    probe = TwoViews(trained, image=999)
    until(lambda: probe.answer or probe.status["state"] == "error")
    assert probe.image == 0 and "image 999 is not watched: rows go from 0 to 199" in probe.facts["note"]
    probe.close()


def test_a_dead_process_is_told_and_started_anew(trained):
    probe = TwoViews(trained)
    until(lambda: probe.answer)
    os.kill(probe._probe.pid, signal.SIGKILL)
    probe.draw += 1
    until(lambda: probe.status["state"] == "error")
    assert "start it anew" in probe.status["text"]
    probe.restart()
    until(lambda: probe.status["state"] == "ready" and probe.answer["draw"] == probe.draw)
    probe.close()
    assert probe._probe is None


def test_a_checkpoint_that_is_not_kept_is_told(trained):
    probe = TwoViews(trained, step=5)
    until(lambda: probe.status["state"] == "error")
    assert probe.status["text"] == "tiny keeps no checkpoint of step 5: there are 8, 12"
    probe.close()


def test_a_run_without_checkpoint_is_waited_for_and_no_run_is_refused(runs):
    runs.mkdir()
    first = TwoViews()
    until(lambda: "there are no runs" in first.status["text"] or first.status["text"])
    assert first.status["state"] == "empty"
    make_run(runs, name="bare")
    first._ask()
    until(lambda: "No checkpoint yet: bare is" in first.status["text"])
    first.close()
    with pytest.raises(ConfigError):
        TwoViews("nobody")


def test_what_a_recipe_leaves_out_is_named_where_it_would_mean_something():
    views = twist.recipe("digits").views
    assert "gray" in unused(views, 3) and "gray" not in unused(views, 1)
