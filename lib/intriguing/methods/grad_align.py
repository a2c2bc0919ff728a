r"""GradAlign (Andriushchenko and Flammarion 2020, arXiv 2007.02617): FGSM on a loss kept linear.

.. math::
    \ell\big( h(x + \varepsilon \operatorname{sign} g(x)), y \big) + \lambda \Big( 1 - \cos\big(
    g(x), g(x + \eta) \big) \Big), \qquad g = \nabla_x \ell(h(\cdot), y),\;
    \eta \sim U(-\varepsilon, \varepsilon)

One step is as good as many where the gradient is the same all over the ball, so the angle between
two of its values is penalised.  As in the authors' code, g(x) is the gradient that the step is
taken along, and a constant: the penalty is lowered through g(x + eta) alone, by a second
derivative; and images one of whose gradients is zero count for nothing.  Their network is in train
mode for all of this, ours in eval mode while gradients of pixels are taken.

Their weight at CIFAR-10 is 0.02 * 10^(eps / 8), with eps in 1/255.  How the numbers were chosen, on
held-out training images: `tuning/grad_align.csv`, run again by `tuning/run.py`.  The numbers for
colour images are not measured: no GPU was at hand.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing import runtime
from intriguing.attacks import ascent
from intriguing.attacks.losses import cross_entropy
from intriguing.methods import fgsm, madry
from intriguing.specs import Paper
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective, cosines
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "andriushchenko2020understanding"
version = 1
PAPER = Paper(
    {"CIFAR-10": {"eps": 8 / 255, "weight": 0.2, "epochs": 30, "lr": 0.3, "batch": 128,
                  "weight_decay": 5e-4}},
    where="the authors' code", tag="C",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of GradAlign.

    Parameters
    ----------
    fit : the training by minibatches.
    eps : radius of the Linf ball, length of the step and largest noise, pixel units.
    weight : lambda.
    growth, smoothing : as those of `madry`.
    """

    fit: Fit
    eps: float
    weight: float = 0.2
    growth: float = 0.0
    smoothing: float = 0.0


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy at images made in one step, and the penalty."""
    more = {"step": options.eps, "weight": options.weight}
    return madry.adversarial(request, options, 1, Aligned, **more)


def label(options: Options) -> str:
    """Return "grad-align" with the radius and the weight."""
    return f"grad-align eps={options.eps:.3g} weight={options.weight:.3g}"


def passes(options: Options) -> Passes:
    """As FGSM, and a gradient of the pixels with its own gradient, about twice as much again."""
    return Passes(11.0)


class Aligned(madry.Adversarial):
    """The cross entropy at images made in one step from x, and lambda (1 - cos).

    Parameters
    ----------
    weight : lambda; the others as `madry.Adversarial`.

    Raises
    ------
    ValueError : a negative weight.
    """

    def __init__(self, *attack: object, weight: float = 0.2, **more: object) -> None:
        super().__init__(*attack, **more)
        if weight < 0:
            raise ValueError(f"the weight of the penalty is not negative: {weight}")
        self.weight = weight

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Return the loss in train mode, where the radius has grown to share * eps."""
        ball = self.ball(x, share * self.eps)
        with runtime.eval_mode(model):
            here = ascent.slope(lambda pixels: cross_entropy(model(pixels), y), x)
        value = self.plain(model, ball.move(x, here, share * self.step), y)
        noisy = self.start(ball, x)
        return value + self.weight * (1 - alignment(model, here, noisy, y))


def alignment(model: nn.Module, here: Tensor, at: Tensor, y: Tensor) -> Tensor:
    """Return the mean cosine of gradients, the one given and that at other pixels.

    Gradients reach the weights, through the second.  Where one of the two is zero there is no
    angle: such images are left out, and with none left the answer is 1.

    Parameters
    ----------
    here : gradients (N, C, H, W), constant.
    at : pixels (N, C, H, W), where the loss at labels y (N,) has the other gradients.
    """
    pixels = at.detach().requires_grad_()
    with runtime.evaluating(model):
        loss = cross_entropy(model(pixels), y).sum()
    (there,) = torch.autograd.grad(loss, pixels, create_graph=True)
    cosine, both = cosines(here, there)
    return (cosine * both).sum() / both.sum().clamp_min(1) + (~both.any()).to(cosine.dtype)


def _options(kind: str, fit: Fit) -> Options:
    if kind == "grey":
        return Options(replace(fit, epochs=6), fgsm.EPS[kind], weight=2.0)
    return Options(fit, fgsm.EPS[kind])


OURS = fgsm.everywhere(_options)
