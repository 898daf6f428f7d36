"""What the explorer hands to other tools, and what it never does: overwrite."""

from __future__ import annotations

import builtins
import io

import numpy as np
import pandas as pd
import pytest
from synthetic import make_run, read

from twist.runs.class_names import ClassName
from twist.runs.config import ConfigError
from twist.runs.store import RecordError
from twist.view import exports
from twist.view.layout import Layout

NAMES = {3: ClassName("a/b <i>", "a note"), 0: ClassName("", "only a note")}


@pytest.fixture
def run(tmp_path):
    record = read(make_run(tmp_path, name="exported", num_samples=60))
    return record, record.watch(), record.snapshot()


def map_of(watch) -> Layout:
    x, y = np.random.default_rng(0).standard_normal((2, len(watch))).astype(np.float32)
    return Layout(140, x, y, {"method": "umap", "metric": "cosine", "n_neighbors": 15, "min_dist": 0.1, "seed": 0,
                              "points": len(watch), "of": len(watch)})  # fmt: skip


def test_the_table_holds_what_is_known_of_each_image(run):
    _, watch, snapshot = run
    table = exports.class_table(watch, snapshot, NAMES, map_of(watch), {"hue": np.arange(60)})
    assert list(table) == ["sample_id", "assignment", "class_name", "label", "confidence", "sample_entropy", "margin",
                           "umap_x", "umap_y", "hue"]  # fmt: skip
    assert table.index.name == "row"
    assert set(table.loc[table["assignment"] == 3, "class_name"]) == {"a/b <i>"}
    np.testing.assert_allclose(table["margin"], snapshot.margin)
    bare = exports.class_table(watch, snapshot, {0: NAMES[0]})
    assert "class_name" not in bare and "umap_x" not in bare


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_read_back_is_the_table(run, tmp_path, ending):
    _, watch, snapshot = run
    table = exports.class_table(watch, snapshot)
    path = exports.write_table(table, tmp_path / "new" / f"classes{ending}")
    back = pd.read_csv(path, index_col="row") if ending == ".csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(back, table, check_dtype=False, rtol=1e-6)


def test_nothing_is_overwritten(run, tmp_path):
    _, watch, snapshot = run
    table = exports.class_table(watch, snapshot)
    for name in ("mine.csv", "folder"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=f"{name} exists already.*nothing is overwritten"):
            if name == "folder":
                exports.write_folders(table, watch, tmp_path / name)
            else:
                exports.write_table(table, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    assert exports.free_target(tmp_path / "mine.csv").name == "mine-2.csv"
    with pytest.raises(ConfigError, match=r"give a file ending in .csv or .parquet"):
        exports.write_table(table, tmp_path / "table.xlsx")


def test_a_text_is_no_formula_in_a_spreadsheet(tmp_path):
    table = pd.DataFrame({"label": ["=1+1", "@x", "plain"], "margin": [-0.5, 0.1, 0.2]})
    text = exports.write_table(table, tmp_path / "t.csv").read_text()
    assert "'=1+1" in text and "'@x" in text and ",plain" in text and "'-0.5" not in text


def test_a_name_is_no_formula_in_the_table_of_a_folder_of_images(run, tmp_path):
    _, watch, snapshot = run
    table = exports.class_table(watch, snapshot, {3: ClassName("=1+1", "")})
    path = exports.write_folders(table, watch, tmp_path / "images")
    assert ",'=1+1," in (path / "assignments.csv").read_text()


def test_folders_hold_every_image_under_its_class(run, tmp_path):
    from PIL import Image

    _, watch, snapshot = run
    table = exports.class_table(watch, snapshot, NAMES)
    path = exports.write_folders(table.iloc[:40], watch, tmp_path / "images")
    pictures = sorted(path.glob("*/*.png"))
    assert len(pictures) == 40
    assert (path / "class-3-a-b-i").is_dir()
    picture = path / f"class-{table['assignment'][7]}" / "7.png"
    label = 7 % 10  # make_run's picture: a bar whose place tells the label
    assert np.asarray(Image.open(picture))[:, label - 5].min() >= 200
    assert len(pd.read_csv(path / "assignments.csv")) == 40


def test_folders_of_lost_pictures_leave_nothing_behind(run, tmp_path):
    _, watch, snapshot = run
    watch.sheets[0].unlink()
    with pytest.raises(RecordError, match="sheet-0000"):
        exports.write_folders(exports.class_table(watch, snapshot), watch, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_the_atlas_file_has_its_columns(run, tmp_path):
    import pyarrow.parquet as pq
    from PIL import Image

    _, watch, snapshot = run
    ids = np.stack([np.roll(np.arange(60), -k) for k in (1, 2)], 1).astype(np.int32)
    ids[0] = (5, -1)
    near = ids, np.where(ids < 0, np.nan, 0.25)
    table = exports.class_table(watch, snapshot).iloc[:30]
    path = exports.write_atlas(table, watch, map_of(watch), near, tmp_path / "atlas.parquet")
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 30
    assert rows[0]["neighbors"] == {"ids": [5], "distances": [0.25]}
    assert rows[29]["neighbors"]["ids"] == []  # rows 30 and 31 are not in the file
    assert Image.open(io.BytesIO(rows[3]["image"]["bytes"])).size == (8, 8)
    assert rows[3]["projection_x"] == pytest.approx(float(map_of(watch).x[3]))
    assert {"sample_entropy", "confidence", "assignment", "label"} <= set(rows[0])


def test_parquet_without_pyarrow_says_what_to_install(run, tmp_path, monkeypatch):
    _, watch, snapshot = run
    real = builtins.__import__

    def missing(name, *arguments, **keywords):
        if name.split(".")[0] in ("pyarrow", "jscatter"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(exports.importlib, "import_module", missing)
    table = exports.class_table(watch, snapshot, None, map_of(watch))
    with pytest.raises(ConfigError, match=r"needs pyarrow.*pip install 'twist-ssl\[export\]'"):
        exports.write_table(table, tmp_path / "classes.parquet")
    with pytest.raises(ConfigError, match="needs jupyter-scatter"):
        exports.jscatter_of(table)
    assert list(tmp_path.glob("*.parquet")) == []
