"""The search for the loss weight: a bracket in log w for each row, closed by the margin."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GROWTH = math.log(4.0)  # step in log w until a failing and a succeeding weight are known
RANGE = math.log(1e6)  # how far w may move from its first guess, either way


class Brackets:
    """For each row the largest failing and the smallest succeeding log weight tried so far."""

    ROWS = ("guess", "low", "high", "margin_low", "margin_high", "side", "tried", "growth")

    def __init__(self, rows: int, like: Tensor, tolerance: float):
        self.gap = math.log1p(tolerance)
        for name in self.ROWS:
            setattr(self, name, like.new_zeros(rows))

    def reset(self, rows: Tensor) -> None:
        for name in self.ROWS:
            getattr(self, name)[rows] = 0
        self.low[rows], self.high[rows], self.growth[rows] = -torch.inf, torch.inf, GROWTH

    def select(self, rows: Tensor) -> None:
        for name in self.ROWS:
            setattr(self, name, getattr(self, name).index_select(0, rows))

    def update(self, rows: Tensor, log_w: Tensor, margin: Tensor) -> None:
        """Take in that `rows` (indices) ended with `margin` at `log_w`; above 0 is success."""
        won = margin > 0
        self.tried[rows] += 1
        # Illinois: an end that stays twice in a row counts half, or interpolation creeps
        self.margin_low[rows] *= torch.where(won & (self.side[rows] > 0), 0.5, 1.0)
        self.margin_high[rows] *= torch.where(~won & (self.side[rows] < 0), 0.5, 1.0)
        self.side[rows] = won.to(margin.dtype) * 2 - 1
        up, down = rows[won], rows[~won]
        self.high[up], self.margin_high[up] = log_w[won], margin[won]
        self.low[up] = self.low[up].where(self.low[up] < log_w[won], -torch.inf)  # failed above
        self.low[down], self.margin_low[down] = log_w[~won], margin[~won]

    def closed(self, rows: Tensor) -> Tensor:
        return self.high[rows] - self.low[rows] < self.gap

    def give_up(self, rows: Tensor, log_w: Tensor) -> Tensor:
        """Turn round rows that left the range upwards, once; say which others have left it.

        The first guess can overshoot the target's region where the gradient at x is small.
        """
        far = (log_w - self.guess[rows]).abs() > RANGE
        turns = far & (self.growth[rows] > 0) & self.high[rows].isinf()
        self.growth[rows[turns]], self.low[rows[turns]] = -GROWTH, self.guess[rows[turns]]
        return far & ~turns

    def propose(self, rows: Tensor) -> Tensor:
        """The next log w: grow or shrink until both ends are known, then interpolate margins."""
        low, high = self.low[rows], self.high[rows]
        share = -self.margin_low[rows] / (self.margin_high[rows] - self.margin_low[rows])
        inside = low + (high - low) * share
        # almost a tolerance from either end: a guess beside an end can close the bracket
        gap = (0.5 * (high - low)).clamp(max=0.9 * self.gap)
        inside = torch.maximum(torch.minimum(inside, high - gap), low + gap)
        grown = torch.where(high.isinf(), low + self.growth[rows], high - GROWTH)
        return torch.where((high - low).isinf(), grown, inside)
