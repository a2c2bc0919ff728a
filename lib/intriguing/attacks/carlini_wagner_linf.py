r"""The Linf attack of Carlini and Wagner (S&P 2017, arXiv 1608.04644, section VI.C).

The largest change alone has a gradient in one number only.  So all changes above a threshold tau
are penalised, and tau is lowered as long as the attack succeeds:

    minimise  c f(x') + sum_i max(0, |x'_i - x_i| - tau),   f(x') = max(0, -margin(x'))          (1)

over the tanh variable of x' (see `adam`), by Adam.  Success is a value of (1) below 1e-4 c: nothing
is changed by more than tau, but for 1e-4 c in all.  Then tau <- 0.9 min(tau, max |x' - x|).  Where
the steps run out, c is doubled.  Image and c are carried on, Adam begins anew.
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
from intriguing.attacks.minimum import linf as largest

SMALL = 1e-4  # of c: what a success may leave of (1)


def carlini_wagner_linf(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    target: Tensor | None = None,
    steps: int = 200,
    rate: float = 0.01,
    c: float = 0.1,
    c_max: float = 20.0,
    shrink: float = 0.9,
    tau_min: float = 1 / 256,
    edge: float = EDGE,
    batch: int | None = None,
) -> AttackResult:
    """Push all changes below a threshold that falls as long as that succeeds (equation 1).

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    target : (N,) int64 classes to reach.
    steps : of Adam, for each tau and c.
    rate : Adam's, in units of the tanh variable.
    c, c_max : the first weight, and the bound at which a row gives up.
    shrink : what tau is multiplied with after a success.
    tau_min : tau at which a row is done, pixel units.
    edge : how far from 0 and 1 a pixel begins, pixel units, see `adam`.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult of the nearest of all points that reached the goal, with the c at which it was
    met.  An image for which nothing was found keeps its pixels.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper's code: 1,000 steps, rate 0.005, c from 1e-5 doubled up to 20, shrink 0.9, tau from 1 to
    1/256, edge 5e-7; it returns the last success.
    """
    check_numbers(1, steps=steps)
    check_numbers(0, rate=rate, c=c, c_max=c_max, shrink=shrink, tau_min=tau_min, edge=edge)
    if shrink >= 1:
        raise ValueError(f"shrink must be below 1, not {shrink}")

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        image = torch.arange(len(found.x), device=found.x.device)
        variables = TanhAdam(found.x, rate, edge)
        tau, weight = torch.ones_like(found.c), torch.full_like(found.c, c)
        while len(image):
            at = variables.pixels()

            def hinge(logits: Tensor, goal=goal, weight=weight) -> Tensor:
                return weight * (-goal.margin(logits)).clamp_min(0)

            logits, g = differentiate(model, at, hinge)
            reached = goal.reached(logits)
            found.offer(image, at, reached, weight)
            found.gradients[image] += 1
            found.iterations[image] += 1
            change = at - variables.x
            beyond = (change.abs() - per_row(tau)).clamp_min_(0)
            loss = hinge(logits) + beyond.flatten(1).sum(1)
            won = reached & (loss < SMALL * weight)
            variables.step(g.nan_to_num(0, 0, 0).add_(change.sign() * (beyond > 0)))
            lost = ~won & (variables.clock >= steps)
            tau = torch.where(won, shrink * torch.minimum(tau, largest(change)), tau)
            weight = torch.where(lost, 2 * weight, weight)
            variables.restart(won.nonzero().squeeze(1), from_image=False)
            variables.clock[lost] = 0
            keep = ((tau > tau_min) & (weight < c_max)).nonzero().squeeze(1)
            if len(keep) < len(image):
                image, goal, tau, weight = (rows[keep] for rows in (image, goal, tau, weight))
                variables.select(keep)
        found.stop[:] = ENDED

    return attack(model, x, y, target, "linf", rows_at_once(x, batch), search)
