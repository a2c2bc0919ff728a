"""Smooth functions of means over images, such as correlations, with seeds crossed or without."""

import math
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import ArrayLike

from intriguing.stats.interval import Interval, check_level


def function_of_means(
    function: Callable[[np.ndarray], np.ndarray],
    values: ArrayLike,
    *,
    back: Callable[[float], float] | None = None,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """Return a function of the means over images, averaged over seeds that saw the same images.

    Both must widen the interval.  The variance over images is that of the bootstrap, in which an
    image brings all its values, of every seed, along (a cluster); the variance over seeds is that
    of the seeds' own numbers.  What both contain, the part of each image that is new with each
    seed, is counted once.  The interval is Student's t with Satterthwaite's degrees of freedom; for
    the mean itself it is that of `seed_image_interval`, up to the noise of the resampling.

    Parameters
    ----------
    function : from means (B, ...) to numbers (B,); smooth where it is used.
    values : (S, N, ...), seeds, images, and what is averaged over the images.
    back : from the function's scale to that of the interval, such as tanh; it must rise.

    Raises
    ------
    ValueError : fewer than two images, values or numbers that are not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim < 2 or data.size == 0 or data.shape[1] < 2:
        raise ValueError(f"values must be (seeds, images, ...), 2 images at least: {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError("values contain NaN or infinities; leave such images out and say how many")
    check_level(level)
    n_seeds, n_images = data.shape[:2]
    each = np.array([_numbers(function, one.mean(0)[None])[0] for one in data])  # (S,)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=resamples) / n_images
    flat = data.reshape(n_seeds, n_images, -1)
    draws = np.stack([
        _numbers(function, (weights @ one).reshape(resamples, *data.shape[2:])) for one in flat
    ])  # (S, B)  # fmt: skip
    half = _half_width(draws, each, n_images, level)
    ends = [each.mean() - half, each.mean(), each.mean() + half]
    low, value, high = (float(end if back is None else back(end)) for end in ends)
    kind = f"bootstrap over {n_images} images"
    kind += " (one seed)" if n_seeds == 1 else f", crossed with {n_seeds} seeds"
    return Interval(value, low, high, n_seeds * n_images, f"t, {kind}", level)


def _numbers(function: Callable, means: np.ndarray) -> np.ndarray:
    """Return the function's numbers (B,) for means (B, ...), checked."""
    found = np.asarray(function(means), dtype=np.float64)
    if found.shape != (len(means),):
        raise ValueError(f"the function must return {(len(means),)} numbers, not {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("the function is not finite on some resamples; does something not vary?")
    return found


def _half_width(draws: np.ndarray, each: np.ndarray, n_images: int, level: float) -> float:
    """Return the half width of the t interval for the mean of `each` (S,) with `draws` (S, B)."""
    s = len(each)
    joint = draws.mean(0).var(ddof=1)  # of images, and of what is new with each seed
    parts, total = [(joint, n_images - 1)], joint
    if s > 1:
        between = each.var(ddof=1) / s  # of seeds, and of what is new with each seed
        apart = draws.var(axis=1, ddof=1).mean() / s  # as if each seed had images of its own
        rest = min(max(joint - (joint - apart) * s / (s - 1), 0.0), joint, between)
        total = joint + between - rest
        parts += [(between, s - 1), (rest, (s - 1) * (n_images - 1))]
    if total == 0:
        return 0.0
    freedom = max(total**2 / sum(var**2 / df for var, df in parts), 1.0)
    return float(scipy.special.stdtrit(freedom, (1 + level) / 2) * math.sqrt(total))
