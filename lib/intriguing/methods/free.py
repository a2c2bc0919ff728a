r"""Free adversarial training (Shafahi et al. 2019, arXiv 1904.12843): one gradient for both.

Each minibatch is replayed m times.  The backward pass that gives the gradient of the weights at
x + delta gives that of the pixels too, and delta goes up by it while the weights go down:

.. math::
    \theta \leftarrow \theta - \tau \nabla_\theta \ell, \qquad
    \delta \leftarrow \Pi_{[-\varepsilon, \varepsilon]} \big( \delta + \varepsilon
    \operatorname{sign} \nabla_\delta \ell(h(x + \delta), y) \big)

delta is carried over, from replay to replay and to the next minibatch, whose images are others.  As
in the authors' code for ImageNet it begins at zero, its step is eps, and x + delta is cut to the
box for the network while delta is not; the network is in train mode throughout, since there is one
pass for both.  They divide the epochs by m; here `epochs` counts passes over the images, m updates
on each minibatch.

How the numbers were chosen, on held-out training images: `tuning/free.csv`, run again by
`tuning/run.py`.  The numbers for colour images are not measured: no GPU was at hand.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from intriguing.methods import fgsm
from intriguing.specs import Paper
from intriguing.training import objectives
from intriguing.training.fit import Fit
from intriguing.training.loop import Outcome
from intriguing.training.options import MethodOptions
from intriguing.training.passes import Passes
from intriguing.training.request import Request
from intriguing.training.threat import under_attack

cite = "shafahi2019adversarial"
version = 1
PAPER = Paper(
    {"ImageNet": {"eps": 4 / 255, "step": 4 / 255, "replays": 4, "epochs": 90, "lr": 0.1,
                  "batch": 256, "weight_decay": 1e-4}},
    where="the authors' code, whose epochs are divided by the replays", tag="C",
)  # fmt: skip


@dataclass(frozen=True)
class Options(MethodOptions):
    """Options of free adversarial training.

    Parameters
    ----------
    fit : the training by minibatches; each of its epochs has `replays` updates on a minibatch.
    eps : largest change of a pixel and length of a step, pixel units.
    replays : m.
    smoothing : of the labels, see `training.objectives.cross_entropy`.
    """

    fit: Fit
    eps: float
    replays: int = 4
    smoothing: float = 0.0


def objective(request: Request, options: Options) -> "Free":
    """Return the cross entropy at changed images."""
    return Free(options.eps, options.smoothing)


def train(request: Request, options: Options) -> Outcome:
    """Train, each minibatch several times."""
    return options.fit.run(request, objective(request, options), replays=options.replays)


def label(options: Options) -> str:
    """Return "free" with the radius and m."""
    return f"free eps={options.eps:.3g} replays={options.replays}"


def passes(options: Options) -> Passes:
    """A forward and a backward pass for each replay."""
    return Passes(3.0 * options.replays)


class Free:
    """The cross entropy at x + delta, which moves on by what the backward pass leaves behind.

    The companion of its own training.  In eval mode: at the pixels given.

    Parameters
    ----------
    eps : largest change and length of a step, pixel units.
    smoothing : of the labels.

    Raises
    ------
    ValueError : eps not positive.
    """

    def __init__(self, eps: float, smoothing: float = 0.0) -> None:
        if not eps > 0:
            raise ValueError(f"adversarial training needs eps > 0, got {eps}")
        self.eps = eps
        self.plain = objectives.cross_entropy(smoothing=smoothing)
        self.delta: Tensor | None = None  # (batch, C, H, W)
        self.used: Tensor | None = None  # its rows that the last backward pass went through

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss at x + delta (N, C, H, W), labels y (N,)."""
        if not model.training:
            return self.plain(model, x, y)
        self.climb()
        if self.delta is None or len(self.delta) < len(x):
            self.delta = torch.zeros_like(x)
        self.delta = self.delta.to(x.device)
        self.used = self.delta[: len(x)].clone().requires_grad_()
        return self.plain(model, (x + self.used).clamp(0, 1), y)

    def climb(self) -> None:
        """Move delta by the gradient of the last backward pass, once."""
        if self.used is None or self.used.grad is None:
            return
        moved = self.used.detach().add(self.used.grad.sign(), alpha=self.eps)
        self.delta[: len(moved)] = moved.clamp_(-self.eps, self.eps)
        self.used = None

    def robust(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return what attacks of this radius leave, see `training.threat.under_attack`."""
        return under_attack(model, x, y, norm="linf", eps=self.eps)

    def before_round(self, model: nn.Module, outcome: Outcome) -> None:
        """Nothing to prepare."""

    def state_dict(self) -> dict:
        """Return delta after the last backward pass."""
        self.climb()
        return {"delta": self.delta}

    def load_state_dict(self, tree: dict) -> None:
        """Go on from such a delta."""
        self.delta, self.used = tree["delta"], None


OURS = fgsm.everywhere(
    lambda kind, fit: Options(replace(fit, epochs=4 if kind == "grey" else 5), fgsm.EPS[kind])
)
