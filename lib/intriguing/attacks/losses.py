"""Losses of logits that attacks raise, and the best class beside the label."""

from collections.abc import Callable

import torch
from torch import Tensor

LEAST = 2.0**-100  # weight that the gradient of the cross entropy never falls below: 69 nats


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
    r"""Return the cross entropy (...) of logits (..., K) and labels (...), in nats.

    As log(1 + e^d), with d = logsumexp of the other logits - the label's, the log odds against it.
    The same as -log softmax, in which the label's part of the gradient, softmax - 1, is lost to
    rounding where the network is sure of it: in float32 from a gap of 16 nats on.

    The gradient is sigmoid(d) grad d.  Beyond 69 nats it is not let fall below LEAST grad d, since
    float32 ends at 1e-38: so its direction is right at any gap, and no other term notices.
    """
    own = logits.gather(-1, y[..., None]).squeeze(-1)
    return _Softplus.apply(without(logits, y).logsumexp(-1) - own)


class _Softplus(torch.autograd.Function):
    """log(1 + e^d), whose derivative stays at LEAST where it would be less."""

    @staticmethod
    def forward(ctx, d: Tensor) -> Tensor:
        ctx.save_for_backward(d)
        return torch.logaddexp(d, torch.zeros_like(d))

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (d,) = ctx.saved_tensors
        return grad * d.sigmoid().clamp_min(LEAST)


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
