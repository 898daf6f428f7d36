"""Classes of new images: the very ones of the snapshots, however the images are given."""

import os
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from loop import attempt
from PIL import Image

import twist
from twist.cli import main
from twist.learn import datasets
from twist.learn.assigning import assign
from twist.runs.class_names import name_class
from twist.runs.config import ConfigError, DataConfig
from twist.runs.launcher import attach, prepare
from twist.runs.record import RunRecord


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of twelve steps, which kept its checkpoints, and the folder of all runs."""
    from conftest import TINY

    root = tmp_path_factory.mktemp("assigning") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIST_RUNS", str(root))
        path = prepare("digits", name="mine", changes=dict(TINY))
        assert attempt(path, 1)["reason"] == "completed"
    return path


@pytest.fixture
def mine(trained, monkeypatch):
    monkeypatch.setenv("TWIST_RUNS", str(trained.parent))
    return trained


@pytest.fixture(scope="module")
def digits():
    return datasets.load(DataConfig(max_images=200)).images


def save(folder, images, names):
    for image, name in zip(images, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / name)
    return folder


def answers(table):
    return table[["assignment", "confidence", "sample_entropy", "margin"]].to_numpy()


def test_watch_images_get_the_class_confidence_entropy_and_margin_of_the_newest_snapshot(mine, digits):
    record = RunRecord(mine)
    record.poll()
    snapshot, table = record.snapshot(), assign(attach("mine"), digits)
    assert table["assignment"].tolist() == snapshot.assignment.tolist()
    for name in ("confidence", "sample_entropy", "margin"):
        assert np.allclose(table[name], getattr(snapshot, name), atol=1e-5), name
    assert list(table) == ["assignment", "confidence", "sample_entropy", "margin"] and table.index.name == "row"
    assert (table["sample_entropy"] >= 0).all() and (table["sample_entropy"] <= np.log(10) + 1e-5).all()


def test_files_arrays_and_an_npz_of_the_same_pixels_get_the_same_answers(mine, digits, tmp_path):
    few = digits[:40]
    names = [f"{'deep/er/' if row % 3 else ''}{row:03d}.png" for row in range(40)]
    folder = save(tmp_path / "images", few, names)
    np.savez(tmp_path / "few.npz", images=few[:, 0].numpy())
    of_array, of_npz, of_folder = (assign("mine", one) for one in (few.numpy(), tmp_path / "few.npz", folder))
    assert np.allclose(answers(of_array), answers(of_npz), atol=1e-6)
    by_name = of_folder.set_index("file").loc[names].reset_index(drop=True)
    assert np.allclose(answers(by_name), answers(of_array), atol=1e-6)
    assert of_folder["file"].tolist() == sorted(names, key=lambda name: tuple(name.split("/")))
    single = assign("mine", folder / names[0])
    assert single["file"].tolist() == [str(folder / names[0])] and np.allclose(answers(single), answers(of_array)[:1])
    several = assign("mine", [folder / name for name in names[:3]])
    assert np.allclose(answers(several), answers(of_array)[:3], atol=1e-6)


def test_images_of_many_sizes_and_of_colors_are_taken(mine, digits, tmp_path):
    for row, side in enumerate((8, 20, 33)):
        image = Image.fromarray(digits[row, 0].numpy()).resize((side, side + row)).convert("RGB" if row else "L")
        image.save(tmp_path / f"{row}.png")
    table = assign("mine", tmp_path)
    assert len(table) == 3 and np.isfinite(answers(table)).all()
    color = digits[:5].expand(-1, 3, -1, -1)
    assert np.allclose(answers(assign("mine", color)), answers(assign("mine", digits[:5])), atol=1e-5)


def test_any_checkpoint_can_be_asked_and_another_step_answers_otherwise(mine, digits):
    newest, earlier = assign("mine@12", digits), assign("mine@8", digits)
    assert np.array_equal(answers(newest), answers(assign("mine", digits)))
    assert newest.attrs["model"] == "mine @ step 12" and earlier.attrs["model"] == "mine @ step 8"
    assert not np.allclose(newest["sample_entropy"], earlier["sample_entropy"])
    with pytest.raises(ConfigError, match="keeps no checkpoint of step 5"):
        assign("mine@5", digits)


def test_classes_bear_the_names_that_a_person_gave_them(mine, digits):
    assert "class_name" not in assign("mine", digits)
    asked = int(assign("mine", digits)["assignment"][0])
    name_class(mine, asked, "round ones")
    try:
        table = assign("mine", digits)
        named = table["assignment"] == asked
        assert (table.loc[named, "class_name"] == "round ones").all()
        assert (table.loc[~named, "class_name"] == "").all()
        assert "class_name" in assign(str(mine), digits[:2])  # by path
    finally:
        name_class(mine, asked, "")


def test_damaged_files_are_named_and_left_out_only_when_asked(mine, digits, tmp_path):
    folder = save(tmp_path, digits[:5], [f"{row}.png" for row in range(5)])
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:-30])
    (folder / "text.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="'text.png' is no image of a known format.*--skip-damaged"):
        assign("mine", folder)
    table = assign("mine", folder, skip_damaged=True)
    assert table["file"].tolist() == [f"{row}.png" for row in range(5)]
    assert set(table.attrs["skipped"]) == {"cut.png", "text.png"}
    (folder / "text.png").unlink()
    with pytest.raises(ConfigError, match="an image cannot be used: 'cut.png' is damaged"):
        assign("mine", folder)
    with pytest.raises(ConfigError, match="none of the 1 images can be used"):
        assign("mine", folder / "cut.png", skip_damaged=True)


def test_what_cannot_be_assigned_is_said_in_a_sentence(mine, digits, tmp_path):
    for images, said in (
        (tmp_path / "nothing", "there is no image"),
        (tmp_path, "there is no image in"),
        (digits[0, 0], "images have the shape"),
        (np.full((2, 8, 8), 7.0), "expected 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            assign("mine", images)
    with pytest.raises(ConfigError, match="has no classes to assign"):
        assign("pixels", digits)
    with pytest.raises(ConfigError, match="no run 'mime'|mime"):
        assign("mime", digits)


def test_the_verb_is_on_the_package(mine, digits):
    assert isinstance(twist.assign("mine", digits[:3]), pd.DataFrame)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_files_of_any_name_stand_in_the_table(mine, digits, tmp_path):
    folder = save(tmp_path / "images", digits[:2], ["=SUM(A1).png", "plain.png"])
    os.rename(folder / "plain.png", os.fsencode(folder) + b"/\xff.png")
    table = assign("mine", folder)
    assert table["file"].tolist() == ["=SUM(A1).png", "\\udcff.png"]
    assert main(["assign", "mine", str(folder), "--to", str(tmp_path / "t.csv")]) == 0
    assert "'=SUM(A1).png" in (tmp_path / "t.csv").read_text()  # no spreadsheet takes it for a formula


def test_progress_counts_every_image_and_an_exception_in_it_ends_the_work(mine, digits):
    seen = []
    assign("mine", torch.cat([digits] * 3), on_progress=lambda done, count: seen.append((done, count)))
    assert seen == [(256, 600), (512, 600), (600, 600)]

    def stop(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assign("mine", digits, on_progress=stop)


# ---------------------------------------------------------------------------------------------------------------------
# The command


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_command_writes_a_table_and_overwrites_none(mine, digits, tmp_path, capfd, ending):
    folder, target = (
        save(tmp_path / "images", digits[:30], [f"{row}.png" for row in range(30)]),
        tmp_path / f"t.{ending}",
    )
    assert main(["assign", "mine", str(folder), "--to", str(target), "--json"]) == 0
    written = pd.read_csv(target, index_col="row") if ending == "csv" else pd.read_parquet(target)
    assert np.allclose(answers(written), answers(assign("mine", folder)), atol=1e-6)
    assert written["file"].tolist() == assign("mine", folder)["file"].tolist()
    said = capfd.readouterr()
    assert "30 rows are in" in said.out and '"images": 30' in said.out.splitlines()[-1]
    before = target.read_bytes()
    assert main(["assign", "mine", str(folder), "--to", str(target)]) == 2
    assert "exists already" in capfd.readouterr().err and target.read_bytes() == before
    target.write_text("old")
    assert main(["assign", "mine", str(folder), "--to", str(target), "--force"]) == 0
    assert target.read_bytes() != b"old" and sorted(path.name for path in tmp_path.iterdir()) == ["images", target.name]


def test_without_a_file_the_command_shows_the_rows_and_the_classes(mine, digits, tmp_path, capfd):
    folder = save(tmp_path, digits[:25], [f"{row:02d}.png" for row in range(25)])
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:-30])
    assert main(["assign", "mine", str(folder)]) == 2
    assert "'cut.png' is damaged" in capfd.readouterr().err
    assert main(["assign", "mine", str(folder), "--skip-damaged"]) == 0
    said = capfd.readouterr()
    assert "'cut.png' is damaged" in said.err and "00.png" in said.out and "… 5 more" in said.out
    assert "25 images in" in said.out


@pytest.mark.parametrize(
    "options, said",
    [
        (["--to", "table.xlsx"], "ends in .csv or .parquet"),
        (["--force"], "--force replaces the file"),
        (["--to", "."], "ends in .csv"),
        (["--device", "tpu"], "device"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(mine, digits, tmp_path, capfd, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, digits[:2], ["0.png", "1.png"])
    assert main(["assign", "mine", "0.png", *options]) == 2
    assert said in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png"]
