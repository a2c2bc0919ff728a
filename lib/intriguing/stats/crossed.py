"""Seeds crossed with images: every seed saw the same images, and both widen the interval."""

import math
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from intriguing.stats.interval import Interval, check_level
from intriguing.stats.proportions import wilson, wilson_ends
from intriguing.stats.resampling import CHUNK, FEW, bounds, mean_interval


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
    check_level(level)
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
    for start in range(0, resamples, step := max(1, CHUNK // n_images)):
        size = min(step, resamples - start)
        by_seed = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size)  # (b, S)
        by_image = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=size)  # (b, N)
        total = ((by_seed @ filled) * by_image).sum(1)
        draws.append(total / np.maximum(((by_seed @ seen.astype(float)) * by_image).sum(1), 1))
    low, high = bounds(np.concatenate(draws), mean, None, level)
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
    return float(scipy.special.stdtrit(freedom, (1 + level) / 2) * math.sqrt(total / (s * n)))


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
    crossed = seed_image_interval(matrix, level=level)
    p, n = crossed.value, crossed.n
    if len(matrix) == 1:
        return wilson(round(p * n), n, level)
    z = float(scipy.special.ndtri((1 + level) / 2))
    half = (crossed.high - crossed.low) / 2
    images = int((~np.isnan(matrix)).any(0).sum())
    effective = min(n, p * (1 - p) * (z / half) ** 2) if 0 < p < 1 and half > 0 else images
    low, high = wilson_ends(p, effective, level)
    return Interval(p, low, high, n, f"Wilson, {len(matrix)} seeds x {images} images", level)


def crossed_share(shares: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean of shares of seeds crossed with images, with an interval inside [0, 1].

    Flags only: :func:`crossed_proportion`, whose interval has a width even where all agree.
    Otherwise :func:`seed_image_interval`, cut off at 0 and 1.

    Parameters
    ----------
    shares : (S, N) between 0 and 1, rows are seeds, columns images; NaN where an image does not
        count.

    Raises
    ------
    ValueError : as seed_image_interval, and for values outside [0, 1].
    """
    matrix = np.asarray(shares, dtype=np.float64)
    counted = matrix[~np.isnan(matrix)]
    if np.isin(counted, (0, 1)).all():
        return crossed_proportion(matrix, level)
    if (counted < 0).any() or (counted > 1).any():
        raise ValueError("a share lies between 0 and 1")
    found = seed_image_interval(matrix, level=level)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
