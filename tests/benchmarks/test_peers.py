"""The peers do the same work as we do."""

import io

import pytest
import torch
from PIL import Image

from benchmarks.speed.loss import MEMORY_GOALS, SHAPES, TIME_GOALS, check_equal, passes
from benchmarks.speed.peers import pil, tensors
from benchmarks.speed.peers.pairs import pairwise_loss
from benchmarks.speed.pictures import photographs, pictures
from benchmarks.speed.rows import Figure
from benchmarks.speed.views import LARGE, NOT_COMPILED, SMALL, _ours, _rows_on_cpu, our_views
from twist.learn import pixels
from twist.learn.objective import twist_loss


@pytest.mark.parametrize("num_views", [2, 3, 14])
def test_the_loss_of_pairs_is_ours_in_value_and_gradient(num_views):
    generator = torch.Generator().manual_seed(num_views)
    logits = 3 * torch.randn(num_views, 6, 9, generator=generator, dtype=torch.float64)
    assert pairwise_loss(logits).item() == pytest.approx(twist_loss(logits).total.item(), rel=1e-10)
    check_equal(logits)


def test_a_loss_that_differs_is_not_compared(monkeypatch):
    monkeypatch.setattr("benchmarks.speed.loss.pairwise_loss", lambda logits: 2 * pairwise_loss(logits))
    with pytest.raises(AssertionError):
        check_equal(torch.randn(2, 4, 5))


def test_each_pass_of_a_loss_leaves_the_gradient_of_that_pass_alone():
    logits = torch.randn(2, 4, 5, requires_grad=True)
    work = passes(lambda: twist_loss(logits).total, [logits])
    work()
    once = logits.grad.clone()
    work()
    torch.testing.assert_close(logits.grad, once)


def test_every_shape_of_the_loss_has_its_goals():
    assert {shape for shape, _ in TIME_GOALS} == set(SHAPES) == set(MEMORY_GOALS)


def test_pillow_makes_as_many_views_of_the_same_sizes_as_we_do():
    image = pictures(1, (80, 100))
    ours = [view.shape[1:] for view in our_views(LARGE)(image)]
    theirs = [view.shape for view in pil.Views([image[0].permute(1, 2, 0).numpy()], LARGE)[0]]
    assert theirs == ours


def test_pillow_decodes_a_file_once_for_all_views(monkeypatch):
    opened = []
    open_file = Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(file) or open_file(file))
    assert len(pil.Views(photographs(1), LARGE)[0]) == 8
    assert len(opened) == 1


def test_torchvision_makes_views_of_the_same_size_and_scale_as_we_do():
    image = pictures(1, (32, 32))
    ours = our_views(SMALL)(image.expand(64, -1, -1, -1))
    for view, transform in enumerate(tensors.transforms_of(SMALL)):
        theirs = torch.stack([transform(image[0]) for _ in range(64)])
        assert theirs.shape == ours[view].shape
        assert theirs.mean().item() == pytest.approx(ours[view].mean().item(), abs=0.25)


def test_without_a_compiler_the_other_views_are_measured_and_the_row_says_why(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    pixels._compiled.cache_clear()
    ours = [contender.name for contender in _ours(pictures(2, (32, 32)), SMALL)]
    assert ours == ["exact, eager", "fast, eager"]
    rows = _rows_on_cpu({name: Figure(name, [2.0], "images/s/core") for name in (*ours, "PIL", "torchvision v2")})
    notes = {row.key: row.note for row in rows if row.value is None}
    assert notes["views32/exact-compiled/pil"] == NOT_COMPILED
    assert {key for key in notes if "kornia" not in key} == {"views32/exact-compiled/pil"}


def test_a_view_is_another_one_at_every_call():
    views, image = our_views(SMALL), pictures(4, (32, 32))
    assert not torch.equal(views(image)[0], views(image)[0])


def test_made_up_photographs_are_the_same_every_time_and_of_the_size_of_real_ones():
    first, again = photographs(2), photographs(2)
    assert first == again and first[0] != first[1]
    assert Image.open(io.BytesIO(first[0])).size == (500, 375)
    assert all(40_000 < len(file) < 90_000 for file in first)


def test_a_stream_of_batches_goes_on_past_the_end_of_its_dataset():
    fed = pil.Fed(pil.Views([image.permute(1, 2, 0).numpy() for image in pictures(3, (32, 32))], SMALL), 4, workers=0)
    fed.enter()
    assert [len(fed.next()[0]) for _ in range(3)] == [4, 4, 4]
    fed.leave()
