"""The three readings of |r| in the L-BFGS attack, as the solver sees them.

A penalty says which variables the solver moves and in which box, how they make pixels, what the
penalty of a point is, and which loss weight a linear model would need.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intriguing.tensors import lengths

SMOOTHING = 1e-3  # sqrt(||r||^2 + this^2): the unsquared norm has a kink at the start, r = 0


class SquaredL2:
    """||r||_2^2; the variables are the pixels."""

    curvature: float | None = 2.0  # its Hessian, a multiple of the identity; None: not constant

    def bounds(self, origin: Tensor):
        """Lower and upper bound of the variables of images `origin` (B, D)."""
        return 0.0, 1.0

    def start(self, origin: Tensor) -> Tensor:
        """The variables at r = 0."""
        return origin

    def pixels(self, v: Tensor, origin: Tensor) -> Tensor:
        """Pixels (B, D) of the variables `v`."""
        return v

    def gradient(self, g: Tensor) -> Tensor:
        """Gradient by the variables from the gradient by pixels (B, D)."""
        return g

    def __call__(self, v: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Value (B,) and gradient of the penalty."""
        r = v - origin
        return (r * r).sum(1), r.mul_(2)

    def first_weight(self, margin: Tensor, g: Tensor) -> Tensor:
        """Loss weight (B,) at which a linear model ends on its boundary.

        margin : (B,) target logit minus the largest other at r = 0, negative there.
        g : (B, D) gradient of the loss by the variables at r = 0.

        The boundary lies at ||r|| = -margin / ||g||, where the loss gradient is about half of g;
        the penalty's gradient must balance it.
        """
        return 4 * -margin / (g * g).sum(1)


class L2(SquaredL2):
    """sqrt(||r||_2^2 + SMOOTHING^2)."""

    curvature = None

    def __call__(self, v, origin):
        r = v - origin
        norm = ((r * r).sum(1) + SMOOTHING**2).sqrt()
        return norm, r.div_(norm[:, None])

    def first_weight(self, margin, g):
        return 2 / lengths(g)


class L1:
    """||r||_1 without a kink: r = up - down with both parts in their own box."""

    curvature = 0.0

    def bounds(self, origin):
        upper = torch.cat((1 - origin, origin), 1)
        return torch.zeros_like(upper), upper

    def start(self, origin):
        return torch.zeros_like(origin).repeat(1, 2)

    def pixels(self, v, origin):
        up, down = v.chunk(2, 1)
        return (origin + up - down).clamp_(0, 1)

    def gradient(self, g):
        return torch.cat((g, -g), 1)

    def __call__(self, v, origin):
        return v.sum(1), torch.ones_like(v)

    def first_weight(self, margin, g):
        return 2 / g.abs().amax(1)


PENALTIES = {"l2_squared": SquaredL2, "l2": L2, "l1": L1}
