"""Dropout in one hidden layer (Srivastava et al. 2014), the arm that Zhang et al. 2021 explain.

A layer's outputs are set to zero at random, and what is left grows.  The network has `hidden` and
`above`, as `models.cnn.SmallCNN` and `models.mlp.MLP`.  How the rate was chosen, on held-out
training images: `tuning/unit_dropout.csv`, run again by `tuning/run.py`.  Dropout of the first
pooling layer is not stable at our step size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intriguing.methods.plain import HEART, HEART_FEW
from intriguing.specs import Setting
from intriguing.training.fit import Fit
from intriguing.training.objectives import Drawing, Objective, check_rates, cross_entropy
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "srivastava2014dropout"
version = 1
PAPER = None  # rates for other networks


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of dropout in one hidden layer.

    Parameters
    ----------
    fit : the training by minibatches.
    rate : the share dropped in train mode, in [0, 1).
    level : the hidden layer, counted from 1; 2: the second pooling layer, as in the example of the
        code of Zhang et al. 2021.
    """

    fit: Fit
    rate: float = 0.5
    level: int = 2

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        return "unit-dropout", self.fit.written() | {"rate": self.rate, "level": self.level}, {}


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy with dropout."""
    return UnitDropout(options.level, options.rate, request.generator("dropout"))


def label(options: Options) -> str:
    """Return "unit-dropout" with the rate, and the layer where it is the first."""
    return f"unit-dropout rate={options.rate:g}" + first(options.level)


def first(level: int) -> str:
    """Return what a label says of the layer."""
    return " first layer" if level == 1 else ""


def passes(options: Options) -> Passes:
    """A forward and a backward pass."""
    return Passes()


class UnitDropout(Drawing):
    """Cross entropy with dropout in one hidden layer; the companion of its own training.

    Parameters
    ----------
    level : the hidden layer whose outputs are dropped, counted from 1.
    rate : the share dropped in train mode, in [0, 1).
    generator : draws what is dropped; on the CPU.

    Raises
    ------
    ValueError : another rate.
    """

    def __init__(self, level: int, rate: float, generator: torch.Generator) -> None:
        super().__init__(generator)
        check_rates(rate)
        self.level, self.rate, self.plain = level, rate, cross_entropy()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss on pixels x (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        h = model.hidden(x)[self.level - 1]
        return self.plain(model.above(self.level), self.thin(h, self.rate), y)


OURS = {
    kind: {"CNN": Setting(architecture, Options(HEART[kind]), HEART_FEW)}
    for kind, architecture in (("grey", "cnn-mnist"), ("colour", "cnn-cifar"))
}
