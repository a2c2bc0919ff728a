r"""Noise-FGSM (de Jorge et al. 2022, arXiv 2202.01181): one step from a noisy image, not clipped.

.. math::
    \eta \sim U(-k \varepsilon, k \varepsilon), \qquad
    x' = x + \eta + \alpha \operatorname{sign} \nabla_x \ell(h(x + \eta), y)

The step alpha is eps, k is 2, and x' may lie as far as (k + 1) eps from x.  The authors clamp to
the box alone, and twice: the noisy image, before the gradient is taken, and x'.  So do we.  Their
network is in train mode while it is attacked, ours in eval mode, as in all our trainings.

How the numbers were chosen, on held-out training images: `tuning/n_fgsm.csv`, run again by
`tuning/run.py`.  The numbers for colour images are not measured: no GPU was at hand.
"""

from dataclasses import dataclass

from torch import Tensor

from intriguing.attacks.draws import Draws
from intriguing.methods import fgsm, madry
from intriguing.specs import Paper
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "dejorge2022make"
version = 1
PAPER = Paper(
    {"CIFAR-10": {"eps": 8 / 255, "step": 8 / 255, "noise": 2.0, "epochs": 30, "lr": 0.2,
                  "batch": 128, "weight_decay": 5e-4}},
    where="the authors' code", tag="C",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of N-FGSM.

    Parameters
    ----------
    fit : the training by minibatches.
    eps : length of the step, and the radius that is trained for, pixel units.
    noise : k, the largest noise over eps.
    growth, smoothing : as those of `madry`.
    """

    fit: Fit
    eps: float
    noise: float = 2.0
    growth: float = 0.0
    smoothing: float = 0.0


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy at images made in one step from noisy ones."""
    more = {"step": options.eps, "noise": options.noise}
    return madry.adversarial(request, options, 1, NoisyStep, **more)


def label(options: Options) -> str:
    """Return "n-fgsm" with the radius, and the noise where it is not the authors'."""
    return f"n-fgsm eps={options.eps:.3g}" + (
        "" if options.noise == 2 else f" noise={options.noise:g}"
    )


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and one gradient of the pixels."""
    return Passes(5.0)


class Noise:
    """What `attacks.balls.Ball` asks for; around noisy images there is no ball, only the box.

    Parameters
    ----------
    x : (N, C, H, W) pixels in [0, 1].
    radius : the largest noise, pixel units.
    """

    def __init__(self, x: Tensor, radius: float) -> None:
        self.x, self.pixel = x, radius

    def start(self, draws: Draws) -> Tensor:
        noise = draws.uniform(*self.x.shape[1:]).mul_(2).sub_(1)
        return noise.mul_(self.pixel).add_(self.x).clamp_(0, 1)

    def move(self, at: Tensor, gradient: Tensor, step: float) -> Tensor:
        return at.add(gradient.sign(), alpha=step).clamp_(0, 1)


class NoisyStep(madry.Adversarial):
    """The cross entropy at images made in one step from noisy ones.

    Parameters
    ----------
    noise : k, as `Options`; the others as `madry.Adversarial`.

    Raises
    ------
    ValueError : a negative noise.
    """

    def __init__(self, *attack: object, noise: float = 2.0, **more: object) -> None:
        super().__init__(*attack, **more)
        if noise < 0:
            raise ValueError(f"noise is a multiple of eps, not negative: {noise}")
        self.noise = noise

    def ball(self, x: Tensor, eps: float) -> Noise:
        """Return where the images may lie: anywhere in the box."""
        return Noise(x, self.noise * eps)


OURS = fgsm.everywhere(lambda kind, fit: Options(fit, fgsm.EPS[kind]))
