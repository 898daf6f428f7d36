"""Random numbers without a generator: each is a hash of (seed, epoch, sample, view, stream).

A sample's numbers therefore depend on nothing else: not on its batch, its place in it, the device, the number of
processes, nor on what was drawn before. A resumed run needs no generator state to go on exactly.

All arithmetic is on 32-bit words, which every device multiplies fast (MPS lacks parts of 64-bit arithmetic). Torch has
no full set of unsigned operations, so words are int32 that wrap around, and right shifts are masked to be logical.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio, the odd increment of splitmix: consecutive streams start far apart
_SALTS = (0x243F6A88, 0x85A308D3)  # first digits of pi; two independent keys make 64 bits
_ORDER = 0x0D0E  # a view number that no view has


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word


def _constant(word: int) -> Int32[Tensor, ""]:
    # A number of Python's becomes an int64 tensor and then an int32 one at every use: half of the time of few samples.
    return torch.tensor(_signed(word), dtype=torch.int32)


_FIRST_FACTOR, _SECOND_FACTOR = _constant(0x7FEB352D), _constant(0x846CA68B)
_15, _16, _LOW_16, _LOW_17 = _constant(15), _constant(16), _constant(0xFFFF), _constant(0x1FFFF)


def uniform(
    sample_ids: Int[Tensor, " N"], count: int, *, seed: int, epoch: int, view: int, stream: int = 0
) -> Float[Tensor, "N K"]:
    """Uniform numbers in [0, 1), ``count`` for every sample; bitwise equal on every device.

    Parameters
    ----------
    sample_ids
        Stable indices of the samples, read modulo 2^32.
    count
        Numbers per sample, K: those of the streams ``stream`` to ``stream + K - 1``.
    seed, epoch, view
        The rest of what the numbers depend on.
    stream
        First stream; two quantities that must be independent use different streams.

    Notes
    -----
    The upper 24 bits of a word fill the significand of a float32, so that 1 is never rounded up to.

    Examples
    --------
    >>> ids = torch.tensor([3, 7])
    >>> both = uniform(ids, 4, seed=0, epoch=0, view=0)
    >>> torch.equal(both[1:, 2:], uniform(ids[1:], 2, seed=0, epoch=0, view=0, stream=2))
    True
    """
    return (_words(sample_ids, count, seed, epoch, view, stream) >> 8 & 0xFFFFFF).float() * 2**-24


def normal(
    sample_ids: Int[Tensor, " N"], count: int, *, seed: int, epoch: int, view: int, stream: int = 0
) -> Float[Tensor, "N K"]:
    """Standard normal numbers, ``count`` for every sample, by Box and Muller from the streams of as many uniform ones.

    No number lies beyond 5.8 standard deviations: that is where 24 bits end. Devices agree to rounding only.
    """
    half = (count + 1) // 2
    radius, angle = uniform(sample_ids, 2 * half, seed=seed, epoch=epoch, view=view, stream=stream).split(half, dim=1)
    radius, angle = (-2 * torch.log1p(-radius)).sqrt(), 2 * math.pi * angle
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def permutation(count: int, *, seed: int, epoch: int, device: torch.device | str = "cpu") -> Int[Tensor, " N"]:
    """An order of ``count`` samples, another one in every epoch.

    Sorted by their words: no two samples have the same word, so the order has no ties and is the same on every device.
    """
    words = _words(torch.arange(count, dtype=torch.int32, device=device), 1, seed, epoch, _ORDER, 0)
    return words[:, 0].argsort()


def _words(
    sample_ids: Int[Tensor, " N"], count: int, seed: int, epoch: int, view: int, stream: int
) -> Int32[Tensor, "N K"]:
    # Every step is a bijection of the sample's word, so that for fixed other counters no two samples collide.
    first, second = (_signed(_absorb(salt, seed, epoch, view)) for salt in _SALTS)
    start = _mix(_mix(sample_ids.to(torch.int32) ^ first) ^ second)
    streams = torch.arange(stream, stream + count, dtype=torch.int32, device=sample_ids.device)
    return _mix(start[:, None] + streams * _signed(_GOLDEN))


def _mix(word: Int32[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """The ``lowbias32`` finalizer (C. Wellons, "Prospecting for hash functions", 2018): a bijection that avalanches."""
    word = (word >> _16).bitwise_and_(_LOW_16).bitwise_xor_(word).mul_(_FIRST_FACTOR)
    word = (word >> _15).bitwise_and_(_LOW_17).bitwise_xor_(word).mul_(_SECOND_FACTOR)
    return (word >> _16).bitwise_and_(_LOW_16).bitwise_xor_(word)


def _mix_int(word: int) -> int:
    """`_mix` of one unsigned word, on the host."""
    word = (word ^ word >> 16) * 0x7FEB352D & _WORD
    word = (word ^ word >> 15) * 0x846CA68B & _WORD
    return word ^ word >> 16


def _absorb(state: int, *words: int) -> int:
    for word in words:
        state = _mix_int(state ^ (word & _WORD))
    return state
