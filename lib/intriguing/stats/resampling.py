"""Intervals from replicates: Student's t for a few, the bootstrap for many, rows or clusters."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy  # imports its parts, here `special`, when they are first used
from numpy.typing import ArrayLike

from intriguing.stats.interval import Interval, check_level, vector_of

FEW = 10  # at most this many replicates: Student's t, because a bootstrap of so few is too narrow
_JACKKNIFE_LIMIT = 2000  # BCa costs one statistic per replicate; beyond this plain percentiles do
CHUNK = 4_000_000  # numbers held at once while resampling: 32 MB of float64


def cluster_index(clusters: ArrayLike | None, n: int) -> tuple[np.ndarray, int]:
    """Return (index (N,) of each row's cluster, number of clusters); no clusters: one a row."""
    if clusters is None:
        return np.arange(n), n
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"clusters must have shape ({n},), got {labels.shape}")
    found, index = np.unique(labels, return_inverse=True)
    return index.reshape(-1), len(found)


def bounds(draws: np.ndarray, value: float, jackknife: np.ndarray | None, level: float):
    """Return (low, high) from bootstrap `draws` (B,): BCa with a jackknife (n,), else percentile.

    BCa shifts the percentiles by the bias z0 and the acceleration a (Efron 1987, eq. 6.8-6.9).
    """
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if jackknife is not None:
        below = np.mean(draws < value) + np.mean(draws == value) / 2
        gap = jackknife.mean() - jackknife  # (n,)
        spread = (gap**2).sum()
        if 0 < below < 1 and spread > 0:
            z0 = scipy.special.ndtri(below)
            acceleration = (gap**3).sum() / (6 * spread**1.5)
            shifted = z0 + scipy.special.ndtri(tails)
            tails = scipy.special.ndtr(z0 + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(draws, tails)
    # a skewed sample can leave the estimate outside its own percentiles; never print that
    return min(float(low), value), max(float(high), value)


def _mean_bootstrap(vector, index, count, resamples, seed, level) -> tuple[float, float, str]:
    """Bootstrap the mean of `vector` (N,) over its `count` clusters without a Python loop."""
    sums = np.bincount(index, weights=vector, minlength=count)  # (C,)
    sizes = np.bincount(index, minlength=count).astype(float)  # (C,)
    rng = np.random.default_rng(seed)
    draws = []
    for start in range(0, resamples, step := max(1, CHUNK // count)):
        picks = rng.integers(count, size=(min(step, resamples - start), count))  # (b, C)
        draws.append(sums[picks].sum(1) / sizes[picks].sum(1))
    jackknife = (sums.sum() - sums) / (sizes.sum() - sizes)  # (C,)
    low, high = bounds(np.concatenate(draws), float(vector.mean()), jackknife, level)
    return low, high, "BCa bootstrap"


def _mean_t(vector, index, count, level) -> tuple[float, float]:
    """Student's t for the mean; with clusters of unequal size, of the linearised ratio."""
    sums = np.bincount(index, weights=vector, minlength=count)  # (C,)
    sizes = np.bincount(index, minlength=count)
    mean = vector.mean()
    influence = (sums - mean * sizes) * count / vector.size  # (C,), mean zero
    quantile = scipy.special.stdtrit(count - 1, (1 + level) / 2)
    half = quantile * influence.std(ddof=1) / math.sqrt(count)
    return float(mean - half), float(mean + half)


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    level: float = 0.95,
    *,
    resamples: int = 2000,
) -> Interval:
    """Return the mean of `values` (N,) with an interval over its replicates.

    Replicates are the rows, or the `clusters` (N,) (image numbers, say) when given.  Up to FEW of
    them: Student's t (seeds); more: BCa bootstrap (images).  A single replicate has no interval.
    For success rates use :func:`wilson`: flags that are all equal would get an interval of width 0.

    Raises
    ------
    ValueError : empty or non-finite values, clusters of another length, a level outside (0, 1).
    """
    vector = vector_of(values)
    check_level(level)
    index, count = cluster_index(clusters, vector.size)
    mean, what = float(vector.mean()), "rows" if clusters is None else "clusters"
    if count == 1:
        return Interval(mean, math.nan, math.nan, vector.size, "one replicate", level)
    if count <= FEW:
        low, high = _mean_t(vector, index, count, level)
        return Interval(mean, low, high, vector.size, f"t over {count} {what}", level)
    low, high, how = _mean_bootstrap(vector, index, count, resamples, seed, level)
    return Interval(mean, low, high, vector.size, f"{how} over {count} {what}", level)


def bootstrap(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    clusters: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    method: str = "bca",
) -> Interval:
    """Return ``statistic(*arrays)`` with a bootstrap interval; rows of all arrays move together.

    Parameters
    ----------
    statistic : function of the arrays that returns one number.
    arrays : each (N, ...); row i of all of them belongs to one observation.
    clusters : (N,) labels; whole clusters are drawn. None: every row is its own.
    method : "bca" (falls back to percentiles beyond 2000 replicates) or "percentile".

    Raises
    ------
    ValueError : no arrays, unequal lengths, fewer than two replicates, an unknown method.
    """
    data = [np.asarray(a) for a in arrays]
    if not data or any(a.ndim == 0 or len(a) != len(data[0]) for a in data) or not len(data[0]):
        raise ValueError("bootstrap needs arrays of one common, non-zero length")
    if method not in ("bca", "percentile"):
        raise ValueError(f"method must be 'bca' or 'percentile', got {method!r}")
    check_level(level)
    n = len(data[0])
    index, count = cluster_index(clusters, n)
    if count < 2:
        raise ValueError("bootstrap needs at least two replicates")
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index, minlength=count))[:-1])  # C x (size,)

    def at(rows: np.ndarray) -> float:
        return float(statistic(*(a[rows] for a in data)))

    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for b in range(resamples):
        picks = rng.integers(count, size=count)
        rows = picks if clusters is None else np.concatenate([members[c] for c in picks])
        draws[b] = at(rows)
    if not np.isfinite(draws).all():
        raise ValueError("the statistic is not finite on some resamples; is a group too small?")
    value, jackknife = float(statistic(*data)), None
    if method == "bca" and count <= _JACKKNIFE_LIMIT:
        jackknife = np.array([at(np.flatnonzero(index != c)) for c in range(count)])
    low, high = bounds(draws, value, jackknife, level)
    name = "percentile" if jackknife is None else "BCa"
    what = "rows" if clusters is None else "clusters"
    return Interval(value, low, high, n, f"{name} bootstrap over {count} {what}", level)


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, seed: int = 0, **kw
) -> Interval:
    """Return the mean of a - b, both (N,) and paired by row, as :func:`mean_interval` does.

    Raises
    ------
    ValueError : as mean_interval, and for unequal lengths.
    """
    first, second = vector_of(a, "a"), vector_of(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a and b must pair up, got lengths {first.size} and {second.size}")
    result = mean_interval(first - second, clusters, seed, **kw)
    return replace(result, method=f"paired, {result.method}")


def paired_ratio(above: ArrayLike, below: ArrayLike) -> Interval:
    """Return the geometric mean of above / below over pairs, seeds say, with its interval.

    The interval is that of `mean_interval` for the logarithms.

    Raises
    ------
    ValueError : different lengths, values that are not positive and finite.
    """
    a, b = vector_of(above, "above"), vector_of(below, "below")
    if a.shape != b.shape:
        raise ValueError(f"pairs need equal lengths, got {a.size} and {b.size}")
    if min(a.min(), b.min()) <= 0:
        raise ValueError("a geometric mean is of positive numbers")
    return mean_interval(np.log(a) - np.log(b)).exp()
