r"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, CVPR 2016, arXiv 1511.04599).

The network is taken for linear at the current point, the boundary that then is nearest is gone to,
and this again until the class changes.  With f_k = Z_k - Z_y and w_k its gradient at x_t,

    k = argmin |f_k| / ||w_k||_q,   r <- r + |f_k| / ||w_k||_q * d,
    x_{t+1} = clip[x + (1 + overshoot) r],                                                       (1)

where d is w_k / ||w_k||_2 for L2 (q = 2) and the sign of w_k for Linf (q = 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intriguing.attacks.common import AttackResult
from intriguing.attacks.losses import without
from intriguing.attacks.minimum import (
    DUALS,
    ENDED,
    Goal,
    Nearest,
    attack,
    check_choice,
    check_numbers,
    differences,
    per_row,
    rows_at_once,
    shorten,
)  # fmt: skip

GUARD = 1e-4  # of a logit: how far behind the linear boundary a step aims (code of the authors)
HALVINGS = 12


def deepfool(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    target: Tensor | None = None,
    candidates: int = 10,
    steps: int = 50,
    overshoot: float = 0.02,
    refine: bool = False,
    batch: int | None = None,
) -> AttackResult:
    """Go to the nearest boundary of the linearised network until the class changes (equation 1).

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    norm : "l2" or "linf".
    target : (N,) int64 classes to reach; the boundary then is that with the class now ahead.
    candidates : classes looked at, y and those ranked next at x: a step costs one forward pass and
        a backward pass for each but y.
    steps, overshoot : see equation 1.
    refine : halve the segment from the image to the answer 12 times, for as many forward passes.
        The distances of DeepFool are upper bounds, overshot by construction.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult.  An image whose class did not change in `steps` keeps its pixels.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper: overshoot 0.02; the code takes 50 steps and the 10 likeliest classes, as here.  There x_t
    leaves the box, and the change it reports is smaller than that of any image.  Here x_t is cut to
    the box and r is not, so the same attack takes more steps where the box binds.  The paper gets
    away from the predicted class; here from y, and an image that is not taken for y has distance 0.
    """
    check_choice(norm=(norm, ("l2", "linf")))
    check_numbers(1, steps=steps)
    check_numbers(2, candidates=candidates)
    if not 0 <= overshoot < float("inf"):
        raise ValueError(f"overshoot must be a number of at least 0, not {overshoot}")

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        if goal.target is not None:
            others = goal.target[:, None]
        else:
            order = logits.scatter(1, goal.y[:, None], -torch.inf).argsort(1, descending=True)
            others = order[:, : min(candidates, order.shape[1]) - 1]  # (N, M)
        _walk(model, found, goal, logits, others, norm, steps, overshoot)
        if refine:
            shorten(model, found, goal, HALVINGS)

    return attack(model, x, y, target, norm, rows_at_once(x, batch), search)


def _walk(model, found: Nearest, goal: Goal, logits, others, norm, steps, overshoot) -> None:
    """Take the steps of all rows; those that reached the goal leave."""
    row = torch.arange(len(others), device=others.device)
    x, at, r = found.x, found.x, torch.zeros_like(found.x)
    for number in range(steps + 1):
        if number:  # the clean image has not reached it
            logits = model(at)
            reached = goal.reached(logits)
            found.offer(row, at, reached)
            found.forwards[row] += 1
            found.stop[row[reached]] = ENDED
            going = (~reached).nonzero().squeeze(1)
            row, x, at, r = row[going], x[going], at[going], r[going]
            logits, others, goal = logits[going], others[going], goal[going]
        if number == steps or not len(row):
            return
        # a target has to pass whichever class is ahead, be it y or not
        leave = goal.y if goal.target is None else without(logits, goal.target).argmax(1)
        _, gaps, w = differences(model, at, leave, others)  # (B, M), (B, M, C, H, W)
        found.gradients[row] += others.shape[1]
        found.iterations[row] += 1
        slopes = DUALS[norm](w.flatten(0, 1)).view_as(gaps).clamp_min(1e-12)
        k = (gaps.abs() / slopes).nan_to_num(torch.inf).argmin(1, keepdim=True)  # (B, 1)
        w = w.gather(1, k.view(-1, 1, 1, 1, 1).expand(-1, -1, *w.shape[2:])).squeeze(1)
        gap, slope = gaps.gather(1, k), slopes.gather(1, k)
        far = ((gap.abs() + GUARD) / slope * -gap.sign()).squeeze(1)
        r = r + per_row(far) * (w.sign() if norm == "linf" else w / per_row(slope.squeeze(1)))
        at = (x + (1 + overshoot) * r).clamp_(0, 1)
