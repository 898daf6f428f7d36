from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from twist.learn import random
from twist.learn.random import normal, permutation, uniform

IDS = torch.arange(4096)
AT = {"seed": 1, "epoch": 2, "view": 0}


def test_the_tensor_hash_is_the_published_formula_on_unsigned_words():
    rng = np.random.default_rng(0)
    words = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, *map(int, rng.integers(0, 2**32, 500))]
    tensor = torch.tensor([random._signed(word) for word in words], dtype=torch.int32)
    assert [int(word) % 2**32 for word in random._mix(tensor)] == [random._mix_int(word) for word in words]


def test_numbers_are_recorded_facts_that_no_change_may_move():
    # A resumed run must draw what the interrupted one would have drawn, across versions of twist too.
    got = (uniform(torch.tensor([0, 1, 12345]), 2, seed=7, epoch=3, view=1) * 2**24).long()
    assert got.tolist() == [[3209280, 10134565], [10854982, 4285381], [4675725, 6046963]]


def test_uniform_numbers_are_uniform_in_every_stream():
    numbers = uniform(torch.arange(50_000), 8, **AT).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    for stream in range(8):
        assert stats.kstest(numbers[:, stream], "uniform").pvalue > 1e-3
        counts = np.bincount((numbers[:, stream] * 256).astype(int), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-3
    low_bits = (numbers * 2**24).astype(int) % 256
    assert stats.chisquare(np.bincount(low_bits.ravel(), minlength=256)).pvalue > 1e-3


@pytest.mark.parametrize("counter", ["seed", "epoch", "view", "sample", "stream"])
def test_neighbors_in_every_counter_are_unrelated(counter):
    steps = 16
    if counter == "sample":
        rows = [uniform(IDS + k, 1, **AT)[:, 0] for k in range(steps)]
    elif counter == "stream":
        rows = list(uniform(IDS, steps, **AT).T)
    else:
        rows = [uniform(IDS, 1, **{**AT, counter: k})[:, 0] for k in range(steps)]
    rows = torch.stack(rows).numpy()
    correlation = np.corrcoef(rows)[np.triu_indices(steps, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(len(IDS))
    pairs = np.histogram2d(rows[:-1].ravel(), rows[1:].ravel(), bins=16, range=[[0, 1], [0, 1]])[0]
    if counter != "sample":  # shifted ids repeat their pairs, which the test takes for a pattern
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("counter", ["seed", "epoch", "view", "sample", "stream"])
def test_one_flipped_input_bit_flips_half_of_the_output_bits(counter):
    def words(flip):
        at = {**AT, counter: AT[counter] ^ flip} if counter in AT else AT
        ids = IDS ^ flip if counter == "sample" else IDS
        return random._words(ids, 1, **at, stream=5 ^ flip if counter == "stream" else 5)[:, 0].numpy()

    for bit in range(20):
        changed = (words(0) ^ words(1 << bit)).view(np.uint32)
        shares = [(changed >> k & 1).mean() for k in range(32)]
        assert 0.45 < min(shares) and max(shares) < 0.55, (counter, bit)


def test_a_sample_draws_the_same_in_any_batch_and_order():
    whole = uniform(IDS, 6, **AT)
    order = torch.randperm(len(IDS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(IDS[order], 6, **AT), whole[order])
    assert torch.equal(uniform(IDS[100:101].int(), 2, **AT, stream=3), whole[100:101, 3:5])


def test_no_two_samples_share_a_word():
    words = random._words(torch.arange(300_000), 1, 0, 0, 0, 0)[:, 0]
    assert len(words.unique()) == len(words)


def test_normal_numbers_are_standard_normal_and_unrelated():
    numbers = normal(torch.arange(3000), 9, **AT)
    assert numbers.shape == (3000, 9) and numbers.isfinite().all()
    assert stats.kstest(numbers.numpy().ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(numbers.numpy().T)[np.triu_indices(9, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(3000)


@pytest.mark.parametrize("count", [1, 2, 7, 10_000])
def test_a_permutation_holds_every_sample_once(count):
    assert permutation(count, seed=0, epoch=0).sort().values.tolist() == list(range(count))


def test_the_order_changes_with_epoch_and_seed_and_only_with_them():
    first = permutation(1000, seed=0, epoch=0)
    assert torch.equal(first, permutation(1000, seed=0, epoch=0))
    places = np.array([permutation(1000, seed=s, epoch=e).numpy() for s in range(3) for e in range(4)])
    correlation = np.corrcoef(places)[np.triu_indices(len(places), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)


def test_every_order_of_four_samples_is_equally_likely():
    orders = [tuple(permutation(4, seed=s, epoch=e).tolist()) for s in range(40) for e in range(60)]
    counts = list(Counter(orders).values())
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_bitwise_what_the_cpu_draws():
    assert torch.equal(uniform(IDS.cuda(), 8, **AT).cpu(), uniform(IDS, 8, **AT))
    assert torch.equal(permutation(5000, seed=0, epoch=3, device="cuda").cpu(), permutation(5000, seed=0, epoch=3))
