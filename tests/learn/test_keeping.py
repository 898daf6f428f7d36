"""Images in memory, in a cache and decoded on the way: the same pixels, the same runs, and nothing lost in silence."""

import os
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loop import assert_equal_weights, attempt
from PIL import Image

from twist.learn import datasets, image_cache, image_files
from twist.learn import train as training
from twist.learn.datasets import load
from twist.learn.image_cache import ImageCache
from twist.learn.image_files import ImageFiles
from twist.learn.process import Requests
from twist.learn.stored_images import ArrayImages, num_threads
from twist.runs import lock
from twist.runs.attempts import attempt_folder
from twist.runs.config import ConfigError, DataConfig
from twist.runs.launcher import prepare
from twist.runs.record import RunRecord
from twist.runs.sources import cache_root, check_source
from twist.runs.store import read_json, write_json

KEEPERS = ("memory", "cache", "decode")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder that `TWIST_CACHE` names."""
    monkeypatch.setenv("TWIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Sixty images of several kinds and sizes, in class folders."""
    rng = np.random.default_rng(0)
    for index in range(60):
        height, width = rng.integers(20, 60, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        suffix, mode = (("jpg", "RGB"), ("png", "RGBA"), ("jpg", "L"), ("gif", "P"))[index % 4]
        place = tmp_path / "images" / f"label {index % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(place / f"{index:02d}.{suffix}")
    return tmp_path / "images"


def config_of(folder, keep, **fields):
    return DataConfig(source=str(folder), keep=keep, **{"image_size": 16, **fields})


def arrays(cache):
    return sorted(cache.rglob("*.npy"))


# ---------------------------------------------------------------------------------------------------------------------
# The same in three ways


def test_the_three_ways_give_the_same_pixels_and_fingerprint(folder):
    memory, cached, decoded = (load(config_of(folder, keep)) for keep in KEEPERS)
    assert isinstance(memory.images, torch.Tensor)
    assert isinstance(cached.images, ArrayImages) and isinstance(decoded.images, ImageFiles)
    assert [images.keep for images in (memory, cached, decoded)] == list(KEEPERS)
    assert memory.fingerprint == cached.fingerprint == decoded.fingerprint
    for chosen in (
        torch.tensor([59, 0, 3, 3, -1]),
        7,
        [1, 2],
        slice(10, 50, 7),
        slice(None),
        torch.arange(60) % 2 == 0,
    ):
        assert torch.equal(memory.images[chosen], cached.images[chosen])
        assert torch.equal(memory.images[chosen], decoded.images[chosen])
    for images in (cached, decoded):
        assert tuple(images.images.shape) == tuple(memory.images.shape) and len(images) == 60
        assert images.images.nbytes == memory.images.nbytes
        with pytest.raises(IndexError):
            images.images[torch.tensor([60])]


@pytest.mark.parametrize("kept", KEEPERS)
def test_gray_images_have_one_channel_in_every_way(kept, tmp_path):
    for value in (0, 77):
        (tmp_path / "gray").mkdir(exist_ok=True)
        Image.new("L", (8, 9), value).save(tmp_path / "gray" / f"{value}.png")
    images = load(config_of(tmp_path / "gray", kept, image_size=None)).images
    assert tuple(images.shape) == (2, 1, 9, 8)
    assert images[torch.tensor([1])].unique().tolist() == [77]


@pytest.fixture
def tiny_folder(folder, tiny):
    return {**tiny, "data.source": str(folder), "data.image_size": 16, "data.max_images": None, "optim.batch_size": 15}


def test_a_run_has_the_same_weights_bit_for_bit_however_its_images_are_kept(folder, runs, tiny_folder):
    paths = [prepare("digits", name=keep, changes={**tiny_folder, "data.keep": keep}) for keep in KEEPERS]
    for path, keep in zip(paths, KEEPERS, strict=True):
        assert attempt(path, 1)["reason"] == "completed"
        record = RunRecord(path)
        record.poll()
        assert record.last("start")["keep"] == keep
    for path in paths[1:]:
        assert_equal_weights(paths[0], path)


def test_a_run_resumes_exactly_when_its_images_are_kept_another_way(folder, runs, tiny_folder):
    straight = prepare("digits", name="straight", changes={**tiny_folder, "data.keep": "memory"})
    attempt(straight, 1)
    moved = prepare("digits", name="moved", changes={**tiny_folder, "data.keep": "memory"})
    for number, keep in enumerate(KEEPERS[::-1], 1):
        recipe = read_json(moved / "recipe.json")
        recipe["data"]["keep"] = keep
        write_json(moved / "recipe.json", recipe)
        assert attempt(moved, number, stop_at=3 * number if number < 3 else None)["reason"] in ("stopped", "completed")
    assert_equal_weights(straight, moved)
    record = RunRecord(moved)
    record.poll()
    assert not any("not bitwise exact" in event.get("message", "") for event in record.events)


def test_a_run_from_before_the_caches_still_resumes_and_other_images_do_not(folder, runs, tiny_folder):
    path = prepare("digits", name="old", changes={**tiny_folder, "data.keep": "decode"})
    attempt(path, 1, stop_at=5)
    first = attempt_folder(path, 1) / "environment.json"
    images = load(config_of(folder, "memory"))
    write_json(first, {**read_json(first), "images": datasets._pixel_fingerprint(images.images, images.labels)})
    assert attempt(path, 2, stop_at=7)["reason"] == "stopped"
    write_json(first, {**read_json(first), "images": "0" * 16})
    assert "holds other images than when old began" in attempt(path, 3)["message"]


def test_the_fingerprint_tells_another_file_size_another_label_and_other_pixels_of_one_size(folder):
    first = load(config_of(folder, "decode")).fingerprint
    assert load(config_of(folder, "decode", image_size=17)).fingerprint != first
    path = next(folder.rglob("00.jpg"))
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    assert load(config_of(folder, "decode")).fingerprint != first
    other = bytearray(content)
    other[-40] ^= 1
    path.write_bytes(other)
    changed = load(config_of(folder, "decode"))
    assert changed.fingerprint != first
    path.write_bytes(content)
    assert load(config_of(folder, "memory")).fingerprint == first


# ---------------------------------------------------------------------------------------------------------------------
# Which way is taken


def test_what_fits_in_memory_is_kept_there_unless_it_was_decoded_before(folder, cache):
    assert load(config_of(folder, "auto")).keep == "memory"
    assert not cache.exists()
    load(config_of(folder, "cache"))
    assert load(config_of(folder, "auto")).keep == "cache"
    assert load(config_of(folder, "memory")).keep == "memory"


def test_what_does_not_fit_goes_to_the_disk_and_is_decoded_on_the_way_when_that_is_full(folder, monkeypatch):
    needed = 60 * 3 * 16 * 16
    monkeypatch.setattr(datasets, "free_memory", lambda: 2 * needed)
    assert load(config_of(folder, "auto")).keep == "memory"
    monkeypatch.setattr(datasets, "free_memory", lambda: 2 * needed - 2)
    disk = image_cache.shutil.disk_usage(folder)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: disk._replace(free=2**30 + needed - 1))
    decoded = load(config_of(folder, "auto"))
    assert decoded.keep == "decode"
    assert "TWIST_CACHE" in decoded.notes[0] and "GB left" in decoded.notes[0] and str(folder) not in decoded.notes[0]
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: disk._replace(free=2**30 + needed))
    assert load(config_of(folder, "auto")).keep == "cache"


def test_free_memory_is_the_machines_or_in_a_container_what_that_may_have(monkeypatch):
    monkeypatch.setattr(datasets.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    for limit, free in (("1000\n", 1000), ("9000\n", 5000), ("max\n", 5000)):
        monkeypatch.setattr(Path, "read_text", lambda self, limit=limit: limit)
        assert datasets.free_memory() == free


def test_what_was_asked_for_and_has_no_room_is_refused_with_the_way_out(folder, cache, monkeypatch):
    monkeypatch.setattr(datasets, "free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"data.keep is 'memory', but 60 images take 0.0 GB .* cache or decode"):
        load(config_of(folder, "memory"))
    disk = image_cache.shutil.disk_usage(folder)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: disk._replace(free=5))
    with pytest.raises(ConfigError, match=r"GB left\): set TWIST_CACHE to a folder on a larger disk, or data.keep"):
        load(config_of(folder, "cache"))
    assert arrays(cache) == []


def test_a_cache_folder_that_cannot_be_made_is_refused_or_passed_over(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TWIST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="cannot be kept in .* set TWIST_CACHE"):
        load(config_of(folder, "cache"))


@pytest.mark.parametrize("keep", ["cache", "decode"])
def test_what_is_no_folder_of_images_is_only_kept_in_memory(keep, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    for source in ("digits", str(tmp_path / "a.npz")):
        for check in (load, check_source):
            with pytest.raises(ConfigError, match=f"data.keep is '{keep}', but only folders .* leave it out"):
                check(DataConfig(source=source, keep=keep))


def test_caches_lie_where_the_variable_says_then_in_the_nearest_data_folder_then_with_the_users(tmp_path, monkeypatch):
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("TWIST_CACHE")
    (tmp_path / "work" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "deep")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / "twist"
    (tmp_path / "work" / "data" / "cache").mkdir(parents=True)
    assert cache_root() == tmp_path / "work" / "data" / "cache"


# ---------------------------------------------------------------------------------------------------------------------
# The cache


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded, one by one."""
    names, decode = [], image_files._decode
    monkeypatch.setattr(image_files, "_decode", lambda path, side: (names.append(path.name), decode(path, side))[1])
    return names


def test_a_cache_is_made_once_and_again_when_a_file_or_the_size_or_the_decoder_changes(
    folder, cache, decoded, monkeypatch
):
    def decodes(**fields):
        decoded.clear()
        load(config_of(folder, "cache", **fields))
        return len(decoded)

    assert decodes() == 60 and decodes() == 0
    os.utime(next(folder.rglob("00.jpg")), ns=(1, 1))
    assert decodes() == 60 and decodes() == 0
    assert len(arrays(cache)) == 1  # the array of before is gone
    monkeypatch.setattr(image_cache, "DECODER", 2)
    assert decodes() == 60
    assert decodes(image_size=8) == 60 and decodes(max_images=10) == 10
    assert decodes() == decodes(image_size=8) == decodes(max_images=10) == 0  # each has its own place
    next(folder.rglob("00.jpg")).unlink()
    assert decodes() == 59


def test_a_cache_that_is_no_longer_whole_is_made_again(folder, cache):
    expected = load(config_of(folder, "cache")).images[:]
    (path,) = arrays(cache)
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(load(config_of(folder, "cache")).images[:], expected)


def test_a_kill_while_a_cache_is_made_leaves_none_and_its_rest_is_swept(folder, cache, monkeypatch):
    monkeypatch.setattr(image_files, "_BLOCK_BYTES", 10 * 3 * 16 * 16)

    def fail_at(done, count):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(config_of(folder, "cache"), on_progress=fail_at)
    assert arrays(cache) == []
    (place,) = cache.iterdir()
    (place / ".half.1.cafe").write_bytes(b"what a kill -9 leaves")
    assert len(load(config_of(folder, "cache"))) == 60
    assert {path.name for path in place.iterdir()} == {arrays(cache)[0].name, "lock", "about.json"}


def test_of_several_that_need_a_cache_at_once_one_decodes(folder, cache, decoded):
    paths = sorted(folder.rglob("*.*"))
    files, results = image_files.survey(folder, paths, 16), []
    place = ImageCache(cache, folder, paths, [(0, 0)] * 60, {})
    threads = [threading.Thread(target=lambda: results.append(place.build(files)[:])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 60 and len(results) == 3
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("without", ["the module", "a file system for it"])
def test_without_locks_each_builds_for_itself_and_sweeps_nothing(without, folder, cache, monkeypatch):
    if without == "the module":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    load(config_of(folder, "cache"))
    (path,) = arrays(cache)
    others = path.parent / ".another.process.still.writes"
    others.write_bytes(b"")
    os.utime(next(folder.rglob("00.jpg")), ns=(1, 1))
    assert len(load(config_of(folder, "cache"))) == 60
    assert others.exists() and len(arrays(cache)) == 2


def test_whoever_waits_for_a_cache_can_be_stopped(folder, cache):
    load(config_of(folder, "cache"))
    (path,) = arrays(cache)
    path.unlink()
    asked = []

    def stop(done, count):
        asked.append((done, count))
        raise KeyboardInterrupt

    with open(path.parent / "lock") as held:
        lock.fcntl.flock(held, lock.fcntl.LOCK_EX)
        with pytest.raises(KeyboardInterrupt):
            load(config_of(folder, "cache"), on_progress=stop)
    assert asked == [(0, 60)]


def test_images_in_use_stay_when_the_cache_is_made_anew(folder, cache):
    before = load(config_of(folder, "cache")).images
    expected = before[:]
    path = next(folder.rglob("00.jpg"))
    Image.new("RGB", (20, 20), (1, 2, 3)).save(path)
    after = load(config_of(folder, "cache")).images
    assert torch.equal(before[:], expected) and not torch.equal(after[:], expected)


def test_the_map_cannot_be_written(folder):
    images = load(config_of(folder, "cache")).images
    assert not images._pixels.flags.writeable
    images[:].zero_()  # a copy
    assert images[:].any()


@pytest.mark.parametrize("keep", ["memory", "cache"])
def test_few_decoded_images_are_in_memory_at_a_time(keep, folder, monkeypatch):
    alive, most, decode = weakref.WeakSet(), [0], image_files._pixels
    turn = threading.Lock()

    class Counted(np.ndarray):
        def __hash__(self):
            return id(self)

    def counted(file, side):
        pixels = decode(file, side).view(Counted)
        with turn:
            alive.add(pixels)
            most[0] = max(most[0], len(alive))
        return pixels

    monkeypatch.setattr(image_files, "_pixels", counted)
    monkeypatch.setattr(image_files, "_BLOCK_BYTES", 10 * 3 * 16 * 16)
    sizes, blocks = [], ImageFiles.blocks

    def measured(files, whole=None, **options):
        for block in blocks(files, whole, **options):
            sizes.append(len(block))
            yield block

    monkeypatch.setattr(ImageFiles, "blocks", measured)
    load(config_of(folder, keep))
    assert sizes == [10] * 6
    assert 1 <= most[0] <= 2 * num_threads()


def test_progress_counts_every_image(folder, monkeypatch):
    monkeypatch.setattr(image_files, "_BLOCK_BYTES", 25 * 3 * 16 * 16)
    for keep in ("memory", "cache"):
        seen = []
        load(config_of(folder, keep), on_progress=lambda *done: seen.append(done))  # noqa: B023
        assert seen == [(25, 60), (50, 60), (60, 60)]


# ---------------------------------------------------------------------------------------------------------------------
# Damage


@pytest.mark.parametrize("keep", KEEPERS)
def test_files_that_are_no_images_are_named_before_anything_is_decoded(keep, folder, cache, decoded):
    for index in range(7):
        (folder / "label 1" / f"broken{index}.jpg").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"7 of 67 images .*'label 1/broken0.jpg' is no image .*, and 2 more"):
        load(config_of(folder, keep))
    assert decoded == [] and arrays(cache) == []


@pytest.mark.parametrize("keep", KEEPERS)
def test_a_link_to_nothing_is_named(keep, folder):
    (folder / "label 0" / "00.jpg").unlink()
    (folder / "label 0" / "00.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ConfigError, match=r"1 of 60 images .*'label 0/00.jpg' is missing"):
        load(config_of(folder, keep))


@pytest.mark.parametrize("keep", ["memory", "cache"])
def test_all_damaged_images_are_named_when_all_are_decoded_first(keep, folder, cache):
    for name in ("00.jpg", "04.jpg", "08.jpg"):
        path = next(folder.rglob(name))
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ConfigError, match=r"3 of 60 images .*00.jpg' is damaged.*04.jpg' is damaged.*08.jpg' is"):
        load(config_of(folder, keep))
    assert arrays(cache) == []


def test_an_image_that_turns_out_damaged_ends_the_run_by_name_and_the_threads_with_it(folder, runs, tiny_folder):
    path = prepare("digits", name="damaged", changes={**tiny_folder, "data.keep": "decode"})
    broken, before = folder / "label 1" / "37.png", threading.active_count()
    attempt_folder(path, 1).mkdir()

    def damage(step, total, metrics):
        if step == 1:
            broken.write_bytes(broken.read_bytes()[:-200])

    outcome, _ = training._attempt(path, 1, Requests(path, supervisor=None), damage)
    assert (outcome["reason"], outcome["kind"]) == ("failed", "config") and 1 <= outcome["step"] < 8
    assert "'label 1/37.png'" in outcome["message"] and "repair or remove it" in outcome["message"]
    assert "data.keep=cache" in outcome["message"] and "\n" not in outcome["message"]
    assert threading.active_count() == before


def test_a_file_that_changes_its_form_or_goes_away_under_a_run_is_named(folder):
    images = load(config_of(folder, "decode", image_size=None, max_images=1)).images
    Image.new("RGB", (3, 3)).save(images.paths[0])
    with pytest.raises(ConfigError, match=r"00.jpg' in .* was changed after the images were counted"):
        images[:]
    images.paths[0].unlink()
    with pytest.raises(ConfigError, match=r"00.jpg' in .* is missing"):
        images[:]


def test_a_stop_while_images_are_decoded_ends_the_attempt_and_that_time_is_no_training(
    folder, runs, tiny_folder, monkeypatch
):
    monkeypatch.setattr(image_files, "_BLOCK_BYTES", 5 * 3 * 16 * 16)
    path = prepare("digits", name="stopped", changes={**tiny_folder, "data.keep": "cache"})
    write_json(path / "control" / "1.json", {"id": "one", "operation": "stop"})
    assert attempt(path, 1) == {"reason": "stopped", "step": 0, "message": ""}
    assert attempt(path, 2)["reason"] == "completed"
    record = RunRecord(path)
    record.poll()
    said = [event for event in record.events if event["kind"] == "reading" and event["attempt"] == 2]
    assert [event["done"] for event in said] == [10, 20, 30, 40, 50] and said[0]["count"] == 60
    clocks = [event["clock_s"] for event in record.events if event["attempt"] == 2]
    assert record.train_seconds < max(clocks) - said[0]["clock_s"]
