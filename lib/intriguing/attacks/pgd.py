r"""FGSM, MI-FGSM and PGD: steps of one length along the gradient, inside a ball around the image.

.. math::
    x_{t+1} = \Pi_{B(x, \varepsilon)} \big( x_t + \alpha \, d(m_t) \big), \qquad
    m_t = \mu m_{t-1} + g_t / \overline{|g_t|}

with d the direction of steepest ascent in the ball's norm, and m = g without momentum (Goodfellow
et al. 2015, arXiv 1412.6572; Dong et al. 2018, arXiv 1710.06081; Madry et al. 2018, arXiv
1706.06083).  The gradient is that at the projected point itself: taken through the clamp, it
vanishes for every pixel that the clamp holds, and black pixels never move.
`attacks.transfer.pgd` is the same ascent with the parts that make it transfer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks import options, pool
from intriguing.attacks.ascent import mean_size
from intriguing.attacks.balls import BALLS
from intriguing.attacks.climb import Climb, Look
from intriguing.attacks.common import AttackResult, check_inputs
from intriguing.attacks.draws import Draws
from intriguing.attacks.pool import State

STARTS = ("random", "zero")


def fgsm(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str = "linf",
    loss: str | Callable[..., Tensor] = "cross_entropy", target: Tensor | None = None,
    batch: int | None = None,
) -> AttackResult:  # fmt: skip
    """One step of length eps from the image itself (Goodfellow et al. 2015); arguments as `pgd`."""
    return pgd(model, x, y, eps=eps, norm=norm, loss=loss, target=target, steps=1, step=eps,
               start="zero", stop=False, batch=batch)  # fmt: skip


def mi_fgsm(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str = "linf", steps: int = 10,
    momentum: float = 1.0, loss: str | Callable[..., Tensor] = "cross_entropy",
    target: Tensor | None = None, stop: bool = True, batch: int | None = None,
) -> AttackResult:  # fmt: skip
    """Steps of eps / steps with momentum, from the image itself (Dong et al. 2018: 10, 1, 16/255).

    Arguments as `pgd`.  The authors stop nowhere, and take the network's first answer for y.
    """
    options.counts(steps=steps)
    return pgd(model, x, y, eps=eps, norm=norm, loss=loss, target=target, steps=steps,
               step=eps / steps, start="zero", momentum=momentum, stop=stop,
               batch=batch)  # fmt: skip


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 20,
    step: float | None = None,
    loss: str | Callable[..., Tensor] = "cross_entropy",
    target: Tensor | None = None,
    restarts: int = 1,
    start: str = "random",
    momentum: float = 0.0,
    seed: int = 0,
    stop: bool = True,
    eot: int = 1,
    batch: int | None = None,
    observe: Callable[[Look], None] | None = None,
) -> AttackResult:
    """Raise the loss by steps inside a ball around each image (Madry et al. 2018).

    Parameters
    ----------
    model : pixels to logits, in eval mode.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    eps : radius of the ball, pixel units.  Madry et al.: .3 for MNIST, 8/255 for CIFAR-10.
    norm : "linf" steps along the sign of the gradient, "l2" along the gradient.
    steps, step : how many, and how long in the norm of the ball; 2.5 eps / steps if None.  Madry
        et al.: 40 of .01 for MNIST at .3, 20 of 2/255 for CIFAR-10.
    loss : "cross_entropy"; "margin", the best other logit less the label's; "dlr", its ratio to
        the spread of the logits; or a function of (logits, y) to (S,) numbers to be raised, of
        (logits, y, target) where there are targets.
    target : (N,) int64, classes to reach; None: any but y.
    restarts : runs from other starts, each on the images that still stand.
    start : "random", evenly in the ball, or "zero".  It depends on seed and image only.
    momentum : share of the last direction that is added; gradients are first divided by the mean
        of their sizes.
    stop : True: an image leaves at its first point that fools; False: all steps are made.
    eot : passes a step whose mean gradient counts, for networks that draw numbers.
    batch : images that the network sees at once; 128 on a CPU, 1,024 on a GPU if None.
    observe : called after each pass that gives a gradient, see `climb.Look`.

    Returns
    -------
    AttackResult.  x_adv is the first point that fools, or else the last one; after several
    restarts the last of those with the highest loss, one that fools before any other.
    `gradients` counts the passes forward and back with this image in them; where there are
    restarts, `forwards` counts the look at the last point of each.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.
    """
    check_inputs(model, x, y, target)
    options.positive(eps=eps)
    step = 2.5 * eps / max(steps, 1) if step is None else step
    options.positive(step=step)
    options.counts(steps=steps, restarts=restarts, eot=eot)
    options.choice(norm=(norm, BALLS), start=(start, STARTS))
    if not 0 <= momentum < float("inf"):
        raise ValueError(f"momentum must be a number of at least 0, not {momentum}")
    if restarts > 1 and start == "zero":
        raise ValueError('start="zero" has only one start: use restarts=1 or start="random"')
    climb = Climb(
        model, x, y, target, options.objective(loss, target is not None), stop=stop, eot=eot,
        batch=options.rows_at_once(batch, x), observe=observe,
    )  # fmt: skip
    steady = Steady(climb, norm, eps, step, steps, start, momentum, judged=restarts > 1)
    for restart in range(restarts):
        steady.seed = runtime.stream_seed(seed, f"restart {restart}") if restart else seed
        climb.run(steady.admit, steady.advance)
    return climb.result()


class Steady:
    """Steps of one length, for `pool.work`; `pgd` says what its numbers are.

    judged : whether the last point is looked at, too: only restarts need to know who still stands.
    """

    seed = 0  # of the starts of this run

    def __init__(
        self, climb: Climb, norm: str, eps: float, step: float, steps: int, start: str,
        momentum: float, judged: bool,
    ) -> None:  # fmt: skip
        self.climb, self.ball, self.eps = climb, BALLS[norm], eps
        self.step, self.steps, self.start, self.momentum = step, steps, start, momentum
        self.judged = judged

    def admit(self, rows: Tensor) -> State:
        x = self.climb.x[rows]
        ball = self.ball(x, self.eps)
        at = ball.start(Draws(self.seed, x)) if self.start == "random" else x.clamp(0, 1)
        state = {"rows": rows, "ball": ball, "at": at, "t": torch.zeros_like(rows)}
        return state | ({"m": torch.zeros_like(at)} if self.momentum else {})

    def advance(self, state: State) -> State | None:
        state = self.climb.look(state, state["t"] == self.steps)
        if self.judged and state is not None:
            state = self.leave(state)
        if state is None:
            return None
        g = state["g"]
        if self.momentum:
            g = state["m"] = (g / mean_size(g)).add_(state["m"], alpha=self.momentum)
        state["at"] = state["ball"].move(state["at"], g, self.step)
        state["t"] = state["t"] + 1
        self.climb.iterations[state["rows"]] += 1
        return state if self.judged else self.leave(state)

    def leave(self, state: State) -> State | None:
        """Return the rows that have steps to make, and keep the points of the others."""
        done = state["t"] == self.steps
        places = done.nonzero().squeeze(1)
        rows, at = state["rows"][places], state["at"][places]
        if self.judged:
            self.climb.offer(rows, at, state["loss"][places], state["fooled"][places])
        else:
            self.climb.best[rows] = at
        return pool.kept(state, ~done)
