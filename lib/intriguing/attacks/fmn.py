r"""FMN, fast minimum-norm attack (Pintor et al., NeurIPS 2021, arXiv 2102.12827).

A step along the gradient, then a cut to a ball whose radius is found on the way.  With L the logit
of the class to leave less that of the class to reach, and g its gradient,

    eps_{t+1} = ||delta_t||_p + |L| / ||g||_q    while nothing adversarial was found,
                eps_t (1 + gamma_t)              if delta_t is not adversarial,
                min(eps_t (1 - gamma_t), ||best||_p)   if it is;
    delta_{t+1} = clip[x + cut(delta_t - alpha_t g / ||g||_2, eps_{t+1})] - x.                   (1)

The first line is the distance to the linearised boundary (q is the dual of p).  alpha falls to a
hundredth, gamma to 0.001, each along half a cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from intriguing.attacks.common import AttackResult
from intriguing.attacks.minimum import (
    DUALS,
    NORMS,
    Goal,
    Nearest,
    attack,
    check_choice,
    check_numbers,
    differentiate,
    per_row,
    rows_at_once,
)  # fmt: skip

OVERSHOOT = 1.02  # of the way to the linearised boundary: at the boundary itself nothing is won


def fmn(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    target: Tensor | None = None,
    steps: int = 100,
    step: float = 1.0,
    gamma: float = 0.05,
    box_aware: bool = True,
    batch: int | None = None,
) -> AttackResult:
    """Follow the margin in a ball that shrinks and grows (equation 1); keep the nearest answer.

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    norm : "l2", "linf" or "l1".
    target : (N,) int64 classes to reach.
    steps : gradients of each image.
    step : alpha of the first step, an L2 length in pixel units.
    gamma : share by which the radius changes in the first step.
    box_aware : leave out of g what would push a number through a wall of the box that it is at.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult of the nearest of all points.  An image for which nothing was found keeps its
    pixels.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper: 100 to 1,000 steps, alpha 1, gamma 0.05.  It aims at the linearised boundary, and on a
    plane may end there without crossing it; this aims 2 % further.  It is not box aware: on digits,
    most of whose pixels are 0 or 1, the box takes so much of each step that eps in L2 stops growing
    before anything is found: 100 steps miss 80 of 100 images of a fully connected network.
    """
    check_choice(norm=(norm, CUTS))
    check_numbers(1, steps=steps)
    check_numbers(0, step=step, gamma=gamma)
    if gamma >= 1:
        raise ValueError(f"gamma must be below 1, not {gamma}")

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        x, delta = found.x, torch.zeros_like(found.x)
        rows = torch.arange(len(x), device=x.device)
        largest = NORMS[norm](torch.maximum(x, 1 - x))
        radius = torch.full_like(largest, torch.inf)
        for number in range(steps):
            share = (1 + math.cos(math.pi * number / steps)) / 2
            alpha = step * (0.01 + 0.99 * share)
            shift = 0.001 + (gamma - 0.001) * share
            at = (x + delta).clamp_(0, 1)
            logits, g = differentiate(model, at, goal.margin)
            g = g.nan_to_num(0, 0, 0)
            if box_aware:
                g = g * ~(((at <= 0) & (g < 0)) | ((at >= 1) & (g > 0)))
            reached = goal.reached(logits)
            found.offer(rows, at, reached)
            # the distance to the linearised boundary; infinite where the gradient is 0
            far = goal.margin(logits).abs() / DUALS[norm](g)
            far = NORMS[norm](delta) + OVERSHOOT * far
            outside = torch.where(found.size.isfinite(), radius * (1 + shift), far)
            inside = torch.minimum(radius * (1 - shift), found.size)
            radius = torch.where(reached, inside, outside).nan_to_num(torch.inf)
            radius = torch.minimum(radius, largest)
            length = g.flatten(1).norm(dim=1).clamp_min(torch.finfo(g.dtype).tiny)
            delta = CUTS[norm](delta + g * per_row(alpha / length), radius)
            delta = (x + delta).clamp_(0, 1).sub_(x)
        found.gradients += steps
        found.iterations += steps

    return attack(model, x, y, target, norm, rows_at_once(x, batch), search)


def _cut_linf(delta: Tensor, radius: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(delta, per_row(-radius)), per_row(radius))


def _cut_l2(delta: Tensor, radius: Tensor) -> Tensor:
    length = delta.flatten(1).norm(dim=1).clamp_min(torch.finfo(delta.dtype).tiny)
    return delta * per_row((radius / length).clamp_max(1))


def _cut_l1(delta: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point of the L1 ball: all sizes less one threshold (Duchi et al. 2008)."""
    size = delta.flatten(1).abs()
    ordered = size.sort(dim=1, descending=True).values
    count = torch.arange(1, size.shape[1] + 1, device=size.device)
    excess = ordered.cumsum(1) - radius[:, None]
    last = (ordered * count > excess).sum(1, keepdim=True).clamp_min(1) - 1
    threshold = (excess.gather(1, last) / (last + 1)).clamp_min(0)
    return (size - threshold).clamp_min(0).view_as(delta).mul_(delta.sign())


CUTS = {"l2": _cut_l2, "linf": _cut_linf, "l1": _cut_l1}
