r"""TRADES (Zhang et al. 2019, arXiv 1901.08573): the loss at x, and how far it can be moved.

.. math::
    \min_\theta \; \mathbb E_{(x, y)} \Big[ \ell(h(x), y) + \beta \max_{\|\delta\|_\infty \le
    \varepsilon} \mathrm{KL}\big( h(x) \,\|\, h(x + \delta) \big) \Big]

with KL between the distributions that the logits give: beta trades accuracy at x for accuracy
around it.  The ascent raises the same KL from x + 0.001 N(0, 1), since the gradient at x itself is
zero; the network is in eval mode meanwhile.  h(x) stays as it is during the ascent, so it is
computed once; the authors' code computes it again at each step.  Gradients of the weights go
through both sides.

The authors divide the sum of KL by the batch size named, also in a last batch that is smaller; we
take the mean over the images there are.

How the numbers were chosen, on held-out training images: `tuning/trades.csv`, run again by
`tuning/run.py`.  The numbers for colour images are not measured: no GPU was at hand.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks.balls import Ball
from intriguing.methods import fgsm, madry
from intriguing.specs import Paper
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective, divergence, of_logits
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "zhang2019theoretically"
version = 1
PAPER = Paper(
    {"MNIST": {"eps": 0.3, "step": 0.01, "steps": 40, "beta": 1.0, "epochs": 100, "lr": 0.01},
     "CIFAR-10": {"eps": 0.031, "step": 0.007, "steps": 10, "beta": 6.0, "lr": 0.1}},
    where="the authors' code", tag="C",
)  # fmt: skip
SPREAD = 0.001  # of the start around x, the authors'


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of TRADES.

    Parameters
    ----------
    fit : the training by minibatches.
    eps : radius of the Linf ball, pixel units.
    step, steps : of the ascent, pixel units.
    beta : weight of the KL; 1 to 10 in the paper.
    growth, smoothing : as those of `madry`; the smoothing is that of the loss at x.
    """

    fit: Fit
    eps: float
    step: float
    steps: int
    beta: float = 6.0
    growth: float = 0.0
    smoothing: float = 0.0


def objective(request: Request, options: Options) -> Objective:
    """Return the loss at x and the KL to where the ascent ends."""
    return madry.adversarial(request, options, options.steps, Trades, beta=options.beta)


def label(options: Options) -> str:
    """Return "trades" with the radius and beta."""
    return f"trades eps={options.eps:.3g} beta={options.beta:g}"


def passes(options: Options) -> Passes:
    """Two forward and backward passes, a gradient of the pixels a step, and h(x) for the ascent."""
    return Passes(7.0 + 2 * options.steps)


class Trades(madry.Adversarial):
    """The loss at x + beta KL; in eval mode the loss at x.

    Parameters
    ----------
    beta : as `Options`; the others as `madry.Adversarial`.

    Raises
    ------
    ValueError : a negative beta.
    """

    def __init__(self, *attack: object, beta: float = 6.0, **more: object) -> None:
        super().__init__(*attack, **more)
        if beta < 0:
            raise ValueError(f"beta weighs a distance and is not negative: {beta}")
        self.beta = beta

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Return the loss in train mode, where the radius has grown to share * eps."""
        x_adv = self.images(model, x, y, share)
        logits = model(x)
        moved = divergence(logits, model(x_adv)).mean()
        return of_logits(logits, y, self.smoothing) + self.beta * moved

    def images(self, model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> Tensor:
        """Return pixels (N, C, H, W) that raise KL(h(x) || h(.)); the labels are not used."""
        with runtime.eval_mode(model), torch.no_grad():
            logits = model(x)
        return self.climb(model, x, lambda moved: divergence(logits, moved), share)

    def start(self, ball: Ball, x: Tensor) -> Tensor:
        """Return x + 0.001 N(0, 1), in the box."""
        return (x + SPREAD * self.draws(x).normal(*x.shape[1:])).clamp_(0, 1)


def _options(kind: str, fit: Fit) -> Options:
    if kind == "grey":
        return Options(replace(fit, epochs=5), fgsm.EPS[kind], step=0.025, steps=7)
    return Options(fit, fgsm.EPS[kind], step=2 / 255, steps=10)


OURS = fgsm.everywhere(_options)
