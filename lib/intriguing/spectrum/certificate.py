"""What a Lipschitz bound proves about one image: a radius without adversarial examples."""

import math

import torch
from torch import Tensor

from intriguing.tensors import check_labels, ordinary


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """Return z_y - z_t for every class t, (N, K), of logits (N, K); infinite at t = y.

    Raises
    ------
    ValueError : logits of another shape, labels that are not (N,) classes.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits are (N, K), not {tuple(logits.shape)}")
    check_labels(y, logits, classes=logits.shape[1])
    gap = logits.gather(1, y[:, None]) - logits  # (N, K)
    return gap.scatter(1, y[:, None], torch.inf)


def certified_radius(logits: Tensor, y: Tensor, bound: float) -> Tensor:
    """Return the radius (N,) in l2 within which the class y cannot change: margin / (sqrt(2) L).

    A change r of the pixels moves the logits by at most L ||r||, and z_y - z_t, which is their
    product with a vector of length sqrt(2), by at most sqrt(2) L ||r||.  Zero where the image is
    misclassified.  After Szegedy et al. 2014, section 4.3; the step from L to a radius is standard
    (Tsuzuku et al. 2018, proposition 1).

    Parameters
    ----------
    logits : (N, K), of the images themselves.
    y : (N,) int64 labels.
    bound : L of the network from pixels to logits.

    Raises
    ------
    ValueError : as `margins`, or a bound that is not positive.
    """
    _check(bound)
    return margins(logits, y).amin(1).clamp(min=0) / (math.sqrt(2) * bound)


def pairwise_radius(logits: Tensor, y: Tensor, weight: Tensor, below: float) -> Tensor:
    """Return the radius (N,) when only the layers before the last are bounded by their product.

    The last layer is linear, so z_y - z_t moves by at most ||w_y - w_t|| for each unit that its
    input moves, and the radius is min_t (z_y - z_t) / (||w_y - w_t|| L_below).  For a linear
    network (`below` = 1) this is the distance to the nearest boundary, without the box: no
    certificate can be better.  Never smaller than `certified_radius`.

    Parameters
    ----------
    logits, y : as in `certified_radius`.
    weight : (K, features) of the last layer.
    below : L of the network from pixels to the features.

    Raises
    ------
    ValueError : as `certified_radius`, or a weight of another number of classes.
    """
    _check(below)
    if weight.ndim != 2 or len(weight) != logits.shape[1]:
        raise ValueError(f"{logits.shape[1]} classes cannot have weights {tuple(weight.shape)}")
    (weight,), scale = ordinary(weight.detach()[None])
    # Not by way of a matrix product, which would cancel where two classes have similar weights.
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")  # (K, K)
    gap = margins(logits, y)
    radius = torch.where(gap > 0, gap / apart[y], 0)  # equal weights and a gap: never reached
    return radius.amin(1) / below / scale


def _check(bound: float) -> None:
    if not 0 < bound < math.inf:
        raise ValueError(f"a Lipschitz bound is positive and finite, not {bound}")
