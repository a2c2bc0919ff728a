"""Random numbers for the rows of a batch, from a stream of its own for each image.

A stream depends on the seed and on the image, and on nothing else: a row gets the same numbers
whatever stands beside it, in whatever order, on whatever device, while the numbers of two images
are independent.  That is what makes a random attack on a batch equal to the attacks on its images.

The generator is SplitMix64 (Steele, Lea and Flood 2014): number i of a stream is a hash of
start + i * constant, so that all numbers of all rows come from a few operations on tensors.
"""

import hashlib
import math

import torch
from torch import Tensor


def _signed(number: int) -> int:
    """Return the number modulo 2^64 as torch's int64 holds it."""
    return (number + 2**63) % 2**64 - 2**63


_GOLDEN = 0x9E3779B97F4A7C15
_STEPS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1))


class Draws:
    """The streams of the images x (N, C, H, W) for one seed.

    Every call takes new numbers from each stream.  Two objects made of the same seed and images
    give the same numbers in the same order.
    """

    def __init__(self, seed: int, x: Tensor) -> None:
        prefix = f"{int(seed)}:".encode()
        digests = [
            hashlib.sha256(prefix + row.numpy().tobytes()).digest()
            for row in x.detach().cpu().contiguous()
        ]
        keys = [int.from_bytes(digest[:8], "little", signed=True) for digest in digests]
        self._set(torch.tensor(keys, device=x.device), x.dtype)

    @classmethod
    def keyed(cls, keys: Tensor, dtype: torch.dtype) -> "Draws":
        """Return the streams of these keys (N,) int64, one a row, whatever the images are.

        Where a row need not keep its numbers, as in training, this spares the hashing of pixels.
        """
        draws = cls.__new__(cls)
        draws._set(keys, dtype)
        return draws

    def numbered(self, rows: Tensor, numbers: Tensor) -> "Draws":
        """Return the streams of these rows (M,) for events (M,) that have numbers of their own.

        What row i draws for event k is the same whenever, and however often, it is asked.
        """
        return Draws.keyed(_mix(self._keys[rows] + _mix(numbers * _signed(_GOLDEN))), self._dtype)

    def _set(self, keys: Tensor, dtype: torch.dtype) -> None:
        self._keys, self._dtype, self._calls = keys, dtype, 0

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers of `shape` for each row evenly from [0, 1): multiples of 2^-24."""
        bits = self._bits(math.prod(shape))
        return _fraction(_down(bits, 40), self._dtype).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Draw numbers of `shape` for each row from N(0, 1), by Box and Muller (1958)."""
        count = math.prod(shape)
        bits = self._bits((count + 1) // 2)
        radius = _fraction(_down(bits, 40) + 1, self._dtype).log_().mul_(-2).sqrt_()
        angle = _fraction(bits & (2**24 - 1), self._dtype).mul_(2 * math.pi)
        both = torch.cat([angle.cos() * radius, angle.sin() * radius], dim=1)  # (N, count or + 1)
        return both[:, :count].reshape(-1, *shape)

    def _bits(self, count: int) -> Tensor:
        """Return the next numbers of each stream, (N, count) of 64 bits."""
        self._calls += 1
        start = _mix(self._keys + _signed(self._calls * _GOLDEN))
        places = torch.arange(count, device=start.device) * _signed(_GOLDEN)
        return _mix(start[:, None] + places)


def _mix(z: Tensor) -> Tensor:
    for shift, factor in _STEPS:
        z = (z ^ _down(z, shift)).mul_(factor)
    return z


def _down(z: Tensor, bits: int) -> Tensor:
    """Shift right, filling with zeros: torch's own shift of int64 fills with the sign."""
    return (z >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _fraction(whole: Tensor, dtype: torch.dtype) -> Tensor:
    return whole.to(dtype).mul_(2.0**-24)
