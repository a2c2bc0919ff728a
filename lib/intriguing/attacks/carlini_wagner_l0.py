r"""The L0 attack of Carlini and Wagner (S&P 2017, arXiv 1608.04644, section VI.B).

Run the L2 attack on the pixels that may change; freeze those which matter least; go on until it
fails.  What a pixel matters is the first-order share it has in the success,

    sum over its channels of |x'_i - x_i| |d margin / d x_i|.                                    (1)

After each success the least of them are frozen at x: up to and including the first whose (1)
exceeds 0.01, and no more than 0.3 sqrt(pixels that changed) at a time.  The objective is that of
`carlini_wagner`, with kappa 0.01; c is doubled where the steps run out, and image and c carried on.
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
    check_numbers,
    differentiate,
    per_row,
    rows_at_once,
)  # fmt: skip

MATTERS, SHARE = 0.01, 0.3  # see the text
SAME = 1e-4  # pixel units: a number that changed by less has not changed


def carlini_wagner_l0(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    target: Tensor | None = None,
    confidence: float = 0.01,
    steps: int = 100,
    rate: float = 0.05,
    c: float = 1.0,
    c_max: float = 1e3,
    edge: float = EDGE,
    batch: int | None = None,
) -> AttackResult:
    """Change as few pixels as possible: freeze, one after the other, those that matter least.

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    target : (N,) int64 classes to reach.
    confidence : kappa, in logits.
    steps : of Adam, for each set of pixels and each c.
    rate : Adam's, in units of the tanh variable.
    c, c_max : the first weight, and the bound at which a row gives up.
    edge : how far from 0 and 1 a pixel begins, pixel units, see `adam`.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult of the success with the fewest changed pixels (all channels are one), with the c
    at which it was met.  An image for which nothing was found keeps its pixels.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper's code: 1,000 steps, rate 0.01, c from 0.001 doubled up to 2e6, edge 5e-7.  Its (1) is
    |sum over channels of x' - x| times the gradient of the whole objective, in which at a success
    the hinge is 0: the distance itself decides, and channels that cancel count as no change.  This
    is the paper's formula.
    """
    check_numbers(1, steps=steps)
    check_numbers(0, rate=rate, c=c, c_max=c_max, edge=edge, confidence=confidence)

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        image = torch.arange(len(found.x), device=found.x.device)
        variables = TanhAdam(found.x, rate, edge)
        free = torch.ones_like(found.x[:, :1])  # (N, 1, H, W) of 0 and 1
        weight = torch.full_like(found.c, c)
        while len(image):
            at = torch.lerp(variables.x, variables.pixels(), free)
            logits, g = differentiate(model, at, goal.margin)
            margin = goal.margin(logits)
            won = goal.reached(logits, confidence)
            found.gradients[image] += 1
            found.iterations[image] += 1
            change = at - variables.x
            changed = (change.abs() > SAME).any(1, keepdim=True)  # (N, 1, H, W)
            found.offer(image, torch.where(changed, at, variables.x), won, weight)
            uphill = per_row(weight * (margin < confidence))
            variables.step((2 * change - uphill * g.nan_to_num(0, 0, 0)).mul_(free))
            lost = ~won & (variables.clock >= steps)
            weight = torch.where(lost, 2 * weight, weight)
            variables.clock[lost] = 0
            rows = won.nonzero().squeeze(1)
            if len(rows):
                matters = (change[rows].abs() * g[rows].abs()).sum(1, keepdim=True)
                free[rows] = _freeze(free[rows], changed[rows], matters)
                variables.restart(rows, from_image=False)
            keep = ((weight < c_max) & free.flatten(1).any(1)).nonzero().squeeze(1)
            if len(keep) < len(image):
                image, goal, free, weight = (rows[keep] for rows in (image, goal, free, weight))
                variables.select(keep)
        found.stop[:] = ENDED

    return attack(model, x, y, target, "l0", rows_at_once(x, batch), search)


def _freeze(free: Tensor, changed: Tensor, matters: Tensor) -> Tensor:
    """Return `free` (B, 1, H, W) without the pixels that matter least, at least one of them."""
    ranked = torch.where(free > 0, matters, torch.inf).flatten(1)
    ranked, order = ranked.sort(dim=1, stable=True)
    before = torch.cat([torch.zeros_like(ranked[:, :1]), ranked[:, :-1]], dim=1)
    most = (SHARE * changed.flatten(1).sum(1).to(free.dtype).sqrt()).ceil().clamp_min(1)
    place = torch.arange(ranked.shape[1], device=free.device)
    stays = (before > MATTERS) | (place >= most[:, None])
    flat = free.flatten(1)
    return flat.scatter(1, order, flat.gather(1, order) * stays).view_as(free)
