"""Batches that are read ahead: early enough, not too early, and never when nobody wants them any more."""

import itertools
import threading
from concurrent.futures import CancelledError

import pytest
import torch

from twist.learn.batches import AHEAD, Batches
from twist.learn.datasets import ImageSet
from twist.learn.image_files import StoredImages

CPU = torch.device("cpu")
PATIENCE_S = 20  # of a test that would fail: what it waits for never comes


class NumberedImages(StoredImages):
    """Images that are their own number; each call of `read` waits for its permission."""

    def __init__(self, count, *, gated=False):
        self.shape = (count, 1, 2, 2)
        self.gate = threading.Event()
        if not gated:
            self.gate.set()
        self.began = [threading.Event() for _ in range(count)]
        self.broken = set()

    def read(self, rows, pixels):
        for row, place in zip(rows.tolist(), pixels, strict=True):
            self.began[row].set()
            assert self.gate.wait(PATIENCE_S)
            if row in self.broken:
                raise ValueError(f"image {row}")
            place.fill_(row)


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
    assert all(numbers.began[row].wait(PATIENCE_S) for row in range(4, 4 * (1 + AHEAD)))


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
    numbers, asked = NumberedImages(40, gated=True), itertools.count()

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
    numbers = NumberedImages(4000, gated=True)
    batches = opened(numbers, lambda step: torch.arange(1000 * step, 1000 * step + 1000), 4)
    waiting = threading.Thread(target=lambda: pytest.raises(CancelledError, batches.batch, 0))
    waiting.start()
    assert numbers.began[0].wait(PATIENCE_S)
    threading.Timer(0.05, numbers.gate.set).start()
    batches.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive() and reading_threads() == []
    assert not numbers.began[2999].is_set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_set_that_fits_lives_on_the_gpu_and_others_are_sent_there():
    numbers, cuda = NumberedImages(40), torch.device("cuda")
    kept = ImageSet(numbers, None, None, torch.arange(40), "numbers", "none", "cache")
    for images, resident in ((kept, True), (image_set(numbers), False)):
        batches = Batches(images, in_order, 10, cuda)
        assert batches.resident == resident
        for step in range(10):
            pixels, ids = batches.batch(step)
            assert pixels.device.type == ids.device.type == "cuda"
            assert pixels[:, 0, 0, 0].tolist() == in_order(step).tolist()
        batches.close()
