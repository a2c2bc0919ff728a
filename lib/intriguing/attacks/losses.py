"""Losses of logits that attacks raise, and the best class beside the label."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def without(logits: Tensor, label: Tensor) -> Tensor:
    """Return logits (..., K) with that of the label (...) at minus infinity."""
    return logits.scatter(-1, label[..., None], -torch.inf)


def best_other(logits: Tensor, label: Tensor) -> Tensor:
    """Return the largest logit (...) of logits (..., K), the label's (...) apart."""
    return without(logits, label).amax(-1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return how far the best other class is ahead of the label, (N,): Wang et al.'s utility."""
    return best_other(logits, y) - logits.gather(1, y[:, None]).squeeze(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross entropy (N,) of logits (N, K) and labels (N,)."""
    return F.cross_entropy(logits, y, reduction="none")


LOSSES = {"cross_entropy": cross_entropy, "margin": margin}


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    r"""Return the difference of logits ratio (N,) of Croce and Hein 2020 (arXiv 2003.01690, eq. 6).

    .. math:: -\frac{z_y - \max_{j \ne y} z_j}{z_{(1)} - z_{(3)} + 10^{-12}}

    with z_(1) >= z_(2) >= ... the sorted logits (N, K); a shift or a positive factor of all logits
    changes nothing.  The gradient goes through the denominator, too.

    Raises ValueError for fewer than 3 classes.
    """
    best = _top(logits, 3, "dlr")
    return margin(logits, y) / (best[:, 0] - best[:, 2] + 1e-12)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    r"""Return the targeted difference of logits ratio (N,) of Croce and Hein 2020 (eq. 7).

    .. math:: -\frac{z_y - z_t}{z_{(1)} - (z_{(3)} + z_{(4)}) / 2 + 10^{-12}}

    Raises ValueError for fewer than 4 classes.
    """
    best = _top(logits, 4, "the targeted dlr")
    gap = logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])  # (N, 1)
    return gap.squeeze(1) / (best[:, 0] - best[:, 2:].mean(1) + 1e-12)


def _top(logits: Tensor, count: int, name: str) -> Tensor:
    """Return the largest logits (N, count), in order."""
    if logits.shape[1] < count:
        raise ValueError(
            f"{name} compares {count} logits and the network has {logits.shape[1]} classes: "
            'use loss="margin"'
        )
    return logits.topk(count, dim=1).values


def _towards(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the loss of the label `target`, turned round: it grows towards the target."""
    return lambda logits, y, target: -loss(logits, target)


LOSSES["dlr"] = dlr
TARGETED = {
    "cross_entropy": _towards(cross_entropy), "margin": _towards(margin), "dlr": dlr_targeted,
}  # fmt: skip
