"""Rank correlation with its interval."""

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from intriguing.stats.interval import Interval, check_level, vector_of


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """Return Spearman's rank correlation of `x` and `y` (N,) with the Bonett-Wright interval.

    z = atanh(rho) has standard error sqrt((1 + rho^2 / 2) / (N - 3)).  Rows must be independent;
    for cells of one matrix pass their rows as clusters to :func:`bootstrap` instead.

    Raises
    ------
    ValueError : fewer than 4 pairs, unequal lengths, or a constant vector.
    """
    first, second = vector_of(x, "x"), vector_of(y, "y")
    if first.shape != second.shape or first.size < 4:
        raise ValueError("spearman needs two vectors of one length, at least 4 long")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise ValueError("the rank correlation of a constant vector does not exist")
    check_level(level)
    ranks = [scipy.stats.rankdata(vector) for vector in (first, second)]
    n, rho = first.size, float(np.corrcoef(*ranks)[0, 1])
    rho = max(-1.0, min(1.0, rho))
    finest = 1 - 6 / (n * (n * n - 1))  # a perfect order is known to one swap of neighbours only
    z = math.atanh(max(-finest, min(finest, rho)))
    half = float(scipy.special.ndtri((1 + level) / 2)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    low, high = min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half))
    return Interval(rho, low, high, n, "Bonett-Wright", level)
