"""Several processes give the gradients of one on the joined batch: the authors' recordings, and our own."""

import math

import gloo
import golden
import numpy as np
import pytest
import torch
from torch import nn

from twist.learn import distributed
from twist.learn.norms import BunchNorm, SyncNorm, share_norms, synchronize_norms
from twist.runs.config import Recipe


def assert_equal_to_rounding(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=golden.FLOAT64)


@pytest.mark.parametrize("case", golden.cases("c_distributed.npz"))
def test_losses_and_gradients_are_the_authors_on_every_process(case, tmp_path):
    meta, arrays = case.meta, case.arrays
    world = meta["W"]
    for rank, found in enumerate(gloo.run(gloo.recorded_losses, world, tmp_path / "gloo", arrays, meta)):
        raw_shift = {"kl": 0, "eh": 0, "he": math.log(world), "final": -meta["lam2"] * math.log(world)}
        for field, shift in raw_shift.items():  # the recorded raw values are sums over the processes
            assert_equal_to_rounding(found[f"ent_{field}"], arrays[f"ent_{field}"][rank] / world + shift)
            for name in ("multi", "mom"):
                assert_equal_to_rounding(found[f"{name}_{field}"], arrays[f"{name}_log_{field}"][rank])
        assert_equal_to_rounding(found["ent_grad"], np.stack([arrays["ent_grad1"][rank], arrays["ent_grad2"][rank]]))
        for name in ("multi", "mom", "sl"):
            assert_equal_to_rounding(found[f"{name}_grad"], arrays[f"{name}_grad"][rank])
        assert_equal_to_rounding(found["sl_threshold"], arrays["sl_log_threshold"][rank])
        assert_equal_to_rounding(
            found["sl_total"], arrays["sl_log_final"][rank] * world
        )  # their log divides what was never summed
        for name in ("ddp", "ddpsl"):
            for part in ("weight", "bias"):
                recorded = arrays[f"{name}_grad_{part}"]
                assert_equal_to_rounding(
                    found[f"{name}_grad_{part}"], recorded[rank] if recorded.ndim > found_ndim(part) else recorded
                )


def found_ndim(part):
    return {"weight": 2, "bias": 1}[part]


def views(local, samples, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(samples, 3, 8, 8)] * 2 + [(samples, 3, 4, 4)] * local
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


VARIANTS = {
    "two views": ({}, 0, False),
    "multi-crop": ({}, 2, False),
    "one temperature for the consistency": (
        {"objective__temperature": 0.5, "objective__consistency_temperature": 1.0},
        2,
        False,
    ),
    "norm over everyone": ({"network__final_norm": "sync"}, 1, False),
    "teacher": ({"teacher__enabled": True}, 2, False),
    "self-labelling": ({}, 2, True),
    "teacher and self-labelling": ({"teacher__enabled": True, "objective__temperature": 0.5}, 1, True),
}


def job(variant):
    """A step on 12 images whose final norm sees the bunches that two processes hold, halves, unless synchronized."""
    changes, local, self_labelling = VARIANTS[variant]
    return views(local, 12), Recipe().replace(network__bunch_size=6, optim__batch_size=12, **changes), self_labelling


@pytest.fixture(scope="module")
def found_by_two(tmp_path_factory):
    jobs = {variant: job(variant) for variant in VARIANTS}
    return gloo.run(gloo.step_gradients_of_all, 2, tmp_path_factory.mktemp("gloo"), jobs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_give_the_gradients_of_one_on_the_joined_batch(variant, found_by_two):
    batch, recipe, self_labelling = job(variant)
    joined = gloo.step_gradients(0, batch, recipe, self_labelling)
    for found in (results[variant] for results in found_by_two):
        assert found.keys() == joined.keys()
        for name, value in joined.items():
            if name.startswith("buffer projection_heads.norm") and recipe.network.final_norm == "batch":
                continue  # running statistics of the final norm are each process's own
            atol = 1e-6 if name.startswith("number") else golden.FLOAT64
            torch.testing.assert_close(
                found[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_bunches_of_two_processes_among_four_are_the_bunches_of_one(tmp_path):
    variants = ("multi-crop", "teacher", "self-labelling", "teacher and self-labelling")
    jobs = {variant: job(variant) for variant in variants}
    joined = {variant: gloo.step_gradients(0, *jobs[variant]) for variant in variants}
    for results in gloo.run(gloo.step_gradients_of_all, 4, tmp_path / "gloo", jobs):
        for variant in variants:
            for name, value in joined[variant].items():
                if not name.startswith(("number", "buffer projection_heads.norm")):
                    torch.testing.assert_close(results[variant][name], value, rtol=0, atol=golden.FLOAT64)


@pytest.mark.parametrize("axes", [(), (3, 2)])
def test_a_synchronized_norm_is_batch_norm_of_the_joined_rows(axes, tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows, upstream = (torch.randn(11, 5, *axes, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = 3 * rows + 100  # a large mean: no digits may be lost to it
    kind = nn.BatchNorm2d if axes else nn.BatchNorm1d
    norm = kind(5).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 5)), norm.bias.fill_(0.3)
    whole = rows.clone().requires_grad_()
    output = norm(whole)
    (output * upstream).sum().backward()
    cuts = [0, 4, 11]
    for rank, found in enumerate(gloo.run(gloo.norms, 2, tmp_path / "gloo", rows, upstream, cuts)):
        mine = slice(cuts[rank], cuts[rank + 1])
        assert_equal_to_rounding(found["output"], output[mine].detach())
        assert_equal_to_rounding(found["gradient"], whole.grad[mine])
        assert_equal_to_rounding(found["mean"], norm.running_mean)
        assert_equal_to_rounding(found["var"], norm.running_var)


def test_alone_means_and_gathers_change_nothing():
    tensor = nn.Parameter(torch.randn(3, 2))
    assert distributed.world_size() == 1 and distributed.rank() == 0
    assert distributed.mean(tensor) is tensor
    assert torch.equal(distributed.gather(tensor), tensor)
    distributed.average_gradients([tensor])


@pytest.mark.parametrize("shape", [(8, 4), (8, 4, 3), (8, 4, 3, 3)])
def test_alone_a_synchronized_norm_is_a_batch_norm(shape):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = SyncNorm(4), [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][len(shape) - 2](4)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours(rows), theirs(rows))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(rows), theirs.eval()(rows))


def test_bunches_in_one_process_are_normed_one_by_one():
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(3, 4, 5, generator=generator) for _ in range(2))  # views, images, classes
    norm = BunchNorm(5, bunch_size=4)
    found = norm(torch.cat([first, second], 1).flatten(0, 1), num_views=3).view(3, 8, 5)
    for bunch, part in ((first, found[:, :4]), (second, found[:, 4:])):
        plain = nn.BatchNorm1d(5, affine=False)
        torch.testing.assert_close(part, plain(bunch.flatten(0, 1)).view(3, 4, 5))
    assert norm.running_var.shape == (5,) and norm.num_batches_tracked == 1


def test_bunches_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="batch of 6 images is no whole number of bunches of 4"):
        BunchNorm(5, bunch_size=4)(torch.randn(6, 5))


def test_synchronizing_keeps_weights_statistics_and_names():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    network(torch.randn(2, 3, 5, 5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert share_norms(network, batch_size=4, bunch_size=None, sync=True) is network  # alone nothing changes
    assert isinstance(network[1], nn.BatchNorm2d)
    weight = network[1].weight.requires_grad_(False)
    synchronize_norms(network)
    assert network[1].weight is weight and not network[1].weight.requires_grad  # an optimizer may hold it already
    assert [type(module) for module in network.modules() if isinstance(module, SyncNorm)] == [SyncNorm] * 2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_norm_that_does_more_is_not_replaced_in_silence():
    class NormAndActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match="0 is a NormAndActivation, which cannot be synchronized"):
        synchronize_norms(nn.Sequential(NormAndActivation(3)))
