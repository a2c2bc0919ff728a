r"""Correlations of two quantities that are known for every image under every condition.

With `x_ic` and `y_ic` for images i and conditions c there is not one correlation but three:

    point      of the means over images, `x_.c` with `y_.c`; one point a condition
    within     of `x_ic - x_i.` with `y_ic - y_i.`, pooled; what a condition does to one image
    between    of the means over conditions, `x_i.` with `y_i.`; what makes images alike

They need not agree, not even in sign (Robinson 1950; Simpson 1951).  A partial correlation is
that of what is left when both are regressed on the controls, in the same sense of the three.
"""

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike

from intriguing.errors import nearest
from intriguing.stats.interval import Interval
from intriguing.stats.means import function_of_means

KINDS = ("point", "within", "between")
_LARGEST = 1 - 1e-12  # of a correlation, so that its Fisher z is finite


def panel_correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: str,
    *,
    controls: Sequence[ArrayLike] = (),
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """Return a correlation over images and conditions, averaged over pairs of networks and seeds.

    The average is that of Fisher's z = atanh(r), and so is the interval: see `function_of_means`.

    Parameters
    ----------
    x, y : (S, N, P, C): training seeds, images, pairs of networks, conditions.
    kind : "point", "within" or "between"; see the head of this module.
    controls : arrays like x, which are held fixed; fewer than C - 2 for "point".

    Raises
    ------
    ValueError : another kind, arrays of other shapes, too few conditions, values that are not
        finite or do not vary.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}: {nearest(kind, KINDS)}")
    arrays = [np.asarray(a, dtype=np.float64) for a in (x, y, *controls)]
    if arrays[0].ndim != 4 or any(a.shape != arrays[0].shape for a in arrays):
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"all arrays must be (seeds, images, pairs, conditions), not {shapes}")
    least = 3 + len(controls) if kind == "point" else 2
    if kind != "between" and arrays[0].shape[3] < least:
        raise ValueError(f"{kind!r} needs at least {least} conditions, not {arrays[0].shape[3]}")
    together = np.stack(arrays, axis=3)  # (S, N, P, K, C)
    scale = together.std(axis=(0, 1, 2, 4), keepdims=True)
    if not (scale > 0).all():  # false for NaN too
        raise ValueError("a quantity that does not vary, or is not finite, has no correlation")
    values, covariance = _MOMENTS[kind]((together - together.mean((0, 1, 2, 4), keepdims=True))
                                        / scale)  # fmt: skip
    return function_of_means(
        lambda means: _fisher(covariance(means)).mean(1), values,
        back=np.tanh, seed=seed, level=level, resamples=resamples,
    )  # fmt: skip


def rank(values: ArrayLike) -> np.ndarray:
    """Return the ranks along the last axis, ties sharing their mean rank.

    `panel_correlation` of ranks within images is, without ties, the mean of Spearman's rho over
    images.
    """
    return scipy.stats.rankdata(np.asarray(values, dtype=np.float64), axis=-1)


def _point(data: np.ndarray):
    """Return the values to average, (S, N, P, K, C), and the covariance of their means."""

    def covariance(means: np.ndarray) -> np.ndarray:
        centred = means - means.mean(-1, keepdims=True)  # (B, P, K, C)
        return centred @ centred.swapaxes(-1, -2)

    return data, covariance


def _within(data: np.ndarray):
    centred = data - data.mean(-1, keepdims=True)
    return centred @ centred.swapaxes(-1, -2), lambda means: means  # (S, N, P, K, K)


def _between(data: np.ndarray):
    own = data.mean(-1)  # (S, N, P, K)
    ones = np.ones((*own.shape[:-1], 1))
    extended = np.concatenate([own, ones], axis=-1)
    products = extended[..., :, None] * extended[..., None, :]  # (S, N, P, K + 1, K + 1)

    def covariance(means: np.ndarray) -> np.ndarray:
        first = means[..., :-1, -1]
        return means[..., :-1, :-1] - first[..., :, None] * first[..., None, :]

    return products, covariance


def _fisher(covariance: np.ndarray) -> np.ndarray:
    """Return Fisher's z (B, P) of the first two of K quantities, the others held fixed."""
    if covariance.shape[-1] > 2:
        with np.errstate(all="ignore"):
            own, cross, held = (covariance[..., :2, :2], covariance[..., :2, 2:],
                                covariance[..., 2:, 2:])  # fmt: skip
            covariance = own - cross @ np.linalg.pinv(held) @ cross.swapaxes(-1, -2)
    with np.errstate(all="ignore"):
        scale = np.sqrt(covariance[..., 0, 0] * covariance[..., 1, 1])
        return np.arctanh(np.clip(covariance[..., 0, 1] / scale, -_LARGEST, _LARGEST))


_MOMENTS = {"point": _point, "within": _within, "between": _between}
