"""Fast adversarial training: one step from a random start (Wong, Rice and Kolter 2020).

arXiv 2001.03994.  The loss is that of `madry` with a single step of 1.25 eps.  How the numbers for
digits were chosen, on held-out training images: `tuning/fgsm_rs.csv`, run again by
`tuning/run.py`; at a radius of 0.3 they learnt to withstand the one step only.  The numbers for
colour images are the paper's, and not measured: no GPU was at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from intriguing.methods import madry, plain
from intriguing.specs import Paper, Setting
from intriguing.training.fit import Fit
from intriguing.training.objectives import Objective
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request

cite = "wong2020fast"
version = 1
PAPER = Paper(
    {"MNIST": {"eps": 0.3, "step": 0.375, "epochs": 10, "lr": 5e-3},
     "CIFAR-10": {"eps": 8 / 255, "step": 10 / 255, "epochs": 15, "lr": 0.2, "batch": 128,
                  "weight_decay": 5e-4}},
    where="the authors' code", tag="C",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of adversarial training by one step; as those of `madry`, less `steps`."""

    fit: Fit
    eps: float
    step: float
    growth: float = 0.0
    smoothing: float = 0.0

    def written(self) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
        """Return them as the keys of 2026-11-29 do."""
        return "fgsm-rs", madry.written(self), {}


def objective(request: Request, options: Options) -> Objective:
    """Return the cross entropy at images made in one step."""
    return madry.adversarial(request, options, steps=1)


def label(options: Options) -> str:
    """Return "fgsm-rs" with the radius."""
    return f"fgsm-rs eps={options.eps:.3g}"


def passes(options: Options) -> Passes:
    """A forward and a backward pass, and one gradient of the pixels."""
    return Passes(5.0)


def _ours(kind: str, base: Setting) -> Setting:
    """Return our setting for a network that `plain` has one of."""
    if kind == "grey":
        fit = replace(base.options.fit, **madry.GROWN_FIT, epochs=4)
        few = {**base.few, "batch": 32, "epochs": 3}
        return Setting(base.architecture, Options(fit, step=0.25, **madry.GROWN), few)
    fit = replace(base.options.fit, epochs=15)
    return Setting(base.architecture, Options(fit, 8 / 255, 10 / 255), {**base.few, "epochs": 5})


OURS = {
    kind: {name: _ours(kind, base) for name, base in networks.items() if "heart" not in name}
    for kind, networks in plain.OURS.items()
}
