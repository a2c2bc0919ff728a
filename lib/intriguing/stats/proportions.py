"""Shares of ones, alone and paired: Wilson's interval and McNemar's test."""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from intriguing.stats.interval import Interval, check_level, vector_of


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the proportion successes / n with Wilson's score interval, in [0, 1].

    Raises
    ------
    ValueError : n < 1 or successes outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise ValueError(f"need whole numbers 0 <= successes <= n, n >= 1; got {successes}, {n}")
    check_level(level)
    low, high = wilson_ends(successes / n, n, level)
    return Interval(successes / n, low, high, int(n), "Wilson", level)


def wilson_ends(p: float, n: float, level: float) -> tuple[float, float]:
    """Return the ends of Wilson's interval; `n` may be an effective number of trials."""
    z = float(scipy.special.ndtri((1 + level) / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


@dataclass(frozen=True)
class McNemar:
    """Paired success of two attacks on the same n images: discordant counts and two-sided p."""

    only_a: int
    only_b: int
    n: int
    p: float


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Return the exact McNemar test for success flags `a` and `b`, both (N,) bool, paired by image.

    Under the null each discordant image is a fair coin: p = min(1, 2 P[Bin(d, 1/2) <= min]).

    Raises
    ------
    ValueError : unequal lengths, empty, or values other than 0 and 1.
    """
    first, second = vector_of(a, "a"), vector_of(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a and b must pair up, got lengths {first.size} and {second.size}")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError("a and b must hold success flags: 0 or 1")
    only_a, only_b = int((first > second).sum()), int((second > first).sum())
    p = min(1.0, 2 * float(scipy.special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(only_a, only_b, first.size, p)


def holm(p: ArrayLike) -> np.ndarray:
    """Return p values (M,) adjusted for being M, by Holm's step-down method (1979), (M,).

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection at
    alpha, whatever the tests' dependence.

    Raises
    ------
    ValueError : empty, or values outside [0, 1].
    """
    values = vector_of(p, "p")
    if (values < 0).any() or (values > 1).any():
        raise ValueError("p values lie in [0, 1]")
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted
