r"""The L2 attack of Carlini and Wagner (S&P 2017, arXiv 1608.04644, section VI.A).

    minimise  ||x' - x||_2^2 + c f(x'),   f(x') = max(0, kappa - margin(x'))                     (1)

over the tanh variable of x' (see `adam`), by Adam.  The margin is how far the target is ahead of
all other classes, or, without a target, the best other class ahead of y.  The weight c is searched
for each image: up by tens until the attack succeeds, then by bisection, every time from the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intriguing.attacks.adam import EDGE, TanhAdam
from intriguing.attacks.common import AttackResult
from intriguing.attacks.minimum import (
    ENDED,
    Goal,
    Nearest,
    attack,
    check_choice,
    check_numbers,
    differentiate,
    rows_at_once,
)  # fmt: skip

CHECKS = 10  # looks at whether the loss still falls, in each minimisation
FALLS = 0.9999


def carlini_wagner(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    target: Tensor | None = None,
    confidence: float = 0.0,
    searches: int = 5,
    steps: int = 200,
    rate: float = 0.02,
    c: float = 1.0,
    edge: float = EDGE,
    abort_early: bool = True,
    batch: int | None = None,
) -> AttackResult:
    """Minimise distance plus c times the hinge of the margin, for a bracket of c (equation 1).

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    norm : "l2"; see `carlini_wagner_linf` and `carlini_wagner_l0`, which are other attacks.
    target : (N,) int64 classes to reach.
    confidence : kappa, in logits: every answer has a margin above it.
    searches, steps : values of c for each image, and steps of Adam at each of them.
    rate : Adam's, in units of the tanh variable.
    c : the first weight.
    edge : how far from 0 and 1 a pixel begins, pixel units, see `adam`.
    abort_early : leave a c when the loss of that image fell by less than a ten-thousandth in a
        tenth of the steps.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult of the nearest of all points with that margin, and the c at which it was met.  An
    image for which nothing was found keeps its pixels; so does one that is there at the outset,
    whatever its margin.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper's code: 9 searches of 10,000 steps, rate 0.01, c from 0.001, edge 5e-7; that is 90,000
    gradients an image.  It leaves a c when the loss of the *batch* stands still; here each row has
    its own search and its own end, so that its answer is that of the image alone.
    """
    check_choice(norm=(norm, ("l2",)))
    check_numbers(1, searches=searches, steps=steps)
    check_numbers(0, rate=rate, c=c, edge=edge)
    if not 0 <= confidence < float("inf"):
        raise ValueError(f"confidence must be a number of at least 0, not {confidence}")

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        rows = Rows(found, goal, TanhAdam(found.x, rate, edge), c)
        every = -(-steps // CHECKS) if abort_early else steps
        while len(rows.image):
            rows.tick(model, confidence, steps, every)
            rows.next_weight(searches)

    return attack(model, x, y, target, norm, rows_at_once(x, batch), search)


class Rows:
    """Images under way, each with its own weight, bracket and number of steps."""

    ROWS = ("image", "goal", "c", "low", "high", "searched", "before", "hit", "over")

    def __init__(self, found: Nearest, goal: Goal, variables: TanhAdam, c: float) -> None:
        self.found, self.goal, self.variables = found, goal, variables
        n = len(found.x)
        self.image = torch.arange(n, device=found.x.device)
        self.c, self.low = found.x.new_full((n,), c), found.x.new_zeros(n)
        self.high, self.before = (torch.full_like(self.c, torch.inf) for _ in range(2))
        self.searched = torch.zeros_like(self.image)
        self.hit = self.over = torch.zeros_like(self.image, dtype=torch.bool)

    def tick(self, model: nn.Module, confidence: float, steps: int, every: int) -> None:
        """Evaluate all rows, offer what is there, take a step; say which minimisation is over."""
        variables = self.variables
        at = variables.pixels()

        def hinge(logits: Tensor) -> Tensor:
            return self.c * (confidence - self.goal.margin(logits)).clamp_min(0)

        logits, g = differentiate(model, at, hinge)
        reached = self.goal.reached(logits, confidence)
        self.found.offer(self.image, at, reached, self.c)
        self.found.gradients[self.image] += 1
        self.hit = self.hit | reached
        change = at - variables.x
        loss = change.flatten(1).square().sum(1) + hinge(logits)
        looks = variables.clock % every == 0
        stands = looks & ~(loss <= FALLS * self.before)
        self.before = torch.where(looks, loss, self.before)
        variables.step(g.nan_to_num(0, 0, 0).add_(change, alpha=2))
        self.over = stands | (variables.clock >= steps)

    def next_weight(self, searches: int) -> None:
        """Move c of the rows whose minimisation ended, and start it again; drop those done."""
        ended = self.over.nonzero().squeeze(1)
        if not len(ended):
            return
        c, hit = self.c[ended], self.hit[ended]
        self.found.iterations[self.image[ended]] += self.variables.clock[ended].long()
        self.high[ended] = torch.where(hit, torch.minimum(self.high[ended], c), self.high[ended])
        self.low[ended] = torch.where(hit, self.low[ended], torch.maximum(self.low[ended], c))
        middle = (self.low[ended] + self.high[ended]) / 2
        self.c[ended] = torch.where(middle.isfinite(), middle, 10 * c)
        self.searched[ended] += 1
        self.hit[ended], self.before[ended] = False, torch.inf
        self.variables.restart(ended, from_image=True)
        keep = self.searched < searches
        if not keep.all():
            self.found.stop[self.image[~keep]] = ENDED
            keep = keep.nonzero().squeeze(1)
            for name in self.ROWS:
                setattr(self, name, getattr(self, name)[keep])
            self.variables.select(keep)
