import shutil

import numpy as np
import pytest
from synthetic import make_history, make_run

from twist.runs.columns import COLUMNS, MissingColumn, column_through_time, columns_of_image, read_rows, stamped
from twist.runs.histories import sample_history, sample_traits
from twist.runs.record import RunRecord
from twist.runs.store import RecordError, npy_bytes, step_folder
from twist.runs.verdict import verdict


def opened(path):
    record = RunRecord(path)
    record.poll()
    return record


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), histories=True)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_through_time_is_that_column_of_every_snapshot(name, run):
    record = opened(run)
    through = column_through_time(record, name)
    assert through.steps.tolist() == record.snapshot_steps() and through.damaged == ()
    for step, values in zip(through.steps.tolist(), through.values, strict=True):
        np.testing.assert_array_equal(values, getattr(record.snapshot(step), name))


def test_an_image_alone_has_the_values_it_has_among_all(run):
    record = opened(run)
    for name, through in columns_of_image(record, 123).items():
        np.testing.assert_array_equal(through.values[:, 0], column_through_time(record, name).values[:, 123])


def test_until_leaves_out_what_came_later(run):
    record = opened(run)
    steps = record.snapshot_steps()
    assert column_through_time(record, "sample_entropy", steps[2]).steps.tolist() == steps[:3]
    assert column_through_time(record, "sample_entropy", -1).values.shape == (0, 300)


def test_a_column_that_older_runs_do_not_keep_is_unknown_and_no_damage(tmp_path):
    record = opened(make_run(tmp_path))
    through = column_through_time(record, "agreement")
    assert np.isnan(through.values).all() and through.values.shape == (5, 300) and through.damaged == ()


@pytest.mark.parametrize("damage", ["cut", "emptied", "scrambled", "gone", "of another size"])
@pytest.mark.parametrize(("name", "missing"), [("assignment", -1), ("confidence", np.nan)])
def test_a_damaged_column_spoils_its_own_row_and_is_named(damage, name, missing, tmp_path):
    record = opened(make_history(tmp_path, np.ones((3, 40), int), num_classes=3))
    file = record.path / "snapshots" / step_folder(10) / f"{name}.npy"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        changed = {
            "cut": content[:-3],
            "emptied": b"",
            "scrambled": content[::-1],
            "of another size": npy_bytes(np.zeros(39, np.int32)),
        }
        file.write_bytes(changed[damage])
    through = column_through_time(record, name)
    np.testing.assert_array_equal(through.values[1], np.full(40, missing))
    assert (through.values[[0, 2]] > 0).all()
    assert len(through.damaged) == 1 and f"step-000000010/{name}.npy" in through.damaged[0]
    other = column_through_time(record, "sample_entropy")
    assert other.damaged == () and not np.isnan(other.values).any()


def test_what_cannot_be_followed_is_refused_with_what_can(run):
    record = opened(run)
    with pytest.raises(ValueError, match="no column 'features' .*: give one of sample_entropy, confidence, margin"):
        column_through_time(record, "features")
    for image in (-1, 300):
        with pytest.raises(ValueError, match=f"300 images, so there is no image {image}: give a row from 0 to 299"):
            columns_of_image(record, image)


@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 2), (1,)])
def test_rows_are_those_of_the_array(shape, tmp_path):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    np.save(tmp_path / "column.npy", array)
    for first, last in ((0, shape[0]), (0, 1), (shape[0] - 1, shape[0]), (0, 0)):
        read = read_rows(tmp_path / "column.npy", np.float32, first, last, count=shape[0], ndim=len(shape))
        np.testing.assert_array_equal(read, array[first:last])


@pytest.mark.parametrize("array", [np.asfortranarray(np.zeros((3, 2))), np.array(1.0), np.zeros((3, 0))])
def test_arrays_without_rows_are_refused(array, tmp_path):
    np.save(tmp_path / "column.npy", array)
    with pytest.raises(RecordError, match=r"column\.npy cannot be read: it holds float64 of shape"):
        read_rows(tmp_path / "column.npy", np.float64, ndim=2)


def test_rows_that_are_not_there_are_refused(tmp_path):
    np.save(tmp_path / "column.npy", np.zeros(3))
    for first, last in ((0, 4), (-1, 1), (2, 1)):
        with pytest.raises(RecordError, match=r"column\.npy has 3 rows, and so none from"):
            read_rows(tmp_path / "column.npy", np.float64, first, last)


def test_a_header_with_wrong_bytes_is_damage_whatever_the_parser_makes_of_it(tmp_path):
    rng, whole = np.random.default_rng(0), bytearray(npy_bytes(np.zeros((5, 2), np.float32)))
    refused = 0
    for _ in range(300):
        content = whole.copy()
        content[rng.integers(10, 70)] = rng.integers(0, 256)
        (tmp_path / "column.npy").write_bytes(content)
        try:
            assert read_rows(tmp_path / "column.npy", np.float32, count=5, ndim=2).shape == (5, 2)
        except RecordError:
            refused += 1
    assert refused > 200  # a few bytes are spaces, and may be others


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("top_probs", np.ones(40, np.float32)),
        ("top_probs", np.ones((40, 2), np.int32)),
        ("assignment", np.ones((40, 1), np.int32)),
        ("assignment", np.ones(40, np.float32)),
        ("assignment", np.full(40, 3, np.int32)),
        ("assignment", np.array([-1] + [1] * 39, np.int32)),
        ("confidence", np.ones(40, np.complex64)),
        ("sample_entropy", np.ones(40, [("nats", np.float32)])),
    ],
)
def test_a_column_of_another_kind_is_damaged_and_crashes_no_history(name, content, tmp_path):
    record = opened(make_history(tmp_path, np.ones((3, 40), int), num_classes=3, num_heads=2))
    (record.path / "snapshots" / step_folder(10) / f"{name}.npy").write_bytes(npy_bytes(content))
    column = {"top_probs": "margin"}.get(name, name)
    through = column_through_time(record, column)
    np.testing.assert_array_equal(through.values[1], np.full(40, COLUMNS[column].missing))
    assert (through.values[[0, 2]] > 0).all()
    (sentence,) = through.damaged
    assert f"step-000000010/{name}.npy" in sentence and sentence.endswith("it is damaged")
    assert sample_history(record, 0).attrs["damaged"] == (sentence,)
    assert sample_traits(record).settled_step.tolist() == [0] * 40
    assert verdict(record).kind


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_columns_need_no_watch_images(damage, run, tmp_path):
    path = shutil.copytree(run, tmp_path / "run")
    if damage == "gone":
        shutil.rmtree(path / "watch")
    else:
        (path / "watch" / "sample_ids.npy").write_bytes(b"")
    newest = path / "snapshots" / step_folder(opened(path).snapshot_steps()[-1])
    (newest / "assignment.npy").write_bytes(b"")
    for name in COLUMNS:
        now, then = column_through_time(opened(path), name), column_through_time(opened(run), name)
        np.testing.assert_array_equal(now.values[:-1], then.values[:-1])


def test_a_stamp_tells_a_file_from_what_stood_there_before(tmp_path):
    path = tmp_path / "step" / "column.npy"
    with pytest.raises(MissingColumn, match=r"step/column\.npy is missing"):
        stamped(path)
    path.parent.mkdir()
    path.write_bytes(b"first")
    first = stamped(path)
    assert stamped(path) == first
    path.unlink()
    path.write_bytes(b"again")
    assert stamped(path) != first
