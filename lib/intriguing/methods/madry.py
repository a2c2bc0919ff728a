r"""Adversarial training by projected gradient ascent (Madry et al. 2018, arXiv 1706.06083).

.. math::
    \min_\theta \; \mathbb E_{(x, y)} \max_{\|\delta\|_\infty \le \varepsilon} \ell(h(x+\delta), y)

Each minibatch is exchanged for images made against the network as it is, from a random start.  A
network that has learnt nothing yet may answer large changes by giving the same logits to all
images, and stay there; a radius that grows from zero over the first steps avoids this (ours).

How the numbers were chosen, on held-out training images: `tuning/madry.csv`, run again
by `tuning/run.py`.  For digits the radius is 0.2, since at 0.3 our small budget learns to withstand
weak attacks only.  The numbers for colour images are not measured: no GPU was at hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks import ascent
from intriguing.attacks.balls import BALLS, Ball
from intriguing.attacks.draws import Draws
from intriguing.attacks.losses import cross_entropy
from intriguing.methods import plain
from intriguing.specs import Paper, Setting
from intriguing.training import objectives
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request
from intriguing.training.threat import under_attack

cite = "madry2018towards"
version = 1
PAPER = Paper(
    {"MNIST": {"eps": 0.3, "step": 0.01, "steps": 40, "batch": 50, "updates": 100_000},
     "CIFAR-10": {"eps": 8 / 255, "step": 2 / 255, "steps": 10, "updates": 80_000, "lr": 0.1,
                  "weight_decay": 2e-4}},
    where="the configurations of mnist_challenge and cifar10_challenge", tag="C",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of adversarial training.

    Parameters
    ----------
    fit : the training by minibatches.
    eps : radius of the ball, pixel units.
    step, steps : of the ascent, pixel units.
    growth : share of all updates in which eps and step rise linearly from zero to their values.
    smoothing : of the labels, see `training.objectives.cross_entropy`.
    norm : of the ball, and of a step.
    """

    fit: Fit
    eps: float
    step: float
    steps: int
    growth: float = 0.0
    smoothing: float = 0.0
    norm: Literal["linf", "l2"] = "linf"

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, Any]]:
        """Return them as the keys of 2026-11-29 do; what came later, only where it is set."""
        later = {} if self.norm == "linf" else {"norm": self.norm}
        return "pgd", written(self) | {"steps": self.steps}, later


def written(options: Options) -> dict[str, float]:
    """Return the numbers of an ascent from a random start as the keys of 2026-11-29 hold them.

    Those of colour images, which are augmented, name a smoothing even where it is zero.
    """
    found = {name: getattr(options, name) for name in ("eps", "step", "growth")}
    if options.smoothing or options.fit.augment:
        found["smoothing"] = options.smoothing
    return options.fit.written() | found


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy at adversarial images."""
    return adversarial(request, options, options.steps, norm=options.norm)


def adversarial(
    request: Request,
    options: MethodOptions,
    steps: int,
    kind: "type[Adversarial] | None" = None,
    *,
    step: float | None = None,
    **more: Any,
) -> "Adversarial":
    """Return the loss at images made in so many steps.

    Parameters
    ----------
    options : with `fit`, `eps`, `step`, `growth` and `smoothing`.
    kind : of loss, `Adversarial` or derived from it; `more` is what it takes beside.
    step : of the ascent; None means that of the options.
    """
    updates = options.fit.epochs * math.ceil(len(request.x) / options.fit.batch)
    return (kind or Adversarial)(
        options.eps,
        options.step if step is None else step,
        steps,
        request.generator("start"),
        growth=round(options.growth * updates),
        smoothing=options.smoothing,
        **more,
    )


def label(options: Options) -> str:
    """Return "pgd" with the radius, and the norm where it is not Linf."""
    return f"pgd eps={options.eps:.3g}" + ("" if options.norm == "linf" else f" {options.norm}")


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and a gradient of the pixels a step."""
    return Passes(3.0 + 2 * options.steps)


class Adversarial(objectives.Drawing):
    """The cross entropy at adversarial pixels; the companion of its own training.

    In eval mode: at the pixels given.  The network is in eval mode while it is attacked: batch norm
    then does not learn from half-made images, and it moves as in the attacks that come later.
    Methods that attack in another way, or learn something else, derive from it and give `loss`,
    `ball` or `start` a body of their own.

    Parameters
    ----------
    eps : radius of the ball, pixel units.
    step, steps : of the ascent, pixel units.
    generator : draws the starts, evenly in the ball; on the CPU.
    growth : minibatches in which eps and step rise linearly from zero to their values.
    smoothing : of the labels, see `training.objectives.cross_entropy`.
    norm : of the ball, "linf" or "l2".

    Raises
    ------
    ValueError : eps or step not positive, or no step.
    """

    def __init__(
        self,
        eps: float,
        step: float,
        steps: int,
        generator: torch.Generator,
        growth: int = 0,
        smoothing: float = 0.0,
        norm: str = "linf",
    ) -> None:
        super().__init__(generator)
        if not (eps > 0 and step > 0 and steps >= 1):
            raise ValueError(
                f"adversarial training needs eps > 0, step > 0 and at least one step, got "
                f"eps {eps}, step {step}, {steps} steps"
            )
        self.eps, self.step, self.steps, self.norm = eps, step, steps, norm
        self.growth, self.done = growth, 0
        self.smoothing, self.plain = smoothing, objectives.cross_entropy(smoothing=smoothing)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss at adversarial images made of pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        self.done += 1
        share = min(1.0, self.done / self.growth) if self.growth else 1.0
        return self.loss(model, x, y, share)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Return the loss in train mode, where the radius has grown to share * eps."""
        return self.plain(model, self.images(model, x, y, share), y)

    def images(self, model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
        """Return adversarial pixels (N, C, H, W), within share * eps of x, in [0, 1] exactly."""
        return self.climb(model, x, lambda logits: cross_entropy(logits, y), share)

    def climb(self, model: nn.Module, x: Tensor, rises: ascent.Loss, share: float = 1.0) -> Tensor:
        """Return pixels (N, C, H, W) at which `rises`, of logits (N, K) to (N,), is larger."""
        ball = self.ball(x, share * self.eps)
        with runtime.eval_mode(model):
            return ascent.climb(
                ball, model, rises, self.start(ball, x), share * self.step, self.steps
            )

    def robust(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return what attacks of the whole radius leave, see `training.threat.under_attack`."""
        return under_attack(model, x, y, norm=self.norm, eps=self.eps)

    def ball(self, x: Tensor, eps: float) -> Ball:
        """Return where the images may lie."""
        return BALLS[self.norm](x, eps)

    def start(self, ball: Ball, x: Tensor) -> Tensor:
        """Return where the ascent begins, (N, C, H, W)."""
        return ball.start(self.draws(x))

    def draws(self, x: Tensor) -> Draws:
        """Return random numbers for the rows of x, others at each call."""
        keys = torch.randint(-(2**63), 2**63 - 1, (len(x),), generator=self.generator)
        return Draws.keyed(keys.to(x.device), x.dtype)

    def state_dict(self) -> dict:
        """Return the generator's state and the count of minibatches."""
        return {**super().state_dict(), "done": self.done}

    def load_state_dict(self, tree: dict) -> None:
        """Go on from what `state_dict` returned."""
        super().load_state_dict(tree)
        self.done = tree["done"]


GROWN = {"growth": 0.5, "eps": 0.2}
GROWN_FIT = {"warmup": 0.2, "lr": 3e-3, "batch": 64, "channels_last": True}


def _ours(kind: str, base: Setting) -> Setting:
    """Return our setting for a network that `plain` has one of."""
    if kind == "grey":
        fit = replace(base.options.fit, **GROWN_FIT, epochs=2)
        few = {**base.few, "batch": 32, "epochs": 2, "step": 0.12, "steps": 2}
        return Setting(base.architecture, Options(fit, step=0.07, steps=5, **GROWN), few)
    fit = replace(base.options.fit, epochs=15)
    few = {**base.few, "epochs": 5}
    return Setting(base.architecture, Options(fit, 8 / 255, 2 / 255, 7), few)


OURS = {
    kind: {name: _ours(kind, base) for name, base in networks.items() if "heart" not in name}
    for kind, networks in plain.OURS.items()
}
