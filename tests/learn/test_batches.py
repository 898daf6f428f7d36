"""Batches that are read ahead: early enough, not too early, and never when nobody wants them any more."""

import itertools
import threading
import time

import pytest
import torch

from twist.learn import batches as reading
from twist.learn.batches import AHEAD, Batches
from twist.learn.datasets import ImageSet
from twist.learn.stored_images import StoredImages

CPU = torch.device("cpu")
PATIENCE_S = 20  # of a test that would fail: what it waits for never comes


class NumberedImages(StoredImages):
    """Images that are their own number; those from ``gated_from`` on are read when the gate opens."""

    def __init__(self, count, *, gated_from=None):
        self.shape = (count, 1, 2, 2)
        self.gate = threading.Event()
        self.gated_from = count if gated_from is None else gated_from
        self.began = [threading.Event() for _ in range(count)]
        self.broken = set()

    def read(self, rows, pixels):
        for row, place in zip(rows.tolist(), pixels, strict=True):
            self.began[row].set()
            assert row < self.gated_from or self.gate.wait(PATIENCE_S)
            if row in self.broken:
                raise ValueError(f"image {row}")
            place.fill_(row % 256)


def image_set(pixels):
    count = len(pixels)
    return ImageSet(pixels, None, None, torch.arange(count) + 100, "numbers", "none", "decode")


def in_order(step):
    return torch.arange(4 * step, 4 * step + 4)


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-images")]


@pytest.fixture
def opened():
    made = []

    def open_batches(pixels, rows_of=in_order, num_steps=10):
        made.append(Batches(image_set(pixels), rows_of, num_steps, CPU))
        return made[-1]

    yield open_batches
    for batches in made:
        batches.close()
    assert reading_threads() == []


def test_every_step_has_its_images_and_ids_from_memory_and_from_elsewhere(opened):
    numbers = NumberedImages(40)
    tensor = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 2, 2).clone()
    stored, resident = opened(numbers), opened(tensor)
    assert resident.resident and not stored.resident
    for step in (0, 1, 2, 2, 9, 0):  # asked for twice, beyond what was read ahead, and back
        for batches in (stored, resident):
            pixels, ids = batches.batch(step)
            assert pixels.dtype == torch.uint8 and pixels.shape == (4, 1, 2, 2)
            assert pixels[:, 0, 0, 0].tolist() == in_order(step).tolist()
            assert ids.tolist() == (in_order(step) + 100).tolist()


def test_the_next_batches_are_read_while_the_step_computes(opened):
    numbers = NumberedImages(40)
    batches = opened(numbers)
    batches.batch(0)
    # The caller has not asked for them, and would wait for ever if nobody read before it does.
    assert all(numbers.began[row].wait(PATIENCE_S) for row in range(4, 12))  # two batches


def test_no_more_batches_are_read_than_a_few_ahead_and_none_beyond_the_last(opened):
    asked = []

    def rows_of(step):
        asked.append(step)
        return in_order(step)

    batches = opened(NumberedImages(40), rows_of)
    for step in range(10):
        batches.batch(step)
        assert asked == list(range(min(step + 1 + AHEAD, 10)))


def test_a_slow_reader_is_not_asked_again_for_what_is_under_way(opened):
    numbers, asked = NumberedImages(40, gated_from=0), itertools.count()

    def rows_of(step):
        next(asked)
        return in_order(step)

    batches = opened(numbers, rows_of)
    threading.Timer(0.05, numbers.gate.set).start()
    batches.batch(0)
    batches.batch(1)
    assert next(asked) == 2 + AHEAD


def test_an_error_of_a_reader_reaches_the_step_that_needs_its_image(opened):
    numbers = NumberedImages(40)
    numbers.broken = {9}
    batches = opened(numbers)
    batches.batch(0)
    batches.batch(1)
    with pytest.raises(ValueError, match="image 9"):
        batches.batch(2)


def test_closing_ends_the_threads_and_what_they_have_not_begun(opened):
    numbers = NumberedImages(3000, gated_from=1000)
    batches = opened(numbers, lambda step: torch.arange(1000 * step, 1000 * step + 1000), 3)
    batches.batch(0)
    last = batches._reads[2][2][-1]

    def go_on():
        while not last.cancelled():
            time.sleep(0.001)
        numbers.gate.set()

    waiting = threading.Thread(target=go_on)
    waiting.start()
    batches.close()
    waiting.join(PATIENCE_S)
    assert reading_threads() == [] and not numbers.began[2999].is_set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_set_that_fits_lives_on_the_gpu_and_others_are_sent_there(monkeypatch):
    numbers, cuda = NumberedImages(40), torch.device("cuda")
    kept = ImageSet(numbers, None, None, torch.arange(40), "numbers", "none", "cache")
    in_memory = ImageSet(numbers[:], None, None, torch.arange(40), "numbers", "none")
    for images, room, resident in (
        (kept, 160, True),
        (kept, 159, False),
        (in_memory, 160, True),
        (in_memory, 159, False),
        (image_set(numbers), 160, False),
    ):
        monkeypatch.setattr(reading, "_room", lambda _, room=room: room)
        batches = Batches(images, in_order, 10, cuda)
        assert batches.resident == resident
        for step in range(10):
            pixels, ids = batches.batch(step)
            assert pixels.device.type == ids.device.type == "cuda"
            assert pixels[:, 0, 0, 0].tolist() == in_order(step).tolist()
        batches.close()
