r"""Adversarial training by one step from the image itself (Goodfellow et al. 2015).

.. math::
    \min_\theta \; \mathbb E_{(x, y)} \, \ell\big( h(x + \varepsilon \operatorname{sign}
    \nabla_x \ell(h(x), y)), y \big)

It is the method that breaks down: the network learns to bend its loss so that this one step goes
astray, and falls to any attack of several (catastrophic overfitting, Wong et al. 2020).  Options
hold two of the tricks of Li et al. 2022 (arXiv 2209.02684) against that: `mask` and `stem_decay`.
The third, a stem with a larger stride and a smooth activation, belongs to the network: `build` of a
spec with `stem_stride` and `activation`, see `models.cnn`.  We know the tricks from the abstract:
that masked pixels are zero before the step is taken, are drawn anew for each minibatch and are
the same in all channels, and the form of the penalty, are ours.

Goodfellow et al. lower the mean of this loss and that at x; since Madry et al. this one alone is
usual.  How the numbers were chosen, on held-out training images: `tuning/fgsm.csv`, run again by
`tuning/run.py`.  The numbers for colour images are not measured: no GPU was at hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing.attacks.balls import Ball
from intriguing.methods import madry, plain
from intriguing.specs import Paper, Setting
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "goodfellow2015explaining"
version = 1
PAPER = Paper({"MNIST": {"eps": 0.25, "share of the clean loss": 0.5}}, where="section 6", tag="M")


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of adversarial training by FGSM.

    Parameters
    ----------
    fit : the training by minibatches.
    eps : radius of the Linf ball and length of the step, pixel units.
    growth, smoothing : as those of `madry`.
    mask : share of the pixels that are set to zero, drawn for each image of a minibatch.
    stem_decay : coefficient of the sum of squared weights of the first convolution.
    """

    fit: Fit
    eps: float
    growth: float = 0.0
    smoothing: float = 0.0
    mask: float = 0.0
    stem_decay: float = 0.0


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy at images made in one step from the image."""
    tricks = {"mask": options.mask, "stem_decay": options.stem_decay}
    return madry.adversarial(request, options, 1, Fgsm, step=options.eps, **tricks)


def label(options: Options) -> str:
    """Return "fgsm" with the radius, and the tricks that are in use."""
    tricks = {name: getattr(options, name) for name in ("mask", "stem_decay")}
    used = "".join(f" {name}={value:g}" for name, value in tricks.items() if value)
    return f"fgsm eps={options.eps:.3g}{used}"


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and one gradient of the pixels."""
    return Passes(5.0)


class Fgsm(madry.Adversarial):
    """The cross entropy at images made in one step from x, with two tricks.

    Parameters
    ----------
    mask, stem_decay : as `Options`; the others as `madry.Adversarial`.

    Raises
    ------
    ValueError : a mask outside [0, 1), a negative stem_decay.
    """

    def __init__(
        self, *attack: object, mask: float = 0.0, stem_decay: float = 0.0, **more: object
    ) -> None:
        super().__init__(*attack, **more)
        if not (0 <= mask < 1 and stem_decay >= 0):
            raise ValueError(
                f"mask is a share of the pixels, at least 0 and below 1, and stem_decay not "
                f"negative, got {mask} and {stem_decay}"
            )
        self.mask, self.stem_decay = mask, stem_decay

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, share: float) -> Tensor:
        """Return the loss in train mode, of masked images, with the penalty."""
        value = super().loss(model, self.masked(x), y, share)
        if self.stem_decay:
            value = value + self.stem_decay * stem(model).weight.square().sum()
        return value

    def masked(self, x: Tensor) -> Tensor:
        """Return x (N, C, H, W) with a share of its pixels, in all channels, at zero."""
        if not self.mask:
            return x
        kept = torch.rand(len(x), 1, *x.shape[2:], generator=self.generator) >= self.mask
        return x * kept.to(x.device)

    def start(self, ball: Ball, x: Tensor) -> Tensor:
        """Return x: nothing is drawn."""
        return x


def stem(model: nn.Module) -> nn.Conv2d:
    """Return the first convolution of a network, in order of definition (ValueError without)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module
    raise ValueError(f"stem_decay is for a network with convolutions, not {type(model).__name__}")


GREY = {"epochs": 10, "batch": 64, "lr": 3e-3, "warmup": 0.2, "channels_last": True}
FEW = {"epochs": 3}


def everywhere(make: Callable[[str, Fit], MethodOptions]) -> dict[str, dict[str, Setting]]:
    """Return `OURS` of a method that takes about as long, for the networks of `plain`.

    Parameters
    ----------
    make : called with "grey" or "colour" and the fit; returns the options.
    """
    found: dict[str, dict[str, Setting]] = {}
    for kind, networks in plain.OURS.items():
        changes = GREY if kind == "grey" else {"epochs": 15}
        for name, base in networks.items():
            if "heart" not in name:
                options = make(kind, replace(base.options.fit, **changes))
                setting = Setting(base.architecture, options, {**base.few, **FEW})
                found.setdefault(kind, {})[name] = setting
    return found


EPS = {"grey": 0.1, "colour": 8 / 255}  # Fashion-MNIST, CIFAR-10
OURS = everywhere(lambda kind, fit: Options(fit, EPS[kind]))
