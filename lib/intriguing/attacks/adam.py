r"""Adam in the tanh variable of Carlini and Wagner, each row with a clock of its own.

A pixel is v = (1 + tanh(u)) / 2, so that every u gives a pixel of the box (Carlini and Wagner 2017,
arXiv 1608.04644, section V.B).  A pixel at 0 or 1 has no u: it is moved inwards by `edge` first.
The authors take edge = 5e-7, where tanh is so flat that black pixels hardly move for hundreds of
steps.  Here the image is what u_0 stands for, whatever the edge:

    x' = clip[x + v(u) - v(u_0)],

so that u = u_0 is x to the last bit and no distance is measured to a recoded image; a black pixel
gets as far as 1 - edge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intriguing.attacks.minimum import per_row

EDGE = 0.01  # pixel units
BETAS = 0.9, 0.999


class TanhAdam:
    """The variables of B images x (B, C, H, W), and Adam's moments (Kingma and Ba 2015).

    rate : length of a step in u.
    edge : how far from 0 and 1 a pixel begins, pixel units.

    Raises ValueError for an edge that is not between 0 and 0.5.
    """

    ROWS = ("x", "u", "first", "second", "clock", "start")

    def __init__(self, x: Tensor, rate: float, edge: float = EDGE) -> None:
        if not 0 < edge < 0.5:
            raise ValueError(f"edge must be below 0.5, not {edge}: at 0.5 all pixels are alike")
        self.x, self.rate = x, rate
        self.u = torch.atanh((2 * x - 1) * (1 - 2 * edge))
        self.start = self.u.clone()
        self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)
        self.clock = torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def pixels(self) -> Tensor:
        """Return x' (B, C, H, W)."""
        return (self.u.tanh().sub_(self.start.tanh()) / 2).add_(self.x).clamp_(0, 1)

    def step(self, g: Tensor) -> None:
        """Take a step of Adam down the gradient g by the pixels (B, C, H, W)."""
        g = g * (1 - self.u.tanh().square_()) / 2
        self.clock += 1
        for moment, beta, power in zip((self.first, self.second), BETAS, (g, g * g), strict=True):
            moment.mul_(beta).add_(power, alpha=1 - beta)
        mean, spread = (
            moment / per_row(1 - beta**self.clock)
            for moment, beta in zip((self.first, self.second), BETAS, strict=True)
        )
        self.u -= self.rate * mean / (spread.sqrt_() + 1e-8)

    def restart(self, rows: Tensor, *, from_image: bool) -> None:
        """Forget the moments of rows (indices), and where they are if `from_image`."""
        self.first[rows], self.second[rows], self.clock[rows] = 0, 0, 0
        if from_image:
            self.u[rows] = self.start[rows]

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (indices), in that order."""
        for name in self.ROWS:
            setattr(self, name, getattr(self, name)[rows])
