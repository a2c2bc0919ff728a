"""The random moves of the Square attack: what it starts from, and what a query changes.

Both kinds change a square window and leave the point on the rim of the ball: in Linf every number
is at one of its two bounds, in L2 the whole change has length eps before the box cuts it.
"""

import torch
from torch import Tensor

from intriguing.attacks.balls import L2, Linf
from intriguing.attacks.draws import Draws


class LinfWindows:
    """Windows of one bound a channel; the start is vertical stripes.

    sides : (Q,) int64, the side of the window of each query, not above H and W.
    """

    def __init__(self, sides: Tensor, shape: torch.Size) -> None:
        self.sides, (self.channels, self.height, self.width) = sides, shape

    def start(self, ball: Linf, draws: Draws) -> Tensor:
        """Return an image (N, C, H, W) whose columns are at one bound each."""
        up = draws.uniform(self.channels, 1, self.width) < 0.5
        return torch.where(up, ball.high, ball.low)

    def propose(self, ball: Linf, best: Tensor, numbers: Tensor, draws: Draws) -> Tensor:
        """Return points (M, C, H, W) that differ from `best` in the window of query `numbers` (M,).

        Where the bounds drawn are those that the window has already, it gets the others, so that
        no query is spent on a point that is known.
        """
        drawn = draws.uniform(2 + self.channels)
        window, _, _ = placed(drawn[:, :2], self.sides[numbers], self.height, self.width)
        up = (drawn[:, 2:] < 0.5)[:, :, None, None]  # (M, C, 1, 1)
        new = torch.where(window & up, ball.high, torch.where(window, ball.low, best))
        same = (new == best).flatten(1).all(1)
        if not same.any():
            return new
        up = up ^ same[:, None, None, None]
        return torch.where(window & up, ball.high, torch.where(window, ball.low, best))


class L2Windows:
    """Two windows: one gets the change of both, along a pattern, and the other gives its own up.

    sides : (Q,) int64, odd, the side of both windows of each query.
    """

    def __init__(self, sides: Tensor, shape: torch.Size) -> None:
        self.sides, (self.channels, self.height, self.width) = sides, shape
        self.known, self.which = sides.unique(return_inverse=True)  # (U,), (Q,)
        largest = int(self.known[-1])
        self.patterns = torch.zeros(
            len(self.known), largest, largest, dtype=torch.float64, device=sides.device
        )
        for place, side in enumerate(self.known.tolist()):
            self.patterns[place, :side, :side] = pattern(side).to(sides.device)

    def start(self, ball: L2, draws: Draws) -> Tensor:
        """Return the image plus a grid of about 5 x 5 patterns, turned and signed at random."""
        side = max(min(self.height, self.width) // 5, 1)
        down, across = self.height // side, self.width // side
        drawn = draws.uniform(1 + self.channels, down, across) < 0.5
        drawn = drawn.repeat_interleave(side, 2).repeat_interleave(side, 3)
        tile = pattern(side).to(ball.x)
        tiles = torch.where(drawn[:, :1], tile.repeat(down, across), tile.T.repeat(down, across))
        change = torch.zeros_like(ball.x)
        top, left = (self.height - side * down) // 2, (self.width - side * across) // 2
        inner = change[:, :, top : top + side * down, left : left + side * across]
        inner.copy_(torch.where(drawn[:, 1:], tiles, -tiles))  # (N, C, 5 side, 5 side)
        return ball.towards(change)

    def propose(self, ball: L2, best: Tensor, numbers: Tensor, draws: Draws) -> Tensor:
        """Return points (M, C, H, W) that differ from `best` in the windows of query `numbers`."""
        sides = self.sides[numbers]
        drawn = draws.uniform(5 + self.channels)
        into, down, across = placed(drawn[:, :2], sides, self.height, self.width)
        out, _, _ = placed(drawn[:, 2:4], sides, self.height, self.width)
        turned = (drawn[:, 4] < 0.5)[:, None, None]
        first = torch.where(turned, across, down)  # (M, H, W), (M, 1, W), (M, H, 1)
        second = torch.where(turned, down, across)
        shape = self.patterns[self.which[numbers][:, None, None], first, second].to(best)
        sign = torch.where(drawn[:, 5:] < 0.5, 1.0, -1.0).to(best)[:, :, None, None]
        change = best - ball.x
        old, given = change * into, change * (into | out)
        new = (shape[:, None] * sign + old / _norm(old)) * into  # (M, C, H, W)
        free = (ball.radius**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
        size = (free / self.channels + given.square().sum((2, 3), keepdim=True)).sqrt()
        return ball.towards(change - given + new / _norm(new) * size)


def pattern(side: int) -> Tensor:
    """Return the change (side, side) that a window gets, of norm 1, float64.

    Two halves of opposite sign, each the sum of nested rectangles, number j from 0 of weight
    1 / (j + 1)^2, about its middle (Andriushchenko et al. 2020, section 3.4).
    """
    halves = []
    for height in (side // 2, side - side // 2):
        half = torch.zeros(height, side, dtype=torch.float64)
        middle, centre = height // 2, side // 2
        for j in range(max(height, side) // 2 + 1):
            half[max(middle - j, 0) : middle + j + 1, max(centre - j, 0) : centre + j + 1] += (
                1 / (j + 1) ** 2
            )
        halves.append(half / half.norm().clamp_min(1e-300))
    whole = torch.cat((halves[0], -halves[1]))
    return whole / whole.norm()


def placed(drawn: Tensor, sides: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Place windows of these sides (M,) by numbers (M, 2) in [0, 1), evenly over all corners.

    Returns the windows (M, 1, H, W) bool, and for each pixel its row (M, H, 1) and column
    (M, 1, W) in the window, cut to 0 .. side - 1.
    """
    inside, places = [], []
    for axis, length in enumerate((height, width)):
        corners = (drawn[:, axis] * (length - sides + 1)).long().minimum(length - sides)
        place = torch.arange(length, device=sides.device) - corners[:, None]  # (M, length)
        inside.append((place >= 0) & (place < sides[:, None]))
        places.append(place.clamp_min(0).minimum(sides[:, None] - 1))
    window = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return window, places[0][:, :, None], places[1][:, None, :]


def _norm(x: Tensor) -> Tensor:
    """Return the norms (M, C, 1, 1) of each channel, never quite zero."""
    return x.norm(dim=(2, 3), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
