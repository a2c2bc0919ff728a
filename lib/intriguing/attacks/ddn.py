r"""DDN, decoupled direction and norm (Rony et al., CVPR 2019, arXiv 1811.09600): L2.

The norm of the change is not optimised but set: a little less after a step that was adversarial, a
little more after one that was not.  The direction follows the gradient of the cross entropy.

    d <- delta_t + alpha_t g / ||g||_2,   eps_{t+1} = eps_t (1 -+ gamma),
    delta_{t+1} = clip[x + eps_{t+1} d / ||d||_2] - x                                            (1)

with alpha falling from 1 to 0.01 along half a cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from intriguing.attacks.common import AttackResult
from intriguing.attacks.draws import Draws
from intriguing.attacks.minimum import (
    Goal,
    Nearest,
    attack,
    check_choice,
    check_numbers,
    differentiate,
    per_row,
    rows_at_once,
)  # fmt: skip


def ddn(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    target: Tensor | None = None,
    steps: int = 100,
    gamma: float = 0.05,
    eps: float = 1.0,
    seed: int = 0,
    batch: int | None = None,
) -> AttackResult:
    """Follow the loss on a sphere that shrinks and grows (equation 1); keep the nearest answer.

    Parameters
    ----------
    model : pixels (N, C, H, W) to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    norm : "l2", the only one there is.
    target : (N,) int64 classes to reach.
    steps : gradients of each image.
    gamma : share by which the norm changes in a step.
    eps : the first norm, pixel units.
    seed : of the direction that a row takes where its gradient is exactly 0.
    batch : images at once; None means 128 on a CPU, 4,096 on a GPU.

    Returns
    -------
    AttackResult of the nearest of all points.  An image for which nothing was found keeps its
    pixels.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.

    Paper: these defaults, with 100, 300 or 1,000 steps; their code rounds to 256 levels at each
    step, this does not.  The cross entropy is replaced by the log odds: its gradient has the same
    direction, and another only where the network is so sure that probabilities round to 0 or 1.
    """
    check_choice(norm=(norm, ("l2",)))
    check_numbers(1, steps=steps)
    check_numbers(0, gamma=gamma, eps=eps)
    if gamma >= 1:
        raise ValueError(f"gamma must be below 1, not {gamma}")

    def search(found: Nearest, goal: Goal, logits: Tensor) -> None:
        x, delta = found.x, torch.zeros_like(found.x)
        rows = torch.arange(len(x), device=x.device)
        size = x.new_full((len(x),), eps)
        largest = torch.maximum(x, 1 - x).flatten(1).norm(dim=1)
        for number in range(steps):
            alpha = 0.01 + 0.99 * (1 + math.cos(math.pi * number / steps)) / 2
            at = (x + delta).clamp_(0, 1)
            logits, g = differentiate(model, at, goal.odds)
            reached = goal.reached(logits)
            found.offer(rows, at, reached)
            g = _somewhere(g, x, seed)
            delta += g * per_row(alpha / _length(g))
            size = torch.minimum(size * torch.where(reached, 1 - gamma, 1 + gamma), largest)
            delta *= per_row(size / _length(delta))
            delta = (x + delta).clamp_(0, 1).sub_(x)
        found.gradients += steps
        found.iterations += steps

    return attack(model, x, y, target, norm, rows_at_once(x, batch), search)


def _length(change: Tensor) -> Tensor:
    """Return the L2 norms (N,), never quite 0: they are divided by."""
    return change.flatten(1).norm(dim=1).clamp_min(torch.finfo(change.dtype).tiny)


def _somewhere(g: Tensor, x: Tensor, seed: int) -> Tensor:
    """Return the gradients, and noise of each image's own where they are exactly 0 or no number."""
    lost = ~(g.flatten(1).norm(dim=1) > 0)
    if not lost.any():
        return g
    g = g.clone()
    g[lost] = Draws(seed, x[lost]).normal(*x.shape[1:])
    return g
