r"""Projected gradient ascent: the one loop of the attacks in a ball, and of adversarial training.

.. math::
    x_{t+1} = \Pi_{B(x, \varepsilon)} \big( x_t + \alpha \, d(g_t) \big)

with d the direction of steepest ascent in the ball's norm (Madry et al. 2018, arXiv 1706.06083).
What g is belongs to the caller: `linf` and `l2` take the gradient of a loss of the logits, the
attacks for transfer put theirs together from parts.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from intriguing.attacks.balls import L2, Ball, Linf
from intriguing.attacks.common import answer, leaf
from intriguing.attacks.draws import Draws

_LARGE = 2.0**100  # finite in float32, and so are sums of many
Loss = Callable[[Tensor], Tensor]  # logits (N, K) to what is to grow, (N,)


def ascend(
    ball: Ball, at: Tensor, gradient: Callable[[Tensor, int], Tensor], steps: int, step: float
) -> Iterator[Tensor]:
    """Yield the points (N, C, H, W) after each of `steps` steps from `at`.

    Parameters
    ----------
    gradient : called as gradient(point, number of the step from 0); returns (N, C, H, W).
    step : length of a step in the norm of the ball, pixel units.
    """
    for number in range(steps):
        at = ball.move(at, gradient(at, number), step)
        yield at


def slope(
    function: Callable[[Tensor], Tensor], at: Tensor, lost: Tensor | None = None
) -> Tensor:
    """Return the gradient (N, C, H, W), at the points `at`, of the sum of a function's values.

    Where it is NaN it is zero, and where it is infinite it is large, so that no pixel will be NaN.

    Parameters
    ----------
    function : gets a copy of the points, which it may write into.
    lost : (N,) bool, set to True in the rows whose gradient was not finite.
    """
    pixels = leaf(at)
    with torch.enable_grad():
        (g,) = torch.autograd.grad(function(pixels.clone()).sum(), pixels)
    return finite(g, lost)


def finite(g: Tensor, lost: Tensor | None = None) -> Tensor:
    """Make NaN entries of a gradient (N, C, H, W) zero and infinite ones 2^100; see `slope`."""
    if lost is not None:
        lost |= ~g.flatten(1).abs().amax(1).isfinite()
    return g.nan_to_num_(0.0, _LARGE, -_LARGE)


def mean_size(g: Tensor) -> Tensor:
    """Return the mean absolute values (N, 1, 1, 1): L1 norms but for one factor, never zero."""
    return g.abs().mean((1, 2, 3), keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)


def linf(
    model: nn.Module, x: Tensor, loss: Loss, *, eps: float, step: float, steps: int, draws: Draws
) -> Tensor:
    """Return the last point of an ascent in the Linf ball, from a start drawn evenly in it.

    Nothing is checked or measured: it is the inner loop of trainings.  `attacks.transfer.pgd` is
    the attack.

    Parameters
    ----------
    model : pixels to logits, in eval mode unless the caller wants its statistics to move.
    x : (N, C, H, W) pixels in [0, 1].
    loss : a closure over the labels, or whatever it compares with.
    eps, step : pixel units.
    draws : the random numbers of the starts.
    """
    ball = Linf(x, eps)
    return climb(ball, model, loss, ball.start(draws), step, steps)


def l2(
    model: nn.Module, x: Tensor, loss: Loss, *, eps: float, step: float, steps: int, draws: Draws
) -> Tensor:
    """Return the last point of an ascent in the L2 ball; arguments as `linf`."""
    ball = L2(x, eps)
    return climb(ball, model, loss, ball.start(draws), step, steps)


def climb(
    ball: Ball, model: nn.Module, loss: Loss, at: Tensor, step: float, steps: int
) -> Tensor:
    """Return the last point of an ascent in a ball from `at`, a point (N, C, H, W) of the ball."""

    def gradient(at: Tensor, number: int) -> Tensor:
        return slope(lambda pixels: loss(answer(model, pixels)), at)

    with torch.no_grad():
        *_, last = ascend(ball, at, gradient, steps, step)
    return last
