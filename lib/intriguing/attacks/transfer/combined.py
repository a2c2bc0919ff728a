r"""Projected gradient ascent, and the attacks for transfer that are made of it and of parts.

One step from x_adv, of which every line but the first and the last is a part that may be left
out::

    g = mean over copies of grad loss(h(view(x_adv)), y)     views: VR, DI; h: SGM, ensembles
    g = g + v                                                variance tuning: VMI
    g = g - weight * grad interaction(x_adv - x)             IR
    g = K * g                                                smoothing: TI
    g = g / |g|_1 + momentum * (g of the step before)        MI
    x_adv = projection(x_adv + step * direction(g))

The order is that of the code of Wang et al. 2021, so that MI+IR and TI+IR are theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intriguing import batches, runtime
from intriguing.attacks.ascent import ascend, finite, slope
from intriguing.attacks.balls import BALLS, Ball
from intriguing.attacks.common import AttackResult, answer, check_inputs, measure
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import LOSSES
from intriguing.attacks.transfer.interaction import Interaction
from intriguing.attacks.transfer.parts import VarianceTuning, View, smoothing
from intriguing.attacks.transfer.residual import decayed
from intriguing.tensors import ordinary

BATCH = {"cpu": 128, "cuda": 1024}
STARTS = ("random", "zero")


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    steps: int,
    step: float | None = None,
    norm: str = "linf",
    start: str = "random",
    loss: str = "cross_entropy",
    views: Sequence[View] = (),
    copies: int = 1,
    gamma: float = 1.0,
    variance: VarianceTuning | None = None,
    interaction: Interaction | None = None,
    kernel: int = 1,
    momentum: float = 0.0,
    seed: int = 0,
    batch: int | None = None,
    observe: Callable[[int, slice, Tensor], None] | None = None,
) -> AttackResult:
    """Raise the loss of each image by steps within a ball around it (Madry et al. 2018), and more.

    Alone it is PGD.  The attacks of `parts` are its arguments: ``pgd(..., **parts("MI+VR+IR"))``.

    Parameters
    ----------
    model : source, pixels to logits, in eval mode; see `Ensemble` for several.
    x, y : (N, C, H, W) pixels in [0, 1]; (N,) int64 labels to get away from.
    eps : radius of the ball, pixel units.  Wang et al. 2021: 16/255, or for "l2" 16/255 sqrt(m) of
        m numbers.
    steps, step : how many, and how long in the norm of the ball; an eighth of eps if None.  Wang
        et al.: 100 of 2/255 ("l2": of 2, by the default of their command line).
    norm : "linf" steps along the sign of the gradient, "l2" along the gradient.
    start : "random", evenly in the ball, or "zero".  It depends on seed and image only, so that
        attacks to be compared start at the same point.  The authors' code: random for PGD, zero
        for IR.
    loss : "cross_entropy", or "margin", the best other logit less the label's.
    views, copies : what the source is shown, and how often a step; the mean gradient counts.
    gamma : weight of the gradient through residual branches, see `decayed`.
    variance, interaction : see `VarianceTuning`, `Interaction`.
    kernel : odd length of the Gaussian that smooths the gradient, see `smoothing`; 1 is none.
    momentum : share of the last step's direction that is added; gradients are first divided by
        their L1 norm.
    seed : of all randomness; each image has its own numbers, see `draws`.
    batch : images that the source sees at once; 128 on a CPU, 1,024 on a GPU if None.  Where a GPU
        has no room for them, fewer: see `intriguing.batches`.
    observe : called after each step as observe(number from 1, slice of the rows, a copy of their
        x_adv), for success by steps.  Rows that had no room start again, and are observed again.

    Returns
    -------
    AttackResult of the last step.  No pixel is outside ball or box.  `gradients` counts backward
    passes of each image; IR adds one forward pass a step in "fixed" mode.  The stop reason is
    "steps", or "gradient not finite" where that was so at some step: NaN entries count as zero.

    Raises ValueError for bad input (see `check_inputs`) and impossible options.
    """
    check_inputs(model, x, y)
    batch = batch if batch is not None else BATCH.get(x.device.type, 128)
    step = eps / 8 if step is None else step
    _check_choice(norm=(norm, BALLS), start=(start, STARTS), loss=(loss, LOSSES))
    _check_numbers(eps=eps, step=step, steps=steps, copies=copies, batch=batch, momentum=momentum)
    if interaction is not None and interaction.weight == 0:
        interaction = None
    height, width = (smoothing(side, kernel).to(x) for side in x.shape[2:])
    ascent = Ascent(
        model, LOSSES[loss], tuple(views), copies, variance, interaction,
        (height, width) if kernel > 1 else None, momentum, seed, batches.Batch(batch),
    )  # fmt: skip

    lost = torch.zeros_like(y, dtype=torch.bool)

    def attacked(rows: slice) -> Tensor:
        ball, draws = BALLS[norm](x[rows], eps), Draws(seed, x[rows])
        at = ball.start(draws) if start == "random" else x[rows].clamp(0, 1)
        for number, x_adv in enumerate(
            ascent.run(ball, y[rows], at, draws, steps, step, lost[rows]), 1
        ):
            if observe is not None:
                observe(number, rows, x_adv.clone())
        return x_adv

    with runtime.eval_mode(model), decayed(model, gamma), torch.no_grad():
        found = ascent.batch.over(attacked, len(x))
    return measure(
        model, x, y, torch.cat(found), None,
        iterations=torch.full_like(y, steps),
        gradients=torch.full_like(y, steps * ascent.passes),
        stop_reason=stop_reasons(lost),
    )  # fmt: skip


@dataclass(frozen=True)
class Ascent:
    """The parts of a step, put together; `pgd` says what they are."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    views: tuple[View, ...]
    copies: int
    variance: VarianceTuning | None
    interaction: Interaction | None
    smooth: tuple[Tensor, Tensor] | None
    momentum: float
    seed: int
    batch: batches.Batch

    @property
    def alone(self) -> bool:
        """Whether the interaction is all there is to ascend."""
        return self.interaction is not None and self.interaction.weight == float("inf")

    @property
    def passes(self) -> int:
        """Gradient evaluations of an image in a step."""
        source = 0 if self.alone else self.copies
        tuned = source * self.variance.copies if self.variance else 0
        return source + tuned + (self.interaction.passes if self.interaction else 0)

    def run(
        self, ball: Ball, y: Tensor, at: Tensor, draws: Draws, steps: int, step: float,
        lost: Tensor | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Yield the points (N, C, H, W) after each step from `at`; `lost` is that of `slope`."""
        tuning = direction = None

        def gradient(at: Tensor, number: int) -> Tensor:
            nonlocal tuning, direction
            g, tuning = self.tuned(ball, y, at, draws, tuning, lost)
            if self.interaction is not None:
                g = finite(g - self._term(ball.x, y, at, number), lost)
            if self.smooth is not None:
                g = self.smooth[0] @ g @ self.smooth[1].T
            if self.momentum:
                g = _over_l1(g)
                g = direction = g if direction is None else g.add_(direction, alpha=self.momentum)
            return g

        return ascend(ball, at, gradient, steps, step)

    def tuned(
        self, ball: Ball, y: Tensor, at: Tensor, draws: Draws, tuning: Tensor | None,
        lost: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Return the gradient of the loss, with the last step's tuning, and the new tuning."""
        if self.alone:
            return torch.zeros_like(at), None
        here = self.gradient(at, y, draws, lost)
        if self.variance is None:
            return here, None
        near = self.variance(
            lambda point: self.gradient(point, y, draws, lost), at, here, ball.pixel, draws
        )
        return (here if tuning is None else here + tuning), near

    def gradient(
        self, at: Tensor, y: Tensor, draws: Draws, lost: Tensor | None = None
    ) -> Tensor:
        """Return the mean over the copies of the gradient of the loss (N, C, H, W)."""
        def values(pixels: Tensor) -> Tensor:
            for view in self.views:
                pixels = view(pixels, draws)
            return self.loss(answer(self.model, pixels), y)

        total = None
        for _ in range(self.copies):
            g = slope(values, at, lost)
            total = g if total is None else total.add_(g)
        return total if self.copies == 1 else total.div_(self.copies)

    def _term(self, x: Tensor, y: Tensor, at: Tensor, number: int) -> Tensor:
        """Return the gradient of weight * interaction at step `number`."""
        term = self.interaction
        seed = runtime.stream_seed(self.seed, f"coalitions of step {number}")
        g = term.gradient(self.model, x, y, at - x, seed=seed, batch=self.batch)
        return g if self.alone else term.weight * g


def stop_reasons(lost: Tensor) -> tuple[str, ...]:
    """Return why attacks of so many steps ended, of the rows whose gradient was `lost` or not."""
    return tuple("gradient not finite" if row else "steps" for row in lost.tolist())


def _over_l1(g: Tensor) -> Tensor:
    """Return g over its mean absolute values: over its L1 norms but for one factor."""
    scaled, _ = ordinary(g)
    mean = scaled.abs().mean((1, 2, 3), keepdim=True)
    return scaled / mean.clamp_min_(torch.finfo(g.dtype).tiny)


def _check_choice(**choices) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _check_numbers(*, momentum: float, **numbers: float) -> None:
    for name, value in numbers.items():
        least = 1 if name in ("steps", "copies", "batch") else 0
        if not least <= value < float("inf") or value == 0:
            raise ValueError(f"{name} must be {'at least 1' if least else 'positive'}, not {value}")
    if not 0 <= momentum < float("inf"):
        raise ValueError(f"momentum must be a number of at least 0, not {momentum}")
