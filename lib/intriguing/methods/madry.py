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

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks import ascent
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

cite = "madry2018towards"
version = 2  # since the ascent's loss keeps its gradient where the network is sure
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
    eps : radius of the Linf ball, pixel units.
    step, steps : of the ascent, pixel units.
    growth : share of all updates in which eps and step rise linearly from zero to their values.
    smoothing : of the labels, see `training.objectives.cross_entropy`.
    """

    fit: Fit
    eps: float
    step: float
    steps: int
    growth: float = 0.0
    smoothing: float = 0.0

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        return "pgd", written(self) | {"steps": self.steps}, {}


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
    return adversarial(request, options, options.steps)


def adversarial(request: Request, options: Options, steps: int) -> "Adversarial":
    """Return the cross entropy at images made in so many steps."""
    updates = options.fit.epochs * math.ceil(len(request.x) / options.fit.batch)
    return Adversarial(
        options.eps,
        options.step,
        steps,
        request.generator("start"),
        growth=round(options.growth * updates),
        smoothing=options.smoothing,
    )


def label(options: Options) -> str:
    """Return "pgd" with the radius."""
    return f"pgd eps={options.eps:.3g}"


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and a gradient of the pixels a step."""
    return Passes(3.0 + 2 * options.steps)


class Adversarial(objectives.Drawing):
    """The cross entropy at adversarial pixels; the companion of its own training.

    In eval mode: at the pixels given.  The network is in eval mode while it is attacked: batch norm
    then does not learn from half-made images, and it moves as in the attacks that come later.

    Parameters
    ----------
    eps : radius of the Linf ball, pixel units.
    step, steps : of the ascent, pixel units.
    generator : draws the starts, evenly in the ball; on the CPU.
    growth : minibatches in which eps and step rise linearly from zero to their values.
    smoothing : of the labels, see `training.objectives.cross_entropy`.

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
    ) -> None:
        super().__init__(generator)
        if not (eps > 0 and step > 0 and steps >= 1):
            raise ValueError(
                f"adversarial training needs eps > 0, step > 0 and at least one step, got "
                f"eps {eps}, step {step}, {steps} steps"
            )
        self.eps, self.step, self.steps = eps, step, steps
        self.growth, self.done = growth, 0
        self.plain = objectives.cross_entropy(smoothing=smoothing)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss at adversarial images made of pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        self.done += 1
        share = min(1.0, self.done / self.growth) if self.growth else 1.0
        return self.plain(model, self.images(model, x, y, share), y)

    def images(self, model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
        """Return adversarial pixels (N, C, H, W), within share * eps of x, in [0, 1] exactly."""
        keys = torch.randint(-(2**63), 2**63 - 1, (len(x),), generator=self.generator)
        draws = Draws.keyed(keys.to(x.device), x.dtype)
        with runtime.eval_mode(model):
            return ascent.linf(
                model, x, lambda logits: cross_entropy(logits, y),
                eps=share * self.eps, step=share * self.step, steps=self.steps, draws=draws,
            )  # fmt: skip

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
