"""Contact sheets that the manifest does not describe are refused by name, before their pixels are decoded."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from synthetic import make_run, read

from twist.runs.config import Recipe
from twist.runs.folders import create_run
from twist.runs.record import RunWriter
from twist.runs.sheets import ContactSheets, thumbnails_of
from twist.runs.shortcuts import image_statistics, shortcut_at
from twist.runs.store import RecordError
from twist.runs.verdict import verdict
from twist.view.shortcuts import thumbnails


@pytest.fixture
def record(tmp_path):
    return read(make_run(tmp_path))


def changed(record, **facts):
    """The watch images, with something else in their manifest."""
    path = record.path / "watch" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return record.watch()


def bomb(side):
    """The beginning of a PNG of so many pixels a side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def refused(record, match):
    """Whoever asks for the thumbnails is told what is wrong, and the verdict goes without."""
    watch = record.watch()
    for ask in (image_statistics, lambda watch: thumbnails(watch, np.arange(3))):
        with pytest.raises(RecordError, match=match):
            ask(watch)
    assert shortcut_at(record, record.snapshot_steps()[-1]) is None
    assert verdict(record).kind == "healthy"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 40, 1003])
def test_tiles_are_the_images(channels, count, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (count, channels, 7, 7)).astype(np.uint8)
    path = create_run(Recipe(), root=tmp_path)
    RunWriter(path, 1).watch(images, np.arange(count))
    tiles = np.concatenate(list(ContactSheets.of(read(path).watch()).tiles()))
    np.testing.assert_array_equal(tiles.transpose(0, 3, 1, 2), images)
    rows = np.random.default_rng(1).integers(0, count, 30)
    few = thumbnails_of(ContactSheets.of(read(path).watch()), rows)
    np.testing.assert_array_equal(few.transpose(0, 3, 1, 2), images[rows])


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ({"sheets": []}, "lists 0 contact sheets, but 300 images with per_sheet 1000 fill 1"),
        ({"per_sheet": 100}, "lists 1 contact sheets, but 300 images with per_sheet 100 fill 3"),
        ({"columns": 39}, r"sheet-0000\.png are 320 x 64 pixels of L, not 312 x 64"),
        ({"tile": 4}, r"sheet-0000\.png are 320 x 64 pixels of L, not 160 x 32"),
        ({"tile": 30_000}, "asks for sheets of 1,200,000 x 240,000 pixels"),
    ],
)
def test_a_manifest_that_disagrees_with_its_sheets_is_refused(facts, match, record):
    changed(record, **facts)
    refused(record, match)


@pytest.mark.parametrize("side", [5_000, 10_000, 30_000])
def test_a_sheet_of_too_many_pixels_is_never_decoded(side, record):
    (record.path / "watch" / "sheet-0000.png").write_bytes(bomb(side))
    refused(record, r"watch/sheet-0000\.png")


@pytest.mark.parametrize("damage", ["gone", "cut", "emptied", "scrambled", "another mode"])
def test_a_damaged_sheet_is_named(damage, record):
    path = record.path / "watch" / "sheet-0000.png"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "another mode":
        Image.new("RGBA", (320, 64)).save(path)
    else:
        path.write_bytes({"cut": content[:100], "emptied": b"", "scrambled": content[::-1]}[damage])
    refused(record, r"watch/sheet-0000\.png")


def test_thumbnails_of_two_runs_on_their_sheets_are_refused(tmp_path):
    path = create_run(Recipe(), root=tmp_path)
    RunWriter(path, 1).watch(np.zeros((1003, 1, 4, 4), np.uint8), np.arange(1003))
    Image.new("RGB", (160, 4)).save(path / "watch" / "sheet-0001.png")
    with pytest.raises(RecordError, match="some contact sheets of watch are gray and some in color"):
        image_statistics(read(path).watch())
