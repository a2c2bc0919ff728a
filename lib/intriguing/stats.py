"""Intervals and tests for the numbers of the book.

Replicates are images for claims about attacks (an image may contribute several rows: `clusters`)
and training seeds for claims about training.  Every function is deterministic: the bootstrap draws
from its own generator, made from `seed`.  Nothing here needs torch.

Sources: Efron (1987) for BCa; Wilson (1927); Korn and Graubard (1998) for Wilson's interval with an
effective number of trials; McNemar (1947), exact form; Bonett and Wright (2000) for the interval of
Spearman's rho; Owen (2007) for the crossed ("pigeonhole") bootstrap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats has the same and takes a second to import

FEW = 10  # at most this many replicates: Student's t, because a bootstrap of so few is too narrow
_JACKKNIFE_LIMIT = 2000  # BCa costs one statistic per replicate; beyond this plain percentiles do
_CHUNK = 4_000_000  # numbers held at once while resampling: 32 MB of float64


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    `low` and `high` are NaN where no interval exists (a single replicate). `n` counts the values
    that entered; `method` says in words how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.low > self.high:  # false for NaN: a missing interval is allowed
            raise ValueError(f"interval has low {self.low} above high {self.high}")

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high)

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in other units, e.g. ``scaled(100)`` for percent."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, value=self.value * factor, low=low, high=high)


def decimals(low: float, high: float) -> int:
    """Return how many decimals show two significant digits of the half width of [low, high]."""
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return 3
    return min(8, max(0, 1 - math.floor(math.log10(half))))


def format_interval(value: float, low: float | None, high: float | None) -> str:
    """Return "0.0621 [0.0603, 0.0639]", rounded to what the interval supports."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.3g} (no interval)"
    if low == high:
        return f"{value:.4g} [{low:.4g}, {high:.4g}]"
    places = decimals(low, high)
    return f"{value:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def _vector(values: ArrayLike, name: str = "values") -> np.ndarray:
    """Return a float64 vector (N,), N >= 1, or raise ValueError."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        bad = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"{name}[{bad}] is {vector[bad]}; leave such rows out and say how many")
    return vector


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")


def _cluster_index(clusters: ArrayLike | None, n: int) -> tuple[np.ndarray, int]:
    """Return (index (N,) of each row's cluster, number of clusters); no clusters: one a row."""
    if clusters is None:
        return np.arange(n), n
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise ValueError(f"clusters must have shape ({n},), got {labels.shape}")
    found, index = np.unique(labels, return_inverse=True)
    return index.reshape(-1), len(found)


def _bounds(draws: np.ndarray, value: float, jackknife: np.ndarray | None, level: float):
    """Return (low, high) from bootstrap `draws` (B,): BCa with a jackknife (n,), else percentile.

    BCa shifts the percentiles by the bias z0 and the acceleration a (Efron 1987, eq. 6.8-6.9).
    """
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if jackknife is not None:
        below = np.mean(draws < value) + np.mean(draws == value) / 2
        gap = jackknife.mean() - jackknife  # (n,)
        spread = (gap**2).sum()
        if 0 < below < 1 and spread > 0:
            z0 = special.ndtri(below)
            acceleration = (gap**3).sum() / (6 * spread**1.5)
            shifted = z0 + special.ndtri(tails)
            tails = special.ndtr(z0 + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(draws, tails)
    # a skewed sample can leave the estimate outside its own percentiles; never print that
    return min(float(low), value), max(float(high), value)


def _mean_bootstrap(vector, index, count, resamples, seed, level) -> tuple[float, float, str]:
    """Bootstrap the mean of `vector` (N,) over its `count` clusters without a Python loop."""
    sums = np.bincount(index, weights=vector, minlength=count)  # (C,)
    sizes = np.bincount(index, minlength=count).astype(float)  # (C,)
    rng = np.random.default_rng(seed)
    draws = []
    for start in range(0, resamples, step := max(1, _CHUNK // count)):
        picks = rng.integers(count, size=(min(step, resamples - start), count))  # (b, C)
        draws.append(sums[picks].sum(1) / sizes[picks].sum(1))
    jackknife = (sums.sum() - sums) / (sizes.sum() - sizes)  # (C,)
    low, high = _bounds(np.concatenate(draws), float(vector.mean()), jackknife, level)
    return low, high, "BCa bootstrap"


def _mean_t(vector, index, count, level) -> tuple[float, float]:
    """Student's t for the mean; with clusters of unequal size, of the linearised ratio."""
    sums = np.bincount(index, weights=vector, minlength=count)  # (C,)
    sizes = np.bincount(index, minlength=count)
    mean = vector.mean()
    influence = (sums - mean * sizes) * count / vector.size  # (C,), mean zero
    half = special.stdtrit(count - 1, (1 + level) / 2) * influence.std(ddof=1) / math.sqrt(count)
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
    vector = _vector(values)
    _check_level(level)
    index, count = _cluster_index(clusters, vector.size)
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
    _check_level(level)
    n = len(data[0])
    index, count = _cluster_index(clusters, n)
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
    low, high = _bounds(draws, value, jackknife, level)
    name = "percentile" if jackknife is None else "BCa"
    what = "rows" if clusters is None else "clusters"
    return Interval(value, low, high, n, f"{name} bootstrap over {count} {what}", level)


def seed_image_interval(
    values: ArrayLike, *, seed: int = 0, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Return the mean over seeds and images that are crossed: every seed saw the same images.

    Both are random, so both must widen the interval.  Up to FEW seeds: Student's t on the two-way
    random-effects variance, Var = (MS_seed + MS_image - MS_rest) / (S N), with Satterthwaite's
    degrees of freedom (resampling three seeds would give a third too narrow an interval).  More
    seeds: the crossed bootstrap, which draws seeds and images independently.

    Parameters
    ----------
    values : (S, N), rows are seeds, columns images; NaN where an image does not count for a seed
        (misclassified before the attack, say).  One seed: the interval is over images only, and
        `method` says so.

    Raises
    ------
    ValueError : not a matrix, infinite values, or a seed without any value.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"values must be (seeds, images), got shape {matrix.shape}")
    if np.isinf(matrix).any():
        raise ValueError("values contain infinities; leave such images out and say how many")
    _check_level(level)
    matrix = matrix[:, ~np.isnan(matrix).all(0)]  # (S, N) an image no seed counts is no replicate
    seen = ~np.isnan(matrix)
    if not matrix.size or not seen.any(1).all():
        raise ValueError("a seed has no value at all: every seed needs at least one image")
    n_seeds, n_images, n = *matrix.shape, int(seen.sum())
    if n_seeds == 1:
        only = mean_interval(matrix[0], seed=seed, level=level, resamples=resamples)
        return replace(only, method=f"images only (one seed): {only.method}")
    filled = np.where(seen, matrix, 0.0)
    mean = float(filled.sum() / n)
    kind = f"{n_seeds} seeds x {n_images} images, crossed"
    if n_images == 1:
        only = mean_interval(matrix[:, 0], seed=seed, level=level)
        return replace(only, method=f"seeds only (one image): {only.method}")
    if n_seeds <= FEW:
        half = _crossed_half_width(np.where(seen, matrix - mean, 0.0) * matrix.size / n, level)
        return Interval(mean, mean - half, mean + half, n, f"t, {kind}", level)
    rng = np.random.default_rng(seed)
    draws = []
    for start in range(0, resamples, step := max(1, _CHUNK // n_images)):
        size = min(step, resamples - start)
        by_seed = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size)  # (b, S)
        by_image = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=size)  # (b, N)
        total = ((by_seed @ filled) * by_image).sum(1)
        draws.append(total / np.maximum(((by_seed @ seen.astype(float)) * by_image).sum(1), 1))
    low, high = _bounds(np.concatenate(draws), mean, None, level)
    return Interval(mean, low, high, n, f"bootstrap, {kind}", level)


def _crossed_half_width(influence: np.ndarray, level: float) -> float:
    """Return the half width of the t interval for influence values (S, N) that have mean zero."""
    s, n = influence.shape
    rows, columns = influence.mean(1), influence.mean(0)
    rest = influence - rows[:, None] - columns[None, :] + influence.mean()
    ms_seed, ms_image = n * rows.var(ddof=1), s * columns.var(ddof=1)
    ms_rest = (rest**2).sum() / ((s - 1) * (n - 1))
    # the difference can be negative by chance; either factor alone is then the safe estimate
    total = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    if total == 0:
        return 0.0
    parts = ((ms_seed, s - 1), (ms_image, n - 1), (ms_rest, (s - 1) * (n - 1)))
    freedom = max(total**2 / sum(ms**2 / df for ms, df in parts), 1.0)
    return float(special.stdtrit(freedom, (1 + level) / 2) * math.sqrt(total / (s * n)))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the proportion successes / n with Wilson's score interval, in [0, 1].

    Raises
    ------
    ValueError : n < 1 or successes outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise ValueError(f"need whole numbers 0 <= successes <= n, n >= 1; got {successes}, {n}")
    _check_level(level)
    low, high = _wilson_ends(successes / n, n, level)
    return Interval(successes / n, low, high, int(n), "Wilson", level)


def _wilson_ends(p: float, n: float, level: float) -> tuple[float, float]:
    """Return the ends of Wilson's interval; `n` may be an effective number of trials."""
    z = float(special.ndtri((1 + level) / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def crossed_proportion(flags: ArrayLike, level: float = 0.95) -> Interval:
    """Return the share of ones among flags of seeds crossed with images, in [0, 1].

    Wilson's interval with an effective number of trials: the one at which a plain binomial share
    would be as uncertain as the two-way random effects of :func:`seed_image_interval` say (Korn
    and Graubard 1998 do so for surveys).  Where all flags agree, it is the number of images.

    Parameters
    ----------
    flags : (S, N) of 0 and 1, rows are seeds, columns images; NaN where an image does not count.
        One seed: Wilson over its images.

    Raises
    ------
    ValueError : as seed_image_interval, and for values other than 0, 1 and NaN.
    """
    matrix = np.asarray(flags, dtype=np.float64)
    if not np.isin(matrix[~np.isnan(matrix)], (0, 1)).all():
        raise ValueError("a proportion is of flags: 0, 1, or NaN where an image does not count")
    crossed = seed_image_interval(matrix, level=level, resamples=1)
    p, n = crossed.value, crossed.n
    if len(matrix) == 1:
        return wilson(round(p * n), n, level)
    z = float(special.ndtri((1 + level) / 2))
    half = (crossed.high - crossed.low) / 2
    images = int((~np.isnan(matrix)).any(0).sum())
    effective = min(n, p * (1 - p) * (z / half) ** 2) if 0 < p < 1 and half > 0 else images
    low, high = _wilson_ends(p, effective, level)
    return Interval(p, low, high, n, f"Wilson, {len(matrix)} seeds x {images} images", level)


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
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a and b must pair up, got lengths {first.size} and {second.size}")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError("a and b must hold success flags: 0 or 1")
    only_a, only_b = int((first > second).sum()), int((second > first).sum())
    p = min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(only_a, only_b, first.size, p)


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, seed: int = 0, **kw
) -> Interval:
    """Return the mean of a - b, both (N,) and paired by row, as :func:`mean_interval` does.

    Raises
    ------
    ValueError : as mean_interval, and for unequal lengths.
    """
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a and b must pair up, got lengths {first.size} and {second.size}")
    result = mean_interval(first - second, clusters, seed, **kw)
    return replace(result, method=f"paired, {result.method}")


def _ranks(vector: np.ndarray) -> np.ndarray:
    """Return the ranks of `vector` (N,), ties sharing their mean rank."""
    _, index, counts = np.unique(vector, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """Return Spearman's rank correlation of `x` and `y` (N,) with the Bonett-Wright interval.

    z = atanh(rho) has standard error sqrt((1 + rho^2 / 2) / (N - 3)).  Rows must be independent;
    for cells of one matrix pass their rows as clusters to :func:`bootstrap` instead.

    Raises
    ------
    ValueError : fewer than 4 pairs, unequal lengths, or a constant vector.
    """
    first, second = _vector(x, "x"), _vector(y, "y")
    if first.shape != second.shape or first.size < 4:
        raise ValueError("spearman needs two vectors of one length, at least 4 long")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise ValueError("the rank correlation of a constant vector does not exist")
    _check_level(level)
    n, rho = first.size, float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])
    rho = max(-1.0, min(1.0, rho))
    finest = 1 - 6 / (n * (n * n - 1))  # a perfect order is known to one swap of neighbours only
    z = math.atanh(max(-finest, min(finest, rho)))
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    low, high = min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half))
    return Interval(rho, low, high, n, "Bonett-Wright", level)
