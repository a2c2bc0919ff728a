"""Two groups of measurements within each of several networks: difference, effect size, p values.

A unit and a random direction of one network are compared within that network; the training seeds
are the replicates.  Units of one network are not independent of each other: they were trained
together.  So the interval of a difference is over seeds, and `basis_test` asks the question that
needs no independence: is the natural basis an unusual one among bases drawn at random?
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from intriguing.stats import Interval, mean_interval

_CHUNK = 4_000_000  # numbers shuffled at once


def grouped_mean(groups: Sequence[ArrayLike], *, level: float = 0.95) -> Interval:
    """Return the mean over seeds of the mean of each seed's values (D_s,), with an interval.

    Several seeds: Student's t over the seeds' means.  One seed: over its values, and `method` says
    so.  `n` counts values.

    Raises
    ------
    ValueError : no seed, or an empty or non-finite one.
    """
    values = _groups(groups)
    count = sum(map(len, values))
    if len(values) == 1:
        only = mean_interval(values[0], level=level)
        return replace(only, method=f"directions only (one seed), {only.method}")
    return _over_seeds([v.mean() for v in values], count, level)


def grouped_difference(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, level: float = 0.95
) -> Interval:
    """Return the mean of a - mean of b, averaged over seeds, with an interval.

    Several seeds: Student's t over the seeds' differences; the seed that made a[s] made b[s].  One
    seed: Welch's t over its values, and `method` says so.  `n` counts the values of a.

    Raises
    ------
    ValueError : as `grouped_mean`, or another number of seeds on either side.
    """
    first, second = _pairs(a, b)
    count = sum(map(len, first))
    if len(first) > 1:
        gaps = [x.mean() - y.mean() for x, y in zip(first, second, strict=True)]
        return _over_seeds(gaps, count, level)
    (x,), (y,) = first, second
    gap, method = float(x.mean() - y.mean()), "directions only (one seed), Welch"
    if min(len(x), len(y)) < 2:
        return Interval(gap, math.nan, math.nan, count, "one replicate", level)
    squares = np.array([x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)])
    half = 0.0
    if squares.sum() > 0:
        freedom = squares.sum() ** 2 / (squares**2 / [len(x) - 1, len(y) - 1]).sum()
        half = special.stdtrit(freedom, (1 + level) / 2) * math.sqrt(squares.sum())
    return Interval(gap, gap - half, gap + half, count, method, level)


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Return P(a > b) - P(a < b) for values a (N,) and b (M,): in [-1, 1], 0 for no effect."""
    (first,), (second,) = _groups([a]), _groups([b])
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, side="left").mean()
    above = len(ordered) - np.searchsorted(ordered, first, side="right").mean()
    return float((below - above) / len(ordered))


def permutation_test(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p of the difference of means, averaged over seeds.

    The labels "a" and "b" are shuffled within each seed, `resamples` times; the observed labelling
    counts as one of them (Phipson and Smyth 2010), so p is never 0.  The test treats the values of
    a seed as exchangeable, which units that were trained together need not be.

    Raises
    ------
    ValueError : as `grouped_difference`.
    """
    rng, drawn, observed = np.random.default_rng(seed), np.zeros(resamples), 0.0
    for x, y in zip(*_pairs(a, b), strict=True):
        pool = np.concatenate([x, y])
        observed += x.mean() - y.mean()
        for start in range(0, resamples, step := max(1, _CHUNK // len(pool))):
            rows = slice(start, min(start + step, resamples))
            many = np.broadcast_to(pool, (rows.stop - start, len(pool)))
            total = rng.permuted(many, axis=1)[:, : len(x)].sum(1)
            drawn[rows] += total / len(x) - (pool.sum() - total) / len(y)
    return _p(observed, drawn, max(np.abs(v).max() for v in (*_groups(a), *_groups(b))))


def basis_test(natural: Sequence[float], bases: Sequence[ArrayLike]) -> float:
    """Return the two-sided p of "the natural basis is one drawn at random".

    Parameters
    ----------
    natural : for each seed, the mean of the statistic over the natural basis.
    bases : for each seed, the same for random orthonormal bases, (B,).

    The average over seeds is compared with averages of one random basis a seed; the distance is
    measured from their mean.  p is never below 1 / (B + 1).

    Raises
    ------
    ValueError : other lengths on either side, or seeds with other numbers of bases.
    """
    drawn, (natural,) = _groups(bases), _groups([natural])
    if len({len(d) for d in drawn}) > 1 or len(drawn) != len(natural):
        raise ValueError("every seed needs its natural value and the same number of random bases")
    mean = np.stack(drawn).mean(0)  # (B,)
    size = max(np.abs(mean).max(), np.abs(natural).max())
    return _p(float(np.mean(natural)) - mean.mean(), mean - mean.mean(), size)


def _over_seeds(values: Sequence[float], count: int, level: float) -> Interval:
    """Return the mean of one value a seed; `n` becomes `count`."""
    found = mean_interval(values, level=level)
    return replace(found, n=count, method=found.method.replace("rows", "seeds"))


def _p(observed: float, drawn: np.ndarray, size: float) -> float:
    """Share of draws at least as far from zero as the observed one, itself included.

    size : of the values that were averaged, the largest.
    """
    slack = 1e-12 * size  # sums in another order must not count as smaller
    return float((1 + (np.abs(drawn) >= abs(observed) - slack).sum()) / (1 + len(drawn)))


def _groups(groups: Sequence[ArrayLike]) -> list[np.ndarray]:
    values = [np.asarray(g, dtype=np.float64) for g in groups]
    if not values or any(v.ndim != 1 or not v.size or not np.isfinite(v).all() for v in values):
        raise ValueError("every seed needs a non-empty vector of finite values")
    return values


def _pairs(a: Sequence[ArrayLike], b: Sequence[ArrayLike]):
    first, second = _groups(a), _groups(b)
    if len(first) != len(second):
        raise ValueError(f"a and b must come from the same seeds, got {len(first)}, {len(second)}")
    return first, second
