import json
import os
import threading

import numpy as np
import pytest
from synthetic import make_run

from twist.runs.config import ConfigError, Recipe
from twist.runs.folders import check_name, create_run, find_run, run_named, run_paths, runs_root
from twist.runs.record import EPOCH_SAMPLES, NOT_VISITED, RunRecord, RunWriter, epoch_file
from twist.runs.store import RecordError, read_manifest, write_sealed_folder
from twist.runs.thumbnails import contact_sheets


def started(path, from_step=0, attempt=1):
    writer = RunWriter(path, attempt)
    writer.event("start", step=from_step, from_step=from_step, steps_per_epoch=10, total_steps=100)
    return writer


def test_what_is_logged_is_read_back(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for step in range(1, 6):
        writer.metrics(step, step / 10, {"train/total": step * 0.5})
    record = RunRecord(path)
    assert record.poll() == 6
    assert record.poll() == 0
    assert record.metrics()["train/total"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert record.metrics().index.tolist() == [1, 2, 3, 4, 5]
    writer.metrics(6, 0.6, {"train/total": 3.0})
    assert record.poll() == 1


def test_non_finite_numbers_stay_valid_json_and_are_marked(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    writer.metrics(1, 0.1, {"train/total": float("nan"), "train/sharpness": float("inf")})
    record = RunRecord(path)
    record.poll()
    event = record.last("metrics")
    assert event["train/total"] is None
    assert event["nonfinite"] == {"train/total": "nan", "train/sharpness": "inf"}
    for line in (path / "events" / "0001.jsonl").read_bytes().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_later_attempt_supersedes_what_lay_past_its_start(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for step in range(1, 9):
        writer.metrics(step, step / 10, {"train/total": 1.0})
    writer.close()
    again = started(path, from_step=4, attempt=2)
    again.metrics(5, 0.5, {"train/total": 2.0})
    record = RunRecord(path)
    record.poll()
    assert record.metrics()["train/total"].tolist() == [1.0, 1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("damage", ["torn end", "flipped bit", "nul block", "not json"])
def test_damaged_lines_are_left_out_and_counted(tmp_path, damage):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for step in range(1, 6):
        writer.metrics(step, step / 10, {"train/total": float(step)})
    writer.close()
    segment = path / "events" / "0001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    if damage == "torn end":
        lines[-1] = lines[-1][:20]
    elif damage == "flipped bit":
        lines[-1] = lines[-1].replace(b'"train/total":5.0', b'"train/total":7.0')
    elif damage == "nul block":
        lines[-1] = b"\0" * 40 + b"\n"
    else:
        lines[-1] = b"hello\n"
    segment.write_bytes(b"".join(lines))
    record = RunRecord(path)
    record.poll()
    assert record.metrics().index.tolist() == [1, 2, 3, 4]
    assert record.bad_lines == (0 if damage == "torn end" else 1)  # a line without its end may still be being written


def test_every_cut_of_the_log_leaves_exactly_the_whole_lines(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for step in range(1, 4):
        writer.metrics(step, step / 10, {"train/total": float(step)})
    writer.close()
    segment = path / "events" / "0001.jsonl"
    whole = segment.read_bytes()
    for cut in range(len(whole) + 1):
        segment.write_bytes(whole[:cut])
        record = RunRecord(path)
        record.poll()
        assert len(record.events) == whole[:cut].count(b"\n")


def test_a_snapshot_comes_back_equal_and_is_read_only(tmp_path):
    path = make_run(tmp_path)
    record = RunRecord(path)
    record.poll()
    assert record.snapshot_steps() == [0, 35, 70, 105, 140]
    snapshot = record.snapshot()
    assert snapshot.step == 140
    assert snapshot.assignment.shape == (300,)
    assert np.isclose(snapshot.class_usage.sum(), 1)
    with pytest.raises(ValueError, match="read-only"):
        snapshot.features[0, 0] = 1
    with pytest.raises(RecordError, match="no snapshot at step 7; it has 0, 35"):
        record.snapshot(7)


def write_snapshot(path, step, **more):
    columns = {
        "assignment": np.zeros(3, np.int32),
        "confidence": np.full(3, 0.5, np.float32),
        "sample_entropy": np.zeros(3, np.float32),
        "top_classes": np.zeros((3, 2), np.int32),
        "top_probs": np.float32([[0.5, 0.5], [0.75, 0.25], [1, 0]]),
        "features": np.zeros((3, 4), np.float16),
        "mean_probs": np.full(2, 0.5, np.float32),
    }
    RunWriter(path, 1).snapshot(step, 0.0, columns | more, {})


def test_a_snapshot_tells_margins_and_what_later_versions_added_where_it_is_there(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    agreement, spectrum = np.float32([0.5, np.nan, 1]), np.float32([0.9, 0.1])
    write_snapshot(path, 0)
    write_snapshot(path, 10, agreement=agreement, feature_spectrum=spectrum)
    record = RunRecord(path)
    record.poll()
    old, new = record.snapshot(0), record.snapshot(10)
    assert old.agreement is None and old.feature_spectrum is None
    np.testing.assert_array_equal(new.agreement, agreement)
    np.testing.assert_array_equal(new.feature_spectrum, spectrum)
    assert new.margin.tolist() == [0, 0.5, 1]


def epoch_samples(entropy, count=4):
    samples = np.zeros(count, EPOCH_SAMPLES)
    samples["sample_entropy"] = entropy
    samples[-1] = (np.nan, -1, NOT_VISITED)
    return samples


def test_epochs_come_back_equal_and_read_only(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for number in (1, 2, 12):
        writer.epoch(number, 10 * number, epoch_samples(number / 4))
    record = RunRecord(path)
    assert record.epoch_numbers() == []  # not read yet
    record.poll()
    assert record.epoch_numbers() == [1, 2, 12]
    assert record.epoch_samples(12).tobytes() == epoch_samples(3.0).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        record.epoch_samples(12)["assignment"][0] = 1
    with pytest.raises(RecordError, match="no samples of epoch 3; it has 1, 2, 12"):
        record.epoch_samples(3)
    assert os.listdir(path / "epochs") and not list((path / "epochs").glob(".*"))


def test_a_resume_takes_back_the_epochs_past_its_start_until_they_are_made_again(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    for number in (1, 2, 3):
        writer.epoch(number, 10 * number, epoch_samples(1.0))
    writer.close()
    again = started(path, from_step=10, attempt=2)
    record = RunRecord(path)
    record.poll()
    assert record.epoch_numbers() == [1]  # the files of the others still lie there
    with pytest.raises(RecordError, match="no samples of epoch 2"):
        record.epoch_samples(2)
    again.epoch(2, 20, epoch_samples(2.0))
    record.poll()
    assert record.epoch_numbers() == [1, 2]
    assert record.epoch_samples(2)["sample_entropy"][0] == 2


def test_a_run_without_epochs_says_so(tmp_path):
    record = RunRecord(make_run(tmp_path, "early"))
    assert record.epoch_numbers() == []
    with pytest.raises(RecordError, match="no samples of epoch 1; it keeps none"):
        record.epoch_samples(1)


@pytest.mark.parametrize("damage", ["cut", "of another size", "gone"])
def test_a_damaged_epoch_is_refused_by_name(damage, tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    writer.epoch(1, 10, epoch_samples(1.0))
    file = path / "epochs" / epoch_file(1)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif damage == "gone":
        file.unlink()
    else:
        np.save(file, epoch_samples(1.0, count=9))
    record = RunRecord(path)
    record.poll()
    with pytest.raises(RecordError, match=r"epochs/epoch-000001\.npy"):
        record.epoch_samples(1)
    assert record.epoch_numbers() == ([] if damage == "gone" else [1])


def test_what_the_log_says_of_epochs_is_on_the_disk_when_it_is(tmp_path, monkeypatch):
    path = create_run(Recipe(), root=tmp_path)
    writer = started(path)
    synced = []
    monkeypatch.setattr("twist.runs.record.sync_file", synced.append)
    writer.epoch(1, 10, epoch_samples(1.0))
    assert synced == []  # no epoch waits for the disk
    writer.sync()
    writer.sync()
    assert synced == [path / "epochs" / epoch_file(1)]


def test_a_damaged_sealed_folder_is_refused_by_name(tmp_path):
    folder = tmp_path / "thing"
    write_sealed_folder(folder, {"a.bin": b"abc"}, {"step": 1})
    assert read_manifest(folder, verify=True)["step"] == 1
    (folder / "a.bin").write_bytes(b"abd")
    with pytest.raises(RecordError, match=r"a\.bin differs from its checksum"):
        read_manifest(folder, verify=True)
    (folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match="no readable manifest"):
        read_manifest(folder)


def test_replacing_a_sealed_folder_leaves_no_trace_of_the_old(tmp_path):
    folder = tmp_path / "thing"
    write_sealed_folder(folder, {"a.bin": b"abc", "old.bin": b"x"}, {})
    write_sealed_folder(folder, {"a.bin": b"new"}, {})
    assert (folder / "a.bin").read_bytes() == b"new"
    assert sorted(os.listdir(folder)) == ["a.bin", "manifest.json"]
    assert os.listdir(tmp_path) == ["thing"]


def test_a_newer_schema_is_refused_politely(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    identity = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**identity, "schema": 99}))
    with pytest.raises(RecordError, match="newer twist"):
        RunRecord(path)


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a/b", "/tmp/x", ".hidden", "nul", "CON.txt", "x" * 101, "a\0b", "ä", "-x", "a b", "<b>", None, 3],
)
def test_names_that_leave_the_runs_folder_are_refused(name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        check_name(name)


def test_a_taken_name_is_refused_and_nothing_is_left_behind(tmp_path):
    create_run(Recipe(), name="mine", root=tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ConfigError, match="'mine' exists already"):
        create_run(Recipe(), name="mine", root=tmp_path)
    assert sorted(os.listdir(tmp_path)) == before == ["mine"]


def test_fifty_launches_at_once_get_fifty_folders(tmp_path):
    threads = [threading.Thread(target=create_run, args=(Recipe(),), kwargs={"root": tmp_path}) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run_paths(tmp_path)) == 50
    assert len(os.listdir(tmp_path)) == 50


def test_a_run_is_found_by_name_by_path_and_as_last(tmp_path):
    first, second = make_run(tmp_path, name="first"), make_run(tmp_path, name="second")
    assert find_run("first", root=tmp_path) == first
    at_step = f"{first}/checkpoints/step-9"
    for name in ("first", "first@340", "random:first?seed=3", "teacher:first", str(first), at_step):
        assert run_named(name, root=tmp_path) == first
    for name in ("pixels", "timm:first", "firstt", str(first / "run.json")):
        assert run_named(name, root=tmp_path) is None
    assert find_run("last", root=tmp_path) == second
    assert find_run(str(first), root=tmp_path) == first
    with pytest.raises(ConfigError, match="did you mean 'first'"):
        find_run("frist", root=tmp_path)
    with pytest.raises(ConfigError, match="no run"):
        find_run("last", root=tmp_path / "nowhere")


def test_runs_live_where_the_rules_say(tmp_path, monkeypatch):
    deep = tmp_path / "project" / "notebooks"
    deep.mkdir(parents=True)
    monkeypatch.delenv("TWIST_RUNS", raising=False)
    monkeypatch.chdir(deep)
    assert runs_root() == deep / "runs"
    (tmp_path / "project" / "data" / "runs").mkdir(parents=True)
    assert runs_root() == tmp_path / "project" / "data" / "runs"
    monkeypatch.setenv("TWIST_RUNS", str(tmp_path / "elsewhere"))
    assert runs_root() == tmp_path / "elsewhere"


@pytest.mark.parametrize(("side", "channels", "suffix"), [(8, 1, "png"), (32, 3, "png"), (100, 3, "jpg")])
def test_thumbnails_lie_where_the_grid_says(side, channels, suffix):
    from io import BytesIO

    from PIL import Image

    images = np.zeros((45, channels, side, side), np.uint8)
    images[41] = 200
    sheets, tile = contact_sheets(images)
    assert list(sheets) == [f"sheet-0000.{suffix}"]
    assert tile == min(side, 64)
    pixels = np.asarray(Image.open(BytesIO(sheets[f"sheet-0000.{suffix}"])))
    assert pixels.shape[:2] == (2 * tile, 40 * tile)
    assert pixels[tile + tile // 2, tile + tile // 2].mean() == pytest.approx(200, abs=3)
    assert pixels[tile // 2, tile // 2].max() <= 3


def test_a_run_folder_holds_no_absolute_path_and_no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TWIST_TEST_SECRET", "canary-7c1f")
    path = make_run(tmp_path)
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"canary-7c1f" not in content, file
            assert str(tmp_path).encode() not in content, file


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sheets": ["/etc/hostname"]}, "sheet '/etc/hostname'"),
        ({"sheets": ["../recipe.json"]}, "sheet '../recipe.json'"),
        ({"sheets": ["linked.png"]}, "sheet 'linked.png'"),
        ({"sheets": ["other.png"]}, "sheet 'other.png'"),
        ({"sheets": [".."]}, "sheet '..'"),
        ({"sheets": [""]}, "sheet ''"),
        ({"sheets": [3]}, "sheet 3"),
        ({"sheets": "linked.png"}, "no sheets"),
        ({"files": ["sample_ids.npy"]}, "lists no files"),
        ({"tile": 0}, "tile 0"),
        ({"tile": 8.0}, "tile 8.0"),
        ({"columns": -40}, "columns -40"),
        ({"per_sheet": "1000"}, "per_sheet '1000'"),
        ({"per_sheet": True}, "per_sheet True"),
        ({"columns": None}, "columns None"),
        ({"label_names": {"a": 1}}, "label_names"),
        ({"label_names": [1, 2]}, "label_names"),
    ],
    ids=str,
)
def test_a_manifest_that_names_other_files_or_no_grid_is_refused(changes, words, tmp_path):
    path = make_run(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("canary-7c1f")
    (path / "watch" / "linked.png").symlink_to(secret)
    (path / "watch" / "other.png").write_bytes(b"not in the list of files")
    manifest = json.loads((path / "watch" / "manifest.json").read_text())
    listed = {name: {"bytes": 11, "sha256": ""} for name in ("/etc/hostname", "../recipe.json", "linked.png", "..", "")}
    manifest["files"] |= listed
    (path / "watch" / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(RecordError) as caught:
        RunRecord(path).watch()
    assert words in str(caught.value)


def test_training_time_is_summed_over_attempts_without_what_came_before_their_first_event(tmp_path, monkeypatch):
    path, now = create_run(Recipe(), root=tmp_path), [0.0]
    monkeypatch.setattr("twist.runs.record.time.monotonic", lambda: now[0])
    for attempt, loaded, ended in ((1, 5.0, 9.0), (2, 2.0, 3.5)):
        now[0] = 100.0 * attempt
        writer = RunWriter(path, attempt)
        now[0] += loaded
        writer.event("start", step=attempt - 1, from_step=attempt - 1, steps_per_epoch=10, total_steps=100)
        now[0] += ended - loaded
        writer.metrics(attempt, attempt / 10, {"train/total": 1.0})
        writer.close()
    record = RunRecord(path)
    assert record.train_seconds == 0
    record.poll()
    assert record.train_seconds == pytest.approx(5.5)
