"""What a recipe reaches is asked of any images that it can train on."""

import pytest
import torch
from PIL import Image

from benchmarks.speed.pictures import pictures
from twist.learn import datasets
from twist.learn.model import load_model
from twist.learn.stored_images import StoredImages
from twist.runs.config import DataConfig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """PNG files of 12 pixels in two classes, more than a batch of the size that the tests ask for."""
    monkeypatch.setenv("TWIST_CACHE", str(tmp_path / "cache"))
    for number, image in enumerate(pictures(7, (12, 12))):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "images"


@pytest.mark.parametrize("keep", ["cache", "decode"])
def test_a_folder_that_is_not_in_memory_has_the_features_of_one_that_is(folder, keep):
    memory, stored = (
        datasets.load(DataConfig(source=str(folder), image_size=12, keep=each)).images for each in ("memory", keep)
    )
    assert isinstance(stored, StoredImages)
    expected, found = (
        load_model("pixels", image_size=12).features(images, batch_size=3) for images in (memory, stored)
    )
    assert torch.equal(found, expected) and found.shape == (7, 3 * 12 * 12)
