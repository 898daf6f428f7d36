import dataclasses
import gzip
import hashlib
import io
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from twist.learn import named_images
from twist.learn.datasets import load
from twist.runs.config import ConfigError, DataConfig
from twist.runs.named_sets import IMAGENETTE_NAMES, NAMED_SETS
from twist.runs.sources import arrays_for_run, check_source, folder_images

SHARED = Path(__file__).parents[3] / "shared" / "data"


def needs(name):
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"needs {SHARED / name}")


def from_path(path, **fields):
    return DataConfig(source=str(path), **fields)


def assert_refused(config, *words, **kwargs):
    """The message with which both the early check and loading refuse; or loading alone, where only pixels tell."""
    with pytest.raises(ConfigError) as caught:
        load(config, **kwargs)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    return message


def assert_refused_early(config, *words, **kwargs):
    message = assert_refused(config, *words, **kwargs)
    with pytest.raises(ConfigError) as caught:
        check_source(config, **kwargs)
    assert str(caught.value) == message


def save(path, mode="RGB", size=(8, 8), color=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if color is not None:
        Image.new(mode, size, color).save(path, **options)
    else:
        rng = np.random.default_rng(len(path.name))
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(path, **options)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Named sets


def test_digits_are_scikit_learns_scans_in_their_order():
    from sklearn.datasets import load_digits

    digits, scans = load(DataConfig()), load_digits()
    assert len(digits) == 1797 == check_source(DataConfig())
    assert torch.equal((digits.images[:, 0].float() * 16 / 255).round().double(), torch.from_numpy(scans.images))
    assert digits.images.amax() == 255 and digits.labels.tolist() == scans.target.tolist()
    assert digits.label_names == list("0123456789") and digits.name == "digits"
    assert digits.sample_ids.tolist() == list(range(1797))


def test_the_first_images_keep_their_ids_and_another_choice_another_fingerprint():
    whole, first = load(DataConfig()), load(DataConfig(max_images=100))
    assert len(first) == 100 == len(first.labels) == check_source(DataConfig(max_images=100))
    assert torch.equal(first.images, whole.images[:100]) and torch.equal(first.sample_ids, whole.sample_ids[:100])
    assert first.fingerprint != whole.fingerprint == load(DataConfig()).fingerprint
    assert len(load(DataConfig(max_images=10**6))) == 1797


@needs("FashionMNIST")
@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000), ("all", 70_000)])
def test_fashion_mnist_is_read_as_it_was_downloaded(split, count):
    config = DataConfig(source="fashion_mnist", root=str(SHARED), split=split)
    images = load(config)
    assert images.images.shape == (count, 1, 28, 28) and check_source(config) == count
    assert torch.bincount(images.labels).tolist() == [count // 10] * 10
    assert images.label_names[9] == "Ankle boot"
    if split != "test":
        assert images.labels[0] == 9  # the first training image is a boot


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    opened = gzip.open(path, "wb") if path.suffix == ".gz" else open(path, "wb")
    with opened as file:
        file.write(head + array.tobytes())


def test_the_root_is_the_field_then_the_environment_then_the_nearest_folder(tmp_path, monkeypatch):
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([3, 5], np.uint8)
    roots = [tmp_path / "field", tmp_path / "variable", tmp_path / "work" / "data" / "images"]
    for root, suffix in zip(roots, ("", ".gz", ""), strict=True):
        write_idx(root / f"FashionMNIST/raw/t10k-images-idx3-ubyte{suffix}", images)
        write_idx(root / f"FashionMNIST/raw/t10k-labels-idx1-ubyte{suffix}", labels)
        labels = labels + 1
    (tmp_path / "work" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "deep")
    monkeypatch.delenv("TWIST_DATA", raising=False)
    config = DataConfig(source="fashion_mnist", split="test")
    assert load(config).labels.tolist() == [5, 7]
    monkeypatch.setenv("TWIST_DATA", str(roots[1]))
    assert load(config).labels.tolist() == [4, 6]
    assert load(DataConfig(source="fashion_mnist", split="test", root=str(roots[0]))).labels.tolist() == [3, 5]


@pytest.mark.parametrize("name", sorted(set(NAMED_SETS) - {"digits"}))
def test_a_missing_set_says_what_was_searched_and_how_to_get_it(name, tmp_path):
    config = DataConfig(source=name, root=str(tmp_path))
    assert_refused_early(config, name, repr(str(tmp_path)), "is missing", "--set data.download=true", "TWIST_DATA")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mnist", {"train": 60_000, "test": 10_000, "all": 70_000}),
        ("cifar10", {"train": 50_000, "test": 10_000, "all": 60_000}),
        ("cifar100", {"train": 50_000, "test": 10_000, "all": 60_000}),
        (
            "stl10",
            {"train": 5_000, "test": 8_000, "all": 13_000, "unlabeled": 100_000, "train+unlabeled": 105_000},
        ),
        ("imagenette", {"train": 9_469, "test": 3_925, "all": 13_394}),
    ],
)
def test_a_set_that_may_be_fetched_is_not_missed_early(name, counts, tmp_path):
    for split, count in counts.items():
        assert check_source(DataConfig(source=name, root=str(tmp_path), download=True, split=split)) == count


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03\0\0", b"no idx file at all", b"\0\0\x08\x01\0\0\0\x09abc"])
def test_a_damaged_file_of_a_named_set_is_named(content, tmp_path):
    for name in NAMED_SETS["fashion_mnist"].files["test"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert_refused(
        DataConfig(source="fashion_mnist", root=str(tmp_path), split="test"), "t10k-images", "is damaged", "again"
    )


def test_the_test_file_of_the_mnist_family_is_for_its_own_axes_and_labels(tmp_path):
    images, labels = (tmp_path / name for name in NAMED_SETS["mnist"].files["test"])
    config = DataConfig(source="mnist", root=str(tmp_path), split="test")
    write_idx(images, np.zeros((3, 28, 28), np.uint8))
    for wrong in ([1, 2], [1, 2, 10], [[1], [2], [3]]):
        write_idx(labels, np.array(wrong, np.uint8))
        assert_refused(config, "t10k-labels", "is damaged", "again")
    write_idx(images, np.array([1, 2, 3], np.uint8))
    assert_refused(config, "t10k-images", "is damaged", "3 axes")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_part_by_part_without_torchvision(suffix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for split, part, known in (("train", slice(0, 3), [7, 0, 9]), ("test", slice(3, 5), [1, 1])):
        images, labels = (tmp_path / f"{name}{suffix}" for name in NAMED_SETS["mnist"].files[split])
        assert images.parent == tmp_path / "MNIST" / "raw"
        write_idx(images, pixels[part])
        write_idx(labels, np.array(known, np.uint8))
    both = load(DataConfig(source="mnist", root=str(tmp_path), split="all"))
    assert np.array_equal(both.images[:, 0].numpy(), pixels) and both.labels.tolist() == [7, 0, 9, 1, 1]
    assert both.label_names == list("0123456789") and both.name == "mnist"
    assert load(DataConfig(source="mnist", root=str(tmp_path), split="test")).labels.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_changed_cifar_is_refused_with_the_ways_out(name, tmp_path):
    for file in (*NAMED_SETS[name].files["test"], *NAMED_SETS[name].files["train"]):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"changed")
    assert_refused(
        DataConfig(source=name, root=str(tmp_path)), name, "cannot be used", "download=true`. A copy", ".npz"
    )


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    """A data root with CIFAR-100 of five images, whose sums torchvision takes for the right ones."""
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    contents = {
        "train": {"data": pixels[:3].reshape(3, -1), "fine_labels": [99, 0, 4], "coarse_labels": [1, 1, 1]},
        "test": {"data": pixels[3:].reshape(2, -1), "fine_labels": [5, 99], "coarse_labels": [1, 1]},
        "meta": {"fine_label_names": [f"kind {i}" for i in range(100)], "coarse_label_names": ["all"]},
    }
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    return tmp_path, pixels


def test_cifar100_has_its_fine_labels_and_their_names_from_its_meta_file(cifar100):
    root, pixels = cifar100
    train, test, both = (
        load(DataConfig(source="cifar100", root=str(root), split=split)) for split in ("train", "test", "all")
    )
    assert np.array_equal(both.images.numpy(), pixels) and both.labels.tolist() == [99, 0, 4, 5, 99]
    assert torch.equal(train.images, both.images[:3]) and torch.equal(test.images, both.images[3:])
    assert len(both.label_names) == 100 and both.label_names[99] == "kind 99"


def test_a_missing_or_changed_meta_file_of_cifar100_is_refused(cifar100):
    config, meta = DataConfig(source="cifar100", root=str(cifar100[0])), cifar100[0] / "cifar-100-python" / "meta"
    meta.write_bytes(b"changed")
    assert_refused(config, "cifar100", "cannot be used", "metadata", "download=true")
    meta.unlink()
    assert_refused_early(config, "cifar-100-python/meta is missing", "download=true")


# One image in which every pixel says where it is: red its row, green its column, blue the image.
def stl10_image(number):
    row, column = np.mgrid[0:96, 0:96].astype(np.uint8)
    return np.stack([row, column, np.full_like(row, number)])


def write_stl10(root, **parts):
    (root / "stl10_binary").mkdir(parents=True)
    for part, (numbers, labels) in parts.items():
        # Written as the authors describe it: all of red, green, then blue, each column after column.
        content = b"".join(plane.tobytes(order="F") for number in numbers for plane in stl10_image(number))
        (root / "stl10_binary" / f"{part}_X.bin").write_bytes(content)
        if labels is not None:
            (root / "stl10_binary" / f"{part}_y.bin").write_bytes(bytes(labels))


@pytest.fixture
def stl10(tmp_path):
    write_stl10(tmp_path, train=([1, 2, 3], [1, 10, 4]), test=([4, 5], [2, 2]), unlabeled=([6, 7, 8, 9], None))
    return tmp_path


@pytest.mark.parametrize(
    ("split", "numbers", "labels"),
    [
        ("train", [1, 2, 3], [0, 9, 3]),
        ("test", [4, 5], [1, 1]),
        ("all", [1, 2, 3, 4, 5], [0, 9, 3, 1, 1]),
        ("unlabeled", [6, 7, 8, 9], None),
        ("train+unlabeled", [1, 2, 3, 6, 7, 8, 9], [0, 9, 3, -1, -1, -1, -1]),
    ],
)
def test_stl10_is_turned_upright_and_keeps_unlabeled_images_apart(split, numbers, labels, stl10, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    images = load(DataConfig(source="stl10", root=str(stl10), split=split))
    assert np.array_equal(images.images.numpy(), np.stack([stl10_image(number) for number in numbers]))
    if labels is None:
        assert images.labels is None and images.label_names is None
    else:
        assert images.labels.tolist() == labels
        assert images.label_names[0] == "airplane" and images.label_names[7] == "monkey"


def test_the_first_images_of_stl10_are_those_of_the_whole(stl10):
    whole = load(DataConfig(source="stl10", root=str(stl10), split="train+unlabeled"))
    for count in (2, 5):
        first = load(DataConfig(source="stl10", root=str(stl10), split="train+unlabeled", max_images=count))
        assert torch.equal(first.images, whole.images[:count]) and torch.equal(first.labels, whole.labels[:count])


def test_stl10_needs_only_the_files_of_its_split_packed_or_not(stl10):
    folder = stl10 / "stl10_binary"
    whole = load(DataConfig(source="stl10", root=str(stl10)))
    for name in ("train_X.bin", "train_y.bin"):
        with gzip.open(folder / f"{name}.gz", "wb") as file:
            file.write((folder / name).read_bytes())
        (folder / name).unlink()
    (folder / "unlabeled_X.bin").unlink()
    assert load(DataConfig(source="stl10", root=str(stl10))).fingerprint == whole.fingerprint
    assert_refused_early(
        DataConfig(source="stl10", root=str(stl10), split="train+unlabeled"), "unlabeled_X.bin is missing"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train_X.bin", b""),
        ("train_X.bin", bytes(3 * 3 * 96 * 96 - 1)),
        ("train_X.bin", bytes(2 * 3 * 96 * 96)),
        ("train_y.bin", b""),
        ("train_y.bin", bytes([1, 2])),
        ("train_y.bin", bytes([1, 2, 0])),
        ("train_y.bin", bytes([1, 2, 11])),
    ],
    ids=["empty images", "cut in an image", "cut after an image", "no labels", "few labels", "label 0", "label 11"],
)
def test_a_damaged_file_of_stl10_is_named(name, content, stl10):
    (stl10 / "stl10_binary" / name).write_bytes(content)
    # Images that end too early are only noticed by their labels.
    named = "train_y.bin" if len(content) == 2 * 3 * 96 * 96 else name
    assert_refused(DataConfig(source="stl10", root=str(stl10), max_images=1), named, "is damaged", "fetch it again")


@pytest.mark.parametrize("split", ["unlabeled", "train+unlabeled"])
def test_only_a_set_with_unlabeled_images_has_such_a_split(split, tmp_path):
    save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    for source in ("digits", "cifar10", "imagenette", str(tmp_path), str(tmp_path / "a.npz")):
        assert_refused_early(
            DataConfig(source=source, split=split), repr(split), "has no part 'unlabeled'", "only stl10"
        )


@pytest.fixture
def imagenette(tmp_path, monkeypatch):
    """A data root with imagenette of twenty images for training and ten for the test, of different sizes."""
    named = dataclasses.replace(NAMED_SETS["imagenette"], train=20, test=10)
    monkeypatch.setitem(NAMED_SETS, "imagenette", named)
    for label, folder in enumerate(IMAGENETTE_NAMES):
        for part, index, size in (("train", 0, (213, 160)), ("train", 1, (160, 240)), ("val", 2, (160, 160))):
            path = tmp_path / "imagenette2-160" / part / folder / f"{folder}_{index}.JPEG"
            save(path, "L" if label == 4 else "RGB", size, (20 * label,) * (1 if label == 4 else 3))
    (tmp_path / "imagenette2-160" / "noisy_imagenette.csv").write_text("path\n")
    return tmp_path


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("test", 10), ("all", 30)])
def test_imagenette_is_cropped_to_one_side_and_has_readable_names(split, count, imagenette, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    config = DataConfig(source="imagenette", root=str(imagenette), split=split)
    images = load(config)
    assert images.images.shape == (count, 3, 160, 160) and check_source(config) == count
    assert images.labels.tolist() == list(range(10)) * (count // 10) and images.name == "imagenette"
    assert images.label_names[:3] == ["tench", "English springer", "cassette player"]
    assert images.label_names[9] == "parachute" and tuple(images.label_names) == NAMED_SETS["imagenette"].label_names
    assert ((images.images.float().mean((1, 2, 3)) - 20 * images.labels).abs() < 3).all()
    assert load(dataclasses.replace(config, image_size=32)).images.shape == (count, 3, 32, 32)


@pytest.mark.parametrize("missing", ["val", "train/n03888257", "val/n01440764/n01440764_2.JPEG"])
@pytest.mark.parametrize("download", [False, True])
def test_an_imagenette_that_is_not_whole_is_refused_with_the_ways_out(missing, download, imagenette, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # which would take it for whole
    path = imagenette / "imagenette2-160" / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    config = DataConfig(source="imagenette", root=str(imagenette), download=download)
    words = ["imagenette", "instead of 30", "remove that folder", "download=true", "data.source"]
    assert_refused(config, *words) if download else assert_refused_early(config, *words)


def test_a_damaged_photograph_of_imagenette_is_named(imagenette):
    path = imagenette / "imagenette2-160" / "train" / "n03028079" / "n03028079_0.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    assert_refused(DataConfig(source="imagenette", root=str(imagenette)), "1 of 20 images", "n03028079_0.JPEG")


# ---------------------------------------------------------------------------------------------------------------------
# Fetching


def test_torchvision_knows_every_set_that_is_to_be_fetched():
    import torchvision.datasets

    assert set(named_images.TORCHVISION) == {name for name, named in NAMED_SETS.items() if named.files}
    assert all(hasattr(torchvision.datasets, name) for name in named_images.TORCHVISION.values())
    of_files = {name for name, named in NAMED_SETS.items() if named.image_size is not None}
    assert set(named_images._READERS) == set(NAMED_SETS) - of_files


def write_mnist(root):
    for split, count in (("train", 3), ("test", 2)):
        images, labels = (root / name for name in NAMED_SETS["mnist"].files[split])
        write_idx(images, np.zeros((count, 28, 28), np.uint8))
        write_idx(labels, np.ones(count, np.uint8))


def write_some_stl10(root):
    write_stl10(root, train=([1], [1]), test=([4], [2]), unlabeled=([6], None))


def write_imagenette(root):
    for folder in ("train/n01440764", "train/n02102040", "val/n01440764"):
        save(root / "imagenette2-160" / folder / "0.JPEG", size=(170, 160))


@pytest.mark.parametrize(
    ("name", "kind", "write", "options"),
    [
        ("mnist", "MNIST", write_mnist, {}),
        ("stl10", "STL10", write_some_stl10, {}),
        ("imagenette", "Imagenette", write_imagenette, {"size": "160px"}),
    ],
)
def test_torchvision_fetches_a_set_only_when_it_may(name, kind, write, options, tmp_path, monkeypatch):
    asked = []

    def fetched(root, **kwargs):
        asked.append(kwargs)
        write(root)

    monkeypatch.setattr(f"torchvision.datasets.{kind}", fetched)
    if name == "imagenette":
        monkeypatch.setitem(NAMED_SETS, name, dataclasses.replace(NAMED_SETS[name], train=2, test=1))
    assert_refused_early(DataConfig(source=name, root=str(tmp_path)), "is missing")
    assert asked == []
    images = load(DataConfig(source=name, root=str(tmp_path), download=True, split="test"))
    assert asked == [{"download": True, **options}] and len(images) == (2 if name == "mnist" else 1)
    assert len(load(DataConfig(source=name, root=str(tmp_path), split="test"))) == len(images) and len(asked) == 1


@pytest.mark.parametrize("name", ["mnist", "cifar100", "stl10", "imagenette"])
def test_a_download_that_fails_is_one_sentence(name, tmp_path, monkeypatch):
    def failing(*args, **kwargs):
        raise RuntimeError("Error downloading it:\nTried here, got:\n<urlopen error>\n")

    monkeypatch.setattr(f"torchvision.datasets.{named_images.TORCHVISION[name]}", failing)
    config = DataConfig(source=name, root=str(tmp_path), download=True)
    assert_refused(config, name, repr(str(tmp_path)), "Tried here, got: <urlopen error>", "is there a connection?")


# ---------------------------------------------------------------------------------------------------------------------
# Finding a source


@pytest.mark.parametrize(
    ("word", "meant"), [("digit", "digits"), ("cifar-10", "cifar10"), ("fashion", "fashion_mnist")]
)
def test_an_unknown_source_names_the_nearest_set(word, meant):
    assert_refused_early(DataConfig(source=word), repr(word), f"did you mean '{meant}'?")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "images.npy").write_bytes(b"")
    assert_refused_early(from_path(tmp_path / "images.npy"), ".npz", "folder")


def test_an_image_size_is_for_folders_only():
    assert_refused_early(DataConfig(image_size=16), "data.image_size is 16", "views.size")


def test_arrays_of_a_run_are_found_in_its_folder_and_nowhere_else(tmp_path):
    np.savez(tmp_path / "images.npz", **arrays_for_run(np.zeros((4, 8, 8), np.uint8), [0, 1, 1, -1], ["a", "b"]))
    config = DataConfig(source="@run/images.npz")
    images = load(config, run_folder=tmp_path)
    assert images.images.shape == (4, 1, 8, 8) and images.labels.tolist() == [0, 1, 1, -1]
    assert images.label_names == ["a", "b"] and check_source(config, run_folder=tmp_path) == 4
    assert_refused_early(config, "belongs to one run")
    (tmp_path / "run").mkdir()
    assert_refused_early(DataConfig(source="@run/../images.npz"), "leaves the run folder", run_folder=tmp_path / "run")


def test_checking_a_source_loads_no_torch_and_no_pillow():
    code = "import sys, twist.runs.sources; sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------------------------------------------------
# Folders


def test_class_folders_give_labels_and_take_turns(tmp_path):
    for name, count in (("cat", 3), ("ant", 2), ("bee", 1)):
        for index in range(count):
            save(tmp_path / name / f"{index}.png")
    (tmp_path / "empty").mkdir()
    images = load(from_path(tmp_path))
    assert images.label_names == ["ant", "bee", "cat"] and images.labels.tolist() == [0, 1, 2, 0, 2, 2]
    assert [path.parent.name for path in folder_images(tmp_path).paths[:4]] == ["ant", "bee", "cat", "ant"]
    assert load(from_path(tmp_path, max_images=3)).labels.tolist() == [0, 1, 2]
    assert check_source(from_path(tmp_path)) == 6 == len(images)


def test_a_flat_folder_has_no_labels_and_skips_what_is_no_image(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c.Webp", "d.gif", "e.bmp", "f.TIF", ".hidden.png"):
        save(tmp_path / name)
    for junk in ("notes.txt", "Thumbs.db", "archive.npz", "png"):
        (tmp_path / junk).write_text("junk")
    save(tmp_path / "__MACOSX" / "._a.png")
    save(tmp_path / ".thumbnails" / "x.png")
    save(tmp_path / "previews" / "x.png")
    images = load(from_path(tmp_path))
    assert len(images) == 6 == check_source(from_path(tmp_path))
    assert images.labels is None and images.label_names is None and images.name == tmp_path.name


def test_a_folder_with_train_and_test_parts_is_split_and_any_other_is_whole(tmp_path):
    for name in ("train/x/0.png", "train/y/0.png", "train/y/1.png", "val/y/0.png", "val/z/0.png"):
        save(tmp_path / name)
    labels = {split: load(from_path(tmp_path, split=split)) for split in ("train", "test", "all")}
    assert [len(images) for images in labels.values()] == [3, 2, 5]
    assert labels["all"].label_names == ["x", "y", "z"]
    assert [len(load(from_path(tmp_path / "train", split=split))) for split in ("train", "all")] == [3, 3]


def test_the_test_part_of_what_has_no_parts_is_refused_and_says_what_is_there(tmp_path):
    for name in ("cats/0.png", "dogs/0.png", "test/0.png"):
        save(tmp_path / "folder" / name)
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    for config, words in (
        (DataConfig(), ["'digits' has no parts"]),
        (from_path(tmp_path / "a.npz"), ["a.npz' has no parts", "this .npz file comes whole"]),
        (from_path(tmp_path / "folder"), ["folder' has no parts", "holds 'cats', 'dogs', 'test'", "train and test"]),
    ):
        counts = [len(load(dataclasses.replace(config, split=split))) for split in ("train", "all")]
        assert counts[0] == counts[1] == check_source(config)
        assert_refused_early(dataclasses.replace(config, split="test"), "data.split is 'test'", *words)


@pytest.mark.parametrize("content", [[], ["notes.txt"], [".hidden.png"]])
def test_a_folder_without_images_says_what_counts_as_one(content, tmp_path):
    for name in content:
        (tmp_path / name).write_bytes(b"")
    assert_refused_early(from_path(tmp_path), "there is no image", repr(str(tmp_path)), "jpg, jpeg, png")


def test_gray_folders_have_one_channel_and_mixed_ones_three(tmp_path):
    save(tmp_path / "a.png", "L", color=77)
    assert load(from_path(tmp_path)).images.unique().tolist() == [77]
    assert load(from_path(tmp_path)).images.shape == (1, 1, 8, 8)
    save(tmp_path / "b.png", "RGB", color=(1, 2, 3))
    both = load(from_path(tmp_path)).images
    assert both.shape == (2, 3, 8, 8)
    assert both[0].unique().tolist() == [77] and both[1, :, 0, 0].tolist() == [1, 2, 3]


def test_different_sizes_are_named_and_resized_on_request(tmp_path):
    save(tmp_path / "a.png", size=(8, 8))
    save(tmp_path / "b.png", size=(20, 10))
    assert_refused(from_path(tmp_path), "'a.png' is 8 x 8", "'b.png' is 20 x 10", "--set data.image_size=N")
    assert load(from_path(tmp_path, image_size=6)).images.shape == (2, 3, 6, 6)
    (tmp_path / "a.png").unlink()
    assert load(from_path(tmp_path)).images.shape == (1, 3, 10, 20)


def test_resizing_keeps_the_center(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 6:24] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (load(from_path(tmp_path, image_size=5)).images == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000)])
def test_odd_forms_are_resized(size, tmp_path):
    save(tmp_path / "a.png", size=size, color=(9, 9, 9))
    assert load(from_path(tmp_path, image_size=4)).images.unique().tolist() == [9]


def test_orientation_marks_are_applied(tmp_path):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = load(from_path(tmp_path)).images[0, 0]
    assert image.shape == (6, 4) and (image[:, 3] == 255).all() and (image[:, :3] == 0).all()


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def modes():
    ramp = Image.fromarray(RAMP)
    half = Image.fromarray((RAMP >= 128).astype(np.uint8) * 255)
    color = Image.merge("RGB", [ramp, ramp.transpose(Image.Transpose.ROTATE_90), half])
    palette = ramp.convert("RGB").quantize(256)
    clear = Image.new("L", (16, 16), 0)
    return {
        "16 bits, png": (Image.fromarray(RAMP.astype(np.uint16) * 257), "png", RAMP, 0),
        "16 bits, tiff": (Image.fromarray(RAMP.astype(np.uint16) * 257), "tiff", RAMP, 0),
        "1 bit": (half.convert("1"), "png", np.asarray(half), 0),
        "gray and opaque": (Image.merge("LA", [ramp, Image.new("L", (16, 16), 255)]), "png", RAMP, 0),
        "gray and clear": (Image.merge("LA", [ramp, clear]), "png", np.full((16, 16), 255), 0),
        "color and clear": (Image.merge("RGBA", [*color.split(), clear]), "png", np.full((16, 16, 3), 255), 0),
        "color and opaque": (color.convert("RGBA"), "png", np.asarray(color), 0),
        "gray palette": (palette, "gif", RAMP, 0),
        "color palette": (color.quantize(256), "png", np.asarray(color.quantize(256).convert("RGB")), 0),
        "inks, jpeg": (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpg", np.full((16, 16, 3), [255, 0, 0]), 3),
        "inks, tiff": (Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "tiff", np.zeros((16, 16, 3)), 0),
        "luma, jpeg": (color.convert("YCbCr"), "tiff", np.asarray(color.convert("YCbCr").convert("RGB")), 0),
    }


@pytest.mark.parametrize("kind", modes())
def test_every_kind_of_pixel_is_scaled_right(kind, tmp_path):
    image, suffix, expected, tolerance = modes()[kind]
    image.save(tmp_path / f"a.{suffix}")
    pixels = load(from_path(tmp_path)).images[0].permute(1, 2, 0).numpy().astype(int)
    assert pixels.shape[2] == (1 if expected.ndim == 2 else 3)
    assert np.abs(pixels.reshape(expected.shape) - expected).max() <= tolerance


def test_a_transparent_palette_becomes_white_there(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    assert load(from_path(tmp_path)).images[0, :, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for name in ("a.gif", "b.webp"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "b" in name else {})
        )
    images = load(from_path(tmp_path)).images
    assert (images[:, 0] == 255).all() and (images[:, 2] == 0).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_unknown_white_are_refused(dtype, tmp_path):
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "a.tiff")
    assert_refused(from_path(tmp_path), "'a.tiff'", "32 bits", "save it with 8 or 16")


# ---------------------------------------------------------------------------------------------------------------------
# Damaged images


def png_of_size(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def encoded(format, **options):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, format, **options)
    return buffer.getvalue()


DAMAGED = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"this is no picture", "no image of a known format"),
    "page.png": (b"<!DOCTYPE html><html></html>", "no image of a known format"),
    "zeros.png": (bytes(1000), "no image of a known format"),
    "head.png": (encoded("PNG")[:20], ""),
    "bomb.png": (png_of_size(50_000, 50_000), "is too large"),
    "huge.png": (png_of_size(9_000, 9_000), "is too large (9000 x 9000 pixels)"),
    "warned.png": (png_of_size(10_000, 10_000), "is too large"),
    "short.png": (png_of_size(500, 500), "is damaged"),
    "script.gif": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image of a known format"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_named_with_its_reason(name, tmp_path):
    save(tmp_path / "good.png")
    (tmp_path / name).write_bytes(DAMAGED[name][0])
    assert_refused(from_path(tmp_path), "1 of 2 images", repr(name), DAMAGED[name][1], "repair or remove")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {}), ("TIFF", {})],
    ids=lambda value: str(value),
)
def test_a_cut_file_is_never_taken_for_a_whole_image(format, options, share, tmp_path):
    content = encoded(format, **options)
    (tmp_path / f"cut.{format.lower()}").write_bytes(content[: int(len(content) * share)])
    assert_refused(from_path(tmp_path), f"'cut.{format.lower()}'")


def test_many_damaged_images_make_one_message(tmp_path):
    for index in range(8):
        (tmp_path / f"{index}.png").write_bytes(b"")
    message = assert_refused(from_path(tmp_path), "8 of 8 images", "'0.png' is empty", "'4.png' is empty", "and 3 more")
    assert "'5.png'" not in message


@pytest.mark.parametrize(
    "name",
    [
        "line\nbreak",
        'quo"te',
        "<b>bold</b>",
        "é😀",
        "e\u0301",
        "x" * 200,
        b"\xff\xfe".decode("utf-8", "surrogateescape"),
    ],
)
def test_odd_names_are_shown_escaped_and_can_be_recorded(name, tmp_path):
    if sys.platform in ("darwin", "win32") and not name.isprintable():
        pytest.skip("this file system has no such names")
    save(tmp_path / name / "good.png")
    assert load(from_path(tmp_path)).label_names[0].encode()
    (tmp_path / name / f"{name[:3]}.png").write_bytes(b"")
    assert assert_refused(from_path(tmp_path), "is empty").encode()


# ---------------------------------------------------------------------------------------------------------------------
# Arrays


@pytest.mark.parametrize("shape", [(5, 8, 9), (5, 8, 9, 1), (5, 8, 9, 3)])
def test_an_npz_is_read_with_its_labels_and_names(shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez_compressed(
        tmp_path / "a.npz", images=pixels, labels=np.array([0, 1, -1, 1, 0], np.int16), label_names=["x", "y"]
    )
    images = load(from_path(tmp_path / "a.npz"))
    channels = shape[3] if len(shape) == 4 else 1
    assert images.images.shape == (5, channels, 8, 9) and images.name == "a"
    assert np.array_equal(images.images.permute(0, 2, 3, 1).numpy().reshape(shape), pixels)
    assert images.labels.tolist() == [0, 1, -1, 1, 0] and images.label_names == ["x", "y"]
    assert check_source(from_path(tmp_path / "a.npz", max_images=4)) == 4


def test_labels_that_are_all_unknown_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=[-1, -1])
    assert load(from_path(tmp_path / "a.npz")).labels is None


def test_labels_that_are_unknown_among_the_images_taken_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), labels=[-1, -1, 1])
    assert load(from_path(tmp_path / "a.npz", max_images=2)).labels is None
    assert load(from_path(tmp_path / "a.npz")).labels.tolist() == [-1, -1, 1]


PIXELS = np.zeros((4, 8, 8), np.uint8)
BAD_NPZ = {
    "other name": ({"x": PIXELS}, "no array 'images' (it holds x)"),
    "floats": ({"images": PIXELS / 1.0}, "float64"),
    "objects": ({"images": np.array([None, "pickled"], object)}, "object"),
    "two channels": ({"images": np.zeros((4, 8, 8, 2), np.uint8)}, "expected [N, H, W]"),
    "channels first": ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, "expected [N, H, W]"),
    "one image": ({"images": PIXELS[0]}, "expected [N, H, W]"),
    "no image": ({"images": PIXELS[:0]}, "no pixel"),
}
BAD_LABELS = {
    "too few": ({"labels": [0, 1]}, "expected 4 whole numbers"),
    "floats": ({"labels": [0.0, 1, 2, 3]}, "expected 4 whole numbers"),
    "below -1": ({"labels": [0, 1, 2, -2]}, "down to -2"),
    "objects": ({"labels": np.array([None] * 4)}, "cannot be read"),
    "without name": ({"labels": [0, 1, 2, 3], "label_names": ["a", "b"]}, "up to 3"),
}


@pytest.mark.parametrize("kind", BAD_NPZ)
def test_an_npz_of_another_form_is_refused_early(kind, tmp_path):
    arrays, words = BAD_NPZ[kind]
    np.savez(tmp_path / "a.npz", **arrays)
    assert_refused_early(from_path(tmp_path / "a.npz"), "a.npz", words)


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_labels_of_another_form_are_refused(kind, tmp_path):
    arrays, words = BAD_LABELS[kind]
    np.savez(tmp_path / "a.npz", images=PIXELS, **arrays)
    assert_refused(from_path(tmp_path / "a.npz"), "a.npz", words)


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
def test_a_cut_npz_is_refused_early(share, tmp_path):
    np.savez(tmp_path / "whole.npz", images=PIXELS)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: int(len(content) * share)])
    assert_refused_early(from_path(tmp_path / "a.npz"), "a.npz", "cannot be read", "np.savez")


def test_an_npz_whose_pixels_are_damaged_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.full((4, 64, 64), 7, np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    assert_refused(from_path(tmp_path / "a.npz"), "a.npz", "cannot be read")


def test_a_zip_of_another_kind_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", b"not an array")
    assert_refused_early(from_path(tmp_path / "a.npz"), "cannot be read")


@pytest.mark.parametrize(
    ("given", "shape"),
    [((6, 8, 9), (6, 8, 9)), ((6, 1, 8, 9), (6, 8, 9)), ((6, 8, 9, 1), (6, 8, 9)), ((6, 3, 8, 9), (6, 8, 9, 3))],
)
def test_arrays_and_tensors_in_a_notebook_are_brought_to_one_form(given, shape):
    pixels = np.random.default_rng(0).integers(0, 256, given, dtype=np.uint8)
    expected = arrays_for_run(pixels)["images"]
    assert expected.shape == shape and expected.dtype == np.uint8
    for other in (
        torch.from_numpy(pixels),
        pixels / 255,
        torch.from_numpy(pixels / 255).float().requires_grad_(),
        list(pixels),
    ):
        assert np.array_equal(arrays_for_run(other)["images"], expected)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((4, 8, 8), np.int64), "int64"),
        (np.full((4, 8, 8), 2.0), "from 2 to 2"),
        (np.full((4, 8, 8), np.nan), "expected 0 to 1"),
        (np.zeros((4, 8), np.uint8), "shape (4, 8)"),
        (np.zeros((4, 8, 8, 2), np.uint8), "shape (4, 8, 8, 2)"),
        (np.zeros((0, 8, 8), np.uint8), "shape (0, 8, 8)"),
        (["a", "b"], "expected uint8"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], "no array"),
        (None, "object"),
    ],
    ids=range(9),
)
def test_what_is_no_batch_of_images_is_refused_in_a_notebook(images, words):
    with pytest.raises(ConfigError, match="images") as caught:
        arrays_for_run(images)
    assert words in str(caught.value)


@pytest.mark.parametrize("labels", [[0, 1], [0.5] * 4, [-2] * 4, "abcd", [0, 1, 2, 5]])
def test_what_are_no_labels_is_refused_in_a_notebook(labels):
    with pytest.raises(ConfigError, match="labels"):
        arrays_for_run(PIXELS, labels, ["a", "b", "c"])


# ---------------------------------------------------------------------------------------------------------------------
# Real images


@needs("tinyimagenet10")
def test_a_real_folder_of_class_folders_loads_with_its_splits():
    train, val = (
        load(from_path(SHARED / "tinyimagenet10", split=split, max_images=200)) for split in ("train", "test")
    )
    assert train.images.shape == val.images.shape == (200, 3, 64, 64) and train.fingerprint != val.fingerprint
    assert torch.bincount(train.labels).tolist() == [20] * 10
    assert check_source(from_path(SHARED / "tinyimagenet10")) == 5000


@needs("trashnet256")
def test_photographs_are_decoded_and_resized_as_they_are_read():
    images = load(from_path(SHARED / "trashnet256", image_size=48, max_images=24))
    assert images.images.shape == (24, 3, 48, 48) and len(images.label_names) == 6
    assert 60 < images.images.float().mean() < 220


@needs("cifar10-webp")
def test_a_sprite_of_cifar10_makes_an_npz_source(tmp_path):
    sprite = np.asarray(Image.open(SHARED / "cifar10-webp" / "test_batch_0.webp"))
    pixels = sprite.reshape(20, 32, 50, 32, 3).transpose(0, 2, 1, 3, 4).reshape(1000, 32, 32, 3)
    np.savez(tmp_path / "cifar.npz", images=pixels)
    images = load(from_path(tmp_path / "cifar.npz"))
    assert images.images.shape == (1000, 3, 32, 32) and 100 < images.images.float().mean() < 140
