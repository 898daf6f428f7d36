"""Disk use, and the rule by which old checkpoints and snapshots go."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from synthetic import make_run, read

from twist.runs import keeping
from twist.runs.config import ConfigError
from twist.runs.lock import free_lock, take_lock
from twist.runs.store import RecordError, npy_bytes, read_manifest, read_sealed_folder, step_folder, write_sealed_folder
from twist.runs.thinning import disk_use, kept_steps, plan_thinning, spell_bytes, thin


@pytest.fixture
def run(runs):
    """A run of 21 snapshots, six checkpoints and two maps."""
    path = make_run(runs, name="long", num_samples=60, snapshots=21)
    for step in (20, 40, 60, 80, 100, 140):
        write_sealed_folder(
            path / "checkpoints" / step_folder(step), {"network.safetensors": b"w" * 1000}, {"step": step}
        )
    for step in (70, 77, 140):
        write_sealed_folder(
            path / "layouts" / step_folder(step), {"umap_x.npy": npy_bytes(np.zeros(60))}, {"step": step}
        )
    return path


def test_disk_use_adds_up_and_follows_no_link(run, tmp_path):
    (tmp_path / "big").write_bytes(b"0" * 1_000_000)
    (run / "linked").symlink_to(tmp_path)
    (run / "epochs").mkdir()
    (run / "epochs" / "epoch-000001.npy").write_bytes(b"1" * 123)
    use = disk_use(run)
    assert use.epochs == 123
    assert 6 * 1000 < use.checkpoints < 6 * 1400
    assert use.snapshots > use.layouts > 0
    files = [file for file in run.rglob("*") if file.is_file() and not file.is_symlink()]
    assert abs(use.total - sum(file.stat().st_size for file in files)) < 500  # the link itself
    assert disk_use(run / "nowhere").total == 0


def test_the_rule_keeps_first_newest_and_doublings():
    assert kept_steps([], 2) == set()
    assert kept_steps([0], 2) == {0}
    assert sorted(kept_steps(range(0, 1001, 5), 1)) == [0, 5, 10, 20, 40, 80, 160, 320, 640, 1000]
    steps = np.unique(np.random.default_rng(0).integers(0, 10_000, 300)).tolist()
    kept = kept_steps(steps, 3)
    assert {steps[0], *steps[-3:]} <= kept and len(kept) < 20


def test_a_plan_changes_nothing_and_thinning_does_what_it_said(run):
    before = disk_use(run)
    plan = plan_thinning(run)
    assert disk_use(run) == before
    assert plan.kept_checkpoints == (20, 40, 80, 100, 140) and plan.checkpoints == (60,)
    assert plan.kept_snapshots == (0, 7, 14, 28, 56, 112, 119, 126, 133, 140)
    assert "newest sound checkpoint always stays" in plan.rule
    assert plan.sentence.startswith("1 checkpoint, 11 snapshots of long would go, ")
    assert thin(plan) == plan.bytes == before.total - disk_use(run).total
    record = read(run)
    assert record.snapshot_steps() == list(plan.kept_snapshots)
    assert record.snapshot(56).step == 56
    assert sorted(path.name for path in (run / "layouts").iterdir()) == [step_folder(140)]  # others lost their snapshot
    again = plan_thinning(run)
    assert again.bytes == 0 and "Nothing of long would go" in again.sentence and thin(again) == 0


def test_the_newest_sound_checkpoint_stays_when_newer_ones_are_damaged(run):
    for step in (80, 100, 140):
        (run / "checkpoints" / step_folder(step) / "network.safetensors").write_bytes(b"rot")
    plan = plan_thinning(run, checkpoints=1)
    assert 60 in plan.kept_checkpoints and 60 not in plan.checkpoints
    thin(plan)
    assert (run / "checkpoints" / step_folder(60) / "manifest.json").is_file()


def test_a_plan_that_has_aged_still_spares_the_newest_sound_checkpoint(run):
    plan = plan_thinning(run, checkpoints=1)
    for step in plan.kept_checkpoints:
        (run / "checkpoints" / step_folder(step) / "network.safetensors").write_bytes(b"rot")
    thin(plan)
    assert (run / "checkpoints" / step_folder(100)).is_dir()
    assert not (run / "checkpoints" / step_folder(60)).exists()


def test_leftovers_of_kills_and_faults_go(run):
    (run / "checkpoints" / "damaged-step-000000010-ab12").mkdir()
    (run / "snapshots" / ".step-000000035.77.aa").mkdir()
    (run / "snapshots" / ".step-000000035.77.aa" / "x.npy").write_bytes(b"123")
    shutil.copytree(run / "layouts" / step_folder(140), run / "layouts" / step_folder(999))  # its snapshot went
    plan = plan_thinning(run)
    assert len(plan.leftovers) == 3 and "3 leftovers" in plan.sentence
    thin(plan)
    assert not (run / "layouts" / step_folder(999)).exists()
    assert not [path for path in run.rglob("*") if path.name.startswith((".step", "damaged-"))]


def test_what_a_map_process_is_writing_is_no_leftover(run):
    staging = run / "layouts" / ".step-000000140.77.aa"
    staging.mkdir()
    thin(plan_thinning(run))
    assert staging.is_dir()


def test_writing_into_a_run_that_was_deleted_does_not_bring_it_back(run, runs):
    keeping.delete(run, confirm="long")
    with pytest.raises(FileNotFoundError):
        write_sealed_folder(run / "layouts" / step_folder(7), {"umap_x.npy": b""}, {"step": 7})
    assert not run.exists()


@pytest.mark.parametrize("name", ["../../recipe.json", "/etc/hostname", ".."])
def test_a_manifest_that_names_files_outside_its_folder_is_damaged(run, name):
    folder = run / "checkpoints" / step_folder(140)
    content = json.loads((folder / "manifest.json").read_text())
    content["files"] = {name: {"bytes": 1, "sha256": "0"}}
    (folder / "manifest.json").write_text(json.dumps(content))
    for read_it in (read_sealed_folder, lambda path: read_manifest(path, verify=True)):
        with pytest.raises(RecordError, match="which is not in it" if name != ".." else "cannot be read"):
            read_it(folder)


def test_links_in_place_of_folders_are_left_alone(run, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("kept")
    (run / "snapshots" / step_folder(999)).symlink_to(tmp_path / "outside")
    (run / "snapshots" / ".hidden").symlink_to(tmp_path / "outside")
    plan = plan_thinning(run)
    assert 999 not in plan.snapshots and not plan.leftovers
    thin(plan)
    assert (tmp_path / "outside" / "precious").read_text() == "kept"


def test_a_living_run_is_refused_and_so_is_keeping_none(run):
    plan = plan_thinning(run)
    assert take_lock(run) is not None
    try:
        with pytest.raises(ConfigError, match="cannot be thinned while"):
            thin(plan)
    finally:
        free_lock(run)
    with pytest.raises(ConfigError, match="checkpoints to keep is 0: give 1 or more"):
        plan_thinning(run, checkpoints=0)


def test_bytes_are_spelled_with_three_figures():
    assert [spell_bytes(count) for count in (0, 999, 1000, 12_345_678, 3e12, 2e18)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 MB",
        "3 TB",
        "2,000,000 TB",
    ]


def test_cached_features_count_by_themselves_and_go_only_when_asked_while_results_always_stay(run):
    write_sealed_folder(run / "features" / "abc", {"values.npy": b"1" * 4000}, {})
    (run / "evaluations").mkdir()
    (run / "evaluations" / "one.json").write_bytes(b"{}")
    assert 4000 < disk_use(run).features < 4500
    thin(plan_thinning(run))
    assert (run / "features" / "abc").is_dir()
    plan = plan_thinning(run, features=True)
    assert "1 set of cached features of long would go" in plan.sentence and not plan.empty
    assert "evaluating makes them again" in plan.rule
    assert thin(plan) == plan.bytes > 4000
    assert disk_use(run).features == 0 and (run / "evaluations" / "one.json").is_file()
    assert plan_thinning(run, features=True).empty
