"""The balls an attack stays in: where it starts, how it moves, and how it is brought back.

Both are intersected with the box [0, 1].  No point leaves ball or box, not even by rounding.
"""

import warnings
from typing import Protocol

import torch
from torch import Tensor

from intriguing.attacks.draws import Draws
from intriguing.tensors import beside, lengths, units


class Ball(Protocol):
    """What `pgd` asks of a ball around the images x, of radius eps."""

    pixel: float  # eps, or the root mean square of a change of norm eps

    def start(self, draws: Draws) -> Tensor:
        """Return a point drawn evenly from the ball, and moved into the box: (N, C, H, W)."""

    def move(self, at: Tensor, gradient: Tensor, step: float) -> Tensor:
        """Return the point after one step of steepest ascent in the ball's norm, projected."""

    def rim(self, draws: Draws) -> Tensor:
        """Return a random point at distance eps, moved into the box: (N, C, H, W)."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the direction of steepest ascent, of length 1 in the ball's norm."""

    def project(self, point: Tensor) -> Tensor:
        """Return the points (N, C, H, W) brought back into the ball, then into the box."""

    def __getitem__(self, rows: Tensor) -> "Ball":
        """Return the ball of some rows, given by indices or a mask."""

    def joined(self, other: "Ball") -> "Ball":
        """Return the ball of these rows and, after them, the rows of another of the same eps."""


class Linf:
    """No number changes by more than eps; the direction is the sign of the gradient."""

    def __init__(self, x: Tensor, eps: float) -> None:
        if eps > 1:
            warnings.warn(f"eps = {eps:g} exceeds the box [0, 1]: {eps:g}/255 may be meant, pixels "
                          "are fractions", stacklevel=3)  # fmt: skip
        self.x, self.pixel = x, eps
        exact = x.double()
        self.low, self.high = ((exact + side * eps).to(x.dtype) for side in (-1, 1))
        for bound in (self.low, self.high):  # a rounding outwards is undone
            inwards = torch.nextafter(bound, x)
            bound.copy_(torch.where((bound.double() - exact).abs() > eps, inwards, bound))
            bound.clamp_(0, 1)

    def start(self, draws: Draws) -> Tensor:
        noise = draws.uniform(*self.x.shape[1:]) * 2 - 1
        return (self.x + self.pixel * noise).clamp(self.low, self.high)

    def move(self, at: Tensor, gradient: Tensor, step: float) -> Tensor:
        return at.add(gradient.sign(), alpha=step).clamp_(self.low, self.high)

    def rim(self, draws: Draws) -> Tensor:
        noise = draws.uniform(*self.x.shape[1:]) * 2 - 1
        largest = noise.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
        return self.project(self.x + self.pixel * noise / largest)

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, point: Tensor) -> Tensor:
        return point.clamp(self.low, self.high)

    def __getitem__(self, rows: Tensor) -> "Linf":
        return self._of(*(part[rows] for part in (self.x, self.low, self.high)))

    def joined(self, other: "Linf") -> "Linf":
        pairs = (self.x, other.x), (self.low, other.low), (self.high, other.high)
        return self._of(*map(torch.cat, pairs))

    def _of(self, x: Tensor, low: Tensor, high: Tensor) -> "Linf":
        ball = object.__new__(Linf)
        ball.x, ball.low, ball.high, ball.pixel = x, low, high, self.pixel
        return ball


class L2:
    """The norm of x_adv - x is at most eps; the direction is the gradient over its own norm."""

    def __init__(self, x: Tensor, eps: float) -> None:
        self.x = x
        numbers = x[0].numel()
        self.pixel = eps / numbers**0.5
        # x + r is off by half a unit in the last place in each pixel, the norm by a few of its own
        unit = torch.finfo(x.dtype).eps
        self.radius = max(0.0, eps * (1 - 8 * unit) - unit / 2 * numbers**0.5)

    def start(self, draws: Draws) -> Tensor:
        numbers = self.x[0].numel()
        share = draws.uniform().pow(1 / numbers)[:, None, None, None]
        direction = units(draws.normal(*self.x.shape[1:]))
        return self._inside(self.radius * share * direction)

    def move(self, at: Tensor, gradient: Tensor, step: float) -> Tensor:
        return self._inside((at - self.x).add_(units(gradient), alpha=step))

    def rim(self, draws: Draws) -> Tensor:
        return self.towards(draws.normal(*self.x.shape[1:]))

    def towards(self, change: Tensor) -> Tensor:
        """Return the points at distance eps along changes (N, C, H, W), moved into the box."""
        return self._inside(self.radius * units(change))

    def direction(self, gradient: Tensor) -> Tensor:
        return units(gradient)

    def project(self, point: Tensor) -> Tensor:
        return self._inside(point - self.x)

    def __getitem__(self, rows: Tensor) -> "L2":
        return self._of(self.x[rows])

    def joined(self, other: "L2") -> "L2":
        return self._of(torch.cat((self.x, other.x)))

    def _of(self, x: Tensor) -> "L2":
        ball = object.__new__(L2)
        ball.x, ball.pixel, ball.radius = x, self.pixel, self.radius
        return ball

    def _inside(self, change: Tensor) -> Tensor:
        """Return x + change, cut to the ball, then to the box, which makes it shorter still."""
        tiny = torch.finfo(change.dtype).tiny
        shrink = (self.radius / lengths(change).clamp_min_(tiny)).clamp_(max=1)
        return change.mul_(beside(shrink, change)).add_(self.x).clamp_(0, 1)


BALLS: dict[str, type[Ball]] = {"linf": Linf, "l2": L2}
