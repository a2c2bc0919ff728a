"""How alike the images of a set are: labels and distances, for many sets at once.

Szegedy et al. (2014, Section 3) judge sets of images by eye; these numbers are ours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from intriguing.tensors import check_labels, ordinary

_CHUNK = 20_000_000  # numbers gathered at once


@dataclass(frozen=True)
class Coherence:
    """How alike the images of each set are; all (D,).

    purity : share of the commonest label, in [1/k, 1].
    entropy : of the labels, in bits; 0 where all agree.
    pixels, features : mean Euclidean distance over the pairs of a set, in pixel and in feature
        units.
    """

    purity: Tensor
    entropy: Tensor
    pixels: Tensor
    features: Tensor


def coherence(sets: Tensor, y: Tensor, x: Tensor, phi: Tensor) -> Coherence:
    """Return the `Coherence` of sets of images (D, k), given as indices.

    Parameters
    ----------
    y : (N,) labels.  x : (N, C, H, W) pixels.  phi : (N, F) features.
    """
    sets = sets.to(y.device)
    return Coherence(
        purity=label_purity(sets, y),
        entropy=label_entropy(sets, y),
        pixels=pair_distance(sets, x.flatten(1)),
        features=pair_distance(sets, phi),
    )


def label_purity(sets: Tensor, y: Tensor) -> Tensor:
    """Return the share of the commonest label in each set (D, k) of indices into y (N,): (D,)."""
    return _counts(sets, y).amax(1) / sets.shape[1]


def label_entropy(sets: Tensor, y: Tensor) -> Tensor:
    """Return the entropy of the labels of each set (D, k), in bits: (D,)."""
    share = _counts(sets, y) / sets.shape[1]  # (D, classes)
    return torch.special.entr(share).sum(1) / math.log(2)


def pair_distance(sets: Tensor, vectors: Tensor) -> Tensor:
    """Return the mean Euclidean distance over the pairs of each set: (D,).

    Parameters
    ----------
    sets : (D, k) indices.  vectors : (N, P), what they point to.

    Raises
    ------
    ValueError : sets of one.
    """
    k = sets.shape[1]
    if k < 2:
        raise ValueError("a set of one image has no pairs: k must be at least 2")
    (vectors,), scale = ordinary(vectors[None])
    means = []
    for part in sets.split(max(1, _CHUNK // (k * vectors.shape[1]))):
        members = vectors[part]  # (d, k, P)
        between = torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist")
        means.append(between.sum((1, 2)) / (k * (k - 1)))
    return torch.cat(means) * scale


def _counts(sets: Tensor, y: Tensor) -> Tensor:
    """Count each label in each set: (D, classes), float64."""
    check_labels(y, y)
    labels = y[sets.to(y.device)]  # (D, k)
    counts = torch.zeros(len(sets), int(y.max()) + 1, dtype=torch.float64, device=y.device)
    return counts.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))
